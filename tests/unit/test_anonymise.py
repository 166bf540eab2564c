"""Snapshots under pseudonyms: nothing of the names is left, and every verdict is the same."""

from __future__ import annotations

import csv
import json
import re
from io import StringIO
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy.anonymise import PINNED, _Addresses, anonymised
from felixpy.snapshot import objects, text
from tests.commands import caller
from tests.conformance.recordings import cases
from tests.manifests import CALICO, manifest, namespace, pod

KEY = b"0123456789abcdef"


def names(items) -> list[str]:
    return [item["metadata"]["name"] for item in items if item["kind"] == "Pod"]


def rows(output: str, pods: list[str]) -> set[tuple[str, ...]]:
    """Who of the pods reaches whom on what, with numbers for pods."""
    numbers = {name: str(number) for number, name in enumerate(sorted(pods))}
    found = set()
    for row in csv.reader(StringIO(output)):
        ends = [re.sub(r"\[.*", "", end) for end in row[:2]]
        if all(end in numbers for end in ends):
            found.add((*(numbers[end] for end in ends), *row[2:]))
    return found


def full_names(items) -> list[str]:
    return [
        f"{item['metadata'].get('namespace', 'default')}/{item['metadata']['name']}"
        for item in items
        if item["kind"] == "Pod"
    ]


CASES = cases("k8s", "calico", "random")[::8]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_who_reaches_whom_stays_the_same(case, tmp_path: Path, capsys, monkeypatch) -> None:
    felixpy = caller(capsys, monkeypatch)
    items, _ = objects([case.folder / "manifests.yaml"])
    found = anonymised(items, key=KEY)
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(text(items))
    after.write_text(text(found.items))
    answers = [felixpy("matrix", "-q", "-o", "csv", "--no-expand", path) for path in (before, after)]
    assert {answer.status for answer in answers} == {0}, answers[1].err
    old, new = (rows(answer.out, full_names(of)) for answer, of in zip(answers, (items, found.items), strict=True))
    assert new == old


def test_no_name_is_left() -> None:
    items = [
        namespace("secretshop", team="secretteam"),
        pod("secretweb-1", "10.65.0.7", labels={"secretkey": "secretvalue"}, annotations={"note": "secret"}),
        manifest(CALICO, "GlobalNetworkPolicy", "secretpolicy", {
            "selector": "secretkey == 'secretvalue' && team in {'secretteam'}",
            "ingress": [{"action": "Allow", "source": {"nets": ["10.65.0.0/16"]}, "secretfield": "secret"}],
        }),
    ]  # fmt: skip
    found = anonymised(items, key=KEY)
    written = json.dumps(found.items)
    assert "secret" not in written
    assert "10.65." not in written
    assert [remark.reason for remark in found.remarks] == ["left out: secretfield"]


def test_values_that_selectors_look_into_stay_and_are_named() -> None:
    policy = manifest(CALICO, "GlobalNetworkPolicy", "p", {"selector": "app starts with 'we' && tier == 'front'"})
    found = anonymised([pod("a", labels={"app": "web", "tier": "front"}), policy], key=KEY)
    first, second = found.items
    assert "web" in first["metadata"]["labels"].values()
    assert "front" not in first["metadata"]["labels"].values()
    assert '"we"' in second["spec"]["selector"]
    assert "selectors look at parts of them: app" in found.remarks[0].reason


@given(st.lists(st.from_regex(r"[a-z][a-z0-9]{0,6}([-.][a-z0-9]{1,6}){0,3}", fullmatch=True), min_size=2, unique=True))
def test_the_order_of_names_stays(given_names: list[str]) -> None:
    found = names(anonymised([pod(name) for name in given_names], key=KEY).items)
    order = sorted(range(len(given_names)), key=given_names.__getitem__)
    assert sorted(range(len(found)), key=found.__getitem__) == order


@given(st.sampled_from([4, 6]), st.data())
def test_addresses_keep_their_common_prefix(version: Literal[4, 6], data) -> None:
    move = _Addresses(KEY).text
    one, other = (str(data.draw(st.ip_addresses(v=version))) for _ in range(2))

    def common(first: str, second: str) -> int:
        left, right = ip_address(first), ip_address(second)
        return left.max_prefixlen - (int(left) ^ int(right)).bit_length()

    assert common(move(one), move(other)) == common(one, other)


@pytest.mark.parametrize("network", PINNED, ids=str)
def test_addresses_with_a_meaning_stay(network) -> None:
    move = _Addresses(KEY).text
    assert move(str(network)) == str(network)
    assert ip_address(move(str(network.network_address + 1))) in network


def test_networks_and_addresses_are_spelt_as_before() -> None:
    move = _Addresses(KEY).text
    assert ip_network(move("10.65.0.0/16")).prefixlen == 16
    assert move("10.65.1.2/16").endswith("/16")
    with pytest.raises(ValueError, match="does not appear"):
        move("nobody")
