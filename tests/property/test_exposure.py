"""What is said of pods that are not in the input is what packets of such pods would meet."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from felixpy.compiler import Compiler
from felixpy.exposure.analysis import _addresses, _selectors, exposure
from felixpy.exposure.strangers import ANYBODY, Stranger, invited, strangers
from felixpy.flows import survey
from felixpy.flows.packets.traffic_words import Traffic
from felixpy.flows.presentation.flow import Peer
from felixpy.tracing import Nodes
from felixpy.walk import Packet
from tests.manifests import loaded
from tests.service_clusters import random_cluster

PORTS = (80, 8080, 9000, 12345)


def on(traffic: Traffic, port: int) -> bool:
    """Whether traffic has a port of TCP in it."""
    parts = [part for part in traffic.parts if part.protocol == "TCP"]
    return traffic.everything or any(
        not part.numbers or any(first <= port <= last for first, last in part.numbers) for part in parts
    )


@given(st.integers(0, 2**32))
def test_strangers_fare_as_said(seed: int) -> None:
    cluster = loaded(*random_cluster(Random(seed), services=0))
    nodes = Nodes(Compiler(cluster))
    said = exposure(nodes, survey(nodes).pairs(fold=False, hosts=False))
    claims = {
        (each.workload.name, each.direction, each.other, port)
        for each in said.opened
        if isinstance(each.other, Stranger)
        for port in PORTS
        if on(each.traffic, port)
    }
    guests = strangers(cluster, _selectors(cluster.policies))
    addresses = [each[4] for each in _addresses(cluster, len(guests))]
    there = Nodes(Compiler(invited(cluster, guests, [{4: address} for address in addresses])))
    assert all(isinstance(workload, Peer) for workload in said.workloads)
    for pod in cluster.workloads:
        node = there.get(pod.node)
        assert node
        for guest, address in zip(guests, addresses, strict=True):
            for port in PORTS:
                into = Packet(source=address, destination=pod.addresses[0], port=port, in_interface="eth0")
                out = Packet(source=pod.addresses[0], destination=address, port=port, in_interface=pod.interface)
                for direction, packet in (("ingress", into), ("egress", out)):
                    # Whatever any pod may do, this one may; what it may do more is told of it alone.
                    claimed = {(pod.name, direction, other, port) for other in (ANYBODY, guest)} & claims
                    assert bool(claimed) == node.walker.allows(packet), (pod.name, direction, str(guest), port)
