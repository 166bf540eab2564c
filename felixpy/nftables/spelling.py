"""Converts a rule from iptables' syntax to the nft syntax in which Felix writes the same rule.

Each match and each target has a row in a table below. Rules that iptables cannot express are in nft's syntax in their
templates and stay unchanged. (felix/nftables: match_builder.go, actions.go)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from felixpy.iptables.reader import read_felix
from felixpy.netfilter.rules import Option
from felixpy.nftables.listing import listed
from felixpy.remembered import remembered

PORT_PROTOCOLS: Mapping[str, str] = {
    "tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp", "sctp": "sctp", "132": "sctp",
}  # fmt: skip
"""Protocols whose ports a rule can match, with nft's names of their headers."""


class Spelt(NamedTuple):
    """A rule for nft: as Felix writes it and as nft lists it, both without hash and comment, and Felix's comments."""

    written: str
    listed: str
    comments: tuple[str, ...]


class _Context(NamedTuple):
    """What the syntax of a match depends on besides its own options."""

    family: str
    """``ip`` or ``ip6``."""
    nat: bool
    protocol: str
    """The header in which the rule matches ports, "" if its protocol has none."""


_MatchRow = Callable[[Sequence[Option], _Context], str]
_TargetRow = Callable[[Mapping[str, Option], _Context], str]


def _operator(option: Option) -> str:
    return "!= " if option.negated else ""


def _mark(options: Sequence[Option], context: _Context) -> str:
    value, _, mask = options[0].values[0].partition("/")
    return f"meta mark & {mask} {'!=' if options[0].negated else '=='} {value}"


def _interface(word: str) -> _MatchRow:
    """Return the row of an interface match. In NAT rules Felix copies IptablesNATOutgoingInterfaceFilter unchanged."""

    def spell(options: Sequence[Option], context: _Context) -> str:
        name = options[0].values[0]
        if name.endswith("+") and not context.nat:
            name = f"{name[:-1]}*"
        return f"{word} {_operator(options[0])}{name}"

    return spell


def _address(side: str) -> _MatchRow:
    def spell(options: Sequence[Option], context: _Context) -> str:
        return f"{context.family} {side} {_operator(options[0])}{options[0].values[0]}"

    return spell


def _protocol(options: Sequence[Option], context: _Context) -> str:
    return f"meta l4proto {_operator(options[0])}{options[0].values[0]}"


def _address_type(options: Sequence[Option], context: _Context) -> str:
    kind = next(option for option in options if option.name in ("--src-type", "--dst-type"))
    side = "saddr" if kind.name == "--src-type" else "daddr"
    scope = " . oif" if any(option.name == "--limit-iface-out" for option in options) else ""
    return f"fib {side}{scope} type {_operator(kind)}{kind.values[0].lower()}"


def _conntrack(options: Sequence[Option], context: _Context) -> str:
    """Return a match of states; iptables' state DNAT is a bit of the connection's status in nft."""
    states = options[0].values[0]
    word = "status" if states == "DNAT" else "state"
    return f"ct {word} {_operator(options[0])}{states.lower()}"


_SET_KEYS = {
    "src": "{0} saddr",
    "dst": "{0} daddr",
    "src,src": "{0} saddr . meta l4proto . th sport",
    "dst,dst": "{0} daddr . meta l4proto . th dport",
}


def _set(options: Sequence[Option], context: _Context) -> str:
    name, flags = options[0].values
    return f"{_SET_KEYS[flags].format(context.family)} {_operator(options[0])}@{name}"


def _multiport(options: Sequence[Option], context: _Context) -> str:
    return " ".join(
        f"{context.protocol} {option.name[2:-1]} {_operator(option)}{{ {', '.join(_ports(option.values[0]))} }}"
        for option in options
    )


def _ports(listed_ports: str) -> list[str]:
    return [port.replace(":", "-") for port in listed_ports.split(",")]


def _one_port(options: Sequence[Option], context: _Context) -> str:
    return f"{context.protocol} {options[0].name[2:]} {_operator(options[0])}{options[0].values[0]}"


def _icmp(word: str) -> _MatchRow:
    def spell(options: Sequence[Option], context: _Context) -> str:
        operator = _operator(options[0])
        kind, slash, code = options[0].values[0].partition("/")
        return f"{word} type {operator}{kind}" + (f" code {operator}{code}" if slash else "")

    return spell


def _limit(options: Sequence[Option], context: _Context) -> str:
    """Return a rate limit; a burst of 0 is left out."""
    values = {option.name: option.values[0] for option in options}
    burst = values.get("--limit-burst")
    return f"limit rate {values['--limit']}" + (f" burst {burst} packets" if burst else "")


MATCHES: Mapping[str, _MatchRow] = {
    "-i": _interface("iifname"),
    "-o": _interface("oifname"),
    "-p": _protocol,
    "-s": _address("saddr"),
    "-d": _address("daddr"),
    "addrtype": _address_type,
    "conntrack": _conntrack,
    "icmp": _icmp("icmp"),
    "icmp6": _icmp("icmpv6"),
    "limit": _limit,
    "mark": _mark,
    "multiport": _multiport,
    "rpfilter": lambda options, context: "fib saddr . mark . iif oif 0",
    "set": _set,
    "udp": _one_port,
}
"""Rows by the module of a match, or by the name of a core option."""


def _set_mark(arguments: Mapping[str, Option], context: _Context) -> str:
    """Return a change of the mark that clears all bits of the mask, sets all, or sets some."""
    value, _, written = arguments["--set-mark"].values[0].partition("/")
    mask = int(written, 0)
    kept = f"{~mask & 0xFFFFFFFF:#x}"
    if value == "0":
        return f"meta mark set mark & {kept}"
    if int(value, 0) == mask:
        return f"meta mark set mark or {written}"
    return f"meta mark set mark & {kept} ^ {value}"


def _nflog(arguments: Mapping[str, Option], context: _Context) -> str:
    prefix, group = arguments["--nflog-prefix"].values[0], arguments["--nflog-group"].values[0]
    return f'log prefix "{prefix}" snaplen 80 group {group}'


def _masquerade(arguments: Mapping[str, Option], context: _Context) -> str:
    ports = f" to :{arguments['--to-ports'].values[0]}" if "--to-ports" in arguments else ""
    return f"masquerade{ports}{_random(arguments)}"


def _random(arguments: Mapping[str, Option]) -> str:
    return " fully-random" if "--random-fully" in arguments else ""


TARGETS: Mapping[str, _TargetRow] = {
    "ACCEPT": lambda arguments, context: "accept",
    "DROP": lambda arguments, context: "drop",
    "RETURN": lambda arguments, context: "return",
    "NOTRACK": lambda arguments, context: "notrack",
    "REJECT": lambda arguments, context: "reject",
    "MARK": _set_mark,
    "LOG": lambda arguments, context: f'log prefix "{arguments["--log-prefix"].values[0]}" level info',
    "NFLOG": _nflog,
    "DSCP": lambda arguments, context: f"{context.family} dscp set {arguments['--set-dscp'].values[0]}",
    "DNAT": lambda arguments, context: f"dnat to {arguments['--to-destination'].values[0]}",
    "SNAT": lambda arguments, context: f"snat to {arguments['--to-source'].values[0]}{_random(arguments)}",
    "MASQUERADE": _masquerade,
}

NOTHING = "continue"
"""The text of a rule without matches and target, which has a comment only."""

_COMMENTS = re.compile(r'(?:-m comment --comment "[^"]*" ?)+')
_COMMENT = re.compile(r'--comment "([^"]*)"')
_NATIVE_COMMENT = re.compile(r' comment "([^"]*)"$')
_JUMP = re.compile(r"(?:^|(?<= ))--(jump|goto) (cali-[^\s\"]+)$")
_SET_NAME = re.compile(r"(?<=--match-set )\S+")
_ANY_SET = "%"


def set_name(name: str) -> str:
    """Return a set's name in nft, which allows no colon in it."""
    return name.replace(":", "-")


def is_native(body: str) -> bool:
    """Return whether a rule is already in nft's syntax."""
    return body[:1].isalpha()


@remembered(1 << 17)
def spelt(body: str, layer: str, family: str) -> Spelt:
    """Convert a rule of one layer (``filter`` …) of a table of `family` (``ip``, ``ip6``, ``arp``) to nft's syntax.

    >>> spelt('-m comment --comment "why" --in-interface cali+ --jump cali-x', "filter", "ip").written
    'iifname cali* counter jump filter-cali-x'
    """
    if is_native(body):
        comments = tuple(_NATIVE_COMMENT.findall(body))
        text = _NATIVE_COMMENT.sub("", body)
        return Spelt(text, listed(text), comments)
    found = _COMMENTS.match(body)
    comments = ()
    if found:
        comments = tuple(_COMMENT.findall(found[0]))
        body = body[found.end() :]
    jump = _JUMP.search(body)
    suffix = ""
    if jump:
        suffix = f" {jump[1]} {layer}-{jump[2]}"
        body = body[: jump.start()]
    # Rules differ mostly in names of chains and sets: without these there are few, which are cached.
    names = _SET_NAME.findall(body) if "--match-set" in body else ()
    written, shown = _frame(_SET_NAME.sub(_ANY_SET, body) if names else body, family, layer == "nat", bool(jump))
    for name in names:
        written = written.replace(f"@{_ANY_SET}", f"@{set_name(name)}", 1)
        shown = shown.replace(f"@{_ANY_SET}", f"@{set_name(name)}", 1)
    return Spelt(written + suffix, shown + suffix, comments)


@remembered(1 << 17)
def _frame(body: str, family: str, nat: bool, jumps: bool) -> tuple[str, str]:
    """Return a rule without comments, jump and names of sets, as (written by Felix, listed by nft)."""
    rule = read_felix(body, 6 if family == "ip6" else 4)
    protocols = [m.options[0] for m in rule.matches if m.module == "-p" and not m.options[0].negated]
    protocol = PORT_PROTOCOLS.get(protocols[-1].values[0], protocols[-1].values[0]) if protocols else ""
    context = _Context(family, nat, protocol)
    words = [MATCHES[match.module](match.options, context) for match in rule.matches]
    if rule.target:
        words += ["counter", TARGETS[rule.target]({o.name: o for o in rule.arguments}, context)]
    elif jumps:
        words.append("counter")
    text = " ".join(words) or NOTHING
    return text, listed(text)
