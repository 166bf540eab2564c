"""The types of Felix's parameters: how each parses the text in an annotation, a variable or a resource.

`TYPES` has a row for each type in Felix's own table of parameters ("oneof(ACCEPT,RETURN)", "port-list"). A reader gets
the text as written, white space included, and returns the value or raises ValueError with a message for users.
(felix/config/param_types.go, felix/config/config_params.go)
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

Read = Callable[[str], object]

INT64 = 2**63
MOST_MARK_BITS = 32
LEAST_MARK_BITS_TO_READ = 2


class FailsafePort(NamedTuple):
    """A port of the host that policies cannot close; `net` is "" or a masked CIDR."""

    protocol: str
    port: int
    net: str = ""


class Type(NamedTuple):
    """A function that parses texts of a type, and `zero`, the value of the word ``none``.

    `words` are those of a oneof type in Felix's spelling.
    """

    read: Read
    zero: object
    words: tuple[str, ...] = ()


_SPELLING = re.compile(r"([a-z0-9*-]+)(?:\((.*)\))?")


@cache
def type_of(spelling: str) -> Type:
    """The type with a name in a parameter's row.

    >>> type_of("int(0:65535)").read("0x50")
    80
    """
    found = _SPELLING.fullmatch(spelling)
    assert found, spelling
    return TYPES[found[1]](found[2] or "")


# --- words and texts

_FLAGS = {
    **dict.fromkeys(("1", "yes", "y", "t", "true"), True),
    **dict.fromkeys(("0", "no", "n", "f", "false"), False),
}


def flag(raw: str) -> bool:
    found = _FLAGS.get(raw.lower())
    if found is None:
        raise ValueError("true or false is expected")
    return found


def one_of(options: str) -> Type:
    """One of some words, in any case; the value is the word as spelt in `options`."""
    by_lower = {option.lower(): option for option in options.split(",")}

    def read(raw: str) -> str:
        found = by_lower.get(raw.lower())
        if found is None:
            words = ", ".join(word.capitalize() if word.isupper() else word for word in by_lower.values())
            raise ValueError(f"one of {words} is expected")
        return found

    return Type(read, "", tuple(by_lower.values()))


def matching(pattern: str, expected: str) -> Type:
    """A text that has to match a pattern completely."""
    compiled = re.compile(pattern, re.ASCII)

    def read(raw: str) -> str:
        if not compiled.fullmatch(raw):
            raise ValueError(f"{expected} is expected")
        return raw

    return Type(read, "")


def key_values(raw: str) -> tuple[tuple[str, str], ...]:
    """``Name=value`` pairs separated by commas; text before a name is ignored, later pairs override earlier ones."""
    pairs: dict[str, str] = {}
    for item in raw.split(",") if raw.strip() else ():
        found = re.search(r"([A-Za-z0-9_]+)=([^\n]*)", item)
        if found:
            pairs[found[1]] = found[2]
        elif item:
            raise ValueError('a list such as "SNATFullyRandom=false,MASQFullyRandom=false" is expected')
    return tuple(sorted(pairs.items()))


# --- numbers

_INTEGER = re.compile(r"(?P<sign>[+-]?)(?:0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[0-9a-fA-F])+|0(?:_?[0-7])*"
                      r"|[1-9](?:_?[0-9])*)")  # fmt: skip


def whole_number(raw: str) -> int | None:
    """A number as Go parses it: decimal, 0x hexadecimal, 0b binary, 0o or a leading 0 octal; None for other texts.

    >>> [whole_number(raw) for raw in ("010", "0x1_0", "+5", " 5", "08")]
    [8, 16, 5, None, None]
    """
    if not _INTEGER.fullmatch(raw):
        return None
    digits = raw.replace("_", "")
    bare = digits.lstrip("+-")
    octal = len(bare) > 1 and bare[0] == "0" and bare[1].isdigit()
    return int(digits, 8) if octal else int(digits, 0)


def integer(ranges: str) -> Type:
    """A number within one of the ranges (``low:high``, either end may be missing); without ranges 64 bits."""
    spans = []
    for span in ranges.split(","):
        first, _, last = span.partition(":")
        spans.append((int(first or -INT64), int(last or INT64 - 1)))
    low, high = spans[0]
    limits = [f"from {low}" if low > -INT64 else "", f"to {high}" if high < INT64 - 1 else ""]
    expected = " ".join(["a whole number", *filter(None, limits), "is expected"])

    def read(raw: str) -> int:
        found = whole_number(raw)
        if found is None or not any(low <= found <= high for low, high in spans):
            raise ValueError(expected)
        return found

    return Type(read, 0)


def mark_mask(raw: str) -> int:
    found = None if raw[:1] in ("+", "-") else whole_number(raw)
    if found is None or found >= 1 << MOST_MARK_BITS:
        raise ValueError("a number of 32 bits is expected")
    if found.bit_count() < LEAST_MARK_BITS_TO_READ:
        raise ValueError(f"a mark mask needs at least {LEAST_MARK_BITS_TO_READ} bits")
    return found


def seconds(raw: str) -> float:
    try:
        return float(raw if raw == raw.strip() else "")
    except ValueError:
        raise ValueError("a number is expected") from None


DSCP_NAMES: Mapping[str, int] = {
    "DF": 0,
    "EF": 46,
    **{f"CS{number}": 8 * number for number in range(7)},
    **{f"AF{number}{drop}": 8 * number + 2 * drop for number in range(1, 5) for drop in range(1, 4)},
}
"""Names of DSCP values that Calico knows; CS7 is not among them. (api/pkg/lib/numorstring/dscp.go)"""


def dscp(raw: str) -> int:
    """A DSCP value from its number, or its name in any case, surrounding spaces ignored."""
    number = int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 20 else None
    value = DSCP_NAMES.get(raw.strip().upper()) if number is None else number
    if value is None or value > 63:
        raise ValueError("a number from 0 to 63 or a name such as AF41 is expected")
    return value


# --- addresses


def _address(raw: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; an IPv4-mapped IPv6 address is an IPv4 address. None for other texts."""
    try:
        found = ipaddress.ip_address(raw)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return None if found.scope_id is not None else found.ipv4_mapped or found
    return found


def address_of(family: int) -> Type:
    def read(raw: str) -> str:
        found = _address(raw)
        if found is None or found.version != family:
            raise ValueError(f"must be an IPv{family} address")
        return str(found)

    return Type(read, "")


def network(raw: str) -> str:
    """A CIDR or an address as a masked CIDR. Raises ValueError."""
    found = _address(raw)
    if found is not None:
        return str(ipaddress.ip_network(found))
    address, slash, length = raw.partition("/")
    parsed = _address(address) if ":" in address or "." in address else None
    if not slash or parsed is None or not re.fullmatch(r"[0-9]{1,9}", length):
        raise ValueError(f'"{raw}" is not an address or CIDR')
    try:
        return _shown(ipaddress.ip_network(f"{address}/{int(length)}", strict=False))
    except ValueError:
        raise ValueError(f'"{raw}" is not an address or CIDR') from None


def _shown(found: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """A network as Go prints it: an IPv4-mapped one as IPv4."""
    mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
    return f"{mapped}/{found.prefixlen - 96}" if mapped and found.prefixlen >= 96 else str(found)


def _items(raw: str) -> list[str]:
    """The items of a comma-separated list, without surrounding spaces and without empty ones."""
    return [item for each in raw.split(",") if (item := each.strip(" "))]


def networks(family: str) -> Type:
    """A list of CIDRs and addresses, limited to one IP family if given."""

    def read(raw: str) -> tuple[str, ...]:
        found = tuple(network(item) for item in _items(raw))
        if family and any((":" in net) != (family == "6") for net in found):
            raise ValueError(f"IPv{family} networks are expected")
        return found

    return Type(read, ())


# --- ports

_PORTS = re.compile(r"(\d+)(?::(\d+))?", re.ASCII)
LAST_PORT = 65535


def port_range(raw: str) -> tuple[int, int] | None:
    """A port or a range; None for one that ends at 0, which Felix treats as "none"."""
    found = _PORTS.fullmatch(raw)
    low, high = (int(found[1]), int(found[2] or found[1])) if found and len(raw) < 40 else (1, 0)
    if not low <= high <= LAST_PORT:
        raise ValueError("a port or a range such as 32768:65535 is expected")
    return (low, high) if high else None


def port_ranges(raw: str) -> tuple[tuple[int, int], ...]:
    return tuple(port_range(item) or (0, 0) for item in raw.split(","))


def failsafe_ports(raw: str) -> tuple[FailsafePort, ...]:
    return tuple(map(_failsafe, _items(raw)))


def _failsafe(item: str) -> FailsafePort:
    """``protocol:net:port``, ``protocol:port`` or ``port``, an IPv6 net in brackets."""
    net, rest = "", item
    if "[" in item and "]" in item:
        start, end = item.index("["), item.find("]:")
        if end < start:
            raise ValueError(f'"{item}": ]: is expected after the net')
        net, rest = item[start + 1 : end], item[:start] + item[end + 2 :]
    parts = rest.split(":")
    if len(parts) > 3:
        raise ValueError(f'"{item}" is not proto:net:port, proto:port or port')
    net = parts[1] if len(parts) == 3 else net
    protocol = parts[0].lower() if len(parts) > 1 else "tcp"
    if protocol not in ("tcp", "udp"):
        raise ValueError(f'"{parts[0]}": only TCP and UDP work here')
    if not re.fullmatch(r"[+-]?\d{1,18}", parts[-1], re.ASCII) or not 0 <= int(parts[-1]) <= LAST_PORT:
        raise ValueError(f'"{item}": a port from 0 to {LAST_PORT} is expected')
    return FailsafePort(protocol, int(parts[-1]), network(net) if net else "")


# --- interfaces


def interface_patterns(raw: str) -> tuple[str, ...]:
    """Names and ``/regular expressions/``; nothing is trimmed."""
    items = tuple(raw.split(","))
    for item in items:
        if re.fullmatch(r"/[^\t\n\f\r ]+/", item):
            _compile(item)
        elif not re.fullmatch(r"[a-zA-Z0-9_-]{1,15}", item):
            raise ValueError(f'"{item}" is neither an interface name nor a /regular expression/')
    return items


def _compile(item: str) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(item[1:-1])
    except re.error as wrong:
        raise ValueError(f'"{item}" is not a regular expression: {wrong}') from None


def interface_prefixes(raw: str) -> tuple[str, ...]:
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,15}(,[a-zA-Z0-9_-]{1,15})*", raw):
        raise ValueError("interface prefixes of 1 to 15 letters, digits, - or _ with commas and no blanks are expected")
    return tuple(raw.split(","))


def _strings(pattern: str = "") -> Type:
    def read(raw: str) -> tuple[str, ...]:
        items = tuple(_items(raw))
        for item in items:
            if pattern and not re.fullmatch(pattern, item):
                raise ValueError(f'"{item}" is not an interface name')
        return items

    return Type(read, ())


def openstack_region(raw: str) -> str:
    if len(raw) > 63 - len("openstack-region-") or not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", raw):
        raise ValueError("a DNS label of at most 46 characters is expected")
    return raw


LAST_OLD_TABLE, MOST_TABLES = 250, 0xFFFF


def table_range(raw: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,18})-(\d{1,18})", raw, re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= LAST_OLD_TABLE:
        raise ValueError(f"a range of routing tables within 1-{LAST_OLD_TABLE} is expected")
    return int(found[1]), int(found[2])


def table_ranges(raw: str) -> tuple[tuple[int, int], ...]:
    ranges = [(int(low), int(high)) for low, high in re.findall(r"([0-9]+)-([0-9]+)", raw)]
    sound = all(0 < low <= high <= 0xFFFFFFFF for low, high in ranges)
    if not ranges or not sound or sum(high - low + 1 for low, high in ranges) > MOST_TABLES:
        raise ValueError(f"ranges of routing tables such as 1-250, of {MOST_TABLES} tables at most, are expected")
    return tuple(ranges)


INTERFACE = r"[a-zA-Z0-9:._+-]{1,15}"

TYPES: Mapping[str, Callable[[str], Type]] = {
    "bool": lambda _: Type(flag, False),
    "*bool": lambda _: Type(flag, None),
    "int": integer,
    "seconds": lambda _: Type(seconds, 0.0),
    "millis": lambda _: Type(seconds, 0.0),
    "mark-bitmask": lambda _: Type(mark_mask, 0),
    "dscp": lambda _: Type(dscp, 0),
    "oneof": one_of,
    "string": lambda pattern: matching(pattern or r"[^\n]*", f"a text like {pattern}" if pattern else "a single line"),
    "file": lambda _: Type(str, ""),
    "regexp": lambda _: Type(str, ""),
    "keyvaluelist": lambda _: Type(key_values, ()),
    "keydurationlist": lambda _: Type(key_values, ()),
    "log-rate": lambda _: matching(r"([1-9]\d{0,3}/(second|minute|hour|day))?", 'a rate such as "50/minute"'),
    "hostname": lambda _: matching(r"[a-zA-Z0-9_.-]+", "a host name or an IPv4 address"),
    "host-address": lambda _: matching(r"[a-zA-Z0-9:._+-]{1,64}", "an address or a host name"),
    "authority": lambda _: matching(r"[^:/]+:\d+", "host:port"),
    "endpoint-list": lambda _: _strings(),
    "region": lambda _: Type(openstack_region, ""),
    "ipv4": lambda _: address_of(4),
    "ipv6": lambda _: address_of(6),
    "cidr-list": networks,
    "port-list": lambda _: Type(failsafe_ports, ()),
    "portrange": lambda _: Type(port_range, None),
    "portrange-list": lambda _: Type(port_ranges, ()),
    "iface-list": lambda _: Type(interface_prefixes, ()),
    "iface-list-regexp": lambda _: Type(interface_patterns, ()),
    "iface-param": lambda _: matching(INTERFACE, "an interface name of at most 15 characters"),
    "iface-filter-slice": lambda _: _strings(INTERFACE),
    "route-table-range": lambda _: Type(table_range, None),
    "route-table-ranges": lambda _: Type(table_ranges, ()),
}
"""Felix's types by the name that its table of parameters uses."""
