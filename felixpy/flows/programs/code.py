"""Rules of nodes, prepared for evaluation: equal chains of several nodes and endpoints are read once.

Chains are equal if their rules (without hashes), the chains that they jump to and the sets that they look up are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from typing import NamedTuple, TypeAlias

from felixpy.errors import UsageError
from felixpy.flows.packets.peers import Layer, Layers
from felixpy.iptables.reader import read_body
from felixpy.netfilter.actions import Action, Call, Unclear
from felixpy.netfilter.criteria import Assumed, InSet, Interface, Local, Masked, NotUnderstood
from felixpy.netfilter.hooks import HOOK_NAMES, IPTABLES, Stage, Stages
from felixpy.netfilter.numbers import BITS, Range
from felixpy.netfilter.rules import Body, Dump, SavedSet
from felixpy.remembered import remembered
from felixpy.ruleset import TABLES, Ruleset
from felixpy.walk.members import Member, Members, UnknownSet, holds_packets

Bodies: TypeAlias = tuple[Body, ...]

MOST_ASKED = 1 << 17
"""Rules for which `asked_interfaces` is cached."""


class ChainText(NamedTuple):
    """A chain: the policy of a kernel chain ("" for others), the bodies of its rules, and their numbers.

    Without numbers, rules are counted from 1. A rule that nft lists may be several here, which then share its number.
    """

    policy: str
    bodies: Bodies
    numbers: tuple[int, ...] = ()


class NodeText(NamedTuple):
    """One node's rules of one family, by table and chain, and its sets by name (None: unknown).

    `hooks` are the chains at each hook, in order.
    """

    tables: Mapping[str, Mapping[str, ChainText]]
    sets: Mapping[str, SavedSet] | None
    hooks: Stages = IPTABLES


def of_ruleset(ruleset: Ruleset, family: int) -> NodeText:
    """Return the compiled rules of a family. Only rules of nftables are printed and parsed for this."""
    if ruleset.dataplane != "iptables":
        return of_dump(ruleset.dump, family)
    tables: dict[str, dict[str, ChainText]] = {}
    for (found, name), table in ruleset.tables.items():
        if found == family:
            chains = tables[name] = {}
            for hook in TABLES[name]:
                parts = [part[hook].bodies for part in (table.inserted, table.appended) if hook in part]
                chains[hook] = ChainText("ACCEPT", tuple(read_body(body, family) for part in parts for body in part))
            for chain in table.chains:
                chains[chain.name] = ChainText("", tuple(read_body(body, family) for body in chain.bodies))
    kind = "inet6" if family == 6 else "inet"
    sets = {each.name: SavedSet(each.name, each.type, {"family": kind}, each.members) for each in ruleset.sets}
    return NodeText(tables, sets)


def of_dump(dump: Dump, family: int) -> NodeText:
    """Return the rules of a family that were saved on a node."""
    tables = {
        name: {
            chain.name: ChainText(
                chain.policy, tuple(rule.body for rule in chain.rules), tuple(rule.number for rule in chain.rules)
            )
            for chain in table.values()
        }
        for name, table in dump.tables.get(family, {}).items()
    }
    return NodeText(tables, dump.sets, dump.stages(family))


class SetCode:
    """A set, prepared for evaluation. Sets with the same content share one object."""

    def __init__(self, members: Members) -> None:
        self._members, self.dimensions = members, members.dimensions

    @cached_property
    def layers(self) -> Layers:
        """The nets of a set of one dimension, shortest prefixes first. Raises InputError for other members."""
        full = (1 << BITS[self._members.family]) - 1
        return tuple(
            Layer(Range(net, net | full ^ mask), inside)
            for mask, nets in reversed(self._members.nets())
            for net, inside in nets.items()
        )

    @cached_property
    def rows(self) -> tuple[Member, ...]:
        """The members of a set of several dimensions, in order of precedence."""
        return tuple(self._members.rows())

    @cached_property
    def is_exact(self) -> bool:
        """Whether members of several dimensions have single addresses only, and none is an exception (nomatch)."""
        full = BITS[self.family]
        return all(not row.excludes and set(row.lengths) <= {full} for row in self.rows)

    def holds(self, address: int) -> bool:
        """Return whether a set of one dimension has an address: the longest prefix that contains it decides."""
        found = (nets.get(address & mask) for mask, nets in self._members.nets())
        return next((inside for inside in found if inside is not None), False)

    @property
    def family(self) -> int:
        return self._members.family


class OpenQuestion(NamedTuple):
    """A condition that no packet decides: its `text` in the rule, `words` that describe it, and the assumed answer.

    For an `is_open` question no answer is assumed.
    """

    text: str
    words: str
    holds: bool = False
    is_open: bool = True


class RuleCode(NamedTuple):
    """A rule, prepared for evaluation: its body, its sets by name (None: unknown), and the chain that it calls.

    `place` is the table, chain and number of the first rule with this content.
    """

    body: Body
    sets: Mapping[str, SetCode | None]
    action: Action
    target: ChainCode | None
    place: str

    @property
    def text(self) -> str:
        """The rule without its chain and hash."""
        return self.body.text

    def questions(self) -> list[OpenQuestion]:
        """The conditions that are not understood or have to be assumed."""
        found: list[OpenQuestion] = []
        for test in self.body.tests:
            match test.criterion:
                case NotUnderstood(text, reason):
                    found.append(OpenQuestion(text, reason))
                case Masked():
                    found.append(OpenQuestion(str(test), "a net whose mask has gaps"))
                case Assumed(text, words, holds):
                    found.append(OpenQuestion(text, words, holds=holds is not test.negated, is_open=False))
                case InSet(name, _) if self.sets[name] is None:
                    found.append(OpenQuestion(str(test), f"set {name}, whose members are not known"))
                case _:
                    pass
        if isinstance(self.action, Unclear):
            found.append(OpenQuestion(self.action.words, self.action.words))
        return found


class AskedInterfaces(NamedTuple):
    """Whether a chain or any that it leads to has criteria about the incoming or outgoing interface.

    `local_in` and `local_out` say whether criteria compare an address with those of that interface.
    """

    incoming: bool = False
    outgoing: bool = False
    local_in: bool = False
    local_out: bool = False

    def with_(self, other: AskedInterfaces) -> AskedInterfaces:
        """Return the criteria of either."""
        return AskedInterfaces(*map(or_, self, other))


NO_INTERFACES = AskedInterfaces()


@remembered(MOST_ASKED)
def asked_interfaces(body: Body) -> AskedInterfaces:
    """Return the criteria of one rule about interfaces."""
    found = NO_INTERFACES
    for criterion, _ in body.tests:
        if isinstance(criterion, Interface):
            found = found.with_(AskedInterfaces(incoming=criterion.incoming, outgoing=not criterion.incoming))
        elif isinstance(criterion, Local):
            found = found.with_(AskedInterfaces(local_in=criterion.limit == "in", local_out=criterion.limit == "out"))
    return found


@dataclass(eq=False)
class ChainCode:
    """A chain, prepared for evaluation; `name` is that of the first chain with these rules."""

    name: str
    rules: tuple[RuleCode, ...]

    @cached_property
    def closure(self) -> tuple[ChainCode, ...]:
        """The chain and all chains that it may lead to, each once."""
        found = {id(self): self}
        for rule in self.rules:
            if rule.target:
                found.update({id(chain): chain for chain in rule.target.closure})
        return tuple(found.values())

    @cached_property
    def asks(self) -> AskedInterfaces:
        """The criteria about interfaces of the chain and all chains that it may lead to."""
        found = {asked_interfaces(rule.body) for rule in self.rules}
        found.update(target.asks for target in {rule.target for rule in self.rules if rule.target})
        return reduce(AskedInterfaces.with_, found, NO_INTERFACES)


class Library:
    """All chains and sets of one family, shared by nodes."""

    def __init__(self, family: int) -> None:
        self.family = family
        self._chains: dict[tuple[object, ...], ChainCode] = {}
        self._sets: dict[object, tuple[SavedSet, SetCode | None]] = {}

    @property
    def chains(self) -> Iterator[ChainCode]:
        """Yield every chain that was prepared."""
        return iter(self._chains.values())

    def set(self, saved: SavedSet) -> SetCode | None:
        """Return a set by its content; None for a type that is not understood.

        A set of the other family contains no address, as in the kernel.
        """
        if not holds_packets(saved, self.family):
            saved = saved._replace(members=())
        key = id(saved.members), saved.type, tuple(saved.options.items())
        if key not in self._sets:
            whole = saved.members, *key[1:]
            if whole not in self._sets:
                try:
                    code = SetCode(Members(saved))
                except UnknownSet:
                    code = None
                self._sets[whole] = saved, code
            # Keep the members, so that no other object can get their identity.
            self._sets[key] = saved, self._sets[whole][1]
        return self._sets[key][1]

    def intern(self, name: str, rules: tuple[RuleCode, ...]) -> ChainCode:
        key = tuple((rule.text, id(rule.target), *map(id, rule.sets.values())) for rule in rules)
        return self._chains.setdefault(key, ChainCode(name, rules))


class NodeProgram:
    """One node's chains, prepared when they are reached."""

    def __init__(self, text: NodeText, library: Library) -> None:
        self._text, self._library = text, library
        self._known: dict[tuple[str, str], ChainCode] = {}
        self._by_bodies: dict[tuple[str, Bodies], ChainCode] = {}
        self._open: set[tuple[str, str]] = set()

    def load(self) -> None:
        """Prepare all chains that packets may reach."""
        for stage in self.every_stage():
            self.chain(stage.table, stage.chain)

    def stages(self, hook: str) -> tuple[Stage, ...]:
        """Return the chains at a hook, in order."""
        return self._text.hooks[hook]

    def every_stage(self) -> Iterator[Stage]:
        """Yield the chains at all hooks."""
        return (stage for hook in HOOK_NAMES for stage in self.stages(hook))

    def roots(self) -> Iterator[ChainCode]:
        """Yield the existing chains at all hooks, prepared."""
        found = (self.chain(stage.table, stage.chain) for stage in self.every_stage())
        return (code for code in found if code)

    def policy(self, table: str, name: str) -> str:
        found = self._text.tables.get(table, {}).get(name)
        return found.policy if found else ""

    def chain(self, table: str, name: str) -> ChainCode | None:
        """Return a chain, None if the table has none of that name. Raises UsageError for chains that form a loop."""
        key = table, name
        if key in self._known:
            return self._known[key]
        text = self._text.tables.get(table, {}).get(name)
        if text is None:
            return None
        if key in self._open:
            raise UsageError(f"the chains that {name} leads to jump in a circle, which no kernel would take")
        found = self._by_bodies.get((table, text.bodies))
        if found is None:
            self._open.add(key)
            found = self._library.intern(name, tuple(self._rules(table, name, text)))
            self._open.discard(key)
            self._by_bodies[table, text.bodies] = found
        self._known[key] = found
        return found

    def _rules(self, table: str, name: str, text: ChainText) -> Iterator[RuleCode]:
        numbers = text.numbers or range(1, len(text.bodies) + 1)
        for number, body in zip(numbers, text.bodies, strict=True):
            yield self._rule(table, body, f"{table} {name} {number}")

    def _rule(self, table: str, body: Body, place: str) -> RuleCode:
        action, target = body.action, None
        if isinstance(action, Unclear) and body.target:
            target = self.chain(table, body.target)
            action = Call(body.target, body.goto) if target else action
        return RuleCode(body, {name: self._set(name) for name in body.sets}, action, target, place)

    def _set(self, name: str) -> SetCode | None:
        saved = (self._text.sets or {}).get(name)
        return self._library.set(saved) if saved else None
