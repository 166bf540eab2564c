"""Strangers: pods that are not in the input, one for each selector of a rule, with the fewest labels that match it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, product

from msgspec import structs

from felixpy.model import (
    NAMESPACE_LABEL,
    NAMESPACE_PREFIX,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    SERVICE_ACCOUNT_PREFIX,
    Cluster,
    Profile,
    Rule,
    Source,
    Workload,
)
from felixpy.selector import And, Everything, LabelTest, Node, Not, Or, matches, parse

NODE = "not in the input"
"""The node of these pods, which the input does not have."""

MOST_WAYS = 64
"""The most ways to satisfy a selector that are tried."""

NAMES = ("kubernetes.io/metadata.name", "projectcalico.org/name")
"""Labels that every namespace has: its name."""

OF_EVERY_POD = frozenset({ORCHESTRATOR_LABEL, NAMESPACE_LABEL, *(f"{NAMESPACE_PREFIX}{name}" for name in NAMES)})
"""Labels that selectors see of every pod."""

Wanted = Mapping[str, str | None]
"""Labels with the value that a selector requires, None for labels that must not be there."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A pod that is not in the input. `namespace` is "" for any; it has exactly the labels given."""

    namespace: str = ""
    namespace_labels: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    account: str = ""
    account_labels: tuple[tuple[str, str], ...] = ()
    bare: bool = False
    """Whether it is the pod without labels; a pod of which nothing at all is known is any pod."""
    example_of: str = field(default="", compare=False)
    """The selector that it satisfies, where others with other labels do so, too; in words of Kubernetes."""

    def __str__(self) -> str:
        """``any pod``, ``pods with app=web in namespaces with team=a``, ``any pod in namespace monitoring``."""
        if self.bare:
            return "pods without labels in namespaces without labels"
        pods = f"pods with {_spelled(self.labels)}" if self.labels else "any pod"
        if self.account:
            pods += f" of service account {self.account}"
        if self.account_labels:
            pods += f" of service accounts with {_spelled(self.account_labels)}"
        example = f" (such as all with {self.example_of})" if self.example_of else ""
        if self.namespace:
            return f"{pods} in namespace {self.namespace}{example}"
        if self.namespace_labels:
            return f"{pods} in namespaces with {_spelled(self.namespace_labels)}{example}"
        return pods + example

    def json(self) -> dict[str, object]:
        found: dict[str, object] = {
            "namespace": self.namespace,
            "namespaceLabels": dict(self.namespace_labels),
            "podLabels": dict(self.labels),
            "serviceAccount": self.account,
            "serviceAccountLabels": dict(self.account_labels),
            "exampleOf": self.example_of,
        }
        return {key: value for key, value in found.items() if value}


ANYBODY = Stranger()
BARE = Stranger(bare=True)


def _spelled(labels: Iterable[tuple[str, str]]) -> str:
    return ",".join(f"{key}={value}" if value else key for key, value in labels)


def strangers(cluster: Cluster, selectors: Iterable[str]) -> list[Stranger]:
    """The distinct strangers for selectors that a pod can match, preceded by the one without labels."""
    found: dict[Stranger, None] = {BARE: None}
    for text in dict.fromkeys(selectors):
        node = parse(text)
        for wanted in islice(_ways(node, True), MOST_WAYS):
            stranger = _stranger(wanted)
            if stranger == ANYBODY:
                break
            if stranger and matches(node, all_labels(cluster, stranger)):
                told = "" if _is_plain(node) else _condition(node)
                found.setdefault(replace(stranger, example_of=told))
                break
    return list(found)


def _is_plain(node: Node) -> bool:
    """Whether a selector is a conjunction of ``label == value``."""
    if isinstance(node, And):
        return all(map(_is_plain, node.operands))
    return isinstance(node, Everything) or (isinstance(node, LabelTest) and node.operator == "==")


INHERITED = ((NAMESPACE_PREFIX, "namespace "), (SERVICE_ACCOUNT_PREFIX, "service account "))


def _condition(node: Node) -> str:
    """A selector in words, without conditions that every Kubernetes pod meets; namespace labels are marked as such."""
    parts = node.operands if isinstance(node, And) else (node,)
    flat = [each for part in parts for each in (part.operands if isinstance(part, And) else (part,))]
    told = [str(each) for each in flat if not (isinstance(each, LabelTest) and each.label in OF_EVERY_POD)]
    text = " && ".join(told)
    for prefix, words in INHERITED:
        text = text.replace(prefix, words)
    return text


def _stranger(wanted: Wanted) -> Stranger | None:
    """The stranger with these labels; None if no Kubernetes pod can have them."""
    given = {key: value for key, value in wanted.items() if value is not None}
    if given.pop(ORCHESTRATOR_LABEL, "k8s") != "k8s":
        return None
    namespace, account = given.pop(NAMESPACE_LABEL, ""), given.pop(SERVICE_ACCOUNT_LABEL, "")
    inherited = {
        prefix: {key.removeprefix(prefix): given.pop(key) for key in [*given] if key.startswith(prefix)}
        for prefix in (NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX)
    }
    spaces = inherited[NAMESPACE_PREFIX]
    for name in NAMES:
        named = spaces.pop(name, "")
        if named and namespace and named != namespace:
            return None
        namespace = namespace or named
    return Stranger(
        namespace, tuple(sorted(spaces.items())), tuple(sorted(given.items())), account,
        tuple(sorted(inherited[SERVICE_ACCOUNT_PREFIX].items())),
    )  # fmt: skip


def _name(stranger: Stranger) -> str:
    """A name for the stranger's namespace that the input does not use."""
    return stranger.namespace or "felixpy-stranger"


def all_labels(cluster: Cluster, stranger: Stranger) -> dict[str, str]:
    """The labels that selectors see, inherited ones included; for a namespace of the input these are its labels."""
    return {**_profile(cluster, stranger).labels, **_own(stranger)}


def _own(stranger: Stranger) -> dict[str, str]:
    accounts = {f"{SERVICE_ACCOUNT_PREFIX}{key}": value for key, value in stranger.account_labels}
    account = {SERVICE_ACCOUNT_LABEL: stranger.account} if stranger.account else {}
    return {**dict(stranger.labels), **accounts, **account, NAMESPACE_LABEL: _name(stranger), ORCHESTRATOR_LABEL: "k8s"}


def _profile(cluster: Cluster, stranger: Stranger) -> Profile:
    known = cluster.profiles.get(f"kns.{stranger.namespace}") if stranger.namespace else None
    if known:
        return known
    name = _name(stranger)
    labels = {**dict.fromkeys(NAMES, name), **dict(stranger.namespace_labels)}
    prefixed = {f"{NAMESPACE_PREFIX}{key}": value for key, value in labels.items()}
    allow = (Rule(action="allow"),)
    return Profile(name=f"kns.{name}", inbound=allow, outbound=allow, labels=prefixed, source=Source("", 0))


def invited(cluster: Cluster, guests: Iterable[Stranger], addresses: Iterable[Mapping[int, str]]) -> Cluster:
    """The cluster with strangers added, on a separate node, in one namespace for each set of namespace labels."""
    profiles = dict(cluster.profiles)
    pods = []
    for number, (guest, own) in enumerate(zip(guests, addresses, strict=False)):
        profile = _profile(cluster, guest)
        if profile.name not in cluster.profiles:
            profile = structs.replace(profile, name=f"{profile.name}.{number}")
            profiles[profile.name] = profile
        name = pod_name(number)
        pods.append(
            Workload(
                _name(guest),
                name,
                NODE,
                f"cali{number:011x}",
                tuple(own.values()),
                _own(guest),
                (profile.name,),
                (),
                Source("", 0),
            )
        )  # fmt: skip
    return replace(cluster, workloads=(*cluster.workloads, *pods), profiles=profiles)


def pod_name(number: int) -> str:
    """The pod name of the stranger with a number."""
    return f"stranger-{number}"


# --- labels that satisfy a selector


def _ways(node: Node, wanted: bool) -> Iterator[Wanted]:
    """Sets of labels that make a selector true (or false), simplest first, without contradictory ones."""
    if isinstance(node, Everything):
        if wanted:
            yield {}
    elif isinstance(node, Not):
        yield from _ways(node.operand, not wanted)
    elif isinstance(node, LabelTest):
        yield from _values(node, wanted)
    else:
        together = isinstance(node, And) is wanted
        operands = node.operands if isinstance(node, And | Or) else ()
        if together:
            for ways in product(*(list(islice(_ways(each, wanted), MOST_WAYS)) for each in operands)):
                merged = _merged(ways)
                if merged is not None:
                    yield merged
        else:
            for each in operands:
                yield from _ways(each, wanted)


def _merged(ways: Iterable[Wanted]) -> Wanted | None:
    """The union of sets of labels, None if they contradict each other."""
    found: dict[str, str | None] = {}
    for way in ways:
        for key, value in way.items():
            if found.setdefault(key, value) != value:
                return None
    return found


SOME = "x"


def _values(test: LabelTest, wanted: bool) -> Iterator[Wanted]:
    """Values of one label that make a condition true or false; labels that every pod has need none."""
    if test.operator == "has" and test.label in OF_EVERY_POD:
        if wanted:
            yield {}
        return
    operand = test.operand if isinstance(test.operand, str) else ""
    several = test.operand if isinstance(test.operand, tuple) else ()
    candidates: list[str | None] = [None, SOME, *several, operand, f"{SOME}{operand}", f"{operand}{SOME}"]
    for value in dict.fromkeys(candidates):
        if matches(test, {} if value is None else {test.label: value}) is wanted:
            yield {test.label: value}
