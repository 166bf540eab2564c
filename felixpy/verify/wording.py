"""What a rule says, apart from how it is spelt.

Releases of iptables print the same rule in different words: protocols by name or by number, as /etc/protocols of the
machine has them (an image without that file prints numbers), units and lists in another order, defaults or none. Two
rules say the same if their `Saying` is equal. Rules of others are read as well, as far as `felixpy.dump` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_network
from typing import NamedTuple

from felixpy.dump import CORE, Match, Option, Rule, parse_rule, without_hash
from felixpy.errors import FelixpyError
from felixpy.walk.matches import ICMP_NAMES, mark_and_mask
from felixpy.walk.packet import protocol_number

ALIASES: Mapping[str, str | int] = {"ipv4": 4, "ospfigp": 89, "icmp6": 58, "ip": 0, "hopopt": 0}
"""Names of protocols that Debian spells otherwise."""

UNITS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86400}

MODULES: Mapping[str, str] = {"icmpv6": "icmp6", "ipv6-icmp": "icmp6", "state": "conntrack"}
"""Modules with two names."""

DEFAULTS: frozenset[tuple[str, tuple[str, ...]]] = frozenset(
    {
        ("--limit-burst", ("5",)),
        ("--connlimit-saddr", ()),
        ("--reject-with", ("icmp-port-unreachable",)),
        ("--reject-with", ("icmp6-port-unreachable",)),
    }
)
"""What some releases print and others take for granted."""

WITHOUT_EFFECT = frozenset({"--nflog-range"})
"""Options that the kernel never heeded; iptables-nft drops them. (man iptables-extensions)"""


class Saying(NamedTuple):
    """A rule's criteria and what it does, each option as (name, value, negated)."""

    core: frozenset[tuple[object, ...]]
    matches: tuple[tuple[str, frozenset[tuple[object, ...]]], ...]
    target: str
    goto: bool
    arguments: frozenset[tuple[object, ...]]


@lru_cache(maxsize=1 << 16)
def saying(text: str, family: int) -> Saying | str:
    """What a rule says; `text` is what follows ``-A chain``. Felix's hash is no part of it.

    >>> saying("-p ipv4 -j MARK --set-mark 0x1/0x3", 4) == saying("-p 4 -j MARK --set-xmark 0x1/0x3", 4)
    True

    A text that is no rule stands for itself.
    """
    bare = without_hash(text)
    try:
        rule = parse_rule(f"-A CHAIN {bare}")
        core = frozenset(option for match in rule.matches if match.module in CORE for option in _options(match, family))
        matches = tuple(_matches(rule, family))
        arguments = frozenset(found for option in rule.arguments if (found := _option(option, family)))
    except (FelixpyError, ValueError, KeyError, IndexError):
        return bare
    return Saying(core, matches, rule.target, rule.goto, arguments)


def _matches(rule: Rule, family: int) -> Iterator[tuple[str, frozenset[tuple[object, ...]]]]:
    """Modules in their order. ``-m tcp`` without options says nothing that ``-p tcp`` does not."""
    protocols = {option.values[0] for match in rule.matches if match.module == "-p" for option in match.options}
    for match in rule.matches:
        if match.module in CORE or (match.module in protocols and not match.options):
            continue
        yield MODULES.get(match.module, match.module), frozenset(_options(match, family))


def _options(match: Match, family: int) -> Iterator[tuple[object, ...]]:
    yield from filter(None, (_option(option, family) for option in match.options))


def _option(option: Option, family: int) -> tuple[object, ...] | None:
    """An option as a value to compare, None for one that changes nothing."""
    if option.name in WITHOUT_EFFECT or (option.name, option.values) in DEFAULTS:
        return None
    name = RENAMED.get(option.name, option.name)
    read = READERS.get(option.name)
    value = read(option.values, family) if read else option.values
    if value in EVERYTHING.get(name, ()) and not option.negated:
        return None
    return name, value, option.negated


def _network(values: tuple[str, ...], family: int) -> object:
    return str(ip_network(values[0], strict=False))


def _protocol(values: tuple[str, ...], family: int) -> object:
    name = values[0].lower()
    return protocol_number(ALIASES.get(name, name))


def _mark(values: tuple[str, ...], family: int) -> object:
    return mark_and_mask(values[0])


def _set_mark(values: tuple[str, ...], family: int) -> object:
    """``--set-mark V/M`` is ``--set-xmark V/(V|M)``."""
    mark, mask = mark_and_mask(values[0])
    return mark, mark | mask


def _list(values: tuple[str, ...], family: int) -> object:
    return frozenset(values[0].split(","))


def _rate(values: tuple[str, ...], family: int) -> object:
    """Seconds for so many: ``60/minute`` and ``1/sec`` are the same."""
    count, _, unit = values[0].partition("/")
    return round(int(count) * UNITS["d"] / UNITS[(unit or "s")[0]])


def _icmp(values: tuple[str, ...], family: int) -> object:
    return ICMP_NAMES[family].get(values[0], values[0])


def _number(values: tuple[str, ...], family: int) -> object:
    return int(values[0], 0)


Reader = Callable[[tuple[str, ...], int], object]

READERS: Mapping[str, Reader] = {
    "-s": _network,
    "-d": _network,
    "-p": _protocol,
    "--mark": _mark,
    "--set-xmark": _mark,
    "--set-mark": _set_mark,
    "--ctstate": _list,
    "--state": _list,
    "--dports": _list,
    "--sports": _list,
    "--limit": _rate,
    "--icmp-type": _icmp,
    "--icmpv6-type": _icmp,
    "--set-dscp": _number,
    "--nflog-group": _number,
}
"""Options whose values have several spellings."""

RENAMED: Mapping[str, str] = {"--set-mark": "--set-xmark", "--state": "--ctstate"}

EVERYTHING: Mapping[str, tuple[object, ...]] = {"-s": ("0.0.0.0/0", "::/0"), "-d": ("0.0.0.0/0", "::/0"), "-p": (0,)}
"""Values with which a criterion holds for every packet."""
