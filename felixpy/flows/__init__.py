"""Who reaches whom on what, exactly: the rules of all nodes gone through for all traffic and all peers at once.

    packets        the smallest pieces of traffic and peers that any rule tells apart, and sets of pairs of them
    programs       chains read once, and what they do to all packets: from the point of view of an endpoint
                   (views, perspective, alike, evaluation, crossing) or of a node (passage, node, concerned, change)
    reachability   one input (sides), the numbers that inputs have in common (universe), what classes of endpoints let
                   out and in, evaluated by one or several processes (halves, renumbering), connections (grid), names
                   (pairs), and the results: all connections (connectivity), or the differences of two inputs (changes)
    presentation   flows as values, lines, pictures and documents

It is a connection's first packet that counts. What `felixpy.walk` takes for granted or does not understand, holds here
as well. Nothing is sampled: within a piece all rules agree, so what comes out is what a walk of every packet would say.

No flows of their own are: what an endpoint or a machine sends to itself, which meets no rule; packets whose destination
NAT rewrites (the addresses that it does so for are nobody's); second addresses of a pod, addresses of nodes besides
the one they are reached by; port 0; and types of ICMP that open no connection, unless they are asked for.
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
