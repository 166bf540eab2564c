"""What rules do, as values. Everything about a packet that rules can change, but its addresses, is its tag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from felixpy.dump import Rule
from felixpy.errors import UsageError
from felixpy.flows.criteria import NotUnderstood
from felixpy.walk.matches import FULL_MARK, mark_and_mask
from felixpy.walk.packet import parse_address
from felixpy.walk.run import ACCEPT, DROP, REJECT, RETURNED
from felixpy.walk.targets import FINAL, HARMLESS

CONNECTION = 32
"""Where in a tag the mark of the connection begins; the packet's own has the bits below."""

EARLY, UNTRACKED = 1 << 64, 1 << 65
"""Tags of packets before connection tracking, and of those that it leaves alone."""

SOURCE = 66
"""Where in a tag the new source of a packet begins, as NAT gave it: 1 is the node's own, others are addresses + 2."""

MASQUERADED = 1

Retag = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class End:
    """The packet's way through the chain or the table ends."""

    outcome: Literal["accept", "drop", "return"]


@dataclass(frozen=True, slots=True)
class Call:
    """On with another chain; after a goto not back to this one."""

    chain: str
    goto: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A new tag."""

    retag: Retag


@dataclass(frozen=True, slots=True)
class Rewrite:
    """NAT. A new source, by default the node's own, ends the table; a new destination makes it another packet."""

    side: Literal["source", "destination"]
    address: int | None = None

    @property
    def source(self) -> int:
        """The tag of packets with the new source."""
        return (MASQUERADED if self.address is None else self.address + 2) << SOURCE


@dataclass(frozen=True, slots=True)
class Nothing:
    """On to the next rule."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """Not understood: `words` name the target, which may let the packet go on or take it away."""

    words: str


Action: TypeAlias = End | Call | Change | Rewrite | Nothing | Unclear
Arguments: TypeAlias = Mapping[str, str]

_ENDS: Mapping[str, End] = {ACCEPT: End("accept"), DROP: End("drop"), REJECT: End("drop"), RETURNED: End("return")}
NOTHING = Nothing()


def read_action(rule: Rule, chains: Mapping[str, object]) -> Action:
    """What a rule does; `chains` are those of its table."""
    if rule.target in FINAL:
        return _ENDS[FINAL[rule.target]]
    if rule.target in HARMLESS:
        return NOTHING
    if rule.target in chains:
        return Call(rule.target, rule.goto)
    make = ACTIONS.get(rule.target)
    if make is None:
        return Unclear(f"-j {rule.target}")
    try:
        return make({option.name: " ".join(option.values) for option in rule.arguments})
    except (ValueError, KeyError, UsageError, NotUnderstood) as wrong:
        return Unclear(f"-j {rule.target}: {wrong}")


def _mark(arguments: Arguments) -> Action:
    """``--set-xmark V/M`` clears M and flips V; ``--set-mark V/M`` clears M and sets V."""
    if "--set-xmark" in arguments:
        value, mask = mark_and_mask(arguments["--set-xmark"])
    else:
        value, mask = mark_and_mask(arguments["--set-mark"])
        mask |= value
    return Change(lambda tag: tag & ~mask ^ value)


def _connection_mark(arguments: Arguments) -> Action:
    of_packet = int(arguments.get("--nfmask", arguments.get("--mask", "0xffffffff")), 0)
    of_connection = int(arguments.get("--ctmask", arguments.get("--mask", "0xffffffff")), 0)

    def save(tag: int) -> int:
        return tag & ~(of_connection << CONNECTION) ^ (tag & of_packet & FULL_MARK) << CONNECTION

    def restore(tag: int) -> int:
        return tag & ~of_packet ^ tag >> CONNECTION & of_connection & FULL_MARK

    if "--save-mark" in arguments:
        return Change(save)
    if "--restore-mark" in arguments:
        return Change(restore)
    value, mask = mark_and_mask(arguments.get("--set-xmark") or arguments["--set-mark"])
    return Change(lambda tag: tag & ~((mask | value) << CONNECTION) ^ value << CONNECTION)


def _untrack(arguments: Arguments) -> Action:
    return Change(lambda tag: tag | UNTRACKED)


def _connection_tracking(arguments: Arguments) -> Action:
    return _untrack(arguments) if "--notrack" in arguments else NOTHING


def _to_source(arguments: Arguments) -> Action:
    """Of a range of addresses the first, ports do not matter: ``10.0.0.1-10.0.0.9:80-90``, ``[fd00::1]:80``."""
    text = arguments["--to-source"]
    first = text[1:].partition("]")[0] if text.startswith("[") else text
    if text.count(":") == 1:
        first = first.partition(":")[0]
    first = first.partition("-")[0]
    return Rewrite("source", parse_address(first).number if first else None)


def _masquerade(arguments: Arguments) -> Action:
    return Rewrite("source")


def _destination(arguments: Arguments) -> Action:
    return Rewrite("destination")


def new_source(tag: int) -> int | None:
    """The address that NAT gave a packet for its source: -1 for the node's own, None if it left it alone."""
    source = tag >> SOURCE
    return None if not source else source - 2


ACTIONS: Mapping[str, Callable[[Arguments], Action]] = {
    "MARK": _mark,
    "CONNMARK": _connection_mark,
    "NOTRACK": _untrack,
    "CT": _connection_tracking,
    "DNAT": _destination,
    "REDIRECT": _destination,
    "SNAT": _to_source,
    "MASQUERADE": _masquerade,
}
