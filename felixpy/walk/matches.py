"""What each criterion of a rule says about a packet: a table of modules and their options.

Where the answer depends on more than the packet, something is taken for granted; `ASSUMPTIONS` says what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from felixpy.dump import Match, Option
from felixpy.errors import UsageError
from felixpy.walk.members import BITS, SetLibrary, UnknownSet
from felixpy.walk.packet import FLAGS, STATES, parse_address, protocol_number
from felixpy.walk.run import Run, Test

ASSUMPTIONS: Mapping[str, str] = {
    "limit": "within the limit",
    "hashlimit": "within the limit",
    "connlimit": "fewer connections than the limit",
    "recent": "not seen lately",
    "ipvs": "no connection of IPVS",
}
"""What is taken for granted where a rule has such a criterion."""

FULL_MARK = 0xFFFFFFFF


class Unknown(Exception):
    """A criterion that the walk does not understand."""


class Context(NamedTuple):
    """What criteria refer to: the family and the saved sets."""

    family: int
    sets: SetLibrary


Maker = Callable[[tuple[str, ...], Context], Test | None]
"""Makes the test for an option's values; None where it always holds."""


def never(run: Run) -> bool:
    return False


def make_test(match: Match, context: Context) -> Test | None:
    """The test for one match; None where it always holds. Raises Unknown."""
    special = SPECIAL.get(match.module)
    if special:
        return special(match, context)
    makers = MODULES.get(match.module)
    if makers is None:
        raise Unknown(f"-m {match.module}")
    try:
        return every([_option(option, match.module, makers, context) for option in match.options])
    except (ValueError, IndexError, KeyError, UsageError, UnknownSet) as wrong:
        raise Unknown(f"{match.module}: {wrong}") from wrong


def _option(option: Option, module: str, makers: Mapping[str, Maker], context: Context) -> Test | None:
    if option.name not in makers:
        raise Unknown(f"-m {module} {option.name}")
    test = makers[option.name](option.values, context)
    return negate(test) if option.negated else test


def negate(test: Test | None) -> Test:
    if test is None:
        return never
    positive = test
    return lambda run: not positive(run)


def every(tests: list[Test | None]) -> Test | None:
    """All of the tests in one; those that always hold are left out."""
    real = [test for test in tests if test is not None]
    if len(real) < 2:
        return real[0] if real else None
    first, *others = real
    if len(others) == 1:
        second = others[0]
        return lambda run: first(run) and second(run)
    return lambda run: all(test(run) for test in real)


# --- core criteria


def _net(text: str, context: Context) -> tuple[int, int]:
    address, _, length = text.partition("/")
    bits = BITS[context.family]
    number, family = parse_address(address)
    if family != context.family:
        raise Unknown(f"{text} in rules of IPv{context.family}")
    if length.isdecimal() or not length:
        mask = (1 << bits) - (1 << bits - int(length or bits))
    else:
        mask = parse_address(length).number
    return number & mask, mask


def _nets(values: tuple[str, ...], context: Context) -> list[tuple[int, int]]:
    """Felix may write several addresses with commas; the tools make a rule of each."""
    return [_net(text, context) for text in values[0].split(",")]


def _source(values: tuple[str, ...], context: Context) -> Test:
    nets = _nets(values, context)
    if len(nets) == 1:
        ((net, mask),) = nets
        return lambda run: run.source & mask == net
    return lambda run: any(run.source & mask == net for net, mask in nets)


def _destination(values: tuple[str, ...], context: Context) -> Test:
    nets = _nets(values, context)
    if len(nets) == 1:
        ((net, mask),) = nets
        return lambda run: run.destination & mask == net
    return lambda run: any(run.destination & mask == net for net, mask in nets)


def _in_interface(values: tuple[str, ...], context: Context) -> Test:
    name = values[0]
    if name.endswith("+"):
        prefix = name[:-1]
        return lambda run: run.in_interface.startswith(prefix)
    return lambda run: run.in_interface == name


def _out_interface(values: tuple[str, ...], context: Context) -> Test:
    name = values[0]
    if name.endswith("+"):
        prefix = name[:-1]
        return lambda run: run.out_interface.startswith(prefix)
    return lambda run: run.out_interface == name


def _protocol(values: tuple[str, ...], context: Context) -> Test | None:
    number = protocol_number(values[0])
    return (lambda run: run.protocol == number) if number else None


# --- marks and connections


def mark_and_mask(text: str) -> tuple[int, int]:
    """The two numbers of a mark; a mark alone is about all bits.

    >>> mark_and_mask("0x10000/0x30000"), mark_and_mask("5")
    ((65536, 196608), (5, 4294967295))
    """
    mark, _, mask = text.partition("/")
    return int(mark, 0), int(mask, 0) if mask else FULL_MARK


def _mark(values: tuple[str, ...], context: Context) -> Test:
    mark, mask = mark_and_mask(values[0])
    return lambda run: run.mark & mask == mark


def _connection_mark(values: tuple[str, ...], context: Context) -> Test:
    mark, mask = mark_and_mask(values[0])
    return lambda run: run.connection_mark & mask == mark


def _states(values: tuple[str, ...], context: Context) -> Test:
    bits = 0
    for name in values[0].split(","):
        bits |= STATES[name]
    return lambda run: run.ct & bits != 0


# --- ports, types and flags


def ranges(text: str) -> list[tuple[int, int]]:
    """``80,443,8000:8080``; an open range goes to the end."""
    found = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        low = int(first or 0)
        found.append((low, int(last or 65535) if colon else low))
    return found


def _port_test(values: tuple[str, ...], context: Context) -> Test:
    parts = ranges(values[0])
    singles = frozenset(low for low, high in parts if low == high)
    wide = [(low, high) for low, high in parts if low != high]
    if not wide:
        return lambda run: run.port in singles
    return lambda run: run.port in singles or any(low <= run.port <= high for low, high in wide)


def _source_port_test(values: tuple[str, ...], context: Context) -> Test:
    parts = ranges(values[0])
    return lambda run: any(low <= run.source_port <= high for low, high in parts)


def _either_port_test(values: tuple[str, ...], context: Context) -> Test:
    source, destination = _source_port_test(values, context), _port_test(values, context)
    return lambda run: source(run) or destination(run)


def _flags(values: tuple[str, ...], context: Context) -> Test:
    examined, wanted = (sum({FLAGS[name] for name in text.split(",")}) for text in values)
    return lambda run: run.flags & examined == wanted


ICMP_NAMES: Mapping[int, Mapping[str, str]] = {
    4: {"255": "any", "echo-reply": "0", "destination-unreachable": "3", "echo-request": "8", "time-exceeded": "11"},
    6: {"echo-request": "128", "echo-reply": "129", "neighbour-solicitation": "135", "neighbour-advertisement": "136"},
}
"""Names that people write; the tools print numbers."""


def _icmp(values: tuple[str, ...], context: Context) -> Test | None:
    """``8``, ``8/0``, ``any`` or a name."""
    kind, _, code = ICMP_NAMES[context.family].get(values[0], values[0]).partition("/")
    if kind == "any":
        return None
    wanted = int(kind)
    if not code:
        return lambda run: run.icmp_type == wanted
    exact = int(code)
    return lambda run: run.icmp_type == wanted and run.icmp_code == exact


# --- sets and addresses


def _set(values: tuple[str, ...], context: Context) -> Test:
    name, directions = values
    return context.sets.get(name).test(directions.split(","))


def _address_range(side: str) -> Maker:
    def make(values: tuple[str, ...], context: Context) -> Test:
        first, last = (parse_address(text).number for text in values[0].split("-"))
        if side == "source":
            return lambda run: first <= run.source <= last
        return lambda run: first <= run.destination <= last

    return make


def _address_type(match: Match, context: Context) -> Test | None:
    """LOCAL is the machine's own addresses, with a limit those of the interface alone; others are not understood."""
    names = {option.name for option in match.options}
    tests: list[Test | None] = []
    for option in match.options:
        if option.name.startswith("--limit-iface"):
            continue
        if option.name not in ("--src-type", "--dst-type") or option.values != ("LOCAL",):
            raise Unknown(f"-m addrtype {option.name} {' '.join(option.values)}")
        test = _local(option.name == "--src-type", names)
        tests.append(negate(test) if option.negated else test)
    return every(tests)


def _local(source: bool, names: set[str]) -> Test:
    def test(run: Run) -> bool:
        address = run.source if source else run.destination
        if "--limit-iface-out" in names:
            return address in run.local.get(run.out_interface, ())
        if "--limit-iface-in" in names:
            return address in run.local.get(run.in_interface, ())
        return run.is_local(address)

    return test


# --- where something is taken for granted


def _reverse_path(match: Match, context: Context) -> Test:
    if any(option.name == "--invert" for option in match.options):
        return lambda run: run.forged
    return lambda run: not run.forged


def _counted(match: Match, context: Context) -> Test | None:
    """Criteria that hold up to a limit hold, those that begin above it do not."""
    above = any(option.name.endswith("-above") != option.negated for option in match.options if option.values)
    return never if above else None


def _recent(match: Match, context: Context) -> Test | None:
    names = {option.name for option in match.options}
    return None if "--set" in names else never


def _ipvs(match: Match, context: Context) -> Test | None:
    if len(match.options) != 1 or match.options[0].name != "--ipvs":
        raise Unknown("-m ipvs with options")
    return None if match.options[0].negated else never


def _always(match: Match, context: Context) -> None:
    return None


def _unfragmented(match: Match, context: Context) -> Test | None:
    """Packets that are walked are whole, and ``-f`` means later fragments."""
    return None if match.options[0].negated else never


_PORTS: Mapping[str, Maker] = {"--dport": _port_test, "--sport": _source_port_test}
_ICMP6: Mapping[str, Maker] = {"--icmpv6-type": _icmp}

MODULES: Mapping[str, Mapping[str, Maker]] = {
    "-s": {"-s": _source},
    "-d": {"-d": _destination},
    "-i": {"-i": _in_interface},
    "-o": {"-o": _out_interface},
    "-p": {"-p": _protocol},
    "mark": {"--mark": _mark},
    "connmark": {"--mark": _connection_mark},
    "conntrack": {"--ctstate": _states},
    "state": {"--state": _states},
    "multiport": {"--dports": _port_test, "--sports": _source_port_test, "--ports": _either_port_test},
    "tcp": {**_PORTS, "--tcp-flags": _flags, "--syn": lambda v, c: _flags(("FIN,SYN,RST,ACK", "SYN"), c)},
    **dict.fromkeys(("udp", "udplite", "sctp", "dccp"), _PORTS),
    "icmp": {"--icmp-type": _icmp},
    **dict.fromkeys(("icmp6", "icmpv6", "ipv6-icmp"), _ICMP6),
    "set": {"--match-set": _set},
    "iprange": {"--src-range": _address_range("source"), "--dst-range": _address_range("destination")},
}

SPECIAL: Mapping[str, Callable[[Match, Context], Test | None]] = {
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
