"""The exact set of packets whose verdict differs, by senders and receivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from felixpy.decode.legend import Legend
from felixpy.flows.packets.ground import Row
from felixpy.flows.packets.packet_sets import bits
from felixpy.flows.packets.tags import DNAT, ESTABLISHED, INVALID, RELATED, STATELESS
from felixpy.flows.packets.traffic_words import Traffic
from felixpy.flows.presentation.flow import Peer
from felixpy.flows.programs.change import ChangedPart, TrafficChange
from felixpy.flows.programs.node import NodeSpace
from felixpy.flows.reachability.pairs import outside
from felixpy.netfilter.numbers import spell_address

Way = Literal["opens", "closes", "rewrites"]

STATES = ((ESTABLISHED, "established"), (RELATED, "related"), (INVALID, "invalid"), (STATELESS, "untracked"))


class Whom(NamedTuple):
    """Senders or receivers, with the interface for those that are not local pods."""

    peer: Peer
    interface: str = ""
    spoofed: bool = False

    def json(self) -> dict[str, Any]:
        found = self.peer.json()
        if self.interface:
            found["interface"] = self.interface
        return found | {"spoofed": True} if self.spoofed else found

    def __str__(self) -> str:
        by = f" by {self.interface}" if self.interface else ""
        return f"{self.peer}{by}{' (spoofed source)' if self.spoofed else ''}"


class Changed(NamedTuple):
    """Packets of some states from each of the `sources` to each of the `destinations`."""

    way: Way
    family: int
    states: tuple[str, ...]
    sources: tuple[Whom, ...]
    destinations: tuple[Whom, ...]
    traffic: Traffic

    def json(self) -> dict[str, Any]:
        return {
            "change": self.way,
            "family": self.family,
            "states": list(self.states),
            "sources": [whom.json() for whom in self.sources],
            "destinations": [whom.json() for whom in self.destinations],
            "connection": str(self.traffic),
            **self.traffic.json(),
        }


def changed_flows(space: NodeSpace, change: TrafficChange, legend: Legend, node: str) -> Iterator[Changed]:
    """All changed packets; senders, receivers and states with the same change are joined."""
    ways: tuple[tuple[Way, Sequence[ChangedPart]], ...] = (
        ("opens", change.opens), ("closes", change.closes), ("rewrites", change.rewrites),
    )  # fmt: skip
    names = _Names(space, legend, node)
    for way, parts in ways:
        by_state: dict[tuple[int, int], dict[Row, list[str]]] = {}
        for part in parts:
            for traffic, peers in part.packets.items():
                by_state.setdefault((traffic, peers), {}).setdefault(part.row, []).append(_state(part))
        told: dict[tuple[int, int, tuple[str, ...]], list[Row]] = {}
        for (traffic, peers), rows in by_state.items():
            for row, states in rows.items():
                told.setdefault((traffic, peers, tuple(dict.fromkeys(states))), []).append(row)
        for (traffic, peers, found), senders in told.items():
            yield Changed(
                way=way,
                family=space.family,
                states=found,
                sources=tuple(names.senders(senders)),
                destinations=tuple(names.receivers(peers)),
                traffic=space.traffic.tell(traffic),
            )


def _state(part: ChangedPart) -> str:
    state = next((name for bit, name in STATES if part.variant & bit), "new")
    return f"{state}, destination rewritten" if part.variant & DNAT else state


class _Names:
    """Finds the peers of addresses."""

    def __init__(self, space: NodeSpace, legend: Legend, node: str) -> None:
        self.space, self.node = space, node
        self.pods = {address: pod for pod in legend.cluster.workloads for address in pod.addresses}

    def senders(self, rows: Sequence[Row]) -> Iterator[Whom]:
        """The senders of rows: peers, and other addresses by interface."""
        classes: dict[tuple[str, bool], int] = {}
        told: dict[Whom, None] = {}
        for row in rows:
            if row.address in self.space.bits:
                peer = self._local(row.address)
                told[Whom(peer, row.interface if row.spoofed else "", row.spoofed)] = None
            else:
                key = row.interface, row.spoofed
                classes[key] = classes.get(key, 0) | self.space.class_of(row)
        yield from told
        for (interface, spoofed), some in classes.items():
            yield Whom(outside(self.space.receivers.externals.ranges(some), self.space.family), interface, spoofed)

    def receivers(self, peers: int) -> Iterator[Whom]:
        offset = self.space.receivers.offset
        local = dict.fromkeys(
            self._local(self.space.address_of(1 << bit)[0]) for bit in bits(peers & (1 << offset) - 1)
        )
        yield from map(Whom, local)
        by_interface: dict[str, int] = {}
        for bit in bits(peers >> offset << offset):
            interface, one = self.space.receivers.tell(1 << bit)
            by_interface[interface] = by_interface.get(interface, 0) | one
        for interface, some in by_interface.items():
            yield Whom(outside(self.space.receivers.externals.ranges(some), self.space.family), interface)

    def _local(self, address: int) -> Peer:
        pod = self.pods.get(spell_address(address, self.space.family))
        return Peer("pod", pod.namespace, pod.name, pods=(pod.name,)) if pod else Peer("host", "", self.node)
