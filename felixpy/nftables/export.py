"""Compiled nftables rules as JSON (``apiVersion: felixpy/v1``), in the same shape as iptables rules."""

from __future__ import annotations

from collections.abc import Sequence

from felixpy.export import Json, head_json, origin_json, problem_json, set_json
from felixpy.model import Cluster
from felixpy.nftables.chains import NftChain
from felixpy.nftables.ruleset import NftRuleset
from felixpy.nftables.tables import FAMILIES, NftTable

NUMBERS = {name: number for number, name in FAMILIES.items()}


def nft_json(ruleset: NftRuleset, cluster: Cluster, families: Sequence[int] = ()) -> Json:
    """Return a ruleset as JSON: for each family its table with base chains (``hooks``), chains, verdict maps and sets.

    A rule has its ``text`` as Felix writes it (the input of its ``hash``), ``saved`` as nft lists it, its ``comment``,
    and the ``origin`` of a rule from a policy or profile. The family of the ARP table is "arp".
    """
    return {
        **head_json(ruleset),
        "families": [
            {
                "family": NUMBERS.get(table.family, table.family),
                "tables": [_table(table, cluster)],
                "sets": [{**set_json(one.source, cluster), "name": one.name, "type": one.type} for one in table.sets],
            }
            for table in ruleset.chosen(families)
        ],
        "findings": [problem_json(problem) for problem in ruleset.findings],
    }


def _table(table: NftTable, cluster: Cluster) -> Json:
    return {
        "name": table.name,
        "hooks": [_chain(chain, cluster) for chain in table.chains if chain.hook],
        "chains": [_chain(chain, cluster) for chain in table.chains if not chain.hook],
        "maps": [{"name": one.name, "chains": dict(one.chains)} for one in table.maps],
    }


def _chain(chain: NftChain, cluster: Cluster) -> Json:
    shown: Json = {"name": chain.name}
    if chain.hook:
        shown |= {"type": chain.hook.type, "hook": chain.hook.name, "priority": chain.hook.priority}
    shown["origin"] = origin_json(cluster, chain.origin.words, chain.origin.source)
    rules: list[Json] = []
    for rule in chain.rules():
        drawn: Json = {"text": rule.written, "saved": [rule.listed], "hash": rule.hash, "comment": rule.comment}
        path = chain.origin.path(rule.number)
        if path:
            drawn["origin"] = origin_json(cluster, chain.origin.words, chain.origin.source, path)
        rules.append(drawn)
    return {**shown, "rules": rules}
