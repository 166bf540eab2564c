"""Listings of nft with one thing wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from felixpy.netfilter.rules import Dump
from felixpy.nftables.dumps import chain_place, dump_of
from felixpy.nftables.reading import Declared, ListedChain, ListedSet, ListedTable
from felixpy.nftables.ruleset import NftRuleset
from felixpy.verification.nftables.content import listed_tables
from tests.sweep.damage import Damage

FOREIGN = (
    "accept",
    "drop",
    "{ip} saddr {net} accept",
    "tcp dport 80 drop",
    "meta mark set meta mark | 0x00010000",
    "return",
    "{ip} daddr {net} tcp dport vmap {{ 80 : drop, 443 : accept }}",
    "ct state established,related accept",
    "meta l4proto {{ tcp, udp }} th dport 53 drop",
    "meta mark set 0x00020000 accept",
)
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
NETS = {4: ("ip", "10.0.0.0/8"), 6: ("ip6", "fd00::/8")}


class Listing(NamedTuple):
    """The tables of one node in one family."""

    tables: tuple[ListedTable, ...]
    family: int

    @classmethod
    def of(cls, ruleset: NftRuleset, family: int) -> Listing:
        return cls((listed_tables(ruleset)[family],), family)

    @property
    def own(self) -> ListedTable:
        return next(table for table in self.tables if table.name == "calico")

    def dump(self) -> Dump:
        return dump_of(self.tables, [self.family])

    def damaged(self, words: str, own: ListedTable, chain: str = "") -> Damage:
        """The listing with another table of Calico; `chain` is the only one whose rules differ."""
        there = Listing(tuple(own if table is self.own else table for table in self.tables), self.family)
        table, name = chain_place(own, chain, own=True) if chain else ("", "")
        return Damage(words, there.dump(), table, name, there.text())

    def with_rules(self, words: str, name: str, rules: Sequence[str]) -> Damage:
        own, chain = self.own, self.own.chains[name]
        changed = ListedChain(name, chain.base, [(0, rule) for rule in rules])
        return self.damaged(words, replace(own, chains={**own.chains, name: changed}), name)

    def text(self) -> str:
        """What nft would list."""
        return "".join(f"{line}\n" for table in self.tables for line in _lines(table))


def _lines(table: ListedTable) -> Iterator[str]:
    yield f"table {table.title} {{"
    for kind, found in (("set", table.sets), ("map", table.maps)):
        for one in found.values():
            yield f"\t{kind} {one.name} {{"
            yield f"\t\ttype {one.type}"
            if one.flags:
                yield f"\t\tflags {one.flags}"
            if one.elements:
                yield f"\t\telements = {{ {', '.join(one.elements)} }}"
            yield "\t}"
    for chain in table.chains.values():
        yield f"\tchain {chain.name} {{"
        if chain.base:
            base = chain.base
            yield f"\t\ttype {base.type} hook {base.hook} priority {base.priority}; policy {base.policy.lower()};"
        yield from (f"\t\t{text}" for _, text in chain.lines)
        yield "\t}"
    yield "}"


def _rules(chain: ListedChain) -> list[str]:
    return [text for _, text in chain.lines]


def deletions(listing: Listing, layer: str = "filter") -> Iterator[Damage]:
    """Every rule of a layer taken out."""
    for name, chain in listing.own.chains.items():
        if name.startswith(f"{layer}-"):
            rules = _rules(chain)
            for at, text in enumerate(rules):
                yield listing.with_rules(f"{name} without {text}", name, [*rules[:at], *rules[at + 1 :]])


def others(listing: Listing, draw: random.Random) -> Iterator[Damage]:
    """One of each other kind of damage."""
    yield from _of_chains(listing, draw)
    yield from _of_maps(listing, draw)
    yield from _of_sets(listing, draw)
    yield from _of_bases(listing, draw)
    yield from _foreign_tables(listing, draw)


def _of_chains(listing: Listing, draw: random.Random) -> Iterator[Damage]:
    chains = {name: _rules(chain) for name, chain in listing.own.chains.items() if chain.lines and name[:4] != "nat-"}
    if not chains:
        return
    name = draw.choice(sorted(chains))
    yield listing.with_rules(f"{name} emptied", name, ())
    several = sorted(name for name, rules in chains.items() if len(rules) > 1)
    if several:
        name = draw.choice(several)
        rules = list(chains[name])
        at = draw.randrange(len(rules) - 1)
        rules[at], rules[at + 1] = rules[at + 1], rules[at]
        yield listing.with_rules(f"{name} turned round", name, rules)
    yield from _changed(
        listing, chains, draw, "meta mark & 0x00010000 == 0x00010000", "meta mark & 0x00020000 == 0x00020000"
    )
    yield from _changed(
        listing, chains, draw, "meta mark set meta mark | 0x00010000", "meta mark set meta mark | 0x00020000"
    )
    policies = sorted(name for name in chains if name.startswith("filter-cali-p"))
    if policies:
        target = draw.choice(policies)
        for name, rules in sorted(chains.items()):
            at = next((n for n, rule in enumerate(rules) if " jump filter-cali-p" in rule and target not in rule), -1)
            if at >= 0 and name != target:
                head, _, rest = rules[at].partition(" jump ")
                changed = f"{head} jump {target} {rest.partition(' ')[2]}"
                yield listing.with_rules(f"{name}: {changed}", name, [*rules[:at], changed, *rules[at + 1 :]])
                break
    for hook in ("INPUT", "FORWARD", "OUTPUT"):
        name = f"filter-{hook}"
        text = _foreign(listing, draw)
        at = draw.randrange(2) * len(chains.get(name, ()))
        rules = chains.get(name, [])
        yield listing.with_rules(f"{name}: {text} at {at}", name, [*rules[:at], text, *rules[at:]])


def _changed(
    listing: Listing, chains: dict[str, list[str]], draw: random.Random, old: str, new: str
) -> Iterator[Damage]:
    found = [(name, at) for name, rules in sorted(chains.items()) for at, rule in enumerate(rules) if old in rule]
    if found:
        name, at = draw.choice(found)
        rules = chains[name]
        yield listing.with_rules(f"{name}: {new}", name, [*rules[:at], rules[at].replace(old, new), *rules[at + 1 :]])


def _foreign(listing: Listing, draw: random.Random) -> str:
    family, net = NETS[listing.family]
    return draw.choice(FOREIGN).format(ip=family, net=net)


def _of_maps(listing: Listing, draw: random.Random) -> Iterator[Damage]:
    """An element less, one more, and one that leads elsewhere."""
    own = listing.own
    full = sorted(name for name, one in own.maps.items() if one.elements)
    if not full:
        return
    name = draw.choice(full)
    one = own.maps[name]
    at = draw.randrange(len(one.elements))
    key, _, verdict = one.elements[at].partition(" : ")
    rest = [element for n, element in enumerate(one.elements) if n != at]
    ends = "filter-cali-tw-", "filter-cali-fw-", "filter-cali-pro"
    targets = sorted(chain for chain in own.chains if chain.startswith(ends))
    for words, elements in (
        (f"without {key}", rest),
        ("with eth0", [*one.elements, f'"eth0" : {verdict}']),
        (f"{key} elsewhere", [*rest, f"{key} : goto {draw.choice(targets)}"]),
        (f"{key} accepted", [*rest, f"{key} : accept"]),
    ):
        maps = {**own.maps, name: ListedSet(name, one.type, elements=list(elements))}
        yield listing.damaged(f"{name} {words}", replace(own, maps=maps))


def _of_sets(listing: Listing, draw: random.Random) -> Iterator[Damage]:
    own = listing.own
    plain = sorted(name for name in own.sets if name.startswith(f"cali{listing.family}0s-"))
    if not plain:
        return
    name = draw.choice(plain)
    one = own.sets[name]
    stranger = "203.0.113.99" if listing.family == 4 else "2001:db8:99::1"
    for words, elements in (("with a stranger", [*one.elements, stranger]), ("without its first", one.elements[1:])):
        sets = {**own.sets, name: ListedSet(name, one.type, one.flags, list(elements))}
        yield listing.damaged(f"{name} {words}", replace(own, sets=sets))


def _of_bases(listing: Listing, draw: random.Random) -> Iterator[Damage]:
    """Base chains with another policy, at another priority or hook, and none at all."""
    own = listing.own
    names = sorted(name for name, chain in own.chains.items() if chain.base and not name.startswith("nat-"))
    for change in ({"policy": "DROP"}, {"priority": str(draw.choice((-310, -210, -160, 5, 60)))}, None):
        name = draw.choice(names)
        chain = own.chains[name]
        chains = dict(own.chains)
        if change is None:
            chains[name] = ListedChain(name, None, chain.lines)
        else:
            assert chain.base
            chains[name] = ListedChain(name, chain.base._replace(**change), chain.lines)
        yield listing.damaged(f"{name}: {change}", replace(own, chains=chains))


def _foreign_tables(listing: Listing, draw: random.Random) -> Iterator[Damage]:
    """A table of others with a chain at each hook."""
    for hook in HOOKS:
        priority, text = draw.choice((-310, -160, -10, 10, 120)), _foreign(listing, draw)
        base = Declared("filter", hook, str(priority), draw.choice(("ACCEPT", "ACCEPT", "DROP")))
        name = draw.choice((NETS[listing.family][0], "inet"))
        table = ListedTable(name, "others", {"x": ListedChain("x", base, [(0, text)])})
        there = Listing((*listing.tables, table), listing.family)
        yield Damage(f"table {table.title} {base}: {text}", there.dump(), text=there.text(), foreign=True)
