"""Ports that nft joins to one comparison: how it lists them, and what is then not known about excluded ones."""

from __future__ import annotations

from io import StringIO

import pytest

import felixpy
from felixpy.nftables.listing import listed
from felixpy.nftables.normal import normal
from tests.lint import PODS

BEFORE = "tcp sport != 1 ip daddr != 10.0.0.0/8 tcp dport != 2 counter accept"
"""As nft 1.1 lists it."""


@pytest.mark.parametrize(
    "written, shown",
    [
        ("tcp sport { 1 } ip daddr 10.0.0.0/8 tcp dport { 2 }", "tcp sport 1 tcp dport 2 ip daddr 10.0.0.0/8"),
        (BEFORE, "tcp sport != 1 tcp dport != 2 ip daddr != 10.0.0.0/8 counter accept"),
        ("tcp dport { 2 } ip daddr 10.0.0.0/8 tcp sport { 1 }", "ip daddr 10.0.0.0/8 tcp sport 1 tcp dport 2"),
    ],
)
def test_single_ports_are_listed_side_by_side(written: str, shown: str) -> None:
    assert listed(f"meta l4proto tcp {written}") == shown


@pytest.mark.parametrize(
    "text",
    [
        "tcp sport 1 ip daddr 10.0.0.0/8 tcp dport != 2",
        "tcp sport { 1, 3 } ip daddr 10.0.0.0/8 tcp dport 2",
        "tcp sport 1 ip daddr 10.0.0.0/8 tcp dport 2-5",
        "tcp sport 1 counter log prefix \"x\" tcp dport 2",
        "tcp sport 1 ip daddr . meta l4proto . tcp dport @cali40n-x",
        # The first comparison of a destination port asks something else than the last one of a source port.
        "tcp sport != 1 tcp sport != 3 ip daddr 10.0.0.0/8 tcp dport 2 tcp dport != 4",
    ],
)  # fmt: skip
def test_others_stay_in_their_place(text: str) -> None:
    assert normal(text) == text


def test_releases_that_do_not_join_exclusions_list_the_same_rule() -> None:
    assert normal(BEFORE) == listed(BEFORE)


POLICY = """
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  selector: app == 'db'
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: TCP, source: {notPorts: [1000]}, destination: {notPorts: [80]}}
"""


@pytest.mark.parametrize(
    "plane, source_port, port, verdict, certain",
    [
        ("nftables", 2000, 81, "allow", True),
        ("nftables", 1000, 81, "deny", False),
        ("nftables", 2000, 80, "deny", False),
        ("nftables", 1000, 80, "deny", True),
        ("iptables", 1000, 81, "deny", True),
        ("iptables", 2000, 80, "deny", True),
    ],
)
def test_what_depends_on_the_release_of_nft_is_uncertain(
    plane: str, source_port: int, port: int, verdict: str, certain: bool
) -> None:
    cluster = felixpy.load(["-"], stdin=StringIO(f"{PODS}---{POLICY}"))
    answer = felixpy.trace(cluster, "shop/web", f"shop/db:{port}", source_port=source_port, dataplane=plane)
    assert (answer.verdict, answer.certain) == (verdict, certain)


def test_such_a_rule_is_one_rule_that_is_not_understood() -> None:
    cluster = felixpy.load(["-"], stdin=StringIO(f"{PODS}---{POLICY}"))
    answer = felixpy.matrix(cluster, dataplane="nftables")
    (doubt,) = answer.not_understood
    assert "filter cali-pi-np/shop/p 1" in str(doubt)
    assert any(words.startswith("UNCERTAIN: 1 rule is not understood; ") for words in answer.remarks)
