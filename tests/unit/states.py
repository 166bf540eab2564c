"""Policies for one node, and kernels made of dicts that hold them beside rules of others."""

from __future__ import annotations

import copy

from felixpy.dataplane.enforcer import WantedRules
from felixpy.dataplane.iptables import IptablesEnforcer
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.wanted import Wanted
from felixpy.model import Policy, PortRange, Rule, Side
from tests.clusters import compiled, pod, policy
from tests.unit.pretend import Pretend

CLIENT, MONITOR, GUEST = (Side(selector=f"app == '{app}'") for app in ("client", "monitor", "guest"))
HTTP = Side(ports=(PortRange(80, 80),))


def allow(source: Side) -> Rule:
    return Rule(action="allow", protocol="tcp", source=source, destination=HTTP)


WEB = pod("web", "10.65.0.2", "fd00::2", labels={"app": "web"})
CLIENTS = [pod(f"c{n}", f"10.65.1.{n}", f"fd00:1::{n}", node="node2", labels={"app": "client"}) for n in (1, 2, 3)]
SCRAPER = pod("m", "10.65.2.1", "fd00:2::1", node="node2", labels={"app": "monitor"})


def guard(name: str, *sources: Side) -> Policy:
    """A policy that lets these reach port 80 of the web."""
    return policy(name, selector="app == 'web'", ingress=[allow(source) for source in sources])


OLD = Wanted.of(compiled(WEB, pod("db", "10.65.0.3"), *CLIENTS[:2], guard("web-in", CLIENT, GUEST)))
NEW = Wanted.of(compiled(WEB, *CLIENTS[1:], SCRAPER, guard("web-in", CLIENT, MONITOR), guard("web-too")))
FEWER_CLIENTS = Wanted.of(compiled(WEB, pod("db", "10.65.0.3"), CLIENTS[0], guard("web-in", CLIENT, GUEST)))
OTHER_ORDER = Wanted.of(compiled(WEB, pod("db", "10.65.0.3"), *CLIENTS[:2], guard("web-in", GUEST, CLIENT)))
THEIRS = {"filter": {"INPUT": ["-i lo -j ACCEPT"], "FORWARD": ["-j MINE"], "OUTPUT": [], "MINE": ["-p tcp -j DROP"]}}


def kernel_with(*steps: WantedRules, backend: str = "legacy") -> Pretend:
    """A kernel with rules of others, in which things were applied one after the other."""
    kernel = Pretend({(4, backend): copy.deepcopy(THEIRS)})
    for wanted in steps:
        assert isinstance(wanted, Wanted)
        IptablesEnforcer(Tools(kernel, backend)).apply(wanted)
    return kernel


def state(kernel: Pretend, backend: str = "legacy") -> tuple[object, ...]:
    """Everything in it. Tables without rules count like tables that are not there."""
    tables = {
        (family, table): chains
        for (family, _), tables in kernel.tables.items()
        for table, chains in tables.items()
        if any(chains.values())
    }
    return tables, kernel.sets
