"""Random clusters out of the recorded inputs, and random changes of them, for the law that rules are kept in step.

``python -m tests.property.changing --count 10000`` runs so many sequences; `test_following.py` runs a few.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import yaml
from msgspec.structs import replace

import felixpy
from felixpy.compiler import Compiler
from felixpy.errors import FelixpyError, InputError
from felixpy.live import Change, LiveCluster
from felixpy.manifests.following import Following, Step
from felixpy.manifests.loading import Options, load_documents
from felixpy.manifests.reading.documents import Document, Reading
from felixpy.manifests.reading.objects import placed
from felixpy.model import Cluster, Host, Profile
from tests.clusters import HERE
from tests.conformance.recordings import AREAS, REFUSED, ROOT
from tests.fuzz.mutations import ODD, paths, value_at
from tests.manifests import CALICO, STORED, manifest

Manifest = dict[str, Any]
Content = dict[str, Any]

STEPS = 5
MOST = 30
"""Objects of a cluster at its beginning."""

NOT_COMPARED = {"warnings", "texts", "where"}

INTERFACES = {"eth0": ("192.0.2.10/24", "2001:db8::10/64"), "eth1": ("198.51.100.7/24",)}
HOSTS = (Host(), Host(interfaces={}), Host(interfaces=INTERFACES), Host(interfaces={**INTERFACES, "kube-ipvs0": ()}))
PLANES = (None, "iptables", "nftables")
STRICT = (None, None, False)


def _felix(name: str, value: str) -> list[Manifest]:
    return [{"name": "calico-node", "image": "quay.io/calico/node:v3.32.1", "env": [{"name": name, "value": value}]}]


def _account(name: str) -> Manifest:
    return {"template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c"}]}}}


EXTRA: tuple[Manifest, ...] = (
    manifest(CALICO, "KubeControllersConfiguration", "default",
             {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}),
    manifest(CALICO, "KubeControllersConfiguration", "default", {"controllers": {"node": {"hostEndpoint": {
        "autoCreate": "Enabled", "createDefaultHostEndpoint": "Disabled",
        "templates": [{"generateName": "own", "interfaceCIDRs": ["192.0.2.0/24"], "nodeSelector": "all()"}]}}}}),
    manifest("v1", "Node", "node1", labels={"zone": "a"},
             annotations={"projectcalico.org/IPv4Address": "192.0.2.1/24"}),
    manifest("v1", "Node", "node2", {}, labels={"zone": "b"},
             annotations={"projectcalico.org/IPv4VXLANTunnelAddr": "10.65.9.2"}),
    manifest(CALICO, "Node", "node2", {"bgp": {"ipv4Address": "192.0.2.2/24"}}),
    manifest(STORED, "IPAMBlock", "10-65-0-0-26", {"cidr": "10.65.0.0/26", "affinity": "host:node1"}),
    manifest(STORED, "BlockAffinity", "node1-10-65-0-0-26", {"cidr": "10.65.0.0/26", "node": "node1"}),
    manifest(STORED, "GlobalNetworkPolicy", "default.stored", {"selector": "has(app)", "ingress": [{"action": "Deny"}]},
             annotations={"projectcalico.org/metadata": "{}"}),
    manifest(CALICO, "GlobalNetworkPolicy", "stored", {"selector": "all()", "egress": [{"action": "Allow"}]}),
    manifest(CALICO, "GlobalNetworkPolicy", "lost", {"tier": "nowhere", "selector": "all()"}),
    manifest(CALICO, "WorkloadEndpoint", "node1-k8s-vm-eth0", {
        "node": "node1", "workload": "vm", "orchestrator": "k8s", "pod": "vm", "endpoint": "eth0",
        "interfaceName": "cali123", "ipNetworks": ["10.65.3.3/32"], "profiles": ["kns.default"]}, "default"),
    manifest("v1", "Endpoints", "outside", namespace="default") | {
        "subsets": [{"addresses": [{"ip": "203.0.113.7"}], "ports": [{"port": 80}]}]},
    manifest("apps/v1", "Deployment", "web", {"replicas": 2, **_account("web")}, "default"),
    manifest("apps/v1", "ReplicaSet", "web-1", {"replicas": 0, **_account("web")}, "default"),
    manifest("v1", "Pod", "bare", {"containers": [{"name": "c"}]}, "default", labels={"app": "web"}),
    manifest("v1", "Pod", "calico-node-1", {
        "nodeName": "node1", "hostNetwork": True,
        "containers": _felix("FELIX_INTERFACEPREFIX", "veth")}, "kube-system"),
    manifest("v1", "Pod", "calico-node-2", {
        "nodeName": "node2", "hostNetwork": True, "containers": [{"name": "calico-node", "ports": []}]}, "kube-system"),
    manifest("apps/v1", "DaemonSet", "calico-node", {"template": {"spec": {"containers": _felix(
        "FELIX_DEFAULTENDPOINTTOHOSTACTION", "ACCEPT")}}}, "kube-system"),
    manifest("v1", "ConfigMap", "kube-proxy", namespace="kube-system") | {
        "data": {"config.conf": "kind: KubeProxyConfiguration\nmode: nftables\n"}},
    manifest("operator.tigera.io/v1", "Installation", "default",
             {"calicoNetwork": {"ipPools": [{"cidr": "10.65.0.0/16", "encapsulation": "VXLAN"}]}}),
    manifest(CALICO, "ClusterInformation", "default", {"clusterType": "k8s,openstack", "calicoVersion": "v3.32.1"}),
    manifest("v1", "Secret", "s", namespace="default"),
    manifest("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", "old", {"priority": 1}),
    manifest("gateway.networking.k8s.io/v1", "HTTPRoute", "web", {}, "default"),
)  # fmt: skip
"""Kinds that the recordings lack, and objects that reach others."""


@cache
def recorded() -> tuple[tuple[Manifest, ...], ...]:
    """The objects of every recorded case that is not too large."""
    files = (file for area in (*AREAS, REFUSED, "invalid") for file in (ROOT / area).glob("*/manifests.yaml"))
    cases = [tuple(items(file)) for file in sorted(files)]
    return tuple(case for case in cases if 0 < len(case) <= MOST)


def items(file: Path) -> Iterator[Manifest]:
    """Objects with what identifies them; others cannot come from an API server."""
    try:
        documents = list(yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader))
    except yaml.YAMLError:
        return
    for document in documents:
        for item in (document.get("items") or [document]) if isinstance(document, dict) else ():
            metadata = item.get("metadata") if isinstance(item, dict) else None
            texts = [item.get("apiVersion"), item.get("kind")] if isinstance(item, dict) else [None]
            texts.append(metadata.get("name") if isinstance(metadata, dict) else None)
            if all(isinstance(text, str) for text in texts):
                yield item


@cache
def of_kind() -> Mapping[tuple[str, str], tuple[Manifest, ...]]:
    """All objects by apiVersion and kind."""
    found: dict[tuple[str, str], list[Manifest]] = {}
    for item in (*(item for case in recorded() for item in case), *EXTRA):
        found.setdefault((item["apiVersion"], item["kind"]), []).append(item)
    return {key: tuple(listed) for key, listed in found.items()}


# --- changes of one object


def _labels(draw: Random, item: Manifest) -> None:
    item["metadata"]["labels"] = {draw.choice(("app", "tier", "role")): draw.choice(("web", "db", "x"))}


def _spec(draw: Random, item: Manifest) -> None:
    """Everything but the name becomes that of another object of its kind."""
    other = draw.choice(of_kind().get((item["apiVersion"], item["kind"]), (item,)))
    item.update({key: copy.deepcopy(value) for key, value in other.items() if key not in ("metadata", "kind")})


def _move(draw: Random, item: Manifest) -> None:
    spec = item.setdefault("spec", {})
    if isinstance(spec, dict):
        name = {"HostEndpoint": "node", "WorkloadEndpoint": "node"}.get(item["kind"], "nodeName")
        if item["kind"] in ("Pod", "HostEndpoint", "WorkloadEndpoint"):
            spec[name] = draw.choice(("node1", "node2", "node3"))


def _rename(draw: Random, item: Manifest) -> None:
    if item["kind"] == "HostEndpoint" and isinstance(item.get("spec"), dict):
        item["spec"]["interfaceName"] = draw.choice(("eth0", "eth1", "*", "lo"))


def _break(draw: Random, item: Manifest) -> None:
    """A value that some reader takes badly."""
    where = [path for path in paths(item) if path[0] not in ("apiVersion", "kind", "metadata")]
    if where:
        path = draw.choice(where)
        value_at(item, path[:-1])[path[-1]] = copy.deepcopy(draw.choice(ODD))


MUTATIONS: tuple[Callable[[Random, Manifest], None], ...] = (_labels, _labels, _spec, _spec, _move, _rename, _break)


# --- a cluster and its changes


class Sequence:
    """A cluster that changes, kept in step and compiled anew after every step."""

    def __init__(self, seed: int) -> None:
        self.draw = draw = Random(seed)
        self.options = Options(
            expanding=draw.random() < 0.3, strict=draw.choice(STRICT), node=draw.choice((None, "node1"))
        )
        self.host, self.plane = draw.choice(HOSTS), draw.choice(PLANES)
        self.items: dict[tuple[str, ...], Manifest] = {}
        for item in draw.choice(recorded()):
            self.put(item)
        for _ in range(draw.choice((0, 1, 3))):
            self.put(self.drawn())
        self.before = dict(self.items)
        self.following: Following | None = None
        self.live: LiveCluster | None = None
        self.steps = self.by_object = 0
        """Steps that were compared, and how many of them were taken object by object."""

    def drawn(self) -> Manifest:
        """An object of any kind, each kind as likely as the others."""
        return self.draw.choice(of_kind()[self.draw.choice(sorted(of_kind()))])

    def put(self, item: Manifest) -> None:
        self.items[key_of(item)] = item

    def change(self) -> None:
        """One to three objects come, go, change, or are what they were at the beginning."""
        draw = self.draw
        for _ in range(draw.choice((1, 1, 2, 3))):
            kind = draw.choice(("put", "delete", "mutate", "mutate", "repair"))
            known = sorted(self.items)
            if kind == "put" or not known:
                self.put(self.drawn())
            elif kind == "delete":
                del self.items[draw.choice(known)]
            elif kind == "mutate":
                item = copy.deepcopy(self.items[draw.choice(known)])
                draw.choice(MUTATIONS)(draw, item)
                self.put(item)
            else:
                self.items |= {key: item for key, item in self.before.items() if draw.random() < 0.5}

    def documents(self) -> dict[str, dict[tuple[str, ...], Document]]:
        """By resource, as a running cluster tells them: no two objects have one place."""
        found: dict[str, dict[tuple[str, ...], Document]] = {}
        for key, item in self.items.items():
            group = f"{key[0]}/{key[1]}"
            found.setdefault(group, {})[key] = placed(f"test/{group}", item)
        return found

    def run(self) -> None:
        """Raises AssertionError."""
        known: dict[str, dict[tuple[str, ...], Document]] = {}
        for number in range(STEPS + 1):
            if number:
                self.change()
            now = self.documents()
            fresh = self.fresh(now)
            step = self.step(known, now, fresh)
            known = now
            if step:
                self.steps += 1
                self.by_object += step.changes is not None
                self.compare(step, fresh)

    def fresh(self, documents: Mapping[str, Mapping[tuple[str, ...], Document]]) -> Cluster | InputError:
        listed = [document for group in documents.values() for document in group.values()]
        try:
            return load_documents(Reading(documents=listed), self.options).cluster
        except InputError as wrong:
            return wrong

    def step(
        self, known: Mapping[str, Mapping[tuple[str, ...], Document]],
        now: Mapping[str, Mapping[tuple[str, ...], Document]], fresh: Cluster | InputError,
    ) -> Step | None:  # fmt: skip
        if self.following is None:
            try:
                self.following = Following(now, self.options)
            except InputError as wrong:
                refused(wrong, fresh)
                return None
            return Step(self.following.cluster, None, ())
        changes: dict[str, dict[tuple[str, ...], Document | None]] = {
            group: {
                key: now.get(group, {}).get(key)
                for key in known.get(group, {}).keys() | now.get(group, {}).keys()
                if known.get(group, {}).get(key) != now.get(group, {}).get(key)
            }
            for group in known.keys() | now.keys()
        }
        try:
            return self.following.take(changes)
        except InputError as wrong:
            refused(wrong, fresh)
            return None

    def compare(self, step: Step, fresh: Cluster | InputError) -> None:
        assert isinstance(fresh, Cluster), fresh
        for field in fields(Cluster):
            if field.name not in NOT_COMPARED:
                kept, wanted = (placeless(getattr(each, field.name)) for each in (step.cluster, fresh))
                assert kept == wanted, field.name
        if self.live is None:
            try:
                self.live = LiveCluster(step.cluster, dataplane=self.plane)
            except FelixpyError:
                return
        elif step.changes is None:
            self.live.update(step.cluster)
        else:
            self.live.apply([Change(*pair) for pair in step.changes], step.cluster)
        compiler = Compiler(fresh, dataplane=self.plane)
        for name in ("node1", "node2"):
            self.compare_node(name, outcome(partial(compiler.compile, name, self.host)))

    def compare_node(self, name: str, fresh: Content) -> None:
        live = self.live
        assert live
        if name in live.failed:
            assert {"wrong": str(live.failed[name])} == fresh
        elif name in live.nodes:
            assert content(live.ruleset(name)) == fresh
        else:
            assert outcome(partial(live.add, name, self.host)) == fresh


def refused(wrong: InputError, fresh: Cluster | InputError) -> None:
    """What a step refuses a fresh load refuses as well, for the same reasons."""
    assert isinstance(fresh, InputError), wrong
    told = {str(problem) for problem in fresh.problems if problem.severity == "error"}
    assert {str(problem) for problem in wrong.problems if problem.severity == "error"} <= told


def outcome(compiled: Callable[[], felixpy.Ruleset]) -> Content:
    """All of a node's rules, or why there are none."""
    try:
        return content(compiled())
    except FelixpyError as wrong:
        return {"wrong": str(wrong)}


def key_of(item: Manifest) -> tuple[str, ...]:
    metadata = item["metadata"]
    return item["apiVersion"], item["kind"], str(metadata.get("namespace") or ""), metadata["name"]


def placeless(value: Any) -> Any:
    """Profiles without their places: one that is assumed has that of any object that needs it."""
    if isinstance(value, dict):
        return {key: replace(each, source=HERE) if isinstance(each, Profile) else each for key, each in value.items()}
    return value


def content(ruleset: felixpy.Ruleset) -> Content:
    """Everything that the texts of a ruleset are made of: each chain of each table, each set, every finding."""
    chains = {
        (*key, chain.name, place): (chain.bodies, chain.hashes, chain.numbers)
        for key, table in ruleset.tables.items()
        for place, found in (
            ("own", table.chains),
            ("first", table.inserted.values()),
            ("last", table.appended.values()),
        )
        for chain in found
    }
    maps = {key: {name: sorted(table.maps.get(name, {}).items(), key=str) for name in table.maps}
            for key, table in ruleset.tables.items()}  # fmt: skip
    return {"plane": ruleset.dataplane, "chains": chains, "maps": {key: str(each) for key, each in maps.items()},
            "sets": ruleset.ipset_save(), "findings": [*map(str, ruleset.findings)]}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.property.changing", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="sequences of changes; default 10,000")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first one; default 0")
    wanted = parser.parse_args()
    steps, by_object, start = 0, 0, time.monotonic()
    for number in range(wanted.count):
        sequence = Sequence(wanted.first + number)
        try:
            sequence.run()
        except Exception:
            print(f"seed {wanted.first + number}, step {sequence.steps}", file=sys.stderr)
            raise
        steps, by_object = steps + sequence.steps, by_object + sequence.by_object
        if number % 100 == 99:
            told = f"{number + 1} sequences, {steps} steps compared, {by_object} of them taken object by object"
            print(f"{told}, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
