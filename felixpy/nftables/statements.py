"""Converts the statements of a listed rule to targets of iptables: verdicts, NAT, logs, counters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from felixpy.nftables.listed import ListedRule, Row, Strange


def _counter(reader: ListedRule, word: str) -> None:
    if reader.take("packets"):
        packets = int(reader.next())
        reader.take("bytes")
        reader.counters = packets, int(reader.next())
    elif reader.take("name"):
        reader.next()


def _log(reader: ListedRule, word: str) -> None:
    found: dict[str, str] = {}
    while reader.words[reader.position : reader.position + 1] and reader.words[reader.position] in _LOG_OPTIONS:
        key = reader.next()
        found[key] = reader.next()
    prefix = found.get("prefix", '""')
    if "group" in found:
        reader.act(f"-j NFLOG --nflog-prefix {prefix} --nflog-group {found['group']}")
    else:
        reader.act(f"-j LOG --log-prefix {prefix}")


_LOG_OPTIONS = {"prefix", "group", "snaplen", "level", "queue-threshold", "flags"}


def _verdict(target: str) -> Row:
    return lambda reader, word: reader.act(f"-j {target}" if target else "")


def _jump(reader: ListedRule, word: str) -> None:
    reader.act(f"-{word[0]} {reader.scope.chain(reader.next())}")


_REJECTS = {"icmp": 4, "icmpv6": 6}
"""Types of reject that exist in one IP family only."""


def _reject(reader: ListedRule, word: str) -> None:
    how = ""
    if reader.take("with", "tcp", "reset"):
        how = " --reject-with tcp-reset"
    elif reader.take("with"):
        kind = reader.next()
        if kind in _REJECTS:
            reader.only(_REJECTS[kind])
        reader.take("type")
        how = f" --reject-with {reader.next()}"
    reader.act(f"-j REJECT{how}")


_PLACE = re.compile(r"[0-9a-fA-F.:\[\]/-]+")
"""Matches constant addresses and ports, not lookups in a map."""


def _nat(target: str, option: str) -> Row:
    def read(reader: ListedRule, word: str) -> None:
        where = ""
        for family, number in (("ip", 4), ("ip6", 6)):
            if reader.take(family):
                reader.only(number)
        if reader.take("to"):
            value = reader.next()
            if not _PLACE.fullmatch(value):
                raise Strange(value)
            where = f" --to-ports {value[1:]}" if target in ("MASQUERADE", "REDIRECT") else f" {option} {value}"
        while reader.take("fully-random") or reader.take("random") or reader.take("persistent"):
            pass
        reader.act(f"-j {target}{where}")

    return read


def _noted(reader: ListedRule, word: str) -> None:
    """Read a statement by which packets add an element to a set: no verdict, but the set's contents are unknown."""
    reader.next()
    reader.next()


STATEMENTS: Mapping[str, Row] = {
    "counter": _counter,
    "log": _log,
    "accept": _verdict("ACCEPT"),
    "drop": _verdict("DROP"),
    "return": _verdict("RETURN"),
    "notrack": _verdict("NOTRACK"),
    "continue": lambda reader, word: None,
    "jump": _jump,
    "goto": _jump,
    "reject": _reject,
    "masquerade": _nat("MASQUERADE", "--to-ports"),
    "snat": _nat("SNAT", "--to-source"),
    "dnat": _nat("DNAT", "--to-destination"),
    "redirect": _nat("REDIRECT", "--to-ports"),
    **dict.fromkeys(("add", "update", "delete"), _noted),
}
"""Rows by the first word of a statement."""
