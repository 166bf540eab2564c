"""Felix's spelling of a rule → the spelling in which iptables-save prints it.

The kernel's tools put the core options first (-s -d -i -o -p), keep the matches in their order, shorten option names,
spell marks as xmarks and numbers as names. Each match and target has a row in a table below. Both backends print the
same text for everything that Felix writes (iptables 1.8.9).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_network
from socket import AF_INET6, inet_ntop
from typing import NamedTuple

MAX_LOG_PREFIX = 29
"""What the LOG target keeps of its prefix; the rest is cut silently."""

MAX_KERNEL_COMMENT = 255

PROTOCOLS: Mapping[int, str] = {
    1: "icmp", 2: "igmp", 3: "ggp", 4: "ipencap", 5: "st", 6: "tcp", 8: "egp", 9: "igp", 12: "pup", 17: "udp",
    20: "hmp", 22: "xns-idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 37: "ddp", 38: "idpr-cmtp", 41: "ipv6",
    43: "ipv6-route", 44: "ipv6-frag", 45: "idrp", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 57: "skip",
    58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 73: "rspf", 81: "vmtp", 88: "eigrp", 89: "ospf", 93: "ax.25",
    94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp", 112: "vrrp", 115: "l2tp", 124: "isis",
    132: "sctp", 133: "fc", 135: "mobility-header", 136: "udplite", 137: "mpls-in-ip", 138: "manet", 139: "shim6",
    140: "wesp", 141: "rohc", 142: "ethernet", 262: "mptcp",
}  # fmt: skip
"""Debian's /etc/protocols, which the tools consult."""


class Saved(NamedTuple):
    """A rule as printed: the core options that come before the hash comment and everything after it."""

    core: str
    rest: str


_WORD = re.compile(r'"(?P<quoted>[^"]*)"|(?P<plain>\S+)')
_SAFE = re.compile(r"[A-Za-z0-9_-]+")


def _words(text: str) -> list[str]:
    return [found["plain"] or found["quoted"] or "" for found in _WORD.finditer(text)]


def quoted(text: str) -> str:
    """A value as the tools print it: bare where every character is safe, else in quotes.

    >>> quoted("word"), quoted("two words"), quoted("a.b")
    ('word', '"two words"', '"a.b"')
    """
    if _SAFE.fullmatch(text):
        return text
    return '"' + re.sub(r"([\"\\'])", r"\\\1", text) + '"'


def _cut(text: str, length: int) -> str:
    return text.encode()[:length].decode(errors="ignore")


def _mark(value: str) -> tuple[int, int]:
    mark, _, mask = value.partition("/")
    return int(mark, 0), int(mask, 0) if mask else 0xFFFFFFFF


def _match_mark(value: str) -> str:
    mark, mask = _mark(value)
    return f"{mark:#x}" if mask == 0xFFFFFFFF else f"{mark:#x}/{mask:#x}"


def _xmark(value: str) -> str:
    mark, mask = _mark(value)
    return f"{mark:#x}/{mark | mask:#x}"


_LIMIT_UNITS = {"sec": 10_000, "min": 600_000, "hour": 36_000_000, "day": 864_000_000}
"""Length of a unit in the ticks the kernel counts a period in (XT_LIMIT_SCALE)."""

_UNIT_NAMES = {"second": "sec", "sec": "sec", "minute": "min", "min": "min", "hour": "hour", "day": "day"}


def _limit(value: str) -> str:
    """The kernel keeps a period; the tool turns it back into a rate in the largest unit that divides well."""
    rate, _, unit = value.partition("/")
    period = _LIMIT_UNITS[_UNIT_NAMES[unit]] // int(rate)
    reached = "day"
    for smaller in ("hour", "min", "sec"):
        size = _LIMIT_UNITS[smaller]
        if period > size or size // period < size % period:
            break
        reached = smaller
    return f"{_LIMIT_UNITS[reached] // period}/{reached}"


_STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT")


def _states(value: str) -> str:
    given = value.split(",")
    return ",".join(state for state in _STATES if state in given)


def _same(value: str) -> str:
    return value


class _Option(NamedTuple):
    """How an option with a value is printed; `order` moves it when options of one match change places."""

    name: str
    value: Callable[[str], str] = _same
    order: int = 0


_OPTIONS: Mapping[str, _Option] = {
    "--mark": _Option("--mark", _match_mark),
    "--set-mark": _Option("--set-xmark", _xmark),
    "--source-ports": _Option("--sports"),
    "--destination-ports": _Option("--dports"),
    "--ctstate": _Option("--ctstate", _states),
    "--icmp-type": _Option("--icmp-type", lambda value: "any" if value == "255" else value),
    "--limit": _Option("--limit", _limit),
    "--log-prefix": _Option("--log-prefix", lambda value: quoted(_cut(value, MAX_LOG_PREFIX))),
    "--nflog-prefix": _Option("--nflog-prefix", quoted, order=-1),
    "--comment": _Option("--comment", lambda value: quoted(_cut(value, MAX_KERNEL_COMMENT))),
    "--set-dscp": _Option("--set-dscp", lambda value: f"0x{int(value, 0):02x}"),
}
_FLAGS = {"--invert": 1, "--validmark": 0, "--random-fully": 9, "--limit-iface-out": 9, "--ipvs": 0}
"""Options without a value, and where they are printed among the options of their match."""

_CORE = {"--source": "-s", "--destination": "-d", "--in-interface": "-i", "--out-interface": "-o", "-p": "-p"}
_CORE_ORDER = ("-s", "-d", "-i", "-o", "-p")

_IMPLIED_MATCH = {"--dport", "--sport"}
"""Options for which the tools load the match of the rule's protocol by themselves."""

_TWO_VALUES = {"--match-set", "--tcp-flags"}
_PRINTED_DEFAULTS = {"--connlimit-mask": " --connlimit-saddr"}
_HIDDEN_DEFAULTS = {("--limit-burst", "5")}


def _protocol(value: str) -> str:
    if value == "icmpv6":
        return "ipv6-icmp"
    return PROTOCOLS.get(int(value), value) if value.isdigit() else value


def _network(value: str) -> str:
    """Masked, and spelt by the C library: ``::ffff:10.0.0.1`` keeps its dots."""
    net = ip_network(value, strict=False)
    if net.version == 4:
        return str(net)
    return f"{inet_ntop(AF_INET6, net.network_address.packed)}/{net.prefixlen}"


def _core_value(option: str, value: str) -> str:
    if option in ("-s", "-d"):
        return _network(value)
    return _protocol(value) if option == "-p" else value


class _Reader:
    """One pass over the words of a rule; collects core options and the printed matches and target."""

    def __init__(self, body: str, family: int) -> None:
        self.words = _words(body)
        self.family = family
        self.core: dict[str, str] = {}
        self.parts: list[str] = []
        self.options: list[tuple[int, str]] = []

    def flush(self) -> None:
        """Print the options of the match or target that is at its end."""
        self.parts.extend(text for _, text in sorted(self.options, key=lambda option: option[0]))
        self.options.clear()

    def read(self) -> Saved:
        words = iter(self.words)
        negated = ""
        for word in words:
            if word == "!":
                negated = "! "
                continue
            if word in _CORE:
                self._core(_CORE[word], negated, next(words))
            elif word == "-m":
                self.flush()
                self.parts.append(f"-m {next(words)}")
            elif word in ("--jump", "-j", "--goto"):
                self.flush()
                self._target("-g" if word == "--goto" else "-j", next(words))
            else:
                self._option(word, negated, words)
            negated = ""
        self.flush()
        core = "".join(f"{self.core[option]} " for option in _CORE_ORDER if option in self.core)
        return Saved(core, " ".join(self.parts))

    def _core(self, option: str, negated: str, value: str) -> None:
        printed = _core_value(option, value)
        everywhere = printed.endswith("/0") if option in ("-s", "-d") else printed == "0"
        if negated or not everywhere:
            # Two of one option is what no kernel takes, but nothing is left out of what it was asked for.
            self.core[option] = " ".join([*filter(None, [self.core.get(option)]), f"{negated}{option} {printed}"])

    def _target(self, flag: str, target: str) -> None:
        self.parts.append(f"{flag} {target}")
        if target == "REJECT" and "--reject-with" not in self.words:
            self.parts.append(f"--reject-with icmp{'6' if self.family == 6 else ''}-port-unreachable")

    def _option(self, word: str, negated: str, words: Iterator[str]) -> None:
        if word in _FLAGS:
            self.options.append((_FLAGS[word], f"{negated}{word}"))
            return
        value = next(words)
        if (word, value) in _HIDDEN_DEFAULTS:
            return
        if word in _IMPLIED_MATCH:
            self.flush()
            self.parts.append(f"-m {self.core['-p'].split()[-1]}")
        option = _OPTIONS.get(word, _Option(word))
        more = _PRINTED_DEFAULTS.get(word, "")
        if word in _TWO_VALUES:
            value = f"{value} {next(words)}"
        self.options.append((option.order, f"{negated}{option.name} {option.value(value)}{more}"))


_SET_NAME = re.compile(r"(?<=--match-set )\S+")
_ANY_SET = "%"


def saved(body: str, family: int) -> Saved:
    """What iptables-save prints for a rule, given without its chain and hash comment.

    >>> saved("--in-interface cali+ -m mark --mark 0/0x30000 --jump cali-tgt", 4)
    Saved(core='-i cali+ ', rest='-m mark --mark 0x0/0x30000 -j cali-tgt')

    A rule that no kernel takes, such as one with a rate of 0 or with a quote in its log prefix, is never printed; where
    it cannot even be read it stays as it is.
    """
    matches, jump, chain = body.rpartition(" --jump cali-")
    if not jump or " " in chain or '"' in chain:  # such words may stand in a comment, too
        matches, jump = body, ""
    # Chains and sets have many names, but few matches lead to them.
    names = () if '"' in matches else _SET_NAME.findall(matches)
    core, rest = _read(_SET_NAME.sub(_ANY_SET, matches) if names else matches, family)
    for name in names:
        rest = rest.replace(_ANY_SET, name, 1)
    if not jump:
        return Saved(core, rest)
    return Saved(core, f"{rest} -j cali-{chain}" if rest else f"-j cali-{chain}")


@lru_cache(maxsize=1 << 17)
def _read(body: str, family: int) -> Saved:
    try:
        return _Reader(body, family).read()
    except (StopIteration, ValueError, ZeroDivisionError):
        return Saved("", body)


_ADDRESS_LIST = re.compile(r"(--source|--destination) (\S+,\S+)")


def kernel_rules(body: str) -> tuple[str, ...]:
    """The rules that the kernel makes of one that begins with a list of addresses: a rule for each of them.

    >>> kernel_rules("--source 10.0.0.1,10.0.0.2 --jump ACCEPT")
    ('--source 10.0.0.1 --jump ACCEPT', '--source 10.0.0.2 --jump ACCEPT')
    """
    found = _ADDRESS_LIST.match(body) if "," in body else None
    if not found:
        return (body,)
    return tuple(f"{body[: found.start(2)]}{address}{body[found.end(2) :]}" for address in found[2].split(","))
