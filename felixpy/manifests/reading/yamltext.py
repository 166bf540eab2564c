"""YAML → values as Kubernetes reads them.

PyYAML resolves scalars differently from Kubernetes and silently keeps the last of duplicate keys; so only its parser is
used, and the rest is here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from felixpy.errors import Path
from felixpy.manifests.reading import pieces, scalars, syntax
from felixpy.manifests.reading.pieces import MAX_NODES, Flaw, TooLarge, Unreadable, Value, is_list
from felixpy.manifests.reading.yamlnodes import LIST, MAP, PLAIN, TEXT, compose, size

_LONG = 2**18
"""From this length on a block List is read item by item: the nodes of a whole cluster do not fit any cache."""


class Reader:
    """Reads documents of one text. The cache of scalars and the limit of values apply to the whole text.

    `nodes_left` is the number of values that it may still have; aliases count each time they are used.
    """

    def __init__(self, text: str, nodes_left: int = MAX_NODES) -> None:
        self._text = text
        self._plains = _Plains()
        self._keys = _Keys(self._plains)
        self.nodes_left = nodes_left
        self._offset = 0
        self._found: list[tuple[Node, str]] = []

    def documents(self, start: int, end: int) -> list[Value]:
        """The documents between two offsets: one, unless ``...`` or directives separate more."""
        in_item: Unreadable | None = None
        if end - start > _LONG:
            try:
                if value := self._items(start, end):
                    return [value]
            except Unreadable as wrong:
                in_item = wrong
        try:
            return [self._value(node, start) for node in self._nodes(self._text[start:end], start)]
        except TooLarge:
            if in_item:
                raise in_item from None
            raise

    def value(self, start: int, end: int) -> Value:
        """The one object between two offsets, which need not be at the start of a line."""
        node, offset = self.node(start, end)
        return self._value(node, offset)

    def item(self, start: int, end: int) -> list[Value]:
        """The item of a block list between two offsets. Raises Unreadable, ValueError if it cannot be read alone."""
        [item] = [self._value(node, start) for node in self._nodes(self._text[start:end], start)]
        return item.parts or [item]

    def node(self, start: int, end: int) -> tuple[Node, int]:
        """The root node of the object between two offsets, and the offset at which its marks begin."""
        offset = self._text.rfind("\n", 0, start) + 1
        for node in self._nodes(" " * (start - offset) + self._text[start:end], offset):
            return node, offset
        raise Unreadable(start, "there is no object")

    def child(self, node: Node, step: str | int) -> tuple[Node, Node] | None:
        """(key, value) of a mapping, or the item of a list twice, for a step of a path; None if it is absent."""
        if isinstance(node, SequenceNode):
            return (node.value[step],) * 2 if isinstance(step, int) and step < len(node.value) else None
        pairs = node.value if isinstance(node, MappingNode) else []
        for key_node, value_node in pairs:
            if self._key(key_node) == step:
                return key_node, value_node
        merged = [value_node for key_node, value_node in pairs if self._key(key_node) is MERGE]
        sources = chain.from_iterable(value.value if value.tag is LIST else [value] for value in merged)
        return next(filter(None, (self.child(source, step) for source in sources)), None)

    def _nodes(self, piece: str, offset: int) -> Iterator[Node]:
        """The root nodes of a text that begins at `offset`; documents that are empty or null are left out."""
        try:
            for node in compose(piece):
                if node.tag is PLAIN and self._plains[node.value] is None:
                    continue
                if "*" in piece and "&" in piece:
                    self.nodes_left -= size(node, self.nodes_left)
                yield node
        except yaml.YAMLError as wrong:
            raise syntax.explained(wrong, self._text, offset, offset + len(piece)) from None
        except Unreadable as wrong:
            flaw = wrong.flaw
            raise type(wrong)(flaw.offset + offset, flaw.reason, flaw.hint) from None

    def _items(self, start: int, end: int) -> Value | None:
        """A long block List, item by item; None if it is not one.

        Raises Unreadable for items that cannot be read alone, because of a wrong split, an alias or an error.
        """
        found = pieces.items(self._text, start, end)
        if not found:
            return None
        heading, places = found
        stop = places[-1][1]
        try:
            frame = self._text[start:heading] + "items:\n" + self._text[stop:end]
            [header] = [self._value(node, start) for node in self._nodes(frame, start)]
            if header.flaws or not is_list(header.data.get("kind"), []) or header.data["items"] is not None:
                return None
            parts = []
            for begin, ending in places:
                parts += self.item(begin, ending)
        except (ValueError, AttributeError, KeyError):
            return None
        return Value(header.data, header.start, end, parts)

    def _value(self, node: Node, offset: int) -> Value:
        """The value of a root node, or of an item of a list; lists of objects are split."""
        listed, pairs = _taken_apart(node)
        parts = None if listed is None else [self._value(item, offset) for item in listed]
        self._offset = offset
        self._found.clear()
        self._plains.refused.clear()
        data = self._built(node) if listed is None else self._mapping(pairs) if pairs else None
        flaws = tuple(self._flaws(node)) if self._found or self._plains.refused else ()
        start = node.start_mark.index + offset
        if isinstance(node, MappingNode) and node.value and not node.flow_style:
            start = node.value[0][0].start_mark.index + offset
        end = node.end_mark.index + offset
        while end > start and self._text[end - 1].isspace():
            end -= 1
        return Value(data, start, end, parts, flaws)

    def _built(self, node: Node) -> Any:
        tag = node.tag
        if tag is MAP:
            return self._mapping(node.value)
        if tag is LIST:
            return [self._built(item) for item in node.value]
        if tag is PLAIN:
            return self._plains[node.value]
        return node.value if tag is TEXT else self._tagged(node)

    def _mapping(self, pairs: list[tuple[Node, Node]]) -> dict[str, Any]:
        keys, plains = self._keys, self._plains
        data: dict[str, Any] = {}
        for key_node, value_node in pairs:
            key = keys[key_node.value] if key_node.tag is PLAIN else self._key(key_node)
            tag = value_node.tag
            if tag is PLAIN:
                value = plains[value_node.value]
            elif tag is TEXT:
                value = value_node.value
            else:
                value = self._built(value_node)
            if type(key) is str:
                data[key] = value
            elif key is MERGE:
                self._merge(data, value, value_node)
            else:
                self._found.append((key_node, str(key)))
        if len(data) != len(pairs):
            self._compare(pairs)
        return data

    def _merge(self, data: dict[str, Any], value: Any, node: Node) -> None:
        """Merge ``<<: *base``. As in go-yaml v2 it takes effect at its position: it overrides the keys above it.

        Of several mappings the first one has precedence.
        """
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            self._found.append((node, 'the value of "<<" must be a mapping or a list of mappings'))
            return
        for source in reversed(sources):
            data.update(source)

    def _compare(self, pairs: list[tuple[Node, Node]]) -> None:
        """Record duplicate keys; keys from merges may be repeated."""
        first: dict[str, Node] = {}
        for node, _ in pairs:
            key = self._key(node)
            if type(key) is not str:
                continue
            if first.setdefault(key, node) is not node:
                lines = self._line(first[key]), self._line(node)
                where = f"line {lines[0]}" if lines[0] == lines[1] else f"lines {lines[0]} and {lines[1]}"
                self._found.append((node, f"the key is given twice ({where})"))

    def _line(self, node: Node) -> int:
        return self._text.count("\n", 0, self._offset + node.start_mark.index) + 1

    def _key(self, node: Node) -> object:
        """The text of a key, `MERGE`, or the reason why it is not a valid key."""
        if node.tag is PLAIN:
            return self._keys[node.value]
        if node.tag is TEXT:
            return sys.intern(node.value)
        if not isinstance(node, ScalarNode):
            return scalars.Refused("a key must be text, not a list or mapping")
        try:
            return scalars.tagged_key(node.tag, node.value)
        except scalars.Refused as wrong:
            return wrong

    def _tagged(self, node: Node) -> Any:
        try:
            if isinstance(node, ScalarNode):
                return scalars.tagged(node.tag, node.value)
            implied = MAP if isinstance(node, MappingNode) else LIST
            scalars.check(node.tag, implied)
        except scalars.Refused as wrong:
            self._found.append((node, str(wrong)))
            return None
        return self._mapping(node.value) if implied is MAP else [self._built(item) for item in node.value]

    def _flaws(self, root: Node) -> Iterator[Flaw]:
        paths = {id(node): (node, path) for node, path in self._walk(root, (), set())}
        for node, reason in self._found:
            offset = node.start_mark.index + self._offset
            yield Flaw(offset, reason, syntax.template_hint(self._text, offset), paths[id(node)][1])
        for node, path in paths.values():
            if node.tag is PLAIN and node.value in self._plains.refused:
                reason = f"{node.value} is not a number that Kubernetes can store"
                yield Flaw(node.start_mark.index + self._offset, reason, "if text is meant, put quotes around it", path)

    def _walk(self, node: Node, path: Path, seen: set[int]) -> Iterator[tuple[Node, Path]]:
        """All nodes with their paths, a key with that of its value; aliased nodes once."""
        if id(node) in seen:
            return
        seen.add(id(node))
        yield node, path
        if isinstance(node, MappingNode):
            for key_node, value_node in node.value:
                key = self._key(key_node)
                step = (*path, key if isinstance(key, str) else _written(key_node))
                yield key_node, step
                yield from self._walk(value_node, step, seen)
        elif isinstance(node, SequenceNode):
            for index, item in enumerate(node.value):
                yield from self._walk(item, (*path, index), seen)


def _written(node: Node) -> str:
    """The text of a node as a step of a path."""
    return str(node.value) if isinstance(node, ScalarNode) else "?"


def _taken_apart(node: Node) -> tuple[list[Node] | None, list[tuple[Node, Node]]]:
    """The items of a list of objects, and its other members; (None, []) for any other node."""
    if node.tag is LIST:
        return node.value, []
    if node.tag is MAP:
        named = [pair for pair in node.value if pair[0].value == "items" and pair[1].tag is LIST]
        kinds = [value.value for key, value in node.value if key.value == "kind"]
        if len(named) == len(kinds) == 1 and is_list(kinds[0], []):
            return named[0][1].value, [pair for pair in node.value if pair is not named[0]]
    return None, []


class _Plains(dict[str, Any]):
    """Plain scalars by their text, each resolved once."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def __missing__(self, text: str) -> Any:
        try:
            value = scalars.plain(text)
        except scalars.Refused:
            self.refused.append(text)
            return None
        self[text] = value
        return value


MERGE = object()
"""The key ``<<``."""


class _Keys(dict[str, object]):
    """Plain keys by their text: text, `MERGE`, or why it is not a valid key. Equal keys become one object."""

    def __missing__(self, text: str) -> object:
        key: object
        try:
            key = MERGE if text == "<<" else scalars.plain_key(text)
        except scalars.Refused as wrong:
            key = wrong
        self[text] = key
        return key
