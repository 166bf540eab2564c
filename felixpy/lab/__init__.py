"""A lab: a cluster on one machine, with nodes and pods as network namespaces and their policies in force.

    layout      the nodes and pods, and their names
    topology    the layout as namespaces, veth pairs and routes, and the changes from one lab to another
    wiring      makes and removes them
    enforcing   compiles and applies the policies of the nodes
    responder   the process that answers for all pods; serving talks to it; sctp reads and writes SCTP's first packets
    flows       connections to try, from names to addresses
    probing     tries connections, all at once
    state       the state of labs, kept between commands
    lab         starts, updates, probes and removes labs
    tables      tables of allowed connections between all pods
    report      output for people and programs

From Python, as root:

    with Lab.up(cluster, name="trial") as lab:
        lab.probe("shop/web-1", "shop/db-0", 5432).allowed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from felixpy.lab.flows import LabFlow
    from felixpy.lab.lab import Lab, LabOptions, LabReport, take_down
    from felixpy.lab.probing import ProbeOutcome

_HOMES = {
    "LabFlow": "flows",
    "Lab": "lab",
    "LabOptions": "lab",
    "ProbeOutcome": "probing",
    "LabReport": "lab",
    "take_down": "lab",
}

__all__ = ["Lab", "LabFlow", "LabOptions", "LabReport", "ProbeOutcome", "take_down"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the responder process starts fast: it uses none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"felixpy.lab.{_HOMES[name]}"), name)
