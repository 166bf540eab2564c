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

It is the connection's first packet that counts, as in `felixpy.walk`, and so are what that takes for granted and what
it does not understand. Nothing is sampled: within a piece all rules agree.
"""

from __future__ import annotations

from felixpy.flows.changes import Changes, compare
from felixpy.flows.connectivity import Connectivity, survey
from felixpy.flows.flow import Flow, Peer
from felixpy.flows.grid import Doubt
from felixpy.flows.services import Range, Traffic
from felixpy.flows.universe import PortChoice, Universe

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
