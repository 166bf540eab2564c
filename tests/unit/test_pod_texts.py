"""Pods that are read straight from their texts: the same facts, and nothing overlooked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from felixpy.manifests.objects.pod_facts import PodFacts
from felixpy.manifests.passes.sieve import PlacedPods
from felixpy.manifests.reading import documents, jsonstream
from felixpy.manifests.reading.files import File
from felixpy.manifests.reading.streams import GivenUp
from felixpy.model import Source
from tests.bench import clusters, fat

SOURCE = Source("dump", 1, 0, 1)
PLAIN = (
    '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},'
    ' "spec": {"nodeName": "node1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}]},'
    ' "status": {"podIP": "10.0.0.1"}}'
)
FULL: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-1",
        "namespace": "shop",
        "uid": "a-b",
        "labels": {"app": "web", "pod-template-hash": "5d"},
        "annotations": {
            "cni.projectcalico.org/podIPs": "10.0.0.1/32,fd00::1/128",
            "qos.projectcalico.org/dscp": "AF11",
        },
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "controller": True}],
    },
    "spec": {
        "nodeName": "node1",
        "hostNetwork": True,
        "serviceAccount": "web",
        "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080}]}],
        "initContainers": [{"name": "init", "ports": [{"name": "early", "containerPort": 81, "protocol": "UDP"}]}],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.2",
        "podIPs": [{"ip": "10.0.0.1"}],
        "hostIP": "192.0.2.1",
        "conditions": [{"type": "Ready", "status": "False"}],
    },
}


def _facts(sieve: PlacedPods) -> list[dict[str, Any]]:
    return [{name: getattr(placed.pod, name) for name in PodFacts.__slots__} for placed in sieve.all]


def _taken_by_text(*texts: str) -> PlacedPods:
    sieve = PlacedPods()
    for text in texts:
        sieve.take_text(text.encode(), SOURCE)
    return sieve


@pytest.mark.parametrize("pod", [json.loads(PLAIN), FULL], ids=["plain", "full"])
def test_a_text_says_what_its_value_says(pod: dict[str, Any]) -> None:
    by_value = PlacedPods()
    assert by_value.take(pod, SOURCE)
    by_text = _taken_by_text(json.dumps(pod), json.dumps(pod, separators=(",", ":")))
    assert _facts(by_text) == _facts(by_value) * 2


def test_pods_of_one_template_share_what_is_equal() -> None:
    one, other = (placed.pod for placed in _taken_by_text(PLAIN, PLAIN.replace("web-1", "web-2")).all)
    assert (one.name, other.name) == ("web-1", "web-2")
    assert one.labels is other.labels
    assert one.ports is other.ports


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('"name": "web-1"', '"name": "web-1", "name": "web-2"'),
        ('"app": "web"', '"app": "web", "app": "db"'),
        ('"containerPort": 80', '"containerPort": 80, "containerPort": 81'),
        ('"spec": {', '"spec": {}, "spec": {'),
        ('"status": {', '"more": 1, "status": {'),
        ('"nodeName": "node1"', '"nodeName": "node1", "volumes": []'),
        ('"nodeName": "node1"', '"nodeName": null'),
        ('"nodeName": "node1"', '"nodeName": ""'),
        ('"nodeName": "node1"', '"nodeName": 1'),
        ('"nodeName": "node1"', '"nodeName": "Node_1"'),
        ('"app": "web"', '"app": "-"'),
        ('"app": "web"', '"app": null'),
        ('"app": "web"', '"app": ["web"]'),
        ('"name": "web-1"', '"name": "Web"'),
        ('"namespace": "shop"', '"namespace": "a.b"'),
        ('"namespace": "shop"', '"namespace": null'),
        ('"namespace": "shop"', '"namespace": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"'),
        ('"namespace": "shop"', '"namespace": "shop", "uid": ' + "[" * 300 + "]" * 300),
        ('"podIP": "10.0.0.1"', '"hostIP": ' + "[" * 300 + "]" * 300),
        ('"name": "c"', '"name": "c", "env": ' + "[" * 300 + "]" * 300),
        ('"name": "c"', '"name": "calico-node", "image": "calico/node:v3.32.1"'),
        ('"containerPort": 80', '"containerPort": 80000'),
        ('"containerPort": 80', '"containerPort": 1e999'),
        ('"podIP": "10.0.0.1"', '"podIP": "\\ud800"'),
        ('"v1"', '"v2"'),
        ('"Pod"', '"Pod", "kind": "Pod"'),
        ('"podIP": "10.0.0.1"}}', '"podIP": "10.0.0.1"}'),
    ],
)
def test_a_text_that_may_say_more_is_left(written: str, instead: str) -> None:
    assert len(_taken_by_text(PLAIN).all) == 1
    assert written in PLAIN
    assert _taken_by_text(PLAIN.replace(written, instead, 1)).all == []


def test_where_most_pods_say_more_no_more_texts_are_tried() -> None:
    fat_pod = json.dumps(next(fat.pods(1)))
    sieve = _taken_by_text(*[fat_pod] * 150, PLAIN)
    assert sieve.all == []
    mixed = _taken_by_text(*[PLAIN] * 100, *[fat_pod] * 150, PLAIN)
    assert len(mixed.all) == 101


def test_the_pods_of_a_dump_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are read from their texts, some from their values."""
    monkeypatch.setattr(documents, "_FEW", 0)
    pods = [json.loads(PLAIN) for _ in range(6)]
    for number, pod in enumerate(pods):
        pod["metadata"]["name"] = f"web-{number}"
        pod["spec"] |= {"restartPolicy": "Always"} if number % 2 else {}
    by_value, take = [], PlacedPods.take

    def counted(sieve: PlacedPods, data: dict[str, Any], source: Source) -> bool:
        by_value.append(data["metadata"]["name"])
        return take(sieve, data, source)

    monkeypatch.setattr(PlacedPods, "take", counted)
    sieve = PlacedPods()
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
    assert documents.read([File("dump", text, True)], sieve=sieve).documents == []
    assert by_value == ["web-1", "web-3", "web-5"]
    assert [placed.pod.name for placed in sieve.all] == [f"web-{number}" for number in range(6)]
    assert [text[start:][:1] for _, (_, _, start, _) in sieve.all] == ["{"] * 6


def test_policies_with_one_spec_share_it_and_say_the_same() -> None:
    first = [each for each in clusters.objects(clusters.SHAPES["S"]) if each["kind"] == "NetworkPolicy"]
    policies = [*first, *({**each, "metadata": {**each["metadata"], "namespace": "other"}} for each in first)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": policies})
    read = [data for objects in jsonstream.Stream("dump", iter([text.encode()])) for data, _ in objects]
    assert read == policies
    assert [list(each) for each in read] == [list(each) for each in policies]
    assert len({id(each["spec"]) for each in read}) == len({json.dumps(each["spec"]) for each in policies}) < len(read)


@pytest.mark.parametrize(
    "text",
    [
        '{"apiVersion": "v1", "kind": "Policy", "spec": {"a": 1, "a": 2}}',
        '{"apiVersion": "v1", "kind": "Policy", "spec": {}, "spec": {}}',
        '{"apiVersion": "v1", "kind": "Policy", "spec": ' + '{"a": ' * 200 + "1" + "}" * 201,
        '{"apiVersion": "v1", "kind": "Policy", "metadata": ' + "[" * 200 + "]" * 200 + "}",
    ],
)
def test_what_is_wrong_in_a_policy_is_left_to_the_exact_reader(text: str) -> None:
    with pytest.raises(GivenUp):
        [list(objects) for objects in jsonstream.Stream("dump", iter([text.encode()]))]


def test_a_policy_that_is_as_deep_as_allowed_is_read() -> None:
    text = '{"apiVersion": "v1", "kind": "Policy", "spec": ' + '{"a": ' * 198 + "1" + "}" * 199
    [(data, _)] = [each for objects in jsonstream.Stream("dump", iter([text.encode()])) for each in objects]
    assert data == json.loads(text)
