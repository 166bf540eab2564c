"""Loading as a whole: many documents, their order, what is odd between them, and where things stand."""

from __future__ import annotations

import dataclasses
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

import felixpy
from felixpy.errors import InputError, Place, spell
from felixpy.manifests import load
from felixpy.manifests.objects.storage import restored
from felixpy.model import Cluster
from tests.manifests import CALICO, KUBERNETES, STORED, loaded, manifest, namespace, pod, problems, told

POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
spec:
  selector: app == 'web'
  ingress:
  - action: Allow
    protocol: TCP
  - action: Deny
    source: {nets: [10.0.0.0/8]}
"""
SHOP = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"


def test_load_is_public() -> None:
    assert felixpy.load is load


def test_files_and_standard_input(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    cluster = load([tmp_path, "-"], stdin=StringIO(SHOP))
    assert [str(policy.key) for policy in cluster.policies] == ["NetworkPolicy shop/web"]
    assert cluster.warnings == ()


def test_where_a_rule_stands(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY + SHOP)
    cluster = load([file])
    (policy,) = cluster.policies
    deny = policy.inbound[1]
    assert deny.path == ("spec", "ingress", 1)
    assert cluster.where(policy.source, deny.path) == Place(str(file), 11, 5)
    assert cluster.where(policy.source, (*deny.path, "source", "nets", 0)) == Place(str(file), 12, 21)
    assert cluster.where(policy.source, ()) == Place(str(file), 1, 1)


def test_problems_come_with_places_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("Deny", "Drop").replace("10.0.0.0/8", "10.0.0.0/33").replace("TCP", "tcp") + SHOP)
    with pytest.raises(InputError) as caught:
        load([file])
    found = [(problem.place, spell(problem.path)) for problem in caught.value.problems]
    assert found == [
        (Place(str(file), 10, 15), "spec.ingress[0].protocol"),
        (Place(str(file), 11, 13), "spec.ingress[1].action"),
        (Place(str(file), 12, 21), "spec.ingress[1].source.nets[0]"),
    ]
    assert str(caught.value).startswith(f"{file}:10:15: NetworkPolicy shop/web: spec.ingress[0].protocol: ")


def test_an_unknown_field_is_shown_by_its_key(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("  ingress:", "  ingres:") + SHOP)
    (problem,) = load([file], strict=False).warnings
    with pytest.raises(InputError):
        load([file])
    assert (problem.place, problem.hint) == (Place(str(file), 8, 3), "ingress was probably meant")


def test_errors_bring_the_warnings_along() -> None:
    bad = manifest(CALICO, "NetworkPolicy", "p", {"order": "high", "colour": 1}, "shop")
    assert sorted(severity for severity, _, _ in told(bad, strict=False)) == ["error", "warning"]


MANY = [
    namespace("a", team="x"),
    namespace("b"),
    pod("web-2", "10.0.0.2", labels={"app": "web"}),
    pod("web-1", "10.0.0.1", labels={"app": "web"}),
    manifest(KUBERNETES, "NetworkPolicy", "same", {"podSelector": {}}, "shop"),
    manifest(CALICO, "NetworkPolicy", "same", {}, "shop"),
    manifest(CALICO, "GlobalNetworkPolicy", "same", {"tier": "t"}),
    manifest(CALICO, "Tier", "t", {"order": 5}),
    manifest(CALICO, "IPPool", "b", {"cidr": "10.0.0.0/16"}),
    manifest(CALICO, "IPPool", "a", {"cidr": "10.0.0.0/16", "natOutgoing": True}),
    manifest(CALICO, "HostEndpoint", "h2", {"node": "n", "interfaceName": "*"}),
    manifest(CALICO, "HostEndpoint", "h1", {"node": "n", "interfaceName": "*"}),
    manifest(CALICO, "GlobalNetworkSet", "s", {"nets": ["10.0.0.0/8"]}),
    manifest("v1", "Node", "n"),
]


def _without_places(value: Any) -> Any:
    if isinstance(value, Struct | Cluster):
        names = (
            value.__struct_fields__ if isinstance(value, Struct) else [each.name for each in dataclasses.fields(value)]
        )
        fields = {*names} - {"source", "texts", "where"}
        return {name: _without_places(getattr(value, name)) for name in sorted(fields)}
    if isinstance(value, dict):
        return [(key, _without_places(item)) for key, item in value.items()]
    return [_without_places(item) for item in value] if isinstance(value, tuple | list) else value


EXPECTED = _without_places(loaded(*MANY))


@given(st.permutations(MANY))
def test_the_order_of_documents_does_not_matter(documents: list[dict[str, Any]]) -> None:
    assert _without_places(loaded(*documents)) == EXPECTED


def test_objects_come_sorted() -> None:
    cluster = loaded(*MANY)
    assert [str(policy.key) for policy in cluster.policies] == [
        "GlobalNetworkPolicy same",
        "NetworkPolicy shop/same",
        "KubernetesNetworkPolicy shop/same",
    ]
    assert [workload.name for workload in cluster.workloads] == ["web-1", "web-2"]
    assert [endpoint.name for endpoint in cluster.host_endpoints] == ["h1", "h2"]
    assert [pool.name for pool in cluster.pools] == ["a"]


def test_objects_without_namespace_are_in_default() -> None:
    cluster = loaded(manifest(KUBERNETES, "NetworkPolicy", "p", {}), namespace("default"))
    assert cluster.policies[0].key.namespace == "default"
    empty = manifest(KUBERNETES, "NetworkPolicy", "p", {}) | {"metadata": {"name": "p", "namespace": ""}}
    assert loaded(empty, namespace("default")).policies[0].key == cluster.policies[0].key


def test_global_objects_have_no_namespace() -> None:
    cluster = loaded(manifest(CALICO, "GlobalNetworkPolicy", "p", {"selector": "has(a)"}, "shop"))
    assert (cluster.policies[0].key.namespace, cluster.policies[0].selector) == ("", "has(a)")


def _twice(first: dict[str, Any], second: dict[str, Any]) -> Cluster:
    stream = "\n---\n".join(map(json.dumps, (namespace(), first, second)))
    return load(["-"], stdin=StringIO(stream))


def test_of_an_object_given_twice_the_last_one_counts() -> None:
    policies = [manifest(CALICO, "NetworkPolicy", "p", {"order": order}, "shop") for order in (1, 2)]
    cluster = _twice(*policies)
    assert [policy.order for policy in cluster.policies] == [2.0]
    (problem,) = cluster.warnings
    assert (problem.subject, problem.place.line) == ("NetworkPolicy shop/p", 5)
    assert problem.reason == "is given twice (documents 2 and 3) with different content"
    assert _twice(policies[0], policies[0]).warnings == ()


def test_one_name_under_two_kinds_is_no_repetition() -> None:
    both = [manifest(version, "NetworkPolicy", "p", {}, "shop") for version in (CALICO, KUBERNETES)]
    assert len(_twice(*both).policies) == 2
    assert _twice(*both).warnings == ()


def test_the_stored_form_is_the_same_object() -> None:
    both = [manifest(version, "NetworkPolicy", "p", {"types": ["Egress"]}, "shop") for version in (CALICO, STORED)]
    assert len(_twice(*both).policies) == 1


def test_shared_addresses() -> None:
    pods = [pod("b", "10.0.0.1", "fd00::1"), pod("a", "10.0.0.9", "fd00::1"), pod("c", status={"podIP": "10.0.0.9"})]
    found = [(problem.subject, spell(problem.path), problem.reason) for problem in loaded(*pods).warnings]
    assert sorted(found) == [
        ("Pod shop/b", "status.podIPs[1].ip", "fd00::1: also used by Pod shop/a"),
        ("Pod shop/c", "status.podIP", "10.0.0.9: also used by Pod shop/a"),
    ]


def test_addresses_of_finished_pods_are_free() -> None:
    reasons = [reason for _, _, reason in told(pod("a"), pod("b", status={"phase": "Failed", "podIP": "10.0.0.1"}))]
    assert reasons == ["no endpoints, so no policy selects them: 1 pod no longer running (shop/b)"]


def _without(name: str, **spec: Any) -> dict[str, Any]:
    live = pod(name)
    return {**live, "spec": {**live["spec"], **spec}}


def _pending(name: str) -> dict[str, Any]:
    return {**_without(name, nodeName=""), "status": {"phase": "Pending", "podIP": "10.0.0.1"}}


@pytest.mark.parametrize(
    "pods, expected",
    [
        ([_without("a", hostNetwork=True)], "1 pod in the network of a node (shop/a)"),
        ([_pending("a")], "1 pod without a node (shop/a)"),
        ([pod("a", status={"phase": "Pending"})], "1 pod without an address (shop/a)"),
        ([pod("a", status={"phase": "Succeeded"})], "1 pod no longer running (shop/a)"),
        (
            [_without(name, hostNetwork=True) for name in "dbac"] + [pod("e", status={"phase": "Failed"})],
            "4 pods in the network of a node (shop/a, shop/b, shop/c, 1 more); 1 pod no longer running (shop/e)",
        ),
    ],
)
def test_pods_that_are_no_endpoints_are_told(pods: list[dict[str, Any]], expected: str) -> None:
    assert loaded(*pods).workloads == ()
    assert [reason for _, _, reason in told(*pods)] == [f"no endpoints, so no policy selects them: {expected}"]


def test_an_unknown_tier_is_not_blamed_on_a_tier_that_is_wrong_itself() -> None:
    policy = manifest(CALICO, "GlobalNetworkPolicy", "p", {"tier": "t"})
    assert [path for _, path, _ in told(policy)] == ["spec.tier"]
    assert told(policy, manifest(CALICO, "Tier", "t", {"defaultAction": "Allow"})) == [
        ("error", "spec.defaultAction", '"Allow": unknown')
    ]


def test_other_kinds_are_counted() -> None:
    others = [manifest("v1", "ConfigMap", name) for name in "ab"] + [manifest("cert-manager.io/v1", "Issuer", "i")]
    assert [reason for _, _, reason in told(*others, manifest("v1", "Service", "s"))] == [
        "skipped, without effect on rules: 2 ConfigMap, 1 Issuer"
    ]


KINDS = [
    ("projectcalico.org/v1", "GlobalNetworkPolicy", "projectcalico.org/v3 was probably meant"),
    ("networking.k8s.io/v1beta1", "NetworkPolicy", "networking.k8s.io/v1 was probably meant"),
    ("extensions/v1beta1", "NetworkPolicy", "it belongs to networking.k8s.io/v1"),
    ("networking/v1", "NetworkPolicy", "networking.k8s.io/v1 was probably meant"),
    ("projectcalico/v3", "GlobalNetworkPolicy", "projectcalico.org/v3 was probably meant"),
    ("projectcalico/v3", "Tier", "projectcalico.org/v3 was probably meant"),
    ("calico.org/v3", "HostEndpoint", "projectcalico.org/v3 was probably meant"),
    ("Projectcalico.org/v3", "NetworkSet", "projectcalico.org/v3 was probably meant"),
    ("example.com/v1", "NetworkPolicy", "networking.k8s.io/v1 was probably meant"),
    ("v3", "GlobalNetworkPolicy", "it belongs to projectcalico.org/v3"),
    ("V1", "Pod", "v1 was probably meant"),
    ("app/v1", "Deployment", "apps/v1 was probably meant"),
    ("apps/v2", "Deployment", "apps/v1 was probably meant"),
    ("apps/v1", "Deploymnet", "Deployment was probably meant"),
    ("networking.k8s.io/v1", "NETWORKPOLICY", "NetworkPolicy was probably meant"),
    ("networking.k8s.io/v1", "NetPol", "NetworkPolicy was probably meant"),
    ("networking/v1", "NetworkPolicies", "NetworkPolicy of networking.k8s.io/v1 was probably meant"),
    ("projectcalico.org/v3", "GlobalPolicy", "GlobalNetworkPolicy was probably meant"),
    ("projectcalico.org/v3", "gnp", "GlobalNetworkPolicy was probably meant"),
    ("projectcalico.org/v3", "Banana", ""),
    ("projectcalico/v3", "Banana", "the group projectcalico.org was probably meant"),
    ("v1", "Pdo", "Pod was probably meant"),
    ("v1", "policy", 'let "calicoctl convert -f FILE" write it as projectcalico.org/v3'),
    ("v1", "hostEndpoint", 'let "calicoctl convert -f FILE" write it as projectcalico.org/v3'),
    ("v1", "Status", "the command that wrote it has failed"),
    (
        "policy.networking.k8s.io/v1alpha1",
        "ClusterNetworkPolicy",
        "policy.networking.k8s.io/v1alpha2 was probably meant",
    ),
    ("v2", "Pod", "v1 was probably meant"),
    ("apps/v1", "Pod", "it belongs to v1"),
    ("v1", "Deployment", "it belongs to apps/v1"),
    ("networking.k8s.io/v1", "NetworkPolcy", "NetworkPolicy was probably meant"),
    ("projectcalico.org/v3", "GlobalNetworkPolicies", "GlobalNetworkPolicy was probably meant"),
    ("projectcalico.org/v3", "ClusterNetworkPolicy", "it belongs to policy.networking.k8s.io/v1alpha2"),
]


@pytest.mark.parametrize("version, kind, hint", KINDS)
def test_kinds_in_the_wrong_place(version: str, kind: str, hint: str) -> None:
    (problem,) = problems(manifest(version, kind, "x"))
    assert (problem.severity, problem.hint) == ("error", hint)


@pytest.mark.parametrize("kind, tier", [("AdminNetworkPolicy", "Admin"), ("BaselineAdminNetworkPolicy", "Baseline")])
def test_the_predecessors_of_cluster_network_policies(kind: str, tier: str) -> None:
    (problem,) = problems(manifest("policy.networking.k8s.io/v1alpha1", kind, "x"))
    assert problem.severity == "error"
    assert f"ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) with tier: {tier}" in problem.hint


IDLE = [
    ("longhorn.io/v1beta2", "Node"),
    ("projectcalico.org/v3", "BGPPeer"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("metrics.k8s.io/v1beta1", "PodMetrics"),
]


@pytest.mark.parametrize("version, kind", IDLE)
def test_kinds_that_change_no_rule_are_skipped(version: str, kind: str) -> None:
    assert told(manifest(version, kind, "x")) == [("warning", "", f"skipped, without effect on rules: 1 {kind}")]


UNKNOWN = [
    ("example.com/v1", "Banana"),
    ("example.com/v1", "Node"),
    ("serving.knative.dev/v1", "Service"),
    ("kubeflow.org/v1", "Profile"),
    ("argoproj.io/v1alpha1", "Rollout"),
]


@pytest.mark.parametrize("version, kind", UNKNOWN)
def test_of_kinds_that_nobody_knows_nothing_is_said_but_that(version: str, kind: str) -> None:
    reason = f"skipped, of kinds that felixpy does not know: 1 {kind} ({version})"
    assert told(manifest(version, kind, "x")) == [("warning", "", reason)]


NOT_READ = [
    ("crd.antrea.io/v1beta1", "NetworkPolicy", "NetworkPolicy: enforced by Antrea, not by Felix"),
    ("cilium.io/v2", "CiliumNetworkPolicy", "CiliumNetworkPolicy: enforced by Cilium, not by Felix"),
    ("kustomize.config.k8s.io/v1beta1", "Kustomization", "a Kustomization of kustomize is not applied"),
    ("v1", "Config", "a kubeconfig is not a manifest; skipped"),
]


@pytest.mark.parametrize("version, kind, reason", NOT_READ)
def test_what_felixpy_cannot_use_is_said_without_refusing_the_rest(version: str, kind: str, reason: str) -> None:
    ((severity, _, found),) = told(manifest(version, kind, "x"))
    assert severity == "warning"
    assert found.startswith(reason)


@pytest.mark.parametrize("version, current", [("extensions/v1beta1", "apps/v1"), ("apps/v1beta2", "apps/v1")])
def test_versions_that_are_not_served_any_more_are_read(version: str, current: str) -> None:
    old = deployment() | {"apiVersion": version}
    assert [pod.labels for pod in loaded(old).workloads] == [pod.labels for pod in loaded(deployment()).workloads]
    assert f"apiVersion {version} is not served any more; it is read as {current}" in [each[2] for each in told(old)]


UNNAMED = [
    ({"metadata": {"namespace": "shop"}}, "the first document, a NetworkPolicy in namespace shop", "metadata.name"),
    ({"metadata": {"name": None}}, "the first document, a NetworkPolicy", "metadata.name"),
    ({"metadata": {"generateName": "p-"}}, "the first document, a NetworkPolicy", "metadata.name"),
    ({"metadata": []}, "the first document, a NetworkPolicy", "metadata"),
    ({}, "the first document, a NetworkPolicy", "metadata"),
]


@pytest.mark.parametrize("data, subject, path", UNNAMED)
def test_objects_without_name_are_called_by_their_number(data: dict[str, Any], subject: str, path: str) -> None:
    text = json.dumps({"apiVersion": CALICO, "kind": "NetworkPolicy", **data})
    with pytest.raises(InputError) as caught:
        load(["-"], stdin=StringIO(text))
    (problem,) = caught.value.problems
    assert (problem.subject, spell(problem.path)) == (subject, path)


def test_the_strict_want_to_be_asked_for_namespaces() -> None:
    policy = manifest(KUBERNETES, "NetworkPolicy", "p", {}, "elsewhere")
    assert [severity for severity, _, _ in told(policy)] == ["warning"]
    assert [severity for severity, _, _ in told(policy, strict=True)] == ["error"]


def test_after_errors_assumptions_keep_silent() -> None:
    bad = namespace("elsewhere") | {"metadata": {"name": "elsewhere", "labels": []}}
    assert [path for _, path, _ in told(bad, manifest(KUBERNETES, "NetworkPolicy", "p", {}, "elsewhere"))] == [
        "metadata.labels"
    ]


def deployment() -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"ports": [{"name": "h", "containerPort": 80}]}]},
    }
    return manifest(
        "apps/v1", "Deployment", "web", {"selector": {"matchLabels": {"app": "web"}}, "template": template}, "shop"
    )


def test_deployments_become_pods_unless_told_not_to() -> None:
    (workload,) = loaded(deployment(), node="node7").workloads
    assert (workload.node, workload.labels["app"], workload.ports[0].port) == ("node7", "web", 80)
    plain = loaded(deployment(), expand=False)
    assert plain.workloads == ()
    assert [problem.reason for problem in plain.warnings] == ["skipped, without effect on rules: 1 Deployment"]


def test_one_template_is_told_once_what_is_wrong_with_it() -> None:
    bad = deployment()
    bad["spec"] |= {"replicas": 3}
    bad["spec"]["template"]["metadata"]["labels"]["b c"] = "d"
    assert [(severity, path) for severity, path, _ in told(bad)] == [
        ("warning", ""),
        ("error", "metadata.labels[b c]"),
    ]


STORED_METADATA = "projectcalico.org/metadata"


def stored(name: str, annotation: Any = None, kind: str = "GlobalNetworkPolicy", **spec: Any) -> dict[str, Any]:
    given = {} if annotation is None else {STORED_METADATA: json.dumps(annotation)}
    return manifest(STORED, kind, name, spec, labels={"raw": "1", "both": "raw"}, annotations=given)


NAMES = [
    (stored("default.foo", {"name": "foo"}), "foo"),
    (stored("default.foo", {}), "foo"),
    (stored("default.foo", {"name": "default.foo"}), "default.foo"),
    (stored("default.foo"), "default.foo"),
    (stored("default.foo", {}, tier="default"), "foo"),
    (stored("default.foo", {}, tier="security"), "default.foo"),
    (stored("security.foo", {}, tier="security"), "security.foo"),
    (stored("default.foo", {}, kind="GlobalNetworkSet"), "default.foo"),
    (stored("foo", "no object"), "foo"),
]


@pytest.mark.parametrize("data, name", NAMES)
def test_names_of_stored_objects(data: dict[str, Any], name: str) -> None:
    assert restored(data)["metadata"]["name"] == name


def test_labels_of_stored_objects_stand_in_an_annotation() -> None:
    meta = {"labels": {"role": "db", "both": "meta"}, "annotations": {"a": "b"}}
    found = restored(stored("s", meta, "GlobalNetworkSet"))["metadata"]
    assert found["labels"] == {"raw": "1", "both": "meta", "role": "db"}
    assert found["annotations"] == {"a": "b"}
    (network_set,) = loaded(stored("s", meta, "GlobalNetworkSet", nets=["10.0.0.0/8"])).network_sets
    assert network_set.labels["role"] == "db"


@pytest.mark.parametrize("annotation", ["", "{", "[" * 100_000, "[1]"])
def test_a_broken_annotation_of_a_stored_object_is_as_good_as_empty(annotation: str) -> None:
    broken = manifest(STORED, "GlobalNetworkPolicy", "default.p", {}, annotations={STORED_METADATA: annotation})
    assert restored(broken)["metadata"]["name"] == "p"


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, item in items for inner in _paths(item, (*path, key)))]


def _with(value: Any, path: tuple[str | int, ...], junk: Any) -> Any:
    """The value with something else at a path inside it."""
    if not path:
        return junk
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = _with(value[path[0]], path[1:], junk)
    return changed


RICH = [
    pod("web", "10.0.0.1", labels={"a": "b"}, annotations={"qos.projectcalico.org/dscp": "EF"}, ports=[{"name": "h"}]),
    manifest(CALICO, "GlobalNetworkPolicy", "p", {
        "selector": "has(a)", "types": ["Ingress"], "ingress": [{
            "action": "Allow", "protocol": "TCP", "icmp": {"type": 1}, "metadata": {"annotations": {"a": "b"}},
            "source": {"nets": ["10.0.0.0/8"], "ports": [1], "serviceAccounts": {"names": ["a"]}},
            "destination": {"services": {"name": "a"}}, "http": {"paths": [{"exact": "/"}]},
        }],
    }),
    manifest(KUBERNETES, "NetworkPolicy", "p", {
        "podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
        "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 1}]}],
    }, "shop"),
    manifest("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", "p", {
        "tier": "Admin", "priority": 1, "subject": {"pods": {"namespaceSelector": {}, "podSelector": {}}},
        "egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.0/8"]}],
                    "protocols": [{"tcp": {"destinationPort": {"range": {"start": 1, "end": 2}}}}]}],
    }),
    manifest(CALICO, "HostEndpoint", "h", {
        "node": "n", "expectedIPs": ["192.0.2.1"], "profiles": ["p"],
        "ports": [{"name": "a", "protocol": 6, "port": 1}],
    }),
    manifest(CALICO, "FelixConfiguration", "default", {
        "failsafeInboundHostPorts": [{"protocol": "TCP", "port": 1}], "vxlanPort": 1, "natPortRange": "1:2",
        "externalNodesList": ["10.0.0.0/8"], "featureDetectOverride": "a=true", "istioDSCPMark": 1,
    }, annotations={"config.projectcalico.org/LogPrefix": "x"}),
    manifest(CALICO, "KubeControllersConfiguration", "default", {"controllers": {"node": {"hostEndpoint": {
        "autoCreate": "Enabled",
        "templates": [{"interfacePattern": "e", "labels": {}, "interfaceCIDRs": ["10.0.0.0/8"]}],
    }}}}),
    manifest("v1", "Node", "n", annotations={"projectcalico.org/Interfaces": '[{"name": 1, "addresses": [2]}]'})
    | {"status": {"addresses": [{"type": "InternalIP", "address": "x"}]}},
    manifest(CALICO, "IPPool", "p", {"cidr": "10.0.0.0/16", "allowedUses": ["Workload"], "blockSize": 26}),
    manifest(CALICO, "Tier", "t", {"order": 1}),
    manifest("discovery.k8s.io/v1", "EndpointSlice", "s", namespace="shop")
    | {"endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 1, "protocol": "TCP"}]},
    manifest(CALICO, "BGPConfiguration", "default", {"serviceClusterIPs": [{"cidr": "10.0.0.0/16"}]}),
    stored("default.s", {"labels": {"a": "b"}}, "NetworkSet", nets=["10.0.0.0/8"]),
]  # fmt: skip
JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x y",
    "é\n",
    "10.0.0.0/8",
    "all()",
    "  ",
    [],
    [None],
    [{}],
    {},
    {"a": None},
    {"": 1},
]


@given(st.data())
def test_whatever_stands_wherever_the_answer_is_a_cluster_or_problems(data: st.DataObject) -> None:
    documents = list(RICH)
    for index in data.draw(st.lists(st.integers(0, len(RICH) - 1), min_size=1, max_size=4, unique=True)):
        paths = [path for path in _paths(documents[index]) if path and path[0] not in ("apiVersion", "kind")]
        documents[index] = _with(documents[index], data.draw(st.sampled_from(paths)), data.draw(st.sampled_from(JUNK)))
    assert isinstance(problems(*documents), list)


def test_an_owner_without_kind_or_name_is_none() -> None:
    broken = [{"apiVersion": "apps/v1", "name": "web", "controller": True}, {"kind": "ReplicaSet"}]
    assert loaded(pod("web", ownerReferences=broken)).workloads[0].owner is None


def test_a_named_port_towards_networks_matches_where_an_endpoint_is() -> None:
    def towards(cidr: str) -> dict[str, Any]:
        rule = {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": "http"}]}
        return manifest(KUBERNETES, "NetworkPolicy", "p", {"policyTypes": ["Egress"], "egress": [rule]}, "shop")

    serving = pod("web", "10.0.0.1", ports=[{"name": "http", "containerPort": 80}])
    assert told(serving, towards("10.0.0.0/24")) == []
    reason = 'port "http" towards 10.9.0.0/24 never matches'
    assert told(serving, towards("10.9.0.0/24")) == [("warning", "spec.egress[0]", reason)]
