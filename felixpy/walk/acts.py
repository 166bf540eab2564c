"""Actions for one packet: a function for each class of `felixpy.netfilter.actions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from felixpy.netfilter.actions import (
    Action,
    ConnectionMark,
    Final,
    Nothing,
    NoTrack,
    Rewrite,
    SetMark,
    Unclear,
)
from felixpy.netfilter.numbers import STATES, parse_address, spell_address
from felixpy.netfilter.rules import Rule
from felixpy.walk.run import ACCEPT, DROP, REJECT, RETURNED, Act, Code, PacketRun

FINAL = {"accept": ACCEPT, "drop": DROP, "reject": REJECT, "return": RETURNED}


class UnknownTarget(Exception):
    """A target that is not understood."""


def make_act(rule: Rule, family: int, chain: Callable[[str], Code | None]) -> Act:
    """The function that performs a rule's action; `chain` finds chains of its table. Raises UnknownTarget."""
    action: Action = rule.body.action
    if isinstance(action, Unclear):
        target = chain(rule.target) if rule.target else None
        if target is not None:
            if rule.goto:
                return _goto(target)
            return nothing if target.is_empty else _jump(target)
        raise UnknownTarget(action.words)
    return ACTS[type(action)](action, family)


def nothing(run: PacketRun) -> None:
    return None


def _nothing(action: Nothing, family: int) -> Act:
    return nothing


def _final(action: Final, family: int) -> Act:
    outcome = FINAL[action.outcome]
    return lambda run: outcome


def _jump(target: Code) -> Act:
    def act(run: PacketRun) -> str | None:
        outcome = run.traverse(target)
        return None if outcome is RETURNED else outcome

    return act


def _goto(target: Code) -> Act:
    def act(run: PacketRun) -> str | None:
        outcome = run.traverse(target)
        return RETURNED if outcome is None else outcome

    return act


def _mark(action: SetMark, family: int) -> Act:
    def act(run: PacketRun) -> None:
        run.mark = action.of(run.mark)

    return act


def _connection_mark(action: ConnectionMark, family: int) -> Act:
    def act(run: PacketRun) -> None:
        run.mark, run.connection_mark = action.of(run.mark, run.connection_mark)

    return act


def _no_track(action: NoTrack, family: int) -> Act:
    def act(run: PacketRun) -> None:
        # A tracked packet stays tracked; before connection tracking none is. (net/netfilter/nft_ct.c: nft_notrack_eval)
        if run.ct == STATES["INVALID"]:
            run.tracked, run.ct = False, STATES["UNTRACKED"]

    return act


def _rewrite(action: Rewrite, family: int) -> Act:
    if action.side == "source":
        return _source(action)
    if not action.to_self:
        return lambda run: rewrite_destination(run, action.address, action.port)
    loopback = parse_address("127.0.0.1" if family == 4 else "::1").number

    def act(run: PacketRun) -> str:
        own = run.local.get(run.in_interface) if run.in_interface else None
        return rewrite_destination(run, min(own) if own else loopback, action.port)

    return act


def _source(action: Rewrite) -> Act:
    def act(run: PacketRun) -> str:
        if action.to_self:
            run.rewritten["source"] = "the address of " + (run.out_interface or "the machine")
        else:
            run.rewritten["source"] = action.words
        if action.address is not None:
            run.source = action.address
        return ACCEPT

    return act


def rewrite_destination(run: PacketRun, address: int | None, port: int | None) -> str:
    """Apply DNAT: set the packet's destination, and mark its connection as rewritten."""
    if address is not None:
        run.destination = address
    if port is not None:
        run.port = port
    run.ct |= STATES["DNAT"]
    run.rewritten["destination"] = spell_end(run.destination, run.port, run.family)
    return ACCEPT


def spell_end(address: int, port: int, family: int) -> str:
    text = spell_address(address, family)
    if not port:
        return text
    return f"[{text}]:{port}" if family == 6 else f"{text}:{port}"


ACTS: Mapping[type[Action], Callable[[Any, int], Act]] = {
    Nothing: _nothing,
    Final: _final,
    SetMark: _mark,
    ConnectionMark: _connection_mark,
    NoTrack: _no_track,
    Rewrite: _rewrite,
}
"""All actions but calls, which are known by their chain, and `Unclear`."""
