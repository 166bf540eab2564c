"""IP sets: their identity, who is in them, and how they are printed."""

from __future__ import annotations

import pytest

from felixpy.ipsets import (
    IPSet,
    Labelled,
    Membership,
    SetMembers,
    SetSpec,
    family_of,
    named_port_set,
    selector_set,
    service_set,
    shown,
    uncovered,
)
from felixpy.model import NamedPort, ServiceName, Slice
from felixpy.names import set_name
from tests.clusters import HERE, cluster, host_endpoint, network_set, pod, profile

POD_SELECTOR = "(projectcalico.org/namespace == 'default') && (projectcalico.org/orchestrator == 'k8s' && app == 'web')"
SVC, DNS = ServiceName("default", "svc"), ServiceName("kube-system", "kube-dns")


@pytest.mark.parametrize(
    "spec, identity, kind",
    [
        (selector_set("all()"), "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug", "hash:net"),
        (selector_set(POD_SELECTOR), "s:XdTkeoA4uORlm_7HsXcm20F7woNxeqzWBG9Epw", "hash:net"),
        (named_port_set("all()", "tcp", "http"), "n:cl9_Kgeu4H0OGLbhovVR3NBLUOZscKeMK1Mu4A", "hash:ip,port"),
        (named_port_set("all()", "udp", "dns"), "n:wBUuGT_s8isCYKpah3eXsbdmUcK81NRtDXrUEA", "hash:ip,port"),
        (named_port_set("all()", None, "http"), "n:FvKMFOOSYvkZZJ0ch1bwT7bt3AAgySwlMLqMDA", "hash:ip,port"),
        (named_port_set(POD_SELECTOR, "tcp", "http"), "n:0wwmT1GS_RrcpQ2bpiIo_26FTnOmzu7ldD8r-Q", "hash:ip,port"),
        (service_set(SVC, with_ports=True), "svc:Jhwii46PCMT5NlhWsUqZmv7al8TeHFbNQMhoVg", "hash:ip,port"),
        (service_set(SVC, with_ports=False), "svcnoport:T03S_6hogdrGKrNFBcbKTFsH_uKwDHEo8JddOg", "hash:net"),
        (service_set(DNS, with_ports=True), "svc:W-UBHgl2FIwjl8cRtuQXV8KEt_by4GReqieFbg", "hash:ip,port"),
        (service_set(DNS, with_ports=False), "svcnoport:7GS-RB2v2HoCK0f-l_15hD3GCo-_vkoAS8K6YA", "hash:net"),
    ],
)
def test_identity_and_type(spec: SetSpec, identity: str, kind: str) -> None:
    assert (spec.id, spec.type) == (identity, kind)


@pytest.mark.parametrize(
    "protocol, counts_as",
    [("tcp", "tcp"), ("udp", "udp"), ("sctp", "sctp"), (6, "tcp"), (17, "udp"), (132, "sctp"), ("icmp", "tcp"),
     (None, "any")],
)  # fmt: skip
def test_named_ports_know_three_protocols(protocol: str | int | None, counts_as: str) -> None:
    assert named_port_set("all()", protocol, "http").protocol == counts_as


def test_one_meaning_is_one_set() -> None:
    spellings = ("a=='x'&&has(b)", '(a == "x") && has( b )', "(a == 'x' && has(b))")
    assert len({selector_set(text) for text in spellings}) == 1
    assert selector_set("has(b) && a == 'x'") != selector_set(spellings[0])


@pytest.mark.parametrize(
    "spec, words",
    [
        (selector_set("has(a)"), "has(a)"),
        (named_port_set("has(a)", "tcp", "http"), "port http (tcp) of endpoints with has(a)"),
        (service_set(SVC, with_ports=True), "addresses and ports behind service default/svc"),
        (service_set(SVC, with_ports=False), "addresses behind service default/svc"),
    ],
)
def test_sets_say_what_they_hold(spec: SetSpec, words: str) -> None:
    assert words in spec.words()


WEB = pod(
    "web", "10.0.0.1", "10.0.0.2", "fd00::1", labels={"a": "A", "b": "B"}, ports=(NamedPort("http", "tcp", 8080),)
)
API = pod(
    "api",
    "10.0.0.2",
    "10.0.0.3",
    namespace="shop",
    node="node2",
    labels={"b": "B", "c": "C"},
    ports=(NamedPort("http", "tcp", 8081), NamedPort("http", "udp", 8082), NamedPort("dns", "udp", 53)),
)
HOST = host_endpoint(
    "host", "eth0", "192.0.2.1", labels={"b": "host"}, ports=(NamedPort("http", "tcp", 80),), profiles=("custom",)
)
ROUTER = host_endpoint("router", "eth1", labels={"b": "host"})
NETS = network_set("nets", "10.0.0.0/24", "198.51.100.0/24", "2001:db8::/32", namespace="shop", kind="net")
GLOBAL = network_set("partners", "10.0.0.0/30", "10.0.0.3/32", kind="partner")
SLICES = (
    Slice(service=SVC, addresses=("10.0.0.1", "10.0.0.9", "fd00::9"), ports=(("tcp", 80), ("udp", 53)), source=HERE),
    Slice(service=SVC, addresses=("10.0.0.8",), ports=(), source=HERE),
    Slice(service=ServiceName("other", "svc"), addresses=("10.9.9.9",), ports=(("tcp", 80),), source=HERE),
)
PROFILES = (profile("kns.shop", labels={"pcns.team": "shop"}), profile("custom", labels={"zone": "dmz"}))
LABELLED: tuple[Labelled, ...] = (WEB, API, HOST, ROUTER, NETS, GLOBAL)


def membership(*, suppress: bool = False) -> Membership:
    return Membership(cluster(*LABELLED, *SLICES, *PROFILES), dict(enumerate(LABELLED)), suppress)


@pytest.mark.parametrize(
    "selector, v4, v6",
    [
        ("has(a)", ["10.0.0.1", "10.0.0.2"], ["fd00::1"]),
        ("b == 'B'", ["10.0.0.1", "10.0.0.2", "10.0.0.3"], ["fd00::1"]),
        ("b == 'host'", ["192.0.2.1"], []),
        ("zone == 'dmz'", ["192.0.2.1"], []),
        ("kind == 'net'", ["10.0.0.0/24", "198.51.100.0/24"], ["2001:db8::/32"]),
        ("kind == 'partner'", ["10.0.0.0/30", "10.0.0.3"], []),
        ("pcns.team == 'shop'", ["10.0.0.0/24", "10.0.0.2", "10.0.0.3", "198.51.100.0/24"], ["2001:db8::/32"]),
        ("has(nothing)", [], []),
    ],
)
def test_a_selector_set_holds_the_addresses_of_whom_it_selects(selector: str, v4: list[str], v6: list[str]) -> None:
    spec = selector_set(selector)
    assert [list(membership().members(spec, family)) for family in (4, 6)] == [v4, v6]


@pytest.mark.parametrize(
    "selector, kept",
    [
        ("pcns.team == 'shop'", ("10.0.0.0/24", "198.51.100.0/24")),
        ("kind == 'partner'", ("10.0.0.0/30",)),
        ("b == 'B'", ("10.0.0.1", "10.0.0.2", "10.0.0.3")),
    ],
)
def test_members_inside_other_members_are_left_out_where_nftables_could_be_in_use(
    selector: str, kept: tuple[str, ...]
) -> None:
    assert membership(suppress=True).members(selector_set(selector), 4) == kept


@pytest.mark.parametrize(
    "selector, protocol, port, expected",
    [
        (
            "b == 'B'",
            "tcp",
            "http",
            ["10.0.0.1,tcp:8080", "10.0.0.2,tcp:8080", "10.0.0.2,tcp:8081", "10.0.0.3,tcp:8081"],
        ),
        ("b == 'B'", "udp", "http", ["10.0.0.2,udp:8082", "10.0.0.3,udp:8082"]),
        ("has(c)", None, "http", ["10.0.0.2,tcp:8081", "10.0.0.2,udp:8082", "10.0.0.3,tcp:8081", "10.0.0.3,udp:8082"]),
        ("zone == 'dmz'", "tcp", "http", ["192.0.2.1,tcp:80"]),
        ("all()", "tcp", "dns", []),
        ("kind == 'net'", "tcp", "http", []),
    ],
)
def test_a_named_port_set_pairs_addresses_with_ports(
    selector: str, protocol: str | None, port: str, expected: list[str]
) -> None:
    spec = named_port_set(selector, protocol, port)
    assert list(membership(suppress=True).members(spec, 4)) == expected


def test_a_service_set_holds_what_all_its_slices_list() -> None:
    found = membership(suppress=True)
    with_ports, without = service_set(SVC, with_ports=True), service_set(SVC, with_ports=False)
    assert found.members(with_ports, 4) == (
        "10.0.0.1,tcp:80",
        "10.0.0.1,udp:53",
        "10.0.0.9,tcp:80",
        "10.0.0.9,udp:53",
    )
    assert found.members(with_ports, 6) == ("fd00::9,tcp:80", "fd00::9,udp:53")
    assert found.members(without, 4) == ("10.0.0.1", "10.0.0.8", "10.0.0.9")
    assert found.members(service_set(ServiceName("", "svc"), with_ports=True), 4) == ()


def test_a_set_is_built_with_its_kernel_name() -> None:
    spec = selector_set("has(a)")
    built = membership().build(spec, 6, 99, None)
    assert built.save() == f"create {set_name(6, spec.id)} hash:net family inet6 maxelem 99\nadd {built.name} fd00::1\n"


def test_an_empty_set_is_created_all_the_same() -> None:
    empty = IPSet(name="cali40x", type="hash:ip,port", family=4, members=SetMembers(), max_size=1048576, words="")
    assert empty.save() == "create cali40x hash:ip,port family inet maxelem 1048576\n"


@pytest.mark.parametrize(
    "family, nets, kept",
    [
        (4, ["10.0.0.5", "10.0.0.0/24", "10.0.0.128/25", "10.1.0.0/16"], ["10.0.0.0/24", "10.1.0.0/16"]),
        (4, ["10.0.0.0/25", "10.0.0.128/25"], ["10.0.0.0/25", "10.0.0.128/25"]),
        (4, ["10.0.0.0/24", "10.0.0.0/25", "10.0.0.0"], ["10.0.0.0/24"]),
        (4, ["0.0.0.0/1", "128.0.0.0/1", "255.255.255.255", "127.0.0.1"], ["0.0.0.0/1", "128.0.0.0/1"]),
        (4, ["10.0.0.255", "10.0.0.0/24", "10.0.1.0"], ["10.0.0.0/24", "10.0.1.0"]),
        (4, ["10.0.0.1", "10.0.0.1"], ["10.0.0.1"]),
        (4, [], []),
        (6, ["fd00::/8", "fd12::1", "fe80::/10", "fdff:ffff::/32"], ["fd00::/8", "fe80::/10"]),
        (6, ["::/1", "8000::/1", "::1", "ffff::"], ["8000::/1", "::/1"]),
    ],
)
def test_networks_that_no_other_one_contains(family: int, nets: list[str], kept: list[str]) -> None:
    assert sorted(uncovered(nets, family)) == sorted(kept)


@pytest.mark.parametrize(
    "net, expected", [("10.0.0.1/32", "10.0.0.1"), ("fd00::1/128", "fd00::1"), ("fd00::/32", "fd00::/32")]
)
def test_host_networks_lose_their_length(net: str, expected: str) -> None:
    assert shown(net) == expected


@pytest.mark.parametrize(
    "text, family", [("10.0.0.1", 4), ("10.0.0.0/8", 4), ("10.0.0.1,tcp:80", 4), ("::1", 6), ("fd00::1,tcp:80", 6)]
)
def test_the_family_of_a_member(text: str, family: int) -> None:
    assert family_of(text) == family
