"""Small chains about addresses: outgoing NAT, floating addresses, DSCP, spoofing, service addresses, failsafes."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.model import Workload
from tests.clusters import bodies, compiled, host_endpoint, node, pod, policy, pool

POOL = pool("10.65.0.0/16", nat_outgoing=True)
POOL6 = pool("fd00::/48", nat_outgoing=True)
OUT = "-m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40network-ip-pools dst"
NOT_HOSTS = " -m set ! --match-set cali40all-hosts-net dst"
RANDOM = "--random-fully"


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, [f"{OUT} --jump MASQUERADE {RANDOM}"]),
        ({"FeatureDetectOverride": "MASQFullyRandom=false"}, [f"{OUT} --jump MASQUERADE"]),
        ({"NATOutgoingAddress": "192.0.2.9"}, [f"{OUT} --jump SNAT --to-source 192.0.2.9 {RANDOM}"]),
        (
            {"NATOutgoingAddress": "192.0.2.9", "FeatureDetectOverride": "SNATFullyRandom=false"},
            [f"{OUT} --jump SNAT --to-source 192.0.2.9"],
        ),
        ({"NATOutgoingExclusions": "IPPoolsAndHostIPs"}, [f"{OUT}{NOT_HOSTS} --jump MASQUERADE {RANDOM}"]),
        ({"IptablesNATOutgoingInterfaceFilter": "eth0"}, [f"{OUT} --out-interface eth0 --jump MASQUERADE {RANDOM}"]),
        (
            {"NATPortRange": "32768:65535"},
            [
                f"{OUT} -p tcp --jump MASQUERADE --to-ports 32768-65535 {RANDOM}",
                f"{OUT} -p tcp --jump RETURN",
                f"{OUT} -p udp --jump MASQUERADE --to-ports 32768-65535 {RANDOM}",
                f"{OUT} -p udp --jump RETURN",
                f"{OUT} --jump MASQUERADE {RANDOM}",
            ],
        ),
        (
            {
                "NATPortRange": "99:100",
                "NATOutgoingAddress": "192.168.0.1",
                "IptablesNATOutgoingInterfaceFilter": "cali-123",
                "NATOutgoingExclusions": "IPPoolsAndHostIPs",
            },
            [
                f"{OUT}{NOT_HOSTS} -p tcp --out-interface cali-123 --jump SNAT --to-source 192.168.0.1:99-100 {RANDOM}",
                f"{OUT}{NOT_HOSTS} -p tcp --out-interface cali-123 --jump RETURN",
                f"{OUT}{NOT_HOSTS} -p udp --out-interface cali-123 --jump SNAT --to-source 192.168.0.1:99-100 {RANDOM}",
                f"{OUT}{NOT_HOSTS} -p udp --out-interface cali-123 --jump RETURN",
                f"{OUT}{NOT_HOSTS} --out-interface cali-123 --jump SNAT --to-source 192.168.0.1 {RANDOM}",
            ],
        ),
    ],
)
def test_outgoing_nat(settings: dict[str, object], expected: list[str]) -> None:
    assert bodies(compiled(node(), POOL, settings=settings), "nat", "cali-nat-outgoing") == expected


def test_outgoing_nat_needs_a_pool_of_the_family_that_asks_for_it() -> None:
    plain = compiled(node(), pool("10.65.0.0/16"), POOL6)
    assert bodies(plain, "nat", "cali-nat-outgoing") == []
    six = OUT.replace("cali40", "cali60")
    assert bodies(plain, "nat", "cali-nat-outgoing", 6) == [f"{six} --jump MASQUERADE {RANDOM}"]


def floating(name: str, own: str, *addresses: str, **more: Any) -> Workload:
    return pod(name, own, floating=tuple((own, address) for address in addresses), **more)


@pytest.mark.parametrize(
    "pods, dnat, snat",
    [
        ([floating("a", "10.65.0.2", "192.0.2.1")], {"192.0.2.1": "10.65.0.2"}, {"10.65.0.2": "192.0.2.1"}),
        # The smallest address, as text, has a floating address that several claim; who lost gets nothing.
        (
            [floating("a", "10.65.0.9", "192.0.2.1"), floating("b", "10.65.0.10", "192.0.2.1")],
            {"192.0.2.1": "10.65.0.10"},
            {"10.65.0.10": "192.0.2.1"},
        ),
        # One pod has several: it answers from the smallest, as text, of those that it won.
        (
            [floating("a", "10.65.0.2", "192.0.2.9", "192.0.2.10"), floating("b", "10.65.0.1", "192.0.2.10")],
            {"192.0.2.10": "10.65.0.1", "192.0.2.9": "10.65.0.2"},
            {"10.65.0.1": "192.0.2.10", "10.65.0.2": "192.0.2.9"},
        ),
        ([floating("a", "10.65.0.2", "192.0.2.1", node="node2"), pod("b")], {}, {}),
    ],
)
def test_floating_addresses(pods: list[Workload], dnat: dict[str, str], snat: dict[str, str]) -> None:
    for order in (pods, pods[::-1]):
        ruleset = compiled(*order, settings={"FloatingIPs": "Enabled"})
        assert bodies(ruleset, "nat", "cali-fip-dnat") == [
            f"--destination {there} --jump DNAT --to-destination {here}" for there, here in dnat.items()
        ]
        assert bodies(ruleset, "nat", "cali-fip-snat") == [
            f"--destination {here} --source {here} --jump SNAT --to-source {there} {RANDOM}"
            for here, there in snat.items()
        ]


def test_floating_addresses_are_off_by_default_and_kept_to_their_family() -> None:
    both = pod("a", "10.65.0.2", "fd00::2", floating=(("10.65.0.2", "192.0.2.1"), ("fd00::2", "2001:db8::1")))
    assert bodies(compiled(both), "nat", "cali-fip-dnat") == []
    enabled = compiled(both, settings={"FloatingIPs": "Enabled"})
    (rule,) = bodies(enabled, "nat", "cali-fip-dnat", 6)
    assert rule == "--destination 2001:db8::1 --jump DNAT --to-destination fd00::2"


def test_old_tools_cannot_draw_ports_at_random() -> None:
    override = {"FloatingIPs": "Enabled", "FeatureDetectOverride": "SNATFullyRandom=false"}
    (rule,) = bodies(compiled(floating("a", "10.65.0.2", "192.0.2.1"), settings=override), "nat", "cali-fip-snat")
    assert rule.endswith("--to-source 192.0.2.1")


def test_dscp_rules_are_sorted_by_their_addresses_which_keep_their_order() -> None:
    ruleset = compiled(
        pod("a", "10.65.0.9", "10.65.0.1", "fd00::9", dscp=46),
        pod("b", "10.65.0.100", dscp=0),
        pod("c", "10.65.0.10", dscp=63),
        pod("d", "10.65.0.2"),
        pod("e", "10.65.0.3", dscp=1, node="node2"),
        host_endpoint("host", "", "192.0.2.1", dscp=8),
        host_endpoint("mute", "eth0", dscp=8),
    )
    assert bodies(ruleset, "mangle", "cali-egress-dscp") == [
        "--source 10.65.0.10 --jump DSCP --set-dscp 63",
        "--source 10.65.0.100 --jump DSCP --set-dscp 0",
        "--source 10.65.0.9,10.65.0.1 --jump DSCP --set-dscp 46",
        "--source 192.0.2.1 --jump DSCP --set-dscp 8",
    ]
    assert bodies(ruleset, "mangle", "cali-egress-dscp", 6) == ["--source fd00::9 --jump DSCP --set-dscp 46"]


def test_pods_that_may_send_from_other_addresses() -> None:
    spoofer = pod("a", interface="cali1", spoofable=("10.5.0.0/24", "fd05::/64", "10.4.0.0/24"))
    other = pod("b", interface="cali0", spoofable=("10.6.0.0/24",))
    ruleset = compiled(spoofer, other, settings={"WorkloadSourceSpoofing": "Any"})
    assert bodies(ruleset, "raw", "cali-rpf-skip") == [
        "--in-interface cali0 --source 10.6.0.0/24 --jump ACCEPT",
        "--in-interface cali1 --source 10.5.0.0/24 --jump ACCEPT",
        "--in-interface cali1 --source 10.4.0.0/24 --jump ACCEPT",
    ]
    assert bodies(ruleset, "raw", "cali-rpf-skip", 6) == ["--in-interface cali1 --source fd05::/64 --jump ACCEPT"]
    assert bodies(compiled(node(), spoofer, other), "raw", "cali-rpf-skip") == []


@pytest.mark.parametrize(
    "prevention, target", [("Drop", "DROP"), ("Reject", "REJECT"), ("Disabled", None), (None, "DROP")]
)
def test_service_addresses_that_nobody_answers_for(prevention: str | None, target: str | None) -> None:
    cidrs = ("172.16.0.0/16", "fd00:96::/112", "10.96.0.0/12", "10.96.0.0/12")
    settings = {"ServiceLoopPrevention": prevention} if prevention else {}
    ruleset = compiled(node(), service_cidrs=cidrs, settings=settings)
    expected = ["10.96.0.0/12", "10.96.0.0/12", "172.16.0.0/16"] if target else []
    assert bodies(ruleset, "filter", "cali-cidr-block") == [f"--destination {net} --jump {target}" for net in expected]
    six = ["--destination fd00:96::/112 --jump " + target] if target else []
    assert bodies(ruleset, "filter", "cali-cidr-block", 6) == six


FAILSAFES = {
    "FailsafeInboundHostPorts": "tcp:0.0.0.0/0:22, tcp:10.0.0.9/24:1022, tcp:[::/0]:1022",
    "FailsafeOutboundHostPorts": "tcp:0.0.0.0/0:23, 1023",
}


def port(way: str, number: int, net: str = "") -> str:
    return f"-p tcp -m multiport --{way}-ports {number}{net} --jump ACCEPT"


@pytest.mark.parametrize(
    "table, chain, family, expected",
    [
        (
            "raw",
            "cali-failsafe-in",
            4,
            [
                port("destination", 22, " --source 0.0.0.0/0"),
                port("destination", 1022, " --source 10.0.0.0/24"),
                port("source", 23, " --source 0.0.0.0/0"),
                port("source", 1023),
            ],
        ),
        ("raw", "cali-failsafe-in", 6, [port("destination", 1022, " --source ::/0"), port("source", 1023)]),
        (
            "raw",
            "cali-failsafe-out",
            4,
            [
                port("destination", 23, " --destination 0.0.0.0/0"),
                port("destination", 1023),
                port("source", 22, " --destination 0.0.0.0/0"),
                port("source", 1022, " --destination 10.0.0.0/24"),
            ],
        ),
        (
            "filter",
            "cali-failsafe-in",
            4,
            [port("destination", 22, " --source 0.0.0.0/0"), port("destination", 1022, " --source 10.0.0.0/24")],
        ),
        ("filter", "cali-failsafe-out", 6, [port("destination", 1023)]),
        ("mangle", "cali-failsafe-out", 6, [port("destination", 1023)]),
    ],
)
def test_failsafe_ports_and_in_raw_their_answers(table: str, chain: str, family: int, expected: list[str]) -> None:
    ruleset = compiled(host_endpoint("h", "eth0"), policy("raw", do_not_track=True), settings=FAILSAFES)
    assert bodies(ruleset, table, chain, family) == expected


def test_no_failsafe_ports_at_all() -> None:
    none = {"FailsafeInboundHostPorts": "none", "FailsafeOutboundHostPorts": "none"}
    ruleset = compiled(host_endpoint("h", "eth0"), policy("raw", do_not_track=True), settings=none)
    assert [bodies(ruleset, "raw", f"cali-failsafe-{way}") for way in ("in", "out")] == [[], []]
