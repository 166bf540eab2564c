"""Explanations of a pod, host endpoint, policy or tier: what applies to it, what it selects, which rules match it.

    kernel_names  names of chains and sets in the data plane
    naming        policies and tiers by the names that users give
    lines         rules as lines, with the endpoints that they match now
    endpoints     pods and host endpoints
    policies      policies and tiers
    values        the values that explanations consist of
    report        explanations as text and JSON

Which policies apply where comes from the compiler's resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from felixpy.errors import UsageError
from felixpy.explain.endpoints import EndpointExplanations, hosts_of, local_host, local_workload
from felixpy.explain.kernel_names import KernelNames
from felixpy.explain.lines import Population, RuleLines
from felixpy.explain.naming import find_policy, meant_tier
from felixpy.explain.policies import Policies
from felixpy.explain.values import EndpointExplanation, PolicyExplanation, TierExplanation
from felixpy.layouts import IPTABLES
from felixpy.topology.endpoints import Directory, Endpoint
from felixpy.topology.nodes import Nodes

__all__ = ["EndpointExplanation", "Explainer", "PolicyExplanation", "TierExplanation"]


class Explainer:
    """Explains the objects of a cluster; bare names are looked up in `namespace`."""

    def __init__(self, nodes: Nodes, *, namespace: str = "") -> None:
        self.nodes, self.cluster, self.namespace = nodes, nodes.cluster, namespace
        self._population = Population(nodes.cluster)
        self._policies = Policies(self._lines, nodes)

    def _lines(self, node: str) -> RuleLines:
        """Makes rule lines with the names of chains and sets in the data plane of a node; "" for any node."""
        known = self.cluster.node_names()
        name = node if node in known else next(iter(known), "")
        layout = self.nodes.compiler.layout(name, self.nodes.settings) if name else IPTABLES
        return RuleLines(self._population, KernelNames(layout))

    def pod(self, name: str) -> EndpointExplanation:
        """Explain a pod, or the first pod of a workload. Raises UsageError for an unknown name."""
        endpoint = self._pod(name)
        pod = endpoint.workload
        assert pod
        resolution = self.nodes.compiler.resolve(pod.node, self.nodes.hosts.get(pod.node), self.nodes.settings)
        found = EndpointExplanations(self._lines(pod.node)).workload(pod, local_workload(resolution.workloads, pod))
        return replace(found, remarks=(endpoint.note, *found.remarks)) if endpoint.note else found

    def _pod(self, name: str) -> Endpoint:
        directory = Directory(self.cluster, self.nodes.book, "", self.namespace)
        wrong: UsageError | None = None
        for family in (4, 6):
            try:
                endpoint = directory.find(name, family)
            except UsageError as reason:
                wrong = wrong or reason
                continue
            if endpoint.workload is None:
                raise UsageError(f"{name} is not a pod")
            return endpoint
        assert wrong
        raise wrong

    def host(self, name: str) -> EndpointExplanation:
        """Explain a host endpoint. Raises UsageError for an unknown name."""
        found = hosts_of(self.cluster, name)
        if not found:
            known = ", ".join(sorted({host.name for host in self.cluster.host_endpoints})) or "none"
            raise UsageError(f"{name}: no such host endpoint; the input has {known}")
        endpoint = found[0]
        host = self.nodes.hosts.get(endpoint.node)
        resolution = self.nodes.compiler.resolve(endpoint.node, host, self.nodes.settings)
        explanations = EndpointExplanations(self._lines(endpoint.node))
        return explanations.host(endpoint, local_host(resolution.hosts, endpoint), resolution.config)

    def policy(self, name: str, kinds: Sequence[str]) -> PolicyExplanation:
        """Explain a policy of one of these kinds. Raises UsageError for an unknown or ambiguous name."""
        return self._policies.policy(find_policy(self.cluster, name, kinds, self.namespace))

    def tier(self, name: str) -> TierExplanation:
        """Explain a tier. Raises UsageError for an unknown name."""
        names = {*self.cluster.tiers, *(policy.tier for policy in self.cluster.policies)}
        if name not in names:
            raise UsageError(f"{name}: no such tier{meant_tier(name, names)}")
        return self._policies.tier(name)
