"""Reads the words of a listed nft rule into matches and a target of iptables, by the rows of the statement tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from felixpy.names import plain_set_name, split_layer
from felixpy.nftables.words import Words


class Scope(NamedTuple):
    """Where names in a rule are resolved: in a `layer` of a table of Calico, or in a foreign `table`, by title."""

    layer: str
    table: str = ""

    def chain(self, name: str) -> str:
        """Return the name in a dump of a chain that a rule leads to, without the layer if that is the rule's own."""
        layer, plain = split_layer(name)
        return plain if layer and layer == self.layer else name

    def set_name(self, name: str) -> str:
        """Return the name in a dump of a set: Calico's as in iptables, foreign ones with the table, to be unique.

        >>> Scope("filter").set_name("cali40s-a"), Scope("", "ip kube-proxy").set_name("cluster-ips")
        ('cali40s:a', 'ip:kube-proxy:cluster-ips')
        """
        if self.table and self.table != "calico":
            return f"{self.table.replace(' ', ':')}:{name}"
        return plain_set_name(name)


FILTER = Scope("filter")


class Translated(NamedTuple):
    """A rule in iptables' syntax: matches and target as one text, the words not understood, and the counters."""

    text: str
    strange: tuple[str, ...] = ()
    counters: tuple[int, int] | None = None
    certain: bool = True
    """Whether the action of the rule is understood."""
    elsewhere: bool = False
    """Whether the rule matches packets of the other IP family only."""
    first: str = ""
    """A separate rule for what the rule changes before its verdict, such as a mark; "" for none."""


class Strange(Exception):
    """A match or statement is not understood."""


class Elsewhere(Exception):
    """A rule in a table of both IP families matches the other family."""


class ListedRule(Words):
    """Parses the words of a listed rule in one pass."""

    def __init__(self, text: str, family: int, scope: Scope) -> None:
        super().__init__(text)
        self.family, self.scope = family, scope
        self.protocol = ""
        """The protocol that the words read so far match."""
        self.matches: list[str] = []
        self.target = self.first = ""
        self.counters: tuple[int, int] | None = None
        self.strange: list[str] = []
        self.certain = True

    def read(self, rows: Mapping[str, Row]) -> Translated:
        """Parse the rule; each match and statement begins with a word that has a row."""
        while self.position < len(self.words):
            start = self.position
            word = self.next()
            try:
                rows[word](self, word)
            except Elsewhere:
                return Translated("", elsewhere=True)
            except (KeyError, IndexError, ValueError, Strange):
                # The end of an unknown piece is unknown, so the rest of the rule is not understood either.
                self.strange.append(" ".join(self.words[start:]))
                self.certain = False
                break
        text = " ".join(filter(None, [*self.matches, self.target]))
        first = " ".join(filter(None, [*self.matches, self.first])) if self.first else ""
        return Translated(text, tuple(self.strange), self.counters, self.certain, first=first)

    def only(self, family: int) -> None:
        """Record that the rule matches packets of one IP family only. Raises Elsewhere if it is the other one."""
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
        """Record a match on a field of the protocol's header, which implies the protocol."""
        if self.protocol != protocol:
            self.match(f"-p {protocol}")
            self.protocol = protocol

    def act(self, target: str) -> None:
        """Set the target. Before a verdict, a log or note is dropped, and a mark becomes a rule of its own."""
        if self.target and not self.target.startswith(("-j LOG", "-j NFLOG")):
            asks = any(match.startswith(("-m mark", "-m connmark")) for match in self.matches)
            if self.first or asks or not self.target.startswith(("-j MARK", "-j CONNMARK")):
                raise Strange(self.target)
            self.first = self.target
        self.target = target


Row: TypeAlias = Callable[[ListedRule, str], None]
"""Reads a match or statement whose first word was just read."""
