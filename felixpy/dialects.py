"""Dialects: how one era of Felix names, marks and lays out its chains.

The newest is the base; an older one is `replace` with what differs, and a folder of templates that is searched first.
What a dialect has no words for is reported by `Dialect.refusals`, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from felixpy.model import SHORT_KINDS, Cluster, Policy, PolicyKey

Refusals = Callable[[Cluster], Iterator[tuple[Policy, str]]]


def _full_name(key: PolicyKey) -> str:
    return f"{key.namespace}/{key.name}" if key.namespace else key.name


def policy_id(key: PolicyKey) -> str:
    """What a policy's chain names are made of: ``knp/<namespace>/<name>``, ``gnp/<name>``."""
    return f"{SHORT_KINDS.get(key.kind, key.kind)}/{_full_name(key)}"


def policy_title(key: PolicyKey) -> str:
    """How the comment on a policy chain's first rule calls the policy."""
    return f"{key.kind} {_full_name(key)}"


def group_line(key: PolicyKey) -> str:
    """The line of a policy in the text that a group's name is hashed from: Go's %+v of its key."""
    return f"{{Name: {key.name}, Namespace: {key.namespace}, Kind: {key.kind}}}"


def tie_break(key: PolicyKey) -> str:
    """Policies of one order go by this one text, so ``a-b`` comes before ``a`` ("-" sorts before "/")."""
    return f"{key.name}/{key.namespace}/{key.kind}"


def nothing_refused(cluster: Cluster) -> Iterator[tuple[Policy, str]]:
    """The base dialect can say everything."""
    return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One era of Felix.

    `templates` are folders under ``templates/``, searched in order. `marks` is the order in which mark bits are handed
    out. `policy_title` is None where policy chains have no comment naming the policy; such a Felix keeps the trailing
    RETURN of a chain, too.
    """

    name: str
    release: str
    templates: tuple[str, ...]
    marks: tuple[str, ...]
    policy_id: Callable[[PolicyKey], str]
    policy_title: Callable[[PolicyKey], str] | None
    group_line: Callable[[PolicyKey], str]
    groups_policies: bool
    tie_break: Callable[[PolicyKey], str]
    pools_set: str
    """Id of the set of all IP pools."""
    has_dscp: bool
    """Whether endpoints can have a DSCP value."""
    refusals: Refusals = nothing_refused


V3_32 = Dialect(
    name="v3.32",
    release="v3.32.1",
    templates=("v3.32",),
    marks=("accept", "pass", "drop", "scratch0", "scratch1"),
    policy_id=policy_id,
    policy_title=policy_title,
    group_line=group_line,
    groups_policies=True,
    tie_break=tie_break,
    pools_set="network-ip-pools",
    has_dscp=True,
)


def _encoded_name(key: PolicyKey) -> str:
    """Names before v3.32: a Kubernetes policy is ``<namespace>/knp.default.<name>``."""
    name = f"knp.default.{key.name}" if key.kind == "KubernetesNetworkPolicy" else key.name
    return f"{key.namespace}/{name}" if key.namespace else name


def _beyond_v3_8(cluster: Cluster) -> Iterator[tuple[Policy, str]]:
    for policy in cluster.policies:
        if policy.tier != "default":
            yield policy, f"tier {policy.tier}: there were no tiers"
        elif policy.staged:
            yield policy, f"{policy.key.kind}: there were no staged policies"
        elif policy.key.kind == "KubernetesClusterNetworkPolicy":
            yield policy, "there was no ClusterNetworkPolicy"
        elif any(
            side.service for rule in (*policy.inbound, *policy.outbound) for side in (rule.source, rule.destination)
        ):
            yield policy, "rules could not name services"


V3_8 = replace(
    V3_32,
    name="v3.8",
    release="v3.8",
    templates=("v3.8", "v3.32"),
    marks=("accept", "pass", "scratch0", "scratch1"),
    policy_id=_encoded_name,
    policy_title=None,
    groups_policies=False,
    tie_break=_encoded_name,
    pools_set="all-ipam-pools",
    has_dscp=False,
    refusals=_beyond_v3_8,
)

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (V3_32, V3_8)}
"""By the name that ``--dialect`` takes, the newest first."""
