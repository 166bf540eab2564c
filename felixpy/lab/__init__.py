"""A cluster-shaped lab on one machine: nodes and pods as network namespaces, with their policy enforced for real.

    layout      which nodes and pods there are, and what they are called
    topology    the same as namespaces, veth pairs and routes, and the way from one lab to another
    wiring      what makes and removes them
    enforcing   the policy of the nodes
    responder   the process that answers for all pods; serving talks to it; sctp is what little it knows of that
    flows       what is asked, from names to addresses
    probing     connections tried, all at once
    state       what is remembered from one command to the next
    lab         all of it together
    tables      who reaches whom, as a table
    report      what people are told

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
    """Import a public name when it is first used: the responder, which starts with each lab, needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"felixpy.lab.{_HOMES[name]}"), name)
