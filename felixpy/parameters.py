"""How values of Felix's parameters are written: a reader for each type, from a resource's field or from plain text.

Each reader takes what a manifest or an environment variable holds and gives the parsed value, or raises ValueError
with words for people. (felix/config/param_types.go)
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple


class FailsafePort(NamedTuple):
    """A port of the host that stays reachable whatever policy says; `net` is "" or a masked CIDR."""

    protocol: str
    port: int
    net: str = ""


class ConfigValueError(ValueError):
    """A value that Felix cannot use; `path` leads on inside it, `fatal` tells that Felix would not start."""

    def __init__(self, reason: str, path: tuple[str | int, ...] = (), *, fatal: bool = False) -> None:
        self.path, self.fatal = path, fatal
        super().__init__(reason)


def text(value: object) -> str:
    return str(value).strip()


def line(value: object) -> str:
    """A text without line breaks: it becomes part of a rule."""
    given = text(value)
    if len(given.splitlines()) > 1:
        raise ValueError("a text of one line is expected")
    return given


_FLAGS = {
    **dict.fromkeys(("1", "yes", "y", "t", "true"), True),
    **dict.fromkeys(("0", "no", "n", "f", "false"), False),
}


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    found = _FLAGS.get(text(value).lower())
    if found is None:
        raise ValueError("true or false is expected")
    return found


def one_of(*spellings: str) -> Callable[[object], str]:
    """Case does not matter; the spelling given here is the one used."""
    by_lower = {spelling.lower(): spelling for spelling in spellings}

    def parse(value: object) -> str:
        found = by_lower.get(text(value).lower())
        if found is None:
            raise ValueError(f"one of {', '.join(word.capitalize() if word.isupper() else word for word in spellings)}")
        return found

    return parse


def number(low: int, high: int) -> Callable[[object], int]:
    """A number in decimal, or with 0x in hexadecimal."""

    def parse(value: object) -> int:
        try:
            found = value if isinstance(value, int) else int(text(value), 0)
        except ValueError:
            raise ValueError(f"a number from {low} to {high} is expected") from None
        if isinstance(value, bool) or not low <= found <= high:
            raise ValueError(f"a number from {low} to {high} is expected")
        return found

    return parse


def words(value: object) -> tuple[str, ...]:
    """A list, or a text with commas."""
    items = value if isinstance(value, list) else text(value).split(",")
    return tuple(word for item in items if (word := text(item)))


def ipv4(value: object) -> str:
    try:
        return str(ipaddress.IPv4Address(text(value)))
    except ValueError:
        raise ValueError("must be an IPv4 address") from None


def any_address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        raise ValueError("an IP address is expected") from None


def networks(value: object) -> tuple[str, ...]:
    """Addresses and CIDRs, masked."""
    try:
        return tuple(str(ipaddress.ip_network(item, strict=False)) for item in words(value))
    except ValueError as wrong:
        raise ValueError(f"a list of addresses or CIDRs is expected: {wrong}") from None


def port_range(value: object) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?::(\d+))?", text(value))
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= low <= high <= 65535:
        raise ValueError("a port or a range such as 32768:65535 is expected")
    return low, high


def port_ranges(value: object) -> tuple[tuple[int, int], ...]:
    return tuple(port_range(item) for item in words(value))


def rate(value: object) -> str:
    given = text(value)
    if given and not re.fullmatch(r"\d+/(second|minute|hour|day)", given):
        raise ValueError('a rate such as "50/minute" is expected (per second, minute, hour or day)')
    return given


def overrides(value: object) -> tuple[tuple[str, str], ...]:
    """``Name=value`` pairs, separated by commas."""
    pairs = []
    for item in words(value):
        key, equals, setting = item.partition("=")
        if not equals:
            raise ValueError('a list such as "SNATFullyRandom=false" is expected')
        pairs.append((key.strip(), setting.strip()))
    return tuple(pairs)


def failsafe_ports(value: object) -> tuple[FailsafePort, ...]:
    """A list of {protocol, port, net} from a resource, or ``proto:net:port``, ``proto:port``, ``port`` in a text."""
    if isinstance(value, list):
        return tuple(_failsafe_item(item, index) for index, item in enumerate(value))
    if text(value).lower() == "none":
        return ()
    return tuple(_failsafe_text(item) for item in words(value))


def _masked(net: str) -> str:
    return str(ipaddress.ip_network(net, strict=False)) if net else ""


def _failsafe_item(item: dict[str, object], index: int) -> FailsafePort:
    protocol = str(item.get("protocol") or "tcp").lower()
    if protocol not in ("tcp", "udp"):
        reason = f'"{item["protocol"]}": only TCP and UDP work here, Felix exits on this value'
        raise ConfigValueError(reason, (index, "protocol"), fatal=True)
    return FailsafePort(protocol, int(str(item["port"])), _masked(str(item.get("net") or "")))


_FAILSAFE = re.compile(r"(?:(?P<protocol>\w+):)?(?:(?P<net>\[[^]]+\](?:/\d+)?|[\d./]+):)?(?P<port>\d+)")


def _failsafe_text(given: str) -> FailsafePort:
    found = _FAILSAFE.fullmatch(given)
    protocol = (found["protocol"] or "tcp").lower() if found else ""
    if not found or protocol not in ("tcp", "udp") or not 0 < int(found["port"]) < 65536:
        raise ValueError(f'"{given}" is not proto:net:port, proto:port or port')
    net = (found["net"] or "").replace("[", "").replace("]", "")
    return FailsafePort(protocol, int(found["port"]), _masked(net))
