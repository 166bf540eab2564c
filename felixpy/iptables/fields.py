"""One option of a match or target: how it is written, how iptables-save prints it, and how two are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_network
from socket import AF_INET6, inet_ntop
from typing import NamedTuple, TypeAlias

from felixpy.iptables.words import quoted
from felixpy.netfilter.criteria import Criterion
from felixpy.netfilter.numbers import PROTOCOLS, parse_mark, protocol_number

Values: TypeAlias = tuple[str, ...]

MAX_LOG_PREFIX = 29
"""What the LOG target keeps of its prefix; the rest is cut silently."""

MAX_KERNEL_COMMENT = 255


def _as_written(values: Values, family: int) -> str:
    return " ".join(values)


def _plain(values: Values, family: int) -> object:
    return values


class OptionField(NamedTuple):
    """An option. `others` are its further names, `words` the number of its values.

    `shown` returns the text printed after the name, `value` the value by which rules are compared, `criterion` what it
    asks of a packet in a family. Values in `hidden` are the default, which some releases do not print. `order` is the
    position among the printed options of its match, `more` is printed after it. The kernel ignores an `idle` option.
    """

    name: str
    others: tuple[str, ...] = ()
    words: int = 1
    shown: Callable[[Values, int], str] = _as_written
    value: Callable[[Values, int], object] = _plain
    criterion: Callable[[Values, int], Criterion] | None = None
    hidden: tuple[Values, ...] = ()
    prints_default: bool = True
    order: int = 0
    more: str = ""
    idle: bool = False


def by_name(fields: tuple[OptionField, ...]) -> Mapping[str, OptionField]:
    """Options by each of their names."""
    return {name: field for field in fields for name in (field.name, *field.others)}


# --- networks and protocols

ALIASES: Mapping[str, str | int] = {"ipv4": 4, "ospfigp": 89, "icmp6": 58, "ip": 0, "hopopt": 0}
"""Names of protocols that Debian spells otherwise."""


def shown_network(values: Values, family: int) -> str:
    """A network, masked, as the C library spells it: ``::ffff:10.0.0.1`` keeps its dots."""
    net = ip_network(values[0], strict=False)
    if net.version == 4:
        return str(net)
    return f"{inet_ntop(AF_INET6, net.network_address.packed)}/{net.prefixlen}"


def shown_ports(values: Values, family: int) -> str:
    """Ports, alone or after an address; a range of one port is printed as that port."""
    rest, dash, last = values[0].rpartition("-")
    return rest if dash and rest.rpartition(":")[2] == last else values[0]


def network(values: Values, family: int) -> object:
    return frozenset(str(ip_network(text, strict=False)) for text in values[0].split(","))


def protocol(values: Values, family: int) -> int:
    """The number of a protocol, given by number or by a name of any release. Raises UsageError."""
    name = values[0].lower()
    return protocol_number(ALIASES.get(name, name))


def shown_protocol(values: Values, family: int) -> str:
    name = values[0]
    if name == "icmpv6":
        return "ipv6-icmp"
    return PROTOCOLS.get(int(name), name) if name.isdecimal() else name


# --- marks


def mark(values: Values, family: int) -> object:
    return parse_mark(values[0])


def shown_mark(values: Values, family: int) -> str:
    found, mask = parse_mark(values[0])
    return f"{found:#x}" if mask == 0xFFFFFFFF else f"{found:#x}/{mask:#x}"


def shown_both(values: Values, family: int) -> str:
    found, mask = parse_mark(values[0])
    return f"{found:#x}/{mask:#x}"


def set_mark(values: Values, family: int) -> object:
    """``--set-mark V/M`` is ``--set-xmark V/(V|M)``."""
    found, mask = parse_mark(values[0])
    return found, found | mask


def shown_xmark(values: Values, family: int) -> str:
    found, mask = parse_mark(values[0])
    return f"{found:#x}/{found | mask:#x}"


# --- lists, numbers and rates


def listed(values: Values, family: int) -> object:
    """A comma-separated list to compare without regard to order."""
    return frozenset(values[0].split(","))


def number(values: Values, family: int) -> object:
    return int(values[0], 0)


_LIMIT_UNITS = {"sec": 10_000, "min": 600_000, "hour": 36_000_000, "day": 864_000_000}
"""Length of a unit in the ticks the kernel counts a period in (XT_LIMIT_SCALE)."""

_UNIT_NAMES = {
    "second": "sec", "sec": "sec", "s": "sec", "minute": "min", "min": "min", "m": "min", "hour": "hour", "h": "hour",
    "day": "day", "d": "day", "": "sec",
}  # fmt: skip


def rate(values: Values, family: int) -> object:
    """The period of a rate, equal for ``60/minute`` and ``1/sec``."""
    count, _, unit = values[0].partition("/")
    return _LIMIT_UNITS[_UNIT_NAMES[unit]] // int(count)


def shown_rate(values: Values, family: int) -> str:
    """A rate as iptables prints it: from the period that the kernel stores, in the unit that iptables chooses."""
    count, _, unit = values[0].partition("/")
    period = _LIMIT_UNITS[_UNIT_NAMES[unit]] // int(count)
    reached = "day"
    for smaller in ("hour", "min", "sec"):
        size = _LIMIT_UNITS[smaller]
        if period > size or size // period < size % period:
            break
        reached = smaller
    return f"{_LIMIT_UNITS[reached] // period}/{reached}"


_PRINTED_STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT")


def shown_states(values: Values, family: int) -> str:
    given = values[0].split(",")
    return ",".join(state for state in _PRINTED_STATES if state in given)


# --- texts


def _cut(text: str, length: int) -> str:
    return text.encode()[:length].decode(errors="ignore")


def shown_comment(values: Values, family: int) -> str:
    return quoted(_cut(values[0], MAX_KERNEL_COMMENT))


def shown_log_prefix(values: Values, family: int) -> str:
    return quoted(_cut(values[0], MAX_LOG_PREFIX))


def shown_text(values: Values, family: int) -> str:
    return quoted(values[0])
