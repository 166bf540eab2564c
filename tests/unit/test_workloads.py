"""Workloads → pods: how many, and what they are called."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from textwrap import indent

import pytest

from felixpy.manifests.completion import workloads
from felixpy.manifests.completion.placement import DEFAULT_RANGE
from tests.controllers import TEMPLATE, controller, cron_job, documents, expanded, live, manifest, names, pods

LETTERS = "[bcdfghjklmnpqrstvwxz2456789]{5}"
NODES = manifest("Node", "n2", "") + manifest("Node", "n1", "")

# --- how many, and what they are called

COUNTS = {
    "one by default": (controller("Deployment"), 1),
    "several": (controller("Deployment", fields="replicas: 3"), 3),
    "none": (controller("Deployment", fields="replicas: 0"), 0),
    "null": (controller("Deployment", fields="replicas: null"), 1),
    "stateful": (controller("StatefulSet", fields="replicas: 2"), 2),
    "replica set": (controller("ReplicaSet", fields="replicas: 2"), 2),
    "replication controller": (controller("ReplicationController", fields="replicas: 2"), 2),
    "deployment config": (controller("DeploymentConfig", fields="replicas: 2"), 2),
    "job": (controller("Job"), 1),
    "parallel job": (controller("Job", fields="parallelism: 3, completions: 30000"), 3),
    "more at a time than in all": (controller("Job", fields="parallelism: 3, completions: 2"), 2),
    "suspended job": (controller("Job", fields="suspend: true"), 0),
    "job that has run": (
        controller("Job") + "status: {conditions: [{type: Suspended, status: no}, {type: Complete, status: 'True'}]}",
        0,
    ),
    "job that runs": (controller("Job") + "status: {conditions: [{type: Complete, status: 'False'}]}", 1),
    "cron job": (cron_job(), 1),
    "parallel cron job": (cron_job(job="parallelism: 2,"), 2),
    "suspended cron job": (cron_job("suspend: true,"), 0),
    "daemon set without nodes": (controller("DaemonSet"), 1),
    "daemon set": (controller("DaemonSet") + "".join(manifest("Node", f"n{number}", "") for number in range(3)), 3),
    "another group": (controller("Deployment").replace("apps/v1", "extensions/v1beta1"), 0),
}  # fmt: skip


@pytest.mark.parametrize("text, count", COUNTS.values(), ids=COUNTS)
def test_how_many_pods(text, count):
    assert len(set(names(pods(text)))) == count


NAMES = {
    "Deployment": f"web-[0-9a-f]{{10}}-{LETTERS}",
    "ReplicaSet": f"web-{LETTERS}",
    "ReplicationController": f"web-{LETTERS}",
    "DeploymentConfig": f"web-1-{LETTERS}",
    "DaemonSet": f"web-{LETTERS}",
    "Job": f"web-{LETTERS}",
    "StatefulSet": "web-0",
}


@pytest.mark.parametrize("kind, pattern", NAMES.items(), ids=NAMES)
def test_names_look_like_real_ones_and_last(kind, pattern):
    [name] = names(pods(controller(kind)))
    assert re.fullmatch(pattern, name)
    assert names(pods(controller(kind))) == [name]
    assert names(pods(controller(kind, namespace="other"))) != [name] or kind == "StatefulSet"


def test_names_of_special_pods():
    assert re.fullmatch(rf"nightly-28\d{{6}}-{LETTERS}", names(pods(cron_job()))[0])
    assert names(pods(controller("StatefulSet", fields="replicas: 2, ordinals: {start: 5}"))) == ["web-5", "web-6"]
    indexed = names(pods(controller("Job", fields="parallelism: 2, completions: 2, completionMode: Indexed")))
    assert [re.sub(f"{LETTERS}$", "", name) for name in indexed] == ["web-0-", "web-1-"]


def test_long_names_leave_room_for_the_letters():
    [name] = names(pods(controller("Deployment", name="w" * 60)))
    assert re.fullmatch(f"w{{58}}{LETTERS}", name)


def test_names_that_exist_are_not_given_again():
    text = controller("ReplicaSet", fields="replicas: 3")
    [first, *_] = taken = names(pods(text))
    again = names(pods(text + live(first, "{app: other}")))
    assert len(set(again)) == 3
    assert set(taken) - set(again) == {first}


LABELS = {
    "Deployment": {"pod-template-hash": "[0-9a-f]{10}"},
    "ReplicaSet": {},
    "ReplicationController": {},
    "DeploymentConfig": {"deployment": "web-1", "deploymentconfig": "web"},
    "DaemonSet": {"controller-revision-hash": "[0-9a-f]{10}", "pod-template-generation": "1"},
    "StatefulSet": {
        "apps.kubernetes.io/pod-index": "0",
        "controller-revision-hash": "web-[0-9a-f]{10}",
        "statefulset.kubernetes.io/pod-name": "web-0",
    },
    "Job": {"batch.kubernetes.io/job-name": "web", "job-name": "web"},
}


@pytest.mark.parametrize("kind, own", LABELS.items(), ids=LABELS)
def test_labels(kind, own):
    [pod] = pods(controller(kind))
    labels = pod["metadata"]["labels"]
    assert set(labels) == {"app", *own}
    assert all(re.fullmatch(pattern, labels[key]) for key, pattern in {**own, "app": "web"}.items())


def test_the_hash_of_a_template_follows_the_template():
    changed = TEMPLATE.replace("containers: []", "containers: [{name: a}]")
    hashes = [
        pod["metadata"]["labels"]["pod-template-hash"]
        for template in (TEMPLATE, changed)
        for pod in pods(controller("Deployment", template=template, fields="replicas: 2"))
    ]
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]


def test_a_pod_is_made_of_its_template():
    template = (
        "{metadata: {labels: {app: web}, annotations: {a: b}},"
        " spec: {serviceAccountName: runner, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}}"
    )
    [pod] = pods(controller("Deployment", template=template))
    assert (pod["apiVersion"], pod["kind"], pod["metadata"]["namespace"]) == ("v1", "Pod", "shop")
    assert pod["metadata"]["annotations"] == {"a": "b"}
    assert pod["metadata"]["ownerReferences"] == [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}]
    assert pod["spec"]["serviceAccountName"] == "runner"
    assert pod["spec"]["containers"][0]["ports"] == [{"name": "http", "containerPort": 80}]
    assert pod["status"]["phase"] == "Running"


def test_sources_are_those_of_the_workload():
    text = live("other", "{app: other}") + controller("Deployment")
    before = documents(text)
    after, _ = workloads.expand(before, node=None)
    assert after[-1].source == before[1].source


# --- when there are pods already

SELECTOR = "spec: {selector: %s, template: {metadata: {labels: {app: web}}, spec: {containers: []}}}"
EXISTING = {
    "selected": (controller("Deployment") + live("web-1"), 0),
    "in another namespace": (controller("Deployment") + live("web-1", namespace="other"), 1),
    "with other labels": (controller("Deployment") + live("web-1", "{app: db}"), 1),
    "owned": (controller("StatefulSet") + live("web-1", "{}", owner="{kind: StatefulSet, name: web}"), 0),
    "owned by another kind": (controller("StatefulSet") + live("x", "{}", owner="{kind: Job, name: web}"), 1),
    "job's labels": (controller("Job") + live("web-1"), 0),
    "of another job": (controller("Job") + live("x", "{app: web, job-name: other}"), 1),
    "job's name": (controller("Job") + live("x", "{batch.kubernetes.io/job-name: web}"), 0),
    "cron job's job": (cron_job() + live("x", "{job-name: nightly-1234}"), 0),
    "another job with a longer name": (cron_job() + live("x", "{app: web, job-name: nightly-report-1}"), 1),
    "replica set of a deployment": (
        controller("Deployment")
        + controller("ReplicaSet", name="web-abc", more="ownerReferences: [{kind: Deployment, name: web}]"),
        1,
    ),
    "replica set of a deployment elsewhere": (
        controller("ReplicaSet", name="web-abc", more="ownerReferences: [{kind: Deployment, name: web}]"), 1,
    ),
    "job of a cron job": (cron_job() + controller("Job", more="ownerReferences: [{kind: CronJob, name: nightly}]"), 1),
    "given twice": (controller("Deployment") + controller("Deployment", fields="replicas: 3"), 3),
    "plain selector": (manifest("ReplicationController", "web", SELECTOR % "{app: web}") + live("web-1"), 0),
    "plain selector of others": (manifest("ReplicationController", "web", SELECTOR % "{app: db}") + live("web-1"), 1),
    "no plain selector": (manifest("DeploymentConfig", "web", SELECTOR % "null") + live("web-1"), 0),
    "replication controller of a config": (
        controller("DeploymentConfig", fields="replicas: 3")
        + controller("ReplicationController", "web-1", more="ownerReferences: [{kind: DeploymentConfig, name: web}]"),
        3,
    ),
    "no selector": (manifest("Deployment", "web", SELECTOR % "null") + live("web-1"), 1),
    "empty selector": (manifest("Deployment", "web", SELECTOR % "{}") + live("web-1"), 1),
}  # fmt: skip


@pytest.mark.parametrize("text, count", EXISTING.values(), ids=EXISTING)
def test_workloads_that_have_pods_get_no_others(text, count):
    assert len(pods(text)) == count


CONDITIONS = {
    "{key: app, operator: In, values: [web, db]}": True,
    "{key: app, operator: In, values: [db]}": False,
    "{key: app, operator: NotIn, values: [db]}": True,
    "{key: app, operator: NotIn, values: [web]}": False,
    "{key: none, operator: NotIn, values: [web]}": True,
    "{key: app, operator: Exists}": True,
    "{key: none, operator: Exists}": False,
    "{key: app, operator: DoesNotExist}": False,
    "{key: none, operator: DoesNotExist}": True,
    "{key: app, operator: Near, values: [web]}": False,
}


@pytest.mark.parametrize("condition, selected", CONDITIONS.items(), ids=CONDITIONS)
def test_selectors_with_conditions(condition, selected):
    selector = SELECTOR % f"{{matchLabels: {{app: web}}, matchExpressions: [{condition}]}}"
    assert len(pods(manifest("Deployment", "web", selector) + live("web-1"))) == (0 if selected else 1)


# --- pods written by hand


def test_bare_pods_are_placed():
    text = manifest("Pod", "client", "spec: {containers: []}", more="labels: {app: client}") + NODES
    [pod] = pods(text)
    assert pod["metadata"] == {"name": "client", "namespace": "shop", "labels": {"app": "client"}}
    assert pod["spec"] == {"containers": [], "nodeName": "n1", "serviceAccountName": "default"}
    assert ip_address(pod["status"]["podIP"]) in ip_network(DEFAULT_RANGE)


LIVE = {
    "running": live("x"),
    "pending": manifest("Pod", "x", "spec: {}\nstatus: {phase: Pending}"),
    "with a node": manifest("Pod", "x", "spec: {nodeName: n1}"),
}


@pytest.mark.parametrize("text", LIVE.values(), ids=LIVE)
def test_other_pods_stay_as_they_are(text):
    before = documents(text)
    assert workloads.expand(before, node="n5") == (before, [])


def test_an_empty_status_is_none():
    [pod] = pods(manifest("Pod", "x", "spec: {}\nstatus: {}"))
    assert pod["spec"]["nodeName"] == "node1"


def test_a_bare_pod_does_not_stand_for_a_workload():
    found = pods(controller("Deployment") + manifest("Pod", "x", "spec: {}", more="labels: {app: web}"))
    assert len(found) == 2


# --- what is said

WRONG = {
    "too many": (
        controller("Deployment", fields="replicas: 10001"),
        "spec.replicas: 10001 pods are too many to assume, 10,000 is the most",
    ),
    "not a number": (controller("Deployment", fields="replicas: '3'"), "spec.replicas: a number of pods is expected"),
    "negative": (controller("Deployment", fields="replicas: -1"), "spec.replicas: a number of pods is expected"),
    "boolean": (controller("Job", fields="parallelism: yes"), "spec.parallelism: a number of pods is expected"),
    "no template": (manifest("Deployment", "web", "spec: {}"), "spec.template: the template of its pods is missing"),
    "no spec": (manifest("Deployment", "web", ""), "spec.template: the template of its pods is missing"),
    "template is a list": (controller("Deployment", template="[]"), "spec.template: a mapping is expected"),
    "labels are a list": (
        controller("Deployment", template="{metadata: {labels: []}, spec: {containers: []}}"),
        "spec.template.metadata.labels: a mapping is expected",
    ),
    "odd start": (
        controller("StatefulSet", fields="ordinals: {start: x}"), "spec.ordinals.start: a number is expected",
    ),
    "cron job": (
        cron_job(job="parallelism: x,"), "spec.jobTemplate.spec.parallelism: a number of pods is expected",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text, expected", WRONG.values(), ids=WRONG)
def test_workloads_that_cannot_be_expanded(text, expected):
    found, [problem] = expanded(text)
    assert found == []
    assert problem.severity == "error"
    assert str(problem).endswith(expected)
    assert re.match(r"<stdin>:2: (Deployment|StatefulSet|Job|CronJob) shop/(web|nightly): ", str(problem))


def test_a_workload_without_name():
    _, [problem] = expanded(controller("Deployment").replace("name: web, ", ""))
    assert str(problem) == "<stdin>:2: Deployment shop: metadata.name: is missing"


def test_strange_parts_of_workloads_do_not_hurt():
    strange = ["5", "[1]", "{a: [b]}", "x"]
    for value in strange:
        fields = f"ownerReferences: {value}"
        selector = SELECTOR % f"{{matchLabels: {value}, matchExpressions: {value}}}"
        text = manifest("Deployment", "web", selector, more=fields)
        text += manifest("Job", "web", f"spec: {{template: {TEMPLATE}}}\nstatus: {{conditions: {value}}}")
        assert len(pods(text + live("x", "{app: db}"))) == 2


def test_too_many_pods_in_all(monkeypatch):
    monkeypatch.setattr(workloads, "MAX_PODS", 5)
    text = controller("Deployment", name="a", fields="replicas: 5") + controller("Deployment", name="b")
    found, problems = expanded(text)
    assert len(found) == 5
    assert "more than 5 pods would have to be assumed" in [problem.reason for problem in problems]


def test_one_warning_sums_up():
    text = (
        controller("Deployment", fields="replicas: 3")
        + controller("StatefulSet", name="db")
        + manifest("Pod", "client", "spec: {}")
        + manifest("IPPool", "p", "spec: {cidr: 10.1.0.0/24}")
    )
    _, [problem] = expanded(text)
    assert str(problem) == (
        "<stdin>:2: warning: 4 pods are assumed: 3 for Deployment shop/web and 1 for StatefulSet shop/db;"
        " node and address are assumed for Pod shop/client"
        " (addresses from IPPool p (10.1.0.0/24); --no-expand switches this off)"
    )


def test_a_long_summary_is_cut():
    text = "".join(controller("Deployment", name=f"w{number:02}") for number in range(25))
    _, [problem] = expanded(text)
    assert problem.reason.startswith("25 pods are assumed: 1 for Deployment shop/w00, 1 for ")
    assert problem.reason.endswith("1 for Deployment shop/w09 and 15 more")


def test_the_order_of_documents_does_not_matter():
    kinds = ("Deployment", "ReplicaSet", "StatefulSet")
    parts = [controller(kind, name=kind.lower(), fields="replicas: 2") for kind in kinds]
    parts += [manifest("Pod", "client", "spec: {}"), NODES]
    found = [sorted(map(str, pods("".join(order)))) for order in (parts, parts[::-1])]
    assert found[0] == found[1]


def test_a_namespace_is_default_if_none_is_given():
    text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n"
    [pod] = pods(text + indent(TEMPLATE, "    "))
    assert pod["metadata"]["namespace"] == "default"
