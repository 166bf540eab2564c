"""Classes of endpoints that behave the same: two endpoints of each class are compiled and represent all others.

Nodes are in one class if their settings, tunnels and interfaces are the same; pods if their nodes are, the same
policies and profiles apply to them in the same order, and they have the same limits. This follows from the manifests.
Whether their addresses are in the same nets and sets follows from the rules: after compiling, classes whose members
differ in this are split and compiled again, until no class is. The rules of all pods of a class are then the same
except for their own interface and address, which no other rule mentions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from msgspec.structs import replace

from felixpy.flows.packets.packet_sets import bits
from felixpy.flows.packets.peers import AddressOwners, Layer, Layers, refine
from felixpy.flows.programs.code import Library, RuleCode, SetCode
from felixpy.flows.programs.perspective import member_range
from felixpy.model import Source
from felixpy.names import set_name
from felixpy.netfilter.actions import Rewrite
from felixpy.netfilter.criteria import AddressIn, InSet
from felixpy.netfilter.numbers import Range
from felixpy.resolve import LocalWorkload

NO_LABELS: Mapping[str, str] = {}
NOWHERE = Source("", 0)

RELATIVE_SETS = ("this-host", "all-vxlan-net")
"""Sets that differ by node: a node's own addresses, and all nodes except itself."""


EndpointKind = Literal["pod", "interface", "host"]


class Identity(NamedTuple):
    """The identity of an endpoint: namespace and name of pods, name of hosts, node and interface of unknown pods."""

    kind: EndpointKind
    space: str
    name: str


class Home(NamedTuple):
    """Nodes that behave the same; the rules of the first one are compiled, as if the pods of all were on it."""

    nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.nodes[0]


class EndpointClass(NamedTuple):
    """Endpoints that behave the same. The first represents all as sender, another one, if there is any, as receiver."""

    home: Home
    members: tuple[Identity, ...]

    @property
    def sender(self) -> Identity:
        return self.members[0]

    @property
    def receiver(self) -> Identity:
        return self.members[-1]


@dataclass(frozen=True)
class Classes:
    """All endpoints and nodes of an input, in classes."""

    homes: tuple[Home, ...]
    endpoints: tuple[EndpointClass, ...]

    def of(self, home: Home) -> Sequence[EndpointClass]:
        """Return the classes of the pods and hosts of some nodes."""
        return self._by_home.get(home, ())

    @cached_property
    def _by_home(self) -> Mapping[Home, Sequence[EndpointClass]]:
        found: dict[Home, list[EndpointClass]] = defaultdict(list)
        for each in self.endpoints:
            found[each.home].append(each)
        return found


def homes_of(nodes: Mapping[str, Hashable]) -> tuple[Home, ...]:
    """Return nodes (keys by name) in groups with the same key."""
    by_key: dict[Hashable, list[str]] = defaultdict(list)
    for name, key in nodes.items():
        by_key[key].append(name)
    return tuple(Home(tuple(names)) for names in by_key.values())


def sorted_out(homes: Sequence[Home], endpoints: Iterable[tuple[Identity, str, Hashable]]) -> Classes:
    """Return classes of endpoints, given as (identity, node, key), with the same key on nodes that behave the same."""
    at_home = {name: home for home in homes for name in home.nodes}
    members: dict[tuple[Home, str, Hashable], list[Identity]] = defaultdict(list)
    for identity, node, key in endpoints:
        members[at_home[node], identity.kind, key].append(identity)
    return Classes(tuple(homes), tuple(EndpointClass(home, tuple(found)) for (home, _, _), found in members.items()))


def alone(endpoints: Iterable[tuple[Identity, str]], names: Iterable[str]) -> Classes:
    """Return a class for every node and every endpoint."""
    return sorted_out([Home((name,)) for name in names], ((identity, node, identity) for identity, node in endpoints))


def behaviour(local: LocalWorkload) -> Hashable:
    """Return all input of a pod's chains except its interface and addresses.

    Labels, namespaces and ports matter only through the addresses in sets.
    """
    workload = local.workload
    rest = replace(
        workload, namespace="", name="", node="", interface="", addresses=(), labels=NO_LABELS, ports=(),
        source=NOWHERE, serves=(), owner=None, ready=True, leaving=False,
    )  # fmt: skip
    return local.policies, repr(rest)


class AddressMarks:
    """Numbers of addresses: the rules of one family treat two addresses with the same number the same.

    `relative` are such numbers without the sets that differ by node (`RELATIVE_SETS`).
    """

    def __init__(self, library: Library, nets: Iterable[Layers], addresses: Iterable[int]) -> None:
        self._addresses = sorted(set(addresses))
        self._directory = AddressOwners({address: 1 << at for at, address in enumerate(self._addresses)})
        self._asked = _Asked(library.family)
        for chain in library.chains:
            for rule in chain.rules:
                self._asked.note(rule)
        self._asked.layers.update(dict.fromkeys(nets))
        self._numbers = [0] * len(self._addresses)
        sizes = [len(self._addresses)]
        for layers in self._asked.layers:
            refine(self._numbers, sizes, self._inside(layers))
        self.relative = dict(zip(self._addresses, list(self._numbers), strict=True))
        for layers in self._asked.own_layers:
            refine(self._numbers, sizes, self._inside(layers))
        self.absolute = dict(zip(self._addresses, self._numbers, strict=True))
        for marks in (self.relative, self.absolute):
            for address, found in self._asked.rows.items():
                if address in marks:
                    marks[address] = self._asked.number(marks[address], found)

    def _inside(self, layers: Layers) -> Sequence[int]:
        """Return the positions of addresses inside, or outside, whichever are fewer: either distinguishes them."""
        inside = self._directory.peers(layers)
        whole = (1 << len(self._addresses)) - 1
        return [*bits(inside if 2 * inside.bit_count() <= len(self._addresses) else inside ^ whole)]


class _Asked:
    """The criteria of rules about addresses."""

    def __init__(self, family: int) -> None:
        self.layers: dict[Layers, None] = {}
        self.own_layers: dict[Layers, None] = {}
        self.rows: dict[int, list[Hashable]] = defaultdict(list)
        """By address: the members of sets of several dimensions with this address, without it."""
        self._own_sets = {set_name(family, name) for name in RELATIVE_SETS}
        self._noted: set[tuple[SetCode, bool]] = set()
        self._numbers: dict[Hashable, int] = {}

    def note(self, rule: RuleCode) -> None:
        if isinstance(rule.action, Rewrite) and rule.action.address is not None:
            self.layers[Layer(Range(rule.action.address, rule.action.address)),] = None
        for test in rule.body.tests:
            match test.criterion:
                case AddressIn(_, ranges):
                    self.layers[tuple(map(Layer, ranges))] = None
                case InSet(name, _) if code := rule.sets[name]:
                    self._note_set(code, own=name in self._own_sets)
                case _:
                    pass

    def _note_set(self, code: SetCode, *, own: bool) -> None:
        if (code, own) in self._noted:
            return
        self._noted.add((code, own))
        if len(code.dimensions) == 1 and code.dimensions[0] != "port":
            (self.own_layers if own else self.layers)[code.layers] = None
            return
        for row in code.rows:
            lengths = iter(row.lengths)
            for at, value in enumerate(row.values):
                if not isinstance(value, int):
                    continue
                addresses = member_range(value, next(lengths), code.family)
                if code.is_exact:
                    others = (*row.values[:at], *row.values[at + 1 :])
                    self.rows[addresses.first].append((id(code), at, others))
                else:
                    self.layers[Layer(addresses),] = None

    def number(self, mark: int, rows: Sequence[Hashable]) -> int:
        """Return a number for a mark and members of sets together, which differs from all marks."""
        key = mark, frozenset(rows)
        return self._numbers.setdefault(key, -1 - len(self._numbers))
