"""What rules ask and do, as values: the same modules and targets that a walk understands, for all packets at once.

The tables stand beside those of `felixpy.walk.matches` and `felixpy.walk.targets`, and mean the same. What they take
for granted (`ASSUMPTIONS`) is taken for granted here; what they do not understand is not understood here either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from felixpy.dump import Match, Option, Rule
from felixpy.errors import UsageError
from felixpy.flows.services import Range
from felixpy.walk.matches import ASSUMPTIONS, ICMP_NAMES, mark_and_mask, ranges
from felixpy.walk.members import BITS
from felixpy.walk.packet import FLAGS, STATES, SYN, parse_address, protocol_number

Side = Literal["source", "destination"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """An address in one of some ranges."""

    side: Side
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """A member of a set, with the side that each dimension is taken from (``src`` or ``dst``)."""

    name: str
    sides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """The interface that the packet came in by (`incoming`) or leaves by; a pattern may end with ``+``."""

    incoming: bool
    pattern: str

    def fits(self, name: str) -> bool:
        return name.startswith(self.pattern[:-1]) if self.pattern.endswith("+") else name == self.pattern


@dataclass(frozen=True, slots=True)
class Protocol:
    number: int


@dataclass(frozen=True, slots=True)
class Ports:
    sides: tuple[Side, ...]
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Icmp:
    """Types of ICMP, as type * 256 + code."""

    range: Range


@dataclass(frozen=True, slots=True)
class Marked:
    """A mark of the packet, or of its connection."""

    mark: int
    mask: int
    connection: bool = False


@dataclass(frozen=True, slots=True)
class Tracked:
    """What connection tracking says: one of some states, as bits."""

    states: int


@dataclass(frozen=True, slots=True)
class Local:
    """An address of the machine; `limit` is ``in`` or ``out`` where only those of that interface count."""

    side: Side
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Constant:
    """What always holds, or never."""

    holds: bool


Criterion: TypeAlias = Addresses | Listed | Interface | Protocol | Ports | Icmp | Marked | Tracked | Local | Constant


class Test(NamedTuple):
    """A criterion that must hold, or with `negated` must not."""

    criterion: Criterion
    negated: bool = False


class Terms(NamedTuple):
    """A rule's criteria as far as they are understood, the words for the others, and what is taken for granted."""

    tests: tuple[Test, ...]
    unknown: tuple[str, ...]
    assumed: tuple[str, ...]


class NotUnderstood(Exception):
    """A criterion or target without a meaning here."""


ALWAYS, NEVER = Constant(True), Constant(False)

Values: TypeAlias = tuple[str, ...]
Maker = Callable[[Values, int], Criterion]
"""Makes the criterion for an option's values in a family."""


def read_terms(rule: Rule, family: int) -> Terms:
    """The criteria of a rule."""
    tests: list[Test] = []
    unknown: list[str] = []
    for match in rule.matches:
        try:
            tests += [test for test in _tests(match, family) if test != Test(ALWAYS)]
        except NotUnderstood as wrong:
            unknown.append(str(wrong))
    assumed = tuple(ASSUMPTIONS[match.module] for match in rule.matches if match.module in ASSUMPTIONS)
    return Terms(tuple(tests), tuple(unknown), assumed)


def _tests(match: Match, family: int) -> list[Test]:
    special = SPECIAL.get(match.module)
    if special:
        return special(match)
    makers = MODULES.get(match.module)
    if makers is None:
        raise NotUnderstood(f"-m {match.module}")
    try:
        return [Test(_maker(option, match.module, makers)(option.values, family), option.negated)
                for option in match.options]  # fmt: skip
    except (ValueError, IndexError, KeyError, UsageError) as wrong:
        raise NotUnderstood(f"{match.module}: {wrong}") from wrong


def _maker(option: Option, module: str, makers: Mapping[str, Maker]) -> Maker:
    if option.name not in makers:
        raise NotUnderstood(f"-m {module} {option.name}")
    return makers[option.name]


# --- core criteria


def net_range(text: str, family: int) -> Range:
    """The addresses of a net as numbers. Raises NotUnderstood for the other family, and for odd masks."""
    address, _, length = text.partition("/")
    number, found = parse_address(address)
    if found != family:
        raise NotUnderstood(f"{text} in rules of IPv{family}")
    bits = BITS[family]
    if length.isdecimal() or not length:
        free = bits - int(length or bits)
    else:
        host = parse_address(length).number ^ (1 << bits) - 1
        if host & host + 1:
            raise NotUnderstood(f"{text}, whose mask has gaps")
        free = host.bit_length()
    first = number >> free << free
    return Range(first, first | (1 << free) - 1)


def _addresses(side: Side) -> Maker:
    return lambda values, family: Addresses(side, tuple(net_range(text, family) for text in values[0].split(",")))


def _interface(incoming: bool) -> Maker:
    return lambda values, family: Interface(incoming, values[0])


def _protocol(values: Values, family: int) -> Criterion:
    number = protocol_number(values[0])
    return Protocol(number) if number else ALWAYS


def _marked(connection: bool) -> Maker:
    return lambda values, family: Marked(*mark_and_mask(values[0]), connection)


def _states(values: Values, family: int) -> Criterion:
    bits = 0
    for name in values[0].split(","):
        bits |= STATES[name]
    return Tracked(bits)


# --- ports, types and flags


def _ports(*sides: Side) -> Maker:
    return lambda values, family: Ports(sides, tuple(Range(*pair) for pair in ranges(values[0])))


def _flags(values: Values, family: int) -> Criterion:
    """The first packet of a connection carries SYN alone."""
    examined, wanted = (sum({FLAGS[name] for name in text.split(",")}) for text in values)
    return Constant(SYN & examined == wanted)


def _syn(values: Values, family: int) -> Criterion:
    return ALWAYS


def _icmp(values: Values, family: int) -> Criterion:
    kind, _, code = ICMP_NAMES[family].get(values[0], values[0]).partition("/")
    if kind == "any":
        return ALWAYS
    first = int(kind) << 8 | int(code or 0)
    return Icmp(Range(first, first if code else first | 0xFF))


# --- sets and addresses


def _listed(values: Values, family: int) -> Criterion:
    name, sides = values
    return Listed(name, tuple(sides.split(",")))


def _address_range(side: Side) -> Maker:
    def make(values: Values, family: int) -> Criterion:
        first, last = (parse_address(text).number for text in values[0].split("-"))
        return Addresses(side, (Range(first, last),))

    return make


LIMITS = {"--limit-iface-in": "in", "--limit-iface-out": "out"}
LOCAL_SIDES: Mapping[str, Side] = {"--src-type": "source", "--dst-type": "destination"}


def _address_type(match: Match) -> list[Test]:
    limits = [LIMITS[option.name] for option in match.options if option.name in LIMITS]
    tests = []
    for option in match.options:
        if option.name in LIMITS:
            continue
        if option.name not in LOCAL_SIDES or option.values != ("LOCAL",):
            raise NotUnderstood(f"-m addrtype {option.name} {' '.join(option.values)}")
        tests.append(Test(Local(LOCAL_SIDES[option.name], limits[-1] if limits else ""), option.negated))
    return tests


# --- where something is taken for granted


def _constant(holds: bool) -> list[Test]:
    return [Test(Constant(holds))]


def _reverse_path(match: Match) -> list[Test]:
    """Sources are genuine."""
    return _constant(not any(option.name == "--invert" for option in match.options))


def _counted(match: Match) -> list[Test]:
    """Criteria that hold up to a limit hold, those that begin above it do not."""
    return _constant(not any(o.name.endswith("-above") != o.negated for o in match.options if o.values))


def _recent(match: Match) -> list[Test]:
    return _constant("--set" in {option.name for option in match.options})


def _ipvs(match: Match) -> list[Test]:
    if len(match.options) != 1 or match.options[0].name != "--ipvs":
        raise NotUnderstood("-m ipvs with options")
    return _constant(match.options[0].negated)


def _unfragmented(match: Match) -> list[Test]:
    return _constant(match.options[0].negated)


def _always(match: Match) -> list[Test]:
    return []


_PORTS: Mapping[str, Maker] = {"--dport": _ports("destination"), "--sport": _ports("source")}
_ICMP6: Mapping[str, Maker] = {"--icmpv6-type": _icmp}

MODULES: Mapping[str, Mapping[str, Maker]] = {
    "-s": {"-s": _addresses("source")},
    "-d": {"-d": _addresses("destination")},
    "-i": {"-i": _interface(True)},
    "-o": {"-o": _interface(False)},
    "-p": {"-p": _protocol},
    "mark": {"--mark": _marked(False)},
    "connmark": {"--mark": _marked(True)},
    "conntrack": {"--ctstate": _states},
    "state": {"--state": _states},
    "multiport": {
        "--dports": _ports("destination"),
        "--sports": _ports("source"),
        "--ports": _ports("source", "destination"),
    },
    "tcp": {**_PORTS, "--tcp-flags": _flags, "--syn": _syn},
    **dict.fromkeys(("udp", "udplite", "sctp", "dccp"), _PORTS),
    "icmp": {"--icmp-type": _icmp},
    **dict.fromkeys(("icmp6", "icmpv6", "ipv6-icmp"), _ICMP6),
    "set": {"--match-set": _listed},
    "iprange": {"--src-range": _address_range("source"), "--dst-range": _address_range("destination")},
}

SPECIAL: Mapping[str, Callable[[Match], list[Test]]] = {
    "-f": _unfragmented,
    "comment": _always,
    "limit": _always,
    "hashlimit": _counted,
    "connlimit": _counted,
    "recent": _recent,
    "ipvs": _ipvs,
    "rpfilter": _reverse_path,
    "addrtype": _address_type,
}
"""Modules whose options only make sense together."""
