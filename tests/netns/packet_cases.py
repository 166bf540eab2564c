"""Packets drawn by lot for a lab: most are aimed at a rule of a policy, the others go anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from felixpy.lab.layout import FAMILIES, LabLayout
from felixpy.model import Cluster
from felixpy.topology.question import LARGEST_PORT
from tests.netns.aims import End, Map

PROTOCOLS = {"tcp": 6, "udp": 3, "sctp": 1, "icmp": 1}
ENDS = {"pods": 6, "nodes": 1, "world": 3}
"""How often each is drawn, in relation to each other."""

AIMED = 0.8
CLOSE = 0.85
"""How often a packet is aimed, and how often it then has each of the things that the rule asks for."""

Thing = TypeVar("Thing")


class Drawn(NamedTuple):
    """Who sends what to whom; ends are addresses. ICMP has port 0."""

    source: str
    destination: str
    protocol: str
    port: int

    def __str__(self) -> str:
        return f"{self.source} → {self.destination} {self.protocol}{f'/{self.port}' if self.port else ''}"


class Lot:
    """Draws packets for a cluster as it stands in a lab, the same for the same seed."""

    def __init__(self, cluster: Cluster, layout: LabLayout, families: set[int], seed: str) -> None:
        self.random = random.Random(seed)
        ends = Map(cluster, layout, self.random)
        self.aims, self.ports = ends.aims(), ends.ports
        known = {*ends.here, *ends.internet(), *(end for aim in self.aims for end in aim.others)}
        self.ends = {
            family: {kind: found for kind in ENDS if (found := sorted(_some(known, kind, family)))}
            for family in FAMILIES
            if family in families
        }

    def packets(self) -> Iterator[Drawn]:
        """One after the other without end; some may be the same."""
        while True:
            family = self.random.choice([*self.ends])
            aimed = self.aims and self.random.random() < AIMED
            source, destination, protocol, port = self._aimed(family) if aimed else self._any(family)
            # What the world does with itself meets no node, and what a pod sends to itself meets no rule.
            idle = source.kind == destination.kind == "world" or (source == destination and source.kind == "pods")
            if not idle:
                yield Drawn(source.address, destination.address, protocol, 0 if protocol == "icmp" else port)

    def _any(self, family: int) -> tuple[End, End, str, int]:
        return self._end(family), self._end(family), self._protocol(), self._port()

    def _aimed(self, family: int) -> tuple[End, End, str, int]:
        aim = self.random.choice(self.aims)
        subject, other = self._end(family, aim.subjects), self._end(family, aim.others)
        port = self._close(aim.ports) or self._port()
        protocol = self._close([aim.protocol])
        protocol = protocol if protocol in PROTOCOLS else self._protocol()
        return (other, subject, protocol, port) if aim.inward else (subject, other, protocol, port)

    def _close(self, wanted: Sequence[Thing]) -> Thing | None:
        """One of those wanted, most of the time."""
        return self.random.choice(wanted) if wanted and self.random.random() < CLOSE else None

    def _end(self, family: int, wanted: Sequence[End] = ()) -> End:
        ends = self.ends[family]
        kind = self.random.choices([*ends], [ENDS[kind] for kind in ends])[0]
        return self._close([end for end in wanted if end.family == family]) or self.random.choice(ends[kind])

    def _protocol(self) -> str:
        return self.random.choices([*PROTOCOLS], [*PROTOCOLS.values()])[0]

    def _port(self) -> int:
        return self._close(self.ports) or self.random.randint(1, LARGEST_PORT)


def _some(ends: set[End], kind: str, family: int) -> Iterator[End]:
    return (end for end in ends if (end.kind, end.family) == (kind, family))
