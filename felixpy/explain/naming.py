"""Find policies and tiers by the names that users give, and suggest similar names for unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from felixpy.errors import UsageError
from felixpy.model import SHORT_KINDS, Cluster, Policy

CALICO, KUBERNETES, GLOBAL = "NetworkPolicy", "KubernetesNetworkPolicy", "GlobalNetworkPolicy"
CLUSTER = "KubernetesClusterNetworkPolicy"
STAGED = ("StagedNetworkPolicy", "StagedKubernetesNetworkPolicy", "StagedGlobalNetworkPolicy")

POLICY_KINDS: Mapping[str, tuple[str, ...]] = {
    "policy": tuple(SHORT_KINDS),
    "pol": tuple(SHORT_KINDS),
    "netpol": (KUBERNETES, CALICO),
    "networkpolicy": (KUBERNETES, CALICO),
    "np": (KUBERNETES, CALICO),
    "kubernetesnetworkpolicy": (KUBERNETES,),
    "knp": (KUBERNETES,),
    "caliconetworkpolicy": (CALICO,),
    "cnp": (CLUSTER, CALICO),
    "clusternetworkpolicy": (CLUSTER,),
    "kubernetesclusternetworkpolicy": (CLUSTER,),
    "kcnp": (CLUSTER,),
    "globalnetworkpolicy": (GLOBAL,),
    "gnp": (GLOBAL,),
    "staged": STAGED,
    "stagednetworkpolicy": (STAGED[0],),
    "snp": (STAGED[0],),
    "stagedkubernetesnetworkpolicy": (STAGED[1],),
    "sknp": (STAGED[1],),
    "stagedglobalnetworkpolicy": (STAGED[2],),
    "sgnp": (STAGED[2],),
}
"""Kinds as kubectl and calicoctl take them, and Felix's kinds behind each."""


def singular(kind: str) -> str:
    """A kind in lower case and singular, without its API group.

    >>> singular("NetworkPolicies"), singular("networkpolicies.projectcalico.org"), singular("gnps")
    ('networkpolicy', 'networkpolicy', 'gnp')
    """
    word = kind.lower().partition(".")[0]
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word.removesuffix("s") if word not in ("rs", "ds", "sts", "ns") else word


def find_policy(cluster: Cluster, text: str, kinds: Sequence[str], namespace: str = "") -> Policy:
    """The policy with the name ``[KIND/][NAMESPACE/]NAME``; the tier at the beginning of a name may be left out.

    Raises UsageError for an unknown or ambiguous name.
    """
    parts = text.split("/")
    readings = [(kinds, parts)]
    if len(parts) > 1 and singular(parts[0]) in POLICY_KINDS:
        readings.append((POLICY_KINDS[singular(parts[0])], parts[1:]))
    found: list[Policy] = []
    for meant, rest in readings:
        found = found or _named([policy for policy in cluster.policies if policy.key.kind in meant], rest, namespace)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(sorted(f"{SHORT_KINDS[p.key.kind]}/{full_name(p)}" for p in found))
        raise UsageError(f"{text}: there are several; write one of {names}")
    raise UsageError(f"{text}: no such policy{_meant(text, map(full_name, cluster.policies))}")


def full_name(policy: Policy) -> str:
    return f"{policy.key.namespace}/{policy.key.name}" if policy.key.namespace else policy.key.name


def _named(candidates: Sequence[Policy], parts: Sequence[str], namespace: str) -> list[Policy]:
    """Policies with a name: by its full form, else without tier; a bare name in the namespace first, then elsewhere."""
    *head, name = parts
    spaces = head or ([namespace, ""] if namespace else [])
    if len(head) > 1:
        return []
    in_full = [policy for policy in candidates if policy.key.name == name]
    shortened = [policy for policy in candidates if policy.key.name == f"{policy.tier}.{name}"]
    for found in (in_full, shortened):
        within = [[policy for policy in found if policy.key.namespace == space] for space in spaces] or [found]
        for policies in within:
            if policies:
                return policies
    return []


def meant_kind(kind: str, others: Iterable[str]) -> str:
    """The message for an unknown kind; `others` are the valid kinds besides policies."""
    common = [*others, "policy", "netpol", "gnp", "cnp"]
    close = get_close_matches(singular(kind), [*common, *POLICY_KINDS], n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(common)} and more"


def _meant(text: str, names: Iterable[str]) -> str:
    known = sorted(set(names))
    short = {name.partition("/")[2] or name: name for name in known}
    begun = [name for name in [*known, *short] if text and name.startswith(text)]
    close = begun or get_close_matches(text, [*known, *short], n=1)
    if close:
        return f"; did you mean {short.get(close[0], close[0])}?"
    return "" if known else "; the input has none"


def meant_tier(text: str, names: Iterable[str]) -> str:
    """The message for an unknown tier."""
    return _meant(text, names)
