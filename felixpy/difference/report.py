"""Formats a difference as text for a terminal, Markdown for a pull request, and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from felixpy.decode.legend import chain_prefix
from felixpy.difference import RANKS, Difference, Group, Spread
from felixpy.difference.chains import ChainChange
from felixpy.difference.sets import SetDifference
from felixpy.errors import Place, few, many
from felixpy.escape import code, fenced
from felixpy.flows.presentation.report import arrow, change_lines, change_rows, changes_json

SIGNS = {"added": "+", "removed": "-", "changed": "~", "renamed": "~"}
MOST_MEMBERS = 8
"""The most members of a set that are listed."""

MOST_OBJECTS = 24

BOILERPLATE = 2
"""Groups below this rank, policies and profiles, list the rules of added and removed chains."""

FLOWS_ARE_EQUAL = "no flow opens or closes"


def summary(found: Difference, name: Callable[[str], str] = str) -> str:
    """Return one line with the numbers of differences. `name` formats the name of a node."""
    parts = [*_plane_counts(found), *_rule_counts(found, name), *_flow_counts(found)]
    if found.unknown:
        parts = parts or ["no difference as far as is known"]
        return f"{'; '.join(parts)}; {many(len(found.unknown), 'thing')} unknown"
    return "; ".join(parts) if parts else "no difference"


def _plane_counts(found: Difference) -> Iterator[str]:
    if found.versions:
        yield " → ".join(found.versions)
    for (before, after), nodes in found.planes.items():
        yield f"{before} → {after} on {many(len(nodes), 'node')}"


def _rule_counts(found: Difference, name: Callable[[str], str]) -> Iterator[str]:
    every = [change for chains in found.groups.values() for change in chains]
    changes = [change for change in every if change.kind != "renamed"]
    signs = [rule.sign for change in changes for rule in change.rules]
    if signs:
        chains = many(len(changes), "chain")
        yield f"{many(signs.count('+'), 'rule')} added, {signs.count('-')} removed in {chains}"
    elif changes:
        yield f"{many(len(changes), 'chain')} changed"
    if len(every) > len(changes):
        yield f"{many(len(every) - len(changes), 'chain')} renamed"
    if found.sets:
        yield f"{many(len(found.sets), 'set')} changed"
    for nodes, words in ((found.appeared, "new"), (found.vanished, "gone")):
        if nodes:
            yield f"{many(len(nodes), 'node')} {words}: {', '.join(map(name, nodes))}"


def _flow_counts(found: Difference) -> Iterator[str]:
    if found.flows is None:
        return
    opened, closed = len(found.flows.opened), len(found.flows.closed)
    if opened or closed:
        yield f"{many(opened, 'flow')} opened, {closed} closed"
    for peers, words in ((found.flows.appeared, "new"), (found.flows.vanished, "gone")):
        if peers:
            yield f"{many(len(peers), 'endpoint')} {words}"
    more, less = len(found.services.opened), len(found.services.closed)
    if more or less:
        yield f"{many(more, 'connection')} to services opened, {less} closed"
    if found.flows.same and found.rules_differ and not found.unknown:
        yield FLOWS_ARE_EQUAL


# --- text


def text(found: Difference, *, verbose: bool) -> Iterator[str]:
    """Yield the lines of text for a terminal: the summary, then objects, rules, sets and flows."""
    yield summary(found)
    for heading, lines in (
        ("Felix", felix_lines(found)),
        ("objects", object_lines(found)),
        ("rules", rule_lines(found, verbose=verbose)),
        ("flows", change_lines(found.flows, verbose=verbose) if found.flows else ()),
        ("services", service_lines(found)),
        ("unknown", found.unknown),
    ):
        told = list(lines)
        if told:
            yield from ("", f"{heading}:", *(f"  {line}" for line in told))


BY_MEANING = "rules are compared by meaning, not by syntax, hash or name of the chain"


def felix_lines(found: Difference) -> Iterator[str]:
    """Yield lines about other Calico versions and data planes, and how rules are compared then."""
    if found.versions:
        yield f"Calico {' → '.join(found.versions)}: {BY_MEANING}"
    for (before, after), nodes in found.planes.items():
        yield f"{before} → {after} on {_listed(nodes)}: {BY_MEANING}"


def service_lines(found: Difference) -> Iterator[str]:
    """Yield lines about ports of Services that open or close for clients."""
    yield from (f"+ {arrow(flow)}" for flow in found.services.opened)
    yield from (f"- {arrow(flow)}" for flow in found.services.closed)


def object_lines(found: Difference) -> Iterator[str]:
    """Yield a line for each object that differs, with its place, up to a limit."""
    for change in found.objects[:MOST_OBJECTS]:
        yield f"{SIGNS[change.kind]} {change.name}{f'  {change.place}' if change.place else ''}"
    if len(found.objects) > MOST_OBJECTS:
        yield f"  … and {len(found.objects) - MOST_OBJECTS} more objects"


def rule_lines(found: Difference, *, verbose: bool) -> Iterator[str]:
    """Yield the lines of rules, grouped by the object that they belong to, then of sets."""
    shown = _shown(found, renamed=verbose)
    spread = _common((*(each for changes in shown.values() for each in changes.values()), *found.sets.values()))
    for groups, changes in _twins(shown):
        group = groups[0]
        place = f"  {group.place}" if group.place and len(groups) == 1 else ""
        yield f"{_titles(groups)}{place}"
        for change, where in changes.items():
            yield from _chain(group, change, where, spread, verbose=verbose)
    if found.sets:
        yield "sets"
        told = ""
        for set_change, where in sorted(found.sets.items(), key=lambda item: _twin_order(item[0].name)):
            meaning = found.meanings.get(set_change.name, "")
            # The sets of both families have the same meaning.
            yield from _set(set_change, "" if meaning == told else meaning, where, spread, verbose=verbose)
            told = meaning


def _twin_order(name: str) -> tuple[str, str]:
    """Return a sort key that puts an IPv6 set right after the IPv4 set with the same meaning."""
    return name.removeprefix("cali4").removeprefix("cali6"), name


Groups = Mapping[Group, Mapping[ChainChange, Spread]]


def _shown(found: Difference, *, renamed: bool) -> Groups:
    """Return the groups with the changes to print: with `renamed` all, else all but renamed chains."""
    groups = (
        (group, {change: where for change, where in changes.items() if renamed or change.kind != "renamed"})
        for group, changes in found.groups.items()
    )
    return {group: changes for group, changes in groups if changes}


def _twins(shown: Groups) -> Iterator[tuple[list[Group], Mapping[ChainChange, Spread]]]:
    """Yield groups with their changes; pods with the same changes are merged."""
    together: dict[object, tuple[list[Group], Mapping[ChainChange, Spread]]] = {}
    for group, changes in shown.items():
        if group.rank != RANKS["pod"]:
            yield [group], changes
            continue
        alike = {_of_any_pod(change): spread for change, spread in changes.items()}
        key = tuple(alike.items())
        if key in together:
            together[key] = [*together[key][0], group], alike
        else:
            together[key] = [group], changes
    yield from together.values()


def _of_any_pod(change: ChainChange) -> ChainChange:
    """Return the change without the pod's interface, the suffix of the chain's name."""
    prefix = chain_prefix(change.chain)
    interface = change.chain[len(prefix) :]
    rules = tuple(rule._replace(text=rule.text.replace(interface, "…")) for rule in change.rules)
    return change._replace(chain=f"{prefix}…", rules=rules)


def _titles(groups: Sequence[Group]) -> str:
    names = [group.title for group in groups]
    if len(names) == 1:
        return names[0]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} pods alike: {', '.join(name.removeprefix('pod ') for name in names[:3])}{more}"


def _common(spreads: Iterable[Spread]) -> tuple[str, ...]:
    """Return the nodes if all changes are on the same ones, which are then not repeated with each change."""
    nodes = {spread.nodes for spread in spreads}
    return nodes.pop() if len(nodes) == 1 else ()


def _chain(group: Group, change: ChainChange, where: Spread, common: Sequence[str], *, verbose: bool) -> Iterator[str]:
    told = verbose or change.kind == "changed" or group.rank < BOILERPLATE
    size = "" if told and change.rules else f"  {many(change.size, 'rule')}"
    was = f", was {change.was}" if change.was else ""
    yield f"  {SIGNS[change.kind]} {change.table} {change.chain}{was}{size}{_where(where, common)}"
    if told:
        width = len(str(max((rule.number for rule in change.rules), default=0)))
        yield from (f"    {rule.sign} {rule.number:>{width}}  {rule.text}" for rule in change.rules)
    if change.rehashed:
        yield f"      {many(change.rehashed, 'rule')} below with nothing new but the hash"


def _set(change: SetDifference, meaning: str, where: Spread, common: Sequence[str], *, verbose: bool) -> Iterator[str]:
    size = f"  {many(change.size, 'member')}" if change.kind != "changed" else ""
    yield f"  {SIGNS[change.kind]} {change.name}{size}{_where(where._replace(families=(4, 6)), common)}"
    if meaning:
        yield f"      {meaning}"
    if change.head:
        yield f"      {change.head}"
    for sign, members in (("-", change.removed), ("+", change.added)):
        most = len(members) if verbose else MOST_MEMBERS
        if members:
            more = f" … and {len(members) - most} more" if len(members) > most else ""
            yield f"    {sign} {', '.join(members[:most])}{more}"


def _where(spread: Spread, common: Sequence[str]) -> str:
    """Return the family, unless a change is in both, and the nodes, unless they are the common ones."""
    family = f"IPv{spread.families[0]}" if len(spread.families) == 1 else ""
    nodes = "" if spread.nodes == common else _listed(spread.nodes)
    words = ", ".join(part for part in (family, nodes) if part)
    return f"  ({words})" if words else ""


def _listed(names: Sequence[str]) -> str:
    return few(names) if len(names) <= 3 else f"{few(names, 2)} nodes"


# --- Markdown


def markdown(found: Difference, *, verbose: bool) -> Iterator[str]:
    """Yield the lines of a comment on a pull request, in Markdown: flows first, then the rules, collapsed."""
    yield f"**felixpy:** {summary(found, name=code)}"
    objects = list(object_lines(found))
    if objects:
        yield from ("", *fenced((line.replace("~", "!", 1) for line in objects), "diff"))
    told = list(change_rows(found.flows)) if found.flows else []
    if told:
        yield from ("", "#### Flows", "", *told)
    if services := list(service_lines(found)):
        yield from ("", "#### Services", "", "```diff", *services, "```")
    if compared := list(felix_lines(found)):
        yield from ("", "#### Felix", "", *(f"- {words}" for words in compared))
    if found.unknown:
        yield from ("", "#### Unknown", "", *(f"- {words}" for words in found.unknown))
    rules = list(rule_lines(found, verbose=verbose))
    if rules:
        yield from ("", "<details><summary>Rules and sets</summary>", "")
        yield from fenced(map(_as_diff, rules), "diff")
        yield from ("", "</details>")


def _as_diff(line: str) -> str:
    """Return a line with its sign in the first column, for syntax highlighting of diffs."""
    stripped = line.lstrip()
    if stripped[:2] in ("+ ", "- "):
        return f"{stripped[0]}{line.replace(stripped[0], ' ', 1)}"
    return f" {line}"


# --- JSON


def document(found: Difference) -> dict[str, Any]:
    """Return the JSON document (``apiVersion: felixpy/v1``), always with all keys; `flows` is null if not compared."""
    return {
        "apiVersion": "felixpy/v1",
        "kind": "Difference",
        "different": found.rules_differ or found.flows_differ,
        "summary": summary(found),
        "unknown": list(found.unknown),
        "objects": [{"change": change.kind, "object": change.name, **_file(change.place)} for change in found.objects],
        "rules": [
            {"of": group.title, **_file(group.place), "chains": [_chain_json(*item) for item in chains.items()]}
            for group, chains in found.groups.items()
        ],
        "sets": [_set_json(change, where, found.meanings) for change, where in found.sets.items()],
        "calicoVersions": dict(zip(("before", "after"), found.versions, strict=True)) if found.versions else None,
        "dataPlanes": [
            {"before": before, "after": after, "nodes": list(nodes)} for (before, after), nodes in found.planes.items()
        ],
        "nodes": {"appeared": list(found.appeared), "vanished": list(found.vanished)},
        "flows": None if found.flows is None else changes_json(found.flows),
        "services": None if found.flows is None else found.services.json(),
    }


def _file(place: Place | None) -> dict[str, Any]:
    return {"file": place.file, "line": place.line} if place else {}


def _chain_json(change: ChainChange, where: Spread) -> dict[str, Any]:
    return {
        "change": change.kind,
        "table": change.table,
        "chain": change.chain,
        **({"was": change.was} if change.was else {}),
        "nodes": list(where.nodes),
        "families": list(where.families),
        "size": change.size,
        "rehashed": change.rehashed,
        "rules": [{"sign": rule.sign, "number": rule.number, "text": rule.text} for rule in change.rules],
    }


def _set_json(change: SetDifference, where: Spread, meanings: Mapping[str, str]) -> dict[str, Any]:
    meaning = meanings.get(change.name)
    return {
        "change": change.kind,
        "name": change.name,
        "type": change.type,
        **({"meaning": meaning} if meaning else {}),
        "nodes": list(where.nodes),
        "size": change.size,
        "added": list(change.added),
        "removed": list(change.removed),
        **({"head": change.head} if change.head else {}),
    }
