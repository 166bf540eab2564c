"""Converts a listing of nft to a `Dump`, the same value that is read from iptables-save.

Calico's tables become the corresponding tables and chains of iptables: base chain ``filter-FORWARD`` of ``ip calico``
is chain FORWARD of table filter. Foreign tables with chains at the hooks keep their names, such as ``ip kube-proxy``.
A rule keeps its nft text; one that looks up a map or list becomes one rule for each element.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, summarize_address_range
from typing import NamedTuple

from felixpy.errors import InputError, Place, Problem
from felixpy.iptables.reader import read_body
from felixpy.iptables.words import quoted
from felixpy.names import LAYERS, plain_set_name, split_layer
from felixpy.netfilter.actions import Unclear
from felixpy.netfilter.criteria import NotUnderstood, Test
from felixpy.netfilter.hooks import HOOK_NAMES, BaseChain, Stages, stages_of
from felixpy.netfilter.rules import Body, Chain, Dump, Line, Meaning, Rule, SavedSet
from felixpy.nftables.expansion import expanded, plain_element
from felixpy.nftables.joining import JOINED, loosened
from felixpy.nftables.listed import Scope
from felixpy.nftables.reading import FILE, ListedChain, ListedTable, priority_of, read_tables
from felixpy.nftables.tables import FAMILIES, HOOKS
from felixpy.nftables.translation import translated
from felixpy.remembered import remembered

OWN = "calico"

NUMBERS = {name: number for number, name in FAMILIES.items()}

IP_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
"""The IP families whose packets pass the tables of each nft family."""


_CALICO = re.compile(r'^table ip6? calico \{|"name": "calico"', re.MULTILINE)


def lists_calico(listing: str) -> bool:
    """Return whether a listing contains a table of Calico.

    >>> lists_calico("table ip calico {\\n}\\n"), lists_calico("table arp calico-arp {\\n}\\n")
    (True, False)
    """
    return bool(_CALICO.search(listing))


def read_listing(text: str, file: str = FILE, *, leave_out: Container[str] = ()) -> Dump:
    """Return a listing as a dump, without the tables whose titles are in `leave_out`.

    Raises InputError if the listing cannot be read or has no table of Calico.
    """
    tables = [table for table in read_tables(text, file) if table.title not in leave_out]
    families = [family for family, name in FAMILIES.items() if any(_is_own(table, name) for table in tables)]
    if not families:
        named = ", ".join(table.title for table in tables) or "none"
        reason = f"there is no table ip calico or ip6 calico in it (tables: {named})"
        raise InputError([Problem(place=Place(file), reason=reason, hint="give what nft list ruleset prints")])
    return dump_of(tables, families, file)


def dump_of(tables: Sequence[ListedTable], families: Iterable[int], file: str = FILE) -> Dump:
    """Return the tables of a listing that packets of the given IP families pass."""
    found: dict[int, dict[str, dict[str, Chain]]] = {}
    sets: dict[str, SavedSet] = {}
    hooks: dict[int, Stages] = {}
    for family in families:
        found[family] = {layer: {} for layer in LAYERS}
        bases: list[BaseChain] = []
        for table in tables:
            if family not in IP_FAMILIES.get(table.family, ()):
                continue
            own = _is_own(table, FAMILIES[family])
            if own or any(chain.base for chain in table.chains.values()):
                found[family].update(
                    _own_chains(table, family, file) if own else {table.title: _chains(table, family, file)}
                )
                bases.extend(_bases(table, own=own))
                sets.update({each.name: each for each in _sets(table, family, own=own)})
        hooks[family] = stages_of(bases)
    return Dump(found, sets, tuple(_left_open(tables)), tuple(_remarks(tables)), "nftables", hooks)


def _is_own(table: ListedTable, family: str) -> bool:
    return table.name == OWN and table.family == family


def _left_open(tables: Iterable[ListedTable]) -> Iterator[str]:
    """Yield what a listing contains that is not evaluated."""
    for table in tables:
        for chain in table.chains.values():
            base = chain.base
            if base and table.family != "arp" and not _is_walked(table, base.hook):
                yield f"chain {chain.name} of table {table.title} sees packets at hook {base.hook}; it is not walked"


def _remarks(tables: Iterable[ListedTable]) -> Iterator[str]:
    """Yield what is unusual about Felix's tables."""
    for table in tables:
        if table.name != OWN or table.family not in NUMBERS:
            continue
        if not table.chains:
            yield f"table {table.title} is empty: every packet passes, as after a crash of Felix"
        for chain in table.chains.values():
            base = chain.base
            wanted = HOOKS.get(chain.name) if base else None
            if wanted and base and base.priority != wanted.listed:
                yield f"chain {chain.name} has priority {base.priority}, not {wanted.listed}"
            if wanted and base and base.policy != "ACCEPT":
                yield f"chain {chain.name} has policy {base.policy.lower()}, which Felix never sets and never changes"


def _is_walked(table: ListedTable, hook: str) -> bool:
    return table.family in IP_FAMILIES and hook.upper() in HOOK_NAMES


# --- chains


class ChainSource(NamedTuple):
    """The table that a chain is read from, and how names in its rules are resolved."""

    table: ListedTable
    scope: Scope


def chain_place(table: ListedTable, name: str, *, own: bool) -> tuple[str, str]:
    """Return the (table, chain) of a dump that corresponds to a chain of a listing."""
    layer, plain = split_layer(name) if own else ("", name)
    return (layer, plain) if layer else (table.title, name)


def _own_chains(table: ListedTable, family: int, file: str) -> dict[str, dict[str, Chain]]:
    """Return the chains of a table of Calico by layer.

    If a chain has no layer, or a rule leads from one layer to a chain outside it, all chains are also in a table of the
    listed title, under their listed names, and in each layer with such a rule.
    """
    found: dict[str, dict[str, Chain]] = {layer: {} for layer in LAYERS}
    others: dict[str, Chain] = {}
    for chain in table.chains.values():
        layer, name = split_layer(chain.name)
        if layer:
            found[layer][name] = _chain(chain, name, ChainSource(table, Scope(layer)), family, file)
    astray = {layer for layer, _ in _strays(table)}
    if astray or any(not split_layer(name)[0] for name in table.chains):
        others = {
            name: _chain(chain, name, ChainSource(table, Scope("", OWN)), family, file)
            for name, chain in table.chains.items()
        }
        found[table.title] = others
    for layer in astray & set(LAYERS):
        found[layer].update(others)
    return found


_TARGET = re.compile(r"(?<!\S)(?:jump|goto) (\S+)")


def _strays(table: ListedTable) -> Iterator[tuple[str, str]]:
    """Yield (layer, chain) for each rule that leads to a chain of another layer, or of no layer."""
    for chain in table.chains.values():
        layer = split_layer(chain.name)[0]
        head = f"{layer}-"
        for _, text in chain.lines:
            for target in _TARGET.findall(text):
                if not layer or not target.startswith(head):
                    yield layer, target
    for name, one in table.maps.items():
        layer = split_layer(name)[0]
        for element in one.elements:
            for target in _TARGET.findall(element):
                if not layer or not target.startswith(f"{layer}-"):
                    yield from ((each, target) for each in LAYERS)


def _chains(table: ListedTable, family: int, file: str) -> dict[str, Chain]:
    """Return the chains of a foreign table by name."""
    source = ChainSource(table, Scope("", table.title))
    return {name: _chain(chain, name, source, family, file) for name, chain in table.chains.items()}


def _chain(chain: ListedChain, name: str, source: ChainSource, family: int, file: str) -> Chain:
    lines = [Line(number, text, _counters(text)) for number, text in chain.lines]
    base = chain.base
    read = partial(read_rules, source=source)
    if base is None:
        return Chain(name, "", file, family, read, lines)
    declared = f"type {base.type} hook {base.hook} priority {priority_of(base.priority)}; policy {base.policy.lower()};"
    return Chain(name, base.policy, file, family, read, lines, declared=declared)


def _bases(table: ListedTable, *, own: bool) -> Iterator[BaseChain]:
    for chain in table.chains.values():
        if chain.base:
            place = chain_place(table, chain.name, own=own)
            base = chain.base
            yield BaseChain(*place, base.hook.upper(), priority_of(base.priority), base.type == "nat")


# --- rules


_COUNTERS = re.compile(r"(?<!\S)counter packets (\d+) bytes (\d+)")


def _counters(text: str) -> tuple[int, int] | None:
    found = _COUNTERS.search(text)
    return (int(found[1]), int(found[2])) if found else None


def without_counts(text: str) -> str:
    """Return a rule as ``nft -s`` lists it, without the values of its counters.

    >>> without_counts("counter packets 7 bytes 420 drop")
    'counter drop'
    """
    return _COUNTERS.sub("counter", text)


_COMMENT = re.compile(r' comment "(?P<text>[^"]*)"$')
_FELIX_COMMENT = re.compile(r"cali:([\w-]{16});(?: |$)", re.ASCII)
"""Matches the start of Felix's comments: the hash, and a semicolon before other words. (felix/nftables)"""


class Commented(NamedTuple):
    """A rule's text without comment, Felix's hash from the comment ("" for foreign rules), and the rest of it."""

    text: str
    identity: str
    words: str


def split_comment(text: str) -> Commented:
    """Split a rule of a listing into text, hash and the words of its comment.

    >>> split_comment('counter drop comment "cali:AAAAAAAAAAAAAAAA; why"')
    Commented(text='counter drop', identity='AAAAAAAAAAAAAAAA', words='why')
    """
    found = _COMMENT.search(text)
    if not found:
        return Commented(text, "", "")
    note = found["text"]
    own = _FELIX_COMMENT.match(note)
    return (
        Commented(text[: found.start()], own[1], note[own.end() :])
        if own
        else Commented(text[: found.start()], "", note)
    )


def read_rules(chain: Chain, source: ChainSource) -> tuple[Rule, ...]:
    """Return the rules of a chain; a rule with a lookup becomes one rule for each element."""
    rules: list[Rule] = []
    for number, (line, text, counters) in enumerate(chain.lines, start=1):
        bare, identity, words = split_comment(text)
        for each in expanded(bare, source.table, own=not source.scope.table):
            bodies = read_text(each, words, chain.family, source.scope)
            rules.extend(Rule(number, line, text, identity, body, counters) for body in bodies)
    return tuple(rules)


@remembered(1 << 17)
def read_text(text: str, words: str, family: int, scope: Scope) -> tuple[Body, ...]:
    """Parse a rule; `words` are those of its comment. Returns () for a rule of the other IP family.

    A rule that sets a mark and then decides becomes two; one whose excluded ports nft may have joined gets two more,
    which are uncertain (`felixpy.nftables.joining`).
    """
    shown = without_counts(text)
    note = f"-m comment --comment {quoted(words)} " if words else ""
    bodies = list(_bodies(shown, note, family, scope))
    for other in loosened(shown):
        bodies += [
            replace(body, read=partial(_joined_meaning, body=body)) for body in _bodies(other, note, family, scope)
        ]
    return tuple([replace(body, text=shown) for body in bodies])


def _bodies(text: str, note: str, family: int, scope: Scope) -> Iterator[Body]:
    read = translated(text, family, scope)
    if read.elsewhere:
        return
    texts = [read.first, read.text] if read.first else [read.text]
    bodies = [read_body(f"{note}{spelt}".strip(), family) for spelt in texts]
    if not read.strange and read.certain:
        yield from bodies
    else:
        yield replace(bodies[-1], read=partial(_strange_meaning, body=bodies[-1], strange=read.strange))


def _strange_meaning(own: Body, body: Body, strange: tuple[str, ...]) -> Meaning:
    tests, _, _ = body.meaning
    unclear = tuple(Test(NotUnderstood(text, f"not understood: {text}")) for text in strange)
    return Meaning((*tests, *unclear), Unclear(" ".join(strange)), own.text)


def _joined_meaning(own: Body, body: Body) -> Meaning:
    tests, action, _ = body.meaning
    return Meaning((*tests, Test(NotUnderstood(own.text, JOINED))), action, own.text)


# --- sets


def _sets(table: ListedTable, family: int, *, own: bool) -> Iterator[SavedSet]:
    """Yield the sets of addresses as ipset prints them; other foreign sets are read from the rules that name them."""
    options = {"family": "inet6" if family == 6 else "inet"}
    address = "ipv6_addr" if family == 6 else "ipv4_addr"
    for one in table.sets.values():
        kind = _TYPES.get((one.type.removeprefix(address), "interval" in one.flags))
        if kind and one.type.startswith(address):
            name = plain_set_name(one.name) if own else Scope("", table.title).set_name(one.name)
            members = tuple(member for element in one.elements for member in set_members(element))
            yield SavedSet(name, kind, options, members)


_TYPES = {
    ("", True): "hash:net",
    ("", False): "hash:ip",
    (" . inet_proto . inet_service", False): "hash:ip,port",
}


def set_members(element: str) -> Sequence[str]:
    """Return an element as ipset prints it; a range becomes several networks.

    >>> set_members("10.0.0.5 . tcp . 80"), set_members("10.0.0.0/8"), set_members("10.0.0.1-10.0.0.2")
    (['10.0.0.5,tcp:80'], ['10.0.0.0/8'], ['10.0.0.1/32', '10.0.0.2/32'])
    """
    parts = plain_element(element).split(" . ")
    if len(parts) == 3:
        return [f"{parts[0]},{parts[1]}:{parts[2]}"]
    first, dash, last = parts[0].partition("-")
    if not dash:
        return [first]
    return [str(net) for net in summarize_address_range(ip_address(first), ip_address(last))]
