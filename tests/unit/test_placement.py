"""On which node assumed pods run and which addresses they get."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from felixpy.manifests.completion.placement import DEFAULT_RANGE, NoAddressLeft, PoolAddresses
from tests.controllers import TEMPLATE, controller, expanded, live, manifest, pods

# --- nodes

NODES = manifest("Node", "n2", "") + manifest("Node", "n1", "")
ELSEWHERE = TEMPLATE.replace("spec: {", "spec: {nodeName: n7, ")
HOST_ENDPOINT = manifest("HostEndpoint", "h", "spec: {node: n3}")
PLACED = {
    "nobody knows": (controller("Deployment"), None, ["node1"]),
    "as asked": (controller("Deployment") + NODES, "n2", ["n2"]),
    "as asked, though unknown": (controller("Deployment") + NODES, "n9", ["n9"]),
    "the template says": (controller("Deployment", template=ELSEWHERE) + NODES, "n2", ["n7"]),
    "the first": (controller("Deployment") + NODES, None, ["n1"]),
    "that of another pod": (controller("Deployment") + live("x", "{}"), None, ["n1"]),
    "that of a host endpoint": (controller("Deployment") + HOST_ENDPOINT, None, ["n3"]),
    "on each": (controller("DaemonSet") + NODES, None, ["n1", "n2"]),
    "on each and where asked": (controller("DaemonSet") + NODES, "n3", ["n1", "n2", "n3"]),
}


@pytest.mark.parametrize("text, node, expected", PLACED.values(), ids=PLACED)
def test_nodes(text, node, expected):
    assert sorted(pod["spec"]["nodeName"] for pod in pods(text, node)) == expected


# --- addresses


def pool(name: str, cidr: str, more: str = "") -> str:
    return manifest("IPPool", name, f'spec: {{cidr: "{cidr}", {more}}}')


POOLS = {
    "none": ("", [DEFAULT_RANGE]),
    "one": (pool("p", "10.1.0.0/24"), ["10.1.0.0/24"]),
    "first by name": (pool("q", "10.1.0.0/24") + pool("p", "10.2.0.0/24"), ["10.2.0.0/24"]),
    "disabled": (pool("p", "10.1.0.0/24", "disabled: true") + pool("q", "10.2.0.0/24"), ["10.2.0.0/24"]),
    "only disabled": (pool("p", "10.1.0.0/24", "disabled: true"), [DEFAULT_RANGE]),
    "for tunnels": (pool("p", "10.1.0.0/24", "allowedUses: [Tunnel]"), [DEFAULT_RANGE]),
    "for load balancers": (pool("p", "10.1.0.0/24", "allowedUses: [LoadBalancer]"), [DEFAULT_RANGE]),
    "for pods too": (pool("p", "10.1.0.0/24", "allowedUses: [Tunnel, Workload]"), ["10.1.0.0/24"]),
    "by hand only": (pool("p", "10.1.0.0/24", "assignmentMode: Manual"), [DEFAULT_RANGE]),
    "both families": (pool("p", "fd00::/64") + pool("q", "10.1.0.0/24"), ["10.1.0.0/24", "fd00::/64"]),
    "IPv6 only": (pool("p", "fd00::/122"), ["fd00::/122"]),
    "nonsense": (pool("p", "10.1.0.0/99"), [DEFAULT_RANGE]),
}


@pytest.mark.parametrize("text, ranges", POOLS.values(), ids=POOLS)
def test_where_addresses_come_from(text, ranges):
    [pod] = pods(controller("Deployment") + text)
    addresses = [item["ip"] for item in pod["status"]["podIPs"]]
    assert pod["status"]["podIP"] == addresses[0]
    assert len(addresses) == len(ranges)
    assert all(ip_address(address) in ip_network(net) for address, net in zip(addresses, ranges, strict=True))


USED = {
    "pod": live("x", "{}").replace("10.9.9.9", "10.1.0.2"),
    "pod with several": live("x", "{}").replace("podIP: 10.9.9.9", "podIPs: [{ip: 'fd00::1'}, {ip: 10.1.0.2}]"),
    "annotated pod": live("x", "{}", owner="").replace(
        "labels: {}", "annotations: {cni.projectcalico.org/podIPs: '10.1.0.2/32,fd00::1/128'}"
    ),
    "host endpoint": manifest("HostEndpoint", "h", "spec: {node: n1, expectedIPs: [10.1.0.2]}"),
    "node": manifest("Node", "n1", "status: {addresses: [{type: InternalIP, address: 10.1.0.2}]}"),
    "tunnel": manifest("Node", "n1", "", more="annotations: {projectcalico.org/IPv4VXLANTunnelAddr: 10.1.0.2}"),
    "BGP": manifest("Node", "n1", "", more="annotations: {projectcalico.org/IPv4Address: 10.1.0.2/24}"),
}


@pytest.mark.parametrize("other", USED.values(), ids=USED)
def test_used_addresses_are_not_given_again(other):
    text = controller("Deployment", fields="replicas: 5") + pool("p", "10.1.0.0/29")
    found = pods(text + other)
    assert {pod["status"]["podIP"] for pod in found} == {f"10.1.0.{last}" for last in (1, 3, 4, 5, 6)}


@pytest.mark.parametrize("cidr, size", [("10.1.0.0/30", 2), ("10.1.0.0/31", 2), ("10.1.0.7/32", 1), ("fd00::/126", 3)])
def test_a_range_hands_out_each_address_once(cidr, size):
    addresses = PoolAddresses("pool", ip_network(cidr))
    found = {addresses.take(str(number)) for number in range(size)}
    assert len(found) == size
    assert all(ip_address(address) in ip_network(cidr) for address in found)
    with pytest.raises(NoAddressLeft, match="pool has no address left"):
        addresses.take("one more")


def test_a_pool_that_runs_out_is_one_problem():
    found, problems = expanded(controller("Deployment", fields="replicas: 5") + pool("p", "10.1.0.0/30"))
    assert len(found) == 5
    assert sum("podIP" in pod["status"] for pod in found) == 2
    assert [problem.reason for problem in problems if problem.severity == "error"] == [
        "IPPool p (10.1.0.0/30) has no address left for another pod"
    ]


def test_addresses_stay_when_something_else_comes():
    """Neither other workloads nor another template move them, as long as there is room."""
    web = controller("Deployment", fields="replicas: 5")

    def addresses(text: str) -> set[str]:
        return {pod["status"]["podIP"] for pod in pods(text) if pod["metadata"]["labels"]["app"] == "web"}

    template = TEMPLATE.replace("app: web", "app: other")
    other = "".join(controller("Deployment", name=f"a{number}", template=template) for number in range(20))
    assert addresses(web) == addresses(other + web) == addresses(web + other)
    assert addresses(web) == addresses(controller("Deployment", fields="replicas: 5", template=ELSEWHERE))


def test_pods_on_the_network_of_their_node_have_no_address_of_their_own():
    [pod] = pods(controller("DaemonSet", template=TEMPLATE.replace("spec: {", "spec: {hostNetwork: true, ")))
    assert pod["spec"]["hostNetwork"] is True
    assert pod["status"] == {"phase": "Running"}
