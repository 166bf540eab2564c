"""Which endpoints felixpy names for a client of a Service are those that kube-proxy's rules can choose."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from felixpy.services import Client, Endpoints, choose
from felixpy.services.proxy import zone_of
from tests import kubeproxy
from tests.manifests import loaded
from tests.service_clusters import POD_CIDR, node_address, random_cluster

OUTSIDE = ("198.51.100.7", "203.0.113.200")


@given(st.integers(0, 2**32))
def test_the_same_endpoints_as_the_rules(seed: int) -> None:
    objects = random_cluster(Random(seed))
    cluster = loaded(*objects)
    endpoints = Endpoints(cluster)
    pods = [each["status"]["podIP"] for each in objects if each["kind"] == "Pod"]
    for node in ("n1", "n2", "n3"):
        made = kubeproxy.rules(objects, node, POD_CIDR)
        own = node_address(int(node[1:]))
        clients = [
            *(Client("pod", address) for address in pods),
            Client("local", own),
            *(Client("other", node_address(number)) for number in (1, 2, 3) if f"n{number}" != node),
            *(Client("other", address) for address in OUTSIDE),
        ]
        zone = zone_of(cluster.nodes[node].labels)
        for service in cluster.services.values():
            port = service.ports[0]
            behind = endpoints.behind(service, port, 4)
            for via, address, number in _addresses(service, own):
                for client in clients:
                    packet = kubeproxy.Packet(client.address, address, "tcp", number, frozenset({own}))
                    choice = choose(service, behind, via, client, node, zone)
                    # A pod that reaches itself is masqueraded whatever else holds.
                    said = {
                        kubeproxy.Fate(each.address, each.port, choice.masquerade or each.address == client.address)
                        for each in choice.endpoints
                    }
                    refused = {kubeproxy.Fate(ended="DROP" if choice.dropped else "REJECT")}
                    assert kubeproxy.fates(made, packet) == (said or refused), (service, via, client, node)


def _addresses(service: Any, own: str) -> list[tuple[Any, str, int]]:
    """All ways to call the first port of a Service on a node."""
    port = service.ports[0]
    found = [("cluster", each, port.port) for each in service.cluster_ips]
    found += [("external", each, port.port) for each in service.external_ips]
    found += [("balancer", each, port.port) for each in service.balancers]
    return found + ([("node", own, port.node_port)] if port.node_port else [])
