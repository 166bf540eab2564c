"""Rules of a node whose data plane changes, compared by meaning."""

from __future__ import annotations

import re

import pytest

from felixpy.calico_versions import V3_32
from felixpy.compiler import Compiler
from felixpy.difference.across import ChainKeys, compare_meanings
from felixpy.difference.chains import ChainChange
from felixpy.iptables.forms import read_dump
from felixpy.model import Cluster
from felixpy.nftables.dumps import read_listing
from tests.clusters import ALLOW, cluster, node, pod, policy

SHOP = cluster(
    node("n1"),
    *(pod(f"web-{number}", node="n1", labels={"app": "web"}) for number in range(30)),
    policy("a-name-that-is-too-long-for-iptables", ingress=[ALLOW]),
)
RULES = {plane: Compiler(SHOP, dataplane=plane).compile("n1").save(4) for plane in ("iptables", "nftables")}


def changes(listing: str, known: Cluster = SHOP) -> list[ChainChange]:
    """What differs apart from names; the manifests need not be known."""
    before, after = read_dump({4: RULES["iptables"]}), read_listing(listing)
    keys = ChainKeys(known, V3_32, "iptables"), ChainKeys(known, V3_32, "nftables")
    found = list(compare_meanings(before.tables[4], after.tables[4], keys))
    return [change for change in found if change.kind != "renamed"]


def test_long_names_and_trees_of_dispatch_are_no_difference() -> None:
    assert "-g cali-from-wl-dispatch-" in RULES["iptables"]
    assert "a-name-that-is-too-long" not in re.sub('comment "[^"]*"', "", RULES["iptables"])
    for known in (SHOP, Cluster()):
        assert [(one.table, one.chain) for one in changes(RULES["nftables"], known)] == [("filter", "cali-OUTPUT")]


@pytest.mark.parametrize(
    "pattern, by, chain, signs",
    [
        (r"\n\t\tudp dport 4789 [^\n]*", "", "cali-fw-", "-"),
        (r"(udp dport 4789 counter )drop", r"\1accept", "cali-fw-", "-+"),
        (r'"(cali[\w-]+)" : goto filter-cali-fw-\1,\n', "\n", "cali-from-wl-dispatch", "-"),
        (r'"(cali[\w-]+)" : goto filter-cali-fw-\1', r'"\1" : goto filter-cali-fw-x', "cali-from-wl-dispatch", "-+"),
        (r"meta mark & 0x00020000 == 0x00000000 counter jump filter-cali-pi-", "counter jump filter-cali-pi-",
         "cali-tw-", "-+"),
    ],
)  # fmt: skip
def test_a_rule_that_says_something_else_is_found(pattern: str, by: str, chain: str, signs: str) -> None:
    listing, number = re.subn(pattern, by, RULES["nftables"], count=1)
    assert number == 1
    (found,) = (change for change in changes(listing) if change.chain != "cali-OUTPUT")
    assert found.chain.startswith(chain)
    assert "".join(rule.sign for rule in found.rules) == signs


def test_a_chain_that_only_one_data_plane_has() -> None:
    extra = RULES["nftables"].replace(
        "\tchain filter-cali-FORWARD", "\tchain filter-cali-x {\n\t\tcounter drop\n\t}\n\tchain filter-cali-FORWARD", 1
    )
    found = [change for change in changes(extra) if change.chain == "cali-x"]
    assert [(change.kind, change.size) for change in found] == [("added", 1)]
