"""Running clusters as input of a command: ``--cluster``, or ``cluster:CONTEXT`` in place of a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from felixpy.cli import invocation, progress
from felixpy.errors import Place, Problem

if TYPE_CHECKING:
    from felixpy.kubectl import Kubectl, Listing
    from felixpy.manifests.reading.objects import KindObjects

PREFIX = "cluster:"


def is_cluster(path: str) -> bool:
    """Whether a path names a running cluster, not a file.

    >>> is_cluster("cluster:production"), is_cluster("cluster/")
    (True, False)
    """
    return path.startswith(PREFIX)


@dataclass
class Clusters:
    """Reads running clusters, each once. `kubeconfig` and `timeout` (seconds for a request) are passed to kubectl."""

    kubeconfig: str = ""
    timeout: float = 60.0
    namespace: str = ""
    quiet: bool = False
    _read: dict[str, Listing] = field(default_factory=dict)

    def kubectl(self, path: str) -> Kubectl:
        """The client of a path's context."""
        from felixpy.kubectl import Kubectl

        return Kubectl(context=path.removeprefix(PREFIX), kubeconfig=self.kubeconfig, timeout=self.timeout)

    def listing(self, path: str) -> Listing:
        """The objects of the cluster that felixpy reads; prints what could not be listed. Raises Refused."""
        from felixpy.kubectl import list_cluster

        if path not in self._read:
            counts: dict[str, int] = {}

            def count(resource: str, number: int) -> None:
                """Called after each page, from several threads; a display that is one page off does not matter."""
                counts[resource] = number
                progress.say(f"reading the cluster, {sum(counts.copy().values())} objects")

            with progress.shown("reading the cluster"):
                found = list_cluster(self.kubectl(path), namespace=self.namespace, progress=count)
            self._read[path] = found
            warnings = [Problem(place=Place(found.context), reason=said, severity="warning") for said in found.missing]
            invocation.warn(warnings, quiet=self.quiet)
        return self._read[path]

    def forget(self) -> None:
        """Drop the listings, which take most of the memory for a large cluster. Later calls read the cluster again."""
        self._read.clear()

    def expand(self, paths: Sequence[str]) -> list[str | KindObjects]:
        """The paths, each running cluster replaced by its objects. Raises Refused."""
        found: list[str | KindObjects] = []
        for path in paths:
            if is_cluster(path):
                from felixpy.kubectl.listing import groups
                from felixpy.manifests.reading.objects import KindObjects

                found += [KindObjects(name, items) for name, items in groups(self.listing(path))]
            else:
                found.append(path)
        return found
