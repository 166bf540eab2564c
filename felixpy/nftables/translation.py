"""Converts a rule as nft lists it to iptables' syntax, which `felixpy.iptables` parses.

The inverse of `felixpy.nftables.spelling`, for the rules that Felix writes and for simple foreign rules. Text that is
not understood is kept, and answers that depend on it are uncertain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from felixpy.netfilter.numbers import PROTOCOLS
from felixpy.nftables.listed import FILTER, Elsewhere, ListedRule, Row, Scope, Strange, Translated
from felixpy.nftables.listing import DSCP_NAMES, ICMP_TYPES
from felixpy.nftables.statements import STATEMENTS

FULL = 0xFFFFFFFF

_NUMBERS_OF_TYPES = {
    word: {name: number for number, name in names.items()} for word, names in ICMP_TYPES.items()
}  # fmt: skip
_DSCP = {name: number for number, name in DSCP_NAMES.items()}
_HEADERS = {
    "icmp": "icmp", "icmpv6": "ipv6-icmp", "igmp": "igmp", "ah": "ah", "comp": "ipcomp", "tcp": "tcp", "udp": "udp",
    "sctp": "sctp", "dccp": "dccp", "udplite": "udplite",
}  # fmt: skip
"""The protocol that a header belongs to."""


def _number(text: str) -> int:
    return int(text, 0)


def _meta(reader: ListedRule, word: str) -> None:
    key = reader.next()
    if key == "l4proto":
        negation, value = reader.negation(), reader.next()
        if value.startswith("{"):
            raise Strange(value)
        if not negation:
            reader.protocol = PROTOCOLS.get(int(value), value) if value.isdigit() else value
        reader.match(f"{negation}-p {value}")
    elif key == "mark":
        _set_mark(reader) if reader.take("set") else _mark(reader)
    elif key in ("iifname", "oifname", "iif", "oif"):
        _interface(reader, key)
    elif key == "nfproto":
        negation, value = reader.negation(), reader.next()
        if bool(negation) == (_FAMILIES.get(value) == reader.family):
            raise Elsewhere
    else:
        raise Strange(key)


def _mark(reader: ListedRule) -> None:
    mask = FULL
    if reader.take("&"):
        mask = _number(reader.next())
    negation, value = reader.negation(), reader.next()
    number, slash, length = value.partition("/")
    if slash:
        mask = FULL << 32 - int(length) & FULL
    reader.match(f"-m mark {negation}--mark {_number(number):#x}/{mask:#x}")


def _set_mark(reader: ListedRule) -> None:
    """Convert ``(mark & kept) | value`` to iptables' ``mark & ~mask ^ value``."""
    if reader.take("ct", "mark"):
        reader.act("-j CONNMARK --restore-mark")
        return
    if not reader.take("meta", "mark"):
        reader.act(f"-j MARK --set-xmark {_number(reader.next()):#x}/{FULL:#x}")
        return
    kept, value = FULL, 0
    if reader.take("^"):
        reader.act(f"-j MARK --set-xmark {_number(reader.next()):#x}/0x0")
        return
    if reader.take("&"):
        kept = _number(reader.next())
    if reader.take("|"):
        value = _number(reader.next())
    reader.act(f"-j MARK --set-xmark {value:#x}/{FULL & ~(kept & ~value):#x}")


def _interface(reader: ListedRule, word: str) -> None:
    negation, name = reader.negation(), reader.next()
    if not name.startswith('"'):
        raise Strange(name)
    name = name.strip('"')
    pattern = f"{name[:-1]}+" if name.endswith("*") else name
    reader.match(f"{negation}-{word[0]} {pattern}")


_FAMILIES = {"ipv4": 4, "ip": 4, "icmp": 4, "ipv6": 6, "ip6": 6, "icmpv6": 6}
"""The IP family that a word implies, in rules of both families."""

_FIELDS = {"saddr": ("-s", "src"), "daddr": ("-d", "dst")}


def _ip(reader: ListedRule, word: str) -> None:
    reader.only(_FAMILIES[word])
    field = reader.next()
    if field == "dscp" and reader.take("set"):
        value = reader.next()
        reader.act(f"-j DSCP --set-dscp {_DSCP[value] if value in _DSCP else _number(value)}")
        return
    if field == "protocol":
        negation, value = reader.negation(), reader.next()
        if not negation:
            reader.protocol = value
        reader.match(f"{negation}-p {value}")
        return
    option, side = _FIELDS[field]
    if reader.take(".", "meta", "l4proto", "."):
        header, _ = reader.next(), reader.next()
        if header in _HEADERS:
            reader.asks_for(_HEADERS[header])
        sides = f"{side},{side}"
        negation = reader.negation()
        reader.match(f"-m set {negation}--match-set {_set(reader, reader.next())} {sides}")
        return
    negation, value = reader.negation(), reader.next()
    if value.startswith("@"):
        reader.match(f"-m set {negation}--match-set {_set(reader, value)} {side}")
        return
    nets = value.strip("{} ").split(", ")
    if any("-" in net for net in nets):
        if len(nets) > 1:
            raise Strange(value)
        reader.match(f"-m iprange {negation}--{side}-range {nets[0]}")
        return
    reader.match(f"{negation}{option} {','.join(nets)}")


def _set(reader: ListedRule, word: str) -> str:
    if not word.startswith("@"):
        raise Strange(word)
    return reader.scope.set_name(word[1:])


def _ports(reader: ListedRule, protocol: str) -> None:
    field = reader.next()
    if protocol == "tcp" and field == "flags":
        _flags(reader)
        return
    if field == "option" and "set" in reader.words[reader.position :]:
        reader.position = len(reader.words)  # changes the MSS, which no rule matches
        return
    if field not in ("sport", "dport"):
        raise Strange(field)
    reader.asks_for(protocol)
    negation, value = reader.negation(), reader.next()
    if value.startswith("@"):
        raise Strange(value)
    ports = [port.replace("-", ":") for port in value.strip("{} ").split(", ")]
    if not all(re.fullmatch(r"[\d:]+", port) for port in ports):
        raise Strange(value)
    if len(ports) == 1 and not value.startswith("{"):
        reader.match(f"-m {protocol} {negation}--{field} {ports[0]}")
    else:
        reader.match(f"-m multiport {negation}--{field}s {','.join(ports)}")


def _flags(reader: ListedRule) -> None:
    """Convert ``tcp flags syn / fin,syn,rst,ack``: of the flags after the slash exactly those before it are set.

    Without a slash at least one of the flags is set.
    """
    reader.asks_for("tcp")
    negation, wanted = reader.negation(), reader.next().upper()
    if reader.take("/"):
        reader.match(f"-m tcp {negation}--tcp-flags {reader.next().upper()} {wanted}")
    elif negation or not wanted.isalpha():
        raise Strange(wanted)
    else:
        reader.match(f"-m tcp --tcp-flags {wanted} {wanted}")


def _number_generator(reader: ListedRule, word: str) -> None:
    """Convert a random or round-robin choice; each of its rules is evaluated if none before it matched."""
    reader.next()
    reader.take("mod")
    count, number = int(reader.next()), int(reader.next())
    if number + 1 < count:
        reader.match(f"-m statistic --mode random --probability {1 / (count - number):.11f}")


_ICMP = {"icmp": ("icmp", "icmp", "--icmp-type"), "icmpv6": ("ipv6-icmp", "icmp6", "--icmpv6-type")}


def _icmp(reader: ListedRule, word: str) -> None:
    if not reader.take("type"):
        raise Strange(word)
    reader.only(_FAMILIES[word])
    protocol, module, option = _ICMP[word]
    reader.asks_for(protocol)
    negation, value = reader.negation(), reader.next()
    number = _NUMBERS_OF_TYPES[word].get(value)
    code = ""
    if reader.take("code"):  # in rules from Felix only; nft refuses them
        reader.negation()
        code = f"/{int(reader.next())}"
    reader.match(f"-m {module} {negation}{option} {int(value) if number is None else number}{code}")


_STATES = {"invalid", "established", "related", "new", "untracked"}

TRACKED = "NEW,RELATED,ESTABLISHED"


def _conntrack(reader: ListedRule, word: str) -> None:
    """Convert a match of the connection.

    ``ct status != dnat`` compares the whole status, which never equals that bit alone: it matches every packet with a
    connection, with or without DNAT, and no other packet.
    """
    key = reader.next()
    if key == "state":
        negation, value = reader.negation(), reader.next()
        states = [state.strip() for state in value.strip("{} ").split(",")]
        if not set(states) <= _STATES:
            raise Strange(value)
        reader.match(f"-m conntrack {negation}--ctstate {','.join(states).upper()}")
    elif key == "status" and reader.take("dnat"):
        reader.match("-m conntrack --ctstate DNAT")
    elif key == "status" and reader.take("!=", "dnat"):
        reader.match(f"-m conntrack --ctstate {TRACKED}")
    elif key == "count":
        above = "above" if reader.take("over") else "upto"
        reader.match(f"-m connlimit --connlimit-{above} {int(reader.next())} --connlimit-mask 0")
    elif key == "mark" and reader.take("set", "meta", "mark"):
        reader.act("-j CONNMARK --save-mark")
    elif key == "mark":
        mask = _number(reader.next()) if reader.take("&") else FULL
        negation = reader.negation()
        reader.match(f"-m connmark {negation}--mark {_number(reader.next()):#x}/{mask:#x}")
    else:
        raise Strange(key)


def _fib(reader: ListedRule, word: str) -> None:
    if reader.take("saddr", ".", "mark", ".", "iif", "oif") or reader.take("saddr", ".", "mark", ".", "iif", "check"):
        reader.take("==")
        if reader.next() not in ("0", "missing"):
            raise Strange(word)
        reader.match("-m rpfilter --validmark --invert")
        return
    side = {"saddr": "src", "daddr": "dst"}[reader.next()]
    limit = ""
    if reader.take("."):
        limit = {"iif": " --limit-iface-in", "oif": " --limit-iface-out"}[reader.next()]
    if not reader.take("type"):
        raise Strange(word)
    negation, kind = reader.negation(), reader.next()
    reader.match(f"-m addrtype {negation}--{side}-type {kind.upper()}{limit}")


def _limit(reader: ListedRule, word: str) -> None:
    reader.take("rate")
    over = reader.take("over")
    rate = reader.next()
    if "bytes" in rate or reader.words[reader.position : reader.position + 1] == ["bytes/second"]:
        raise Strange(rate)
    burst = 5
    if reader.take("burst"):
        burst = int(reader.next())
        reader.take("packets")
    if over:
        reader.match(f"-m hashlimit --hashlimit-above {rate} --hashlimit-burst {burst} --hashlimit-name nft")
    else:
        reader.match(f"-m limit --limit {rate} --limit-burst {burst}")


ROWS: Mapping[str, Row] = {
    **STATEMENTS,
    "meta": _meta,
    "iifname": _interface,
    "oifname": _interface,
    "iif": _interface,
    "oif": _interface,
    "ip": _ip,
    "ip6": _ip,
    "ct": _conntrack,
    "fib": _fib,
    "icmp": _icmp,
    "icmpv6": _icmp,
    "limit": _limit,
    "numgen": _number_generator,
    **dict.fromkeys(("tcp", "udp", "sctp", "dccp", "udplite"), _ports),
}
"""Rows by the first word of a match or statement."""


def translated(text: str, family: int, scope: Scope = FILTER) -> Translated:
    """Convert a rule of a listing, given without its comment; `scope` resolves its names.

    >>> translated('iifname "cali*" meta mark & 0x00000003 == 0x00000000 counter jump filter-cali-x', 4).text
    '-i cali+ -m mark --mark 0x0/0x3 -j cali-x'
    """
    return ListedRule(text, family, scope).read(ROWS)
