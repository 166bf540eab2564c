"""Shell completion: names in the manifests of a command line, and built-in words.

A shell waits for the answer, so manifests are not parsed: names are read off their lines, where they stand in block
style, for as long as there is time. Names that are missed can still be typed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import typer

SECONDS = 0.3
"""So long names are looked for."""

LARGEST = 1 << 20
"""Bytes of a file that is read."""

SUFFIXES = (".yaml", ".yml", ".json")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob")
POLICIES = ("NetworkPolicy", "GlobalNetworkPolicy", "ClusterNetworkPolicy", "StagedNetworkPolicy",
            "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy")  # fmt: skip

_KEY = re.compile(r"( *(?:- +)?)([A-Za-z]+):(?: +(\S.*))?$")
_NODE = re.compile(r"""["']?(?:nodeName|node)["']?: *["']?([a-z0-9][a-z0-9.-]*)""")


class Named(NamedTuple):
    """An object of a manifest."""

    kind: str
    namespace: str
    name: str

    @property
    def full(self) -> str:
        return f"{self.namespace or 'default'}/{self.name}"


# --- callbacks: words for a parameter


def nodes(ctx: typer.Context) -> list[str]:
    """Names of nodes, also those that pods and host endpoints name."""
    found: set[str] = set()
    for text in _texts(ctx):
        found.update(one.name for one in objects(text) if one.kind == "Node")
        found.update(_NODE.findall(text))
    return sorted(found)


def namespaces(ctx: typer.Context) -> list[str]:
    """Namespaces, also those that objects are in."""
    found = [one for text in _texts(ctx) for one in objects(text)]
    return sorted({one.name if one.kind == "Namespace" else one.namespace for one in found} - {""})


def ends(ctx: typer.Context) -> list[str]:
    """Sources and destinations of packets."""
    found = {"host": None, "internet": None}
    for text in _texts(ctx):
        for one in objects(text):
            if one.kind == "Pod":
                found[one.full] = None
            elif one.kind in WORKLOADS:
                found[f"{one.namespace or 'default'}/{one.kind.lower()}/{one.name}"] = None
            elif one.kind == "Service":
                found[f"{one.namespace or 'default'}/svc/{one.name}"] = None
    return [*found]


EXPLAINED: Mapping[str, Sequence[str]] = {
    "pod": ("Pod",),
    **{kind.lower(): (kind,) for kind in WORKLOADS},
    "policy": POLICIES,
    "netpol": ("NetworkPolicy",),
    "gnp": ("GlobalNetworkPolicy",),
    "cnp": ("ClusterNetworkPolicy",),
    "hep": ("HostEndpoint",),
    "tier": ("Tier",),
}
"""What can be explained, and the kinds of objects that are meant."""

WITHOUT_NAMESPACE = ("GlobalNetworkPolicy", "StagedGlobalNetworkPolicy", "ClusterNetworkPolicy", "HostEndpoint", "Tier")


def kinds() -> list[str]:
    """Kinds of objects that can be explained."""
    return [*EXPLAINED]


def explained(ctx: typer.Context) -> list[str]:
    """Names of objects of the kind given as first argument."""
    wanted = EXPLAINED.get(ctx.params.get("kind") or "", ())
    found = (one for text in _texts(ctx) for one in objects(text) if one.kind in wanted)
    return sorted({one.name if one.kind in WITHOUT_NAMESPACE else one.full for one in found})


def calico_versions() -> list[str]:
    """The releases of Calico whose rules are known."""
    from felixpy.calico_versions import CALICO_VERSIONS

    return [*CALICO_VERSIONS]


def settings() -> list[str]:
    """Felix parameters, each with the ``=`` that follows."""
    from felixpy.settings import described

    return [f"{row.name}=" for row in described()]


def checks() -> list[tuple[str, str]]:
    """Codes of lint checks, each with its description."""
    from felixpy.linting import CHECKS

    return [(code, one.summary) for code, one in CHECKS.items()]


def data_planes() -> list[str]:
    from felixpy.cli.invocation import DATA_PLANES

    return [*DATA_PLANES]


# --- names in manifests


def objects(text: str) -> Iterator[Named]:
    """The objects of a manifest, from YAML in block style or from JSON.

    >>> [*objects("kind: Pod\\nmetadata:\\n  labels:\\n    name: no\\n  name: web\\n  namespace: shop\\n")]
    [Named(kind='Pod', namespace='shop', name='web')]
    >>> [one.full for one in objects('{"kind": "Pod", "metadata": {"name": "web"}}')]
    ['default/web']
    """
    if text.lstrip()[:1] in "{[":
        yield from _from_json(text)
        return
    found: dict[str, str] = {}
    outer = inner = -1
    inside = False
    for line in text.splitlines():
        key = _KEY.match(line)
        if line.startswith("---") or (key and "-" in key[1] and len(key[1]) <= max(outer, 2)):
            yield from _named(found)
            found, outer, inside = {}, -1, False
        if not key:
            continue
        indent, name, value = len(key[1]), key[2], (key[3] or "").split(" #")[0].strip().strip("\"'")
        if name == "items" and indent == 0:
            found, outer, inside = {}, -1, False
        elif outer < 0 or indent == outer:
            outer = indent
            inside, inner = name == "metadata", -1
            if name == "kind":
                found["kind"] = value
        elif inside and indent > outer:
            inner = indent if inner < 0 else inner
            if indent == inner and name in ("name", "namespace") and value:
                found[name] = value
    yield from _named(found)


def _named(found: dict[str, str]) -> Iterator[Named]:
    if "kind" in found and "name" in found:
        yield Named(found["kind"], found.get("namespace", ""), found["name"])


def _from_json(text: str) -> Iterator[Named]:
    import json

    try:
        documents = [json.loads(text)]
    except (ValueError, RecursionError):  # what is wrong with it is said when it is read
        return
    while documents:
        one = documents.pop(0)
        if isinstance(one, list):
            documents += one
        elif isinstance(one, dict):
            metadata = one.get("metadata")
            items = one.get("items")
            if isinstance(items, list):
                documents += items
            elif isinstance(metadata, dict):
                pairs = {"kind": one.get("kind"), **{key: metadata.get(key) for key in ("name", "namespace")}}
                yield from _named({key: value for key, value in pairs.items() if isinstance(value, str)})


def _texts(ctx: typer.Context) -> Iterator[str]:
    """The texts of the manifests named so far on the command line; if none, those of the current folder."""
    end = monotonic() + SECONDS
    named = [Path(path) for key in ("paths", "filename") for path in ctx.params.get(key) or ()]
    for file in _files([path for path in named if path.exists()] or [Path()]):
        if monotonic() > end:
            return
        try:
            if file.stat().st_size <= LARGEST:
                yield file.read_text(encoding="utf-8", errors="replace")
        except OSError:  # a file that cannot be read has no names to offer
            continue


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
        for folder, below, names in os.walk(path):
            below[:] = sorted(name for name in below if not name.startswith("."))
            yield from (Path(folder, name) for name in sorted(names) if name.endswith(SUFFIXES))
