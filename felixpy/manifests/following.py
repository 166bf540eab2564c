"""A cluster that is updated as documents change.

A step does for the changed documents what loading does for all. If a document may affect others, all documents are
loaded again: objects that install Calico, workloads and the pods made for them, duplicate objects, changes in which
namespaces are assumed, and any change after a step with errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from felixpy.errors import InputError, Problem
from felixpy.manifests.completion.assumptions import needs
from felixpy.manifests.completion.installation import installs
from felixpy.manifests.completion.workloads import is_unplaced
from felixpy.manifests.kinds import Key, known
from felixpy.manifests.loading import Loaded, Options, load_documents
from felixpy.manifests.passes.convert import convert_object
from felixpy.manifests.passes.remarks import Remark, Remarked
from felixpy.manifests.passes.validate import validate
from felixpy.manifests.reading.documents import Document, Reading, no_garbage_collection
from felixpy.manifests.reading.places import Places, Texts
from felixpy.model import Cluster

Documents = Mapping[Any, Document]
"""Documents of one file or resource, by an identity that is unique there."""

Changes = Mapping[str, Mapping[Any, Document | None]]
"""Documents that came or changed, by file or resource; None for one that is gone."""

Pair = tuple[Any, Any]
"""An object of the model before and after, None if it was added or removed."""

PLACED = frozenset({"Pod", "Node", "IPPool", "HostEndpoint", "WorkloadEndpoint"})
"""Kinds that decide which nodes and addresses pods get that have none."""

MOST_CONVERTED = 10_000
"""After so many objects the cache of parts that pods share is cleared, so that removed pods free their memory."""

_NAMESPACE, _ACCOUNT = "Namespace", "ServiceAccount"


class Step(NamedTuple):
    """The result of changes of documents.

    `changes` are the (old, new) pairs of all changed objects, or None if everything was loaded again; `problems` are
    warnings about the changed objects. The warnings in `cluster` are those of the last complete load.
    """

    cluster: Cluster
    changes: list[Pair] | None
    problems: tuple[Problem, ...]


class _Everything(Exception):
    """Raised if a change may affect other documents, so that all have to be loaded again."""


class Following:
    """Documents, and their cluster: the same as loading all of them gives, except for its warnings.

    `readings` are the results of reading the files, by name. Raises InputError with all problems.
    """

    def __init__(
        self, groups: Mapping[str, Documents], options: Options, readings: Mapping[str, Reading] | None = None
    ) -> None:
        self._options = options
        self._state: _State | None = None
        self._groups: dict[str, dict[Hashable, Document]] = {}
        self._readings: dict[str, Reading] = {}
        self._cluster = Cluster()
        self.restart(groups, readings or {})

    def restart(self, groups: Mapping[str, Documents], readings: Mapping[str, Reading]) -> Step:
        """Replace all documents."""
        self._groups = {name: dict(documents) for name, documents in groups.items()}
        self._readings = dict(readings)
        return self._load()

    @property
    def cluster(self) -> Cluster:
        """The cluster after the last step that raised nothing."""
        return self._cluster

    def documents(self, group: str) -> Documents:
        """The documents of a file or resource."""
        return self._groups.get(group, {})

    def take(self, changes: Changes, readings: Mapping[str, Reading] | None = None) -> Step:
        """Apply changes of documents; `readings` are those of the files that contain them.

        Raises InputError with the problems of the changed documents, or of all documents if everything has to be loaded
        again; the cluster is then unchanged, and the changes are part of the next step.
        """
        before = [
            known for group, listed in changes.items() for key in listed if (known := self.documents(group).get(key))
        ]
        after = [document for listed in changes.values() for document in listed.values() if document]
        for group, listed in changes.items():
            documents = self._groups.setdefault(group, {})
            for key, document in listed.items():
                if document:
                    documents[key] = document
                else:
                    documents.pop(key, None)
        self._readings |= readings or {}
        problems = [problem for reading in (readings or {}).values() for problem in reading.problems]
        if self._state is None or any(problem.severity == "error" for problem in problems):
            return self._load()
        try:
            step = self._state.step(before, after, self._cluster, Places(self._texts()))
        except _Everything:
            return self._load()
        except BaseException:
            self._state = None
            raise
        self._cluster = step.cluster
        return step

    def _texts(self) -> Texts:
        return Texts({name: file for reading in self._readings.values() for name, file in reading.texts.files.items()})

    def _load(self) -> Step:
        """Load all documents."""
        self._state = None
        whole = Reading(
            documents=[document for listed in self._groups.values() for document in listed.values()],
            problems=[problem for reading in self._readings.values() for problem in reading.problems],
            texts=self._texts(),
            starts={name: at for reading in self._readings.values() for name, at in reading.starts.items()},
        )
        with no_garbage_collection():
            loaded = load_documents(whole, self._options)
            self._state = _State(loaded, self._options, whole.documents)
        self._cluster = loaded.cluster
        return Step(self._cluster, None, self._cluster.warnings)


class _State:
    """The results of the passes for all documents, updated step by step."""

    def __init__(self, loaded: Loaded, options: Options, documents: list[Document]) -> None:
        self._options, self._pods, self._converted = options, loaded.pods.anew(), 0
        self._objects = {key: found for key, found in loaded.objects.items() if isinstance(found, Document)}
        self._parts = loaded.parts
        given = Counter(document.source for document in documents)
        self._assumed = loaded.assumed
        self._keys = {
            document.source: key for key, document in self._objects.items()
            if given.get(document.source) == 1 and not self._is_assumed(key)
        }  # fmt: skip
        """Objects by place; only those that are given once and come from one document."""
        self._twice = _given_twice(loaded)
        self._needed: Counter[tuple[str, str]] = Counter()
        for document in self._objects.values():
            self._needed.update(_names(document))
        kinds = {key.kind.name for key in loaded.objects}
        installs_by_operator = any(document.data["kind"] == "Installation" for document in loaded.sound.documents)
        self._entangled = {
            *(PLACED if loaded.expanded else ()),
            *(("IPPool",) if installs_by_operator else ()),
            *(("Pod", "WorkloadEndpoint") if "WorkloadEndpoint" in kinds else ("WorkloadEndpoint",)),
            *(("Node",) if loaded.sound.printed else ()),
        }
        """Kinds that reach other objects in this input."""

    def step(self, before: list[Document], after: list[Document], cluster: Cluster, places: Places) -> Step:
        """Replace documents. Raises _Everything before any change; after InputError the state must not be used."""
        remarked = Remarked(self._options.strict)
        sound = remarked.keep(validate(after, lambda source: f"document {source.line}"))
        if remarked.failed:
            raise InputError(remarked.problems(places))
        gone = [self._key(document) for document in before]
        came = [self._new_key(document) for document in sound.documents]
        alone = len(came) == len(after) == len({*came}) and not any(key in self._objects for key in {*came} - {*gone})
        if sound.printed or not alone:
            raise _Everything
        self._check_assumptions(before=gone, after=sound.documents)
        pairs = self._replaced(gone, dict(zip(came, sound.documents, strict=True)), remarked)
        self._note(gone, before, came, sound.documents)
        touched = {*(part for _, part in pairs), *(key.kind.part for key in (*gone, *came))}
        if touched & {"tiers", "policies"}:
            self._doubt(remarked)
        problems = remarked.problems(places)
        if remarked.failed:
            raise InputError(problems)
        fields = self._parts.fields(touched)
        changes = [pair for (_, part), pair in pairs.items() if part != "host_endpoints"]
        if "host_endpoints" in fields:
            changes += _differing(cluster.host_endpoints, fields["host_endpoints"])
        warnings = tuple(problem for problem in problems if problem.severity == "warning")
        return Step(replace(cluster, **fields, texts=places.texts, where=places.find), changes, warnings)

    def _replaced(
        self, gone: list[Key], came: Mapping[Key, Document], remarked: Remarked
    ) -> dict[tuple[Key, str], Pair]:
        """The (old, new) pairs of objects, by key and the part of the cluster that they are in."""
        pairs: dict[tuple[Key, str], Pair] = {}
        for key in gone:
            for part in _parts_of(key):
                if (old := self._parts.replace(key, part, None)) is not None:
                    pairs[key, part] = (old, None)
        self._converted += len(came)
        if self._converted > MOST_CONVERTED:
            self._converted, self._pods = 0, self._pods.anew()
        for key, document in came.items():
            part, converted, remark = convert_object(key, document, self._pods)
            remarked.keep((None, [remark] if remark else []))
            if converted is not None:
                self._parts.replace(key, part, converted)
                old, _ = pairs.get((key, part), (None, None))
                pairs[key, part] = (old, converted)
        return pairs

    def _doubt(self, remarked: Remarked) -> None:
        for key, finding in self._parts.unknown_tiers():
            remarked.keep((None, [Remark(self._objects[key].source, str(key), finding)]))

    def _key(self, document: Document) -> Key:
        """The key of an object that is known."""
        key = self._keys.get(document.source)
        if key is None or key in self._twice or self._objects[key].source != document.source:
            raise _Everything
        self._check_alone(self._objects[key])
        return key

    def _new_key(self, document: Document) -> Key:
        self._check_alone(document)
        data = document.data
        kind = known()[data["apiVersion"], data["kind"]]
        metadata = data["metadata"]
        return Key(metadata["namespace"] if kind.namespaced else "", metadata["name"], kind)

    def _check_alone(self, document: Document) -> None:
        """Raise _Everything for a document that affects others."""
        data = document.data
        kind = known().get((data["apiVersion"], data["kind"]))
        if kind is None or kind.name in self._entangled or installs(data):
            raise _Everything
        if self._options.expanding and is_unplaced(data):
            raise _Everything

    def _check_assumptions(self, before: list[Key], after: list[Document]) -> None:
        """Raise _Everything if the set of assumed namespaces and service accounts changes."""
        needed: Counter[tuple[str, str]] = Counter()
        for document in after:
            needed.update(_names(document))
        for key in before:
            needed.subtract(_names(self._objects[key]))
        came = {_identity(key) for key in map(self._new_key, after) if key.kind.name in (_NAMESPACE, _ACCOUNT)}
        gone = {_identity(key) for key in before if key.kind.name in (_NAMESPACE, _ACCOUNT)}
        for name in {*needed, *came, *gone}:
            given = name in came or (name not in gone and name not in self._assumed and self._is_object(name))
            if (self._needed[name] + needed[name] > 0 and not given) != (name in self._assumed):
                raise _Everything
        self._needed.update(needed)
        self._needed += Counter()

    def _is_assumed(self, key: Key) -> bool:
        return key.kind.name in (_NAMESPACE, _ACCOUNT) and _identity(key) in self._assumed

    def _is_object(self, name: tuple[str, str]) -> bool:
        namespace, account = name
        kind = known()["v1", _ACCOUNT if account else _NAMESPACE]
        return (Key(namespace, account, kind) if account else Key("", namespace, kind)) in self._objects

    def _note(self, gone: list[Key], before: list[Document], came: list[Key], after: list[Document]) -> None:
        """Record the current objects."""
        for key, document in zip(gone, before, strict=True):
            del self._objects[key]
            self._keys.pop(document.source, None)
            if key.kind.part == "nodes":
                self._parts.put_node(key.name, None)
        for key, document in zip(came, after, strict=True):
            self._objects[key] = document
            self._keys[document.source] = key
            if key.kind.part == "nodes":
                self._parts.put_node(key.name, document)


def _parts_of(key: Key) -> tuple[str, ...]:
    """The parts of a cluster where an object may be."""
    return ("workloads", "host_pods") if key.kind.name == "Pod" else (key.kind.part,)


def _names(document: Document) -> Iterator[tuple[str, str]]:
    """The namespace that an object needs, and the service account."""
    if needed := needs(document.data):
        namespace, account = needed
        yield namespace, ""
        if account:
            yield namespace, account


def _identity(key: Key) -> tuple[str, str]:
    """A namespace or service account as `_names` gives them."""
    return (key.name, "") if key.kind.name == _NAMESPACE else (key.namespace, key.name)


def _given_twice(loaded: Loaded) -> set[Key]:
    """Objects that several documents give."""
    counts: Counter[Key] = Counter()
    table = known()
    for document in loaded.sound.documents:
        data = document.data
        if kind := table.get((data["apiVersion"], data["kind"])):
            metadata = data["metadata"]
            counts[Key(metadata["namespace"] if kind.namespaced else "", metadata["name"], kind)] += 1
    return {key for key, count in counts.items() if count > 1}


def _differing(before: tuple[Any, ...], after: tuple[Any, ...]) -> Iterator[Pair]:
    """(old, new) pairs of named objects that were added, removed or changed."""
    old, new = ({each.name: each for each in listed} for listed in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) is not new.get(name) and old.get(name) != new.get(name):
            yield old.get(name), new.get(name)
