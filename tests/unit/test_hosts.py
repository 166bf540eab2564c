"""Which host endpoint owns which interface of a machine."""

from __future__ import annotations

import pytest

from felixpy.config import Config
from felixpy.hosts import LOOPBACK_ADDRESSES, interfaces_of, owners
from felixpy.model import Host, HostEndpoint
from felixpy.names import ANY_INTERFACE
from tests.clusters import host_endpoint


@pytest.mark.parametrize(
    "given, config, expected",
    [
        ({"eth0": ("10.0.0.1/24", "fd00::1/64"), "eth1": ()}, Config(), {"eth0": ("10.0.0.1", "fd00::1"), "eth1": ()}),
        ({"cali123": (), "eth0": ()}, Config(), {"eth0": ()}),
        ({"eni1": (), "cali1": (), "eth0": ()}, Config(interface_prefixes=("eni", "veth")), {"cali1": (), "eth0": ()}),
        ({"kube-ipvs0": (), "kube-ipvs01": ()}, Config(), {"kube-ipvs01": ()}),
        (
            {"docker0": (), "kube-ipvs0": (), "eth0": (), "xeth0": ()},
            Config(interface_exclude=("docker0", "/^eth/")),
            {"kube-ipvs0": (), "xeth0": ()},
        ),
        ({}, Config(), {}),
        (None, Config(), {"eth0": ()}),
    ],
)
def test_interfaces_that_count(
    given: dict[str, tuple[str, ...]] | None, config: Config, expected: dict[str, tuple[str, ...]]
) -> None:
    endpoints = [host_endpoint("a", "eth0"), host_endpoint("b", "*"), host_endpoint("c", "", "10.0.0.1")]
    loopback = {"lo": LOOPBACK_ADDRESSES}
    assert interfaces_of(Host(interfaces=given), endpoints, config) == expected | loopback


def test_an_endpoint_for_a_pods_interface_owns_nothing_where_nobody_said_what_the_machine_has() -> None:
    endpoints = [host_endpoint("a", "cali123"), host_endpoint("b", "eth0")]
    assert interfaces_of(Host(), endpoints, Config()) == {"eth0": (), "lo": LOOPBACK_ADDRESSES}


def test_the_loopback_interface_can_be_excluded_and_have_more_addresses() -> None:
    assert interfaces_of(Host(interfaces={}), [], Config(interface_exclude=("lo",))) == {}
    found = interfaces_of(Host(interfaces={"lo": ("127.0.0.1/8", "192.0.2.9/32")}), [], Config())
    assert found == {"lo": (*LOOPBACK_ADDRESSES, "192.0.2.9")}


INTERFACES = {"eth2": (), "eth1": ("10.0.1.1",), "eth0": ("10.0.0.1", "fd00::1")}
OWNERS = [
    ("by name", [host_endpoint("a", "eth1")], [("eth1", "a")]),
    ("by address", [host_endpoint("a", "", "10.0.1.1")], [("eth1", "a")]),
    ("by any of its addresses", [host_endpoint("a", "", "10.9.9.9", "fd00::1")], [("eth0", "a")]),
    ("a name counts without addresses", [host_endpoint("a", "eth2")], [("eth2", "a")]),
    ("who has a name never matches by address", [host_endpoint("a", "eth7", "10.0.0.1")], []),
    ("an interface that is missing", [host_endpoint("a", "wlan0")], []),
    (
        "the smallest name wins, whatever it matched by",
        [host_endpoint("z", "eth0"), host_endpoint("b", "", "10.0.0.1"), host_endpoint("c", "eth0")],
        [("eth0", "b")],
    ),
    ("one for several", [host_endpoint("a", "", "10.0.0.1", "10.0.1.1")], [("eth0", "a"), ("eth1", "a")]),
    (
        "the one for all comes first and takes no interface away",
        [host_endpoint("b", "eth0"), host_endpoint("y", "*"), host_endpoint("x", "*")],
        [(ANY_INTERFACE, "x"), ("eth0", "b")],
    ),
    ("nobody", [], []),
]


@pytest.mark.parametrize("endpoints, expected", [row[1:] for row in OWNERS], ids=[row[0] for row in OWNERS])
def test_owners(endpoints: list[HostEndpoint], expected: list[tuple[str, str]]) -> None:
    for order in (endpoints, endpoints[::-1]):
        assert [(interface, owner.name) for interface, owner in owners(order, INTERFACES)] == expected
