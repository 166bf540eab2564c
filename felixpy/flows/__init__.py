"""Who reaches whom on what, exactly: the rules of all nodes gone through for all traffic and all peers at once.

    services, flow          what comes out: traffic in ranges of ports, peers with names
    regions                 sets of (traffic, peer) pairs as numbers
    traffic, peers          the smallest pieces of traffic and addresses that any rule tells apart
    criteria, targets       what rules ask and do, as values
    programs                chains read once, however many nodes have them
    lens, scene             chains from one end's point of view, gone through for everything
    ways                    past the hooks of a node, out of an endpoint and into it
    sides, universe, grid   one input, the numbers that inputs have in common, and the connections of one of them
    pairs                   back to names: replicas folded, ranges joined
    connectivity, changes   what people ask: all of it, or what lies between two inputs

It is a connection's first packet that counts. What `felixpy.walk` takes for granted or does not understand, holds here
as well. Nothing is sampled: within a piece all rules agree, so what comes out is what a walk of every packet would say.

No flows of their own are: what an endpoint or a machine sends to itself, which meets no rule; packets whose destination
NAT rewrites (the addresses that it does so for are nobody's); second addresses of a pod, addresses of nodes besides
the one they are reached by; port 0; and types of ICMP that open no connection, unless they are asked for.
"""

from __future__ import annotations

from felixpy.flows.changes import Changes, compare
from felixpy.flows.connectivity import Connectivity, survey
from felixpy.flows.flow import Flow, Peer
from felixpy.flows.grid import Doubt
from felixpy.flows.services import Traffic
from felixpy.flows.universe import PortChoice, Universe
from felixpy.netfilter.numbers import Range

__all__ = [
    "Changes",
    "Connectivity",
    "Doubt",
    "Flow",
    "Peer",
    "PortChoice",
    "Range",
    "Traffic",
    "Universe",
    "compare",
    "survey",
]
