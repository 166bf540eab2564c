"""felixpy in a Python session: what can be read, and how values show themselves."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import felixpy
from tests.commands import caller
from tests.conformance.recordings import ROOT

SHOP = ROOT / "k8s" / "shop-three-tiers" / "manifests.yaml"
DEMO = Path(__file__).parents[2] / "fixtures" / "demo"
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}


def test_a_path_a_list_of_paths_and_an_open_file_are_read_alike() -> None:
    wanted = [str(policy.key) for policy in felixpy.load([str(SHOP)]).policies]
    with SHOP.open() as text, SHOP.open("rb") as raw:
        given: Any
        for given in (str(SHOP), SHOP, [SHOP], text, [raw], io.StringIO(SHOP.read_text())):
            assert [str(policy.key) for policy in felixpy.load(given).policies] == wanted


def test_an_object_is_read_and_what_is_wrong_with_it_is_told() -> None:
    assert "kns.shop" in felixpy.load(NAMESPACE).profiles
    assert {"kns.shop", "kns.b"} <= felixpy.load([NAMESPACE, {**NAMESPACE, "metadata": {"name": "b"}}]).profiles.keys()
    with pytest.raises(felixpy.InputError, match=r"<object 1>.*metadata\.name"):
        felixpy.load({**NAMESPACE, "metadata": {"name": "<B>"}})


def test_large_values_are_one_line_and_a_table() -> None:
    cluster = felixpy.load(SHOP)
    ruleset = felixpy.compile(cluster, node="node1")
    for value in (cluster, ruleset):
        assert len(repr(value)) < 200
        assert "\n" not in repr(value)
        assert value._repr_html_().startswith("<table><caption>")
    assert f"policies={len(cluster.policies)}" in repr(cluster)
    assert "node=node1" in repr(ruleset)


def test_wrong_usage_can_be_caught(tmp_path: Path) -> None:
    with pytest.raises(felixpy.UsageError):
        felixpy.compile(felixpy.load(SHOP), node="nowhere")
    (tmp_path / "a.json").write_text(json.dumps(NAMESPACE))
    assert felixpy.load(tmp_path).policies == ()


def answers() -> dict[str, Any]:
    """One answer of each function about the example."""
    before, after = felixpy.load(DEMO / "shop"), felixpy.load(DEMO / "pull-request")
    ruleset = felixpy.compile(before)
    return {
        "trace": felixpy.trace(before, "shop/deployment/web", "shop/db-0:5432"),
        "matrix": felixpy.matrix(before),
        "diff": felixpy.diff(before, after),
        "verify": felixpy.verify(before, ruleset.save(4).replace("-j DROP", "-j ACCEPT", 1), ruleset.ipset_save()),
        "lint": felixpy.lint(after),
    }


def test_answers_print_what_the_commands_print(capsys, monkeypatch, tmp_path: Path) -> None:
    felixpy_ = caller(capsys, monkeypatch)
    (tmp_path / "rules").write_text(felixpy.compile(felixpy.load(DEMO / "shop")).save(4).replace("DROP", "ACCEPT", 1))
    found = answers()
    shop, changed = DEMO / "shop", DEMO / "pull-request"
    commands = {
        "trace": ("trace", "shop/deployment/web", "shop/db-0:5432", shop),
        "matrix": ("matrix", shop, "-o", "lines"),
        "diff": ("diff", shop, changed),
        "lint": ("lint", changed),
    }
    for name, command in commands.items():
        assert felixpy_(*command, "-q").out.rstrip("\n") == str(found[name]), name
    assert str(found["verify"]).startswith("DIFFERENT  saved rules and the manifests")


def test_answers_are_one_line_in_a_session_and_a_table_in_a_notebook() -> None:
    for name, answer in answers().items():
        assert len(repr(answer).splitlines()) == 1, name
        assert len(repr(answer)) < 200, name
        assert repr(answer).startswith(f"<{type(answer).__name__} ")
        assert answer._repr_html_().startswith(("<table><caption>", "<pre>"))
    for name in ("matrix", "diff", "lint"):
        html = answers()[name]._repr_html_()
        assert html.startswith("<table>")
        assert len(ET.fromstring(html).findall("tr")) > 1


def test_matrix_is_by_pod_on_request() -> None:
    cluster = felixpy.load(DEMO / "shop")
    by_pod = felixpy.matrix(cluster, by="pod", external=False)
    assert {flow.source.kind for flow in by_pod} == {"pod"}
    assert len(by_pod) == len(by_pod.flows)


def test_functions_stay_functions_whatever_was_imported() -> None:
    for name in ("tracing", "linting", "verification", "manifests", "compiler", "difference", "flows"):
        importlib.import_module(f"felixpy.{name}")
    for name in ("load", "compile", "trace", "matrix", "diff", "verify", "lint"):
        assert callable(getattr(felixpy, name)), name


@pytest.mark.parametrize(
    "ask",
    [
        lambda cluster: felixpy.trace(cluster, "shop/nobody", "internet:80"),
        lambda cluster: felixpy.trace(cluster, "shop/web", "internet:0"),
        lambda cluster: felixpy.trace(cluster, "shop/deployment/web", "internet:80", hosts={"nowhere": felixpy.Host()}),
        lambda cluster: felixpy.diff(cluster, cluster, nodes=["nowhere"]),
        lambda cluster: felixpy.verify(cluster, "no rules"),
        lambda cluster: felixpy.verify(cluster, [felixpy.compile(cluster).save(4)] * 2),
        lambda cluster: felixpy.verify(cluster, felixpy.compile(cluster).save(4), "no sets"),
        lambda cluster: felixpy.verify(cluster, felixpy.compile(cluster).save(4), node="nowhere"),
        lambda cluster: felixpy.verify(cluster, felixpy.compile(cluster, dataplane="nftables").save(4), "no sets"),
        lambda cluster: felixpy.lint(cluster, select="FX9"),
        lambda cluster: felixpy.matrix(cluster, dataplane="ebpf"),
    ],
)
def test_questions_without_an_answer_are_wrong_usage(ask: Callable[[felixpy.Cluster], object]) -> None:
    with pytest.raises(felixpy.UsageError):
        ask(felixpy.load(DEMO / "shop"))
