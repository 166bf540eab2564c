"""Possible explanations of names that nothing in the input has."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

from felixpy.calico_versions import CALICO_VERSIONS
from felixpy.decode.legend import CHAIN_KINDS, DISPATCH, SET_KINDS, STATIC, ChainKind, Legend, chain_prefix
from felixpy.decode.meaning import NameMeaning
from felixpy.errors import FelixpyError
from felixpy.model import SHORT_KINDS, STAGED_KINDS
from felixpy.names import MAX_CHAIN, limited

STALE = "it is stale, or belongs to another cluster"
LONG_KINDS = {short: kind for kind, short in SHORT_KINDS.items()}
INTERFACE = re.compile(r"(?:cali|tap)[0-9a-f]{1,11}")


def strange_chain(name: str, legend: Legend) -> NameMeaning | None:
    """Explain a chain of Felix that no object of the input has; None for other names."""
    prefix = chain_prefix(name)
    dispatch = DISPATCH.fullmatch(name)
    if dispatch:
        words = f"{STATIC.get(dispatch[1], 'dispatch')}: interfaces whose names go on with {dispatch[2]!r}"
        return NameMeaning(name=name, kind="chain", words=words, known=False, hint="no such interfaces in the input")
    if not prefix:
        if not name.startswith("cali-"):
            return None
        return NameMeaning(name=name, kind="chain", words="no chain that Felix makes", known=False, hint=STALE)
    kind, suffix = CHAIN_KINDS[prefix], name[len(prefix) :]
    words = kind.words.format(f"some {kind.owner}")
    found = _other_version(name, legend) or _staged(name, prefix, legend)
    if found:
        return found
    if suffix.startswith("_") and len(name.encode()) == MAX_CHAIN:
        room = MAX_CHAIN - len(prefix)
        hint = f"made from a name of more than {room} characters that no {kind.owner} in the input has: {STALE}"
        return NameMeaning(name=name, kind="chain", words=words, known=False, hint=hint)
    return NameMeaning(name=name, kind="chain", words=_literal(kind, suffix), known=False, hint=HINTS[kind.owner])


HINTS: Mapping[str, str] = {
    "policy": f"no such policy in the input: {STALE}",
    "profile": f"no such namespace, service account or profile in the input: {STALE}",
    "group": f"the name is a hash over selector and policies, so it changes when one is added or goes: {STALE}",
    "pod": f"no pod in the input has that interface: {STALE}",
    "host": f"no host endpoint in the input has that interface: {STALE}",
    "mark": f"no object in the input has that interface: {STALE}",
}


def _literal(kind: ChainKind, suffix: str) -> str:
    """What the readable part of a name means in this or an older Calico version."""
    if kind.owner == "policy":
        short, _, rest = suffix.partition("/")
        if short in LONG_KINDS:
            return kind.words.format(f"{LONG_KINDS[short]} {rest}")
        space, _, policy = suffix.rpartition("/")
        if policy.startswith("knp.default."):
            return kind.words.format(f"KubernetesNetworkPolicy {space}/{policy.removeprefix('knp.default.')}")
        return kind.words.format(f"a policy that an older Felix calls {suffix}")
    if kind.owner == "group":
        return kind.words
    noun = {"pod": "the pod behind", "profile": "profile"}.get(kind.owner, "the host interface")
    return kind.words.format(f"{noun} {suffix}")


def _other_version(name: str, legend: Legend) -> NameMeaning | None:
    for calico_version in CALICO_VERSIONS.values():
        if calico_version.name == legend.calico_version.name:
            continue
        try:
            subject = Legend(legend.cluster, calico_version).chain(name)
        except FelixpyError:  # a Calico version may not be able to express an object
            continue
        if subject:
            place = legend.cluster.where(subject.source, ()) if subject.source and subject.source.file else None
            hint = f"a name of Felix {calico_version.name}, not of {legend.calico_version.name}"
            return NameMeaning(name=name, kind="chain", words=subject.words, known=False, place=place, hint=hint)
    return None


def _staged(name: str, prefix: str, legend: Legend) -> NameMeaning | None:
    """The chain that a staged policy would have, under its own kind or as the policy it would become."""
    for policy in legend.cluster.policies:
        if policy.staged:
            enforced = policy.key._replace(kind=_enforced(policy.key.kind))
            for key in (policy.key, enforced):
                if name == limited(prefix, legend.calico_version.policy_id(replace(policy, key=key))):
                    words = CHAIN_KINDS[prefix].words.format(policy.key)
                    hint = "staged policies have no chains as long as they are staged"
                    return NameMeaning(name=name, kind="chain", words=words, known=False, hint=hint)
    return None


def _enforced(kind: str) -> str:
    assert kind in STAGED_KINDS
    return kind.removeprefix("Staged")


def strange_set(name: str, legend: Legend) -> NameMeaning:
    family, rest = name[4], name[5:]
    if rest.startswith("t"):
        words = "a temporary set, in which Felix prepares the members of another one before it swaps them"
        return NameMeaning(name=name, kind="set", words=words, known=False, hint="left over if it stays")
    kind = next((words for start, words in SET_KINDS.items() if rest[1:].startswith(start)), "a set of Felix")
    hint = f"the rest of the name is a hash that no rule of the input gives: {STALE}"
    return NameMeaning(name=name, kind="set", words=f"{kind}, IPv{family}", known=False, hint=hint)


def strange_rule(name: str) -> NameMeaning:
    hint = (
        "a rule's hash covers its text, all rules above it and the name of the chain: "
        "one of them differs from what the input gives, or it is another node's"
    )
    return NameMeaning(name=name, kind="rule", words="a rule of Felix", known=False, hint=hint)


def strange_interface(name: str, legend: Legend) -> NameMeaning:
    if INTERFACE.fullmatch(name):
        hint = f"the name is made from namespace and name of a pod, and no pod in the input gives it: {STALE}"
        return NameMeaning(name=name, kind="interface", words="the node's end of some pod", known=False, hint=hint)
    return NameMeaning(
        name=name, kind="name", words="nothing that Felix makes", known=False, hint=_closest(name, legend)
    )


def _closest(name: str, legend: Legend) -> str:
    from difflib import get_close_matches

    names = [*STATIC, *legend.interfaces]
    close = get_close_matches(name, names, n=1, cutoff=0.8)
    return f"did you mean {close[0]}?" if close else ""
