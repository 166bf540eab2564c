"""Resolution → the chains of a node: their names, templates and facts.

Static chains come first, then the inserts in kernel chains, dispatch, endpoints, policies. All possible chains are
planned; only those that a jump leads to are rendered.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from felixpy.calico_versions import CalicoVersion
from felixpy.marks import endpoint_marks, spell
from felixpy.names import ANY_INTERFACE
from felixpy.plan.addresses import address_chains
from felixpy.plan.arp import arp_table
from felixpy.plan.dispatch import (
    Branch,
    EndpointMark,
    EndpointMarkFacts,
    FromEndpointMarkFacts,
    HostDispatchFacts,
    PodDispatchFacts,
    SetEndpointMarkFacts,
    dispatch,
    tree,
)
from felixpy.plan.endpoints import (
    FROM_HOST,
    FROM_HOST_FORWARD,
    FROM_WORKLOAD,
    SET_MARK,
    TO_HOST,
    TO_HOST_FORWARD,
    TO_WORKLOAD,
    EndpointChains,
    WorkloadFacts,
)
from felixpy.plan.facts import NodeFacts, RuleContext, node_facts
from felixpy.plan.failsafe import failsafe_facts
from felixpy.plan.policies import POLICY_PREFIXES, PolicyChains
from felixpy.plan.values import ChainPlan, Facts, Plan, TablePlan
from felixpy.resolve import LocalHost, LocalWorkload, Resolution
from felixpy.ruleset import FELIX_OWN, TABLES, Origin

__all__ = ["ChainPlan", "Plan", "Planner", "PolicyChains", "TablePlan"]

INSERTED: Mapping[str, tuple[str, ...]] = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "POSTROUTING"),
    "nat": ("PREROUTING", "OUTPUT"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
"""Kernel chains with inserts before foreign rules (or, with chainInsertMode Append, after them)."""

APPENDED: Mapping[str, tuple[str, ...]] = {"nat": ("POSTROUTING",), "filter": ("FORWARD",)}
"""Kernel chains with rules of Felix that always come last."""

STATIC: Mapping[str, tuple[str, ...]] = {
    "raw": ("cali-PREROUTING", "cali-OUTPUT", "cali-wireguard-incoming-mark"),
    "mangle": ("cali-PREROUTING", "cali-POSTROUTING"),
    "nat": ("cali-PREROUTING", "cali-OUTPUT", "cali-POSTROUTING"),
    "filter": ("cali-FORWARD", "cali-INPUT", "cali-wl-to-host", "cali-OUTPUT"),
}
IPVS_STATIC = ("cali-forward-check", "cali-forward-endpoint-mark")


MOST_KEPT = 4096
"""The most chains that are cached for other nodes with the same chains."""


class Planner:
    """Plans nodes with one configuration and Calico version; policy chains are shared between them."""

    def __init__(self, context: RuleContext) -> None:
        self.context = context
        self.policies = PolicyChains(context)
        self._shared: dict[Hashable, WorkloadFacts] = {}
        self._of_nodes: dict[Hashable, ChainPlan] = {}
        self._programs_everywhere = context.calico_version.programs_everywhere and context.layout.programs_everywhere

    def plan(self, resolution: Resolution, calico_version: CalicoVersion) -> Plan:
        """All chains of a node, in all tables and families."""
        groups: dict[str, ChainPlan] = {}
        endpoints = EndpointChains(self.context, self.policies, groups, self._shared)
        # These do not depend on addresses, so both families share them.
        shared: dict[str, list[ChainPlan]] = {
            "raw": [c for local in _with_policies(resolution, "untracked") for c in endpoints.host_raw(local)],
            "mangle": [c for local in resolution.hosts for c in endpoints.host_mangle(local)],
            "nat": [],
            "filter": [
                *(chain for local in resolution.workloads for chain in self.workload(endpoints, local)),
                *(chain for local in resolution.hosts for chain in endpoints.host_filter(local)),
                *_workload_dispatch(resolution, self.context),
                *(_endpoint_marks(resolution, self.context) if resolution.ipvs else ()),
            ],
        }
        for name, plans in shared.items():
            plans.extend(_host_dispatch(name, resolution, self.context))
        tables = tuple(
            table for family in resolution.families for table in self._family(resolution, family, shared, groups)
        )
        if self.context.layout.filters_arp:
            tables += (arp_table(resolution, self.context.chain),)
        return Plan(node=resolution.node.name, calico_version=calico_version.name, tables=tables, sets=resolution.sets)

    def workload(self, endpoints: EndpointChains, local: LocalWorkload) -> tuple[ChainPlan, ChainPlan]:
        """The two chains of a pod."""
        return endpoints.workload(local)

    def _family(
        self,
        resolution: Resolution,
        family: int,
        shared: Mapping[str, Iterable[ChainPlan]],
        groups: Mapping[str, ChainPlan],
    ) -> list[TablePlan]:
        facts = node_facts(resolution, self.context, family)
        tables = {name: TablePlan(name=name, family=family) for name in TABLES}
        policies = self._policies(resolution, family)
        for name, table in tables.items():
            self._static(table, resolution, facts, family)
            table.add(*shared[name])
            if name != "nat":
                table.chains.update(groups)
                table.chains.update(policies)
                self._profiles(table, resolution, family)
        if self._programs_everywhere:
            tables["filter"].needed.extend(self._everywhere(resolution))
        for name, plan in address_chains(resolution, self.context, family):
            tables[name].add(self._same(name, plan))
        tables["filter"].maps.update(_verdict_maps(resolution, self.context))
        return list(tables.values())

    def _static(self, table: TablePlan, resolution: Resolution, node: NodeFacts, family: int) -> None:
        def own(name: str, template: str, seed: str = "", facts: Facts = node) -> ChainPlan:
            plan = ChainPlan(name=name, template=template, facts=facts, origin=FELIX_OWN, seed=seed)
            return self._same(table.name, plan)

        for name in INSERTED.get(table.name, ()):
            table.inserted[name] = own(name, f"{table.name}/{name}")
        for name in APPENDED.get(table.name, ()):
            table.appended[name] = own(name, f"{table.name}/{name}.appended", f"{name}*appends*")
        ipvs = IPVS_STATIC if table.name == "filter" and resolution.ipvs else ()
        table.add(*(own(name, f"{table.name}/{name}") for name in (*STATIC[table.name], *ipvs)))
        if table.name != "nat":
            for name, facts in failsafe_facts(resolution.config, table.name, family).items():
                table.add(own(name, name, facts=facts))

    def _same(self, table: str, plan: ChainPlan) -> ChainPlan:
        """The equal chain of another node if there is one, so that nodes share it."""
        key = (table, plan.name, plan.seed, plan.facts.content())
        if len(self._of_nodes) > MOST_KEPT:
            self._of_nodes.clear()
        return self._of_nodes.setdefault(key, plan)

    def _policies(self, resolution: Resolution, family: int) -> dict[str, ChainPlan]:
        """Chains of policies by name. Staged policies have none."""
        chains = {}
        for policy in resolution.policies:
            if not policy.policy.staged:
                for direction in POLICY_PREFIXES:
                    chain = self.policies.policy(policy, direction, family)
                    chains[chain.name] = chain
        return chains

    def _everywhere(self, resolution: Resolution) -> Iterator[str]:
        """Names of policy chains that every node has, whether its endpoints need them or not."""
        for policy in resolution.policies:
            if policy.policy.everywhere and not policy.policy.staged:
                yield from (self.policies.name(policy, direction) for direction in POLICY_PREFIXES)

    def _profiles(self, table: TablePlan, resolution: Resolution, family: int) -> None:
        """Add the chains of profiles to a table whose host or pod chains use them."""
        for direction in {"filter": ("ingress", "egress"), "mangle": ("egress",)}.get(table.name, ()):
            table.add(*(self.policies.profile(profile, direction, family) for profile in resolution.profiles))


def _with_policies(resolution: Resolution, kind: str) -> list[LocalHost]:
    """Host endpoints with untracked or pre-DNAT policy; untracked policy is never enforced on all interfaces."""
    return [
        local
        for local in resolution.hosts
        if getattr(local.policies, kind) and (kind != "untracked" or local.interface != ANY_INTERFACE)
    ]


_POD_ROOTS = (
    ("cali-from-wl-dispatch", FROM_WORKLOAD, "interfaces of local pods, for packets from them"),
    ("cali-to-wl-dispatch", TO_WORKLOAD, "interfaces of local pods, for packets to them"),
)


def _workload_dispatch(resolution: Resolution, context: RuleContext) -> Iterator[ChainPlan]:
    """The chains that lead from local pods' interfaces to pods' chains: a tree, or one rule with a verdict map."""
    interfaces = [local.workload.interface for local in resolution.workloads]
    facts = partial(_pod_dispatch, context)
    for root, prefix, words in _POD_ROOTS:
        if context.layout.verdict_maps:
            yield ChainPlan(name=root, template=f"filter/{root}", facts=facts(()), origin=Origin(words=words))
        else:
            yield from dispatch(root, f"filter/{root}", interfaces, partial(context.chain, prefix), facts, words)


def _verdict_maps(resolution: Resolution, context: RuleContext) -> dict[str, Mapping[str, str]]:
    """The verdict maps from the interfaces of local pods to their chains, for layouts that have them."""
    if not context.layout.verdict_maps:
        return {}
    interfaces = sorted(local.workload.interface for local in resolution.workloads)
    return {
        root: {interface: context.chain(prefix, interface) for interface in interfaces}
        for root, prefix, _ in _POD_ROOTS
    }


def _pod_dispatch(context: RuleContext, branches: Sequence[Branch]) -> Facts:
    return PodDispatchFacts(branches=branches, deny=context.deny)


def _host_dispatch(table: str, resolution: Resolution, context: RuleContext) -> list[ChainPlan]:
    """The chains that lead from host interfaces to endpoints' chains, for one table; interfaces depend on it."""
    everyone, untracked = list(resolution.hosts), _with_policies(resolution, "untracked")
    rows: Mapping[str, tuple[tuple[str, str, list[LocalHost]], ...]] = {
        "raw": (
            ("cali-from-host-endpoint", FROM_HOST, untracked),
            ("cali-to-host-endpoint", TO_HOST, untracked),
        ),
        "mangle": (
            ("cali-from-host-endpoint", FROM_HOST, _with_policies(resolution, "pre_dnat")),
            ("cali-to-host-endpoint", TO_HOST, everyone),
        ),
        "nat": (),
        "filter": (
            ("cali-from-host-endpoint", FROM_HOST, everyone),
            ("cali-to-host-endpoint", TO_HOST, everyone),
            ("cali-from-hep-forward", FROM_HOST_FORWARD, everyone),
            ("cali-to-hep-forward", TO_HOST_FORWARD, everyone),
        ),
    }
    chains = []
    for root, prefix, hosts in rows[table]:
        interfaces = [local.interface for local in hosts if local.interface != ANY_INTERFACE]
        default = context.chain(prefix, ANY_INTERFACE) if len(interfaces) < len(hosts) else ""
        side = "from" if root.startswith("cali-from") else "to"
        special = table == "mangle" and side == "to"
        template = f"mangle/{root}" if special else f"cali-{side}-host-endpoint"
        words = f"host interfaces, for packets {side} them"
        chain_of = partial(context.chain, prefix)
        facts = partial(_host_dispatch_facts, context, default)
        chains.extend(dispatch(root, template, interfaces, chain_of, facts, words))
    return chains


def _host_dispatch_facts(context: RuleContext, default: str, branches: Sequence[Branch]) -> Facts:
    return HostDispatchFacts(branches=branches, default=default, prefixes=context.config.interface_prefixes)


def _endpoint_marks(resolution: Resolution, context: RuleContext) -> list[ChainPlan]:
    """IPVS mode: chains that mark packets with their endpoint, and find the endpoint again by the mark."""
    template = "filter/cali-set-endpoint-mark"
    workloads = sorted(local.workload.interface for local in resolution.workloads)
    hosts = sorted(local.interface for local in resolution.hosts if local.interface != ANY_INTERFACE)
    given = endpoint_marks(workloads, hosts, context.marks.endpoint)
    marks = {interface: None if mark is None else spell(mark) for interface, mark in given.items()}
    root, set_mark = "cali-set-endpoint-mark", partial(context.chain, SET_MARK)
    trees = [tree(names, f"{root}-{kind}", set_mark) for kind, names in (("wep", workloads), ("hep", hosts))]
    origin = Origin(words="marks of local endpoints, for packets that IPVS sends on")
    found = [EndpointMark(mark, context.chain(FROM_WORKLOAD, name)) for name in workloads if (mark := marks[name])]
    found += [EndpointMark(mark, context.chain(FROM_HOST_FORWARD, name)) for name in hosts if (mark := marks[name])]
    children = {name: branches for split in trees for name, branches in split.children.items()}
    roots = [branch for split in trees for branch in split.root]

    def branching(branches: Sequence[Branch], *, is_root: bool) -> Facts:
        return SetEndpointMarkFacts(
            branches=branches,
            is_root=is_root,
            mark=context.mark,
            deny=context.deny,
            prefixes=context.config.interface_prefixes,
        )

    rows: list[tuple[str, str, Facts]] = [
        *((name, template, branching(branches, is_root=False)) for name, branches in children.items()),
        (root, template, branching(roots, is_root=True)),
        (
            "cali-from-endpoint-mark",
            "filter/cali-from-endpoint-mark",
            FromEndpointMarkFacts(endpoints=found, mark=context.mark, deny=context.deny),
        ),
        *(
            (set_mark(name), "filter/cali-sm", EndpointMarkFacts(endpoint_mark=mark, mark=context.mark))
            for name, mark in marks.items()
        ),
    ]
    return [ChainPlan(name=name, template=template, facts=facts, origin=origin) for name, template, facts in rows]
