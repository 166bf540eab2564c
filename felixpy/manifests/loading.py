"""Loading: read → validate → expand → assume → index → convert.

Each pass is a pure function that returns (values, problems); `Remarked` keeps the problems of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from felixpy.errors import InputError, Problem
from felixpy.manifests.completion.assumptions import assume
from felixpy.manifests.completion.installation import Installed, installed
from felixpy.manifests.completion.owners import Owners
from felixpy.manifests.completion.workloads import expand
from felixpy.manifests.objects.pods import Pods
from felixpy.manifests.passes.convert import convert
from felixpy.manifests.passes.index import index
from felixpy.manifests.passes.remarks import Remark, Remarked
from felixpy.manifests.passes.validate import validate
from felixpy.manifests.reading.documents import Document, no_garbage_collection, read, subject
from felixpy.manifests.reading.files import Input
from felixpy.manifests.reading.places import Places
from felixpy.model import Cluster

DEFAULT_PREFIX = "cali"
"""What names of pods' interfaces begin with unless Felix's environment says something else."""


def load_cluster(
    paths: Sequence[Input],
    *,
    node: str | None,
    expanding: bool,
    strict: bool | None,
    interface_prefix: str,
    stdin: TextIO | None,
) -> Cluster:
    """All passes, one after the other; `felixpy.load` says what the arguments mean.

    Raises InputError with all problems when one of them is an error.
    """
    remarked = Remarked(strict)
    with no_garbage_collection():
        reading = read(paths, stdin=stdin)
        sound = remarked.keep(validate(remarked.keep((reading.documents, reading.problems)), reading.ordinal))
        installation = remarked.keep(_install(sound.documents))
        sound = remarked.keep(validate([*sound.documents, *installation.pools], reading.ordinal, sound))
        if expanding:
            documents = remarked.keep_unless_failed(expand(sound.documents, node=node))
            sound = remarked.keep(validate(documents, reading.ordinal, sound))
        documents = remarked.keep_unless_failed(_assume(sound.documents, strict=bool(strict)))
        sound = remarked.keep(validate(documents, reading.ordinal, sound))
        objects = remarked.keep(index(sound, reading.starts, used=installation.used, expanded=expanding))
        prefix = interface_prefix or installation.interface_prefix or DEFAULT_PREFIX
        pods = Pods(prefix, Owners(sound.documents))
        parts = remarked.keep(convert(objects, pods, sound.refused))
        places = Places(reading.texts)
        problems = remarked.problems(places)
        if remarked.failed:
            raise InputError(problems)
        return replace(parts.cluster(installation, problems, places.find), texts=places.texts)


def _install(documents: Sequence[Document]) -> tuple[Installed, list[Remark]]:
    """What installs Calico counts as it would on the cluster."""
    found = installed(documents)
    return found, [Remark(document.source, subject(document.data), finding) for document, finding in found.findings]


def _assume(documents: list[Document], *, strict: bool) -> tuple[list[Document], list[Problem]]:
    """Namespaces and service accounts that must exist; `strict` users want to be asked for them."""
    completed, problems = assume(documents)
    return completed, [replace(problem, severity="error") for problem in problems] if strict else problems
