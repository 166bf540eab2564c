"""Random clusters with Services: nodes, pods, EndpointSlices, policies, all as manifests."""

from __future__ import annotations

from random import Random
from typing import Any

POD_CIDR = "10.65.0.0/16"
SPACES = ("shop", "dev")
PORTS = (8080, 9000)


def node_address(number: int) -> str:
    return f"192.0.2.{10 + number}"


def random_cluster(random: Random, *, nodes: int = 3, pods: int = 7, services: int = 4) -> list[dict[str, Any]]:
    """The objects of a cluster. Everything has TCP only, so that a lab can try it."""
    made: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": space, "labels": {"kubernetes.io/metadata.name": space}},
        }
        for space in SPACES
    ]
    for number in range(1, nodes + 1):
        zone = random.choice(["a", "b", ""])
        labels = {"topology.kubernetes.io/zone": zone} if zone else {}
        made.append(
            {
                "apiVersion": "v1", "kind": "Node", "metadata": {
                    "name": f"n{number}", "labels": labels,
                    "annotations": {"projectcalico.org/IPv4Address": f"{node_address(number)}/24"},
                },
                "status": {"addresses": [{"type": "InternalIP", "address": node_address(number)}]},
            }
        )  # fmt: skip
    everybody = [_pod(random, number, nodes) for number in range(pods)]
    made += everybody
    for number in range(services):
        service = _service(random, number)
        made.append(service)
        if random.random() < 0.6:
            made.append(_slice(random, service, everybody, nodes))
    made.append(_pool(random))
    made += [_policy(random, number) for number in range(random.randrange(4))]
    return made


def _pool(random: Random) -> dict[str, Any]:
    spec = {"cidr": POD_CIDR, "natOutgoing": random.random() < 0.5}
    return {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pods"}, "spec": spec}


def _pod(random: Random, number: int, nodes: int) -> dict[str, Any]:
    node = random.randint(1, nodes)
    ports = [{"containerPort": PORTS[0], "name": random.choice(["web", "alt"])}, {"containerPort": PORTS[1]}]
    status: dict[str, Any] = {"phase": "Running", "podIP": f"10.65.{node}.{number + 2}"}
    if random.random() < 0.3:
        status["conditions"] = [{"type": "Ready", "status": random.choice(["True", "False"])}]
    metadata: dict[str, Any] = {
        "name": f"p{number}", "namespace": random.choice(SPACES), "labels": {"app": random.choice("ab")},
    }  # fmt: skip
    if random.random() < 0.1:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    spec = {"nodeName": f"n{node}", "containers": [{"name": "c", "image": "i", "ports": ports}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def _service(random: Random, number: int) -> dict[str, Any]:
    kind = random.choice(["ClusterIP", "NodePort", "LoadBalancer"])
    port: dict[str, Any] = {"port": 80, "protocol": "TCP"}
    if random.random() < 0.7:
        port["targetPort"] = random.choice(["web", *PORTS])
    if random.random() < 0.5:
        port["name"] = "http"
    spec: dict[str, Any] = {"type": kind, "clusterIP": f"10.96.0.{number + 10}", "ports": [port]}
    status: dict[str, Any] = {}
    if random.random() < 0.9:
        spec["selector"] = {"app": random.choice("ab")}
    if kind != "ClusterIP":
        port["nodePort"] = 30000 + number
    if kind == "LoadBalancer":
        status = {
            "loadBalancer": {
                "ingress": [{"ip": f"203.0.113.{number + 10}", "ipMode": random.choice(["VIP", "VIP", "Proxy"])}]
            }
        }
        if random.random() < 0.4:
            spec["loadBalancerSourceRanges"] = random.choice([["198.51.100.0/24"], [POD_CIDR], ["0.0.0.0/0"]])
    if random.random() < 0.3:
        spec["externalIPs"] = [f"203.0.113.{number + 110}"]
    spec["internalTrafficPolicy"] = random.choice(["Cluster", "Cluster", "Local"])
    if kind != "ClusterIP" or "externalIPs" in spec:
        spec["externalTrafficPolicy"] = random.choice(["Cluster", "Local"])
    if random.random() < 0.2:
        spec["publishNotReadyAddresses"] = True
    metadata = {"name": f"s{number}", "namespace": random.choice(SPACES)}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status}


def _slice(random: Random, service: dict[str, Any], pods: list[dict[str, Any]], nodes: int) -> dict[str, Any]:
    port = service["spec"]["ports"][0]
    hinted = random.choice(["", "", "zones", "nodes"])
    ends = []
    for pod in random.sample(pods, random.randrange(len(pods))):
        end: dict[str, Any] = {"addresses": [pod["status"]["podIP"]], "nodeName": pod["spec"]["nodeName"]}
        if random.random() < 0.5:
            ready = random.random() < 0.6
            end["conditions"] = {
                "ready": ready, "serving": ready or random.random() < 0.7,
                "terminating": not ready and random.random() < 0.6,
            }  # fmt: skip
        if hinted == "zones" and random.random() < 0.9:
            end["hints"] = {"forZones": [{"name": random.choice("ab")}]}
        if hinted == "nodes" and random.random() < 0.9:
            end["hints"] = {"forNodes": [{"name": f"n{random.randint(1, nodes)}"}]}
        ends.append(end)
    own = service["metadata"]
    name = port.get("name", "") if random.random() < 0.9 else "other"
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": ends,
        "metadata": {
            "name": f"{own['name']}-x", "namespace": own["namespace"],
            "labels": {"kubernetes.io/service-name": own["name"]},
        },
        "ports": [{"name": name, "protocol": "TCP", "port": random.choice(PORTS)}],
    }  # fmt: skip


def _policy(random: Random, number: int) -> dict[str, Any]:
    peers: list[dict[str, Any]] = [
        {"podSelector": {"matchLabels": {"app": random.choice("ab")}}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": random.choice(SPACES)}}},
        {"ipBlock": {"cidr": random.choice(["192.0.2.0/24", "10.96.0.0/12", "198.51.100.0/24", "192.0.2.11/32"])}},
    ]
    direction, side = random.choice([("ingress", "from"), ("egress", "to")])
    rule: dict[str, Any] = {side: random.sample(peers, random.randint(1, 2))}
    if random.random() < 0.5:
        rule["ports"] = [{"protocol": "TCP", "port": random.choice([80, *PORTS])}]
    spec = {
        "podSelector": random.choice([{}, {"matchLabels": {"app": random.choice("ab")}}]),
        "policyTypes": [direction.capitalize()],
        direction: [rule],
    }
    metadata = {"name": f"policy{number}", "namespace": random.choice(SPACES)}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
