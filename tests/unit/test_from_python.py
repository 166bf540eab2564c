"""felixpy in a Python session: what can be read, and how values show themselves."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

import felixpy
from tests.conformance.recordings import ROOT

SHOP = ROOT / "k8s" / "shop-three-tiers" / "manifests.yaml"
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
