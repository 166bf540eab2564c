"""Free text that looks like options of iptables changes nothing but itself."""

from __future__ import annotations

from msgspec.structs import replace

import felixpy
from felixpy.config import Setting
from felixpy.model import Cluster, Rule, Tier
from tests.clusters import ALLOW, DENY, LOG, pod, policy

TIERS = {"default": Tier(name="default", order=1e6, passes=False)}


def compiled(rule: Rule, *settings: Setting) -> felixpy.Ruleset:
    cluster = Cluster(workloads=(pod("web"),), policies=(policy("a", ingress=[rule]),), tiers=TIERS)
    return felixpy.compile(cluster, "node1", settings=settings)


def test_a_rules_name_may_look_like_a_jump() -> None:
    rule = replace(ALLOW, annotations=(("name", "a --jump cali-nowhere"),))
    assert '"name=a --jump cali-nowhere"' in compiled(rule).save(4)


def test_a_rules_name_may_look_like_a_match_that_no_kernel_takes() -> None:
    assert compiled(replace(DENY, annotations=(("name", "no -m icmp here"),))).refused == ()


def test_a_log_prefix_may_look_like_a_jump() -> None:
    assert 'LOG --log-prefix "x --jump cali-y: "' in compiled(LOG, Setting("LogPrefix", "x --jump cali-y")).restore(4)


def test_a_log_prefix_of_two_lines_is_unreadable_and_the_default_counts() -> None:
    assert compiled(LOG, Setting("LogPrefix", "a\nb")).save(4) == compiled(LOG).save(4)


def test_names_in_a_log_prefix_are_not_filled_in_once_more() -> None:
    cluster = Cluster(workloads=(pod("web"),), policies=(policy("t", ingress=[LOG]),), tiers=TIERS)
    ruleset = felixpy.compile(cluster, "node1", settings=[Setting("LogPrefix", "%%n %k %x")])
    assert '--log-prefix "%t gnp %x: "' in ruleset.restore(4)


def test_a_node_whose_only_pod_is_refused_for_spoofing_exists_all_the_same() -> None:
    cluster = Cluster(workloads=(pod("web", spoofable=("192.0.2.0/24",)),), tiers=TIERS)
    assert ":cali-tw-" not in felixpy.compile(cluster, "node1").save(4)
