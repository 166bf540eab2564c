"""Loading: read → validate → expand → assume → index → convert.

Each pass is a pure function that returns (values, problems); `Remarked` keeps the problems of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from msgspec import Struct

from felixpy.errors import InputError, Problem
from felixpy.manifests.assembly import Parts
from felixpy.manifests.completion.assumptions import Order, assume, needed_name
from felixpy.manifests.completion.installation import Installed, installed
from felixpy.manifests.completion.owners import Owners
from felixpy.manifests.completion.workloads import expand
from felixpy.manifests.kinds import Key
from felixpy.manifests.objects.pod_facts import Placed
from felixpy.manifests.objects.pods import Pods
from felixpy.manifests.passes.convert import convert
from felixpy.manifests.passes.index import Object, index
from felixpy.manifests.passes.remarks import Remark, Remarked
from felixpy.manifests.passes.sieve import PlacedPods
from felixpy.manifests.passes.validate import Sound, validate
from felixpy.manifests.reading.documents import Document, Progress, Reading, no_garbage_collection, subject
from felixpy.manifests.reading.objects import Given, read_given
from felixpy.manifests.reading.places import Places
from felixpy.model import Cluster

DEFAULT_PREFIX = "cali"
"""What names of pods' interfaces begin with unless Felix's environment says something else."""


class Options(Struct, frozen=True, kw_only=True):
    """How documents are read; `felixpy.load` says what each option means."""

    node: str | None = None
    expanding: bool = True
    strict: bool | None = None
    interface_prefix: str = ""


class Loaded(Struct, frozen=True, kw_only=True):
    """The results of the passes."""

    cluster: Cluster
    installation: Installed
    sound: Sound
    objects: dict[Key, Object]
    expanded: bool
    """Whether pods were made up or placed."""
    assumed: frozenset[tuple[str, str]]
    """Namespaces (name, "") and service accounts (namespace, name) that had to be assumed."""
    pods: Pods
    parts: Parts


def load_cluster(
    given: Sequence[Given], options: Options, stdin: TextIO | None = None, progress: Progress | None = None
) -> Cluster:
    """Read manifests and run all passes. Raises InputError with all problems if one of them is an error."""
    told = {"progress": progress} if progress else {}
    with no_garbage_collection():
        pods = PlacedPods()
        return load_documents(read_given(given, stdin, sieve=pods, **told), options, pods).cluster


def load_documents(reading: Reading, options: Options, placed: PlacedPods | None = None) -> Loaded:
    """Run all passes on what was read. Raises InputError with all problems if one of them is an error.

    `placed` are pods that reading has converted already, without making them documents.
    """
    remarked = Remarked(options.strict)
    documents = placed.without_twins(reading) if placed else reading.documents
    further = placed.all if placed else []
    sound = remarked.keep(validate(remarked.keep((documents, reading.problems)), reading.ordinal))
    installation = remarked.keep(_install(sound.documents))
    sound = remarked.keep(validate([*sound.documents, *installation.pools], reading.ordinal, sound))
    written = sound.documents
    order = _reading_order(reading, written)
    if options.expanding:
        documents = remarked.keep_unless_failed(expand(written, further, node=options.node))
        sound = remarked.keep(validate(documents, reading.ordinal, sound))
    expanded = options.expanding and documents is not written
    known = len(sound.documents)
    documents = remarked.keep_unless_failed(_assume(sound.documents, further, order, strict=bool(options.strict)))
    assumed = frozenset(map(needed_name, documents[known:]))
    sound = remarked.keep(validate(documents, reading.ordinal, sound))
    indexed = index(sound, reading.starts, further, used=installation.used, expanded=options.expanding)
    objects = remarked.keep(indexed)
    prefix = options.interface_prefix or installation.interface_prefix or DEFAULT_PREFIX
    pods = Pods(prefix, Owners(sound.documents))
    parts = remarked.keep(convert(objects, pods, sound.refused))
    places = Places(reading.texts)
    problems = remarked.problems(places)
    if remarked.failed:
        raise InputError(problems)
    cluster = replace(parts.cluster(installation, problems, places.find), texts=places.texts)
    return Loaded(
        cluster=cluster, installation=installation, sound=sound, objects=objects, expanded=expanded, assumed=assumed,
        pods=pods, parts=parts,
    )  # fmt: skip


def _install(documents: Sequence[Document]) -> tuple[Installed, list[Remark]]:
    """The settings in objects that install Calico, and remarks on them."""
    found = installed(documents)
    return found, [Remark(document.source, subject(document.data), finding) for document, finding in found.findings]


def _reading_order(reading: Reading, documents: Sequence[Document]) -> Order:
    """A sort key for the order in which objects were read; documents made later come last."""
    known = set(map(id, documents))

    def order(found: Document | Placed) -> tuple[int, ...]:
        made_up = isinstance(found, Document) and id(found) not in known
        return (1,) if made_up else (0, *reading.order(found.source))

    return order


def _assume(
    documents: list[Document], placed: Sequence[Placed], order: Order, *, strict: bool
) -> tuple[list[Document], list[Problem]]:
    """Add namespaces and service accounts that must exist; with `strict` the warnings become errors."""
    completed, problems = assume(documents, placed, order)
    return completed, [replace(problem, severity="error") for problem in problems] if strict else problems
