"""What people are told about labs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from felixpy.lab import Lab, LabOptions, serving
from felixpy.lab.lab import LabReport
from felixpy.lab.layout import layout_of
from felixpy.lab.probing import ANSWERED, REJECTED
from felixpy.lab.report import (
    aligned,
    brought,
    listed,
    named,
    policies,
    policy_document,
    status,
    status_document,
    turned,
    verdict,
    verdict_document,
)
from felixpy.lab.state import InForce, Inputs, LabState
from felixpy.lab.tables import Turn
from felixpy.model import PolicyKey
from tests.clusters import cluster, node, pod
from tests.schemas import checked

STATE = LabState(
    layout=layout_of(
        cluster(pod("web", "10.65.0.1", namespace="shop", serves=(("tcp", 80),)), pod("db", "10.65.1.2", node="node2")),
        "trial",
    ),
    backend="nft",
    inputs=Inputs(paths=("/shop",), removed=(PolicyKey("NetworkPolicy", "shop", "old"),)),
    finished=True,
    policies=("NetworkPolicy shop/web",),
    enforced=tuple(
        InForce(node=name, backend="nft", rules=7, sets=2, since="2025-11-21") for name in ("node1", "node2")
    ),
)
LAB = Lab(STATE, LabOptions())
NOTHING: dict[str, Any] = {
    "fresh": False, "recovered": False, "pods_added": (), "pods_removed": (), "rewired": False, "policies_added": (),
    "policies_removed": (), "changed": {}, "remarks": (), "restarted": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "served", lambda lab: {("trial.shop.web", "tcp", 80)})
    monkeypatch.setattr(serving, "is_running", lambda lab: True)


@pytest.mark.parametrize(
    "what, told",
    [
        ({}, ["lab trial is in step already; nothing was changed"]),
        (
            {"fresh": True, "rewired": True, "changed": {"node1": "2 sets"}},
            [
                "lab trial is up: 2 pods on 2 nodes; node1 is network namespace trial, "
                "node2 is network namespace trial@node2",
                "node1 (nft): changed 2 sets",
            ],
        ),
        (
            {"rewired": True, "pods_added": ("a/b", "a/c"), "pods_removed": ("a/d",), "changed": {"node2": "1 chain"}},
            ["lab trial: added 2 pods a/b, a/c", "lab trial: removed 1 pod a/d", "node2 (nft): changed 1 chain"],
        ),
        (
            {"policies_added": ("NetworkPolicy a/b",), "changed": {"node1": "1 chain"}, "remarks": ("set x stays",)},
            ["lab trial: added NetworkPolicy a/b", "node1 (nft): changed 1 chain", "set x stays"],
        ),
        (
            {"policies_removed": ("NetworkPolicy a/b",)},
            ["lab trial: removed NetworkPolicy a/b", "lab trial: no rule of its nodes is changed by that"],
        ),
        ({"rewired": True}, ["lab trial: reconnected what was changed or missing"]),
        ({"restarted": True}, ["lab trial: what answers for the pods was gone and is started again"]),
    ],
)
def test_what_up_did_is_told_in_sentences(what: dict[str, Any], told: list[str]) -> None:
    assert list(brought(LAB, LabReport(**(NOTHING | what)))) == told


def test_a_lab_that_was_cleared_away_first_is_told() -> None:
    first, *_ = brought(LAB, LabReport(**(NOTHING | {"fresh": True, "recovered": True})))
    assert first == "lab trial had been left unfinished; what there was of it is cleared away"


def test_a_status_shows_nodes_policies_and_pods() -> None:
    assert list(status(LAB)) == [
        "lab trial: up, iptables nft",
        "  from      /shop",
        *[line for line in status(LAB) if line.startswith("  answers   at 1 port")],
        "  outside   network namespace trial.outside; internet is 198.51.100.7 and 2001:db8:ffff::7",
        "",
        "NODE   NAMESPACE    PODS  RULES  SETS  SINCE       ADDRESSES",
        "node1  trial        1     7      2     2025-11-21  198.18.0.1,2001:db8:198:18::1",
        "node2  trial@node2  1     7      2     2025-11-21  198.18.0.2,2001:db8:198:18::2",
        "",
        "POLICY",
        "NetworkPolicy shop/web",
        "NetworkPolicy shop/old  removed",
        "",
        "POD         NODE   INTERFACE  ADDRESSES  SERVES",
        "default/db  node2  calidb     10.65.1.2  -",
        "shop/web    node1  caliweb    10.65.0.1  tcp/80",
    ]


def test_a_status_says_when_there_is_no_policy_and_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(lab: str) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(serving, "served", gone)
    lines = list(status(Lab(replace(STATE, policies=(), inputs=Inputs()), LabOptions())))
    assert "  answers   nothing answers for the pods any more; felixpy lab up starts it again" in lines
    assert "none: whatever profiles allow is allowed" in lines
    assert not any(line.startswith("  from") for line in lines)


def test_a_status_of_many_policies_counts_the_rest() -> None:
    many = tuple(f"NetworkPolicy shop/{number:02}" for number in range(30))
    lines = list(status(Lab(replace(STATE, policies=many), LabOptions())))
    assert "and 11 more; felixpy lab policy list names all" in lines


def test_a_status_for_programs() -> None:
    found = status_document(LAB)
    assert list(found)[:3] == ["apiVersion", "kind", "name"]
    assert (found["answers"], found["removed"]) == (True, ["NetworkPolicy shop/old"])
    assert found["pods"][1] == {
        "namespace": "shop",
        "name": "web",
        "node": "node1",
        "netns": "trial.shop.web",
        "interface": "caliweb",
        "addresses": ["10.65.0.1"],
        "serves": [{"protocol": "tcp", "port": 80}],
    }
    assert [row["netns"] for row in found["nodes"]] == ["trial", "trial@node2"]


def test_labs_in_a_list() -> None:
    assert list(listed([LAB])) == [
        "LAB    NODES  PODS  POLICIES  BACKEND  FROM",
        "trial  2      2     1         nft      /shop",
    ]


def test_one_connection_in_words_and_for_programs() -> None:
    flow = LAB.flow("shop/web", "default/db:5432")
    assert verdict(flow, ANSWERED) == "ALLOWED  shop/web (10.65.0.1) → default/db (10.65.1.2) tcp/5432  answered"
    assert verdict(LAB.flow("8.8.8.8", "shop/web"), REJECTED) == "DENIED  8.8.8.8 → shop/web (10.65.0.1) icmp  rejected"
    found = verdict_document(flow, REJECTED)
    assert (found["verdict"], found["how"], found["protocol"], found["port"]) == ("deny", "rejected", "tcp", 5432)
    assert found["source"]["netns"] == "trial.shop.web"
    assert "port" not in verdict_document(LAB.flow("8.8.8.8", "shop/web"), REJECTED)
    assert turned(Turn("a/b", "a/c", "tcp/80", allowed=False)) == "DENIED  a/b → a/c tcp/80"


def test_long_lists_are_counted() -> None:
    assert named(list("abcde")) == "a, b, c, d, e"
    assert named(list("abcdefgh")) == "a, b, c, d, e, 3 more"


def test_columns_are_as_wide_as_they_must_be() -> None:
    assert list(aligned([("A", "B"), ("long", "x"), ("", "")])) == ["A     B", "long  x", ""]


def test_nodes_without_pods_are_fine() -> None:
    bare = replace(STATE, layout=layout_of(cluster(node()), "trial"))
    assert list(status(Lab(bare, LabOptions())))[-1] == "NetworkPolicy shop/old  removed"


def test_policies_are_listed_whole() -> None:
    assert list(policies(STATE)) == ["POLICY", "NetworkPolicy shop/web", "NetworkPolicy shop/old  removed"]
    many = replace(STATE, policies=tuple(f"NetworkPolicy shop/{number}" for number in range(30)))
    assert len(list(policies(many))) == 32
    assert list(policies(many, 20))[-1] == "and 11 more; felixpy lab policy list names all"
    checked(json.dumps(policy_document(STATE)))
    assert policy_document(STATE)["items"] == [
        {"policy": "NetworkPolicy shop/web", "state": "inForce"},
        {"policy": "NetworkPolicy shop/old", "state": "removed"},
    ]
