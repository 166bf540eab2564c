"""Converts a rule from the syntax in which Felix writes it to nft to the syntax in which nft lists it.

nft compiles a rule for the kernel and decompiles it to list it. Each match and statement has a row in a table below.
Measured with nft 1.0.6; nft 1.1 differs in two rows, which say so, and in the comparisons that it merges
(`felixpy.nftables.joining`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_network
from socket import AF_INET6, inet_ntop
from typing import NamedTuple

from felixpy.netfilter.numbers import NUMBERS, PROTOCOLS
from felixpy.nftables.joining import joined
from felixpy.nftables.words import Words

ICMP_TYPES: Mapping[str, Mapping[int, str]] = {
    "icmp": {
        0: "echo-reply", 3: "destination-unreachable", 4: "source-quench", 5: "redirect", 8: "echo-request",
        9: "router-advertisement", 10: "router-solicitation", 11: "time-exceeded", 12: "parameter-problem",
        13: "timestamp-request", 14: "timestamp-reply", 15: "info-request", 16: "info-reply",
        17: "address-mask-request", 18: "address-mask-reply",
    },
    "icmpv6": {
        1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem",
        128: "echo-request", 129: "echo-reply", 130: "mld-listener-query", 131: "mld-listener-report",
        132: "mld-listener-done", 133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit",
        136: "nd-neighbor-advert", 137: "nd-redirect", 138: "router-renumbering", 141: "ind-neighbor-solicit",
        142: "ind-neighbor-advert", 143: "mld2-listener-report",
    },
}  # fmt: skip

DSCP_NAMES: Mapping[int, str] = {
    **{8 * number: f"cs{number}" for number in range(8)},
    **{8 * row + 2 * column: f"af{row}{column}" for row in range(1, 5) for column in range(1, 4)},
    46: "ef", 44: "va", 1: "lephb",
}  # fmt: skip

DEFAULT_BURST = " burst 5 packets"
"""The default burst, which nft 1.0.6 never lists and nft 1.1 always lists."""

_AT_DPORT: Mapping[str, str] = {
    **{name: f"{name} dport" for name in ("tcp", "udp", "sctp", "dccp", "udplite")},
    "icmp": "icmp checksum", "igmp": "igmp checksum", "ipv6-icmp": "icmpv6 checksum", "ah": "ah reserved",
    "ipcomp": "comp cpi", "esp": "th dport",
}  # fmt: skip
"""The name that nft lists for the 16 bits at the position of the destination port, by the protocol of the rule.

nft knows no header of other protocols and aborts when it lists such a rule: see `felixpy.nftables.refused`.
"""

WITH_HEADER = frozenset(NUMBERS[name] for name in _AT_DPORT)
"""The protocols for which nft can list such a rule."""

_AT_SPORT: Mapping[str, str] = {
    name: f"{name} sport" if words.endswith(" dport") and name != "esp" else "th sport"
    for name, words in _AT_DPORT.items()
}


class _Word(NamedTuple):
    """A part of the listed rule. `implied` is a protocol that nft omits if a field of its header follows."""

    text: str
    implied: str = ""


class _Reader(Words):
    """Parses the words of a written rule in one pass and collects the parts of the listed one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.protocol = ""
        """The last protocol that the rule matches, by its listed name."""
        self.pieces: list[_Word] = []

    def read(self) -> str:
        while self.position < len(self.words):
            word = self.next()
            row = ROWS.get(word)
            text = row(self, word) if row else word
            if text:
                self.add(text)
        return joined(" ".join(piece.text for piece in self.pieces))

    def peek(self) -> str:
        return self.words[self.position] if self.position < len(self.words) else ""

    def operator(self) -> str:
        return "!= " if self.take("!=") else ""

    def add(self, text: str, implied: str = "") -> None:
        self.pieces.append(_Word(text, implied))

    def belongs_to(self, protocol: str) -> None:
        """Record a match on a field of the protocol's header: a match of the protocol itself is then omitted."""
        self.pieces = [piece for piece in self.pieces if piece.implied != protocol]


_Row = Callable[[_Reader, str], str]


def _padded(value: int) -> str:
    return f"{value:#010x}"


def _meta(reader: _Reader, word: str) -> str:
    if reader.take("l4proto"):
        return _l4proto(reader)
    if reader.take("mark", "set", "mark"):
        return _set_mark(reader)
    if reader.take("mark", "&"):
        return _mark(reader)
    return word


def _l4proto(reader: _Reader) -> str:
    operator, value = reader.operator(), reader.next()
    name = PROTOCOLS.get(int(value), value) if value.isdigit() else "ipv6-icmp" if value == "icmpv6" else value
    text = f"meta l4proto {operator}{name}"
    if operator:
        return text
    reader.protocol = name
    reader.add(text, implied=name)
    return ""


def _set_mark(reader: _Reader) -> str:
    """Return a change of the mark: the kernel's ``(mark & kept) ^ value`` is listed as ``|``, as ``&``, or as both."""
    if reader.take("or"):
        return f"meta mark set meta mark | {_padded(int(reader.next(), 0))}"
    reader.take("&")
    kept = int(reader.next(), 0)
    value = int(reader.next(), 0) if reader.take("^") else 0
    shown = f"meta mark set meta mark & {_padded(kept | value)}"
    return f"{shown} | {_padded(value)}" if value else shown


def _mark(reader: _Reader) -> str:
    """Return a match of the mark. nft 1.0.6 lists a mask of leading ones as a prefix; nft 1.1 does not."""
    mask, operator, value = int(reader.next(), 0), reader.next(), int(reader.next(), 0)
    length = mask.bit_count()
    if mask and mask == (1 << 32) - (1 << 32 - length):
        return f"meta mark {'!= ' if operator == '!=' else ''}{_padded(value)}/{length}"
    return f"meta mark & {_padded(mask)} {operator} {_padded(value)}"


def _interface(reader: _Reader, word: str) -> str:
    if reader.take("vmap"):
        return f"{word} vmap {reader.next()}"
    return f'{word} {reader.operator()}"{reader.next()}"'


def _ip(reader: _Reader, family: str) -> str:
    field = reader.next()
    if field == "dscp":
        reader.take("set")
        number = int(reader.next(), 0)
        return f"{family} dscp set {DSCP_NAMES.get(number, f'0x{number:02x}')}"
    for side, names in (("sport", _AT_SPORT), ("dport", _AT_DPORT)):
        if reader.take(".", "meta", "l4proto", ".", "th", side):
            port = names.get(reader.protocol, f"th {side}")
            if reader.protocol in names:
                reader.belongs_to(reader.protocol)
            return f"{family} {field} . meta l4proto . {port} {reader.operator()}{reader.next()}"
    operator, value = reader.operator(), reader.next()
    return f"{family} {field} {operator}{value if value.startswith('@') else network(value)}"


def _arp(reader: _Reader, word: str) -> str:
    """Return a match of ARP, whose fields have names of two words."""
    return f"{word} {reader.next()} {reader.next()}"


def network(value: str) -> str:
    """Return a network or a list of addresses as nft lists it: masked, a single address without length.

    >>> network("10.0.0.5/32"), network("fd00::5/64")
    ('10.0.0.5', 'fd00::/64')
    """
    if "," in value:
        return value
    net = ip_network(value, strict=False)
    address = inet_ntop(AF_INET6, net.network_address.packed) if net.version == 6 else str(net.network_address)
    return address if net.prefixlen == net.max_prefixlen else f"{address}/{net.prefixlen}"


_STATES = ("invalid", "established", "related", "new", "untracked")


def _conntrack(reader: _Reader, word: str) -> str:
    if not reader.take("state"):
        return word
    operator, given = reader.operator(), reader.next().split(",")
    return f"ct state {operator}{','.join(state for state in _STATES if state in given)}"


def _ports(reader: _Reader, protocol: str) -> str:
    field = reader.next()
    reader.belongs_to(protocol)
    return f"{protocol} {field} {reader.operator()}{port_list(reader.next())}"


def port_list(written: str) -> str:
    """Return ports, in braces or not, as nft lists them: sorted, and merged if there is a range among several.

    >>> port_list("{ 443, 80 }"), port_list("{ 80 }"), port_list("{ 80-90, 91 }"), port_list("{ 80, 81 }")
    ('{ 80, 443 }', '80', '{ 80-91 }', '{ 80, 81 }')
    """
    items = written.strip("{} ").split(", ")
    if len(items) == 1:
        return items[0]
    ranges = sorted((int(first), int(last or first)) for first, _, last in (item.partition("-") for item in items))
    merges = any("-" in item for item in items)
    kept: list[tuple[int, int]] = []
    for first, last in ranges:
        if kept and (first <= kept[-1][1] + 1 if merges else (first, last) == kept[-1]):
            kept[-1] = kept[-1][0], max(last, kept[-1][1])
        else:
            kept.append((first, last))
    return f"{{ {', '.join(f'{a}' if a == b else f'{a}-{b}' for a, b in kept)} }}"


def _icmp(reader: _Reader, word: str) -> str:
    if not reader.take("type"):
        return word
    reader.belongs_to("ipv6-icmp" if word == "icmpv6" else word)
    operator, value = reader.operator(), reader.next()
    name = ICMP_TYPES[word].get(int(value), value) if value.isdigit() else value
    return f"{word} type {operator}{name}"


def _limit(reader: _Reader, word: str) -> str:
    reader.take("rate")
    over = "over " if reader.take("over") else ""
    rate = reader.next()
    burst = f" burst {reader.next()} packets" if reader.take("burst") else ""
    if burst:
        reader.take("packets")
    return f"limit rate {over}{rate}{'' if burst == DEFAULT_BURST else burst}"


def _log(reader: _Reader, word: str) -> str:
    reader.take("prefix")
    prefix = reader.next()
    if not reader.take("snaplen"):
        return f"log prefix {prefix}"
    length = reader.next()
    reader.take("group")
    return f"log prefix {prefix} group {reader.next()} snaplen {length}"


def _reject(reader: _Reader, word: str) -> str:
    if reader.take("with", "tcp", "reset"):
        reader.pieces.insert(0, _Word("meta l4proto tcp"))
        return "reject with tcp reset"
    return word


ROWS: Mapping[str, _Row] = {
    "meta": _meta,
    "iifname": _interface,
    "oifname": _interface,
    "ip": _ip,
    "ip6": _ip,
    "arp": _arp,
    "ct": _conntrack,
    "icmp": _icmp,
    "icmpv6": _icmp,
    "limit": _limit,
    "log": _log,
    "reject": _reject,
    **dict.fromkeys(("tcp", "udp", "sctp"), _ports),
}
"""Rows by the first word of a match or statement; other words are listed as written."""


def listed(text: str) -> str:
    """Return a rule as nft lists it; `text` is the rule as Felix writes it, without comment.

    >>> listed("meta l4proto tcp ip saddr 10.0.0.0/8 tcp dport { 80 } counter meta mark set mark or 0x10000")
    'ip saddr 10.0.0.0/8 tcp dport 80 counter meta mark set meta mark | 0x00010000'

    A rule that nft refuses is never listed; one that cannot be parsed is returned unchanged.
    """
    try:
        return _Reader(text).read()
    except (IndexError, ValueError):
        return text
