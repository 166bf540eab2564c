"""``felixpy matrix --by``: rows for namespaces or label values instead of workloads and pods."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.flows import Connectivity, PortChoice
    from felixpy.flows.reachability.pairs import Pairs
    from felixpy.flows.reachability.sides import SideEndpoint
    from felixpy.model import Cluster

LABEL = "label:"
SINGLE = ("workload", "pod")
GROUPED = ("class", "namespace", f"{LABEL}KEY")


def checked(by: str) -> str:
    """Return the value of --by. Raises UsageError for an unknown one."""
    if by in (*SINGLE, "class", "namespace") or (by.startswith(LABEL) and by != LABEL):
        return by
    raise UsageError(f"--by {by}: say {', '.join(SINGLE)}, {', '.join(GROUPED[:-1])} or {GROUPED[-1]}")


def group_names(by: str, endpoints: Mapping[int, SideEndpoint], cluster: Cluster) -> dict[int, str]:
    """Return the group of each endpoint, by its position: a namespace, or a label with its value.

    All nodes are one group, and so are all interfaces without a known pod.
    """
    key = by.removeprefix(LABEL)
    labels = {(pod.namespace, pod.name): pod.labels for pod in cluster.workloads}
    found: dict[int, str] = {}
    for position, endpoint in endpoints.items():
        kind, space, name = endpoint.identity
        if kind == "host":
            found[position] = "nodes"
        elif kind == "interface":
            found[position] = "interfaces"
        elif by == "namespace":
            found[position] = space
        else:
            value = labels[space, name].get(key)
            found[position] = f"!{key}" if value is None else f"{key}={value}"
    return found


def shown(
    by: str,
    output: str,
    found: Connectivity,
    *,
    external: bool,
    hosts: bool | None,
    ports: Sequence[PortChoice],
    tell: Callable[[str], None],
) -> Iterator[str]:
    """Return the lines of the output, and pass remarks to `tell`.

    Raises UsageError for formats that cannot show groups.
    """
    from felixpy.flows.presentation import grouped, report
    from felixpy.flows.reachability.groups import Groups

    if by == "class":
        pairs = found.pairs(fold=False, external=external, hosts=hosts, ports=ports, classes=True)
        _remark(found, pairs, tell)
        if output == "json":
            return grouped.class_json(pairs, pairs.flows(), len(found.doubts))
        if output not in {"table", "lines"}:
            raise UsageError("--by class goes with lines and JSON")
        return report.lines(pairs.flows())
    if output not in {"table", "lines", "csv", "json"}:
        raise UsageError(f"--by {by} goes with lines, CSV and JSON")
    pairs = found.pairs(fold=False, external=external, hosts=hosts, ports=ports)
    _remark(found, pairs, tell)
    groups = Groups(pairs, group_names(by, pairs.endpoints, found.side.nodes.cluster))
    if output == "csv":
        return grouped.group_csv(groups.flows())
    if output == "json":
        document = grouped.group_json(by, groups, groups.flows())
        return iter(json.dumps(document, ensure_ascii=False, indent=2).split("\n"))
    return grouped.group_lines(groups.flows())


def _remark(found: Connectivity, pairs: Pairs, tell: Callable[[str], None]) -> None:
    from felixpy.flows.presentation.report import remarks

    for line in remarks(found, pairs):
        tell(f"felixpy: {line}")
