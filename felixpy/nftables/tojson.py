"""Compiled tables as ``nft -j list ruleset`` prints them, without the kernel's handles. (libnftables-json(5))

The inverse of `felixpy.nftables.fromjson`, for the rules that Felix writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from felixpy.nftables.chains import NftChain
from felixpy.nftables.tables import NftSet, NftTable

Json = dict[str, Any]


def nft_objects(tables: Iterable[NftTable]) -> Json:
    """Return the JSON document, which ``nft -j -f`` accepts."""
    return {"nftables": [each for table in tables for each in _table(table)]}


def _table(table: NftTable) -> Iterator[Json]:
    at = {"family": table.family, "table": table.name}
    yield {"table": {"family": table.family, "name": table.name}}
    yield from ({"chain": _chain(chain, at)} for chain in table.chains)
    yield from ({"set": _set(one, at)} for one in table.sets)
    for one_map in table.maps:
        elements = [[key, {"goto": {"target": chain}}] for key, chain in one_map.chains.items()]
        shown = {**at, "name": one_map.name, "type": "ifname", "map": "verdict"}
        yield {"map": {**shown, **({"elem": elements} if elements else {})}}
    for chain in table.chains:
        for rule in chain.rules():
            yield {
                "rule": {
                    **at,
                    "chain": chain.name,
                    "comment": rule.comment,
                    "expr": statements(rule.listed, table.family),
                }
            }


def _chain(chain: NftChain, at: Json) -> Json:
    shown = {"family": at["family"], "table": at["table"], "name": chain.name}
    if chain.hook:
        hook = chain.hook
        shown |= {"type": hook.type, "hook": hook.name, "prio": hook.priority, "policy": "accept"}
    return shown


def _set(one: NftSet, at: Json) -> Json:
    kinds = one.type.split(" . ")
    shown = {**at, "name": one.name, "type": kinds if len(kinds) > 1 else one.type}
    if one.interval:
        shown["flags"] = ["interval"]
    if one.listed:
        shown["elem"] = [_element(member) for member in one.listed]
    return shown


def _element(member: str) -> Any:
    parts = member.split(" . ")
    return {"concat": [parts[0], parts[1], int(parts[2])]} if len(parts) == 3 else _network(member)


def _network(text: str) -> Any:
    address, slash, length = text.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}} if slash else address


_WORD = re.compile(r'"[^"]*"|\{[^}]*\}|\S+')


def _meta(name: str) -> Json:
    return {"meta": {"key": name}}


class _Reader:
    """Parses the words of a listed rule in one pass."""

    def __init__(self, text: str, family: str) -> None:
        self.words: list[str] = _WORD.findall(text)
        self.icmp = "icmpv6" if family == "ip6" else "icmp"
        self.at = 0

    def next(self) -> str:
        self.at += 1
        return self.words[self.at - 1]

    def take(self, *words: str) -> bool:
        if tuple(self.words[self.at : self.at + len(words)]) != words:
            return False
        self.at += len(words)
        return True

    def statement(self) -> Json:
        word = self.next()
        row = ROWS.get(word)
        return row(self) if row else self.test(word)

    # --- matches

    def test(self, word: str) -> Json:
        key = self.key(word)
        if self.take("."):
            keys = [key, self.key(self.next())]
            while self.take("."):
                keys.append(self.key(self.next()))
            key = {"concat": keys}
        if self.take("vmap"):
            return {"vmap": {"key": key, "data": self.next()}}
        operator = "=="
        if self.take("&"):
            key = {"&": [key, int(self.next(), 0)]}
        if self.take("!="):
            operator = "!="
        else:
            self.take("==")
        value = self.value(key)
        if "ct" in key and operator == "==":
            operator = "in"
        return {"match": {"op": operator, "left": key, "right": value}}

    def key(self, word: str) -> Json:
        if word in ("iifname", "oifname"):
            return _meta(word)
        if word == "meta":
            return _meta(self.next())
        if word == "ct":
            return {"ct": {"key": self.next()}}
        if word == "fib":
            flags = [self.next()]
            while self.take("."):
                flags.append(self.next())
            result = self.next()
            return {"fib": {"result": result, "flags": flags}}
        field = self.next()
        if word == "arp" and field == "saddr":
            field = f"saddr {self.next()}"
        return {"payload": {"protocol": word, "field": field}}

    def value(self, key: Json) -> Any:
        word = self.next()
        if word.startswith('"'):
            return word.strip('"')
        if word.startswith("{"):
            return {"set": [_port(item) for item in word.strip("{} ").split(", ")]}
        if "ct" in key:
            states = word.split(",")
            return states if len(states) > 1 else word
        if key.get("meta") == {"key": "mark"} or "&" in key:
            number, slash, length = word.partition("/")
            return {"prefix": {"addr": int(number, 0), "len": int(length)}} if slash else int(word, 0)
        field = key.get("payload", {}).get("field")
        if field in ("sport", "dport"):
            return _port(word)
        if field in ("saddr", "daddr"):
            return _network(word)
        return int(word) if word.isdigit() and "fib" not in key else word


def _port(text: str) -> Any:
    first, dash, last = text.partition("-")
    return {"range": [int(first), int(last)]} if dash else int(first) if first.isdigit() else text


def _set_mark(reader: _Reader) -> Json:
    """Read ``meta mark set meta mark & A | B``."""
    value: Any = _meta("mark")
    while reader.words[reader.at : reader.at + 1] and reader.words[reader.at] in ("&", "|"):
        value = {reader.next(): [value, int(reader.next(), 0)]}
    return {"mangle": {"key": _meta("mark"), "value": value}}


def _meta_row(reader: _Reader) -> Json:
    return _set_mark(reader) if reader.take("mark", "set", "meta", "mark") else reader.test("meta")


def _ip(word: str) -> Callable[[_Reader], Json]:
    def read(reader: _Reader) -> Json:
        if reader.take("dscp", "set"):
            value = reader.next()
            shown: Any = int(value, 0) if value.startswith("0x") else value
            return {"mangle": {"key": {"payload": {"protocol": word, "field": "dscp"}}, "value": shown}}
        return reader.test(word)

    return read


def _ct(reader: _Reader) -> Json:
    if reader.take("count", "over"):
        count = int(reader.next())
        return {"ct count": {"val": count - (1 << 32) if count >> 31 else count, "inv": True}}
    return reader.test("ct")


def _limit(reader: _Reader) -> Json:
    reader.take("rate")
    over = reader.take("over")
    rate, _, unit = reader.next().partition("/")
    burst = int(reader.next()) if reader.take("burst") else 5
    reader.take("packets")
    shown: Json = {"rate": int(rate), "burst": burst, "per": unit}
    return {"limit": {**shown, **({"inv": True} if over else {})}}


def _log(reader: _Reader) -> Json:
    shown: Json = {}
    for key in ("prefix", "group", "snaplen", "level"):
        if reader.take(key):
            word = reader.next()
            shown[key] = word.strip('"') if key in ("prefix", "level") else int(word)
    return {"log": shown}


def _reject(reader: _Reader) -> Json:
    if reader.take("with", "tcp", "reset"):
        return {"reject": {"type": "tcp reset"}}
    return {"reject": {"type": reader.icmp, "expr": "port-unreachable"}}


def _nat(word: str) -> Callable[[_Reader], Json]:
    def read(reader: _Reader) -> Json:
        shown: Json = {}
        if reader.take("to"):
            place = reader.next()
            found = re.fullmatch(r"(?P<address>\[[^]]+\]|[^:]*|.*:.*:.*?)(?::(?P<port>[\d-]+))?", place)
            if found and found["port"] and (place.startswith("[") or place.count(":") == 1):
                shown = {"addr": found["address"].strip("[]")} if found["address"] else {}
                shown["port"] = _port(found["port"])
            else:
                shown = {"addr": place}
        if reader.take("fully-random"):
            shown["flags"] = "fully-random"
        return {word: shown or None}

    return read


def _verdict(word: str) -> Callable[[_Reader], Json]:
    return lambda reader: {word: None}


def _jump(word: str) -> Callable[[_Reader], Json]:
    return lambda reader: {word: {"target": reader.next()}}


ROWS: Mapping[str, Callable[[_Reader], Json]] = {
    "meta": _meta_row,
    "ip": _ip("ip"),
    "ip6": _ip("ip6"),
    "ct": _ct,
    "limit": _limit,
    "log": _log,
    "counter": lambda reader: {"counter": {"packets": 0, "bytes": 0}},
    "reject": _reject,
    **{word: _jump(word) for word in ("jump", "goto")},
    **{word: _verdict(word) for word in ("accept", "drop", "return", "continue", "notrack")},
    **{word: _nat(word) for word in ("masquerade", "snat", "dnat")},
}
"""Rows by the first word of a statement; any other word begins a match."""


def statements(listed: str, family: str) -> list[Json]:
    """Return the JSON statements of a rule of ``ip``, ``ip6`` or ``arp``, given as nft lists it.

    >>> statements("tcp dport 80 counter jump filter-x", "ip")[0]["match"]["right"]
    80
    """
    reader = _Reader(listed, family)
    found: list[Json] = []
    while reader.at < len(reader.words):
        found.append(reader.statement())
    return found
