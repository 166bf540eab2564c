"""The state of a packet during a walk: what rules read and change, and the recorded steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from felixpy.netfilter.numbers import ACK, ECHO_REQUEST, ICMP, STATES, SYN, WITH_PORTS, parse_address, protocol_number
from felixpy.netfilter.rules import Chain, Rule
from felixpy.walk.packet import Packet

ACCEPT, DROP, REJECT = "accept", "drop", "reject"
RETURNED = "return"
"""What a chain answers whose caller goes on, unless it was left by goto: then the caller's caller does."""

Test: TypeAlias = Callable[["PacketRun"], bool]
Act: TypeAlias = Callable[["PacketRun"], str | None]


class ReadyRule(NamedTuple):
    """A prepared rule: the function that tests whether it matches (None: always), and its action."""

    test: Test | None
    act: Act
    assumption: str
    """The assumption on which the test depends, "" for none."""
    unknown: str
    """What is not understood about the rule, "" if nothing."""
    idle: bool
    """Whether the rule changes nothing and decides nothing."""


class Code:
    """A chain whose rules are prepared on first use. `policy` is used for kernel chains only."""

    __slots__ = ("_chain", "_lines", "_make", "name", "policy", "ready")

    def __init__(self, name: str, policy: str, chain: Chain, make: Callable[[Rule], ReadyRule]) -> None:
        self.name, self.policy = name, policy
        self._chain, self._make = chain, make
        self._lines: list[ReadyRule] | None = None
        self.ready: list[tuple[Test | None, Act]] | None = None

    def prepare(self) -> list[tuple[Test | None, Act]]:
        """The tests and actions that affect the verdict, for walks without steps."""
        if self.ready is None:
            self.ready = [(line.test, line.act) for line in self.lines() if not line.idle]
        return self.ready

    def lines(self) -> list[ReadyRule]:
        if self._lines is None:
            self._lines = [self._make(rule) for rule in self._chain.rules]
        return self._lines

    @property
    def is_empty(self) -> bool:
        return not self._chain.lines

    def rules(self) -> tuple[Rule, ...]:
        return self._chain.rules


class Step(NamedTuple):
    """A rule that was evaluated; `mark` is the packet's mark after it, `outcome` is accept, drop, reject or ""."""

    hook: str
    table: str
    chain: str
    rule: Rule
    depth: int
    applied: bool
    mark: int
    outcome: str = ""
    assumption: str = ""
    unknown: str = ""


class PacketRun:
    """The state of a packet. Addresses are numbers; absent interfaces are "".

    `script` gives the results of tests that are not understood, in order; after its end the result is false.
    """

    __slots__ = (
        "asked",
        "chain",
        "connection_mark",
        "ct",
        "destination",
        "family",
        "flags",
        "hook",
        "icmp_code",
        "icmp_type",
        "in_interface",
        "local",
        "looped",
        "mark",
        "out_interface",
        "port",
        "protocol",
        "rewritten",
        "script",
        "source",
        "source_port",
        "spoofed",
        "table",
        "tracked",
    )  # fmt: skip

    def __init__(self, packet: Packet, local: Mapping[str, frozenset[int]], script: tuple[bool, ...] = ()) -> None:
        self.source, self.family = parse_address(packet.source)
        self.destination = parse_address(packet.destination).number
        self.protocol = protocol_number(packet.protocol)
        ports = self.protocol in WITH_PORTS
        self.source_port, self.port = (packet.source_port, packet.port) if ports else (0, 0)
        icmp = packet.icmp or (ECHO_REQUEST[self.family], 0)
        self.icmp_type, self.icmp_code = icmp if self.protocol == ICMP[self.family] else (-1, -1)
        self.flags = SYN if packet.state == "new" else ACK
        self.in_interface, self.out_interface = packet.in_interface, ""
        self.mark, self.connection_mark, self.spoofed = packet.mark, 0, packet.spoofed
        self.ct, self.tracked, self.looped = STATES["INVALID"], True, False
        self.local, self.script = local, script
        self.rewritten: dict[str, str] = {}
        self.asked = 0
        self.hook = self.table = self.chain = ""

    def traverse(self, code: Code) -> str | None:
        """Evaluate a chain; return the verdict, None at its end."""
        for test, act in code.ready or code.prepare():
            if test is None or test(self):
                outcome = act(self)
                if outcome is not None:
                    return outcome
        return None

    def guess(self) -> bool:
        """The assumed result of a test that is not understood."""
        self.asked += 1
        return self.asked <= len(self.script) and self.script[self.asked - 1]

    def is_local(self, address: int) -> bool:
        return address in self.local[""] or (address >> 24 == 127 if self.family == 4 else address == 1)


class RecordingRun(PacketRun):
    """A run that records every rule it evaluates."""

    __slots__ = ("depth", "steps")

    def __init__(self, packet: Packet, local: Mapping[str, frozenset[int]], script: tuple[bool, ...] = ()) -> None:
        super().__init__(packet, local, script)
        self.depth = 0
        self.steps: list[Step] = []

    def traverse(self, code: Code) -> str | None:
        self.depth += 1
        try:
            for rule, line in zip(code.rules(), code.lines(), strict=True):
                outcome = self._look(code.name, rule, line)
                if outcome is not None:
                    return outcome
            return None
        finally:
            self.depth -= 1

    def _look(self, chain: str, rule: Rule, line: ReadyRule) -> str | None:
        """Evaluate one rule; its step precedes those of the chain that it may jump to."""
        asked, at = self.asked, len(self.steps)
        applied = line.test is None or line.test(self)
        step = Step(self.hook, self.table, chain, rule, self.depth, applied, self.mark, assumption=line.assumption)
        self.steps.append(step)
        outcome = line.act(self) if applied else None
        if len(self.steps) == at + 1:
            final = outcome if outcome in (ACCEPT, DROP, REJECT) else None
            step = step._replace(mark=self.mark, outcome=final or "")
        # This rule is understood, even if one in the chain that it jumps to is not.
        self.steps[at] = step._replace(unknown=line.unknown if self.asked > asked else "")
        return outcome
