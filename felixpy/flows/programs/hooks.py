"""Evaluates the tables at a netfilter hook for all packets of one end at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from felixpy.flows.packets.packet_sets import PacketSet, join, of_traffic
from felixpy.flows.packets.tags import EARLY, new_source
from felixpy.flows.programs.code import ChainCode, NodeProgram
from felixpy.flows.programs.evaluation import Evaluator, Moved, Outcome, States, add
from felixpy.flows.programs.views import RuleView
from felixpy.netfilter.hooks import TRACKING, Stage


@dataclass(slots=True)
class Log:
    """What happened to packets on their way, except for those that got through."""

    dropped: PacketSet = field(default_factory=dict)
    doubts: dict[RuleView, None] = field(default_factory=dict)
    moved: dict[Moved, PacketSet] = field(default_factory=dict)

    def note(self, outcome: Outcome | Log) -> None:
        if outcome.dropped:
            self.dropped = join(self.dropped, outcome.dropped)
        self.doubts.update(outcome.doubts)
        for target, packets in outcome.moved.items():
            self.moved[target] = join(self.moved.get(target, {}), packets)


def through(
    program: NodeProgram,
    evaluator: Evaluator,
    hook: str,
    states: States,
    log: Log,
    stages: Sequence[Stage] | None = None,
) -> States:
    """Return the packets that pass a hook, or some of its stages, and note others in the log."""
    for stage in program.stages(hook) if stages is None else stages:
        if stage == TRACKING:
            states = _tracked(states)
            continue
        chain = program.chain(stage.table, stage.chain) if states else None
        drops = program.policy(stage.table, stage.chain) == "DROP"
        if chain and (chain.rules or drops):
            states = _pass(evaluator, chain, states, log, drops=drops, nat=stage.nat)
    return states


def _pass(evaluator: Evaluator, chain: ChainCode, states: States, log: Log, *, drops: bool, nat: bool) -> States:
    """Return the packets that pass a chain, cached for ends for which the chain has the same outcome."""
    known = evaluator.memory.passes
    same = evaluator.key(chain) if known is not None else None
    if known is None or same is None:
        return _passed(evaluator, chain, states, log, drops=drops, nat=nat)
    key = (*same, drops, nat, *((tag, *packets.items()) for tag, packets in states.items()))
    found = known.get(key)
    if found is None:
        noted = Log()
        passed = _passed(evaluator, chain, states, noted, drops=drops, nat=nat)
        found = known[key] = passed, noted
    log.note(found[1])
    return found[0]


def _passed(evaluator: Evaluator, chain: ChainCode, states: States, log: Log, *, drops: bool, nat: bool) -> States:
    """Return the packets that pass a chain. NAT applies to first packets of connections, until a rule rewrites them."""
    passed: States = {}
    for tag, packets in states.items():
        if nat:
            opening = evaluator.perspective.opening(tag) if new_source(tag) is None else 0
            add(passed, tag, of_traffic(packets, evaluator.perspective.space.all & ~opening))
            packets = of_traffic(packets, opening)
        outcome = evaluator.call(chain, tag, packets)
        log.note(outcome)
        for found, accepted in outcome.accepted.items():
            add(passed, found, accepted)
        for found, returned in outcome.returned.items():
            if drops:
                log.dropped = join(log.dropped, returned)
            else:
                add(passed, found, returned)
    return passed


def _tracked(states: States) -> States:
    found: States = {}
    for tag, packets in states.items():
        add(found, tag & ~EARLY, packets)
    return found
