"""Formats counts as a table, JSON, CSV and Prometheus text."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import groupby
from typing import NamedTuple

from felixpy.counters.counts import Count, Kind, summed

HEADINGS: dict[Kind, tuple[str, str]] = {
    "rule": ("POLICY AND RULE", "ACTION"),
    "tier-end": ("END OF TIER", "ACTION"),
    "endpoint": ("ENDPOINT", "ACTION"),
}


def table(counts: Iterable[Count]) -> str:
    """Return counts as a table with a section for each kind; a policy's line has the sum of the rules below it."""
    sections = []
    for kind, found in groupby(summed(counts), key=lambda count: count.kind):
        rows = [(HEADINGS[kind][0], HEADINGS[kind][1], "PACKETS", "BYTES", ""), *_rows(found)]
        sections.append(_aligned(rows))
    return "\n".join(sections)


def _rows(counts: Iterable[Count]) -> Iterator[tuple[str, str, str, str, str]]:
    for (subject, direction), group in groupby(counts, key=lambda count: (count.subject, count.direction)):
        members = list(group)
        packets, size = (sum(values) for values in zip(*((each.packets, each.bytes) for each in members), strict=True))
        yield f"{subject} {direction}", "", str(packets), str(size), ""
        for each in members:
            place = str(each.place) if each.place else ""
            yield f"  {each.detail}", each.action, str(each.packets), str(each.bytes), place


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = (
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)


FIELDS = (
    "node", "family", "table", "kind", "subject", "direction", "detail", "action", "packets", "bytes", "place",
    "chain", "number", "identity",
)  # fmt: skip


def _values(count: Count) -> dict[str, object]:
    found = {name: getattr(count, name) for name in FIELDS}
    return {**found, "place": str(count.place) if count.place else ""}


def document(counts: Iterable[Count], restarted: Sequence[Count] = ()) -> dict[str, object]:
    """Return counts as a CounterList: one item for each rule of each node; empty fields are left out."""
    items = [{name: value for name, value in _values(count).items() if value != ""} for count in counts]
    anew = [f"{count.chain} {count.number}" for count in restarted]
    return {"apiVersion": "felixpy/v1", "kind": "CounterList", "items": items, "restarted": anew}


def comma_separated(counts: Iterable[Count]) -> str:
    """Return counts as CSV: a header line, then one line for each rule of each node."""
    output = StringIO()
    writer = csv.DictWriter(output, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_values, counts))
    return output.getvalue()


class _Metric(NamedTuple):
    """A metric of one kind: its name without unit, its help, and labels as (name, field of the count)."""

    name: str
    help: str
    labels: tuple[tuple[str, str], ...]


COMMON = (("node", "node"), ("family", "family"), ("table", "table"), ("direction", "direction"), ("action", "action"))

METRICS: dict[Kind, _Metric] = {
    "rule": _Metric(
        "felixpy_policy_rule", "that a rule of a policy or profile matched", (("policy", "subject"), ("rule", "detail"))
    ),
    "tier-end": _Metric(
        "felixpy_tier_end", "denied at the end of a tier", (("endpoint", "subject"), ("tier", "detail"))
    ),
    "endpoint": _Metric("felixpy_endpoint", "decided for an endpoint", (("endpoint", "subject"), ("reason", "detail"))),
}


def exposition(counts: Sequence[Count]) -> str:
    """Return counts in Prometheus' text exposition format 0.0.4; a policy rule has one sample in each table."""
    lines = []
    for kind, metric in METRICS.items():
        for unit in ("packets", "bytes"):
            samples: dict[str, int] = {}
            for count in counts:
                if count.kind == kind:
                    labels = _labels(count, metric)
                    samples[labels] = samples.get(labels, 0) + int(getattr(count, unit))
            if samples:
                name = f"{metric.name}_{unit}_total"
                lines += [f"# HELP {name} {unit.capitalize()} {metric.help}.", f"# TYPE {name} counter"]
                lines += [f"{name}{{{labels}}} {value}" for labels, value in samples.items()]
    return "".join(f"{line}\n" for line in lines)


def _labels(count: Count, metric: _Metric) -> str:
    pairs = ((label, str(getattr(count, field))) for label, field in (*COMMON, *metric.labels))
    return ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs)


def _escaped(value: str) -> str:
    r"""Return a label's value, escaped.

    >>> _escaped('a "b" \\')
    'a \\"b\\" \\\\'
    """
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
