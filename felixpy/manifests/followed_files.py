"""A cluster from files and folders that change: only changed files are read again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

from felixpy.manifests.following import Documents, Following, Step
from felixpy.manifests.loading import Options
from felixpy.manifests.reading.documents import Document, Reading, read
from felixpy.manifests.reading.files import File, gather
from felixpy.model import Cluster


class FollowedFiles:
    """The cluster in files and folders, updated step by step. Raises InputError with all problems."""

    def __init__(self, paths: Sequence[str], options: Options) -> None:
        self._paths = paths
        groups, readings = self._read()
        self._following = Following(groups, options, readings)

    @property
    def cluster(self) -> Cluster:
        """The cluster after the last step that raised nothing."""
        return self._following.cluster

    def step(self, changed: Sequence[str]) -> Step:
        """Read files that were changed, added or removed; see `Following.take`."""
        again = [self._read_again(name) for name in changed]
        readings = {file.name: reading for found in again if found for file, reading in [found]}
        if len(readings) < len(again):
            return self._following.restart(*self._read())
        changes: dict[str, dict[Hashable, Document | None]] = {}
        for name, reading in readings.items():
            before, after = self._following.documents(name), _keyed(reading)
            changes[name] = dict.fromkeys(before.keys() - after.keys())
            changes[name] |= {key: document for key, document in after.items() if before.get(key) != document}
        return self._following.take(changes, readings)

    def _read(self) -> tuple[dict[str, Documents], dict[str, Reading]]:
        """The documents and readings of all files, by file."""
        files, problems = gather(self._paths)
        self._files = {os.path.normpath(file.name): file._replace(text="") for file in files}
        readings = {file.name: read([file]) for file in files}
        readings[""] = Reading(problems=problems)
        return {name: _keyed(reading) for name, reading in readings.items()}, readings

    def _read_again(self, name: str) -> tuple[File, Reading] | None:
        """Read one known file again; None if the list of files has to be determined again."""
        known = self._files.get(os.path.normpath(name))
        files, problems = gather([known.name]) if known and Path(known.name).is_file() else ([], [])
        if known is None or problems or [file.name for file in files] != [known.name]:
            return None
        file = files[0]._replace(named=known.named)
        return file, read([file])


def _keyed(reading: Reading) -> dict[Hashable, Document]:
    """The documents of a file by identity; several with the same identity are numbered."""
    found: dict[Hashable, Document] = {}
    numbers: Counter[tuple[str, ...]] = Counter()
    for document in reading.documents:
        data = document.data
        metadata = data.get("metadata")
        named = metadata if isinstance(metadata, dict) else {}
        key = (data["apiVersion"], data["kind"], *(str(named.get(part) or "") for part in ("namespace", "name")))
        found[*key, numbers[key]] = document
        numbers[key] += 1
    return found
