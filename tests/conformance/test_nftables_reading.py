"""Recorded listings of nft, read back: every rule has the matches and the target of its iptables form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest
from msgspec import structs

import felixpy
from felixpy.compiler import Compiler
from felixpy.flows.reachability.changes import compare
from felixpy.iptables.reader import read_felix
from felixpy.netfilter import criteria
from felixpy.netfilter.criteria import Assumed, Ports, Tracked
from felixpy.netfilter.numbers import STATES, Range
from felixpy.netfilter.rules import Body, Rule
from felixpy.nftables.dumps import read_listing
from felixpy.nftables.spelling import is_native
from felixpy.tracing import Nodes
from tests.conformance.recordings import Case
from tests.conformance.test_nftables import PROGRAMMED, compiled, recordings

_COMMENTS = re.compile(r'^(?:-m comment --comment "[^"]*" ?)+')
DNAT = criteria.Test(Tracked(STATES["DNAT"]), negated=True)
CONNECTED = criteria.Test(Tracked(STATES["NEW"] | STATES["RELATED"] | STATES["ESTABLISHED"]))
"""The meaning of ``ct status != dnat``: nft compares the whole status, so it matches every packet with a connection."""


DEFAULT_BURST = " --limit-burst 5"


def numbers(ranges: Iterable[Range]) -> int:
    """Return the numbers in some ranges, one bit for each: nft merges ranges, which must not change the numbers."""
    found = 0
    for each in ranges:
        found |= (1 << each.last + 1) - (1 << each.first)
    return found


def said(body: Body) -> tuple[object, ...]:
    """Return the meaning of a rule as a value to compare; nft lists matches in another order and merges ports."""
    tests = []
    for test in body.tests:
        criterion = test.criterion
        if isinstance(criterion, Ports):
            criterion = structs.replace(criterion, ranges=numbers(criterion.ranges))
        elif isinstance(criterion, Assumed):
            criterion = structs.replace(criterion, text=criterion.text.removesuffix(DEFAULT_BURST))
        tests.append(CONNECTED if test == DNAT else criteria.Test(criterion, test.negated))
    return frozenset(tests), body.action, body.target, body.goto


def by_number(rules: Iterable[Rule]) -> dict[int, list[Rule]]:
    found: dict[int, list[Rule]] = {}
    for rule in rules:
        found.setdefault(rule.number, []).append(rule)
    return found


@pytest.mark.parametrize("case", PROGRAMMED, ids=str)
def test_a_listing_says_what_the_rules_say(case: Case) -> None:
    ruleset = compiled(case)
    texts = [recordings(case.area).get(f"{case.name}/{name}.listed", "") for name in ("ip", "ip6", "arp")]
    dump = read_listing("".join(texts))
    assert dump.open == ()
    for (family, layer), table in ruleset.tables.items():
        if layer == "arp":
            continue
        bodies: dict[str, list[str]] = {}
        for chain in table.all_chains():
            bodies.setdefault(chain.name, []).extend(chain.bodies)
        there = dump.tables[family][layer]
        assert {name for name in there if there[name].lines or not there[name].policy} == set(bodies)
        for name, wanted in bodies.items():
            rules = by_number(there[name].rules)
            assert len(there[name].lines) == len(wanted)
            for number, text in enumerate(wanted, start=1):
                if is_native(text):
                    continue
                (rule,) = rules[number]
                assert said(rule.body) == said(read_felix(_COMMENTS.sub("", text), family)), rule.text


@pytest.mark.parametrize("case", PROGRAMMED, ids=str)
def test_sets_have_the_members_and_names_that_ipset_gives_them(case: Case) -> None:
    ruleset = compiled(case)
    text = recordings(case.area)[f"{case.name}/ip.listed"] + recordings(case.area).get(f"{case.name}/ip6.listed", "")
    sets = read_listing(text).sets
    assert sets is not None
    assert {each.name: (each.type, each.family, sorted(each.members)) for each in sets.values()} == {
        each.name: (each.type, each.family, sorted(each.members)) for each in ruleset.sets
    }


@pytest.mark.parametrize("case", PROGRAMMED[::20], ids=str)
def test_a_verdict_map_is_a_rule_for_each_pod(case: Case) -> None:
    ruleset = compiled(case)
    chain = ruleset.dump.tables[4]["filter"]["cali-to-wl-dispatch"]
    table = ruleset.tables[4, "filter"]
    found = [(rule.body.target, rule.goto) for rule in by_number(chain.rules).get(1, ())]
    assert found == [(target, True) for target in table.maps["cali-to-wl-dispatch"].values()]


@pytest.mark.parametrize("case", PROGRAMMED[::6], ids=str)
def test_no_flow_opens_or_closes_on_the_other_data_plane(case: Case) -> None:
    """Of all packets at once; the settings that iptables and nftables each have of their own are left out.

    Only the host's own neighbour discovery differs: it has no connection, so in nftables mode ``ct status != dnat``
    does not send it to the policy of host endpoints.
    """
    interfaces = {name: tuple(addresses) for name, addresses in case.facts.get("interfaces", {}).items()}
    whole = felixpy.load([case.folder / "manifests.yaml"])
    cluster = replace(whole, configurations=())
    legacy, nft = (
        Nodes(Compiler(cluster, dataplane=plane), hosts={case.node: felixpy.Host(interfaces=interfaces)})
        for plane in ("iptables", "nftables")
    )
    found = compare(legacy, nft)
    assert (found.closed, found.uncertain) == ((), ())
    for flow in found.opened:
        assert flow.source.kind == "host"
        assert {part.protocol for part in flow.traffic.parts} == {"ICMPv6"}
