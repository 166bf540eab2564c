"""Kubernetes objects as Calico's nouns: pods, namespaces, service accounts, policies, slices."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.errors import spell
from felixpy.manifests.objects.network_policy import port_or_name, simplified
from felixpy.model import ANYONE, NamedPort, PortRange, ServiceName, Side
from tests.manifests import KUBERNETES, loaded, manifest, namespace, only_policy, only_workload, pod, told

IN_SHOP = "projectcalico.org/namespace == 'shop'"
K8S = "projectcalico.org/orchestrator == 'k8s'"


def spec(**fields: Any) -> dict[str, Any]:
    """A pod with a spec of these fields instead of the usual one."""
    return pod() | {"spec": fields}


@pytest.mark.parametrize(
    "unknown",
    [
        spec(nodeName="node1", hostNetwork=True),
        pod(status={"phase": "Pending"}),
        pod(status={"phase": "Pending", "podIP": "10.0.0.1"}) | {"spec": {"containers": []}},
        *(pod(status={"phase": phase, "podIP": "10.0.0.1"}) for phase in ("Failed", "Succeeded", "Completed")),
        pod(deletionTimestamp="2024-01-01T00:00:00Z", annotations={"cni.projectcalico.org/podIP": ""}),
        pod(deletionTimestamp="2024-01-01T00:00:00Z", annotations={"vpc.amazonaws.com/pod-ips": ""}),
    ],
)
def test_pods_that_calico_does_not_know(unknown: dict[str, Any]) -> None:
    assert loaded(unknown).workloads == ()


@pytest.mark.parametrize(
    "known",
    [
        pod(deletionTimestamp="2024-01-01T00:00:00Z"),
        pod(annotations={"cni.projectcalico.org/podIP": ""}),
        pod(status={"podIP": "10.0.0.1"}),
        pod(status={"phase": "Unknown", "podIP": "10.0.0.1"}),
    ],
)
def test_pods_that_keep_their_address(known: dict[str, Any]) -> None:
    assert only_workload(known).addresses == ("10.0.0.1",)


CNI = "cni.projectcalico.org/"
PLACES = [
    ({"podIPs": [{"ip": "10.0.0.2"}], "podIP": "10.0.0.1"}, {}, ("10.0.0.2",)),
    ({"podIPs": [], "podIP": "10.0.0.1"}, {CNI + "podIPs": "10.0.0.3"}, ("10.0.0.1",)),
    (
        {"phase": "Running"},
        {CNI + "podIPs": "10.0.0.3/32,fd00::A/128", CNI + "podIP": "10.0.0.4"},
        ("10.0.0.3", "fd00::a"),
    ),
    ({"phase": "Running"}, {CNI + "podIP": "10.0.0.4/32", "vpc.amazonaws.com/pod-ips": "10.0.0.5"}, ("10.0.0.4",)),
    ({"phase": "Running"}, {"vpc.amazonaws.com/pod-ips": "10.0.0.5,10.0.0.6"}, ("10.0.0.5", "10.0.0.6")),
    ({"podIPs": [{"ip": "::ffff:10.0.0.7"}, {"ip": "FD00:0::1"}]}, {}, ("10.0.0.7", "fd00::1")),
]


@pytest.mark.parametrize("status, annotations, addresses", PLACES)
def test_the_first_place_with_addresses_counts(status: Any, annotations: Any, addresses: tuple[str, ...]) -> None:
    assert only_workload(pod(status=status, annotations=annotations)).addresses == addresses


def test_an_unreadable_address_costs_the_pod() -> None:
    bad = pod("web", "10.0.0.1", "10.0.0.01")
    assert loaded(bad).workloads == ()
    reason = '"10.0.0.01" is not an address; Calico ignores the whole pod'
    assert told(bad) == [("warning", "status.podIPs[1].ip", reason)]


def test_interface_and_place() -> None:
    workload = only_workload(pod() | {"metadata": {"name": "nginx"}})
    assert (workload.interface, workload.node, workload.namespace) == ("calic440f455693", "node1", "default")


def test_labels_are_the_pods_own_and_calicos() -> None:
    own = {"app": "web", "pcns.env": "x", "pcsa.role": "y", "projectcalico.org/namespace": "z", "empty": None}
    account = {"nodeName": "node1", "serviceAccountName": "a" * 70}
    workload = only_workload(pod(labels=own) | {"spec": account})
    assert workload.labels == {
        "app": "web",
        "empty": "",
        "projectcalico.org/namespace": "shop",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "a" * 70,
    }
    assert workload.profiles == ("kns.shop", "ksa.shop." + "a" * 70)


def test_no_service_account_is_invented() -> None:
    workload = only_workload(pod())
    assert workload.profiles == ("kns.shop",)
    assert "projectcalico.org/serviceaccount" not in workload.labels
    assert only_workload(spec(nodeName="node1", serviceAccount="bot")).profiles == ("kns.shop", "ksa.shop.bot")


def test_named_ports() -> None:
    main = [
        {"name": "http", "containerPort": 8080, "hostPort": 80},
        {"containerPort": 9090, "hostPort": 90},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"name": "zero", "containerPort": 0},
        {"name": "odd", "containerPort": 1, "protocol": "ICMP"},
    ]
    first = [{"name": "sig", "containerPort": 36412, "protocol": "SCTP"}]
    given = spec(nodeName="node1", initContainers=[{"ports": first}], containers=[{"ports": main}, {}])
    expected = (NamedPort("http", "tcp", 8080), NamedPort("dns", "udp", 53), NamedPort("sig", "sctp", 36412, init=True))
    assert only_workload(given).ports == expected


def test_pods_share_what_they_have_in_common() -> None:
    ports = [{"name": "http", "containerPort": 80}]
    pods = [pod(f"web-{i}", f"10.0.0.{i}", labels={"app": "web"}, ports=ports) for i in (1, 2)]
    one, two = loaded(*pods).workloads
    for field in ("labels", "profiles", "ports"):
        assert getattr(one, field) is getattr(two, field)


def test_unknown_fields_of_live_pods_make_no_noise() -> None:
    live = spec(nodeName="node1", tolerations=[], schedulerName=None, containers=[{"image": "x", "resources": None}])
    live["metadata"] |= {"managedFields": [{"manager": None}], "uid": "1", "creationTimestamp": None}
    live["status"]["conditions"] = [{"lastProbeTime": None}]
    assert told(live) == []


def test_namespaces_allow_everything_and_hand_down_labels() -> None:
    profile = loaded(manifest("v1", "Namespace", "prod", labels={"env": "p"})).profiles["kns.prod"]
    assert [rule.action for rule in (*profile.inbound, *profile.outbound)] == ["allow", "allow"]
    assert profile.labels == {
        "pcns.env": "p",
        "pcns.kubernetes.io/metadata.name": "prod",
        "pcns.projectcalico.org/name": "prod",
    }


LONG = "l" * 59
NO_LABELS = [
    (namespace("prod", **{LONG: "x"}), "kns.prod", f"metadata.labels.{LONG}"),
    (manifest("v1", "ServiceAccount", "s" * 64, namespace="shop"), "ksa.shop." + "s" * 64, "metadata.name"),
]


@pytest.mark.parametrize("owner, name, path", NO_LABELS)
def test_one_label_too_long_costs_all_of_them(owner: dict[str, Any], name: str, path: str) -> None:
    assert loaded(owner).profiles[name].labels == {}
    ((severity, where, _),) = told(owner)
    assert (severity, where) == ("warning", path)


def test_labels_just_short_enough_are_kept() -> None:
    assert loaded(namespace("prod", **{LONG[1:]: "x"})).profiles["kns.prod"].labels["pcns." + LONG[1:]] == "x"


def test_service_accounts_hand_down_labels_without_rules() -> None:
    account = manifest("v1", "ServiceAccount", "bot", namespace="shop", labels={"role": "r"})
    profile = loaded(account).profiles["ksa.shop.bot"]
    assert (profile.inbound, profile.outbound) == ((), ())
    assert profile.labels == {"pcsa.role": "r", "pcsa.projectcalico.org/name": "bot"}


def test_every_endpoint_of_a_slice_counts() -> None:
    data = manifest("discovery.k8s.io/v1", "EndpointSlice", "cart-1", namespace="shop") | {
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": False}},
            {"addresses": ["10.0.0.2", "db.example.com"]},
        ],
        "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}, {"name": "any"}],
    }
    assert loaded(data).slices == ()
    data["metadata"]["labels"] = {"kubernetes.io/service-name": "cart"}
    (found,) = loaded(data).slices
    assert found.service == ServiceName("shop", "cart")
    assert found.addresses == ("10.0.0.1", "10.0.0.2")
    assert found.ports == (("tcp", 80), ("udp", 53))


def network_policy(**fields: Any) -> dict[str, Any]:
    return manifest(KUBERNETES, "NetworkPolicy", "p", fields, "shop")


TYPES = [
    ({}, (True, False)),
    ({"egress": []}, (True, False)),
    ({"egress": [{}]}, (True, True)),
    ({"policyTypes": [], "egress": [{}]}, (True, True)),
    ({"policyTypes": ["Egress"], "ingress": [{}]}, (False, True)),
    ({"policyTypes": None, "egress": None}, (True, False)),
]


@pytest.mark.parametrize("fields, expected", TYPES)
def test_directions(fields: dict[str, Any], expected: tuple[bool, bool]) -> None:
    policy = only_policy(network_policy(**fields))
    assert (policy.ingress, policy.egress) == expected


def test_a_policy_without_spec_selects_all_pods_of_its_namespace() -> None:
    policy = only_policy(manifest(KUBERNETES, "NetworkPolicy", "p", namespace="shop"))
    assert policy.selector == f"({K8S}) && {IN_SHOP}"
    assert (policy.tier, policy.order, policy.ingress, policy.inbound) == ("default", 1000.0, True, ())
    assert str(policy.key) == "KubernetesNetworkPolicy shop/p"


SELECTORS = [
    ({"matchLabels": {"b": "2", "a": "1"}}, "a == '1' && b == '2'"),
    ({"matchExpressions": [{"key": "k", "operator": "In", "values": ["z", "y"]}]}, "k in { 'z', 'y' }"),
    ({"matchExpressions": [{"key": "k", "operator": "NotIn", "values": ["z"]}]}, "k not in { 'z' }"),
    (
        {"matchExpressions": [{"key": "k", "operator": "Exists"}, {"key": "n", "operator": "DoesNotExist"}]},
        "has(k) && ! has(n)",
    ),
]


@pytest.mark.parametrize("selector, text", SELECTORS)
def test_pod_selectors(selector: dict[str, Any], text: str) -> None:
    assert only_policy(network_policy(podSelector=selector)).selector == f"({K8S} && {text}) && {IN_SHOP}"


PEERS = [
    ({"podSelector": {}}, Side(selector=f"({IN_SHOP}) && ({K8S})")),
    ({}, Side(selector=f"({IN_SHOP}) && ({K8S})")),
    ({"namespaceSelector": {}}, Side(selector=f"(has(projectcalico.org/namespace)) && ({K8S})")),
    ({"namespaceSelector": None, "podSelector": {}}, Side(selector=f"({IN_SHOP}) && ({K8S})")),
    (
        {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {"matchLabels": {"app": "web"}}},
        Side(selector=f"(pcns.team == \"a\") && ({K8S} && app == 'web')"),
    ),
    (
        {
            "namespaceSelector": {
                "matchLabels": {"t": "1"},
                "matchExpressions": [
                    {"key": "k", "operator": "In", "values": ["z", "y", "z"]},
                    {"key": "n", "operator": "DoesNotExist"},
                    {"key": "e", "operator": "Exists"},
                ],
            }
        },
        Side(selector=f'((pcns.t == "1" && pcns.k in {{"y", "z"}} && !has(pcns.n) && has(pcns.e))) && ({K8S})'),
    ),
    ({"ipBlock": {"cidr": "10.0.0.5/8"}}, Side(nets=("10.0.0.0/8",))),
    (
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.5/16", "10.2.0.0/16"]}},
        Side(nets=("10.0.0.0/8",), not_nets=("10.1.0.0/16", "10.2.0.0/16")),
    ),
    ({"ipBlock": {"cidr": "010.0.0.0/8", "except": ["10.1.0.0/16"]}}, ANYONE),
    (
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.02.0.0/16", "10.3.0.0/16"]}},
        Side(nets=("10.0.0.0/8",), not_nets=("10.1.0.0/16",)),
    ),
]


@pytest.mark.parametrize("peer, side", PEERS)
def test_peers(peer: dict[str, Any], side: Side) -> None:
    policy = only_policy(network_policy(ingress=[{"from": [peer]}], egress=[{"to": [peer]}]))
    assert [rule.source for rule in policy.inbound] == [side]
    assert [(rule.source, rule.destination) for rule in policy.outbound] == [(ANYONE, side)]


LEADING_ZEROS = [
    ({"cidr": "010.0.0.0/8"}, "ingress[0].from[0].ipBlock.cidr", "the rule then allows every address"),
    (
        {"cidr": "10.0.0.0/8", "except": ["10.01.0.0/16"]},
        "ingress[0].from[0].ipBlock.except[0]",
        "this exception and all that follow it are lost",
    ),
]


@pytest.mark.parametrize("block, path, hint", LEADING_ZEROS)
def test_what_calico_cannot_read_is_said_loudly(block: dict[str, Any], path: str, hint: str) -> None:
    (problem,) = loaded(network_policy(ingress=[{"from": [{"ipBlock": block}]}])).warnings
    assert (spell(problem.path), problem.hint) == (f"spec.{path}", hint)


PROTOCOLS = [
    ([], [(None, ())]),
    ([{}], [("tcp", ())]),
    ([{"protocol": "UDP"}, {"port": 80}], [("tcp", (PortRange(80, 80),)), ("udp", ())]),
    ([{"port": 80}, {}], [("tcp", ())]),
    ([{}, {"port": 80}], [("tcp", ())]),
    ([{"port": 8000, "endPort": 8010}], [("tcp", (PortRange(8000, 8010),))]),
    ([{"port": "http", "protocol": "SCTP"}], [("sctp", ("http",))]),
    ([{"port": "80"}], [("tcp", (PortRange(80, 80),))]),
    ([{"port": 81}, {"port": 80}, {"port": "http"}], [("tcp", ("http", PortRange(80, 81)))]),
]


@pytest.mark.parametrize("ports, expected", PROTOCOLS)
def test_ports_by_protocol(ports: list[Any], expected: list[tuple[str | None, Any]]) -> None:
    policy = only_policy(network_policy(ingress=[{"ports": ports}], egress=[{"ports": ports}]))
    assert [(rule.protocol, rule.destination.ports) for rule in policy.inbound] == expected
    assert [(rule.protocol, rule.destination.ports) for rule in policy.outbound] == expected


def test_rules_keep_their_place_whatever_they_become() -> None:
    rules = [
        {},
        {"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{}, {"protocol": "UDP"}]},
    ]
    inbound = only_policy(network_policy(ingress=rules)).inbound
    first, second = ("spec", "ingress", 0), ("spec", "ingress", 1)
    assert [(rule.path, rule.protocol, bool(rule.source.nets)) for rule in inbound] == [
        (first, None, False),
        (second, "tcp", False),
        (second, "tcp", True),
        (second, "udp", False),
        (second, "udp", True),
    ]


SIMPLIFIED = [
    ("2,1", "1:2"),
    ("1,2,4", "1:2,4"),
    ("1,2,3,4,80:81,81:90,9090", "1:4,80:90,9090"),
    ("81:90,4,2,foo,80:81,3,1,9090,http", "foo,http,1:4,80:90,9090"),
    ("foo", "foo"),
    ("foo,80", "foo,80"),
    ("80,foo", "80,foo"),
    ("3306,3306", "3306"),
    ("5:6,foo", "foo,5:6"),
]


@pytest.mark.parametrize("given, expected", SIMPLIFIED)
def test_simplified_ports(given: str, expected: str) -> None:
    assert ",".join(map(str, simplified(tuple(map(port_or_name, given.split(",")))))) == expected


REFUSED = [
    ({"ingress": [{"ports": [{"protocol": "tcp"}]}]}, "spec.ingress[0].ports[0].protocol"),
    ({"ingress": [{"ports": [{"port": 0}]}]}, "spec.ingress[0].ports[0].port"),
    ({"ingress": [{"ports": [{"port": "80:90"}]}]}, "spec.ingress[0].ports[0].port"),
    ({"ingress": [{"ports": [{"port": 80, "endPort": 65536}]}]}, "spec.ingress[0].ports[0].endPort"),
    ({"ingress": [{"from": [{"ipBlock": {}}]}]}, "spec.ingress[0].from[0].ipBlock.cidr"),
    ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]}, "spec.ingress[0].from[0].ipBlock.cidr"),
    (
        {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]},
        "spec.egress[0].to[0].ipBlock.except[0]",
    ),
    ({"podSelector": {"matchLabels": {"a b": "c"}}}, "spec.podSelector.matchLabels[a b]"),
    ({"podSelector": {"matchLabels": {"a": "c d"}}}, "spec.podSelector.matchLabels.a"),
    (
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
        "spec.podSelector.matchExpressions[0].values",
    ),
]


@pytest.mark.parametrize("fields, path", REFUSED)
def test_what_the_api_server_refuses(fields: dict[str, Any], path: str) -> None:
    ((severity, where, _),) = told(network_policy(**fields))
    assert (severity, where) == ("error", path)
