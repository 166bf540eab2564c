"""Manifests → model: the only place that knows how fields are spelt.

documents           text → plain dicts with their places
workloads, assumptions  pods of Deployments and the like; namespaces and accounts that must exist
hosts               the file that describes a node's machine
kinds               what a kind of object may say (shapes) and what becomes of it (converters)
loading, assembly   documents judged one by one, and put together
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from felixpy.manifests.files import Input
from felixpy.manifests.hosts import load_host
from felixpy.manifests.loading import Loading
from felixpy.model import Cluster

__all__ = ["load", "load_host"]


def load(
    paths: Sequence[Input] = (),
    *,
    node: str | None = None,
    expand: bool = True,
    strict: bool | None = None,
    interface_prefix: str = "",
    stdin: TextIO | None = None,
) -> Cluster:
    """Read manifests and say what they mean to Felix.

    `paths` are files, directories (searched for .yaml, .yml and .json) and "-" for `stdin`; none at all means the
    current directory. Workloads such as Deployments become pods unless `expand` is false; pods that say no node run
    on `node`. What the API server would refuse, such as unknown fields, is an error, and a warning if `strict` is false
    and it can be read all the same. Namespaces and service accounts that had to be assumed are warnings, errors if
    `strict` is true. Names of pods' interfaces begin with `interface_prefix`, else with what the
    environment of calico-node in the input says, else with ``cali``.

    Raises InputError with everything that was found, warnings included, when anything is an error. Otherwise the
    warnings are in the cluster.

    >>> from io import StringIO
    >>> cluster = load(["-"], stdin=StringIO("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"))
    >>> cluster.profiles["kns.shop"].labels["pcns.projectcalico.org/name"]
    'shop'
    """
    loading = Loading(strict=strict, interface_prefix=interface_prefix)
    return loading.load(paths, node=node, expanding=expand, stdin=stdin)
