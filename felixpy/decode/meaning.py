"""The explanation of a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from felixpy.errors import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class NameMeaning:
    """An explained name. `facts` are (heading, lines); it is `known` if something in the input has the name.

    `hint` says why an unknown name may exist, or why a known one is not on the node.
    """

    name: str
    kind: str
    words: str
    place: Place | None = None
    facts: Sequence[tuple[str, list[str]]] = ()
    hint: str = ""
    known: bool = True

    def text(self, most: int = 20) -> str:
        """Text: the description with its place, then the facts; of long lists the first `most` lines."""
        lines = [f"{self.name}: {self.words}"]
        if self.place:
            lines.append(f"  from {self.place}")
        if self.hint:
            lines.append(f"  {self.hint}")
        for heading, values in self.facts:
            if len(values) == 1:
                lines.append(f"  {heading}: {values[0]}")
                continue
            lines.append(f"  {heading}:")
            lines.extend(f"    {value}" for value in values[:most])
            if len(values) > most:
                lines.append(f"    … and {len(values) - most} more")
        return "".join(f"{line}\n" for line in lines)

    def json(self) -> dict[str, object]:
        """The JSON object, without unknown values."""
        place = {"file": self.place.file, "line": self.place.line} if self.place else {}
        facts = {_camel(heading): values for heading, values in self.facts}
        found = {"name": self.name, "kind": self.kind, "known": self.known, "meaning": self.words, **place}
        return {**found, **({"hint": self.hint} if self.hint else {}), **facts}


def _camel(heading: str) -> str:
    first, *others = heading.split()
    return first + "".join(word.capitalize() for word in others)
