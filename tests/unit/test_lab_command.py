"""`felixpy lab` up to the point where it would need root: options, and what a lab is made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from felixpy.cli.given import Given
from felixpy.cli.lab import lab
from felixpy.cli.lab_inputs import absolute, given_of, inputs_of, with_less, with_more, without
from felixpy.errors import InputError, UsageError
from felixpy.lab.layout import DEFAULT_NAME
from felixpy.lab.state import Inputs
from felixpy.model import PolicyKey
from tests.clusters import cluster, policy

DENY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}}
"""
KEY = PolicyKey("KubernetesNetworkPolicy", "shop", "deny")


def felixpy(*words: str) -> Result:
    return CliRunner().invoke(lab, words)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("deny.yaml", "more.yaml"):
        (tmp_path / name).write_text(DENY.replace("deny", name.removesuffix(".yaml")))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "down",
        "list",
        "status",
        "exec",
        "capture",
        "probe",
        "policy",
        "policy list",
        "policy add",
        "policy remove",
    ],
)
def test_every_help_begins_with_examples(command: str) -> None:
    text = felixpy(*command.split(), "--help").stdout
    assert text.index("Examples:") < text.index("Options:")
    assert f"sudo felixpy lab {command}" in text


@pytest.mark.parametrize(
    "words, message",
    [
        ("probe", "give SRC"),
        ("probe shop/web", "give SRC"),
        ("probe --all shop/web shop/db", "--all tests all connections"),
        ("probe --all --expect deny", "--all tests all connections"),
        ("probe shop/web shop/db --port 80", "--port and --internet go with --all"),
        ("probe shop/web shop/db --internet", "--port and --internet go with --all"),
        ("probe shop/web shop/db -4 -6", "-4 and -6 exclude each other"),
        ("exec shop/web", "a command is missing"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_looked_for(words: str, message: str) -> None:
    found = felixpy(*words.split()).exception
    assert isinstance(found, UsageError)
    assert message in str(found)


@pytest.mark.parametrize(
    "words", ["up", "down", "list", "status", "probe --all", "policy list", "policy add deny.yaml"]
)
def test_only_root_has_labs(words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "try sudo" in str(felixpy(*words.split()).exception)


def test_the_default_name_is_the_same_everywhere() -> None:
    assert f"[default: {DEFAULT_NAME}]" in " ".join(felixpy("status", "--help").stdout.split())


def test_what_a_lab_is_made_of_can_be_read_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Given(
        paths=["deny.yaml"], filename=["git:main:shop"], node="n1", set_=["A=b"], strict=True, host_file=Path("h")
    )
    inputs = inputs_of(given)
    assert inputs == Inputs(
        paths=(f"{folder}/deny.yaml", "git:main:shop"),
        node="n1",
        settings=("A=b",),
        strict=True,
        host_file=f"{folder}/h",
    )
    monkeypatch.chdir("/")
    back = given_of(inputs, quiet=True)
    assert (back.files, back.node, back.set_, back.strict, back.quiet) == ([*inputs.paths], "n1", ("A=b",), True, True)
    assert back.host_file == folder / "h"


def test_without_paths_it_is_the_folder(folder: Path) -> None:
    assert inputs_of(Given()).paths == (str(folder),)


@pytest.mark.parametrize("path, what", [("-", "standard input"), ("/dev/fd/63", "/dev/fd/63"), ("/gone", "/gone")])
def test_what_can_be_read_only_once_is_told(path: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"made from {what}, which cannot be read again"):
        given_of(Inputs(paths=(absolute(path),)), quiet=True)


def test_a_file_more_is_read_last_and_brings_back_what_was_removed(folder: Path) -> None:
    inputs = Inputs(paths=(str(folder / "base.yaml"),))
    more = with_more(inputs, ["deny.yaml", "deny.yaml"])
    assert more.paths == (*inputs.paths, str(folder / "deny.yaml"))
    again = with_more(Inputs(paths=(str(folder),), removed=(KEY, KEY._replace(name="other"))), ["deny.yaml"])
    assert again.removed == (KEY._replace(name="other"),)


def test_a_file_less_is_not_read_and_its_policies_stay_out_of_folders(folder: Path) -> None:
    inputs = Inputs(paths=(str(folder), str(folder / "deny.yaml")))
    less = with_less(inputs, ["deny.yaml"], {str(KEY)})
    assert (less.paths, less.removed) == ((str(folder),), (KEY,))


TIERED = """\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: security.deny}
spec: {tier: security, selector: all(), types: [Ingress]}
"""
TIER = """\
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 10}
"""


def test_a_policy_of_a_tier_that_only_the_lab_knows(folder: Path) -> None:
    (folder / "tier.yaml").write_text(TIER)
    (folder / "tiered.yaml").write_text(TIERED)
    key = PolicyKey("GlobalNetworkPolicy", "", "security.deny")
    more = with_more(Inputs(paths=(str(folder / "tier.yaml"),)), ["tiered.yaml"])
    assert with_less(more, ["tiered.yaml"], {str(key)}).removed == (key,)
    below = Inputs(paths=(str(folder),))
    less = with_less(below, ["tiered.yaml"], {str(key)})
    assert (less.paths, less.removed) == (below.paths, (key,))
    assert with_more(less, ["tiered.yaml"]).removed == ()


def test_a_file_whose_policies_are_not_in_force_cannot_be_removed(folder: Path) -> None:
    with pytest.raises(UsageError, match="no policy of the lab is in there"):
        with_less(Inputs(paths=(str(folder),)), ["deny.yaml"], {"NetworkPolicy shop/other"})


def test_a_lab_is_made_of_something(folder: Path) -> None:
    with pytest.raises(UsageError, match="nothing would be left"):
        with_less(Inputs(paths=(str(folder / "deny.yaml"),)), ["deny.yaml"], {str(KEY)})


def test_bad_manifests_are_told_as_always(folder: Path) -> None:
    (folder / "bad.yaml").write_text(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec: 7\n"
    )
    with pytest.raises(InputError):
        with_less(Inputs(paths=(str(folder),)), ["bad.yaml"], set())


def test_removed_policies_are_left_out() -> None:
    found = cluster(policy("a"), policy("b"))
    assert without(found, ()) is found
    assert [left.key.name for left in without(found, [policy("a").key]).policies] == ["b"]
