"""Following files and folders, or a running cluster: a `Cluster` that is updated with each change."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Protocol

from felixpy.cli import invocation
from felixpy.cli.footprints import Watcher, check_paths, footprint
from felixpy.cli.running import Clusters, is_cluster
from felixpy.cli.watching import log
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.cli.given import Given
    from felixpy.kubectl.watch import Key, Mirror, WatchEvent
    from felixpy.manifests.following import Following, Step
    from felixpy.manifests.loading import Options
    from felixpy.manifests.reading.documents import Document
    from felixpy.model import Cluster

QUIET_SECONDS = 0.2
"""Changes of a cluster that follow each other so closely are one."""

BURST_SECONDS = 2.0
"""How long a change may wait for others."""


class Followed(Protocol):
    """A source of a cluster. `changes` waits up to so many seconds and returns events; `step` applies them.

    `step` raises InputError for bad input, which is read again with the next changes.
    """

    words: str

    @property
    def cluster(self) -> Cluster: ...

    def changes(self, wait: float) -> Sequence[WatchEvent]: ...

    def step(self) -> Step: ...


def follow(given: Given, ending: ExitStack, by: str) -> Followed:
    """Start following the input of a command and print its warnings; closing `ending` stops it.

    Raises InputError, Refused, and UsageError for input that cannot be followed (`by`: the option, for the message).
    """
    given.check_options()
    files, options = given.files, given.options(given.files)
    running = [path for path in files if is_cluster(path)]
    if len(running) < len(files) or not running:
        if running:
            raise UsageError(f"{by}: one running cluster, or files")
        check_paths(files, by)
        followed: Followed = FilesFollowed(files, options)
    elif len(running) > 1:
        raise UsageError(f"{by}: one running cluster, or files")
    else:
        followed = _of_cluster(running[0], given.clusters, options, ending)
    invocation.warn(followed.cluster.warnings, quiet=given.quiet)
    given.tell_about(followed.cluster)
    return followed


class FilesFollowed:
    """Follows files and folders."""

    def __init__(self, paths: Sequence[str], options: Options) -> None:
        from felixpy.manifests.followed_files import FollowedFiles

        self.words = ", ".join(paths) or "this folder"
        self._watcher = Watcher(partial(footprint, paths))
        self._files = FollowedFiles(paths, options)
        self._changed: list[str] = []

    @property
    def cluster(self) -> Cluster:
        return self._files.cluster

    def changes(self, wait: float) -> Sequence[WatchEvent]:
        from felixpy.kubectl.watch import WatchEvent

        time.sleep(wait)
        self._changed = self._watcher.changed(time.monotonic())
        return [WatchEvent("changed", "file", "", name) for name in self._changed]

    def step(self) -> Step:
        return self._files.step(self._changed)


def _of_cluster(path: str, clusters: Clusters, options: Options, ending: ExitStack) -> Followed:
    from felixpy.kubectl.listing import groups
    from felixpy.kubectl.watch import Mirror
    from felixpy.manifests.following import Following
    from felixpy.manifests.reading.objects import placed

    listing = clusters.listing(path)
    documents: dict[str, dict[Hashable, Document]] = {
        name: {_key(item): placed(name, item) for item in items} for name, items in groups(listing)
    }
    following = Following(documents, options)
    mirror = Mirror(clusters.kubectl(path), listing, log)
    ending.callback(mirror.stop)
    mirror.start()
    return ClusterFollowed(listing.context, mirror, following)


def _key(item: dict[str, object]) -> Key:
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    return metadata.get("namespace", ""), metadata["name"]


class ClusterFollowed:
    """Follows a running cluster."""

    def __init__(self, words: str, mirror: Mirror, following: Following) -> None:
        self.words, self._mirror, self._following = words, mirror, following

    @property
    def cluster(self) -> Cluster:
        return self._following.cluster

    def changes(self, wait: float) -> Sequence[WatchEvent]:
        found = self._mirror.changes(wait)
        end = time.monotonic() + BURST_SECONDS
        while found and time.monotonic() < end:
            more = self._mirror.changes(QUIET_SECONDS)
            if not more:
                break
            found += more
        return found

    def step(self) -> Step:
        from felixpy.manifests.reading.objects import placed

        changes: dict[str, dict[Hashable, Document | None]] = {
            name: {key: placed(name, item) if item else None for key, item in objects.items()}
            for name, objects in self._mirror.taken().items()
        }
        return self._following.take(changes)
