"""Findings of verification: classes of differences, and their effects on traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from felixpy.errors import Path, Place
from felixpy.nftables.wording import identity

if TYPE_CHECKING:
    from felixpy.verification.changed import Changed


class Severity(IntEnum):
    """Severities, most severe first."""

    LETS_THROUGH = 0
    DROPS = 1
    UNKNOWN = 2
    REWRITES = 3
    NO_EFFECT = 4


class FindingKind(NamedTuple):
    """A class of findings: its name in JSON, its title in text, and an explanation.

    `rank` orders findings of one severity.
    """

    name: str
    title: str
    meaning: str
    rank: int


_KINDS = (
    ("not-programmed", "nothing of Felix", "no policy is in force: packets meet the rules of others only"),
    ("other-version", "another Calico version", "everything below is compared with what that one would program"),
    ("two-backends", "legacy and nft both in use", "packets pass the tables of both, and what either drops is dropped"),
    (
        "other-data-plane",
        "both data planes in use",
        "packets pass the rules of both, and what either drops is dropped; marks of one are not known to the other",
    ),
    ("table-dormant", "table switched off", "the kernel asks none of its chains, and Felix does not look at that"),
    ("base-chain", "base chain elsewhere", "Felix takes a base chain as it finds it: only a new table mends that"),
    ("arp-table", "other ARP table", "it decides which ARP requests of pods the host answers"),
    ("insert-missing", "inserted rule missing", "packets do not come to Felix's rules here"),
    ("foreign-rule-ahead", "foreign rule ahead of Felix's", "it decides before Felix's rules are asked"),
    ("insert-moved", "inserted rule out of place", "Felix moves it back when it next looks"),
    ("insert-duplicate", "inserted rule more than once", "packets come to the same rules again"),
    ("foreign-jump", "foreign jump into Felix's chains", "packets come there by a way that Felix does not send them"),
    ("chain-missing", "missing chain", "neither it nor the rules that lead to it are there"),
    ("rule-tampered", "tampered rule", "the hash is as it was, and Felix looks at nothing else: it will not repair it"),
    ("rule-replaced", "other rule", "Felix had it so for another state of the policies or settings"),
    ("rule-missing", "missing rule", "an earlier state of the policies or settings, or the rule was removed"),
    ("rule-extra", "extra rule", "Felix had it so for another state of the policies or settings"),
    ("hash-changed", "right rules with other hashes", "Felix writes them again when it next looks"),
    ("map-missing", "missing verdict map", "no rule can look anything up in it"),
    ("element-missing", "missing elements of a verdict map", "packets of these interfaces find no chain"),
    ("element-extra", "extra elements of a verdict map", "packets of these interfaces find a chain"),
    ("element-changed", "other elements of a verdict map", "packets of these interfaces find another chain"),
    ("set-missing", "missing set", "no rule can ask for it"),
    ("set-type", "set of another type", "Felix replaces the set at its next resync"),
    ("set-options", "set with other options", "Felix replaces the set at its next resync"),
    ("member-missing", "missing members", "rules do not take them for members"),
    ("member-extra", "extra members", "rules take them for members"),
    ("chain-stale", "stale chain", "nothing in the manifests gives it"),
    ("map-stale", "stale verdict map", "nothing in the manifests gives it"),
    ("set-stale", "stale set", "nothing in the manifests gives it"),
)

KINDS: Mapping[str, FindingKind] = {row[0]: FindingKind(*row, rank) for rank, row in enumerate(_KINDS)}
"""All classes of findings, in the order in which those of one severity are listed."""


class Example(NamedTuple):
    """An affected packet: the flow in words, what happens, what should happen, and what drops it."""

    flow: str
    there: str
    wanted: str
    reason: str = ""

    def __str__(self) -> str:
        by = f" by {self.reason}" if self.reason else ""
        there, wanted = (f"{text}{by}" if text.endswith("dropped") else text for text in (self.there, self.wanted))
        return f"{self.flow} {there}; should {wanted}"


EffectKind = Literal["opens", "closes", "both", "none", "unknown"]


class Effect(NamedTuple):
    """The effect of a finding on traffic. `kind` is its name in JSON, `flows` are exactly the packets affected.

    If it is not `certain`, it depends on the unknown `conditions`.
    """

    severity: Severity
    words: str
    examples: tuple[Example, ...] = ()
    certain: bool = True
    kind: EffectKind = "none"
    flows: tuple[Changed, ...] = ()
    conditions: tuple[str, ...] = ()


HARMLESS = Effect(Severity.NO_EFFECT, "no effect on traffic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference between the current and the wanted state.

    `number` is that of the rule in its current chain, or in the wanted one if it is missing; `line` is that of a saved
    file, 0 for a live kernel. `subject` is the object that chain or set belongs to, `place` its place. `wanted` and
    `there` are rules without the name of their chain, or descriptions of sets; `details` are more lines.
    """

    kind: FindingKind
    families: tuple[int, ...]
    table: str = ""
    chain: str = ""
    number: int = 0
    line: int = 0
    set: str = ""
    map: str = ""
    subject: str = ""
    place: Place | None = None
    path: Path = ()
    wanted: str = ""
    there: str = ""
    details: tuple[str, ...] = ()
    effect: Effect = HARMLESS

    @property
    def spot(self) -> tuple[object, ...]:
        """The chain, set or verdict map that it is about."""
        about = self.chain or self.set or self.map
        return self.families, self.table, self.chain, self.set, self.map, "" if about else self.kind.name

    @property
    def meaning(self) -> str:
        """The explanation of its class. Rules without a hash are not Felix's."""
        if self.kind.name in ("rule-replaced", "rule-extra") and self.there and not identity(self.there):
            return "it bears no hash, so it was not Felix that wrote it"
        return self.kind.meaning
