"""Manifests → model: the only place that knows the fields of manifests.

reading     files, folders and archives → documents, each with its place; `jsonstream`, `yamlstream` and `blocks` are
            fast parsers that fall back to the exact ones, `jsontext` and `yamltext`
validation  the schema of documents, and messages for documents that do not match
completion  what the input leaves out: pods of workloads, nodes of pods, namespaces that must exist
objects     each kind: its fields, and its conversion to the model
kinds       the table of kinds
loading     the sequence of passes: read → validate → expand → assume → index → convert
passes      the passes over all documents; each returns (values, problems)
assembly    checks between objects, and building the cluster
following   a cluster that is updated as documents change
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, TextIO, cast

from felixpy.manifests.loading import Options, load_cluster
from felixpy.manifests.objects.hosts import load_host
from felixpy.manifests.reading.files import File
from felixpy.manifests.reading.objects import Given, KindObjects
from felixpy.model import Cluster
from felixpy.reading import read_stdin

__all__ = ["load", "load_host"]

Source = Given | Mapping[str, Any] | TextIO
"""What can be read: a path, an object or several of them, an open file."""


def _inputs(given: Source | Sequence[Source]) -> list[Given]:
    if isinstance(given, (str, os.PathLike, Mapping, File, KindObjects)) or hasattr(given, "read"):
        given = cast("Sequence[Source]", [given])
    return [_input(each, number) for number, each in enumerate(given, start=1)]


def _input(given: Source, number: int) -> Given:
    if isinstance(given, Mapping):
        return File(f"<object {number}>", json.dumps(given), True)
    if isinstance(given, (str, os.PathLike, File, KindObjects)):
        return given
    return File(str(getattr(given, "name", f"<file {number}>")), read_stdin(given).decode(), True)


def load(
    paths: Source | Sequence[Source] = (),
    *,
    node: str | None = None,
    expand: bool = True,
    strict: bool | None = None,
    interface_prefix: str = "",
    stdin: TextIO | None = None,
) -> Cluster:
    """Read manifests and return the cluster that they describe.

    `paths` are files, directories (searched for .yaml, .yml, .json, .jsonl and .ndjson, each also with .gz) and "-" for
    `stdin`; none at all means the current directory. Gzip is recognised by its content. An object as a dict, or an open
    file, may stand in place of a path, and one of them in place of the list. Workloads such as Deployments become pods
    unless `expand` is false; pods that say no node run on `node`. What the API server would refuse, such as unknown
    fields, is an error, or a warning if `strict` is false and the object can still be read. Namespaces and service
    accounts that had to be assumed are warnings, errors if
    `strict` is true. Names of pods' interfaces begin with `interface_prefix`, else with what the
    environment of calico-node in the input says, else with ``cali``.

    Raises InputError with everything that was found, warnings included, when anything is an error. Otherwise the
    warnings are in the cluster.

    >>> from io import StringIO
    >>> cluster = load(["-"], stdin=StringIO("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"))
    >>> cluster.profiles["kns.shop"].labels["pcns.projectcalico.org/name"]
    'shop'
    """
    options = Options(node=node, expanding=expand, strict=strict, interface_prefix=interface_prefix)
    return load_cluster(_inputs(paths), options, stdin)
