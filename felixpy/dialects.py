"""Dialects: how one era of Felix names, marks and lays out its chains.

The newest is the base. Each older one is a `replace` of its younger neighbour: what was different, and a folder of
templates that is searched first. What an era has no words for is found by `Dialect.refusals`, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from felixpy.config import Setting
from felixpy.model import DEFAULT_TIER, SHORT_KINDS, Cluster, Policy


class Lack(NamedTuple):
    """Something that an era has no words for: the policies that need it, and what is told about them."""

    finds: Callable[[Cluster], Iterable[Policy]]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One era of Felix. `release` is the one whose answers were compared."""

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
    """Policies of one order stand in the order of this text."""
    pools_set: str
    """Id of the set of all IP pools."""
    has_dscp: bool = True
    """Whether endpoints can have a DSCP value."""
    has_performance_hints: bool = True
    """Whether policies can ask to be programmed on every node."""
    parameters: tuple[Setting, ...] = ()
    """Parameters that this Felix does not have, with the value that stands for their absence."""
    lacks: tuple[Lack, ...] = ()

    def refusals(self, cluster: Cluster) -> Iterator[tuple[Policy, str]]:
        """The policies that this era cannot say, each with the reason."""
        for lack in self.lacks:
            for policy in lack.finds(cluster):
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
    """One text for all three parts, so ``a-b`` comes before ``a`` ("-" sorts before "/")."""
    key = policy.key
    return f"{key.name}/{key.namespace}/{key.kind}"


V3_32 = Dialect(
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

# --- up to v3.31: a policy is its tier and one name that hints at its kind

_NAME_MARKS = {"KubernetesNetworkPolicy": "knp.default.", "StagedKubernetesNetworkPolicy": "knp.default."}
_STAGED_MARK = "staged:"


def encoded_name(policy: Policy) -> str:
    """The name under which older releases keep a policy.

    ``<namespace>/knp.default.<name>`` for a Kubernetes policy, ``<namespace>/staged:<name>`` for a staged one. The
    name of a Calico policy begins with its tier; for the default tier that is added where it is missing.
    """
    key = policy.key
    prefix = _NAME_MARKS.get(key.kind, "" if key.name.startswith(f"{policy.tier}.") else f"{DEFAULT_TIER}.")
    name = f"{_STAGED_MARK if policy.staged else ''}{prefix}{key.name}"
    return f"{key.namespace}/{name}" if key.namespace else name


def _cluster_policies(cluster: Cluster) -> Iterator[Policy]:
    return (policy for policy in cluster.policies if policy.key.kind == "KubernetesClusterNetworkPolicy")


def _without_their_tiers_name(cluster: Cluster) -> Iterator[Policy]:
    known = frozenset(_NAME_MARKS) | {"KubernetesClusterNetworkPolicy"}
    for policy in cluster.policies:
        if policy.tier != DEFAULT_TIER and policy.key.kind not in known:
            if not policy.key.name.startswith(f"{policy.tier}."):
                yield policy


def _with_a_name_that_is_taken(cluster: Cluster) -> Iterator[Policy]:
    """Of two policies ``web`` and ``default.web`` the latter has its own name."""
    rightful = {_kept_under(policy) for policy in cluster.policies if _is_named_as_kept(policy)}
    return (
        policy for policy in cluster.policies if not _is_named_as_kept(policy) and _kept_under(policy) in rightful
    )


def _kept_under(policy: Policy) -> tuple[str, str]:
    return policy.key.kind, encoded_name(policy)


def _is_named_as_kept(policy: Policy) -> bool:
    return policy.key.name.startswith(f"{policy.tier}.")


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
    lacks=(
        Lack(_cluster_policies, "there were no ClusterNetworkPolicies"),
        Lack(_without_their_tiers_name, "outside of the default tier a policy's name had to begin with its tier's"),
        Lack(_with_a_name_that_is_taken, "its name got the prefix default., and another policy has that name"),
    ),
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

# --- up to v3.29: denying takes no mark, and tiers always deny at their end


def _staged(cluster: Cluster) -> Iterator[Policy]:
    return (policy for policy in cluster.policies if policy.staged)


def _in_passing_tiers(cluster: Cluster) -> Iterator[Policy]:
    passing = {name for name, tier in cluster.tiers.items() if tier.passes}
    return (policy for policy in cluster.policies if policy.tier in passing)


V3_29 = replace(
    V3_30,
    name="v3.29",
    release="v3.29.7",
    templates=("v3.29", *V3_30.templates),
    marks=("accept", "pass", "scratch0", "scratch1"),
    has_performance_hints=False,
    parameters=(
        *V3_30.parameters,
        Setting("FlowLogsGoldmaneServer", "none"),
        Setting("FlowLogsLocalReporter", "Disabled"),
    ),
    lacks=(
        *V3_30.lacks,
        Lack(_staged, "there were no staged policies"),
        Lack(_in_passing_tiers, "a tier could not have the default action Pass"),
    ),
)

# --- up to v3.28: one list of policies for each direction


def _in_tiers(cluster: Cluster) -> Iterator[Policy]:
    return (policy for policy in cluster.policies if policy.tier != DEFAULT_TIER)


V3_28 = replace(
    V3_29,
    name="v3.28",
    release="v3.28.5",
    templates=("v3.28", *V3_29.templates),
    policy_id=encoded_name,
    lacks=(*V3_29.lacks, Lack(_in_tiers, "there were no tiers but the default one")),
)

# --- a node of 2019


def _naming_services(cluster: Cluster) -> Iterator[Policy]:
    for policy in cluster.policies:
        rules = (*policy.inbound, *policy.outbound)
        if any(side.service for rule in rules for side in (rule.source, rule.destination)):
            yield policy


V3_8 = replace(
    V3_28,
    name="v3.8",
    release="v3.8",
    templates=("v3.8", *V3_28.templates),
    clears_pass=False,
    policy_title=None,
    groups_policies=False,
    parameters=(*V3_28.parameters, Setting("IptablesFilterDenyAction", "DROP")),
    lacks=(*V3_28.lacks, Lack(_naming_services, "rules could not name services")),
)
"""Known from one public dump: rules of the filter table and a set. Where that dump is silent (the other tables, host
endpoints, IPv6, encapsulation) the rules are those of the younger dialects, which is a guess."""

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (V3_32, V3_31, V3_30, V3_29, V3_28, V3_8)
}
"""By the name that ``--dialect`` takes, the newest first."""
