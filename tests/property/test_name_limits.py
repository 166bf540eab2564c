"""Names fit into the kernel, and different things have different names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy.calico_versions import V3_32
from felixpy.ipsets import named_port_set, selector_set, service_set
from felixpy.model import SHORT_KINDS, PolicyKey, ServiceName
from felixpy.names import MAX_CHAIN, MAX_NFLOG_PREFIX, MAX_SET, limited, nflog_prefix, set_name
from felixpy.plan.endpoints import FROM_HOST, FROM_HOST_FORWARD, FROM_WORKLOAD, SET_MARK, TO_HOST_FORWARD, TO_WORKLOAD
from felixpy.plan.policies import POLICY_PREFIXES, PROFILE_PREFIXES
from tests.clusters import NAMESPACED, policy
from tests.property.strategies import KEYS, texts

pytestmark = pytest.mark.property

PREFIXES = (
    *POLICY_PREFIXES.values(),
    *PROFILE_PREFIXES.values(),
    *(FROM_HOST, FROM_HOST_FORWARD, FROM_WORKLOAD, SET_MARK, TO_HOST_FORWARD, TO_WORKLOAD),
)


def key(kind: str, namespace: str, name: str) -> PolicyKey:
    return PolicyKey(kind, namespace if kind in NAMESPACED else "", name)


keys = st.builds(key, st.sampled_from(list(SHORT_KINDS)), texts("ab-", 20), texts("ab-.", 40))


@given(st.sampled_from(PREFIXES), st.lists(texts("ab_-./é"), unique=True, max_size=20))
def test_chain_names_of_one_kind(prefix: str, suffixes: list[str]) -> None:
    names = [limited(prefix, suffix) for suffix in suffixes]
    assert all(len(name.encode()) <= MAX_CHAIN and name.startswith(prefix) for name in names)
    assert len(set(names)) == len(names)


@given(st.lists(keys, unique=True, max_size=20))
def test_chain_names_of_policies(found: list[PolicyKey]) -> None:
    names = [limited("cali-pi-", V3_32.policy_id(policy(each.name, key=each))) for each in found]
    assert len(set(names)) == len(names)
    assert all(len(name) <= MAX_CHAIN for name in names)


@given(st.lists(st.tuples(st.sampled_from(KEYS), texts("ab", 8)), unique=True, max_size=8), texts("ab", 8))
def test_set_names(pairs: list[tuple[str, str]], port: str) -> None:
    texts_of = [f"{label} == '{value}'" for label, value in pairs]
    specs = [selector_set(text) for text in texts_of]
    specs += [named_port_set(text, protocol, port) for text in texts_of for protocol in ("tcp", "udp", None)]
    services = {ServiceName(namespace, name) for _, namespace in pairs for name in (port, namespace)}
    specs += [service_set(service, with_ports=ports) for service in services for ports in (True, False)]
    names = [set_name(family, spec.id) for spec in specs for family in (4, 6)]
    assert all(len(name) <= MAX_SET for name in names)
    assert len(set(names)) == len(names)


@given(texts("ab/|.", 90))
def test_nflog_prefixes(text: str) -> None:
    assert len(nflog_prefix(text)) <= MAX_NFLOG_PREFIX
    assert nflog_prefix(text).startswith(text[:10])
    assert nflog_prefix(text).endswith(text[-10:])
