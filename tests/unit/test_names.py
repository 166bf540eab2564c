"""Names that fit into the kernel, and texts made safe for it."""

from __future__ import annotations

import pytest

from felixpy.calico_versions import V3_32
from felixpy.names import ANY_INTERFACE, comment, group_uid, limited, nflog_prefix, set_name
from tests.clusters import policy


@pytest.mark.parametrize(
    "prefix, suffix, limit, expected",
    [
        ("felix", "12345678910", 13, "felix_Y2QCZIS"),
        ("felix", "1234567", 13, "felix1234567"),
        ("felix", "12345678", 13, "felix12345678"),
        ("felix", "_2345", 10, "felix_kMQI"),
        ("felix", "_234", 10, "felix_234"),
        ("felix", "", 10, "felix_"),
        ("cali-pi-", "gnp/default.foo", 28, "cali-pi-gnp/default.foo"),
        ("cali-pi-", "gnp/long-policy-name-that-gets-hashed", 28, "cali-pi-_PymyFHQQg3808jiz1OJ"),
        ("cali-po-", "gnp/long-policy-name-that-gets-hashed", 28, "cali-po-_PymyFHQQg3808jiz1OJ"),
        ("cali-pi-", "knp/default/default-deny", 28, "cali-pi-_hkektpvVyhILpLRsra1"),
        ("cali-pri-", "long-policy-name-that-gets-hashed", 28, "cali-pri-_ffOMcf6pikpiZ6hgKc"),
        ("cali-pri-", "kns.default", 28, "cali-pri-kns.default"),
        ("cali-pri-", "ksa.kube-system.coredns", 28, "cali-pri-_u2Tn2rSoAPffvE7JO6"),
        ("cali-fh-", ANY_INTERFACE, 28, "cali-fh-any-interface-at-all"),
        ("cali-fhfw-", ANY_INTERFACE, 28, "cali-fhfw-_Nqh4HyA73udmyanQI"),
        ("cali-thfw-", ANY_INTERFACE, 28, "cali-thfw-_Nqh4HyA73udmyanQI"),
    ],
)
def test_a_name_fits_or_its_end_is_hashed(prefix: str, suffix: str, limit: int, expected: str) -> None:
    assert limited(prefix, suffix, limit) == expected


def test_length_is_counted_in_bytes() -> None:
    assert limited("p", "éé", 5) == "péé"
    assert limited("p", "éé", 4).startswith("p_")


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("NetworkPolicy", "np/default/allow"),
        ("GlobalNetworkPolicy", "gnp/allow"),
        ("StagedNetworkPolicy", "snp/default/allow"),
        ("StagedGlobalNetworkPolicy", "sgnp/allow"),
        ("StagedKubernetesNetworkPolicy", "sknp/default/allow"),
        ("KubernetesNetworkPolicy", "knp/default/allow"),
        ("KubernetesClusterNetworkPolicy", "kcnp/allow"),
    ],
)
def test_policies_are_called_by_kind_namespace_and_name(kind: str, expected: str) -> None:
    assert V3_32.policy_id(policy("allow", kind=kind)) == expected


def test_policies_of_one_order_are_sorted_by_one_text() -> None:
    """The separator sorts after "-" and "." but before digits and letters, so ``a-b`` comes before ``a``."""
    knp = "KubernetesNetworkPolicy"
    policies = [
        policy("allow-dns", kind=knp),
        policy("allow.x", kind=knp),
        policy("allow"),
        policy("allow", kind=knp),
        policy("allow", kind=knp, namespace="other"),
        policy("allow0", kind=knp),
        policy("allowed", kind=knp),
    ]
    shuffled = [policies[at] for at in (3, 6, 1, 5, 0, 4, 2)]
    assert sorted(shuffled, key=V3_32.tie_break) == policies


@pytest.mark.parametrize(
    "family, identity, expected",
    [
        (4, "s:hDLoUHRAo5AQvEs6JeXQ9QCNmKkvwLAtLRKDBg", "cali40s:hDLoUHRAo5AQvEs6JeXQ9QC"),
        (6, "s:hDLoUHRAo5AQvEs6JeXQ9QCNmKkvwLAtLRKDBg", "cali60s:hDLoUHRAo5AQvEs6JeXQ9QC"),
        (4, "svcnoport:7GS-RB2v2HoCK0f-l_15hD3GCo-_vkoAS8K6YA", "cali40svcnoport:7GS-RB2v2HoCK0f"),
        (4, "this-host", "cali40this-host"),
    ],
)
def test_set_names_are_cut_at_31(family: int, identity: str, expected: str) -> None:
    assert set_name(family, identity) == expected
    assert len(expected) <= 31


def group(selector: str, direction: str, *names: str, kind: str = "GlobalNetworkPolicy") -> str:
    members = [policy(name, kind=kind) for name in names]
    return group_uid(selector, direction, map(V3_32.group_line, members))


def test_a_group_is_named_after_its_selector_direction_and_members() -> None:
    assert group("all()", "inbound", "a", "b") == "js-B7zioflPRrAki3OCu"
    assert group("all()", "outbound", "a", "b") == "4ezo5iTUduM_NXbqxhkl"
    assert group("all()", "inbound", *"abcdefg") == "Z8Vc1ot76IhVxzwqDGyQ"
    others = {
        group("all()", "inbound", "b", "a"),
        group("all()", "inbound", "a"),
        group("has(x)", "inbound", "a", "b"),
        group("all()", "inbound", "a", "b", kind="StagedGlobalNetworkPolicy"),
    }
    assert len(others) == 4
    assert "js-B7zioflPRrAki3OCu" not in others


@pytest.mark.parametrize(
    "text, expected",
    [
        ("API0|np/namespace1/default.policy", "API0|np/namespace1/default.policy"),
        ("DPE|tier-1", "DPE|tier-1"),
        ("x" * 62, "x" * 62),
        (
            "DPI88|gnp/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0",
            "DPI88|gnp/_12IXaBPahNM7a7dZhI8zg6PStmHsgneYaax8LVSIq_RSTUVWXYZ0",
        ),
    ],
)
def test_nflog_prefixes_keep_both_ends(text: str, expected: str) -> None:
    assert nflog_prefix(text) == expected
    assert len(expected) <= 63


@pytest.mark.parametrize(
    "text, expected",
    [
        ("boz\nfizz", "boz_fizz"),
        ("a@b%c+d=e:f,g./h-i _1", "a@b%c+d=e:f,g./h-i _1"),
        ("\"quoted\" 'too' $(x) `y`; {z}", "_quoted_ _too_ __x_ _y__ _z_"),
        ("größe", "gr__e"),
        ("😀", "_"),
        ("tab\there", "tab_here"),
        ("a" * 257, "a" * 256),
        ("", ""),
    ],
)
def test_comments_are_made_safe(text: str, expected: str) -> None:
    assert comment(text) == expected
