"""The statements of a listed rule as targets of iptables: verdicts, NAT, logs, counters."""

from __future__ import annotations

from collections.abc import Mapping

from felixpy.names import split_layer
from felixpy.nftables.listed import ListedRule, Row


def _counter(reader: ListedRule, word: str) -> None:
    if reader.take("packets"):
        packets = int(reader.next())
        reader.take("bytes")
        reader.counters = packets, int(reader.next())


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
    reader.act(f"-{word[0]} {split_layer(reader.next())[1]}")


def _reject(reader: ListedRule, word: str) -> None:
    how = ""
    if reader.take("with", "tcp", "reset"):
        how = " --reject-with tcp-reset"
    elif reader.take("with"):
        reader.next()
        reader.take("type")
        how = f" --reject-with {reader.next()}"
    reader.act(f"-j REJECT{how}")


def _nat(target: str, option: str) -> Row:
    def read(reader: ListedRule, word: str) -> None:
        where = ""
        for family in ("ip", "ip6"):
            reader.take(family)
        if reader.take("to"):
            value = reader.next()
            where = f" --to-ports {value[1:]}" if target == "MASQUERADE" else f" {option} {value}"
        while reader.take("fully-random") or reader.take("random") or reader.take("persistent"):
            pass
        reader.act(f"-j {target}{where}")

    return read


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
}
"""By the first word."""
