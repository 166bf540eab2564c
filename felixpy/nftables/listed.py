"""The words of a rule that nft lists, sorted into matches and a target of iptables; what they mean is in the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from felixpy.names import plain_set_name, split_layer
from felixpy.nftables.words import Words


class Scope(NamedTuple):
    """What names in a rule belong to: the `layer` of a chain of Calico, or the title of a `table` of others."""

    layer: str
    table: str = ""

    def chain(self, name: str) -> str:
        """The name in a dump of a chain that a rule leads to: without the layer if that is the rule's own."""
        layer, plain = split_layer(name)
        return plain if layer and layer == self.layer else name

    def set_name(self, name: str) -> str:
        """The name in a dump of a set: Calico's as in iptables, others' with the table, which may have the same names.

        >>> Scope("filter").set_name("cali40s-a"), Scope("", "ip kube-proxy").set_name("cluster-ips")
        ('cali40s:a', 'ip:kube-proxy:cluster-ips')
        """
        if self.table and self.table != "calico":
            return f"{self.table.replace(' ', ':')}:{name}"
        return plain_set_name(name)


FILTER = Scope("filter")


class Translated(NamedTuple):
    """A rule for iptables: matches and target as one text, what is not understood, and the counters."""

    text: str
    strange: tuple[str, ...] = ()
    counters: tuple[int, int] | None = None
    certain: bool = True
    """Whether it is known what the rule does to packets that it applies to."""
    elsewhere: bool = False
    """Whether it is about packets of the other IP family."""
    first: str = ""
    """A rule of its own for what the rule changes before it decides."""


class Strange(Exception):
    """Words that are not understood."""


class Elsewhere(Exception):
    """A rule of both IP families that asks for the other one."""


class ListedRule(Words):
    """Goes over the words of a listed rule once."""

    def __init__(self, text: str, family: int, scope: Scope) -> None:
        super().__init__(text)
        self.family, self.scope = family, scope
        self.protocol = ""
        """The protocol asked for so far."""
        self.matches: list[str] = []
        self.target = self.first = ""
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
            except Elsewhere:
                return Translated("", elsewhere=True)
            except (KeyError, IndexError, ValueError, Strange):
                # Nobody knows where the strange piece ends, so all the rest is strange.
                self.strange.append(" ".join(self.words[start:]))
                self.certain = False
                break
        text = " ".join(filter(None, [*self.matches, self.target]))
        first = " ".join(filter(None, [*self.matches, self.first])) if self.first else ""
        return Translated(text, tuple(self.strange), self.counters, self.certain, first=first)

    def only(self, family: int) -> None:
        """What follows is about packets of one IP family. Raises Elsewhere if it is not this one."""
        if family != self.family:
            raise Elsewhere

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
        """The target; a note that is followed by a verdict counts for nothing, a new mark is set before."""
        if self.target and not self.target.startswith(("-j LOG", "-j NFLOG")):
            asks = any(match.startswith(("-m mark", "-m connmark")) for match in self.matches)
            if self.first or asks or not self.target.startswith(("-j MARK", "-j CONNMARK")):
                raise Strange(self.target)
            self.first = self.target
        self.target = target


Row: TypeAlias = Callable[[ListedRule, str], None]
"""Reads a match or statement whose first word was just read."""
