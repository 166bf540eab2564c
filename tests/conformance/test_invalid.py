"""Manifests with one thing wrong: the message names everything that the case says a good message names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from felixpy.errors import InputError, Problem
from felixpy.manifests import load

FOLDER = Path(__file__).parents[2] / "fixtures" / "conformance" / "invalid"
CASES = sorted(FOLDER.iterdir())

UNRENDERABLE = {"felixconfig-mark-mask-too-narrow", "felixconfig-failsafe-port-sctp"}
"""Accepted by Calico's API, but Felix exits: there are no rules to go on with."""

LENIENT = {
    "field-misspelt", "knp-calico-fields-in-kubernetes-policy", "knp-ports-directly-under-spec",
    "namespace-object-missing",
}  # fmt: skip
"""Warnings unless loading is strict: an API server that does not validate fields takes them too."""

OTHER_WORDS = {
    "duplicate-object": ("would survive", "survives"),
    "felixconfig-mark-mask-too-narrow": (
        "at least five (six in IPVS mode, one more with WireGuard)",
        "at least six (one more with WireGuard)",
    ),
    "hep-duplicate-profile": ("calicoctl's own checks do not look", "calicoctl does not look"),
    "name-missing": ("metadata.name is missing", "metadata.name: required field is missing"),
    "selector-single-equals-sign": ("bare projectcalico.org/v3 CRD lets", "projectcalico.org/v3 CRD alone lets"),
    "selector-with-newline-from-block-scalar": ("the value comes", "the value may come"),
    "staged-delete-with-rules": ("(and spec.selector, spec.types)", "spec.selector spec.types"),
    "tier-does-not-exist": (
        "The bare CRD lets it in; Felix then puts the unknown tier last and treats it as default-deny",
        "the CRD alone lets it in; Felix then puts such a tier last, with Deny as its default action",
    ),
    "yaml-tab-indentation": ("line 11 column 1", ":11:1:"),
    "yaml-truncated": (
        "line 13 (second document): the double-quoted string that starts there",
        ":13: (second document): the double-quoted string that starts here",
    ),
}
"""Facts that the message puts into other words than the case: (the case's words, ours)."""


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "case.yaml").read_text())
    return found


def found(folder: Path, *, strict: bool) -> tuple[list[Problem], bool]:
    """What loading says, and whether it fails."""
    try:
        return list(load([folder / "manifests.yaml"], strict=strict).warnings), False
    except InputError as wrong:
        return wrong.problems, True


def words(text: str) -> set[str]:
    """Words without the punctuation around them."""
    return {word for word in (token.strip(".,;:()\"'") for token in text.split()) if word}


def test_all_cases_are_here() -> None:
    assert len(CASES) == 78


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_the_message_names_every_fact(folder: Path) -> None:
    wanted = facts(folder)["error"]
    if folder.name in OTHER_WORDS:
        theirs, ours = OTHER_WORDS[folder.name]
        wanted = " ".join(wanted.split())
        assert theirs in wanted
        wanted = wanted.replace(theirs, ours)
    message = " ".join(map(str, found(folder, strict=False)[0]))
    assert {word for word in words(wanted) if word not in message} == set(), message


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_one_thing_is_wrong(folder: Path) -> None:
    """No message drowns in others, and nothing is said of an object that is right."""
    problems, _ = found(folder, strict=False)
    assert len(problems) == (3 if folder.name == "staged-delete-with-rules" else 1)


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_what_calico_accepts_goes_on(folder: Path) -> None:
    accepted = facts(folder)["accepted_by_calico"] and folder.name not in UNRENDERABLE
    assert found(folder, strict=True)[1] is not accepted
    assert found(folder, strict=False)[1] is not (accepted or folder.name in LENIENT)
