"""What annotations of pods say: limits, DSCP, floating addresses, foreign source addresses; and quantities."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.manifests.validation.quantities import dscp, quantity
from felixpy.model import Qos
from tests.manifests import loaded, only_workload, pod, told

QOS = "qos.projectcalico.org/"
CNI = "cni.projectcalico.org/"

QUANTITIES = [
    ("0", 0), ("1", 1), ("+5", 5), ("-1", -1), ("-1.5", -2), ("1.0", 1), ("1.", 1), (".5", 1), ("2.5", 3),
    ("1500m", 2), ("1u", 1), ("1n", 1), ("20k", 20_000), ("1M", 10**6), ("5G", 5 * 10**9), ("1T", 10**12),
    ("1P", 10**15), ("1E", 10**18), ("1Ki", 1024), ("1.5Mi", 3 * 2**19), ("1Ei", 2**60), ("1e2", 100), ("1E2", 100),
    ("15e-1", 2), ("fast", None), ("", None), ("1 k", None), ("1kk", None), ("1K", None), ("k", None), ("1e", None),
    ("--1", None), ("0x10", None), ("1_000", None), ("１", None), ("1e999", 10**999),
]  # fmt: skip


@pytest.mark.parametrize("text, expected", QUANTITIES)
def test_quantities_are_rounded_away_from_zero(text: str, expected: int | None) -> None:
    assert quantity(text) == expected


DSCP_VALUES = [
    ("0", 0),
    ("63", 63),
    ("64", None),
    ("-1", None),
    ("ef", 46),
    ("DF", 0),
    ("CS6", 48),
    ("CS7", None),
    ("AF43", 38),
]


@pytest.mark.parametrize("text, expected", DSCP_VALUES)
def test_dscp(text: str, expected: int | None) -> None:
    assert dscp(text) == expected
    assert only_workload(pod(annotations={QOS + "dscp": text})).dscp == expected
    assert bool(told(pod(annotations={QOS + "dscp": text}))) == (expected is None)


LIMITS: list[tuple[dict[str, str], Qos | None, int]] = [
    ({}, None, 0),
    ({"ingressPacketRate": "100"}, Qos(ingress_packet_rate=100, ingress_packet_burst=5), 0),
    (
        {"egressPacketRate": "20k", "egressPacketBurst": "1M"},
        Qos(egress_packet_rate=10000, egress_packet_burst=10000),
        2,
    ),
    ({"ingressPacketRate": "0", "ingressPacketBurst": "x"}, Qos(ingress_packet_rate=1, ingress_packet_burst=5), 2),
    ({"ingressPacketBurst": "10"}, None, 1),
    ({"ingressPacketRate": "fast", "ingressPacketBurst": "10"}, None, 2),
    ({"ingressPacketRate": "10", "egressPacketBurst": "9"}, Qos(ingress_packet_rate=10, ingress_packet_burst=5), 1),
    ({"ingressMaxConnections": "-1"}, Qos(ingress_connections=1), 1),
    ({"egressMaxConnections": "5G"}, Qos(egress_connections=2**32 - 1), 1),
    ({"ingressBandwidth": "1M"}, None, 0),
]


@pytest.mark.parametrize("given, expected, warnings", LIMITS)
def test_limits(given: dict[str, str], expected: Qos | None, warnings: int) -> None:
    limited = pod(annotations={QOS + name: value for name, value in given.items()})
    assert only_workload(limited).qos == expected
    assert [severity for severity, _, _ in told(limited)] == ["warning"] * warnings


FLOATING = [
    ('["192.0.2.1"]', (("10.0.0.1", "192.0.2.1"),)),
    ('["192.0.2.1", "2001:DB8::1", "192.0.2.2"]',
     (("10.0.0.1", "192.0.2.1"), ("fd00::1", "2001:db8::1"), ("10.0.0.1", "192.0.2.2"))),
    ("[]", ()),
    ("null", ()),
    ('["web"]', ()),
]  # fmt: skip


@pytest.mark.parametrize("text, expected", FLOATING)
def test_floating_addresses(text: str, expected: Any) -> None:
    assert (
        only_workload(pod("web", "10.0.0.1", "fd00::1", annotations={CNI + "floatingIPs": text})).floating == expected
    )


def test_floating_addresses_need_one_of_their_family() -> None:
    given = {CNI + "floatingIPs": '["192.0.2.1", "2001:db8::1"]'}
    assert only_workload(pod("web", "fd00::1", annotations=given)).floating == (("fd00::1", "2001:db8::1"),)


def test_source_prefixes_are_masked() -> None:
    given = {CNI + "allowedSourcePrefixes": '["192.0.2.9/24", "FD00::1/64"]'}
    assert only_workload(pod(annotations=given)).spoofable == ("192.0.2.0/24", "fd00::/64")
    assert only_workload(pod(annotations={CNI + "allowedSourcePrefixes": ""})).spoofable == ()


UNREADABLE = [
    ("floatingIPs", ""),
    ("floatingIPs", "192.0.2.1"),
    ("floatingIPs", "[1]"),
    ("floatingIPs", '{"a": 1}'),
    ("floatingIPs", "[" * 100_000),
    ("allowedSourcePrefixes", '["192.0.2.10"]'),
    ("allowedSourcePrefixes", '["a/24"]'),
    ("allowedSourcePrefixes", "no"),
]


@pytest.mark.parametrize("name, text", UNREADABLE)
def test_an_unreadable_list_costs_the_pod(name: str, text: str) -> None:
    bad = pod(annotations={CNI + name: text})
    assert loaded(bad).workloads == ()
    ((severity, path, reason),) = told(bad)
    assert (severity, path) == ("warning", f"metadata.annotations[{CNI}{name}]")
    assert reason.endswith("Calico ignores the whole pod")


def test_what_does_not_concern_calico_passes() -> None:
    assert told(pod(annotations={"example.com/Anything": "x\ny", "kubernetes.io/ingress-bandwidth": "?"})) == []
