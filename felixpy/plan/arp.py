"""The ARP table of the nftables data plane, which keeps the host from answering with a pod's own address.

(felix/rules: ARPFilter, felix/dataplane/linux: endpoint manager)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from felixpy.ipsets import family_of
from felixpy.plan.values import ChainPlan, Facts, TablePlan
from felixpy.resolve import Resolution
from felixpy.ruleset import ARP, FELIX_OWN, Origin

ROOT, PREFIX = "cali-arp-dispatch", "cali-arp-"


class ArpFacts(Facts, frozen=True, kw_only=True, eq=False):
    """A pod's interface and its IPv4 addresses."""

    interface: str
    addresses: Sequence[str]


def arp_table(resolution: Resolution, chain: Callable[[str, str], str]) -> TablePlan:
    """One chain for each local pod with IPv4 addresses; `chain` names it from its prefix and the interface."""
    table = TablePlan(name=ARP, family=4)
    table.inserted["OUTPUT"] = ChainPlan(name="OUTPUT", template="arp/OUTPUT", facts=Facts(), origin=FELIX_OWN)
    table.add(ChainPlan(name=ROOT, template=f"arp/{ROOT}", facts=Facts(), origin=FELIX_OWN))
    chains: dict[str, str] = {}
    for local in sorted(resolution.workloads, key=lambda local: local.workload.interface):
        workload = local.workload
        addresses = [address for address in workload.addresses if family_of(address) == 4]
        if not addresses:
            continue
        chains[workload.interface] = chain(PREFIX, workload.interface)
        words = f"ARP replies to pod {workload.namespace}/{workload.name} (interface {workload.interface})"
        table.add(
            ChainPlan(
                name=chains[workload.interface],
                template="arp/cali-arp",
                facts=ArpFacts(interface=workload.interface, addresses=addresses),
                origin=Origin(words=words, source=workload.source),
            )
        )
    table.maps[ROOT] = chains
    return table
