"""What is mutated, and the calls that it is put through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.conformance.recordings import ROOT
from tests.fuzz import mutations

LARGEST = 40_000
"""Bytes of a manifest or dump; larger ones say nothing new and take long."""


@dataclass(frozen=True)
class Sample:
    """A recorded case: its manifests and what a node with them had in its kernel."""

    folder: Path

    @cached_property
    def documents(self) -> list[Any]:
        text = (self.folder / "manifests.yaml").read_text()
        try:
            return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]
        except yaml.YAMLError:
            return []

    @property
    def manifests(self) -> Path:
        return self.folder / "manifests.yaml"

    def saved(self, name: str) -> str:
        file = self.folder / "expected" / name
        return file.read_text() if file.exists() else ""

    @cached_property
    def node(self) -> str:
        file = self.folder / "case.yaml"
        case = yaml.load(file.read_text(), Loader=yaml.CSafeLoader) if file.exists() else {}
        return str(case.get("node", "node1"))

    def names(self, *kinds: str) -> list[str]:
        """Names of the objects of some kinds, with their namespaces."""
        found = []
        for document in self.documents:
            for item in (document, *(document.get("items") or ())) if isinstance(document, dict) else ():
                metadata = item.get("metadata") if isinstance(item, dict) else None
                if isinstance(metadata, dict) and item.get("kind") in kinds:
                    where = f"{metadata.get('namespace', 'default')}/" if "namespace" in metadata else ""
                    found.append(where + str(metadata.get("name")))
        return found


def samples() -> list[Sample]:
    """Recorded cases that are small enough, the same ones in the same order everywhere."""
    found = sorted(file for file in ROOT.rglob("manifests.yaml") if file.stat().st_size < LARGEST)
    return [sample for sample in map(Sample, (file.parent for file in found)) if sample.documents]


@dataclass(frozen=True)
class Input:
    """One call: its words, its files by name (`@name` in the words stands for their path), and its stdin."""

    words: tuple[str, ...]
    files: dict[str, bytes]
    stdin: bytes = b""


ADDRESSES = "10.65.0.1", "198.51.100.7", "2001:db8::7", "internet", "host", "10.96.0.10"

EXPECTATIONS = {
    "name": "a",
    "manifests": ["manifests.yaml"],
    "expectations": [
        {"from": "internet", "to": "default/a", "ports": [5432, "53/udp"], "expect": "allow", "by": "default/a"},
        {"from": "10.65.0.1", "to": {"namespace": "default", "labels": {"app": "db"}}, "ports": [80], "expect": "deny"},
    ],
    "matrix": "0.0.0.0/0 => default/a : All",
}
"""What a file for ``felixpy test`` looks like."""


def make(seed: int, number: int, corpus: Sequence[Sample]) -> Input:
    """The input of a number: manifests, a dump, or a command line that is spoilt."""
    random = Random(f"{seed}:{number}")
    sample, other = random.choice(corpus), random.choice(corpus)
    kind = random.randrange(10)
    if kind < 6:
        documents = mutations.spoil_documents(random, sample.documents, other.documents)
        manifests = mutations.written(random, documents)
        tests = mutations.written(random, mutations.spoil_documents(random, [EXPECTATIONS], [EXPECTATIONS]))
        files = {"manifests.yaml": manifests, "test.yaml": tests, **_dumps(sample)}
        return Input(on_manifests(random, sample), files)
    if kind < 9:
        return on_dump(random, sample, other)
    words = mutations.spoil_command(random, on_manifests(random, sample))
    files = {"manifests.yaml": sample.manifests.read_bytes(), **_dumps(sample)}
    return Input(tuple(words), files, sample.saved("iptables.save").encode())


def _dumps(sample: Sample) -> dict[str, bytes]:
    rules = sample.saved("iptables.save").encode()
    recorded = {"recorded.yaml": sample.manifests.read_bytes(), "recorded": rules}
    return {"rules": rules, "sets": sample.saved("ipset.save").encode(), **recorded}


def on_manifests(random: Random, sample: Sample) -> tuple[str, ...]:
    """A call that reads manifests."""
    pods = sample.names("Pod", "WorkloadEndpoint") or ["default/a"]
    policies = sample.names("NetworkPolicy", "GlobalNetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy") or [
        "a"
    ]
    services = sample.names("Service") or ["default/a"]
    ends = (random.choice(pods), f"{random.choice(pods)}:80", f"{random.choice(ADDRESSES)}:53/udp")
    source, target = random.choice((*pods, *ADDRESSES)), random.choice((*ends, f"svc/{random.choice(services)}:80"))
    node = ("--node", sample.node) if random.random() < 0.8 else ()
    manifests = ("-f", "@manifests.yaml")
    dump = ("--rules", "@rules", "--ipsets", "@sets")
    host = ("--interface", "eth0=192.0.2.1/24,2001:db8::1/64") if random.random() < 0.5 else ()
    rendered = random.choice(
        (
            (), ("-6",), ("--ipsets",), ("-o", "json"), ("--annotate",), ("--form", "restore"), ("--headers",
            "--counters"), ("--dataplane", "nftables"), ("--dataplane", "nftables", "-o", "json"), ("--dialect",
            "v3.28"), ("--dialect", "v3.8"), ("--output-dir", "@out"), ("--all-nodes", "-j", "1", "--output-dir",
            "@out"), ("--no-strict",), ("--no-expand",), ("--strict",), ),
    )  # fmt: skip
    calls = (
        ("render", *manifests, *node, *host, *rendered),
        ("validate", *manifests, *random.choice(((), ("--no-strict",), ("-o", "sarif"), ("-o", "junit")))),
        ("lint", *manifests, *random.choice(((), ("-o", "json"), ("-o", "github"), ("-o", "tap")))),
        ("matrix", *manifests, "-o", random.choice(("table", "lines", "grid", "csv", "json", "dot", "svg"))),
        (
            "matrix",
            *manifests,
            *node,
            *random.choice((("--by", "pod"), ("--services",), ("--explain",), ("--every-icmp",))),
        ),
        ("exposure", *manifests, *random.choice(((), ("-o", "json")))),
        ("diff", "@recorded.yaml", "@manifests.yaml", "-o", random.choice(("text", "json", "markdown"))),
        ("diff", "@rules", "@manifests.yaml", *node),
        ("trace", source, target, *manifests, *random.choice(((), ("-v",), ("-o", "json"), ("--icmp", "8")))),
        ("trace", source, target, *manifests, *dump, *node),
        ("explain", "pod", random.choice(pods), *manifests, *random.choice(((), ("-o", "json"), ("-v",)))),
        ("explain", "policy", random.choice(policies), *manifests, *random.choice(((), ("-o", "json"), ("-v",)))),
        ("decode", "cali-FORWARD", "0x10000/0x30000", "cali40this-host", "cali12d4a09f50c", *manifests, *node),
        ("verify", *manifests, *node, *dump, *random.choice(((), ("-o", "json")))),
        ("annotate", *manifests, *node),
        ("counters", *manifests, *node, "--rules", "@rules"),
        ("convert", *manifests),
        ("snapshot", *manifests, *random.choice(((), ("--anonymise",)))),
        ("test", "@test.yaml"),
    )
    return random.choice(calls)


def on_dump(random: Random, sample: Sample, other: Sample) -> Input:
    """A call that reads a dump of rules, of sets or of both."""
    rules = sample.saved(random.choice(("iptables.save", "iptables.save", "ip6tables.save", "iptables.restore")))
    sets = sample.saved("ipset.save")
    which = random.randrange(3)
    files = _dumps(sample) | {
        "rules": mutations.spoil_dump(random, rules, other.saved("iptables.save")) if which != 1 else rules.encode(),
        "sets": mutations.spoil_dump(random, sets, other.saved("ipset.save")) if which != 0 else sets.encode(),
    }
    pods = sample.names("Pod") or ["default/a"]
    manifests = ("-f", "@recorded.yaml")
    dump = ("--rules", "@rules", *random.choice(((), ("--ipsets", "@sets"), ("--ipsets", "@sets"))))
    node = ("--node", sample.node)
    calls = (
        ("annotate", *manifests, *node),
        ("annotate",),
        ("verify", *manifests, *node, *dump, *random.choice(((), ("-o", "json"), ("-v",)))),
        ("verify", *manifests, *node, *dump),
        (
            "trace",
            random.choice((*pods, *ADDRESSES)),
            f"{random.choice((*pods, *ADDRESSES))}:80",
            *manifests,
            *node,
            *dump,
        ),
        ("matrix", *manifests, *node, *dump, "-o", random.choice(("lines", "json", "svg"))),
        ("matrix", *dump),
        ("diff", "@rules", "@recorded"),
        ("diff", "@rules", "@recorded.yaml", *node),
        ("counters", *manifests, *node, "--rules", "@rules"),
    )
    return Input(random.choice(calls), files, files["rules"])
