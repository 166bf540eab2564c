"""Tables of two kinds on one node: those of iptables and nftables, or of legacy and nft iptables.

At each hook packets pass the chains of both in the order of their priorities, and continue only if each accepts. Of
chains with the same priority the one that was registered first comes first, which a dump does not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from felixpy.netfilter.criteria import InSet, Test
from felixpy.netfilter.hooks import Stage, Stages, merged
from felixpy.netfilter.rules import Body, Chain, Dump, Meaning, Rule, SavedSet, Table


def together(one: Dump, other: Dump, words: str, family: int | None = None) -> Dump:
    """The union of two dumps, in all families or in one; names of the `other` dump's tables are prefixed with `words`.

    So are its sets that differ from those of the same name in `one`, or that are unknown.
    """
    tables: dict[int, dict[str, Table]] = {}
    hooks: dict[int, Stages] = {}
    swapped: dict[int, Stages] = {}
    sets, renamed = _sets(one, other, words)
    for number in [family] if family else sorted({*one.tables, *other.tables}):
        beside = {
            f"{words} {name}": _asking(table, renamed) for name, table in other.tables.get(number, {}).items() if table
        }
        tables[number] = {**one.tables.get(number, {}), **beside}
        there = {hook: tuple(_named(stage, words) for stage in found) for hook, found in other.stages(number).items()}
        hooks[number] = merged(one.stages(number), there)
        swapped[number] = merged(there, one.stages(number))
    return replace(one, tables=tables, sets=sets, hooks=hooks, swapped=swapped)


def _named(stage: Stage, words: str) -> Stage:
    return stage._replace(table=f"{words} {stage.table}") if stage.chain else stage


def _sets(one: Dump, other: Dump, words: str) -> tuple[Mapping[str, SavedSet], Mapping[str, str]]:
    """The sets of both, and the new names of the other dump's sets."""
    here, there = one.sets or {}, other.sets or {}
    if other.sets is None:
        renamed = {name: f"{words} {name}" for name in here}
    else:
        alike = {name for name in here.keys() & there.keys() if _same(here[name], there[name])}
        renamed = {name: f"{words} {name}" for name in here if name not in alike}
    found = {renamed.get(name, name): saved for name, saved in there.items()}
    return {**found, **here}, renamed


def _same(one: SavedSet, other: SavedSet) -> bool:
    return (one.type, one.family, {*one.members}) == (other.type, other.family, {*other.members})


def _asking(table: Table, renamed: Mapping[str, str]) -> Table:
    """A table whose rules refer to renamed sets; the text of rules is unchanged."""
    if not renamed:
        return table
    return {name: _chain(chain, renamed) for name, chain in table.items()}


def _chain(chain: Chain, renamed: Mapping[str, str]) -> Chain:
    def read(made: Chain) -> tuple[Rule, ...]:
        return tuple(rule._replace(body=_body(rule.body, renamed)) for rule in chain.rules)

    return replace(chain, read=read)


def _body(body: Body, renamed: Mapping[str, str]) -> Body:
    if not any(name in renamed for name in body.sets):
        return body
    return replace(body, read=partial(_meaning, before=body, renamed=renamed))


def _meaning(body: Body, before: Body, renamed: Mapping[str, str]) -> Meaning:
    tests, action, content = before.meaning
    return Meaning(tuple(_test(test, renamed) for test in tests), action, (content, *before.sets))


def _test(test: Test, renamed: Mapping[str, str]) -> Test:
    asked = test.criterion
    if not isinstance(asked, InSet) or asked.name not in renamed:
        return test
    return test._replace(criterion=InSet(renamed[asked.name], asked.sides))
