"""All differences of a node with the nftables data plane, each with its damage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from felixpy.dataplane.current import Rule
from felixpy.dataplane.transaction import NO_SPELLING
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import few, many
from felixpy.names import LAYERS, split_layer
from felixpy.nftables.dumps import split_comment
from felixpy.nftables.listed import Scope
from felixpy.nftables.normal import normal
from felixpy.nftables.reading import Declared, ListedChain, ListedTable, priority_of
from felixpy.nftables.ruleset import NftRuleset
from felixpy.nftables.spelling import set_name
from felixpy.ruleset import ARP
from felixpy.verification.baseline import Damage
from felixpy.verification.chains import Draft, TableView
from felixpy.verification.comparison import Comparison
from felixpy.verification.finding import KINDS, Finding
from felixpy.verification.nftables.arp import arp_effect
from felixpy.verification.nftables.baseline import ListedBaseline, listed_name
from felixpy.verification.nftables.content import listed_table, listed_tables, wanted_of
from felixpy.verification.nftables.observed import TITLES, ListedNode

Elements = Mapping[str, str]
"""The elements of a verdict map: the chain for each interface, with the word before it."""


@dataclass(eq=False)
class LayerView(TableView):
    """One layer of one family: rules are compared as nft lists them, and jump to chains of their layer.

    `maps` are the wanted verdict maps, `there` the current ones, `hooked` the chains at hooks.
    """

    maps: Mapping[str, Elements]
    there: Mapping[str, Elements]
    hooked: frozenset[str]

    def has_hook(self, chain: str) -> bool:
        return listed_name(self.name, chain) in self.hooked

    def content(self, rule: Rule) -> object:
        found = split_comment(rule.text)
        return found.text, found.words

    def target(self, rule: Rule) -> str:
        words = split_comment(rule.text).text.split(" ")
        if len(words) > 1 and words[-2] in ("jump", "goto"):
            return Scope(self.name).chain(words[-1])
        return ""

    def without(self, chain: str) -> Mapping[str, Sequence[str]]:
        """The wanted maps that have elements for a chain, without these elements."""
        listed = listed_name(self.name, chain)
        return {
            name: [element(key, verdict) for key, verdict in elements.items() if not _leads_to(verdict, listed)]
            for name, elements in self.maps.items()
            if any(_leads_to(verdict, listed) for verdict in elements.values())
        }

    def leading(self, chain: str) -> Mapping[str, Sequence[str]]:
        """The wanted maps with the current elements for an unwanted chain added."""
        listed = listed_name(self.name, chain)
        found: dict[str, Sequence[str]] = {}
        for name, there in self.there.items():
            more = {key: verdict for key, verdict in there.items() if _leads_to(verdict, listed)}
            if more:
                right = {**self.maps.get(name, {}), **more}
                found[name] = [element(key, verdict) for key, verdict in right.items()]
        return found


def element(key: str, verdict: str) -> str:
    """An element as nft lists it."""
    return f'"{key}" : {verdict}'


def elements_of(table: ListedTable | None, layer: str) -> Mapping[str, Elements]:
    """The verdict maps of a layer, by interface."""
    found: dict[str, Elements] = {}
    for name, one in table.maps.items() if table else ():
        if split_layer(name)[0] == (layer if layer in LAYERS else ""):
            pairs = (each.partition(" : ") for each in one.elements)
            found[name] = {key.strip('"'): verdict for key, _, verdict in pairs}
    return found


def _leads_to(verdict: str, chain: str) -> bool:
    return verdict.rpartition(" ")[2] == chain


@dataclass(eq=False)
class ListedComparison(Comparison):
    """The comparison of one node; everything in Felix's tables is compared, including foreign rules."""

    observed: ListedNode
    ruleset: NftRuleset

    respelling = "nft"

    @cached_property
    def wanted(self) -> Wanted:
        return wanted_of(self.ruleset)

    @cached_property
    def right(self) -> Mapping[int, ListedTable]:
        return listed_tables(self.ruleset)

    @cached_property
    def baseline(self) -> ListedBaseline:  # type: ignore[override]
        return ListedBaseline(self.wanted, self.right, self.observed)

    @cached_property
    def _views(self) -> list[TableView]:
        families = [family for family in self.observed.families if family not in self.absent]
        return [view for family in families for view in self._layers(family)]

    def _layers(self, family: int) -> Iterator[LayerView]:
        """The layers of a family, and one for chains without a layer."""
        for layer in (*LAYERS, TITLES[family]):
            current = self.observed.state.table(family, layer) if layer in LAYERS else (
                self.observed.state.tables.get((family, layer))
            )  # fmt: skip
            if current is None:
                continue
            own = self.observed.own(family)
            yield LayerView(
                current, self.wanted.table(family, layer), NO_SPELLING,
                partial(self.observed.line, family, layer),
                maps=elements_of(self.right.get(family), layer),
                there=elements_of(own, layer),
                hooked=frozenset(name for name, chain in own.chains.items() if chain.base) if own else frozenset(),
            )  # fmt: skip

    def _inserts(self, view: TableView) -> Iterator[Draft]:
        """None: Felix's tables have no foreign chains."""
        return iter(())

    def _has_sets_of(self, family: int) -> bool:
        return family in self.observed.families

    def _absent(self, family: int, chains: int) -> Finding:
        table = self.observed.own(family)
        there = f"table {TITLES[family]} is empty" if table else f"no table {TITLES[family]}"
        return replace(super()._absent(family, chains), there=there)

    def _more(self) -> Iterator[Draft]:
        """Base chains and verdict maps."""
        for family in self.right:
            there = self.observed.own(family)
            if there and family not in self.absent:
                if "flags dormant" in there.options:
                    yield self._dormant(family, there)
                yield from self._bases(family, there)
        for view in self._views:
            assert isinstance(view, LayerView)
            yield from _compare_maps(view)

    def beyond(self) -> Iterator[Finding]:
        """The ARP table, if the listing includes more than Felix's IP tables."""
        wanted = self.ruleset.nft_tables[ARP]
        there = next(
            (table for table in self.observed.tables if table.family == "arp" and table.name == wanted.name), None
        )
        if there is None and not (self.observed.whole and any(map(self.observed.own, self.observed.families))):
            return
        right = listed_table(wanted)
        if there is not None and _arp_content(there) == _arp_content(right):
            return
        rules = sum(len(chain.lines) for chain in right.chains.values())
        yield Finding(
            kind=KINDS["arp-table"],
            families=(4,),
            wanted=f"table {right.title}: {many(len(right.chains), 'chain')}, {many(rules, 'rule')}",
            there=_arp_words(right, there) if there else f"no table {right.title}",
            effect=arp_effect(right, there),
        )

    def _dormant(self, family: int, there: ListedTable) -> Draft:
        finding = Finding(kind=KINDS["table-dormant"], families=(family,), there="flags dormant")
        return Draft(finding, Damage(family, bases=dict.fromkeys(there.chains)))

    def _bases(self, family: int, there: ListedTable) -> Iterator[Draft]:
        """Base chains with another hook, priority or policy."""
        for name, chain in self.right[family].chains.items():
            found = there.chains.get(name)
            if found and _place(found.base) != _place(chain.base):
                layer, plain = name.partition("-")[::2]
                finding = Finding(
                    kind=KINDS["base-chain"], families=(family,), table=layer, chain=plain,
                    wanted=_told(chain), there=_told(found),
                )  # fmt: skip
                yield Draft(finding, Damage(family, layer, bases={name: found.base}))

    def spelt(self, finding: Finding) -> Finding:
        """The finding with the names that nft lists."""
        chain = listed_name(finding.table, finding.chain) if finding.chain else ""
        return replace(finding, table="calico" if chain else "", chain=chain, set=set_name(finding.set))


def _arp_content(table: ListedTable) -> Mapping[str, object]:
    """The contents of an ARP table to compare, by name."""
    rules = {
        name: (_place(chain.base), [normal(text) for _, text in chain.lines]) for name, chain in table.chains.items()
    }
    maps = {f"map {name}": sorted(one.elements) for name, one in table.maps.items()}
    return {**rules, **maps, **({"flags": table.options} if table.options else {})}


def _arp_words(right: ListedTable, there: ListedTable) -> str:
    """The chains and maps of an ARP table that differ."""
    should, has = _arp_content(right), _arp_content(there)
    return f"other content in {few(name for name in {*should, *has} if should.get(name) != has.get(name))}"


def _place(base: Declared | None) -> tuple[object, ...]:
    return (base.type, base.hook, priority_of(base.priority), base.policy) if base else ()


def _told(chain: ListedChain) -> str:
    base = chain.base
    if base is None:
        return "at no hook"
    return f"type {base.type} hook {base.hook} priority {base.priority}; policy {base.policy.lower()};"


def _compare_maps(view: LayerView) -> Iterator[Draft]:
    """The differences in verdict maps; elements for a missing or stale chain are reported with that chain."""
    for name, wanted in view.maps.items():
        if name not in view.there:
            finding = _map_finding(view, "map-missing", name, wanted=many(len(wanted), "element"))
            yield Draft(finding, Damage(view.family, view.name, maps={name: ()}))
        else:
            yield from _compare_map(view, name, wanted, view.there[name])
    for name in sorted(view.there.keys() - view.maps.keys()):
        finding = _map_finding(view, "map-stale", name, there=many(len(view.there[name]), "element"))
        yield Draft(finding, Damage(view.family, view.name))


def _compare_map(view: LayerView, name: str, wanted: Elements, there: Elements) -> Iterator[Draft]:
    missing_chains = {listed_name(view.name, each) for each in view.wanted.chains.keys() - view.current.chains.keys()}
    stale_chains = {listed_name(view.name, each) for each in view.current.chains.keys() - view.wanted.chains.keys()}
    missing = [key for key in wanted if key not in there and wanted[key].rpartition(" ")[2] not in missing_chains]
    extra = [key for key in there if key not in wanted and there[key].rpartition(" ")[2] not in stale_chains]
    changed = [key for key in wanted if key in there and wanted[key] != there[key]]
    drafts = []
    for kind, keys, damaged in (
        ("element-missing", missing, {key: verdict for key, verdict in wanted.items() if key not in missing}),
        ("element-extra", extra, {**wanted, **{key: there[key] for key in extra}}),
        ("element-changed", changed, {**wanted, **{key: there[key] for key in changed}}),
    ):
        if keys:
            details = tuple(element(key, there.get(key) or wanted[key]) for key in keys)
            finding = replace(_map_finding(view, kind, name), details=details)
            drafts.append(Draft(finding, Damage(view.family, view.name, maps={name: _listed(damaged)})))
    together = Damage(view.family, view.name, maps={name: _listed(there)}) if len(drafts) > 1 else None
    yield from (draft._replace(together=together) for draft in drafts)


def _listed(elements: Elements) -> Sequence[str]:
    return [element(key, verdict) for key, verdict in elements.items()]


def _map_finding(view: LayerView, kind: str, name: str, *, wanted: str = "", there: str = "") -> Finding:
    return Finding(kind=KINDS[kind], families=(view.family,), map=name, wanted=wanted, there=there)
