"""Which endpoints felixpy names for a client of a Service are those that kube-proxy's rules can choose."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from felixpy.compiler import Compiler
from felixpy.exposure.clients import reaches, target_ports
from felixpy.flows import survey
from felixpy.services import Client, ServiceEndpoints, choose
from felixpy.services.proxy import zone_of
from felixpy.tracing import Nodes, Question, Tracer
from felixpy.tracing.service_report import ServiceTrace
from felixpy.tracing.services import ServiceTracer
from tests import kubeproxy
from tests.manifests import loaded
from tests.service_clusters import POD_CIDR, node_address, random_cluster

OUTSIDE = ("198.51.100.7", "203.0.113.200")


@given(st.integers(0, 2**32))
def test_the_same_endpoints_as_the_rules(seed: int) -> None:
    objects = random_cluster(Random(seed))
    cluster = loaded(*objects)
    endpoints = ServiceEndpoints(cluster)
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


@given(st.integers(0, 2**32))
def test_clients_reach_what_traces_say(seed: int) -> None:
    """Services in a matrix, all at once, against a trace of each client to each of them."""
    cluster = loaded(*random_cluster(Random(seed), pods=5, services=3))
    nodes = Nodes(Compiler(cluster))
    found = survey(nodes, ports=target_ports(cluster))
    said = {
        (each.client.name, each.service.name, each.port.port): (each.reached, each.total)
        for each in reaches(found, found.pairs(fold=False))
    }
    tracer = ServiceTracer(Tracer(nodes))
    for pod in cluster.workloads:
        for name, service in cluster.services.items():
            for port in service.ports:
                question = Question(
                    source=f"{pod.namespace}/{pod.name}", destination=f"{name.namespace}/svc/{name.name}",
                    port=port.port, protocol=port.protocol,
                )  # fmt: skip
                answer = tracer.trace(question)
                assert isinstance(answer, ServiceTrace)
                traced = [row.verdict for row in answer.rows if row.endpoint]
                count = traced.count("allow"), len(traced)
                assert said.get((pod.name, name.name, port.port), (0, count[1])) == count, (pod.name, name)


def _addresses(service: Any, own: str) -> list[tuple[Any, str, int]]:
    """All ways to call the first port of a Service on a node."""
    port = service.ports[0]
    found = [("cluster", each, port.port) for each in service.cluster_ips]
    found += [("external", each, port.port) for each in service.external_ips]
    found += [("balancer", each, port.port) for each in service.balancers]
    return found + ([("node", own, port.node_port)] if port.node_port else [])
