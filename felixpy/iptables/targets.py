"""The targets of iptables: how each is spelt, what it does to packets, and what the kernel refuses about it.

A new target is one row of `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from msgspec import Struct

from felixpy.iptables import fields as f
from felixpy.iptables.fields import OptionField, by_name
from felixpy.iptables.refused import FOREIGN, PREFIX, REJECTS, Refusal
from felixpy.netfilter.actions import (
    FULL_MARK,
    NOTHING,
    Action,
    ConnectionMark,
    Final,
    NoTrack,
    Rewrite,
    SetMark,
)
from felixpy.netfilter.numbers import parse_address, parse_mark, parse_ranges

Arguments = Mapping[str, str]
Act = Callable[[Arguments, int], Action]
"""What a target with some arguments does in a family. Raises ValueError, KeyError or UsageError."""


class TargetRow(Struct, frozen=True, eq=False, dict=True):
    """One target."""

    name: str
    act: Act
    fields: tuple[OptionField, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    @cached_property
    def options(self) -> Mapping[str, OptionField]:
        return by_name(self.fields)


def _final(outcome: Action) -> Act:
    return lambda arguments, family: outcome


def _idle(arguments: Arguments, family: int) -> Action:
    return NOTHING


# --- marks


def _mark(arguments: Arguments, family: int) -> Action:
    """The action of MARK: ``--set-xmark V/M`` clears M and flips V; ``--set-mark V/M`` clears M and sets V."""
    for name in ("--set-xmark", "--set-mark"):
        if name in arguments:
            value, mask = parse_mark(arguments[name])
            return SetMark(value, mask if name == "--set-xmark" else mask | value)
    if "--and-mark" in arguments:
        return SetMark(0, ~int(arguments["--and-mark"], 0) & FULL_MARK)
    if "--or-mark" in arguments:
        bits = int(arguments["--or-mark"], 0)
        return SetMark(bits, bits)
    return SetMark(int(arguments["--xor-mark"], 0), 0)


def _connection_mark(arguments: Arguments, family: int) -> Action:
    packet = int(arguments.get("--nfmask", arguments.get("--mask", "0xffffffff")), 0)
    connection = int(arguments.get("--ctmask", arguments.get("--mask", "0xffffffff")), 0)
    if "--save-mark" in arguments:
        return ConnectionMark("save", packet, connection)
    if "--restore-mark" in arguments:
        return ConnectionMark("restore", packet, connection)
    value, mask = parse_mark(arguments.get("--set-xmark") or arguments["--set-mark"])
    return ConnectionMark("set", value=value, mask=mask | value)


_MARKS = (
    OptionField("--set-xmark", shown=f.shown_both, value=f.mark),
    OptionField("--set-mark", shown=f.shown_xmark, value=f.set_mark),
    OptionField("--and-mark"),
    OptionField("--or-mark"),
    OptionField("--xor-mark"),
)

# --- tracking and rewriting


def _no_track(arguments: Arguments, family: int) -> Action:
    return NoTrack()


def _connection_tracking(arguments: Arguments, family: int) -> Action:
    return NoTrack() if "--notrack" in arguments else NOTHING


def _end(text: str, family: int) -> tuple[int | None, int | None]:
    """Address and port of ``10.0.0.1-10.0.0.9:80-90`` or ``[fd00::1]:80``: of a range the first; None if absent."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif family == 6:
        address, port = text, ""
    else:
        address, _, port = text.partition(":")
    first = address.partition("-")[0]
    return parse_address(first).number if first else None, int(port.partition("-")[0]) if port else None


def _destination(arguments: Arguments, family: int) -> Action:
    text = arguments["--to-destination"]
    return Rewrite("destination", *_end(text, family), text)


def _source(arguments: Arguments, family: int) -> Action:
    text = arguments["--to-source"]
    return Rewrite("source", *_end(text, family), text)


def _redirect(arguments: Arguments, family: int) -> Action:
    """The action of REDIRECT: to the address of the incoming interface, for the node's own packets to loopback."""
    port = parse_ranges(arguments["--to-ports"].replace("-", ":"))[0].first if "--to-ports" in arguments else None
    return Rewrite("destination", port=port, to_self=True)


def _masquerade(arguments: Arguments, family: int) -> Action:
    return Rewrite("source", to_self=True)


_RANDOM = OptionField("--random-fully", words=0, order=9)
_LOG = (
    OptionField("--log-prefix", shown=f.shown_log_prefix),
    OptionField("--log-level"),
    *(
        OptionField(name, words=0)
        for name in ("--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid")
    ),
)
_NFLOG = (
    OptionField("--nflog-group", value=f.number),
    OptionField("--nflog-prefix", shown=f.shown_text, order=-1),
    OptionField("--nflog-range", idle=True),
    OptionField("--nflog-size"),
    OptionField("--nflog-threshold"),
)

_ROWS = (
    TargetRow("ACCEPT", _final(Final("accept"))),
    TargetRow("DROP", _final(Final("drop"))),
    TargetRow("RETURN", _final(Final("return"))),
    TargetRow(
        "REJECT",
        _final(Final("reject")),
        (OptionField("--reject-with", hidden=(("icmp-port-unreachable",), ("icmp6-port-unreachable",))),),
        (REJECTS,),
    ),
    TargetRow("MARK", _mark, _MARKS),
    TargetRow(
        "CONNMARK",
        _connection_mark,
        (
            *_MARKS[:2],
            *(OptionField(name, words=0) for name in ("--save-mark", "--restore-mark")),
            *(OptionField(name) for name in ("--nfmask", "--ctmask", "--mask")),
        ),
    ),
    TargetRow("NOTRACK", _no_track),
    TargetRow(
        "CT", _connection_tracking, (OptionField("--notrack", words=0), OptionField("--zone"), OptionField("--helper"))
    ),
    TargetRow("DNAT", _destination, (OptionField("--to-destination"), _RANDOM), (FOREIGN,)),
    TargetRow("SNAT", _source, (OptionField("--to-source", shown=f.shown_ports), _RANDOM)),
    TargetRow("REDIRECT", _redirect, (OptionField("--to-ports"), _RANDOM)),
    TargetRow("MASQUERADE", _masquerade, (OptionField("--to-ports", shown=f.shown_ports), _RANDOM)),
    TargetRow("LOG", _idle, _LOG, (PREFIX,)),
    TargetRow("NFLOG", _idle, _NFLOG),
    TargetRow("DSCP", _idle, (OptionField("--set-dscp", shown=lambda v, _: f"0x{int(v[0], 0):02x}", value=f.number),)),
    *(
        TargetRow(name, _idle)
        for name in (
            "ULOG", "AUDIT", "TRACE", "LED", "IDLETIMER", "RATEEST", "SET", "TOS", "TTL", "HL", "ECN", "TCPMSS",
            "TCPOPTSTRIP", "CHECKSUM", "CLASSIFY", "SECMARK", "CONNSECMARK",
        )
    ),
)  # fmt: skip

TARGETS: Mapping[str, TargetRow] = {row.name: row for row in _ROWS}

REFUSALS = tuple(refusal for row in _ROWS for refusal in row.refusals)
