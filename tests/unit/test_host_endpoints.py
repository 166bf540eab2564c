"""Host endpoints: those in manifests, and those that Calico makes of nodes; and nodes themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from felixpy.model import Cluster, HostEndpoint, NamedPort
from tests.manifests import CALICO, loaded, manifest, told

PREFIX = "projectcalico.org/"


def endpoint(**spec: Any) -> dict[str, Any]:
    whole = {"node": "node1", "interfaceName": "eth0", **spec}
    return manifest(CALICO, "HostEndpoint", "h", whole, labels={"role": "edge"})


def test_a_host_endpoint() -> None:
    given = endpoint(
        expectedIPs=["192.0.2.1", "FD00::1"],
        profiles=["projectcalico-default-allow"],
        ports=[{"name": "Web_1", "protocol": "TCP", "port": 80}],
    )
    given["metadata"]["annotations"] = {"qos.projectcalico.org/dscp": "EF"}
    (found,) = loaded(given).host_endpoints
    assert (found.name, found.node, found.interface, found.labels) == ("h", "node1", "eth0", {"role": "edge"})
    assert (found.addresses, found.dscp) == (("192.0.2.1", "fd00::1"), 46)
    assert found.profiles == ("projectcalico-default-allow",)
    assert found.ports == (NamedPort("Web_1", "tcp", 80),)


IGNORED = [
    (endpoint(ports=[{"name": "a", "protocol": 6, "port": 80}]), "spec.ports[0].protocol"),
    (endpoint(ports=[{"name": "a", "protocol": "17", "port": 80}]), "spec.ports[0].protocol"),
    (endpoint(profiles=["p" * 129]), "spec.profiles[0]"),
]


@pytest.mark.parametrize("given, path", IGNORED)
def test_what_the_api_takes_and_felix_does_not(given: dict[str, Any], path: str) -> None:
    assert loaded(given).host_endpoints == ()
    ((severity, where, reason),) = told(given)
    assert (severity, where) == ("warning", path)
    assert "Felix then ignores the whole host endpoint" in reason


REFUSED = [
    (endpoint(node=None), "spec.node"),
    (endpoint(interfaceName="eth 0"), "spec.interfaceName"),
    (endpoint(interfaceName=None, expectedIPs=[]), "spec"),
    (endpoint(expectedIPs=["192.0.2.1", "192.0.2.1"]), "spec.expectedIPs[1]"),
    (endpoint(expectedIPs=["192.0.2.01"]), "spec.expectedIPs[0]"),
    (endpoint(ports=[{"name": "a", "protocol": "TCP", "port": 0}]), "spec.ports[0].port"),
    (endpoint(ports=[{"name": "", "protocol": "TCP", "port": 1}]), "spec.ports[0].name"),
    (manifest(CALICO, "HostEndpoint", "h"), "spec"),
]


@pytest.mark.parametrize("given, path", REFUSED)
def test_what_the_api_refuses(given: dict[str, Any], path: str) -> None:
    ((severity, where, _),) = told(given)
    assert (severity, where) == ("error", path)


def test_an_unknown_profile_denies_everything() -> None:
    reason = '"mine": there is no such profile; Felix takes one that denies everything'
    assert told(endpoint(profiles=["mine"])) == [("warning", "spec.profiles[0]", reason)]
    assert told(endpoint(profiles=["mine"]), manifest(CALICO, "Profile", "mine", {})) == []


def node(name: str = "node1", status: Any = (), **annotations: str) -> dict[str, Any]:
    written = {PREFIX + key: value for key, value in annotations.items()}
    given = manifest("v1", "Node", name, labels={"zone": "a"}, annotations=written)
    return given | {"status": {"addresses": list(status)}}


def test_a_node() -> None:
    given = node(
        IPv4Address="192.0.2.1/24",
        IPv6Address="fd00::1",
        IPv4IPIPTunnelAddr="10.1.0.1",
        IPv4VXLANTunnelAddr="10.1.0.2/32",
        labels='{"zone": "b", "rack": "7"}',
    )
    found = loaded(given).nodes["node1"]
    assert (found.bgp_v4, found.bgp_v6) == ("192.0.2.1/24", "fd00::1")
    assert (found.ipip_tunnel, found.vxlan_tunnel_v4, found.vxlan_tunnel_v6) == ("10.1.0.1", "10.1.0.2", "")
    assert found.labels == {"zone": "a", "rack": "7"}


UNREADABLE = [
    ("IPv4Address", "fd00::1", "bgp_v4"),
    ("IPv6Address", "192.0.2.1", "bgp_v6"),
    ("IPv4Address", "node1", "bgp_v4"),
    ("IPv4IPIPTunnelAddr", "10.1.0.1/24", "ipip_tunnel"),
]


@pytest.mark.parametrize("name, text, field", UNREADABLE)
def test_unreadable_annotations_of_nodes_are_ignored(name: str, text: str, field: str) -> None:
    given = node(**{name: text})
    assert getattr(loaded(given).nodes["node1"], field) == ""
    ((severity, path, _),) = told(given)
    assert (severity, path) == ("warning", f"metadata.annotations[{PREFIX}{name}]")


def controllers(**wanted: Any) -> dict[str, Any]:
    spec = {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled", **wanted}}}}
    return manifest(CALICO, "KubeControllersConfiguration", "default", spec)


ADDRESSES = {
    "IPv4Address": "192.0.2.1/24",
    "IPv6Address": "fd00::1/64",
    "IPv4IPIPTunnelAddr": "10.1.0.1",
    "IPv4VXLANTunnelAddr": "10.1.0.2",
    "IPv6VXLANTunnelAddr": "fd01::2",
    "IPv4WireguardInterfaceAddr": "10.1.0.3",
    "Interfaces": json.dumps(
        [
            {"name": "eth0", "addresses": ["192.0.2.1", "192.0.2.9"]},
            {"name": "eth1", "addresses": ["198.51.100.1/24", "odd"]},
        ]
    ),
}
STATUS = ({"type": "InternalIP", "address": "192.0.2.5"}, {"type": "ExternalIP", "address": "203.0.113.1"})
ALL = ("192.0.2.1", "fd00::1", "10.1.0.1", "10.1.0.2", "fd01::2", "10.1.0.3", "192.0.2.5", "192.0.2.9", "198.51.100.1")
CREATED = {"projectcalico.org/created-by": "calico-kube-controllers"}


def made(cluster: Cluster) -> dict[str, HostEndpoint]:
    return {found.name: found for found in cluster.host_endpoints}


def test_one_endpoint_for_each_node() -> None:
    found = made(loaded(controllers(), node(status=STATUS, **ADDRESSES)))["node1-auto-hep"]
    assert (found.node, found.interface, found.addresses) == ("node1", "*", ALL)
    assert found.labels == {"zone": "a", **CREATED}
    assert found.profiles == ("projectcalico-default-allow",)


@pytest.mark.parametrize("config", [controllers(autoCreate="Disabled"), controllers(autoCreate=None)])
def test_none_unless_asked(config: dict[str, Any]) -> None:
    assert loaded(config, node()).host_endpoints == ()
    assert (
        loaded(manifest(CALICO, "KubeControllersConfiguration", "other", controllers()["spec"]), node()).host_endpoints
        == ()
    )


TEMPLATES: list[tuple[dict[str, Any], dict[str, tuple[str, tuple[str, ...]]]]] = [
    ({"generateName": "in", "interfaceCIDRs": ["192.0.2.0/24"]},
     {"node1-in-auto-hep": ("", ("192.0.2.1", "192.0.2.5", "192.0.2.9"))}),
    ({"generateName": "in", "interfaceCIDRs": ["203.0.113.0/24"]}, {}),
    ({"generateName": "if", "interfacePattern": "h1$"}, {"node1-if-eth1-auto-hep": ("eth1", ("198.51.100.1",))}),
    ({"generateName": "if", "interfacePattern": "eth1", "interfaceCIDRs": ["10.1.0.0/24"]},
     {"node1-if-eth1-auto-hep": ("eth1", ("10.1.0.1", "10.1.0.2", "10.1.0.3", "198.51.100.1"))}),
    ({"generateName": "in", "interfaceCIDRs": ["192.0.2.0/24"], "nodeSelector": "zone == 'b'"}, {}),
]  # fmt: skip


@pytest.mark.parametrize("template, expected", TEMPLATES)
def test_templates(template: dict[str, Any], expected: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    config = controllers(createDefaultHostEndpoint="Disabled", templates=[template])
    found = made(loaded(config, node(status=STATUS, **ADDRESSES)))
    assert {name: (hep.interface, hep.addresses) for name, hep in found.items()} == expected


def test_labels_of_templates_win() -> None:
    template = {"generateName": "x", "interfacePattern": "eth0", "labels": {"zone": "t", "kind": "k"}}
    found = made(loaded(controllers(templates=[template]), node(**ADDRESSES)))
    assert sorted(found) == ["node1-auto-hep", "node1-x-eth0-auto-hep"]
    assert found["node1-x-eth0-auto-hep"].labels == {"zone": "t", "kind": "k", **CREATED}


def test_long_names_are_hashed() -> None:
    (name,) = made(loaded(controllers(), node("n" * 250)))
    assert len(name) < 60
    assert name.endswith("-auto-hep")
    assert name == name.lower()


def test_endpoints_that_exist_already_are_left_alone() -> None:
    own = manifest(CALICO, "HostEndpoint", "node1-auto-hep", {"node": "node1", "interfaceName": "eth9"})
    assert made(loaded(controllers(), node(), own))["node1-auto-hep"].interface == "eth9"
