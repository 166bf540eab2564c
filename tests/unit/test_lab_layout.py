"""What a lab consists of, and what everything in it is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from felixpy.errors import UsageError
from felixpy.lab.layout import LONGEST_NAMESPACE, LabLayout, check_name, layout_of
from felixpy.manifests import load
from felixpy.model import Cluster, Host, NamedPort, ServiceName, Slice
from tests.clusters import HERE, cluster, host_endpoint, node, pod, pool

TWO_NODES = cluster(
    pod("web", "10.65.0.1", "fd00:65::1", namespace="shop", serves=(("tcp", 80),)),
    pod("db", "10.65.0.2", namespace="shop"),
    pod("log", "10.65.1.1", node="node2"),
    node("node1", bgp_v4="192.0.2.1/24"),
    node("node2"),
)


def names(layout: LabLayout) -> dict[str, str]:
    return {f"{kind} {name}": netns for (kind, name), netns in layout.spaces.items()}


def test_names_of_namespaces_tell_what_they_hold() -> None:
    assert names(layout_of(TWO_NODES, "trial")) == {
        "host node1": "trial",
        "host node2": "trial@node2",
        "pod shop/web": "trial.shop.web",
        "pod shop/db": "trial.shop.db",
        "pod default/log": "trial.default.log",
    }


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ({}, "node1"),  # it has more pods
        ({"home": "node2"}, "node2"),  # it was at home before
        ({"home": "node9"}, "node1"),
        ({"node": "node2"}, "node2"),
    ],
)
def test_one_node_is_at_home_and_stays_there(wanted: dict[str, Any], expected: str) -> None:
    assert layout_of(TWO_NODES, "trial", **wanted).home.name == expected


def test_what_is_not_built_is_outside() -> None:
    layout = layout_of(TWO_NODES, "trial", node="node1")
    assert [node.name for node in layout.built_nodes] == ["node1"]
    assert {pod.key for pod in layout.built_pods} == {"shop/web", "shop/db"}
    assert names(layout)["pod default/log"] == names(layout)["host node2"] == "trial.outside"


def test_a_node_has_its_known_address_and_a_stand_in_for_the_other_family() -> None:
    first, second = layout_of(TWO_NODES, "trial").nodes
    assert dict(first.interfaces) == {"eth0": ("192.0.2.1", "2001:db8:198:18::1")}
    assert dict(second.interfaces) == {"eth0": ("198.18.0.2", "2001:db8:198:18::2")}
    assert [first.address(4), second.address(6)] == ["192.0.2.1", "2001:db8:198:18::2"]


def test_a_node_has_the_interfaces_that_are_given_or_that_host_endpoints_name() -> None:
    host = Host(interfaces={"ens1": ("192.0.2.1/24",), "ens2": ("203.0.113.1/24",)})
    given = layout_of(TWO_NODES, "trial", hosts={"node1": host}).nodes[0]
    assert given.uplink == "ens1"
    assert dict(given.interfaces)["ens2"] == ("203.0.113.1",)
    named = layout_of(cluster(pod("a"), host_endpoint("h", "bond0", "192.0.2.7")), "trial").nodes[0]
    assert (named.uplink, dict(named.interfaces)["bond0"][0]) == ("bond0", "192.0.2.7")


@pytest.mark.parametrize("interface", ["lo", "a-name-that-is-too-long", "eth0/1"])
def test_interfaces_that_cannot_be_made_leave_their_addresses_to_the_uplink(interface: str) -> None:
    host = Host(interfaces={"eth0": ("192.0.2.1/24",), interface: ("203.0.113.1/24",)})
    found = layout_of(TWO_NODES, "trial", hosts={"node1": host}).nodes[0]
    assert [name for name, _ in found.interfaces] == ["eth0"]
    assert "203.0.113.1" in dict(found.interfaces)["eth0"]


def test_tunnels_are_not_built_but_their_addresses_are_there() -> None:
    tunnelled = cluster(pod("a"), node(bgp_v4="192.0.2.1/24", ipip_tunnel="10.65.0.64", vxlan_tunnel_v4="10.65.0.65"))
    [(name, addresses)] = layout_of(tunnelled, "trial").home.interfaces
    assert (name, addresses[0]) == ("eth0", "192.0.2.1")
    assert set(addresses) >= {"10.65.0.64", "10.65.0.65"}


def test_a_pod_serves_what_its_containers_declare_and_what_services_expect() -> None:
    behind = Slice(service=ServiceName("shop", "web"), addresses=("10.65.0.1",), ports=(("udp", 53),), source=HERE)
    found = layout_of(cluster(*TWO_NODES.workloads, behind), "trial")
    assert {pod.key: pod.serves for pod in found.pods}["shop/web"] == (("tcp", 80), ("udp", 53))


def test_ports_of_containers_count_with_and_without_a_name_those_of_init_containers_do_not(tmp_path: Path) -> None:
    container = {"ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP", "name": "dns"}]}
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"nodeName": "node1", "containers": [container], "initContainers": [{"ports": [{"containerPort": 9}]}]},
        "status": {"podIP": "10.65.0.1"},
    }
    (tmp_path / "pod.json").write_text(json.dumps(manifest))
    [found] = layout_of(load([tmp_path]), "trial").pods
    assert found.serves == (("tcp", 80), ("udp", 53))


def test_of_two_pods_with_one_address_the_first_has_it() -> None:
    layout = layout_of(cluster(pod("b", "10.65.0.1"), pod("a", "10.65.0.1", "10.65.0.2")), "trial")
    assert {pod.name: pod.addresses for pod in layout.pods} == {"a": ("10.65.0.1", "10.65.0.2"), "b": ()}


def test_pods_are_in_natural_order() -> None:
    pods = [pod(name, f"10.65.0.{number}") for number, name in enumerate(("web-10", "web-2", "a", "web"), start=1)]
    assert [found.name for found in layout_of(cluster(*pods), "trial").pods] == ["a", "web", "web-2", "web-10"]


def test_nobody_answers_for_addresses_of_pools_and_services() -> None:
    found = cluster(pod("a"), pool("10.65.0.0/16"), pool("0.0.0.0/0"), service_cidrs=("10.96.0.0/12",))
    assert layout_of(found, "trial").nobody == ("10.65.0.0/16", "10.96.0.0/12")


def test_floating_addresses_go_with_the_address_they_lead_to() -> None:
    found = cluster(pod("a", "10.65.0.1", floating=(("10.65.0.1", "192.0.2.99"), ("10.9.9.9", "192.0.2.98"))))
    assert layout_of(found, "trial").pods[0].floating == ("192.0.2.99",)


def test_a_layout_survives_json() -> None:
    ports = (NamedPort("http", "tcp", 80),)
    layout = layout_of(cluster(pod("a", ports=ports, serves=(("tcp", 80),)), pool("10.65.0.0/16")), "trial")
    assert LabLayout.parsed(json.loads(json.dumps(layout.document()))) == layout


def test_long_and_odd_names_are_told_apart_by_a_hash() -> None:
    pods = [pod("a" * 253 + end, f"10.65.0.{number}") for number, end in enumerate(("b", "c", "/"), start=1)]
    spaces = [pod.netns for pod in layout_of(cluster(*pods), "trial").pods]
    assert len(set(spaces)) == 3
    assert all("/" not in name and len(name) <= LONGEST_NAMESPACE + 9 for name in spaces)


@pytest.mark.parametrize(
    "input_, wanted, message",
    [
        (Cluster(), {}, "no node is named"),
        (TWO_NODES, {"node": "node9"}, "there is no node 'node9' in the input; did you mean node2 or node1"),
        (TWO_NODES, {"name": "A b"}, "--name A b: a lab's name has"),
        (
            cluster(*(pod(f"p{number}", f"10.65.{number // 250}.{number % 250}") for number in range(1001))),
            {},
            "1001 pods are too many for a lab",
        ),
    ],
    ids=["no node", "unknown node", "bad name", "too many pods"],
)
def test_what_cannot_be_a_lab_is_refused(input_: Cluster, wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        layout_of(input_, **wanted)


@pytest.mark.parametrize("name, fine", [("a", True), ("trial-2", True), ("a" * 32, True), ("a" * 33, False)])
def test_names_of_labs_are_short(name: str, fine: bool) -> None:
    if fine:
        check_name(name)
    else:
        with pytest.raises(UsageError):
            check_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a.b", "a@b", "A", "a/b", "ä"])
def test_names_of_labs_have_nothing_that_separates_names(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)
