"""Convert the output of ``iptables -L`` to that of iptables-save.

The listing describes each match in free words, rounds counters and leaves out some options. Words that are not known
stay in the rule as a match that is not understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from felixpy.iptables.words import quoted

CHAIN = re.compile(r"Chain (\S+) \((?:policy (\w+)(?: (\S+) packets, (\S+) bytes)?|(\d+) references?)\)\s*$")
HEADER = re.compile(r"\s*(?:num\s+)?(?:pkts\s+bytes\s+)?target\s+prot\s+opt\s+(?:in\s+out\s+)?source\s+destination\s*$")

LEAVES_OPEN = "iptables -L rounds counters and does not print every option of every match"

_ADDRESS = re.compile(r"!?(?:\d+\.\d+\.\d+\.\d+(?:/\S+)?|[0-9a-fA-F:]*:[0-9a-fA-F:.]*(?:/\d+)?|anywhere|localhost)")
_UNITS = {"K": 1_000, "M": 1_000_000, "G": 1_000_000_000, "T": 1_000_000_000_000}
_EVERYWHERE = frozenset({"0.0.0.0/0", "::/0", "anywhere"})
_OPTIONS = frozenset({"--", "-f", "!f", "----"})


class Columns(NamedTuple):
    """The columns in the header: rule numbers, counters, interfaces."""

    numbered: bool
    counted: bool
    interfaces: bool

    @classmethod
    def of(cls, header: str) -> Columns:
        words = header.split()
        return cls("num" in words, "pkts" in words, "in" in words)


def count(text: str) -> int:
    """A counter as it is printed.

    >>> count("12"), count("34K")
    (12, 34000)
    """
    unit = _UNITS.get(text[-1:])
    return int(text[:-1]) * unit if unit else int(text)


def saved_rule(line: str, chain: str, columns: Columns) -> str:
    """A line of the listing as iptables-save would print it, counters in front. Raises ValueError for any other line.

    >>> columns = Columns(numbered=False, counted=True, interfaces=True)
    >>> saved_rule("   7   420 DROP  tcp  --  *  cali+  10.0.0.0/8  0.0.0.0/0  tcp dpt:22", "X", columns)
    '[7:420] -A X -s 10.0.0.0/8 -o cali+ -p tcp -m tcp --dport 22 -j DROP'
    """
    words = line.split()
    at = next((n for n, (one, other) in enumerate(pairwise(words)) if _both(one, other)), -1)
    if at < 0:
        raise ValueError(line)
    before, (source, destination) = words[:at], words[at : at + 2]
    come = leave = "*"
    if columns.interfaces:
        *before, come, leave = before
    fragment = before.pop() if before and before[-1] in _OPTIONS else "--"
    protocol = before.pop()
    if columns.numbered:
        before = before[1:]
    counters = ""
    if columns.counted:
        counters = f"[{count(before[0])}:{count(before[1])}] "
        before = before[2:]
    target = before[0] if before else ""
    core = [
        *_core("-s", source, _EVERYWHERE),
        *_core("-d", destination, _EVERYWHERE),
        *_core("-i", come, {"*", "any"}),
        *_core("-o", leave, {"*", "any"}),
        *_core("-p", protocol, {"all", "0", "ip", "ipv6"}),
        *(["-f"] if fragment == "-f" else ["! -f"] if fragment == "!f" else []),
    ]
    extras = line.split(destination, 2 if source == destination else 1)[-1].strip()
    matches, jump = _described(extras, target)
    return counters + " ".join(filter(None, [f"-A {chain}", *core, *matches, jump]))


def _both(one: str, other: str) -> bool:
    return bool(_ADDRESS.fullmatch(one) and _ADDRESS.fullmatch(other))


def _core(option: str, value: str, everything: set[str] | frozenset[str]) -> Iterator[str]:
    bare = value.removeprefix("!")
    if bare not in everything or value != bare:
        yield f"! {option} {bare}" if value != bare else f"{option} {bare}"


# --- what matches and targets say


class Phrase(NamedTuple):
    """The words with which a match or target is listed, and the equivalent options."""

    pattern: re.Pattern[str]
    options: Callable[[re.Match[str]], str]
    of_target: bool = False


def _not(found: re.Match[str], group: str = "not") -> str:
    return "! " if found[group] else ""


SAME = "same"
"""In place of a module that is named before."""


def _ports(found: re.Match[str]) -> str:
    side = "--sport" if found["side"].startswith("s") else "--dport"
    return f"-m {found['module'] or SAME} {_not(found)}{side} {found['ports']}"


def _mark(found: re.Match[str]) -> str:
    way, value = found["way"], found["value"]
    if way == "and":
        return f"--set-xmark 0x0/{~int(value, 0) & 0xFFFFFFFF:#x}"
    if way == "or":
        return f"--set-xmark {value}/{value}"
    return f"--set-xmark {value}" if "/" in value else f"--set-xmark {value}/{'0x0' if way == 'xor' else '0xffffffff'}"


def _flags(found: re.Match[str]) -> str:
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")

    def told(bits: int) -> str:
        return ",".join(name for at, name in enumerate(names) if bits >> at & 1) or "NONE"

    return f"-m tcp {_not(found)}--tcp-flags {told(int(found['mask'], 0))} {told(int(found['bits'], 0))}"


def _icmp(found: re.Match[str]) -> str:
    six = found["six"]
    kind = "any" if found["type"] == "255" else found["type"]
    code = f"/{found['code']}" if found["code"] else ""
    module, option = ("icmp6", "--icmpv6-type") if six else ("icmp", "--icmp-type")
    return f"-m {module} {_not(found)}{option} {kind}{code}"


def _limit(found: re.Match[str]) -> str:
    return f"-m limit --limit {found['rate']} --limit-burst {found['burst']}"


def _connections(found: re.Match[str]) -> str:
    option = "--connlimit-above" if found["way"] == ">" else "--connlimit-upto"
    return f"-m connlimit {option} {found['number']} --connlimit-mask {found['mask']} --connlimit-saddr"


def _address_type(found: re.Match[str]) -> str:
    limit = {"in": " --limit-iface-in", "out": " --limit-iface-out"}.get(found["limit"] or "", "")
    return f"-m addrtype {_not(found)}--{found['side']}-type {found['type']}{limit}"


def _plain(template: str) -> Callable[[re.Match[str]], str]:
    return lambda found: template.format(
        *found.groups(), **{"not": "! " if "not" in found.groupdict() and found["not"] else ""}
    )


def _phrase(pattern: str, options: str | Callable[[re.Match[str]], str], *, of_target: bool = False) -> Phrase:
    return Phrase(re.compile(pattern), options if callable(options) else _plain(options), of_target)


def _logged(found: re.Match[str]) -> str:
    prefix = f"--log-prefix {quoted(found[2])} " if found[2] else ""
    return f"{prefix}--log-level {found[1]}"


PHRASES = (
    _phrase(r"/\* (.*?) \*/", lambda found: f"-m comment --comment {quoted(found[1])}"),
    _phrase(r"mark match (?P<not>!)? ?(?P<v>0x\w+(?:/0x\w+)?)", lambda f: f"-m mark {_not(f)}--mark {f['v']}"),
    _phrase(
        r"[Cc]onnmark match +(?P<not>!)? ?(?P<v>0x\w+(?:/0x\w+)?)", lambda f: f"-m connmark {_not(f)}--mark {f['v']}"
    ),
    _phrase(r"(?P<not>!)? ?(?:ct)?state (?P<v>[A-Z,]+)", lambda f: f"-m conntrack {_not(f)}--ctstate {f['v']}"),
    _phrase(
        r"multiport (?P<side>sports|dports|ports) +(?P<not>!)? ?(?P<v>[\d,:]+)",
        lambda f: f"-m multiport {_not(f)}--{f['side']} {f['v']}",
    ),
    _phrase(r"(?:(?P<module>tcp|udp|sctp|dccp|udplite) )?(?P<side>spt|dpt)s?:(?P<not>!)?(?P<ports>[\d:]+)", _ports),
    _phrase(r"(?P<module>tcp)? ?flags: ?(?P<not>!)?(?P<mask>0x\w+)/(?P<bits>0x\w+)", _flags),
    _phrase(r"(?P<six>ipv6-)?icmp ?(?P<not>!)?type (?P<type>\d+)(?: code (?P<code>\d+))?", _icmp),
    _phrase(
        r"(?P<not>!)? ?match-set (?P<n>\S+) (?P<d>\S+)", lambda f: f"-m set {_not(f)}--match-set {f['n']} {f['d']}"
    ),
    _phrase(
        r"ADDRTYPE match (?P<side>src|dst)-type (?P<not>!)?(?P<type>\S+)(?: limit-(?P<limit>in|out))?", _address_type
    ),
    _phrase(r"limit: avg (?P<rate>\S+) burst (?P<burst>\d+)", _limit),
    _phrase(r"#conn (?:src|dst)?/(?P<mask>\d+) (?P<way>>|<=) (?P<number>\d+)", _connections),
    _phrase(
        r"rpfilter(?P<loose> loose)?(?P<valid> validmark)?(?P<local> accept-local)?(?P<invert> invert)?",
        lambda f: "-m rpfilter" + "".join(f" --{word.strip()}" for word in f.groups() if word),
    ),
    _phrase(r"MARK (?P<way>xset|set|and|or|xor) (?P<value>0x\w+(?:/0x\w+)?)", _mark, of_target=True),
    _phrase(r"reject-with (\S+)", "--reject-with {0}", of_target=True),
    _phrase(r"to:(\S+)", lambda found: f"TO {found[1]}", of_target=True),
    _phrase(r"random-fully", "--random-fully", of_target=True),
    _phrase(r"CT notrack", "--notrack", of_target=True),
    _phrase(r"LOG flags \d+ level (\d+)(?: prefix \"(.*)\")?", _logged, of_target=True),
    _phrase(r"nflog-prefix  ?(\S+)", "--nflog-prefix {0}", of_target=True),
    _phrase(r"nflog-group (\d+)", "--nflog-group {0}", of_target=True),
    _phrase(r"nflog-(?:size|range|threshold) (\d+)", "", of_target=True),
    _phrase(r"DSCP set (0x\w+)", "--set-dscp {0}", of_target=True),
)


_TO = {"DNAT": "--to-destination", "SNAT": "--to-source"}


def _described(extras: str, target: str) -> tuple[list[str], str]:
    """The matches and the jump after the columns; unknown words become a match that is not understood."""
    matches: list[str] = []
    arguments: list[str] = []
    goto = "[goto]" in extras.split()
    rest = extras.replace("[goto]", " ").strip()
    protocols = ("tcp", "udp", "sctp", "dccp", "udplite", "icmp", "ipv6-icmp")
    while rest:
        for phrase in PHRASES:
            found = phrase.pattern.match(rest)
            if found and found.end():
                said = phrase.options(found)
                (arguments if phrase.of_target else matches).append(said.replace("TO ", f"{_TO.get(target, '--to')} "))
                rest = rest[found.end() :].strip()
                break
        else:
            word, _, rest = rest.partition(" ")
            rest = rest.strip()
            if word not in protocols:
                matches.append(f"-m listed --words {quoted(word)}")
    jump = f"{'-g' if goto else '-j'} {target}" if target else ""
    return _joined(matches), " ".join(filter(None, [jump, *arguments]))


def _joined(matches: Sequence[str]) -> list[str]:
    """The matches with unknown words joined to one match, and ports of one protocol likewise."""
    found: list[str] = []
    for match in matches:
        head = " ".join(match.split(" ", 2)[:2])
        again = head in TOGETHER and bool(found) and found[-1].startswith(f"{head} ")
        if found and (again or head == f"-m {SAME}"):
            found[-1] += match[len(head) :]
        else:
            found.append(match)
    return found


TOGETHER = frozenset({"-m listed", "-m tcp", "-m udp", "-m sctp"})
"""Matches that are listed in several parts, which are joined."""
