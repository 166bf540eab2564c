"""Bundles of flows: a line for all flows with equal traffic between some sources and some destinations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from felixpy.flows.presentation.flow import Flow, Peer

MOST_NAMES = 4
"""Most peers that a line names; of more it names the first and counts the others."""


class Bundle(NamedTuple):
    """Flows with the same traffic (`what`) from each source to each destination."""

    sources: str
    destinations: str
    what: str

    def text(self) -> str:
        return f"{self.sources} → {self.destinations} : {self.what}"


def bundled(flows: Iterable[Flow]) -> Iterator[Bundle]:
    """Yield flows in bundles: first by the sources of one destination, then by destinations with the same sources.

    A workload whose pods reach each other does not break a bundle of several workloads.
    """
    sources: dict[tuple[Peer, str], list[Peer]] = defaultdict(list)
    for flow in flows:
        family = f" (IPv{flow.family} only)" if flow.family else ""
        sources[flow.destination, f"{flow.traffic}{family}"].append(flow.source)
    bundles: dict[tuple[str, tuple[Peer, ...]], list[Peer]] = defaultdict(list)
    for (destination, what), senders in sources.items():
        bundles[what, tuple(senders)].append(destination)
    for (what, together), receivers in bundles.items():
        yield Bundle(listed(together), listed(receivers), what)


def listed(peers: Sequence[Peer]) -> str:
    """Return peers by name; for many, how many there are in which namespaces.

    >>> from felixpy.flows.presentation.flow import Peer
    >>> listed([Peer("pod", "shop", f"web-{number}") for number in range(9)])
    '9 in shop (web-0, web-1, …)'
    """
    inside = [peer for peer in peers if peer.kind != "external"]
    outside = [str(peer) for peer in peers if peer.kind == "external"]
    if len(inside) <= MOST_NAMES:
        return ", ".join([*map(str, inside), *outside])
    spaces = sorted({peer.space for peer in inside})
    if len(spaces) == 1:
        first, second = (str(peer).removeprefix(f"{spaces[0]}/") for peer in inside[:2])
        words = f"{len(inside)} in {spaces[0]} ({first}, {second}, …)"
    else:
        words = f"{len(inside)} in {len(spaces)} namespaces ({inside[0]}, {inside[-1]}, …)"
    return ", ".join([words, *outside])
