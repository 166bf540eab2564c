"""What calicoctl prints: WorkloadEndpoints are the endpoints, Nodes are Kubernetes' nodes."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest

from felixpy.manifests import load
from felixpy.model import NamedPort, Qos
from felixpy.topology.addresses import AddressBook
from tests.manifests import CALICO, loaded, manifest, namespace, pod, problems, told

SPEC: dict[str, Any] = {
    "orchestrator": "k8s", "endpoint": "eth0", "containerID": "abc", "pod": "web", "node": "node1",
    "interfaceName": "cali0ef24ba", "ipNetworks": ["10.0.0.1/32", "fd00::1/128"], "profiles": ["kns.shop"],
    "ports": [{"name": "http", "protocol": "TCP", "port": 8080}, {"protocol": "UDP", "port": 53}],
}  # fmt: skip
LABELS = {
    "app": "web", "projectcalico.org/namespace": "shop", "projectcalico.org/orchestrator": "k8s",
    "pcns.projectcalico.org/name": "other",
}  # fmt: skip


def endpoint(name: str = "node1-k8s-web-eth0", labels: Any = None, **spec: Any) -> dict[str, Any]:
    given = {**SPEC, **spec}
    return manifest(CALICO, "WorkloadEndpoint", name, given, "shop", labels=labels or LABELS)


def test_a_workload_endpoint_is_the_endpoint() -> None:
    (found,) = loaded(endpoint()).workloads
    assert (found.namespace, found.name, found.node, found.interface) == ("shop", "web", "node1", "cali0ef24ba")
    assert found.addresses == ("10.0.0.1", "fd00::1")
    assert found.labels == {key: value for key, value in LABELS.items() if not key.startswith("pcns.")}
    assert (found.profiles, found.ports) == (("kns.shop",), (NamedPort("http", "tcp", 8080),))
    assert found.serves == (("tcp", 8080), ("udp", 53))
    assert told(endpoint()) == []


def test_what_else_an_endpoint_may_say() -> None:
    more: dict[str, Any] = {
        "serviceAccountName": "robot",
        "ipNATs": [{"internalIP": "10.0.0.1", "externalIP": "192.0.2.9"}],
        "allowSpoofedSourcePrefixes": ["10.9.0.0/16"],
        "qosControls": {"ingressPacketRate": 7, "dscp": "EF"},
    }
    (found,) = loaded(endpoint(**more)).workloads
    assert found.labels["projectcalico.org/serviceaccount"] == "robot"
    assert (found.floating, found.spoofable) == ((("10.0.0.1", "192.0.2.9"),), ("10.9.0.0/16",))
    assert (found.qos, found.dscp) == (Qos(ingress_packet_rate=7), 46)


def test_an_endpoint_without_addresses_is_none() -> None:
    assert loaded(endpoint(ipNetworks=[])).workloads == ()


@pytest.mark.parametrize(
    "wrong, path", [({"node": None}, "spec.node"), ({"ipNetworks": ["10.0.0/8"]}, "spec.ipNetworks[0]")]
)
def test_what_is_wrong_with_an_endpoint(wrong: dict[str, Any], path: str) -> None:
    assert [(severity, at) for severity, at, _ in told(endpoint(**wrong))] == [("error", path)]


def test_of_pod_and_endpoint_of_one_name_there_is_one() -> None:
    plain = pod("web", "10.0.0.1", "fd00::1")
    (known,) = loaded(plain).workloads
    same = endpoint(interfaceName=known.interface)
    assert len(loaded(plain, same).workloads) == 1
    assert told(plain, same) == []
    assert [severity for severity, _, _ in told(plain, endpoint())] == ["warning"]


def calico_node(**spec: Any) -> dict[str, Any]:
    return manifest(CALICO, "Node", "n1", spec, labels={"zone": "a"})


def test_a_calico_node_is_a_node() -> None:
    spec = {
        "bgp": {"ipv4Address": "192.0.2.11/24", "ipv4IPIPTunnelAddr": "10.1.0.1", "asNumber": 64512},
        "ipv4VXLANTunnelAddr": "10.1.0.2",
        "addresses": [
            {"address": "192.0.2.11/24", "type": "CalicoNodeIP"}, {"address": "10.9.9.9", "type": "InternalIP"},
        ],
        "orchRefs": [{"nodeName": "n1", "orchestrator": "k8s"}],
    }  # fmt: skip
    found = loaded(calico_node(**spec)).nodes["n1"]
    assert (found.bgp_v4, found.ipip_tunnel, found.vxlan_tunnel_v4) == ("192.0.2.11/24", "10.1.0.1", "10.1.0.2")
    assert (found.addresses, found.labels) == (("10.9.9.9",), {"zone": "a"})
    assert told(calico_node(**spec)) == []


def test_both_forms_of_a_node_are_one() -> None:
    plain = manifest("v1", "Node", "n1", labels={"disk": "ssd"}) | {
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]}
    }
    printed = calico_node(bgp={"ipv4Address": "192.0.2.11/24"})
    for order in ((plain, printed), (printed, plain)):
        found = loaded(*order).nodes["n1"]
        assert (found.bgp_v4, found.labels) == ("192.0.2.11/24", {"disk": "ssd", "zone": "a"})
        assert told(*order) == []


def test_what_a_calico_node_says_wrongly_is_told() -> None:
    assert [severity for severity, _, _ in told(calico_node(bgp={"ipv4Address": "x"}))] == ["warning"]
    assert [severity for severity, _, _ in told(calico_node(bgp={"ipv4Address": 5}))] == ["error"]


NODE = {"type": "InternalIP", "address": "192.0.2.11"}


@pytest.mark.parametrize(
    "addresses, annotation, expected",
    [
        ([NODE], "", "192.0.2.11"),
        ([{"type": "ExternalIP", "address": "203.0.113.1"}, NODE], "", "192.0.2.11"),
        ([{"type": "ExternalIP", "address": "203.0.113.1"}], "", "203.0.113.1"),
        ([NODE], "198.51.100.3/24", "198.51.100.3"),
        ([{"type": "Hostname", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "x"}], "", "198.18.0.1"),
    ],
)
def test_the_address_of_a_node(addresses: list[dict[str, str]], annotation: str, expected: str) -> None:
    given = {"projectcalico.org/IPv4Address": annotation} if annotation else {}
    node = manifest("v1", "Node", "n1", annotations=given) | {"status": {"addresses": addresses}}
    book = AddressBook(loaded(node), {})
    assert book.address("n1", 4) == expected
    assert all(book.node(each["address"]) == "n1" for each in addresses if each["address"] == "192.0.2.11")


def test_assumed_namespaces_of_printed_endpoints() -> None:
    other = endpoint()
    other["metadata"]["namespace"] = "elsewhere"
    assert any("elsewhere" in problem.subject for problem in problems(other, namespace("x")))


def test_a_list_of_endpoints_without_types_of_its_items() -> None:
    items = [{key: value for key, value in endpoint().items() if key not in ("apiVersion", "kind")}]
    listed = {"apiVersion": CALICO, "kind": "WorkloadEndpointList", "items": items}
    cluster = load(["-"], stdin=StringIO(json.dumps(listed)))
    assert [each.name for each in cluster.workloads] == ["web"]
