"""Changes of a node's rules as lines of text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from felixpy.decode.legend import Legend
from felixpy.errors import many
from felixpy.live.changes import ChainUpdate, RulesetChange, SetUpdate


def lines(node: str, change: RulesetChange, legend: Legend) -> Iterator[str]:
    """A line for each changed chain, with families and tables joined, and for each changed set.

    `legend` names the objects that chains belong to.
    """
    seen = set()
    if change.plane:
        gone, come = (len([each for each in change.chains if getattr(each, when)]) for when in ("before", "after"))
        yield (
            f"{node}: the {change.plane.after} data plane from now on: {many(come, 'chain')} of it take the place of "
            f"{many(gone, 'chain')} of {change.plane.before}"
        )
    for each in change.chains if not change.plane else ():
        action, key = _action(each), (each.name, _action(each))
        if key not in seen:
            seen.add(key)
            subject = legend.chain(each.name, node)
            yield f"{node}: chain {each.name} {action}" + (f" ({subject.words})" if subject else "")
    for ipset in change.sets:
        came, went = len(ipset.added), len(ipset.removed)
        yield f"{node}: set {ipset.name} {_action(ipset)}: {many(came, 'member')} came, {went} went"


def document(node: str, change: RulesetChange) -> dict[str, Any]:
    """The JSON document: chains by family and table, sets with added and removed members."""
    return {
        "node": node,
        **({"dataplane": change.plane._asdict()} if change.plane else {}),
        "chains": [
            {"family": each.family, "table": each.table, "chain": each.name, "change": _action(each)}
            for each in change.chains
        ],
        "sets": [
            {"set": each.name, "change": _action(each), "added": each.added, "removed": each.removed}
            for each in change.sets
        ],
    }


def _action(change: ChainUpdate | SetUpdate) -> str:
    return "added" if change.before is None else "removed" if change.after is None else "changed"
