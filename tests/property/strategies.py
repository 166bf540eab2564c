"""Generated input: selectors, labels, and whole clusters that are small but use everything."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from felixpy.config import Setting
from felixpy.model import (
    Cluster,
    Host,
    HostEndpoint,
    Icmp,
    NamedPort,
    NetworkSet,
    Policy,
    PolicyKey,
    PortRange,
    Qos,
    Rule,
    ServiceName,
    Side,
    Slice,
    Workload,
)
from felixpy.selector import And, Everything, LabelTest, Node, Not, Or
from tests.clusters import HERE, NAMESPACED, cluster, host_endpoint, network_set, node, pod, policy, pool, profile, tier

T = TypeVar("T")

fewer = hypothesis_settings(max_examples=hypothesis_settings().max_examples // 3)
"""For laws about whole clusters, which take longer to make and to compile than other input."""

KEYS = ("app", "tier", "in", "not", "has", "projectcalico.org/namespace", "pcns.team", "a.b/c-d_e")
VALUES = ("", "web", "db", "prod", "it's", 'say "hi"', "é", "x" * 63)
"""Quotes of both kinds never meet in one value: such a text cannot be written."""

SPACES, NODES, TIERS = ("default", "shop"), ("node1", "node2"), ("default", "early", "soft", "missing")
NETS = (
    *("10.65.0.0/16", "10.65.1.0/24", "10.65.1.128/25", "192.0.2.1/32", "0.0.0.0/0", "198.51.100.0/24"),
    *("fd00::/48", "fd00::1:0/112", "fd00::5/128", "::/0"),
)


def texts(alphabet: str = "abz019-._", size: int = 60) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=1, max_size=size)


def few(of: st.SearchStrategy[T], most: int = 3) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(of, max_size=most).map(tuple)


def some(of: Sequence[T], most: int = 3) -> st.SearchStrategy[tuple[T, ...]]:
    """Different ones of a few values, in any order."""
    return st.lists(st.sampled_from(of), max_size=most, unique=True).map(tuple)


# --- selectors

_LABEL = st.sampled_from(KEYS)
_VALUE = st.sampled_from(VALUES)
_CONDITIONS = st.one_of(
    st.builds(LabelTest, _LABEL, st.sampled_from(("==", "!=", "contains", "starts with", "ends with")), _VALUE),
    st.builds(
        LabelTest,
        _LABEL,
        st.sampled_from(("in", "not in")),
        st.sets(_VALUE, max_size=3).map(lambda values: tuple(sorted(values, key=str.encode))),
    ),
    st.builds(LabelTest, _LABEL, st.just("has")),
    st.builds(Everything, st.sampled_from(("all", "global"))),
)


def _combined(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    operands = st.lists(inner, min_size=2, max_size=3).map(tuple)
    # Parsing cancels a double negation, so a tree has none right on top of another.
    negated = inner.filter(lambda operand: not isinstance(operand, Not)).map(Not)
    return st.one_of(operands.map(And), operands.map(Or), negated)


selectors: st.SearchStrategy[Node] = st.recursive(_CONDITIONS, _combined, max_leaves=8)
labels = st.dictionaries(_LABEL, _VALUE, max_size=4)

SELECTOR_TEXTS = (
    "",
    "app == 'web'",
    "app in {'web', 'db'}",
    "app != 'web'",
    "!has(app)",
    "has(app) && tier not in {'x'}",
    "pcns.team == 'red'",
    "projectcalico.org/namespace == 'shop'",
    "app starts with 'w' || tier == 'x'",
    "all()",
)
_SELECTORS = st.sampled_from(SELECTOR_TEXTS)
_LABELS = st.fixed_dictionaries(
    {}, optional={"app": st.sampled_from(("web", "db", "cache")), "tier": st.sampled_from(("x", "y"))}
)

# --- rules

_NAMED_PORTS = ("http", "dns")
_PROTOCOLS = (None, "tcp", "udp", "sctp", "icmp", "icmpv6", 6, 17, 58, 200)
_SERVICES = (ServiceName("default", "web"), ServiceName("shop", "none"))


def _ports(draw: random.Random, most: int) -> tuple[PortRange | str, ...]:
    def port() -> PortRange | str:
        first, last = draw.randint(1, 30000), draw.randint(30001, 65535)
        return draw.choice((PortRange(first, first), PortRange(first, last), draw.choice(_NAMED_PORTS)))

    return tuple(port() for _ in range(draw.randint(0, most)))


def _side(draw: random.Random, *, ports: bool) -> Side:
    if draw.random() < 0.1 and not ports:
        return Side(service=draw.choice(_SERVICES))
    return Side(
        selector=draw.choice(SELECTOR_TEXTS),
        not_selector=draw.choice(("", "", "app == 'db'")),
        nets=tuple(draw.sample(NETS, draw.choice((0, 0, 1, 3)))),
        not_nets=tuple(draw.sample(NETS, draw.choice((0, 0, 0, 2)))),
        ports=_ports(draw, draw.choice((2, 20))) if ports else (),
        not_ports=_ports(draw, 2) if ports else (),
    )


def _rule(draw: random.Random) -> Rule:
    protocol = draw.choice(_PROTOCOLS)
    with_ports = protocol in ("tcp", "udp", "sctp", 6, 17)
    icmp = protocol in ("icmp", "icmpv6")
    return Rule(
        action=draw.choice(("allow", "deny", "log", "next-tier")),
        ip_version=draw.choice((None, None, 4, 6)),
        protocol=protocol,
        not_protocol=draw.choice((None, "udp", 200)) if protocol is None else None,
        icmp=draw.choice((None, Icmp(8), Icmp(3, 1))) if icmp else None,
        not_icmp=draw.choice((None, Icmp(0, 0))) if icmp else None,
        source=_side(draw, ports=with_ports),
        destination=_side(draw, ports=with_ports),
        annotations=draw.choice(((), (("name", "a rule"),), (("name", 'odd "one"\n'),))),
        path=("spec", "ingress", draw.randint(0, 9)),
    )


RULES = (Rule(action="allow"), Rule(action="deny"), *map(_rule, [random.Random(20)] * 150))
"""Made once: drawing each criterion of each rule would take longer than compiling them."""

rules = st.sampled_from(RULES)

# --- objects


@st.composite
def _pods(draw: st.DrawFn, number: int) -> Workload:
    own = (f"10.65.0.{number + 1}", f"fd00::{number + 1:x}")
    limits = Qos(ingress_packet_rate=5, ingress_packet_burst=5, egress_connections=2)
    return pod(
        f"p{number}",
        *draw(st.sampled_from((own, own[:1], own[1:]))),
        namespace=draw(st.sampled_from(SPACES)),
        node=draw(st.sampled_from(NODES)),
        interface=f"cali{draw(st.sampled_from('ab'))}{number}",
        labels=draw(_LABELS),
        profiles=draw(st.sampled_from((None, ("kns.default", "custom"), ("gone",), ()))),
        ports=draw(some((NamedPort("http", "tcp", 80), NamedPort("http", "udp", 81), NamedPort("dns", "udp", 53)))),
        spoofable=draw(st.sampled_from(((), (), ("10.5.0.0/24", "fd05::/64")))),
        floating=draw(st.sampled_from(((), ((own[0], "192.0.2.200"),)))),
        qos=draw(st.sampled_from((None, limits))),
        dscp=draw(st.sampled_from((None, 0, 46))),
    )


@st.composite
def _hosts(draw: st.DrawFn, number: int) -> HostEndpoint:
    return host_endpoint(
        f"h{number}",
        draw(st.sampled_from(("eth0", "eth1", "*", ""))),
        *draw(some(("192.0.2.10", "192.0.2.11", "2001:db8::10"))),
        node=draw(st.sampled_from(NODES)),
        labels=draw(_LABELS),
        profiles=draw(some(("custom", "gone"))),
        ports=draw(some((NamedPort("http", "tcp", 8080),))),
        dscp=draw(st.sampled_from((None, 8))),
    )


@st.composite
def _policies(draw: st.DrawFn, key: PolicyKey) -> Policy:
    inbound, outbound = draw(few(rules)), draw(few(rules))
    ingress = draw(st.booleans())
    early = draw(st.sampled_from((0, 0, 0, 1, 2))) if key.kind == "GlobalNetworkPolicy" else 0
    selector = draw(_SELECTORS)
    if key.namespace:
        own = f"projectcalico.org/namespace == '{key.namespace}'"
        selector = f"({selector}) && {own}" if selector else own
    return policy(
        key.name,
        key=key,
        tier=draw(st.sampled_from(TIERS)),
        order=draw(st.sampled_from((None, 1.0, 10.0, 0.5))),
        selector=selector,
        inbound=inbound,
        outbound=outbound,
        ingress=() if ingress or not draw(st.booleans()) else None,
        egress=() if not ingress or draw(st.booleans()) else None,
        do_not_track=early == 1,
        pre_dnat=early == 2,
        apply_on_forward=bool(early) or draw(st.booleans()),
        everywhere=draw(st.sampled_from((False, False, True))),
    )


_KINDS = ("GlobalNetworkPolicy", "NetworkPolicy", "KubernetesNetworkPolicy", "StagedGlobalNetworkPolicy")
_NAMES = ("allow", "allow-dns", "a.b", "a-policy-with-quite-a-long-name")


def _key(kind: str, space: str, name: str) -> PolicyKey:
    return PolicyKey(kind, space if kind in NAMESPACED else "", name)


_KEYS = st.builds(_key, st.sampled_from(_KINDS), st.sampled_from(SPACES), st.sampled_from(_NAMES))


@st.composite
def _network_sets(draw: st.DrawFn, number: int) -> NetworkSet:
    nets = draw(some(tuple(net for net in NETS if not net.endswith("/0"))))
    return network_set(f"set{number}", *nets, namespace=draw(st.sampled_from(("", *SPACES))), **draw(_LABELS))


@st.composite
def things(draw: st.DrawFn) -> list[object]:
    """Objects of a cluster; none may be taken for another, and no two pods share an interface."""
    found: list[object] = [
        *(node(name, bgp_v4=f"192.0.2.{at}/24", vxlan_tunnel_v4=f"10.65.9.{at}") for at, name in enumerate(NODES, 1)),
        tier("early", 10.0),
        tier("soft", 2e6, passes=True),
        profile("custom", draw(few(rules, 2)), draw(few(rules, 2)), labels={"tier": "x"}),
        profile("kns.default", draw(few(rules, 1)), (), labels={"pcns.team": "red"}),
        profile("kns.shop", (), draw(few(rules, 1)), labels={"pcns.team": draw(st.sampled_from(("red", "blue")))}),
        Slice(
            service=ServiceName("default", "web"),
            addresses=("10.65.0.1", "fd00::1", "10.65.7.7"),
            ports=(("tcp", 80), ("udp", 53)),
            source=HERE,
        ),
        *draw(
            some(
                (
                    pool("10.65.0.0/16", nat_outgoing=True, ipip=True),
                    pool("10.66.0.0/16", vxlan=True),
                    pool("fd00::/48", nat_outgoing=True, vxlan=True),
                )
            )
        ),
    ]
    found += [draw(_pods(number)) for number in range(draw(st.integers(0, 4)))]
    found += [draw(_hosts(number)) for number in range(draw(st.integers(0, 3)))]
    found += [draw(_network_sets(number)) for number in range(draw(st.integers(0, 2)))]
    found += [draw(_policies(key)) for key in draw(st.lists(_KEYS, max_size=5, unique=True))]
    return found


clusters: st.SearchStrategy[Cluster] = things().map(lambda found: cluster(*found))

hosts = st.sampled_from(
    (
        Host(),
        Host(interfaces={}),
        Host(interfaces={"eth0": ("192.0.2.10/24", "2001:db8::10/64"), "eth1": ("192.0.2.11/24",)}),
        Host(interfaces={"eth0": ("192.0.2.10/24",), "kube-ipvs0": ()}),
    )
)

settings = st.fixed_dictionaries(
    {},
    optional={
        "IptablesFilterDenyAction": st.sampled_from(("DROP", "REJECT")),
        "IptablesFilterAllowAction": st.just("RETURN"),
        "InterfacePrefix": st.just("cali,veth"),
        "FlowLogsLocalReporter": st.just("Enabled"),
        "WorkloadSourceSpoofing": st.just("Any"),
        "FloatingIPs": st.just("Enabled"),
        "NFTablesMode": st.just("Disabled"),
        "IstioAmbientMode": st.just("Enabled"),
        "WireguardEnabled": st.just("true"),
        "LogPrefix": st.sampled_from(("%k %n %p %t", "plain")),
        "NATPortRange": st.just("1024:2048"),
        "ClusterType": st.just("openstack"),
        "IptablesMarkMask": st.just("0xff00ff00"),
    },
).map(lambda values: tuple(Setting(name, value) for name, value in values.items()))
