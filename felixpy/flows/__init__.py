"""Exact reachability: evaluates the rules of all nodes for all traffic and all peers at once.

    packets        the smallest pieces of traffic and peers that rules distinguish, and sets of pairs of them
    programs       chains read once, and what they do to all packets: from the point of view of an endpoint
                   (views, perspective, alike, evaluation, crossing) or of a node (passage, node, concerned, change)
    reachability   one input (sides), the numbers that inputs share (universe), what classes of endpoints let out and
                   in, evaluated by one or several processes (halves, renumbering), connections (grid), names
                   (pairs), and the results: all connections (connectivity), or the differences of two inputs (changes)
    presentation   flows as values, lines, pictures and documents

The first packet of a connection decides. What `felixpy.walk` assumes or does not understand applies here as well.
Nothing is sampled: all rules treat a piece the same, so the result is what a walk of every packet would give.

Flows do not include what an endpoint or a machine sends to itself, which meets no rule; packets whose destination NAT
rewrites (these destinations belong to no peer); second addresses of a pod, and addresses of nodes other than the one
used to reach them; port 0; and ICMP types that open no connection, unless they are included (`every_icmp`).
"""

from __future__ import annotations

from felixpy.flows.packets.traffic_words import Traffic
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.reachability.changes import Changes, compare
from felixpy.flows.reachability.connectivity import Connectivity, survey
from felixpy.flows.reachability.grid import Doubt
from felixpy.flows.reachability.halves import Hands, here
from felixpy.flows.reachability.universe import PortChoice, Universe
from felixpy.netfilter.numbers import Range

__all__ = [
    "Changes",
    "Connectivity",
    "Doubt",
    "Flow",
    "Hands",
    "Peer",
    "PortChoice",
    "Range",
    "Traffic",
    "Universe",
    "compare",
    "here",
    "survey",
]
