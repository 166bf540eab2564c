"""Evaluate a node's rules for one packet: netfilter's hooks and tables in order, up to the verdict.

    packet    the packet and the machine
    run       the state of a packet during the walk, and the recorded steps
    tests     the evaluation of each criterion
    members   lookups in IP sets
    acts      the effect of each action

It works for any rules, not only Felix's. What the rules alone do not determine is assumed and named in the result
(`Assumed` criteria; sources are genuine unless the packet is spoofed). A criterion that is not understood counts as not
matching, a target that is not understood as absent; the rule is named, and the result is certain only if no other
reading of such rules would change the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal, TypeVar, cast

from felixpy.errors import UsageError
from felixpy.netfilter.criteria import InSet
from felixpy.netfilter.hooks import REWRITING, REWRITTEN, TRACKING, Stage, come_back
from felixpy.netfilter.numbers import ICMP, OPENING_ICMP, STATES, UNTRACKED_ICMP, parse_address, spell_address
from felixpy.netfilter.rules import Dump, Rule
from felixpy.walk.acts import UnknownTarget, make_act, nothing, rewrite_destination
from felixpy.walk.members import SetLibrary
from felixpy.walk.packet import Machine, Packet
from felixpy.walk.run import ACCEPT, DROP, RETURNED, Code, PacketRun, ReadyRule, RecordingRun, Step, Test
from felixpy.walk.tests import Unknown, every, make_check

__all__ = ["Machine", "Packet", "Step", "Verdict", "Walk", "Walker"]

Verdict = Literal["accept", "drop", "reject"]

MOST_READINGS = 64
"""The most ways of reading rules that are not understood to try; beyond that a verdict is uncertain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The result of a walk: the verdict, every rule evaluated, and the resulting packet.

    `decided` is the step that dropped the packet, None if the policy of a chain did: `policy` is then (table, chain).
    `unknown` are the steps that are not understood. `rewritten` are the new source or destination after NAT.
    `order_matters`: the verdict depends on the unknown order of chains with the same priority.
    """

    verdict: Verdict
    certain: bool
    steps: tuple[Step, ...]
    decided: Step | None
    policy: tuple[str, str] | None
    unknown: tuple[Step, ...]
    mark: int
    source: str
    destination: str
    port: int
    in_interface: str
    out_interface: str
    rewritten: Mapping[str, str]
    order_matters: bool = False


_Kind = TypeVar("_Kind", bound=PacketRun)

LOOPBACK = "lo"


class Walker:
    """Walks packets through one node's rules; each chain is prepared once.

    Sets that the dump has in common with the one of the walker `like` are reused.
    """

    def __init__(self, dump: Dump, machine: Machine | None = None, like: Walker | None = None) -> None:
        self.dump, self.machine = dump, machine or Machine()
        self.sets: Mapping[int, SetLibrary] = {
            family: SetLibrary(dump.sets, family, like.sets[family] if like else None) for family in (4, 6)
        }
        self._codes: dict[tuple[int, str, str], Code] = {}
        self._local: dict[int, dict[str, frozenset[int]]] = {}
        own = {name: [parse_address(text) for text in texts] for name, texts in self.machine.interfaces.items()}
        for family in (4, 6):
            by_name = {name: frozenset(a.number for a in found if a.family == family) for name, found in own.items()}
            self._local[family] = {**by_name, "": frozenset().union(*by_name.values())}

    def allows(self, packet: Packet) -> bool:
        """Whether the packet is accepted, without recording steps, which is faster."""
        return self._send(self._start(PacketRun, packet), packet) == ACCEPT

    def walk(self, packet: Packet) -> Walk:
        """Walk a packet through the rules. Raises UsageError for an impossible packet."""
        run = self._start(RecordingRun, packet)
        verdict = self._send(run, packet)
        unknown = tuple(step for step in run.steps if step.unknown)
        last = run.steps[-1] if run.steps else None
        refused = verdict != ACCEPT
        by_rule = refused and last is not None and last.outcome == verdict
        return self._walk(
            packet,
            run,
            verdict,
            certain=not unknown or self._is_certain(packet, verdict, run.asked),
            steps=tuple(run.steps),
            decided=last if by_rule else None,
            policy=(run.table, run.chain) if refused and not by_rule else None,
            unknown=unknown,
        )

    def glance(self, packet: Packet) -> Walk:
        """As `walk`, without steps, in a fraction of the time."""
        run = self._start(PacketRun, packet)
        verdict = self._send(run, packet)
        return self._walk(packet, run, verdict, certain=not run.asked or self._is_certain(packet, verdict, run.asked))

    @cached_property
    def _swapped(self) -> Walker | None:
        """A walker with the other order of chains with the same priority."""
        if not self.dump.swapped:
            return None
        return Walker(replace(self.dump, hooks=self.dump.swapped, swapped={}), self.machine, like=self)

    def _order_matters(self, packet: Packet, run: PacketRun, verdict: str) -> bool:
        if self._swapped is None:
            return False
        other = self._swapped._start(PacketRun, packet)  # noqa: SLF001 - it is one of us
        found = self._swapped._send(other, packet)  # noqa: SLF001
        return _end(run, verdict) != _end(other, found)

    def _walk(self, packet: Packet, run: PacketRun, verdict: str, *, certain: bool, **more: Any) -> Walk:
        steps: dict[str, Any] = {"steps": (), "decided": None, "policy": None, "unknown": ()}
        order_matters = self._order_matters(packet, run, verdict)
        return Walk(
            verdict=cast("Verdict", verdict),
            certain=certain and not order_matters,
            order_matters=order_matters,
            **{**steps, **more},
            mark=run.mark,
            source=spell_address(run.source, run.family),
            destination=spell_address(run.destination, run.family),
            port=run.port,
            in_interface=packet.in_interface,
            out_interface=run.out_interface,
            rewritten=dict(run.rewritten),
        )

    # --- the way through the machine

    def _start(self, kind: type[_Kind], packet: Packet, script: tuple[bool, ...] = ()) -> _Kind:
        family = parse_address(packet.source).family
        if parse_address(packet.destination).family != family:
            raise UsageError(f"{packet.source} cannot send to {packet.destination}: they are of different IP families")
        if family not in self.dump.tables:
            raise UsageError(f"there are no rules for IPv{family}")
        return kind(packet, self._local[family], script)

    def _send(self, run: PacketRun, packet: Packet) -> str:
        """The verdict for a packet: incoming ones are local or forwarded, outgoing ones may return by loopback."""
        if run.in_interface:
            if (outcome := self._hook(run, "PREROUTING", packet)) != ACCEPT:
                return outcome
            run.out_interface = self._route(run, packet)
            if not run.out_interface:
                return self._hook(run, "INPUT", packet)
            outcome = self._hook(run, "FORWARD", packet)
        else:
            run.out_interface = self._route(run, packet) or LOOPBACK
            outcome = self._hook(run, "OUTPUT", packet)
            run.out_interface = self._route(run, packet) or LOOPBACK
        if outcome == ACCEPT:
            outcome = self._hook(run, "POSTROUTING", packet)
        if outcome == ACCEPT and run.out_interface == LOOPBACK:
            outcome = self._come_back(run, packet)
        return outcome

    def _come_back(self, run: PacketRun, packet: Packet) -> str:
        """The verdict for a packet that returns by the loopback interface, with its mark, connection and rewriting."""
        run.in_interface, run.out_interface, run.looped = LOOPBACK, "", True
        outcome = self._hook(run, "PREROUTING", packet)
        return self._hook(run, "INPUT", packet) if outcome == ACCEPT else outcome

    def _route(self, run: PacketRun, packet: Packet) -> str:
        if packet.sent_by is not None and "destination" not in run.rewritten:
            return packet.sent_by
        by_rule = "destination" in run.rewritten and not (
            packet.dnat and run.destination == parse_address(packet.dnat[0]).number
        )
        if packet.out_interface is not None and not by_rule:
            return packet.out_interface
        return self.machine.route(spell_address(run.destination, run.family))

    def _hook(self, run: PacketRun, hook: str, packet: Packet) -> str:
        """The verdict of the chains at a hook; a chain without a verdict applies its policy."""
        run.hook = hook
        stages = self.dump.stages(run.family)[hook]
        for stage in come_back(stages) if run.looped else stages:
            if stage == TRACKING:
                self._track(run, packet)
            elif stage == REWRITTEN:
                if packet.dnat:
                    self._rewrite(run, packet.dnat)
            elif not stage.nat or self._asks_nat(run):
                outcome = self._stage(run, stage)
                if outcome != ACCEPT:
                    return outcome
        return ACCEPT

    def _stage(self, run: PacketRun, stage: Stage) -> str:
        code = self._code(run.family, stage.table, stage.chain)
        if code is None:
            return ACCEPT
        run.table, run.chain = stage.table, stage.chain
        outcome = _traverse(run, code)
        return code.policy if outcome is None or outcome is RETURNED else outcome

    def _asks_nat(self, run: PacketRun) -> bool:
        """Whether nat chains see the packet: the first one of a connection, not rewritten yet at this hook."""
        done = "destination" if run.hook in REWRITING else "source"
        return bool(run.ct & STATES["NEW"]) and done not in run.rewritten

    def _rewrite(self, run: PacketRun, dnat: tuple[str, int]) -> None:
        if run.tracked and "destination" not in run.rewritten:
            rewrite_destination(run, parse_address(dnat[0]).number, dnat[1] or None)

    def _track(self, run: PacketRun, packet: Packet) -> None:
        """Connection tracking: sets the packet's state, which is INVALID before this point."""
        state = packet.state.upper()
        if run.protocol == ICMP[run.family]:
            if run.icmp_type in UNTRACKED_ICMP[run.family]:
                state = "UNTRACKED"
            elif state == "NEW" and run.icmp_type not in OPENING_ICMP[run.family]:
                state = "INVALID"
        if not run.tracked or state == "UNTRACKED":
            run.tracked, state = False, "UNTRACKED"
        run.ct = STATES[state]

    def _is_certain(self, packet: Packet, verdict: str, asked: int) -> bool:
        """Whether the verdict is the same for every reading of the rules that are not understood."""
        open_scripts = [(*(False,) * position, True) for position in range(asked)]
        for _ in range(MOST_READINGS):
            if not open_scripts:
                return True
            script = open_scripts.pop()
            run = self._start(PacketRun, packet, script)
            if (self._send(run, packet) == ACCEPT) != (verdict == ACCEPT):
                return False
            more = range(run.asked - len(script))
            open_scripts.extend((*script, *(False,) * position, True) for position in more)
        return False

    # --- preparing chains

    def _code(self, family: int, table: str, name: str) -> Code | None:
        key = family, table, name
        code = self._codes.get(key)
        if code is None:
            chain = self.dump.tables[family].get(table, {}).get(name)
            if chain is None:
                return None
            policy = DROP if chain.policy == "DROP" else ACCEPT
            code = Code(name, policy, chain, partial(self._line, family, table))
            self._codes[key] = code
        return code

    def _line(self, family: int, table: str, rule: Rule) -> ReadyRule:
        tests: list[Test | None] = []
        unknown: list[str] = []
        # Set lookups are the most expensive, so they come last; the order of criteria is irrelevant.
        for test in sorted(rule.body.tests, key=lambda test: isinstance(test.criterion, InSet)):
            try:
                tests.append(make_check(test, self.sets[family]))
            except Unknown as wrong:
                unknown.append(str(wrong))
        check = every(tests)
        if unknown:
            check = _guess(check)
        try:
            act = make_act(rule, family, partial(self._code, family, table))
        except UnknownTarget as wrong:
            unknown.append(str(wrong))
            act = _perhaps
        return ReadyRule(check, act, ", ".join(rule.body.assumed), ", ".join(unknown), act is nothing and not unknown)


def _end(run: PacketRun, verdict: str) -> object:
    """The verdict and the resulting packet, for comparing."""
    return (run.source, run.destination, run.port, run.out_interface) if verdict == ACCEPT else ()


def _traverse(run: PacketRun, code: Code) -> str | None:
    try:
        return run.traverse(code)
    except RecursionError:
        raise UsageError(f"the chains that {code.name} leads to jump in a circle, which no kernel would take") from None


def _guess(known: Test | None) -> Test:
    if known is None:
        return PacketRun.guess
    real = known
    return lambda run: real(run) and run.guess()


def _perhaps(run: PacketRun) -> str | None:
    """The act of a target that is not understood: the packet continues or, in the other reading, is dropped."""
    return DROP if run.guess() else None
