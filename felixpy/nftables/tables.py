"""The tables of the nftables data plane: base chains, chains, verdict maps and sets as nft takes and lists them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha224
from typing import NamedTuple

from felixpy.ipsets import IPSet
from felixpy.iptables.words import HASH_PREFIX
from felixpy.nftables.spelling import Spelt, set_name, spelt
from felixpy.ruleset import ARP, TABLES, Chain, Origin, Table, identities

FAMILIES: Mapping[int, str] = {4: "ip", 6: "ip6"}

MAX_COMMENT = 128
"""Bytes of a rule's comment. (NFTNL_UDATA_COMMENT_MAXLEN)"""

HASH_COMMENT_LENGTH = 22
"""Bytes of ``cali:``, the hash and ``;``."""


class Hook(NamedTuple):
    """Where a base chain is attached. `listed` is how nft prints the priority."""

    type: str
    name: str
    priority: int
    listed: str


def _filter(name: str, priority: int, listed: str) -> Hook:
    return Hook("filter", name, priority, listed)


HOOKS: Mapping[str, Hook] = {
    **{f"raw-{name}": _filter(name.lower(), -300, "raw") for name in TABLES["raw"]},
    **{f"mangle-{name}": _filter(name.lower(), -150, "mangle") for name in TABLES["mangle"]},
    "mangle-OUTPUT": Hook("route", "output", -150, "mangle"),
    "nat-PREROUTING": Hook("nat", "prerouting", -100, "dstnat"),
    "nat-INPUT": Hook("nat", "input", -100, "-100"),
    "nat-OUTPUT": Hook("nat", "output", 110, "110"),
    "nat-POSTROUTING": Hook("nat", "postrouting", 110, "srcnat + 10"),
    **{f"filter-{name}": _filter(name.lower(), 0, "filter") for name in TABLES["filter"]},
}
"""The base chains of ``calico``. A priority is listed by a name that nft knows for the hook. (felix/nftables)"""

ARP_HOOKS: Mapping[str, Hook] = {"filter-OUTPUT": HOOKS["filter-OUTPUT"]}

APPENDED = "*appends*"
"""Follows the name of a base chain in hashes of the rules at its end."""


def hashes(seed: str, rules: Iterable[str]) -> list[str]:
    """A rule's identity: a hash over its text, without comment, and that of every rule above it in the chain.

    `seed` is the chain's name with its layer; for rules at the end of a base chain Felix appends ``*appends*``.

    >>> hashes("filter-FORWARD", ["counter jump filter-cali-FORWARD"])
    ['dpfqBgJrpRwlrqw1']
    """
    digest = sha224(seed.encode()).digest()
    digests = []
    for rule in rules:
        digest = sha224(digest + rule.encode()).digest()
        digests.append(digest)
    return identities(digests)


def comment(identity: str, comments: tuple[str, ...]) -> str:
    """The comment of a rule: its hash, then Felix's own comments, each cut so that all of them fit.

    >>> comment("dpfqBgJrpRwlrqw1", ("why",))
    'cali:dpfqBgJrpRwlrqw1; why'
    """
    head = f"{HASH_PREFIX}{identity};"
    if not comments:
        return head
    room = (MAX_COMMENT - HASH_COMMENT_LENGTH) // len(comments)
    text = " ".join([head, *(text[:room] for text in comments)])
    return text[:MAX_COMMENT]


class NftRule(NamedTuple):
    """A rule as Felix writes it and as nft lists it; `number` is the policy rule that it draws, -1 for none."""

    written: str
    listed: str
    comment: str
    number: int


@dataclass(frozen=True, eq=False)
class NftChain:
    """A chain of a table, `hook` for a base chain only."""

    name: str
    rules: tuple[NftRule, ...]
    origin: Origin
    template: str
    hook: Hook | None = None

    @cached_property
    def texts(self) -> dict[str, str]:
        """Its text in each spelling, kept by those who print it: nodes share chains."""
        return {}


class VerdictMap(NamedTuple):
    """From an interface to the chain for it."""

    name: str
    chains: Mapping[str, str]


class NftSet(NamedTuple):
    """An IP set; `written` and `listed` are its members, pairwise, in the order in which they are listed."""

    name: str
    type: str
    interval: bool
    written: tuple[str, ...]
    listed: tuple[str, ...]
    source: IPSet


_ADDRESS_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_LENGTHS = {4: "/32", 6: "/128"}


def nft_set(ipset: IPSet) -> NftSet:
    """A set as nft has it: members of hash:net with their length, those with a port as a concatenation."""
    known: NftSet | None = ipset.members.findings.get("nftables")
    if known is None or known.source.name != ipset.name:
        known = ipset.members.findings["nftables"] = _nft_set(ipset)
    return known._replace(source=ipset)


def _nft_set(ipset: IPSet) -> NftSet:
    address = _ADDRESS_TYPES[ipset.family]
    name = set_name(ipset.name)
    if ipset.type == "hash:ip,port":
        members = tuple(sorted(_with_port(member) for member in ipset.members))
        return NftSet(name, f"{address} . inet_proto . inet_service", False, members, members, ipset)
    if ipset.type == "hash:ip":
        return NftSet(name, address, False, ipset.members, ipset.members, ipset)
    length = _LENGTHS[ipset.family]
    written = tuple(sorted(member if "/" in member else f"{member}{length}" for member in ipset.members))
    return NftSet(name, address, True, written, tuple(member.removesuffix(length) for member in written), ipset)


def _with_port(member: str) -> str:
    """A member with a port as nft writes it.

    >>> _with_port("10.0.0.5,tcp:8080")
    '10.0.0.5 . tcp . 8080'
    """
    address, _, rest = member.partition(",")
    protocol, _, port = rest.partition(":")
    return f"{address} . {protocol} . {port}"


@dataclass(frozen=True, eq=False)
class NftTable:
    """One table: its sets, verdict maps, base chains in the order of the layers, and chains by name."""

    family: str
    name: str
    sets: tuple[NftSet, ...]
    maps: tuple[VerdictMap, ...]
    chains: tuple[NftChain, ...]

    @property
    def title(self) -> str:
        return f"{self.family} {self.name}"


class _Part(NamedTuple):
    """Rules of a chain that are hashed together."""

    chain: Chain
    seed: str


def _layer(table: Table) -> str:
    """What names in a table begin with; the table of ARP has one layer only."""
    return "filter" if table.name == ARP else table.name


def rule_hashes(table: Table, chain: Chain, family: str) -> list[str]:
    """The hashes of a chain's rules in a table of ``ip``, ``ip6`` or ``arp``."""
    layer = _layer(table)
    seed = f"{layer}-{chain.name}"
    if table.appended.get(chain.name) is chain:
        seed += APPENDED
    return hashes(seed, (spelt(body, layer, family).written for body in chain.bodies))


def chain_rules(table: Table, chain: Chain, family: str) -> Iterator[NftRule]:
    """The rules of a chain in a table of ``ip``, ``ip6`` or ``arp``."""
    layer = _layer(table)
    texts = [spelt(body, layer, family) for body in chain.bodies]
    for text, identity, number in zip(texts, rule_hashes(table, chain, family), chain.numbers, strict=True):
        yield NftRule(text.written, text.listed, comment(identity, text.comments), number)


def _chain(name: str, layer: str, family: str, parts: Iterable[_Part], hook: Hook | None = None) -> NftChain:
    rules: list[NftRule] = []
    origin, template = Origin(words=""), ""
    for part in parts:
        texts: list[Spelt] = [spelt(body, layer, family) for body in part.chain.bodies]
        found = hashes(part.seed, (text.written for text in texts))
        for text, identity, number in zip(texts, found, part.chain.numbers, strict=True):
            rules.append(NftRule(text.written, text.listed, comment(identity, text.comments), number))
        origin, template = part.chain.origin, template or part.chain.template
    return NftChain(name, tuple(rules), origin, template, hook)


def _base_chain(name: str, hook: Hook, tables: Mapping[str, Table], family: str) -> NftChain:
    layer, _, kernel_chain = name.partition("-")
    table = tables.get(layer)
    parts = []
    if table:
        if kernel_chain in table.inserted:
            parts.append(_Part(table.inserted[kernel_chain], name))
        if kernel_chain in table.appended:
            parts.append(_Part(table.appended[kernel_chain], f"{name}{APPENDED}"))
    return _chain(name, layer, family, parts, hook)


def _own_chain(chain: Chain, layer: str, family: str) -> NftChain:
    """A chain of Felix's own, spelt once for all nodes that have it."""
    key = ("nftables", layer, family)
    known: NftChain | None = chain.findings.get(key)
    if known is None:
        name = f"{layer}-{chain.name}"
        known = chain.findings[key] = _chain(name, layer, family, [_Part(chain, name)])
    return known


def nft_table(family: str, tables: Iterable[Table], sets: Iterable[IPSet]) -> NftTable:
    """The table of a family (``ip``, ``ip6``, ``arp``) from the tables of its layers."""
    layers = {_layer(table): table for table in tables}
    hooks = ARP_HOOKS if family == ARP else HOOKS
    base = [_base_chain(name, hook, layers, family) for name, hook in hooks.items()]
    own = [_own_chain(chain, layer, family) for layer, table in layers.items() for chain in table.chains]
    maps = [
        VerdictMap(f"{layer}-{name}", {key: f"{layer}-{chain}" for key, chain in chains.items()})
        for layer, table in layers.items()
        for name, chains in table.maps.items()
    ]
    return NftTable(
        family,
        f"calico-{ARP}" if family == ARP else "calico",
        tuple(sorted((nft_set(one) for one in sets), key=lambda one: one.name)),
        tuple(sorted(maps)),
        (*base, *sorted(own, key=lambda chain: chain.name.encode())),
    )
