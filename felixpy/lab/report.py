"""Output about labs, for people and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.errors import many
from felixpy.lab import probing, serving
from felixpy.lab.flows import LabFlow
from felixpy.lab.lab import Lab, LabReport
from felixpy.lab.layout import LabPod
from felixpy.lab.probing import ProbeOutcome
from felixpy.lab.state import LabState
from felixpy.lab.tables import Turn
from felixpy.topology.endpoints import Endpoint

WORDS = {True: "ALLOWED", False: "DENIED"}

MOST_LISTED = 20
"""How many policies a status lists."""

MOST_NAMED = 5
"""How many things a sentence names before it counts the others."""


def brought(lab: Lab, report: LabReport) -> Iterator[str]:
    """What `up` changed, in sentences."""
    name = lab.name
    if report.recovered:
        yield f"lab {name} had been left unfinished; what there was of it is cleared away"
    if report.empty:
        yield f"lab {name} is in step already; nothing was changed"
        return
    if report.fresh:
        nodes, pods = lab.layout.built_nodes, lab.layout.built_pods
        places = ", ".join(f"{node.name} is network namespace {node.netns}" for node in nodes[:MOST_NAMED])
        yield f"lab {name} is up: {many(len(pods), 'pod')} on {many(len(nodes), 'node')}; {places}"
    else:
        yield from (f"lab {name}: {words}" for words in _changes(report))
    backends = {row.node: row.backend for row in lab.state.enforced}
    for node, summary in report.changed.items():
        yield f"{node} ({backends[node]}): changed {summary}"
    if not report.changed and (report.policies_added or report.policies_removed):
        yield f"lab {name}: no rule of its nodes is changed by that"
    yield from report.remarks
    if report.restarted:
        yield f"lab {name}: what answers for the pods was gone and is started again"


def _changes(report: LabReport) -> Iterator[str]:
    for done, what, names in (
        ("added", "pod", report.pods_added),
        ("removed", "pod", report.pods_removed),
        ("added", "policy", report.policies_added),
        ("removed", "policy", report.policies_removed),
    ):
        if names:
            yield f"{done} {named(names) if what == 'policy' else f'{many(len(names), what)} {named(names)}'}"
    if report.rewired and not (report.pods_added or report.pods_removed):
        yield "reconnected what was changed or missing"


def named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return ", ".join([*names[:MOST_NAMED], *more])


# --- status


def status(lab: Lab) -> Iterator[str]:
    """The status of a lab as lines of text."""
    state, layout = lab.state, lab.layout
    yield f"lab {lab.name}: up, {_backends(state)}"
    if state.inputs.paths:
        yield f"  from      {' '.join(state.inputs.paths)}"
    yield f"  answers   {_answers(lab)}"
    yield f"  outside   network namespace {layout.outside}; internet is {' and '.join(layout.internet)}"
    yield ""
    pods = Counter(pod.node for pod in layout.built_pods)
    since = {row.node: row for row in state.enforced}
    rows: list[tuple[str, ...]] = [("NODE", "NAMESPACE", "PODS", "RULES", "SETS", "SINCE", "ADDRESSES")]
    for node in layout.built_nodes:
        row = since[node.name]
        addresses = ",".join(address for _, texts in node.interfaces for address in texts)
        rows.append((node.name, node.netns, *map(str, (pods[node.name], row.rules, row.sets)), row.since, addresses))
    yield from aligned(rows)
    yield ""
    yield from policies(state, MOST_LISTED)
    if layout.pods:
        yield ""
        yield from aligned([("POD", "NODE", "INTERFACE", "ADDRESSES", "SERVES"), *map(_row, layout.pods)])


def _backends(state: LabState) -> str:
    """The backends of the lab's nodes, in words."""
    return " and ".join(name if name == NFTABLES else f"iptables {name}" for name in _names(state))


def _names(state: LabState) -> list[str]:
    return list(dict.fromkeys(row.backend for row in state.enforced))


def policies(state: LabState, most: int | None = None) -> Iterator[str]:
    """A line for each policy of a lab, the first `most` of them; those in force first, then those that were removed."""
    rows = [(name, "") for name in state.policies] + [(str(key), "removed") for key in state.inputs.removed]
    yield from aligned([("POLICY", ""), *rows[:most]])
    if most is not None and len(rows) > most:
        yield f"and {len(rows) - most} more; felixpy lab policy list names all"
    if not rows:
        yield "none: whatever profiles allow is allowed"


def policy_document(state: LabState) -> dict[str, Any]:
    """The policies of a lab as a JSON document."""
    return {
        "apiVersion": "felixpy/v1",
        "kind": "LabPolicyList",
        "lab": state.name,
        "items": [{"policy": name, "state": "inForce"} for name in state.policies]
        + [{"policy": str(key), "state": "removed"} for key in state.inputs.removed],
    }


def _row(pod: LabPod) -> tuple[str, ...]:
    served = " ".join(f"{protocol}/{port}" for protocol, port in pod.serves)
    return pod.key, pod.node, pod.interface, ",".join(pod.addresses), served or "-"


def _answers(lab: Lab) -> str:
    try:
        ports = len(serving.served(lab.name))
    except OSError:
        return "nothing answers for the pods any more; felixpy lab up starts it again"
    sctp = "" if probing.SCTP_TRACKED.exists() else "; not for SCTP, which this kernel does not track"
    return f"at {many(ports, 'port')}{sctp}"


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Lines of aligned columns, without trailing spaces."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def status_document(lab: Lab) -> dict[str, Any]:
    """The status of a lab as a JSON document."""
    state, layout = lab.state, lab.layout
    since = {row.node: row for row in state.enforced}
    return {
        "apiVersion": "felixpy/v1",
        "kind": "Lab",
        "name": lab.name,
        "backend": state.backend,
        "answers": serving.is_running(lab.name),
        "sctp": probing.SCTP_TRACKED.exists(),
        "paths": list(state.inputs.paths),
        "policies": list(state.policies),
        "removed": [str(key) for key in state.inputs.removed],
        "outside": {"netns": layout.outside, "internet": list(layout.internet)},
        "nodes": [
            {
                "name": node.name,
                "netns": node.netns,
                "uplink": node.uplink,
                "interfaces": {name: list(addresses) for name, addresses in node.interfaces},
                "backend": since[node.name].backend,
                "rules": since[node.name].rules,
                "sets": since[node.name].sets,
                "since": since[node.name].since,
            }
            for node in layout.built_nodes
        ],
        "pods": [
            {
                "namespace": pod.namespace,
                "name": pod.name,
                "node": pod.node,
                "netns": pod.netns,
                "interface": pod.interface,
                "addresses": list(pod.addresses),
                "serves": [{"protocol": protocol, "port": port} for protocol, port in pod.serves],
            }
            for pod in layout.pods
        ],
    }


# --- one probe


def verdict(flow: LabFlow, outcome: ProbeOutcome) -> str:
    """The result of a probe as one line, as in `felixpy trace`."""
    return f"{WORDS[outcome.allowed]}  {_told(flow.source)} → {_told(flow.destination)} {flow.service}  {outcome.how}"


def turned(turn: Turn) -> str:
    """A line about a connection whose verdict changed."""
    return f"{WORDS[turn.allowed]}  {turn.source} → {turn.destination} {turn.service}"


def _told(endpoint: Endpoint) -> str:
    return endpoint.name if endpoint.name == endpoint.address else f"{endpoint.name} ({endpoint.address})"


def verdict_document(flow: LabFlow, outcome: ProbeOutcome) -> dict[str, Any]:
    return {
        "apiVersion": "felixpy/v1",
        "kind": "LabProbe",
        "verdict": "allow" if outcome.allowed else "deny",
        "how": outcome.how,
        "source": _endpoint(flow.source, flow.source_netns),
        "destination": _endpoint(flow.destination, flow.destination_netns),
        "protocol": flow.protocol,
        **({"port": flow.port} if flow.port else {}),
    }


def _endpoint(endpoint: Endpoint, netns: str) -> dict[str, str]:
    found = {
        "kind": endpoint.kind,
        "name": endpoint.name,
        "address": endpoint.address,
        "node": endpoint.node,
        "netns": netns,
    }
    return {key: value for key, value in found.items() if value}


def listed(labs: Iterable[Lab]) -> Iterator[str]:
    """A line for each lab."""
    rows: list[tuple[str, ...]] = [("LAB", "NODES", "PODS", "POLICIES", "BACKEND", "FROM")]
    for lab in labs:
        counts = map(str, (len(lab.layout.built_nodes), len(lab.layout.built_pods), len(lab.state.policies)))
        rows.append((lab.name, *counts, ", ".join(_names(lab.state)), " ".join(lab.state.inputs.paths) or "-"))
    yield from aligned(rows)
