"""Objects from other sources, such as a running cluster, given in place of paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO, TypeAlias

from felixpy.manifests.reading.documents import Document, Reading, read
from felixpy.manifests.reading.files import Input
from felixpy.manifests.reading.sieves import Sieve
from felixpy.model import Source


class KindObjects(NamedTuple):
    """Objects with distinct apiVersion, kind and name. `name` precedes their names in messages."""

    name: str
    items: Sequence[dict[str, Any]]

    def documents(self) -> Iterator[Document]:
        """The objects as documents, each with its own place."""
        return (placed(self.name, item) for item in self.items)


Given: TypeAlias = Input | KindObjects
"""What a call may name."""


def placed(name: str, item: dict[str, Any]) -> Document:
    """An object without text, as a document whose place is its name.

    >>> placed("production/pods", {"metadata": {"namespace": "shop", "name": "web"}}).source.file
    'production/pods/shop/web'
    """
    metadata: Mapping[str, Any] = item.get("metadata") or {}
    names = (metadata.get(part) for part in ("namespace", "name"))
    return Document(item, Source("/".join([name, *map(str, filter(None, names))]), 0))


def read_given(
    given: Sequence[Given], stdin: TextIO | None = None, *, sieve: Sieve | None = None, **more: Any
) -> Reading:
    """Read all files, and add all given objects; see `felixpy.manifests.reading.documents.read`."""
    objects = [each for each in given if isinstance(each, KindObjects)]
    paths = [each for each in given if not isinstance(each, KindObjects)]
    reading = read(paths, stdin=stdin, sieve=sieve, **more) if paths or not objects else Reading()
    # The pods of one cluster have unique names; otherwise there may be duplicates, which are read in full.
    lists = sum(any(item.get("kind") == "Pod" for item in each.items) for each in objects)
    take = sieve.take if sieve and not paths and lists == 1 else None
    for each in objects:
        reading.documents += [one for one in each.documents() if not (take and take(one.data, one.source))]
    return reading
