"""The ARP table: which ARP packets the host sends and accepts, for every class of packets that its rules distinguish.

Rules test the interface, the operation and the sender's address, without any state. So one packet for each value that
rules of both sides name, and one for all other values, represent all packets. Felix only has a chain at the hook
output; a damaged table may also have one at input, the other ARP hook.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from typing import NamedTuple

from felixpy.errors import few
from felixpy.nftables.dumps import split_comment
from felixpy.nftables.normal import normal
from felixpy.nftables.reading import ListedTable, priority_of
from felixpy.verification.finding import HARMLESS, Effect, EffectKind, Severity

LAST_ADDRESS = (1 << 32) - 1
OTHER = ""
"""A placeholder for an interface that no rule names."""

OPERATIONS = ("request", "reply")


class NotEvaluated(Exception):
    """Raised for rules with matches or statements that Felix's do not have."""


HOOKS = ("output", "input")


class ArpPacket(NamedTuple):
    """An ARP packet: hook, interface, operation, and sender's address."""

    interface: str
    operation: str
    sender: int
    hook: str = "output"

    def __str__(self) -> str:
        interface = self.interface or "another interface"
        way = "by" if self.hook == "output" else "in by"
        return f"ARP {self.operation} {way} {interface} with the address {IPv4Address(self.sender)}"

    def value(self, key: str) -> str:
        """The name of the incoming or outgoing interface, "" if the packet has none."""
        return self.interface if _SIDES[key] == self.hook else ""


_SIDES = {"oifname": "output", "iifname": "input"}


class ArpTest(NamedTuple):
    """One match of a rule: `key` is ``oifname``, ``iifname``, ``arp operation`` or ``arp saddr ip``."""

    key: str
    value: str
    negated: bool

    def holds(self, packet: ArpPacket) -> bool:
        return self._matches(packet) is not self.negated

    def _matches(self, packet: ArpPacket) -> bool:
        if self.key in _SIDES:
            name = packet.value(self.key)
            return name.startswith(self.value[:-1]) if self.value.endswith("*") else name == self.value
        if self.key == "arp operation":
            return packet.operation == self.value
        return packet.sender in range(*self.span)

    @property
    def span(self) -> tuple[int, int]:
        """The addresses of ``arp saddr ip``, the last one excluded."""
        net = IPv4Network(self.value)
        return int(net.network_address), int(net.broadcast_address) + 1


class ArpRule(NamedTuple):
    """A rule: its matches, and a verdict, ``jump`` or ``goto`` with a chain, or ``vmap`` with a map.

    `key` is what it looks up in the map.
    """

    tests: tuple[ArpTest, ...]
    verb: str
    target: str = ""
    key: str = ""


_TEST = re.compile(r'(oifname|iifname|arp operation|arp saddr ip) (!= |== )?(?:"([^"]*)"|([\w./*:-]+))(?: |$)')
_LOOKUP = re.compile(r"(?P<key>[io]ifname) vmap @(?P<map>\S+)$")
_VERDICT = re.compile(r"(?:counter ?)?(?:(accept|drop|return|continue)|(jump|goto) (\S+))?$")


def _rule(text: str) -> ArpRule:
    """Parse a rule of a listing. Raises NotEvaluated."""
    rest = split_comment(normal(text)).text
    tests = []
    while not _LOOKUP.match(rest) and (found := _TEST.match(rest)):
        tests.append(ArpTest(found[1], found[3] or found[4], found[2] == "!= "))
        rest = rest[found.end() :]
    if lookup := _LOOKUP.match(rest):
        return ArpRule(tuple(tests), "vmap", lookup["map"], lookup["key"])
    verdict = _VERDICT.match(rest)
    if not verdict or any(test.key == "arp saddr ip" and not _is_net(test.value) for test in tests):
        raise NotEvaluated(text)
    return ArpRule(tuple(tests), verdict[1] or verdict[2] or "continue", verdict[3] or "")


def _is_net(text: str) -> bool:
    try:
        IPv4Network(text)
    except ValueError:
        return False
    return True


@dataclass(eq=False)
class ArpTable:
    """Evaluates a table; None if it does not exist: then all packets pass."""

    listed: ListedTable | None

    @cached_property
    def rules(self) -> Mapping[str, tuple[ArpRule, ...]]:
        chains = self.listed.chains.values() if self.listed else ()
        return {chain.name: tuple(_rule(text) for _, text in chain.lines) for chain in chains}

    @cached_property
    def maps(self) -> Mapping[str, Mapping[str, ArpRule]]:
        maps = self.listed.maps.values() if self.listed else ()
        return {one.name: dict(map(_element, one.elements)) for one in maps}

    @cached_property
    def bases(self) -> Mapping[str, list[tuple[str, str]]]:
        """(chain, policy) of the base chains at each hook, in order."""
        if self.listed is None or any("dormant" in option for option in self.listed.options):
            return {hook: [] for hook in HOOKS}
        found = [(chain.name, chain.base) for chain in self.listed.chains.values() if chain.base]
        found.sort(key=lambda each: priority_of(each[1].priority))
        return {hook: [(name, base.policy) for name, base in found if base.hook == hook] for hook in HOOKS}

    def passes(self, packet: ArpPacket) -> bool:
        """Whether a packet passes. Raises NotEvaluated for chains that no kernel accepts."""
        bases = self.bases[packet.hook]
        try:
            return all((self._through(name, packet) or policy.lower()) != "drop" for name, policy in bases)
        except RecursionError:
            raise NotEvaluated("chains that jump in a circle") from None

    def _through(self, chain: str, packet: ArpPacket) -> str:
        """The verdict of a chain: ``accept`` or ``drop``, "" at its end."""
        for rule in self.rules.get(chain, ()):
            if not all(test.holds(packet) for test in rule.tests):
                continue
            found = self._looked_up(rule, packet) if rule.verb == "vmap" else rule
            if found is None or found.verb == "continue":
                continue
            if found.verb == "return":
                return ""
            if found.verb in ("accept", "drop"):
                return found.verb
            verdict = self._through(found.target, packet)
            if verdict or found.verb == "goto":
                return verdict
        return ""

    def _looked_up(self, rule: ArpRule, packet: ArpPacket) -> ArpRule | None:
        return self.maps.get(rule.target, {}).get(packet.value(rule.key))

    @property
    def interfaces(self) -> Iterator[str]:
        """The interfaces in rules and maps; a wildcard is replaced by an interface that only it matches."""
        yield from (name for one in self.maps.values() for name in one)
        for rule in (rule for rules in self.rules.values() for rule in rules):
            yield from (test.value.replace("*", " …") for test in rule.tests if test.key in _SIDES)

    def asked(self, packet: ArpPacket) -> Iterator[ArpTest]:
        """All matches that are evaluated for packets like this one, for any address."""
        chains = [name for name, _ in self.bases[packet.hook]]
        for chain in chains:
            for rule in self.rules.get(chain, ()):
                yield from rule.tests
                found = self._looked_up(rule, packet) if rule.verb == "vmap" else rule
                if found and found.verb in ("jump", "goto") and found.target not in chains:
                    chains.append(found.target)


def _element(text: str) -> tuple[str, ArpRule]:
    key, _, verdict = text.partition(" : ")
    return key.strip('"'), _rule(verdict)


def _packets(tables: Sequence[ArpTable]) -> Iterator[ArpPacket]:
    """One packet of every class that rules and maps distinguish."""
    names = dict.fromkeys((OTHER, *(name for table in tables for name in table.interfaces)))
    for hook, interface in product(HOOKS, names):
        like = ArpPacket(interface, "", 0, hook)
        asked = [test for table in tables for test in table.asked(like)]
        operations = [test.value for test in asked if test.key == "arp operation"]
        edges = [edge for test in asked if test.key == "arp saddr ip" for edge in test.span if edge <= LAST_ADDRESS]
        for operation in dict.fromkeys((*OPERATIONS, *operations)):
            yield from (like._replace(operation=operation, sender=sender) for sender in sorted({0, *edges}))


def arp_effect(right: ListedTable, there: ListedTable | None) -> Effect:
    """The effect on ARP packets of a table in place of the wanted one."""
    tables = (ArpTable(right), ArpTable(there))
    try:
        changed = [(packet, tables[1].passes(packet)) for packet in _packets(tables)
                   if tables[0].passes(packet) != tables[1].passes(packet)]  # fmt: skip
    except NotEvaluated as wrong:
        words = f"may change which ARP requests the host answers: not understood: {wrong}"
        return Effect(Severity.UNKNOWN, words, certain=False, kind="unknown", conditions=(str(wrong),))
    if not changed:
        return HARMLESS
    opened = [packet for packet, passes in changed if passes]
    closed = [packet for packet, passes in changed if not passes]
    told = [*_told("lets {} what should be dropped", opened), *_told("drops what should get {}", closed)]
    kind: EffectKind = "both" if opened and closed else "opens" if opened else "closes"
    return Effect(Severity.LETS_THROUGH if opened else Severity.DROPS, "; ".join(told), kind=kind)


def _told(words: str, packets: Iterable[ArpPacket]) -> Iterator[str]:
    for hook, way in zip(HOOKS, ("out", "in"), strict=True):
        found = [packet for packet in packets if packet.hook == hook]
        if found:
            yield f"{words.format(way)}: {_some(found)}"


def _some(packets: Iterable[ArpPacket]) -> str:
    return few(map(str, packets), 2)
