"""Manifests → manifests: policies of kinds that Felix does not support, as equivalent kinds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO

import yaml

from felixpy.errors import InputError, Problem
from felixpy.manifests.objects import admin_policies
from felixpy.manifests.reading.documents import read, subject
from felixpy.manifests.reading.places import Places
from felixpy.manifests.validation.findings import Finding

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./-]*[A-Za-z0-9]|[A-Za-z]", re.ASCII)
RESERVED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class Conversion(NamedTuple):
    """The objects to write, the number of converted ones, and problems for parts that were left out."""

    objects: tuple[dict[str, Any], ...]
    converted: int
    losses: tuple[Problem, ...]


def convert(
    paths: Sequence[str | os.PathLike[str]], *, everything: bool = False, stdin: TextIO | None = None
) -> Conversion:
    """Read manifests and rewrite AdminNetworkPolicies and BaselineAdminNetworkPolicies as ClusterNetworkPolicies.

    With `everything` all other objects are included unchanged, in their order. Raises InputError with all problems.
    """
    reading = read(paths, stdin=stdin)
    places = Places(reading.texts)
    problems = list(reading.problems)
    losses: list[Problem] = []
    objects: list[dict[str, Any]] = []
    taken = {name for data, _ in reading.documents if data["kind"] == "ClusterNetworkPolicy" and (name := _name(data))}
    count = 0
    for data, source in reading.documents:
        shape = admin_policies.SHAPES.get(data["kind"]) if data["apiVersion"] == admin_policies.OLD_VERSION else None
        if shape is None:
            objects += [data] if everything else []
            continue

        def told(finding: Finding, severity: str = "error", named: str = subject(data), where: Any = source) -> Problem:
            return Problem(
                place=places.find(where, finding.path, key=finding.unknown), subject=named, path=finding.path,
                reason=finding.reason, hint=finding.hint, severity="error" if severity == "error" else "warning",
                excerpt=finding.excerpt,
            )  # fmt: skip

        found = list(shape.findings(data, ()))
        problems += [told(finding) for finding in found]
        if found:
            continue
        lost: list[Finding] = []
        made = admin_policies.converted(shape.normal(data), lost)
        _rename(made, data["kind"], taken)
        objects.append(made)
        count += 1
        losses += [told(finding, "warning") for finding in lost]
    if any(problem.severity == "error" for problem in problems):
        raise InputError(problems)
    return Conversion(tuple(objects), count, tuple(losses))


def _name(data: dict[str, Any]) -> str:
    """The name of an object that is not validated, "" if it has none."""
    metadata = data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _rename(made: dict[str, Any], kind: str, taken: set[str]) -> None:
    """Rename an object if its name is taken, as two kinds become one: its old kind is added to the name."""
    name = made["metadata"]["name"]
    if name in taken:
        made["metadata"]["name"] = name = f"{name}-{'baseline' if kind.startswith('Baseline') else 'admin'}"
    taken.add(name)


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that quotes every string that a parser of YAML 1.1 or 1.2 could read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = PLAIN.fullmatch(text) and text.lower() not in RESERVED
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def as_yaml(objects: Sequence[dict[str, Any]]) -> str:
    """The objects as documents of one YAML text."""
    return "".join(
        "---\n" + yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=2**16, allow_unicode=False) for each in objects
    )
