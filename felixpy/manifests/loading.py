"""Loading: read → validate → expand → assume → index → convert.

Each pass is a pure function that returns (values, problems); `Remarked` keeps the problems of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TextIO

from felixpy.errors import InputError, Problem
from felixpy.manifests.assembly import Parts
from felixpy.manifests.completion.assumptions import assume, needed_name
from felixpy.manifests.completion.installation import Installed, installed
from felixpy.manifests.completion.owners import Owners
from felixpy.manifests.completion.workloads import expand
from felixpy.manifests.kinds import Key
from felixpy.manifests.objects.pods import Pods
from felixpy.manifests.passes.convert import convert
from felixpy.manifests.passes.index import index
from felixpy.manifests.passes.remarks import Remark, Remarked
from felixpy.manifests.passes.validate import Sound, validate
from felixpy.manifests.reading.documents import Document, Reading, no_garbage_collection, subject
from felixpy.manifests.reading.objects import Given, read_given
from felixpy.manifests.reading.places import Places
from felixpy.model import Cluster

DEFAULT_PREFIX = "cali"
"""What names of pods' interfaces begin with unless Felix's environment says something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How documents are read; `felixpy.load` says what each option means."""

    node: str | None = None
    expanding: bool = True
    strict: bool | None = None
    interface_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the passes made of documents."""

    cluster: Cluster
    installation: Installed
    sound: Sound
    objects: dict[Key, Document]
    expanded: bool
    """Whether pods were made up or placed."""
    assumed: frozenset[tuple[str, str]]
    """Namespaces (name, "") and service accounts (namespace, name) that had to be assumed."""
    pods: Pods
    parts: Parts


def load_cluster(given: Sequence[Given], options: Options, stdin: TextIO | None = None) -> Cluster:
    """Read, and all passes, one after the other. Raises InputError with all problems when one of them is an error."""
    with no_garbage_collection():
        return load_documents(read_given(given, stdin), options).cluster


def load_documents(reading: Reading, options: Options) -> Loaded:
    """All passes over what was read. Raises InputError with all problems when one of them is an error."""
    remarked = Remarked(options.strict)
    sound = remarked.keep(validate(remarked.keep((reading.documents, reading.problems)), reading.ordinal))
    installation = remarked.keep(_install(sound.documents))
    sound = remarked.keep(validate([*sound.documents, *installation.pools], reading.ordinal, sound))
    written = sound.documents
    if options.expanding:
        documents = remarked.keep_unless_failed(expand(written, node=options.node))
        sound = remarked.keep(validate(documents, reading.ordinal, sound))
    expanded = options.expanding and documents is not written
    known = len(sound.documents)
    documents = remarked.keep_unless_failed(_assume(sound.documents, strict=bool(options.strict)))
    assumed = frozenset(map(needed_name, documents[known:]))
    sound = remarked.keep(validate(documents, reading.ordinal, sound))
    objects = remarked.keep(index(sound, reading.starts, used=installation.used, expanded=options.expanding))
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
    """What installs Calico counts as it would on the cluster."""
    found = installed(documents)
    return found, [Remark(document.source, subject(document.data), finding) for document, finding in found.findings]


def _assume(documents: list[Document], *, strict: bool) -> tuple[list[Document], list[Problem]]:
    """Namespaces and service accounts that must exist; `strict` users want to be asked for them."""
    completed, problems = assume(documents)
    return completed, [replace(problem, severity="error") for problem in problems] if strict else problems
