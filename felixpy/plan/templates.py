"""The facts of each template: one row for each template, of any Calico version and data plane."""

from __future__ import annotations

from collections.abc import Mapping

from felixpy.plan.addresses import CidrBlockFacts, DscpFacts, FloatingFacts, NatOutgoingFacts, SpoofingFacts
from felixpy.plan.arp import ArpFacts
from felixpy.plan.dispatch import (
    EndpointMarkFacts,
    FromEndpointMarkFacts,
    HostDispatchFacts,
    PodDispatchFacts,
    SetEndpointMarkFacts,
)
from felixpy.plan.endpoints import ForwardFacts, HostFacts, PreDnatFacts, UntrackedFacts, WorkloadFacts
from felixpy.plan.facts import NodeFacts
from felixpy.plan.failsafe import FailsafeFacts
from felixpy.plan.policies import GroupFacts, PolicyFacts
from felixpy.plan.values import Facts

OF_THE_NODE = (
    "filter/FORWARD", "filter/FORWARD.appended", "filter/INPUT", "filter/OUTPUT",
    "filter/cali-FORWARD", "filter/cali-INPUT", "filter/cali-OUTPUT", "filter/cali-wl-to-host",
    "filter/cali-forward-check", "filter/cali-forward-endpoint-mark",
    "mangle/POSTROUTING", "mangle/PREROUTING", "mangle/cali-POSTROUTING", "mangle/cali-PREROUTING",
    "nat/OUTPUT", "nat/POSTROUTING.appended", "nat/PREROUTING",
    "nat/cali-OUTPUT", "nat/cali-POSTROUTING", "nat/cali-PREROUTING",
    "raw/OUTPUT", "raw/PREROUTING", "raw/cali-OUTPUT", "raw/cali-PREROUTING", "raw/cali-wireguard-incoming-mark",
)  # fmt: skip
"""Felix's own chains, which say nothing about single endpoints or policies."""

FACTS: Mapping[str, type[Facts]] = {
    **dict.fromkeys(OF_THE_NODE, NodeFacts),
    "cali-pi": PolicyFacts,
    "cali-gi": GroupFacts,
    "cali-failsafe-in": FailsafeFacts,
    "cali-failsafe-out": FailsafeFacts,
    "cali-from-host-endpoint": HostDispatchFacts,
    "cali-to-host-endpoint": HostDispatchFacts,
    "mangle/cali-to-host-endpoint": HostDispatchFacts,
    "filter/cali-from-wl-dispatch": PodDispatchFacts,
    "filter/cali-to-wl-dispatch": PodDispatchFacts,
    "filter/cali-tw": WorkloadFacts,
    "filter/cali-fw": WorkloadFacts,
    "filter/cali-th": HostFacts,
    "filter/cali-fh": HostFacts,
    "filter/cali-thfw": ForwardFacts,
    "filter/cali-fhfw": ForwardFacts,
    "mangle/cali-th": HostFacts,
    "mangle/cali-fh": PreDnatFacts,
    "raw/cali-th": UntrackedFacts,
    "raw/cali-fh": UntrackedFacts,
    "filter/cali-set-endpoint-mark": SetEndpointMarkFacts,
    "filter/cali-from-endpoint-mark": FromEndpointMarkFacts,
    "filter/cali-sm": EndpointMarkFacts,
    "filter/cali-cidr-block": CidrBlockFacts,
    "nat/cali-nat-outgoing": NatOutgoingFacts,
    "nat/cali-fip-dnat": FloatingFacts,
    "nat/cali-fip-snat": FloatingFacts,
    "raw/cali-rpf-skip": SpoofingFacts,
    "mangle/cali-egress-dscp": DscpFacts,
    "arp/OUTPUT": Facts,
    "arp/cali-arp-dispatch": Facts,
    "arp/cali-arp": ArpFacts,
}  # fmt: skip
