"""Real packets through the rules of both data planes at once: what a walk says of the rules that are read back."""

from __future__ import annotations

from itertools import product

import pytest

from felixpy.cli.dumps import read_live
from felixpy.cli.target import IptablesKind
from felixpy.dataplane.backends import enforcer_of
from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.walk import Machine, Packet, Walker
from tests.netns.namespace import BACKENDS
from tests.netns.packets import CLIENT, FLOWS, SERVER, Flow, Topology, Traffic
from tests.netns.policies import draw, pairs

pytestmark = pytest.mark.netns


def packet(flow: Flow) -> Packet:
    six = flow.family == 6
    return Packet(
        source=CLIENT.addresses[six],
        destination=SERVER.addresses[six],
        protocol="udp",
        port=flow.port,
        in_interface=CLIENT.interface,
        out_interface=SERVER.interface,
    )


@pytest.mark.parametrize("backend, number", [*product(BACKENDS, range(8))])
def test_what_both_let_pass(backend: str, number: int, talk: tuple[Topology, Traffic]) -> None:
    """One policy in iptables, another one in nftables: packets need the leave of both."""
    topology, traffic = talk
    node = topology.node
    left, new = map(draw, pairs(24)[number])
    enforcers = {name: enforcer_of(node, name, node.scratch) for name in (backend, NFTABLES)}
    for name, drawn in ((backend, left), (NFTABLES, new)):
        enforcers[name].apply(drawn.wanted(name))
    try:
        dump, host = read_live(topology.path, IptablesKind.auto)
        own = (host.interfaces or {}).items()
        walker = Walker(dump, Machine({name: tuple(text.partition("/")[0] for text in found) for name, found in own}))
        walks = {flow: walker.walk(packet(flow)) for flow in FLOWS}
        passing = traffic.passing()
        assert {flow for flow, walk in walks.items() if walk.verdict == "accept"} == passing
        assert passing == left.passing & new.passing
        assert all(walk.certain for walk in walks.values())
    finally:
        for enforcer in enforcers.values():
            enforcer.apply(enforcer.nothing())
