"""Planning a node repeatedly: the chains of unchanged endpoints are reused."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from msgspec.structs import replace

from felixpy.calico_versions import CalicoVersion
from felixpy.plan import ChainPlan, Plan, Planner
from felixpy.plan.endpoints import EndpointChains
from felixpy.plan.facts import RuleContext
from felixpy.resolve import LocalWorkload, Resolution


class _Remembered(NamedTuple):
    """An endpoint, its chains, and the chains of policy groups that these jump to."""

    local: LocalWorkload
    chains: tuple[ChainPlan, ChainPlan]
    groups: dict[str, ChainPlan]


class LivePlanner(Planner):
    """A planner that caches the chains of pods; the renderer reuses its output for the same plan object."""

    def __init__(self, context: RuleContext) -> None:
        super().__init__(context)
        self._nodes: dict[str, dict[str, _Remembered]] = {}
        """Endpoints by node and interface."""
        self._before: dict[str, _Remembered] = {}
        self._now: dict[str, _Remembered] = {}

    def plan(self, resolution: Resolution, calico_version: CalicoVersion) -> Plan:
        """All chains of a node; drops the cached chains of removed pods."""
        name = resolution.node.name
        self._before, self._now = self._nodes.get(name, {}), {}
        found = super().plan(resolution, calico_version)
        self._nodes[name] = self._now
        return found

    def keep(self, nodes: Collection[str]) -> None:
        """Drop the caches of all other nodes."""
        for gone in self._nodes.keys() - nodes:
            del self._nodes[gone]

    def workload(self, endpoints: EndpointChains, local: LocalWorkload) -> tuple[ChainPlan, ChainPlan]:
        interface = local.workload.interface
        known = self._before.get(interface)
        if known is None or known.local != local:
            groups: dict[str, ChainPlan] = {}
            own = replace(endpoints, groups=groups)
            known = _Remembered(local, own.workload(local), groups)
        self._now[interface] = known
        endpoints.groups.update(known.groups)
        return known.chains
