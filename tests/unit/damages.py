"""Kinds of damage to a node that had the rules of the recorded case k8s/shop-three-tiers, and what shall be found.

One table for the tests on a kernel made of dicts and for those on a real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from felixpy.kernel import Done, Kernel
from felixpy.verification import Verification
from tests.conformance.recordings import Case, cases

SHOP: Case = next(case for case in cases("k8s") if case.name == "shop-three-tiers")


class Damage(NamedTuple):
    """What is done, as (table or "ipset", lines for its restore), then each finding's class and severity in order.

    `told` are pieces of what the first finding says.
    """

    steps: tuple[tuple[str, str], ...]
    found: tuple[tuple[str, str], ...]
    told: tuple[str, ...] = ()


def once(table: str, lines: str, found: str, severity: str, *told: str) -> Damage:
    return Damage(((table, lines),), ((found, severity),), told)


INSERT = '-m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD'
RPF = "-m mark --mark 0x80000/0x80000 -m rpfilter --validmark --invert -j DROP"
FRONTEND_TW, DATABASE_TW = "cali-tw-calied01e2b247a", "cali-tw-calicc176f54bb9"
BACKENDS = "cali40s:s0Iqn0xyuY9eVgaXbj5cuYI"
DATABASE = "cali-pi-knp/shop/database"
UNUSED = "cali40masq-ipam-pools"
ALLOWS, DROPS, HARMLESS = "LETS_THROUGH", "DROPS", "NO_EFFECT"
TO_DATABASE = "asked about packets to shop/database-0"

DAMAGES: Mapping[str, Damage] = {
    # inserts
    "insert gone": once(
        "filter", f"-D FORWARD {INSERT}", "insert-missing", ALLOWS, "packets that the node forwards", "internet → shop/"
    ),
    "insert below ours that stand last": once(
        "filter", f"-D FORWARD {INSERT}\n-A FORWARD {INSERT}", "insert-moved", HARMLESS, "wanted  -j cali-FORWARD"
    ),
    "insert twice": once("filter", f"-A FORWARD {INSERT}", "insert-duplicate", HARMLESS, "filter FORWARD rule 4"),
    "insert changed, hash kept": once(
        "filter",
        f"-D FORWARD {INSERT}\n-I FORWARD {INSERT.replace(' -j', ' -p udp -j')}",
        "rule-tampered", ALLOWS, "there   -p udp -j cali-FORWARD", "wanted  -j cali-FORWARD", "will not repair",
    ),
    "insert with another hash": once(
        "filter",
        f"-D FORWARD {INSERT}\n-I FORWARD {INSERT.replace('wUHhoiAYhphO9Mso', 'AAAAAAAAAAAAAAAA')}",
        "hash-changed", HARMLESS, "cali:AAAAAAAAAAAAAAAA", "cali:wUHhoiAYhphO9Mso",
    ),
    "old rule of Felix that nobody wants": once(
        "filter", '-I INPUT -m comment --comment "cali:AAAAAAAAAAAAAAAA" -j RETURN', "rule-extra", ALLOWS,
    ),
    # rules of others ahead
    "foreign accept ahead": once(
        "filter", "-I FORWARD -j ACCEPT", "foreign-rule-ahead", ALLOWS, "filter FORWARD rule 1", "there   -j ACCEPT"
    ),
    "foreign accept of one source ahead": once(
        "filter", "-I FORWARD -s 10.65.2.40/32 -j ACCEPT", "foreign-rule-ahead", ALLOWS, "ingress-nginx/ingress-nginx",
    ),
    "foreign drop of one source ahead": once(
        "filter", "-I FORWARD -s 10.65.2.20/32 -j DROP", "foreign-rule-ahead", DROPS, "not Felix's, in chain FORWARD",
    ),
    "foreign accept of what policy allows anyway": once(
        "filter", "-I FORWARD -s 10.65.2.11/32 -d 10.65.1.12/32 -p tcp -m tcp --dport 5432 -j ACCEPT",
        "foreign-rule-ahead", ALLOWS, "(invalid) passes",
    ),
    "foreign chain that accepts ahead": once(
        "filter", ":MINE - [0:0]\n-A MINE -p udp -j ACCEPT\n-I FORWARD -i eth0 -j MINE", "foreign-rule-ahead", ALLOWS
    ),
    "foreign DNAT ahead, which would be one below as well": once(
        "nat", "-I PREROUTING -d 10.96.0.9/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.65.1.10:8080",
        "foreign-rule-ahead", HARMLESS,
    ),
    "foreign log ahead": once(
        "filter", "-I FORWARD -j LOG", "insert-moved", HARMLESS, "rule 1 stands above it: -j LOG"
    ),
    "foreign chain that only returns ahead": once(
        "filter", ":MINE - [0:0]\n-A MINE -p udp -j RETURN\n-I FORWARD -j MINE", "insert-moved", HARMLESS
    ),
    "foreign rule below what stands last": once("filter", "-A FORWARD -j LOG", "insert-moved", HARMLESS),
    "foreign jump": once(
        "filter", f"-A INPUT -j {DATABASE}", "foreign-jump", HARMLESS, f"there   -j {DATABASE}"
    ),
    # chains and rules
    "chain gone": once(
        "filter", f"-D {DATABASE_TW} 5\n:{DATABASE} - [0:0]\n--delete-chain {DATABASE}",
        "chain-missing", DROPS, "ingress rules of KubernetesNetworkPolicy shop/database", TO_DATABASE, "tcp/5432",
    ),
    "chain emptied": once(
        "filter", ":cali-FORWARD - [0:0]", "rule-missing", ALLOWS, "there   no rule", "wanted  6 rules"
    ),
    "stale chain": once("nat", ":cali-more - [0:0]\n-A cali-more -j ACCEPT", "chain-stale", HARMLESS, "1 rule"),
    "stale chain with a way to it": once(
        "filter", ":cali-more - [0:0]\n-A cali-more -j ACCEPT\n-I cali-FORWARD -j cali-more", "chain-stale", ALLOWS
    ),
    "rule gone": once(
        "filter", f"-D {FRONTEND_TW} 11", "rule-missing", ALLOWS, "rule 11", "packets to pod shop/frontend", "wanted  "
    ),
    "rule without effect gone": once(
        "filter", "-D cali-FORWARD 2", "rule-missing", HARMLESS, "no packet is treated differently"
    ),
    "rule added": once(
        "filter", "-I cali-FORWARD -j ACCEPT", "rule-extra", ALLOWS, "it bears no hash, so it was not Felix"
    ),
    "rule twice": once(
        "filter", '-I cali-FORWARD 2 -m comment --comment "cali:W_vvds1Nw3n9QE2f" -j MARK --set-xmark 0x0/0x1a0000',
        "rule-extra", HARMLESS,
    ),
    "rule changed, hash kept": once(
        "filter", f'-R {FRONTEND_TW} 11 -m comment --comment "cali:Bs9Qnb3UiKMb_Vpi" -j ACCEPT',
        "rule-tampered", ALLOWS, "there   -j ACCEPT", "End of tier default", "Felix looks at nothing else",
    ),
    "rule changed, hash gone": once(
        "filter", f"-R {FRONTEND_TW} 11 -j ACCEPT", "rule-replaced", ALLOWS, "it bears no hash, so it was not Felix",
    ),
    "rule of another state of the policy": once(
        "filter",
        f'-R {DATABASE} 1 -m comment --comment "cali:AAAAAAAAAAAAAAAA" -j MARK --set-xmark 0x10000/0x10000',
        "rule-replaced", ALLOWS, "another state of the policies", "spec.ingress[0]", "manifests.yaml:",
    ),
    "right rule with another hash": once(
        "filter", f'-R {FRONTEND_TW} 3 -m comment --comment "cali:AAAAAAAAAAAAAAAA" -j MARK --set-xmark 0x0/0x30000',
        "hash-changed", HARMLESS, "cali:AAAAAAAAAAAAAAAA",
    ),
    "rule about sources gone": once("raw", "-D cali-PREROUTING 4", "rule-missing", ALLOWS, "spoofed"),
    "rule beside that about sources changed": once(
        "raw", "-I cali-PREROUTING -p udp -j DROP", "rule-extra", DROPS, "udp/53 is dropped"
    ),
    "rule about known connections gone": once("filter", f"-D {DATABASE_TW} 1", "rule-missing", DROPS, "(established)"),
    "two rules that mean something together only": Damage(
        ((
            "filter",
            f"-I {DATABASE_TW} 4 -j MARK --set-xmark 0x40000000/0x40000000\n"
            f"-I {DATABASE_TW} 5 -m mark --mark 0x40000000/0x40000000 -j ACCEPT",
        ),),
        (("rule-extra", ALLOWS), ("rule-extra", ALLOWS)),
        ("LETS THROUGH  2 × extra rule", "rule 4 extra rule", "rule 5 extra rule", "all of them together"),
    ),
    # sets
    "member added": once(
        "ipset", f"add {BACKENDS} 10.65.2.20", "member-extra", ALLOWS, "10.65.2.20 (monitoring/prometheus-0)",
        "used by KubernetesNetworkPolicy shop/database, tier default, ingress, spec.ingress[0]", "tcp/5432 passes",
    ),
    "member gone": once(
        "ipset", f"del {BACKENDS} 10.65.2.11", "member-missing", DROPS, "10.65.2.11 (shop/back", "tcp/5432 is dropped"
    ),
    "set gone": once("ipset", f"destroy {UNUSED}", "set-missing", HARMLESS, "no rule uses it"),
    "set with another size": once(
        "ipset", f"destroy {UNUSED}\ncreate {UNUSED} hash:net maxelem 7", "set-options", HARMLESS, "maxelem 7"
    ),
    "set of another type": once(
        "ipset", f"destroy {UNUSED}\ncreate {UNUSED} hash:ip maxelem 1048576", "set-type", HARMLESS, "hash:ip fam"
    ),
    "set with counters": once(
        "ipset", f"destroy {UNUSED}\ncreate {UNUSED} hash:net maxelem 1048576 counters",
        "set-options", HARMLESS, "options that Felix does not set",
    ),
    "stale set": once(
        "ipset", "create cali4t0 hash:net maxelem 9\nadd cali4t0 10.9.0.0/16", "set-stale", HARMLESS, "1 member"
    ),
}  # fmt: skip
"""By what was done. Everything is of IPv4."""


def inflict(kernel: Kernel, backend: str, damage: Damage) -> None:
    """Do the damage."""
    for table, lines in damage.steps:
        if table == "ipset":
            done = kernel.run("ipset", "restore", text=f"{lines}\n")
        else:
            done = kernel.run(f"iptables-{backend}-restore", "--noflush", text=f"*{table}\n{lines}\nCOMMIT\n")
        assert done == Done(0), done


def classes(found: Verification) -> tuple[tuple[str, str], ...]:
    """The kind and the severity of each finding."""
    return tuple((finding.kind.name, finding.effect.severity.name) for finding in found.findings)
