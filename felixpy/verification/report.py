"""The result of a verification as text and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from felixpy.errors import many, spell
from felixpy.nftables.wording import without_hash
from felixpy.verification import Verification
from felixpy.verification.finding import Effect, Finding, Severity

EQUAL, DIFFERENT = "EQUAL", "DIFFERENT"

WORDS: Mapping[Severity, tuple[str, str]] = {
    Severity.LETS_THROUGH: ("LETS THROUGH", "letting through what should be dropped"),
    Severity.DROPS: ("DROPS", "dropping what should pass"),
    Severity.UNKNOWN: ("UNKNOWN", "whose effect is unknown"),
    Severity.REWRITES: ("REWRITES", "rewriting addresses otherwise"),
    Severity.NO_EFFECT: ("NO EFFECT", "without effect on traffic"),
}
"""What a severity is called, above a finding and in the summary."""

MOST_TOLD = 30
"""The number of findings that are printed in full."""

MOST_DETAILS = 8


def text(found: Verification, *, verbose: bool = False) -> Iterator[str]:
    """One line if all is equal, else every finding, most severe first; with `verbose` whole lists."""
    version = f"Felix {found.calico_version}"
    if found.equal:
        sets = f", {many(found.sets, 'set')}" if found.sets else ""
        rules = f"{many(found.rules, 'rule')}, {many(found.chains, 'chain')}{sets}"
        yield f"{EQUAL}  {found.words} has what the manifests give node {found.node}: {rules} ({version})"
    else:
        yield f"{DIFFERENT}  {found.words} and the manifests, node {found.node} ({version})"
        yield f"  {_summary(found)}"
        if len(found.findings) > 1:
            yield f"  together: {headline(found.together)}: {found.together.words}"
    yield from (f"  note: {note}" for note in found.notes)
    groups = list(_groups(found.findings))
    told = groups if verbose else groups[:MOST_TOLD]
    for group in told:
        yield ""
        yield from _one(group[0], verbose=verbose) if len(group) == 1 else _several(group, verbose=verbose)
    rest = [finding for group in groups[len(told) :] for finding in group]
    if rest:
        yield ""
        yield f"… and {len(rest)} more, which -v and -o json tell:"
        kinds = Counter(finding.kind.title for finding in rest)
        yield from (f"  {number} × {title}" for title, number in kinds.most_common())


def _groups(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Groups of findings: those about one chain with the same effect are joined, at the place of the first."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        effect = finding.effect
        groups.setdefault((*finding.spot, effect.severity, effect.certain), []).append(finding)
    yield from groups.values()


def _summary(found: Verification) -> str:
    """The number of findings, in total and for each severity, in words."""
    counts = Counter((finding.effect.severity, finding.effect.certain) for finding in found.findings)
    parts = []
    for severity, (_, words) in WORDS.items():
        if counts[severity, True]:
            parts.append(f"{counts[severity, True]} {words}")
        if counts[severity, False]:
            perhaps = "" if severity is Severity.UNKNOWN else "perhaps "
            parts.append(f"{counts[severity, False]} {perhaps}{words}")
    return f"{many(len(found.findings), 'finding')}: {', '.join(parts)}"


def headline(effect: Effect) -> str:
    word = WORDS[effect.severity][0]
    return word if effect.certain or effect.severity is Severity.UNKNOWN else f"MAYBE {word}"


def _one(finding: Finding, *, verbose: bool) -> Iterator[str]:
    yield f"{headline(finding.effect)}  {finding.kind.title}: {_where(finding, finding.number, finding.line)}"
    yield from _about(finding, verbose=verbose)
    yield from (f"  {word}  {shown}" for word, shown in _texts(finding))
    yield f"  means   {finding.effect.words}; {finding.meaning}"
    yield from _examples(finding.effect)


def _several(group: Sequence[Finding], *, verbose: bool) -> Iterator[str]:
    """The lines for several findings about one chain or set."""
    first = group[0]
    counts = Counter(finding.kind.title for finding in group)
    kinds = ", ".join(f"{number} × {title}" for title, number in counts.items())
    yield f"{headline(first.effect)}  {kinds}: {_where(first)}"
    yield from _about(first, verbose=verbose)
    for finding in sorted(group, key=lambda finding: finding.number):
        number = f"rule {finding.number} " if finding.number else ""
        line = f" (line {finding.line})" if finding.line else ""
        yield f"  {number}{finding.kind.title}{line}"
        yield from (f"    {word}  {shown}" for word, shown in _texts(finding))
    yield f"  means   {first.effect.words}"
    yield from _examples(first.effect)


def _about(finding: Finding, *, verbose: bool) -> Iterator[str]:
    """Lines with the subject of a finding and its details."""
    if finding.subject:
        place = f"  {finding.place}" if finding.place else ""
        yield f"  {finding.subject}{place}"
    details = finding.details if verbose else finding.details[:MOST_DETAILS]
    yield from (f"  {detail}" for detail in details)
    if len(details) < len(finding.details):
        yield f"  … and {len(finding.details) - len(details)} more"


def _examples(effect: Effect) -> Iterator[str]:
    """Lines with example packets; each reason is given once."""
    told: set[str] = set()
    for example in effect.examples:
        again = example.reason in told
        yield f"  e.g.    {example._replace(reason='') if again else example}"
        told.add(example.reason)


def _where(finding: Finding, number: int = 0, line: int = 0) -> str:
    if finding.set or finding.map:
        return finding.set or finding.map
    families = f"IPv{' and IPv'.join(map(str, finding.families))}"
    if not finding.chain:
        return families
    rule = f" rule {number}" if number else ""
    return f"{finding.table} {finding.chain}{rule} ({families}{f', line {line}' if line else ''})"


def _texts(finding: Finding) -> Iterator[tuple[str, str]]:
    """The current and the wanted rule, without hashes unless only these differ."""
    bare = [without_hash(text) for text in (finding.there, finding.wanted)]
    shown = [finding.there, finding.wanted] if bare[0] == bare[1] else bare
    for word, rule, full in zip(("there ", "wanted"), shown, (finding.there, finding.wanted), strict=True):
        if full:
            yield word, rule or "(no criteria, no target)"


# --- JSON


def document(found: Verification) -> dict[str, Any]:
    """The JSON document (``apiVersion: felixpy/v1``), without unknown values."""
    return {
        "apiVersion": "felixpy/v1",
        "kind": "Verification",
        "equal": found.equal,
        "node": found.node,
        "place": found.words,
        "dataplane": found.dataplane,
        "calicoVersion": found.calico_version,
        "compared": {"rules": found.rules, "chains": found.chains, "sets": found.sets},
        "effect": found.together.kind,
        "flows": [flow.json() for flow in found.together.flows],
        "findings": [_json(finding) for finding in found.findings],
        "notes": list(found.notes),
    }


def _json(finding: Finding) -> dict[str, Any]:
    place = finding.place
    found: dict[str, Any] = {
        "class": finding.kind.name,
        "severity": finding.effect.severity.name.lower().replace("_", "-"),
        "effect": finding.effect.kind,
        "certain": finding.effect.certain,
        "unknown": list(finding.effect.conditions),
        "flows": [flow.json() for flow in finding.effect.flows],
        "families": list(finding.families),
        "table": finding.table,
        "chain": finding.chain,
        "rule": finding.number,
        "dumpLine": finding.line,
        "set": finding.set,
        "map": finding.map,
        "object": finding.subject,
        "file": place.file if place else "",
        "line": place.line if place else 0,
        "path": spell(finding.path),
        "there": finding.there,
        "wanted": finding.wanted,
        "details": list(finding.details),
        "meaning": f"{finding.effect.words}; {finding.meaning}",
        "examples": [
            {key: value for key, value in example._asdict().items() if value} for example in finding.effect.examples
        ],
    }
    return {key: value for key, value in found.items() if value not in ("", 0) or isinstance(value, bool)}
