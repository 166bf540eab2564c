"""What rules do, as values. Everything about a packet that rules can change, but its addresses, is its tag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from felixpy.dump import Rule
from felixpy.errors import UsageError
from felixpy.flows.criteria import NotUnderstood
from felixpy.walk.matches import FULL_MARK, mark_and_mask
from felixpy.walk.run import ACCEPT, DROP, REJECT, RETURNED
from felixpy.walk.targets import FINAL, HARMLESS

CONNECTION = 32
"""Where in a tag the mark of the connection begins; the packet's own has the bits below."""

EARLY, UNTRACKED, MASQUERADED = (1 << bit for bit in (64, 65, 66))
"""Tags of packets before connection tracking, of those that it leaves alone, and of those with a new source."""

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
    """NAT. A new source ends the table; a new destination makes it another packet."""

    side: Literal["source", "destination"]


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


def _rewriting(side: Literal["source", "destination"]) -> Callable[[Arguments], Action]:
    return lambda arguments: Rewrite(side)


ACTIONS: Mapping[str, Callable[[Arguments], Action]] = {
    "MARK": _mark,
    "CONNMARK": _connection_mark,
    "NOTRACK": _untrack,
    "CT": _connection_tracking,
    "DNAT": _rewriting("destination"),
    "REDIRECT": _rewriting("destination"),
    "SNAT": _rewriting("source"),
    "MASQUERADE": _rewriting("source"),
}
