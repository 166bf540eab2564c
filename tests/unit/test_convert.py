"""AdminNetworkPolicies as ClusterNetworkPolicies: what they mean stays, what cannot be carried over is named."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from felixpy.errors import InputError
from felixpy.manifests import load
from felixpy.manifests.objects.admin_policies import OLD_VERSION
from felixpy.manifests.objects.conversion import as_yaml, convert
from tests.commands import caller
from tests.manifests import manifest, problems

ONES = {"pods": {"podSelector": {"matchLabels": {"a": "b"}}}}
SUBJECT = {"namespaces": {"matchLabels": {"env": "prod"}}}


def old(name: str = "p", kind: str = "AdminNetworkPolicy", **spec: Any) -> dict[str, Any]:
    priority = {"priority": 7} if kind == "AdminNetworkPolicy" else {}
    return manifest(OLD_VERSION, kind, name, {**priority, "subject": SUBJECT, **spec})


def converted(*objects: dict[str, Any], **more: Any) -> tuple[list[dict[str, Any]], list[str]]:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*objects]})
    done = convert(["-"], stdin=StringIO(text), **more)
    return list(done.objects), [str(loss).partition(": warning: ")[2] for loss in done.losses]


def test_a_policy_with_everything() -> None:
    given = old(
        ingress=[{"name": "in", "action": "Allow", "from": [{"namespaces": {}}, ONES],
                  "ports": [{"portNumber": {"protocol": "UDP", "port": 53}}, {"portNumber": {"port": 80}}]}],
        egress=[{"action": "Pass", "to": [{"networks": ["10.0.0.0/8"]}],
                 "ports": [{"portRange": {"protocol": "SCTP", "start": 1, "end": 9}}, {"namedPort": "web"}]}],
    )  # fmt: skip
    (made,), losses = converted(given)
    assert not losses
    assert made == {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "tier": "Admin",
            "priority": 7,
            "subject": SUBJECT,
            "ingress": [
                {
                    "name": "in",
                    "action": "Accept",
                    "from": [
                        {"namespaces": {}},
                        {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}}},
                    ],
                    "protocols": [
                        {"udp": {"destinationPort": {"number": 53}}},
                        {"tcp": {"destinationPort": {"number": 80}}},
                    ],
                }
            ],
            "egress": [
                {
                    "action": "Pass",
                    "to": [{"networks": ["10.0.0.0/8"]}],
                    "protocols": [
                        {"sctp": {"destinationPort": {"range": {"start": 1, "end": 9}}}},
                        {"destinationNamedPort": "web"},
                    ],
                }
            ],
        },
    }


def test_the_result_is_read_without_a_word() -> None:
    rules: dict[str, Any] = {"ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}
    made, _ = converted(old(**rules), old("default", "BaselineAdminNetworkPolicy", **rules))
    cluster = load(["-"], stdin=StringIO(as_yaml(made)))
    assert not cluster.warnings
    assert [(policy.key.name, policy.tier, policy.order) for policy in cluster.policies] == [
        ("default", "kube-baseline", 0.0), ("p", "kube-admin", 7.0),
    ]  # fmt: skip


def test_names_stay_apart() -> None:
    made, _ = converted(old("default"), old("default", "BaselineAdminNetworkPolicy"))
    assert [each["metadata"]["name"] for each in made] == ["default", "default-baseline"]


@pytest.mark.parametrize("name", [{"a": 1}, ["a"], 7, None])
def test_other_objects_may_have_names_that_are_none(name: object) -> None:
    """They are not converted, so nothing is said of them."""
    text = json.dumps({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"} | {
        "metadata": {"name": name}, "spec": {}
    })  # fmt: skip
    assert convert(["-"], stdin=StringIO(text)).objects == ()


def test_what_cannot_be_carried_over() -> None:
    nodes, names = {"nodes": {"matchLabels": {"a": "b"}}}, {"domainNames": ["*.example.com"]}
    (made,), losses = converted(
        old(egress=[
            {"action": "Deny", "to": [nodes, {"namespaces": {}}]},
            {"action": "Allow", "to": [names]},
        ])
    )  # fmt: skip
    assert made["spec"]["egress"] == [{"action": "Deny", "to": [{"namespaces": {}}]}]
    assert [loss.partition(": ")[2] for loss in losses] == [
        "spec.egress[0].to[0].nodes: Calico does not know peers of kind nodes",
        "spec.egress[1].to[0].domainNames: Calico does not know peers by domain name",
        "spec.egress[1]: the rule (Allow) is left out: none of its peers can be carried over",
    ]


def test_early_spellings() -> None:
    (made,), losses = converted(
        old(subject={"pods": {"namespaces": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}},
            ingress=[{"action": "Deny", "from": [{"namespaces": {"sameLabels": ["tenant"]}}]}])
    )  # fmt: skip
    assert made["spec"]["subject"]["pods"]["namespaceSelector"] == {"matchLabels": {"a": "b"}}
    assert "sameLabels of early versions has no equivalent" in losses[0]


@pytest.mark.parametrize(
    "spec, path",
    [
        ({"priority": 1001}, "spec.priority"),
        ({"ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}]}, "spec.ingress[0].action"),
        ({"ingress": [{"action": "Deny"}]}, "spec.ingress[0].from"),
        ({"egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.0/33"]}]}]}, "spec.egress[0].to[0].networks[0]"),
    ],
)
def test_mistakes(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(InputError) as wrong:
        converted(old(**spec))
    assert f"{path}: " in str(wrong.value)


@pytest.mark.parametrize("label", ["1e3", "on", "y", "0x10", "null", "1_000", "1.0"])
def test_texts_stay_texts(label: str) -> None:
    """What is a text in one manifest is one in the other, whoever reads it."""
    subject = {"namespaces": {"matchLabels": {"a": label}}}
    made, _ = converted(old(subject=subject))
    assert f'a: "{label}"' in as_yaml(made)


def test_the_refusal_points_to_it() -> None:
    (problem,) = problems(old())
    assert '"felixpy convert PATH" writes it as ClusterNetworkPolicy' in problem.hint


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = caller(capsys, monkeypatch, "convert")
    space = manifest("v1", "Namespace", "shop")
    file = tmp_path / "all.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [space, old()]}))
    done = run(file)
    assert (done.status, done.err) == (0, "felixpy: 1 policy converted\n")
    assert done.out.count("---\n") == 1
    assert run(file, "--all").out.count("---\n") == 2
    file.write_text(json.dumps(old(egress=[{"action": "Deny", "to": [{"nodes": {}}]}])))
    lossy = run(file, "-q")
    assert lossy.status == 1
    assert lossy.err.startswith(f"not carried over: {file}:1:")
