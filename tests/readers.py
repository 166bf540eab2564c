"""Manifests with something wrong, read quickly and read exactly: whatever is said must be the same.

``python -m tests.readers NUMBER [SEED]`` compares so many of them (``make readers``).
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import yaml

from felixpy.errors import InputError
from felixpy.manifests import load
from felixpy.manifests.reading import blocks, documents, files, yamlstream
from felixpy.manifests.reading.files import File
from felixpy.model import Cluster
from tests.bench import clusters, fat

Manifest = dict[str, Any]
RECORDED = Path(__file__).parents[1] / "fixtures" / "conformance"

VALUES: tuple[Any, ...] = (
    None, "", "x", "Web_1", "é", "10.1.2.3", "10.1.2.3/24", "300.1.1.1", 0, 1, -1, 80, 65536, 1.5, 80.0, 1e3, 2**63,
    2**64, True, False, [], {}, [None], [{}], [""], {"a": None}, {"a": "b"}, {"x": {"y": [1]}}, "{{ x }}", "a:b",
    "Running", "Failed", "True", "TCP", "tcp", "node2", "default", "Pod", "List", "v1",
)  # fmt: skip

NAMES = (
    "name", "namespace", "labels", "annotations", "nodeName", "hostNetwork", "podIP", "podIPs", "phase", "items",
    "kind", "apiVersion", "uid", "deletionTimestamp", "managedFields", "ports", "unknown", "spec", "status", "env",
    "image", "ownerReferences", "controller", "conditions", "hostIP", "hostPort", "initContainers",
    "<<", "cni.projectcalico.org/podIP", "cni.projectcalico.org/podIPs", "vpc.amazonaws.com/pod-ips",
    "cni.projectcalico.org/floatingIPs", "cni.projectcalico.org/allowedSourcePrefixes", "qos.projectcalico.org/dscp",
    "qos.projectcalico.org/ingressPacketRate", "pcns.a", "a/b/c", "serviceAccountName", "-",
)  # fmt: skip

SNIPPETS = (
    ",", "{", "}", "[", "]", '"', ":", "\\", "\n", "\n---\n", "\r", "\t", "null", "1e999", "NaN", "-0", "01", "1.0",
    "1E2", "\\ud83d\\ude00", "\\ud83d", "\\u003a", "\\u0000", "\\/", "é", "\u2028", "\ufeff", "\x00", "\x7f", "# c\n",
    "\n%\n", "- ", ": ", "  ", " #", "&a ", "*a", "!!str ", "|\n", "? ", "~", "'x", "on", "0x1F", "---", "..",
    '"a":1,', '"kind":"Pod",', '"name":"x",', "}{", "'", "[" * 300, "{}" * 120, "1" * 5000, "...\n",
)  # fmt: skip


@cache
def _materials() -> list[Manifest]:
    """Objects of all kinds, pods first."""
    found = [*fat.pods(12), *islice(clusters.objects(clusters.SHAPES["S"]), 40)]
    for file in sorted(RECORDED.glob("*/*/manifests.yaml"))[::9]:
        found += [document.data for document in documents.read([str(file)]).documents]
    return found


def mutant(draw: random.Random) -> str:
    """A text that is nearly a dump."""
    materials = _materials()
    chosen = [
        deepcopy(draw.choice(materials[:12] if draw.random() < 0.5 else materials)) for _ in range(draw.randint(1, 5))
    ]
    if draw.random() < 0.2:
        chosen.append(deepcopy(chosen[0]))
    for _ in range(draw.choice((0, 1, 1, 2))):
        _spoil(draw.choice(chosen), draw)
    text = draw.choice(LAYOUTS)(chosen, draw)
    for _ in range(draw.choice((0, 0, 1, 1, 2))):
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(SNIPPETS) + text[at + draw.choice((0, 0, 1, 5)) :]
    if draw.random() < 0.05:
        text = text[: draw.randrange(len(text) + 1)]
    return text


def _spoil(manifest: Manifest, draw: random.Random) -> None:
    """Change one place of an object, most likely one that matters."""
    value: Any = manifest
    while True:
        inner = [
            key
            for key, each in (value.items() if isinstance(value, dict) else enumerate(value))
            if each and isinstance(each, dict | list)
        ]
        if not inner or draw.random() < 0.25:
            break
        value = value[draw.choice(inner)]
    if isinstance(value, list):
        value.insert(draw.randint(0, len(value)), deepcopy(draw.choice(VALUES)))
        return
    name = draw.choice([*value, *NAMES]) if value else draw.choice(NAMES)
    if draw.random() < 0.3:
        value.pop(name, None)
    else:
        value[name] = deepcopy(draw.choice(VALUES))


def _compact(chosen: list[Manifest], draw: random.Random) -> str:
    separators = draw.choice(((",", ":"), (", ", ": ")))
    return json.dumps(_listed(chosen, draw), separators=separators, ensure_ascii=draw.random() < 0.5)


def _pretty(chosen: list[Manifest], draw: random.Random) -> str:
    return json.dumps(_listed(chosen, draw), indent=draw.choice((1, 4)), ensure_ascii=False) + draw.choice(("", "\n"))


def _lines(chosen: list[Manifest], draw: random.Random) -> str:
    return "".join(draw.choice(("", "", "---\n", "\n")) + json.dumps(each) + "\n" for each in chosen)


def _item_a_line(chosen: list[Manifest], draw: random.Random) -> str:
    lines = ",\n".join(json.dumps(each) for each in chosen)
    return f'{{"apiVersion":"v1","kind":"List","items":[\n{lines}\n]}}\n'


def _listed(chosen: list[Manifest], draw: random.Random) -> Manifest:
    kind = draw.choice(("List", "List", "List", "PodList", "Pods"))
    if kind == "PodList" and draw.random() < 0.8:
        for each in chosen:
            for name in ("apiVersion", "kind"):
                each.pop(name, None)
    members = [("apiVersion", "v1"), ("kind", kind), ("metadata", {"resourceVersion": ""}), ("items", chosen)]
    draw.shuffle(members)
    if draw.random() < 0.1:
        members.append(("continue", "x"))
    return dict(members)


def _blocks(chosen: list[Manifest], draw: random.Random) -> str:
    """Documents, or a List, as kubectl and as people write them."""
    as_list = draw.random() < 0.5
    return yaml.dump_all(
        [_listed(chosen, draw)] if as_list else chosen,
        Dumper=draw.choice((yaml.SafeDumper, Indented)),
        sort_keys=False,
        width=draw.choice((80, 2**20)),
        allow_unicode=True,
    )


class Plain(yaml.SafeDumper):
    """Equal values are written each time."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class Indented(Plain):
    """Lists further in than their keys."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


LAYOUTS: tuple[Callable[[list[Manifest], random.Random], str], ...] = (
    _compact,
    _pretty,
    _lines,
    _item_a_line,
    *(_blocks,) * 3,
)


@contextmanager
def exactly() -> Iterator[None]:
    """Without the quick readers."""
    with (
        mock.patch.object(documents, "_read_stream", return_value=False),
        mock.patch.object(blocks.Reader, "documents", return_value=[]),
    ):
        yield


def outcome(given: File | Path) -> object:
    """All that loading a file says: the cluster, its warnings, places in it; or the problems."""
    try:
        cluster = load([given])
    except InputError as wrong:
        return wrong.problems
    parts = {
        field.name: getattr(cluster, field.name) for field in fields(Cluster) if field.name not in ("texts", "where")
    }
    sources = [each.source for each in cluster.workloads] + [each.source for each in cluster.policies]
    places = [
        cluster.where(source, path)
        for source in sources
        if source
        for path in ((), ("metadata", "name"), ("spec",), ("status", "podIP"))
    ]
    return parts, places


@contextmanager
def quickly(draw: random.Random) -> Iterator[None]:
    """With readers that hold little of a file at once."""
    with (
        mock.patch.object(files, "CHUNK", draw.choice((64, 1000, files.CHUNK))),
        mock.patch.object(yamlstream, "WINDOW", draw.choice((100, 1000, 10_000, yamlstream.WINDOW))),
        mock.patch.multiple(files, _LARGE=0, _LARGE_PACKED=0),
        mock.patch.object(documents, "_FEW", 0),
    ):
        yield


def compare(number: int, seed: int = 0) -> Iterator[str]:
    """The texts about which the readers do not agree: those of files, and those of what was read elsewhere."""
    draw = random.Random(seed)
    with TemporaryDirectory() as folder:
        for _ in range(number):
            text = mutant(draw)
            given: File | Path = File("dump", text, True)
            if draw.random() < 0.5:
                given = Path(folder) / "dump"
                given.write_bytes(text.encode("utf-8", "surrogatepass"))
            with quickly(draw):
                quick = outcome(given)
            with exactly():
                if quick != outcome(given):
                    yield text


if __name__ == "__main__":
    wanted, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    wrong = 0
    for text in compare(wanted, first):
        wrong += 1
        Path(f"reader-{first}-{wrong}.json").write_text(text, errors="surrogatepass")
    print(f"{wanted} texts, {wrong} disagreements")
    sys.exit(wrong > 0)
