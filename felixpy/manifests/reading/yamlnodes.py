"""YAML → nodes, with PyYAML's C parser, guarded against texts that would crash it or take very long."""

from __future__ import annotations

from itertools import chain
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from felixpy.manifests.reading.pieces import MAX_DEPTH, MAX_NODES, TooLarge, Unreadable

HAS_C_PARSER = hasattr(yaml, "CSafeLoader")
_Parser: Any = yaml.CSafeLoader if HAS_C_PARSER else yaml.SafeLoader

PLAIN, TEXT, LIST, MAP = "plain", "text", "list", "map"
"""The tag of a node without an explicit one. Compared by identity: ``!<plain>`` is something else."""


class _Implied:
    """Disables PyYAML's resolution of tags, which takes more time than everything else."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return PLAIN if implicit[0] else TEXT
        return MAP if kind is MappingNode else LIST

    def descend_resolver(self, parent: object, index: object) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


class _Guarded(_Implied):
    """Stops at too many or too deeply nested nodes, before the C parser's stack or the memory overflows."""

    _depth = _count = 0

    def descend_resolver(self, parent: Any, index: object) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable(parent.start_mark.index, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        if self._count > MAX_NODES:
            reason = f"the document has more than {MAX_NODES:,} values"
            raise TooLarge(parent.start_mark.index, reason, "split it into several documents")

    def ascend_resolver(self) -> None:
        self._depth -= 1


def _harmless(text: str) -> bool:
    """Whether a text is too simple to be nested deeply, so that the guard is not needed.

    A level begins with a bracket, with a dash or question mark (two levels: the list and a mapping in its first
    item), or with more indentation than the line above.
    """
    if len(text) > MAX_NODES or " " * (MAX_DEPTH // 4) in text:
        return False
    dashes, brackets = text.count("-") + text.count("?"), text.count("[") + text.count("{")
    return 2 * dashes + brackets < MAX_DEPTH // 2


class _Loader(_Implied, _Parser):  # type: ignore[misc]
    pass


class _GuardedLoader(_Guarded, _Parser):  # type: ignore[misc]
    pass


class _PatientLoader(_Guarded, yaml.SafeLoader):
    """Allows an anchor to be redefined, as YAML does; the C parser, otherwise equivalent, raises an error."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(getattr(event, "anchor", None), None)
        return super().compose_node(parent, index)


def compose(text: str) -> list[Node]:
    """The root nodes of all documents of a text. Raises YAMLError, or Unreadable for too large or too deep texts."""
    try:
        return _composed(_Loader if _harmless(text) else _GuardedLoader, text)
    except yaml.composer.ComposerError as wrong:
        if "duplicate anchor" not in f"{wrong.context} {wrong.problem}":
            raise
        return _composed(_PatientLoader, text)


def _composed(kind: type[Any], text: str) -> list[Node]:
    loader, nodes = kind(text), []
    try:
        while loader.check_node():
            nodes.append(loader.get_node())
    finally:
        loader.dispose()
    return nodes


def size(node: Node, limit: int) -> int:
    """Number of values below a node, aliases counted each time they are used. Raises Unreadable beyond limits."""
    return _Expansion(limit).measure(node)[0]


class _Expansion:
    """Counts the values of a document, aliases each time they are used, without following them twice."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[int, tuple[int, int]] = {}

    def measure(self, node: Node) -> tuple[int, int]:
        """Number of values and depth below a node.

        An anchor precedes its aliases, so what an alias leads to is known, and the recursion as deep as the text.
        """
        if isinstance(node, ScalarNode):
            return 1, 1
        if id(node) in self._known:
            size, depth = self._known[id(node)]
            if not size:
                raise Unreadable(node.start_mark.index, "an alias refers to a value that contains it")
            return size, depth
        self._known[id(node)] = 0, 0
        size, depth = 1, 0
        for inner in chain.from_iterable(node.value) if isinstance(node, MappingNode) else node.value:
            more, below = self.measure(inner)
            size, depth = size + more, max(depth, below)
        if size > self._limit:
            reason = f"aliases make it more than {MAX_NODES:,} values"
            raise Unreadable(node.start_mark.index, reason)
        if depth >= MAX_DEPTH:
            raise Unreadable(node.start_mark.index, f"aliases make it nested more than {MAX_DEPTH} deep")
        self._known[id(node)] = size, depth + 1
        return size, depth + 1
