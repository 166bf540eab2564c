"""The matches of iptables: how each is spelt, what it asks of packets, and what the kernel refuses about it.

A new match is one row of `MATCHES`. If a match depends on more than the packet, the row states what is assumed. Options
that need no module are rows named after the option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from msgspec import Struct

from felixpy.iptables import fields as f
from felixpy.iptables.fields import OptionField, Values, by_name
from felixpy.iptables.refused import ICMP_ALONE, LIMIT, LONG_INTERFACE, PORTS_ALONE, TWO_PROTOCOLS, Refusal
from felixpy.netfilter.criteria import (
    ALWAYS,
    AddressIn,
    Assumed,
    Constant,
    Criterion,
    IcmpTypes,
    InSet,
    Interface,
    Local,
    Marked,
    Masked,
    NotUnderstood,
    Ports,
    Protocol,
    ReversePath,
    Side,
    TcpFlags,
    Test,
    Tracked,
)
from felixpy.netfilter.numbers import (
    FLAGS,
    STATES,
    Range,
    net_bits,
    net_range,
    parse_address,
    parse_mark,
    parse_ranges,
)
from felixpy.netfilter.rules import Match

Special = Callable[[Match, int], list[Test]]


class MatchRow(Struct, frozen=True, eq=False, dict=True):
    """One match. `tests` reads all options at once, for matches whose options only have a meaning together.

    `others` are further names of the module.
    """

    name: str
    fields: tuple[OptionField, ...] = ()
    others: tuple[str, ...] = ()
    tests: Special | None = None
    refusals: tuple[Refusal, ...] = ()

    @cached_property
    def options(self) -> Mapping[str, OptionField]:
        return by_name(self.fields)


# --- core criteria


def _addresses(side: Side) -> Callable[[Values, int], Criterion]:
    def make(values: Values, family: int) -> Criterion:
        found: list[Range] = []
        for text in values[0].split(","):
            bits, mask, own = net_bits(text)
            if own != family:
                return NotUnderstood(text, f"{text} in rules of IPv{family}")
            covered = net_range(bits, mask, family)
            if covered is None:
                return Masked(side, bits, mask)
            found.append(covered)
        return AddressIn(side, tuple(found))

    return make


def _interface(*, incoming: bool) -> Callable[[Values, int], Criterion]:
    return lambda values, family: Interface(incoming, values[0])


def _protocol(values: Values, family: int) -> Criterion:
    number = f.protocol(values, family)
    return Protocol(number) if number else ALWAYS


# --- marks and connections


def _marked(*, connection: bool) -> Callable[[Values, int], Criterion]:
    return lambda values, family: Marked(*parse_mark(values[0]), connection)


def _states(values: Values, family: int) -> Criterion:
    bits = 0
    for name in values[0].split(","):
        bits |= STATES[name]
    return Tracked(bits)


_STATE = OptionField("--ctstate", ("--state",), shown=f.shown_states, value=f.listed, criterion=_states)

# --- ports, types and flags


def _ports(*sides: Side) -> Callable[[Values, int], Criterion]:
    return lambda values, family: Ports(sides, parse_ranges(values[0]))


_PORTS = (
    OptionField("--sport", ("--source-port",), criterion=_ports("source")),
    OptionField("--dport", ("--destination-port",), criterion=_ports("destination")),
)


def _flags(values: Values, family: int) -> Criterion:
    examined, wanted = (sum({FLAGS[name] for name in text.split(",")}) for text in values)
    return TcpFlags(examined, wanted)


def _syn(values: Values, family: int) -> Criterion:
    return _flags(("FIN,SYN,RST,ACK", "SYN"), family)


ICMP_NAMES: Mapping[int, Mapping[str, str]] = {
    4: {"255": "any", "echo-reply": "0", "destination-unreachable": "3", "echo-request": "8", "time-exceeded": "11"},
    6: {"echo-request": "128", "echo-reply": "129", "neighbour-solicitation": "135", "neighbour-advertisement": "136"},
}
"""Names that people write; the tools print numbers."""


def _icmp_type(values: Values, family: int) -> str:
    return ICMP_NAMES[family].get(values[0], values[0])


def _icmp(values: Values, family: int) -> Criterion:
    """The criterion of an ICMP type: ``8``, ``8/0``, ``any`` or a name."""
    kind, _, code = _icmp_type(values, family).partition("/")
    if kind == "any":
        return ALWAYS
    first = int(kind) << 8 | int(code or 0)
    return IcmpTypes(Range(first, first if code else first | 0xFF))


def _shown_icmp(values: Values, family: int) -> str:
    return "any" if values[0] == "255" else values[0]


# --- sets and addresses


def _listed(values: Values, family: int) -> Criterion:
    name, sides = values
    return InSet(name, tuple(sides.split(",")))


def _address_range(side: Side) -> Callable[[Values, int], Criterion]:
    def make(values: Values, family: int) -> Criterion:
        first, last = (parse_address(text).number for text in values[0].split("-"))
        return AddressIn(side, (Range(first, last),))

    return make


_LIMITS = {"--limit-iface-in": "in", "--limit-iface-out": "out"}
_LOCAL_SIDES: Mapping[str, Side] = {"--src-type": "source", "--dst-type": "destination"}


def _address_type(match: Match, family: int) -> list[Test]:
    """Tests of ``-m addrtype``: LOCAL, for all addresses of the node or one interface; others are not understood."""
    limits = [_LIMITS[option.name] for option in match.options if option.name in _LIMITS]
    tests = []
    for option in match.options:
        if option.name in _LIMITS:
            continue
        if option.name not in _LOCAL_SIDES or option.values != ("LOCAL",):
            text = f"-m addrtype {option.name} {' '.join(option.values)}"
            tests.append(Test(NotUnderstood(text, text)))
            continue
        tests.append(Test(Local(_LOCAL_SIDES[option.name], limits[-1] if limits else ""), option.negated))
    return tests


# --- with assumptions


def _reverse_path(match: Match, family: int) -> list[Test]:
    return [Test(ReversePath(any(option.name == "--invert" for option in match.options)))]


def _spelt(match: Match) -> str:
    words = [word for option in match.options for word in ("!" * option.negated, option.name, *option.values)]
    return " ".join(filter(None, ["-m", match.module, *words]))


def _within(match: Match, family: int) -> list[Test]:
    return [Test(Assumed(_spelt(match), "within the limit", holds=True))]


def _counted(words: str) -> Special:
    """Tests of a limit, assumed not to be reached: matches up to the limit hold, those above it do not."""

    def tests(match: Match, family: int) -> list[Test]:
        above = any(option.name.endswith("-above") != option.negated for option in match.options if option.values)
        return [Test(Assumed(_spelt(match), words, holds=not above))]

    return tests


def _recent(match: Match, family: int) -> list[Test]:
    """Tests of ``-m recent``; ``--set`` records an address and always matches."""
    noted = any(option.name == "--set" for option in match.options)
    return [Test(Constant(True) if noted else Assumed(_spelt(match), "not seen lately", holds=False))]


def _chance(match: Match, family: int) -> list[Test]:
    """A test that is not understood: a random match cannot be predicted."""
    return [Test(NotUnderstood(_spelt(match), "chosen at random"))]


def _ipvs(match: Match, family: int) -> list[Test]:
    if len(match.options) != 1 or match.options[0].name != "--ipvs":
        return [Test(NotUnderstood(_spelt(match), "-m ipvs with options"))]
    return [Test(Assumed(_spelt(match), "no connection of IPVS", holds=match.options[0].negated))]


def _fragments(match: Match, family: int) -> list[Test]:
    """Tests of ``-f`` (second and later fragments); packets are assumed not to be fragmented."""
    negated = match.options[0].negated
    return [Test(Assumed("! -f" if negated else "-f", "no fragments", holds=negated))]


def _nothing(match: Match, family: int) -> list[Test]:
    return []


_ROWS = (
    MatchRow(
        "-s",
        (
            OptionField(
                "-s", ("--source", "--src"), shown=f.shown_network, value=f.network, criterion=_addresses("source")
            ),
        ),
    ),
    MatchRow(
        "-d",
        (
            OptionField(
                "-d",
                ("--destination", "--dst"),
                shown=f.shown_network,
                value=f.network,
                criterion=_addresses("destination"),
            ),
        ),
    ),
    MatchRow(
        "-i", (OptionField("-i", ("--in-interface",), criterion=_interface(incoming=True)),), refusals=(LONG_INTERFACE,)
    ),
    MatchRow("-o", (OptionField("-o", ("--out-interface",), criterion=_interface(incoming=False)),)),
    MatchRow(
        "-p",
        (OptionField("-p", ("--protocol", "--proto"), shown=f.shown_protocol, value=f.protocol, criterion=_protocol),),
        refusals=(TWO_PROTOCOLS,),
    ),
    MatchRow("-f", (OptionField("-f", ("--fragment",), words=0),), tests=_fragments),
    MatchRow("comment", (OptionField("--comment", shown=f.shown_comment),), tests=_nothing),
    MatchRow(
        "mark",
        (OptionField("--mark", shown=f.shown_mark, value=f.mark, criterion=_marked(connection=False)),),
    ),
    MatchRow(
        "connmark",
        (OptionField("--mark", shown=f.shown_mark, value=f.mark, criterion=_marked(connection=True)),),
    ),
    MatchRow("conntrack", (_STATE,)),
    MatchRow("state", (_STATE._replace(name="--state", others=("--ctstate",)),)),
    MatchRow(
        "multiport",
        (
            OptionField("--sports", ("--source-ports",), value=f.listed, criterion=_ports("source")),
            OptionField("--dports", ("--destination-ports",), value=f.listed, criterion=_ports("destination")),
            OptionField("--ports", value=f.listed, criterion=_ports("source", "destination")),
        ),
        refusals=(PORTS_ALONE,),
    ),
    MatchRow(
        "tcp",
        (
            *_PORTS,
            OptionField(
                "--tcp-flags", words=2, value=lambda v, _: tuple(frozenset(t.split(",")) for t in v), criterion=_flags
            ),
            OptionField("--syn", words=0, criterion=_syn),
        ),
    ),
    *(MatchRow(name, _PORTS) for name in ("udp", "udplite", "sctp", "dccp")),
    MatchRow(
        "icmp",
        (OptionField("--icmp-type", shown=_shown_icmp, value=_icmp_type, criterion=_icmp),),
        refusals=(ICMP_ALONE,),
    ),
    MatchRow(
        "icmp6",
        (OptionField("--icmpv6-type", value=_icmp_type, criterion=_icmp),),
        others=("icmpv6", "ipv6-icmp"),
    ),
    MatchRow("set", (OptionField("--match-set", words=2, criterion=_listed),)),
    MatchRow(
        "iprange",
        (
            OptionField("--src-range", criterion=_address_range("source")),
            OptionField("--dst-range", criterion=_address_range("destination")),
        ),
    ),
    MatchRow(
        "addrtype",
        (
            OptionField("--src-type"),
            OptionField("--dst-type"),
            OptionField("--limit-iface-in", words=0, order=9),
            OptionField("--limit-iface-out", words=0, order=9),
        ),
        tests=_address_type,
    ),
    MatchRow(
        "rpfilter",
        (
            OptionField("--loose", words=0, order=-1),
            OptionField("--validmark", words=0),
            OptionField("--accept-local", words=0, order=0),
            OptionField("--invert", words=0, order=1),
        ),
        tests=_reverse_path,
    ),
    MatchRow(
        "limit",
        (
            OptionField("--limit", shown=f.shown_rate, value=f.rate),
            OptionField("--limit-burst", value=f.number, hidden=(("5",),), prints_default=False),
        ),
        tests=_within,
        refusals=(LIMIT,),
    ),
    MatchRow("hashlimit", tests=_counted("within the limit")),
    MatchRow(
        "connlimit",
        (
            OptionField("--connlimit-above", value=f.number),
            OptionField("--connlimit-upto", value=f.number),
            OptionField("--connlimit-mask", value=f.number, more=" --connlimit-saddr"),
            OptionField("--connlimit-saddr", words=0, hidden=((),), prints_default=False),
            OptionField("--connlimit-daddr", words=0),
        ),
        tests=_counted("fewer connections than the limit"),
    ),
    MatchRow("recent", tests=_recent),
    MatchRow("statistic", tests=_chance),
    MatchRow("ipvs", (OptionField("--ipvs", words=0),), tests=_ipvs),
)

MATCHES: Mapping[str, MatchRow] = {name: row for row in _ROWS for name in (row.name, *row.others)}
"""Rows by every name of the module."""

CORE: Mapping[str, OptionField] = {
    name: field for row in _ROWS if row.name.startswith("-") for name, field in row.options.items()
}
"""Options that every rule has without loading a module, by every name that they have."""

REFUSALS = tuple(refusal for row in _ROWS for refusal in row.refusals)
