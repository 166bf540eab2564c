"""Expands a rule with a lookup to equivalent rules: one for each element of a map, list or set.

A lookup compares a key, or several joined by dots. A packet has one value of each key, so at most one of the rules
matches it. Felix's own lookups in sets of addresses are not expanded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from felixpy.nftables.reading import ListedSet, ListedTable
from felixpy.nftables.words import Words

MOST_RULES = 1 << 16
"""The most rules that a rule is expanded to; one with more elements is treated as not understood."""

PORTS = ("sport", "dport")
WITH_PORTS = ("tcp", "udp", "udplite", "sctp", "dccp")
_INTERFACES = {("iifname",), ("oifname",), ("iif",), ("oif",)}
_ADDRESSES = {(family, side) for family in ("ip", "ip6") for side in ("saddr", "daddr")}
_KEYS: frozenset[tuple[str, ...]] = frozenset(
    {
        *_INTERFACES,
        *_ADDRESSES,
        *((header, side) for header in (*WITH_PORTS, "th") for side in PORTS),
        *(("meta", key) for key in ("l4proto", "nfproto", "mark", "iifname", "oifname", "iif", "oif")),
        *((word, "type") for word in ("icmp", "icmpv6")),
        ("ip", "protocol"),
        *(("ct", key) for key in ("state", "status", "mark")),
        *(("fib", side, "type") for side in ("saddr", "daddr")),
    }
)
"""The keys that are understood in lookups."""

_LISTS = {*_ADDRESSES, *((header, side) for header in WITH_PORTS for side in PORTS), ("ct", "state")}
"""Keys that a rule of iptables can compare with a list of values."""

Key = tuple[str, ...]


class Lookup(NamedTuple):
    """A lookup in a rule: the words before it, its keys, negation and elements, and the words after it."""

    before: tuple[str, ...]
    keys: tuple[Key, ...]
    negated: bool
    elements: Sequence[str]
    after: tuple[str, ...]
    verdicts: bool = False


def expanded(text: str, table: ListedTable, *, own: bool = False) -> Sequence[str]:
    """Return a rule of a table without lookups, as equivalent rules; `own` for a table of Calico."""
    if "{" not in text and "@" not in text and " th " not in f" {text}":
        return (text,)
    done: list[str] = []
    waiting = [text]
    while waiting:
        rule = waiting.pop(0)
        rules = _once(Words(rule).words, table, own=own)
        if rules is None:
            done.append(rule)
        elif len(rules) + len(waiting) + len(done) > MOST_RULES:
            return (text,)
        else:
            waiting = [*rules, *waiting]
    return done


def _once(words: Sequence[str], table: ListedTable, *, own: bool) -> Sequence[str] | None:
    """Return the rules that replace the first lookup of a rule, None if it has no lookup."""
    for at, word in enumerate(words):
        found = _lookup(words, at, word, table, own=own)
        if found:
            return list(_rules(found))
    if "th" in words and not own:
        return _with_protocols(words)
    return None


def _lookup(words: Sequence[str], at: int, word: str, table: ListedTable, *, own: bool) -> Lookup | None:
    if word == "vmap" and at + 1 < len(words):
        data = words[at + 1]
        elements = _elements(data, table.maps)
        start, keys = _keys(words, at)
        if elements is None or not keys or any(element.startswith("*") for element in elements):
            return None
        return Lookup(tuple(words[:start]), keys, False, elements, tuple(words[at + 2 :]), verdicts=True)
    if word[0] not in "{@" or words[at - 1 : at] == ["vmap"] or {"update", "add", "delete"} & set(words[:at]):
        return None
    negated = words[at - 1] == "!="
    start, keys = _keys(words, at - (words[at - 1] in ("!=", "==")))
    elements = _elements(word, table.sets)
    if not keys or elements is None or _is_plain(keys, word, elements, table, own=own):
        return None
    return Lookup(tuple(words[:start]), keys, negated, elements, tuple(words[at + 1 :]))


def _is_plain(
    keys: tuple[Key, ...], word: str, elements: Sequence[str], table: ListedTable, *, own: bool
) -> bool:  # fmt: skip
    """Return whether iptables has a match for this lookup, so that it need not be expanded."""
    if word[0] == "{":
        ranges = keys[0] in _ADDRESSES and len(elements) > 1 and any("-" in element for element in elements)
        return len(keys) == 1 and keys[0] in _LISTS and not ranges
    if own:
        return True
    if len(keys) == 1:
        return keys[0] in _ADDRESSES and table.sets[word[1:]].type in ("ipv4_addr", "ipv6_addr")
    return False


def _elements(word: str, known: Mapping[str, ListedSet]) -> Sequence[str] | None:
    """Return the elements of a list in braces or of a named set or map, without timeouts etc.; None if unknown."""
    if word.startswith("{"):
        return [part.strip() for part in word.strip("{} ").split(",")]
    found = known.get(word[1:]) if word.startswith("@") else None
    return None if found is None else [plain_element(element) for element in found.elements]


def plain_element(element: str) -> str:
    """Return an element without its timeout, counter and comment.

    >>> plain_element("10.0.0.5 . tcp . 80 timeout 1h expires 3m4s : goto x"), plain_element("10.0.0.5 expires 1s")
    ('10.0.0.5 . tcp . 80 : goto x', '10.0.0.5')
    """
    key, colon, verdict = element.partition(" : ")
    parts = key.split(" . ")
    last = parts[-1].partition(" ")[0]
    return f"{' . '.join([*parts[:-1], last])}{colon}{verdict}"


def _keys(words: Sequence[str], end: int) -> tuple[int, tuple[Key, ...]]:
    """Return the position of the first key of the keys that end before a word, and the keys; () if one is unknown."""
    keys: list[Key] = []
    while True:
        start, key = _key(words, end)
        if not key:
            return end, ()
        keys.insert(0, key)
        if start == 0 or words[start - 1] != ".":
            return start, tuple(keys)
        end = start - 1


def _key(words: Sequence[str], end: int) -> tuple[int, Key]:
    if words[max(end - 4, 0) : end - 1] in (["numgen", "random", "mod"], ["numgen", "inc", "mod"]):
        return end - 4, tuple(words[end - 4 : end])
    for length in (3, 2, 1):
        key = tuple(words[max(end - length, 0) : end])
        if len(key) == length and key in _KEYS:
            return end - length, key
    return end, ()


def _rules(lookup: Lookup) -> Iterator[str]:
    rest = " ".join(lookup.after)
    tests = []
    for element in lookup.elements:
        key, _, verdict = element.partition(" : ")
        values = key.split(" . ")
        if len(values) != len(lookup.keys):
            values = [key]
        asked = " ".join(
            _asked(key, value, negated=lookup.negated) for key, value in zip(lookup.keys, values, strict=False)
        )
        if lookup.negated:
            tests.append(asked)
            continue
        yield " ".join(filter(None, (*lookup.before, asked, verdict if lookup.verdicts else "", rest)))
    if lookup.negated and len(lookup.keys) == 1:
        yield " ".join(filter(None, (*lookup.before, *tests, rest)))
    elif lookup.negated:
        yield " ".join((*lookup.before, "several keys !=", rest))  # not understood: no row


def _asked(key: Key, value: str, *, negated: bool) -> str:
    bare = value.strip('"')
    if key in _INTERFACES or key[-1] in ("iifname", "oifname", "iif", "oif"):
        bare = f'"{bare}"'
    return f"{' '.join(key)} {'!= ' if negated else ''}{bare}"


def _with_protocols(words: Sequence[str]) -> Sequence[str] | None:
    """Return a rule about ports of any protocol as one rule for each protocol with ports; None for other rules."""
    at = next(
        (n for n, word in enumerate(words) if word == "th" and words[n + 1 : n + 2] in (["sport"], ["dport"])), -1
    )
    if at < 0 or words[at - 1 : at] == ["."]:
        return None
    known = [value for key, value in pairwise(words) if key in ("l4proto", "protocol")]
    if known:
        if known[0] not in WITH_PORTS:
            return None
        return [" ".join((*words[:at], known[0], *words[at + 1 :]))]
    return [" ".join((*words[:at], protocol, *words[at + 1 :])) for protocol in WITH_PORTS]
