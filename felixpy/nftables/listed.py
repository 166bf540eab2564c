"""The words of a rule that nft lists, sorted into matches and a target of iptables; what they mean is in the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from felixpy.nftables.words import Words


class Translated(NamedTuple):
    """A rule for iptables: matches and target as one text, what is not understood, and the counters."""

    text: str
    strange: tuple[str, ...] = ()
    counters: tuple[int, int] | None = None
    certain: bool = True
    """Whether it is known what the rule does to packets that it applies to."""


class Strange(Exception):
    """Words that are not understood."""


class ListedRule(Words):
    """Goes over the words of a listed rule once."""

    def __init__(self, text: str, family: int) -> None:
        super().__init__(text)
        self.family = family
        self.protocol = ""
        """The protocol asked for so far."""
        self.matches: list[str] = []
        self.target = ""
        self.counters: tuple[int, int] | None = None
        self.strange: list[str] = []
        self.certain = True

    def read(self, rows: Mapping[str, Row]) -> Translated:
        """Go over the words; each match and statement begins with a word that has a row."""
        while self.position < len(self.words):
            start = self.position
            word = self.next()
            try:
                rows[word](self, word)
            except (KeyError, IndexError, ValueError, Strange):
                # Nobody knows where the strange piece ends, so all the rest is strange.
                self.strange.append(" ".join(self.words[start:]))
                self.certain = False
                break
        return Translated(
            " ".join(filter(None, [*self.matches, self.target])), tuple(self.strange), self.counters, self.certain
        )

    def negation(self) -> str:
        if self.take("!="):
            return "! "
        self.take("==")
        return ""

    def match(self, text: str) -> None:
        self.matches.append(text)

    def asks_for(self, protocol: str) -> None:
        """A field of the protocol's header is matched, which nft takes for the protocol, too."""
        if self.protocol != protocol:
            self.match(f"-p {protocol}")
            self.protocol = protocol

    def act(self, target: str) -> None:
        """The target; a note that is followed by a verdict counts for nothing, another change does."""
        if self.target and not self.target.startswith(("-j LOG", "-j NFLOG")):
            raise Strange(self.target)
        self.target = target


Row: TypeAlias = Callable[[ListedRule, str], None]
"""Reads a match or statement whose first word was just read."""
