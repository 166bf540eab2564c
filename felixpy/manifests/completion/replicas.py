"""The pods that the controllers of workloads would make: how many, with which names and labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from msgspec import Struct

from felixpy.errors import Path
from felixpy.model import Source

MAX_REPLICAS = 10_000
"""Most pods that are assumed for one controller: more than any namespace runs, few enough to survive a typo."""

JOB_NAME = "batch.kubernetes.io/job-name"

_PLAIN_SELECTORS = frozenset({"ReplicationController", "DeploymentConfig"})
"""Kinds from before there were label selectors: labels by themselves, those of the template if none are given."""


class Odd(Exception):
    """A controller that cannot be expanded: where and why."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason


class Replica(NamedTuple):
    """A pod to make: its name (if `generated`, without the five random letters), added labels, and fixed node."""

    name: str
    labels: Mapping[str, str]
    generated: bool = True
    node: str = ""


class Controller(Struct, frozen=True):
    """A Deployment or other workload.

    `spec` is the one that describes the pods, for a CronJob that of its Job; `at` is its path.
    """

    version: str
    kind: str
    namespace: str
    name: str
    spec: Mapping[str, Any]
    at: tuple[str, ...]
    source: Source
    owners: frozenset[tuple[str, str]]
    idle: bool = False
    """Suspended, or done already."""

    @property
    def identity(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def inside(self, *steps: str) -> Mapping[str, Any]:
        """The mapping at a path below spec, empty if it is absent."""
        return mapping(self.spec, steps, self.at)

    def count(self, name: str) -> int:
        """The number of pods in a field; 1 if it is absent."""
        number = self.spec.get(name)
        if number is None:
            return 1
        if type(number) is not int or number < 0:
            raise Odd((*self.at, name), "a number of pods is expected")
        if number > MAX_REPLICAS:
            raise Odd((*self.at, name), f"{number} pods are too many to assume, {MAX_REPLICAS:,} is the most")
        return number

    @property
    def selector(self) -> object:
        """The label selector, in the form of newer kinds."""
        given = self.spec.get("selector")
        if self.kind in _PLAIN_SELECTORS:
            return {"matchLabels": given or self.inside("template", "metadata", "labels")}
        return given

    def revision(self) -> str:
        """The template hash in names and labels of pods: ten characters computed from the template."""
        return _digest(json.dumps(self.inside("template"), sort_keys=True)).hex()[:10]


def parsed(data: Mapping[str, Any], source: Source) -> Controller:
    """Parse the fields of a controller that its pods depend on. Raises Odd."""
    metadata = mapping(data, ("metadata",))
    name = metadata.get("name")
    if not name or not isinstance(name, str):
        raise Odd(("metadata", "name"), "is missing" if not name else "text is expected")
    at: tuple[str, ...] = ("spec",)
    idle = bool(mapping(data, at).get("suspend")) or _is_done(mapping(data, ("status",)))
    if data["kind"] == "CronJob":
        at = ("spec", "jobTemplate", "spec")
    spec = mapping(data, at)
    if not mapping(spec, ("template", "spec"), at):
        raise Odd((*at, "template"), "the template of its pods is missing")
    mapping(spec, ("template", "metadata", "labels"), at)
    namespace = str(metadata.get("namespace") or "default")
    return Controller(data["apiVersion"], data["kind"], namespace, name, spec, at, source, owners(metadata), idle)


def mapping(data: Mapping[str, Any], steps: Sequence[str], above: Path = ()) -> Mapping[str, Any]:
    """The mapping at a path, empty if it is absent. Raises Odd if it is not a mapping."""
    for number, step in enumerate(steps, 1):
        value = data.get(step)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Odd((*above, *steps[:number]), "a mapping is expected")
        data = value
    return data


def _is_done(status: Mapping[str, Any]) -> bool:
    """Whether a Job has run; its pods have no addresses any more."""
    ended = {"type": ("Complete", "Failed"), "status": ("True",)}
    conditions = mappings(status.get("conditions"))
    return any(all(condition.get(key) in values for key, values in ended.items()) for condition in conditions)


def owners(metadata: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """(kind, name) of an object's owners."""
    references = mappings(metadata.get("ownerReferences"))
    complete = (each for each in references if each.get("kind") and each.get("name"))
    return frozenset((str(each["kind"]), str(each["name"])) for each in complete)


def mappings(value: object) -> list[dict[str, Any]]:
    """The mappings in a list; [] for a value that is not a list, in fields that are not validated."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


# --- the pods of each kind


def _of_deployment(controller: Controller, nodes: Sequence[str]) -> Iterator[Replica]:
    """The pods of its ReplicaSet; the label pod-template-hash distinguishes those of different templates."""
    revision = controller.revision()
    for _ in range(controller.count("replicas")):
        yield Replica(f"{controller.name}-{revision}-", {"pod-template-hash": revision})


def _of_replica_set(controller: Controller, nodes: Sequence[str]) -> Iterator[Replica]:
    """The pods of a ReplicaSet without Deployment, or of a ReplicationController: no label is added."""
    for _ in range(controller.count("replicas")):
        yield Replica(f"{controller.name}-", {})


def _of_deployment_config(controller: Controller, nodes: Sequence[str]) -> Iterator[Replica]:
    """The pods of an OpenShift DeploymentConfig: those of its first ReplicationController."""
    first = f"{controller.name}-1"
    for _ in range(controller.count("replicas")):
        yield Replica(f"{first}-", {"deployment": first, "deploymentconfig": controller.name})


def _of_stateful_set(controller: Controller, nodes: Sequence[str]) -> Iterator[Replica]:
    start = controller.inside("ordinals").get("start") or 0
    if type(start) is not int:
        raise Odd((*controller.at, "ordinals", "start"), "a number is expected")
    revision = f"{controller.name}-{controller.revision()}"
    for index in range(start, start + controller.count("replicas")):
        name = f"{controller.name}-{index}"
        labels = {"apps.kubernetes.io/pod-index": str(index), "controller-revision-hash": revision}
        yield Replica(name, {**labels, "statefulset.kubernetes.io/pod-name": name}, generated=False)


def _of_daemon_set(controller: Controller, nodes: Sequence[str]) -> Iterator[Replica]:
    labels = {"controller-revision-hash": controller.revision(), "pod-template-generation": "1"}
    for node in nodes:
        yield Replica(f"{controller.name}-", labels, node=node)


def _of_job(controller: Controller, nodes: Sequence[str]) -> Iterator[Replica]:
    """The pods of a Job that run at a time; those of an indexed Job have numbers."""
    name = controller.name
    if controller.kind == "CronJob":
        minute = int.from_bytes(_digest(controller.identity)[:4], "big") % 10**6
        name = f"{name}-{28 * 10**6 + minute}"
    running = controller.count("parallelism")
    completions = controller.spec.get("completions")
    if type(completions) is int:
        running = min(running, completions)
    for index in range(running):
        labels = {JOB_NAME: name, "job-name": name}
        if controller.spec.get("completionMode") == "Indexed":
            labels |= {"batch.kubernetes.io/job-completion-index": str(index)}
            yield Replica(f"{name}-{index}-", labels)
        else:
            yield Replica(f"{name}-", labels)


_MAKERS: Mapping[tuple[str, str], Callable[[Controller, Sequence[str]], Iterator[Replica]]] = {
    ("apps/v1", "Deployment"): _of_deployment,
    ("apps/v1", "StatefulSet"): _of_stateful_set,
    ("apps/v1", "DaemonSet"): _of_daemon_set,
    ("apps/v1", "ReplicaSet"): _of_replica_set,
    ("v1", "ReplicationController"): _of_replica_set,
    ("apps.openshift.io/v1", "DeploymentConfig"): _of_deployment_config,
    ("batch/v1", "Job"): _of_job,
    ("batch/v1", "CronJob"): _of_job,
}
KINDS = frozenset(_MAKERS)
"""apiVersion and kind of what becomes pods."""


def replicas(controller: Controller, nodes: Sequence[str]) -> list[Replica]:
    """The pods that a cluster with these nodes would run for it. Raises Odd."""
    return [] if controller.idle else list(_MAKERS[controller.version, controller.kind](controller, nodes))
