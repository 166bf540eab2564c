"""Calico versions: how the Felix of each names, marks and lays out its chains.

The newest is the base. Each older one is a `replace` of its younger neighbour: what was different, and a folder of
templates that is searched first. What a release cannot express is found by `CalicoVersion.refusals`, never dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from felixpy.config import Setting
from felixpy.model import DEFAULT_TIER, SHORT_KINDS, Cluster, Policy, PolicyKey, Side


class Lack(NamedTuple):
    """A feature that a release lacks: the policies that need it, and the reason given for refusing them."""

    finds: Callable[[Cluster], Iterable[Policy]]
    reason: str


class CalicoVersion(Struct, frozen=True, kw_only=True):
    """How the Felix of one Calico version names, marks and lays out its chains.

    `release` is the one whose answers were compared.
    """

    name: str
    release: str
    templates: tuple[str, ...]
    """Folders under ``templates/``, searched in order."""
    marks: tuple[str, ...]
    """The order in which mark bits are handed out."""
    clears_pass: bool = True
    """Whether endpoint chains begin by clearing the pass mark, too, and not only the accept mark."""
    policy_id: Callable[[Policy], str]
    """What the names of a policy's chains are made of."""
    policy_title: Callable[[Policy], str] | None
    """How the comment on a policy chain's first rule calls the policy.

    None where chains of policies and profiles have no such comment; they keep a RETURN at their end, too.
    """
    nflog_id: Callable[[Policy], str]
    """How flow logs call a policy."""
    groups_policies: bool = True
    """Whether neighbouring policies with one selector share a chain."""
    group_head: Callable[[str, str], str]
    """From a tier's name and a selector: the beginning of the text that a group's name is hashed from."""
    group_line: Callable[[Policy], str]
    """The line of a policy in that text."""
    tie_break: Callable[[Policy], str]
    """The sort key of policies with the same order."""
    pools_set: str
    """Id of the set of all IP pools."""
    init_ports: bool = True
    """Whether named ports of init containers count."""
    has_dscp: bool = True
    """Whether endpoints can have a DSCP value."""
    programs_everywhere: bool = True
    """Whether the hint AssumeNeededOnEveryNode brings a policy's chains to every node, and not only its sets."""
    parameters: tuple[Setting, ...] = ()
    """Parameters that this Felix does not have, with the value that disables them."""
    lacks: tuple[Lack, ...] = ()

    def mark_names(self, *, wireguard: bool) -> tuple[str, ...]:
        """The names of the mark bits in the order in which bits are allocated."""
        return (*self.marks, "wireguard") if wireguard else self.marks

    def refusals(self, cluster: Cluster) -> Iterator[tuple[Policy, str]]:
        """The policies that this Calico version cannot express, each with the first reason."""
        told: set[PolicyKey] = set()
        for lack in self.lacks:
            for policy in lack.finds(cluster):
                if policy.key not in told:
                    told.add(policy.key)
                    yield policy, lack.reason


# --- v3.32: a policy is its kind, namespace and name


def _full_name(policy: Policy) -> str:
    key = policy.key
    return f"{key.namespace}/{key.name}" if key.namespace else key.name


def policy_id(policy: Policy) -> str:
    """``knp/<namespace>/<name>``, ``gnp/<name>``."""
    return f"{SHORT_KINDS.get(policy.key.kind, policy.key.kind)}/{_full_name(policy)}"


def policy_title(policy: Policy) -> str:
    return f"{policy.key.kind} {_full_name(policy)}"


def group_line(policy: Policy) -> str:
    """Go's %+v of the policy's key."""
    key = policy.key
    return f"{{Name: {key.name}, Namespace: {key.namespace}, Kind: {key.kind}}}"


def tie_break(policy: Policy) -> str:
    """The sort key: kind, namespace and name as one text, so ``a-b`` comes before ``a`` ("-" sorts before "/")."""
    key = policy.key
    return f"{key.name}/{key.namespace}/{key.kind}"


V3_32 = CalicoVersion(
    name="v3.32",
    release="v3.32.1",
    templates=("v3.32",),
    marks=("accept", "pass", "drop", "scratch0", "scratch1"),
    policy_id=policy_id,
    policy_title=policy_title,
    nflog_id=policy_id,
    group_head=lambda tier, selector: selector,
    group_line=group_line,
    tie_break=tie_break,
    pools_set="network-ip-pools",
)

# --- up to v3.31 a policy is a tier and one name that hints at the kind

_MARKS_OF_KINDS = {
    "KubernetesNetworkPolicy": "knp.default.",
    "StagedKubernetesNetworkPolicy": "staged:knp.default.",
    "StagedNetworkPolicy": "staged:",
    "StagedGlobalNetworkPolicy": "staged:",
}


def encoded_name(policy: Policy) -> str:
    """The name under which older releases keep a policy: ``<namespace>/knp.default.<name>``, ``default.<name>`` …

    The name of a Calico policy begins with its tier; for the default tier that is added where it is missing.
    """
    key = policy.key
    mark = _MARKS_OF_KINDS.get(key.kind, "")
    begins_with_tier = mark.endswith(".") or key.name.startswith(f"{policy.tier}.")
    name = f"{mark}{'' if begins_with_tier else f'{DEFAULT_TIER}.'}{key.name}"
    return f"{key.namespace}/{name}" if key.namespace else name


# --- what older versions lack


def _each(test: Callable[[Policy], bool]) -> Callable[[Cluster], Iterable[Policy]]:
    return lambda cluster: filter(test, cluster.policies)


def _sides(policy: Policy, *, without_protocol: bool = False) -> Iterator[Side]:
    """Source and destination of each rule, of all rules or only of those without a protocol."""
    for rule in (*policy.inbound, *policy.outbound):
        if rule.protocol is None or not without_protocol:
            yield from (rule.source, rule.destination)


def _names_ports_alone(policy: Policy) -> bool:
    sides = _sides(policy, without_protocol=True)
    return any(isinstance(port, str) for side in sides for port in (*side.ports, *side.not_ports))


def _in_passing_tiers(cluster: Cluster) -> Iterable[Policy]:
    passing = {name for name, tier in cluster.tiers.items() if tier.passes}
    return (policy for policy in cluster.policies if policy.tier in passing)


def _renamed_onto_others(cluster: Cluster) -> Iterable[Policy]:
    """Policies whose name older releases give to another one: of ``web`` and ``default.web`` the first."""
    times = Counter((policy.key.kind, encoded_name(policy)) for policy in cluster.policies)
    for policy in cluster.policies:
        if times[policy.key.kind, encoded_name(policy)] > 1 and not policy.key.name.startswith(f"{policy.tier}."):
            yield policy


CLUSTER_POLICIES = Lack(
    _each(lambda policy: policy.key.kind == "KubernetesClusterNetworkPolicy"), "there were no ClusterNetworkPolicies"
)
NAMES_IN_TIERS = Lack(
    _each(lambda policy: policy.tier != DEFAULT_TIER and not policy.key.name.startswith(f"{policy.tier}.")),
    "outside of the default tier a policy's name had to begin with its tier's",
)
PORT_NAMES_ALONE = Lack(_each(_names_ports_alone), "a rule with the name of a port had to have a protocol")
TAKEN_NAMES = Lack(_renamed_onto_others, "its name got the prefix default., and another policy has that name")
STAGED_POLICIES = Lack(_each(lambda policy: policy.staged), "there were no staged policies")
PASSING_TIERS = Lack(_in_passing_tiers, "a tier could not have the default action Pass")
TIERS = Lack(_each(lambda policy: policy.tier != DEFAULT_TIER), "there were no tiers but the default one")
SERVICES = Lack(_each(lambda policy: any(side.service for side in _sides(policy))), "a rule could not name a Service")

# --- the versions, each as the differences from the next newer one

V3_31 = replace(
    V3_32,
    name="v3.31",
    release="v3.31.7",
    policy_id=lambda policy: f"{policy.tier}/{encoded_name(policy)}",
    policy_title=lambda policy: f"Policy {encoded_name(policy)}",
    nflog_id=encoded_name,
    group_head=lambda tier, selector: f"{tier}\n{selector}",
    group_line=encoded_name,
    tie_break=encoded_name,
    parameters=(Setting("NFTablesMode", "Disabled"),),
    lacks=(CLUSTER_POLICIES, NAMES_IN_TIERS, PORT_NAMES_ALONE, TAKEN_NAMES),
)

V3_30 = replace(
    V3_31,
    name="v3.30",
    release="v3.30.7",
    templates=("v3.30", *V3_31.templates),
    pools_set="all-ipam-pools",
    has_dscp=False,
    parameters=(*V3_31.parameters, Setting("IstioAmbientMode", "Disabled")),
)

V3_29 = replace(
    V3_30,
    name="v3.29",
    release="v3.29.7",
    templates=("v3.29", *V3_30.templates),
    marks=("accept", "pass", "scratch0", "scratch1"),
    programs_everywhere=False,
    init_ports=False,
    lacks=(CLUSTER_POLICIES, STAGED_POLICIES, PASSING_TIERS, NAMES_IN_TIERS, PORT_NAMES_ALONE, TAKEN_NAMES),
)

V3_28 = replace(
    V3_29,
    name="v3.28",
    release="v3.28.5",
    templates=("v3.28", *V3_29.templates),
    policy_id=encoded_name,
    lacks=(CLUSTER_POLICIES, STAGED_POLICIES, TIERS, PORT_NAMES_ALONE, TAKEN_NAMES),
)

V3_8 = replace(
    V3_28,
    name="v3.8",
    release="v3.8",
    templates=("v3.8", *V3_28.templates),
    clears_pass=False,
    policy_title=None,
    groups_policies=False,
    parameters=(*V3_28.parameters, Setting("IptablesFilterDenyAction", "DROP")),
    lacks=(*V3_28.lacks, SERVICES),
)
"""A node of 2019, known from a public dump of some of its filter chains and one of its sets.

Where the dump is silent (tables raw, mangle and nat, cali-INPUT and cali-OUTPUT, IPv6, tunnels, host endpoints apart
from their policies) rules are those of the younger versions, v3.32 in the end. That is a guess.
"""

CALICO_VERSIONS: Mapping[str, CalicoVersion] = {
    calico_version.name: calico_version for calico_version in (V3_32, V3_31, V3_30, V3_29, V3_28, V3_8)
}
"""By the name that ``--calico_version`` takes, the newest first."""
