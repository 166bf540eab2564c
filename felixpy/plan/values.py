"""The values of a plan: chains, each with a template, its facts and their origin."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import SimpleNamespace

from msgspec import Struct, field, structs

from felixpy.ipsets import IPSet
from felixpy.ruleset import Origin


class Facts(Struct, frozen=True, kw_only=True, eq=False, weakref=True):
    """The names in a template, besides ``chain``: the fields of a subclass. See `felixpy.plan.templates`."""

    def content(self) -> tuple[Hashable, ...]:
        """The fields, for comparing with other facts of the same context, which have the same marks."""
        return tuple(
            tuple(value) if isinstance(value, list) else value
            for value in structs.astuple(self)
            if not isinstance(value, SimpleNamespace)
        )


class ChainPlan(Struct, frozen=True, kw_only=True, eq=False, weakref=True):
    """A chain to be rendered by a template from `facts`.

    A chain with a `title` is one of a policy or profile: trailing RETURN rules are removed, the first rule gets the
    title as a comment, and an empty chain gets a rule without effect for it. `seed` replaces the name in hashes.
    `names` replace the placeholders in `facts`, in order. A `shared` chain differs from others with the same facts only
    in names and title.
    """

    name: str
    template: str
    facts: Facts
    origin: Origin
    title: str = ""
    seed: str = ""
    names: tuple[str, ...] = ()
    shared: bool = False


class TablePlan(Struct, kw_only=True):
    """The chains of one table in one family; only those that a rule jumps to are programmed.

    `needed` are always programmed (performance hint AssumeNeededOnEveryNode). `maps` are verdict maps by name: from an
    interface to the chain for it.
    """

    name: str
    family: int
    inserted: dict[str, ChainPlan] = field(default_factory=dict)
    appended: dict[str, ChainPlan] = field(default_factory=dict)
    chains: dict[str, ChainPlan] = field(default_factory=dict)
    needed: list[str] = field(default_factory=list)
    maps: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def add(self, *plans: ChainPlan) -> None:
        for plan in plans:
            self.chains[plan.name] = plan


class Plan(Struct, frozen=True, kw_only=True):
    """All chains of one node, ready to be rendered."""

    node: str
    calico_version: str
    tables: tuple[TablePlan, ...]
    sets: tuple[IPSet, ...]
