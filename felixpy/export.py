"""Compiled rules as JSON for programs (``apiVersion: felixpy/v1``).

Keys are camel case as in manifests, lists have a fixed order, what is unknown is left out. A change that would break
a reader makes it v2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from felixpy.errors import Path, Problem, spell
from felixpy.ipsets import IPSet
from felixpy.model import Cluster, Source
from felixpy.ruleset import TABLES, Chain, Ruleset, Table

API_VERSION = "felixpy/v1"

Json = dict[str, Any]


def ruleset_json(ruleset: Ruleset, cluster: Cluster, families: Iterable[int]) -> Json:
    """A ruleset: for each family its tables with chains and rules, and its sets.

    A rule has its ``text`` in Felix's spelling (from which its ``hash`` is computed), ``saved`` as the kernel prints
    it, and an ``origin`` if it was made from a rule of a policy or profile.
    """
    return {
        **head_json(ruleset),
        "families": [
            {
                "family": family,
                "tables": [
                    _table(ruleset.tables[family, name], cluster) for name in TABLES if (family, name) in ruleset.tables
                ],
                "sets": [
                    set_json(ipset, cluster)
                    for ipset in sorted(ruleset.sets, key=lambda ipset: ipset.name)
                    if ipset.family == family
                ],
            }
            for family in families
        ],
        "findings": [problem_json(problem) for problem in ruleset.findings],
    }


def head_json(ruleset: Ruleset) -> Json:
    """The first keys of every document about a ruleset."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Ruleset",
        "node": ruleset.node,
        "calicoVersion": ruleset.calico_version,
        "dataplane": ruleset.dataplane,
    }


def problem_json(problem: Problem) -> Json:
    """One finding about the input."""
    return _known(
        severity=problem.severity,
        file=problem.place.file,
        line=problem.place.line,
        column=problem.place.column,
        object=problem.subject,
        path=spell(problem.path),
        reason=problem.reason,
        hint=problem.hint,
    )


def _known(**values: object) -> Json:
    return {key: value for key, value in values.items() if value not in (None, "", 0)}


def origin_json(cluster: Cluster, words: str, source: Source | None, path: Path = ()) -> Json:
    """An origin: in words, with the place in a file if there is one."""
    if source is None or not source.file:
        return {"object": words}
    place = cluster.where(source, path)
    return _known(object=words, path=spell(path), file=place.file, line=place.line, column=place.column)


def _table(table: Table, cluster: Cluster) -> Json:
    return {
        "name": table.name,
        "hooks": [_chain(chain, table.family, cluster) for chain in table.kernel_chains()],
        "chains": [_chain(chain, table.family, cluster) for chain in table.chains],
    }


def _chain(chain: Chain, family: int, cluster: Cluster) -> Json:
    places: dict[int, Json] = {}
    rules = []
    saved_rules = chain.each_rule(family, restore=False)
    for (body, identity, number), saved in zip(chain.rules(), saved_rules, strict=True):
        rule: Json = {"text": body, "saved": saved, "hash": identity}
        path = chain.origin.path(number)
        if path:
            if number not in places:
                places[number] = origin_json(cluster, chain.origin.words, chain.origin.source, path)
            rule["origin"] = places[number]
        rules.append(rule)
    origin = origin_json(cluster, chain.origin.words, chain.origin.source)
    return {"name": chain.name, "origin": origin, "rules": rules}


def set_json(ipset: IPSet, cluster: Cluster) -> Json:
    """A set with its description and members."""
    shown: Json = {
        "name": ipset.name,
        "type": ipset.type,
        "maxElements": ipset.max_size,
        "meaning": ipset.words,
        "members": list(ipset.members),
    }
    if ipset.origin:
        shown["origin"] = origin_json(cluster, ipset.origin.subject, ipset.origin.source, ipset.origin.path)
    return shown
