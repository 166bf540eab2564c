"""When files were last written, and whether they have stopped changing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from felixpy.cli.running import is_cluster
from felixpy.errors import UsageError
from felixpy.revisions import is_revision

UNREST_SECONDS = 3.0
"""Files that keep changing are read after this time anyway."""

Footprint = Mapping[str, tuple[int, int, int]]
"""File → what changes when it is written: time, size, inode."""


def check_paths(paths: Sequence[str], by: str = "--watch") -> None:
    """Raise UsageError for paths that can be read only once, or never change."""
    for name in paths:
        path = Path(name)
        if is_cluster(name):
            raise UsageError(f"{by} {name}: only files and folders can be watched; felixpy watch follows clusters")
        if is_revision(name):
            raise UsageError(f"{by} {name}: a revision does not change; watch the files themselves")
        if name == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
            raise UsageError(f"{by} {name}: only files and folders can be read again when they change")


def footprint(paths: Sequence[str]) -> Footprint:
    """The state of the files that reading these paths would read; missing files are left out."""
    found = {}
    for name in paths or ["."]:
        path = Path(name)
        for file, look in _below(path) if path.is_dir() else [(name, path.stat)]:
            with suppress(OSError):
                status = look()
                found[file] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def differing(before: Footprint, after: Footprint) -> list[str]:
    """The files that were written, came or went, by name."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _below(folder: str | Path) -> Iterator[tuple[str, Callable[[], os.stat_result]]]:
    """The manifests in a folder, chosen as for reading: hidden folders are left out."""
    from felixpy.manifests.reading.files import SUFFIXES

    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith("."):
                    yield from _below(entry.path)
            elif entry.name.lower().endswith(SUFFIXES):
                yield entry.path, entry.stat


@dataclass(slots=True)
class Watcher:
    """Reports files that changed, once they have stopped changing.

    `seen` are the files as they were when they were last read, `latest` as they were when last looked at.
    """

    look: Callable[[], Footprint]
    seen: Footprint = field(init=False)
    latest: Footprint = field(init=False)
    restless_since: float | None = None

    def __post_init__(self) -> None:
        self.seen = self.latest = self.look()

    def changed(self, now: float) -> list[str]:
        """The files that changed since they were last reported, if none changed since the last call; else []."""
        before, self.latest = self.latest, self.look()
        if self.latest == self.seen:
            self.restless_since = None
            return []
        if self.restless_since is None:
            self.restless_since = now
        if self.latest != before and now - self.restless_since < UNREST_SECONDS:
            return []
        old, self.seen, self.restless_since = self.seen, self.latest, None
        return differing(old, self.seen)
