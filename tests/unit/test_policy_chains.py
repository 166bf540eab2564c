"""Chains of policies, profiles and groups: what each action becomes, blocks, titles, logs."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.calico_versions import V3_32
from felixpy.config import Config
from felixpy.ipsets import SetSpec
from felixpy.model import PortRange, Rule, Side
from felixpy.names import nflog_prefix
from felixpy.plan import PolicyChains
from felixpy.plan.facts import RuleContext
from felixpy.render import Renderer
from felixpy.resolve import ActivePolicy, ActiveProfile
from felixpy.rules import ActiveRule, ActiveSide, activate
from felixpy.ruleset import Chain
from tests.clusters import ALLOW, DENY, LOG, PASS, policy, profile
from tests.tables import goldens

RENDERER = Renderer(V3_32)
ACCEPTED = "--jump MARK --set-mark 0x10000/0x10000"
RETURN = "-m mark --mark 0x10000/0x10000 --jump RETURN"
ALL_PASSED = "-m mark --mark 0x80000/0x80000"
THIS_PASSED, FIRST_PASSED = "--jump MARK --set-mark 0x100000/0x100000", "--jump MARK --set-mark 0x80000/0x80000"
FAILED = "--jump MARK --set-mark 0/0x80000"
MERGE = f"-m mark --mark 0/0x100000 {FAILED}"
NOTHING_YET, ALL_SO_FAR = "--jump MARK --set-mark 0x0/0x180000", "--jump MARK --set-mark 0x80000/0x180000"


def chains(**config: Any) -> PolicyChains:
    return PolicyChains(RuleContext(Config(**config), V3_32))


def drawn(*rules: Rule | ActiveRule, direction: str = "ingress", family: int = 4, **values: Any) -> Chain:
    """The chain of a GlobalNetworkPolicy p (or of `subject`) with these rules in both directions."""
    config = values.pop("config", {})
    active = tuple(rule if isinstance(rule, ActiveRule) else activate(at, rule) for at, rule in enumerate(rules))
    given = tuple(rule.rule for rule in active)
    subject = values.pop("subject", None) or policy("p", inbound=given, outbound=given, **values)
    known = ActivePolicy(policy=subject, selector="all()", inbound=active, outbound=active, needs={})
    return RENDERER.chain(chains(**config).policy(known, direction, family))


def untitled(chain: Chain, title: str = "GlobalNetworkPolicy p ingress") -> list[str]:
    """The rules without the title, which the first one must have."""
    before, comment, after = chain.bodies[0].partition(f'-m comment --comment "{title}"')
    assert comment
    return [before + after.removeprefix(" "), *chain.bodies[1:]]


def with_sides(source: ActiveSide, **rule: Any) -> ActiveRule:
    return ActiveRule(
        number=0, rule=Rule(action="allow", **rule), ip_version=None, source=source, destination=ActiveSide()
    )


def test_the_recorded_policy_of_a_set_and_two_ports() -> None:
    (((_, name), rules),) = goldens()["workload-policy"].items()
    ports = (PortRange(80, 80), PortRange(443, 443))
    clients = SetSpec("s:hDLoUHRAo5AQvEs6JeXQ9QCNmKkvwLAtLRKDBg")
    active = ActiveRule(
        number=0,
        rule=Rule(action="allow", protocol="tcp"),
        ip_version=None,
        source=ActiveSide(sets=(clients,)),
        destination=ActiveSide(ports=ports),
    )
    chain = drawn(active, subject=policy("allow-web", kind="KubernetesNetworkPolicy"))
    assert chain.name == name
    assert list(zip(chain.hashes, chain.bodies, strict=True)) == rules


@pytest.mark.parametrize(
    "rules, expected",
    [
        ([ALLOW], [ACCEPTED]),
        ([PASS], ["--jump MARK --set-mark 0x20000/0x20000"]),
        ([Rule(action="pass")], ["--jump MARK --set-mark 0x20000/0x20000"]),
        ([Rule(action="")], [ACCEPTED]),
        ([DENY], ["--jump MARK --set-mark 0x40000/0x40000", "-m mark --mark 0x40000/0x40000 --jump DROP"]),
        ([LOG], ['--jump LOG --log-prefix "calico-packet: " --log-level 5']),
        ([], [""]),
        ([ALLOW, LOG], [ACCEPTED, RETURN, '--jump LOG --log-prefix "calico-packet: " --log-level 5']),
        ([ALLOW, PASS], [ACCEPTED, RETURN, "--jump MARK --set-mark 0x20000/0x20000"]),
        ([Rule(action="allow", ip_version=6)], [""]),
    ],
)
def test_what_an_action_becomes(rules: list[Rule], expected: list[str]) -> None:
    """A verdict is a mark and then what the mark means; what would only return at the end is left out."""
    assert untitled(drawn(*rules)) == expected


def test_denying_can_be_rejecting() -> None:
    assert drawn(DENY, config={"filter_deny_action": "REJECT"}).bodies[-1].endswith("--jump REJECT")


NETS, MORE_NETS = ("10.0.0.0/24", "10.0.1.0/24"), ("11.0.0.0/24", "11.0.1.0/24")
RANGES = tuple(PortRange(first, first + 1) for first in range(1, 16, 2))


@pytest.mark.parametrize(
    "active, expected",
    [
        (
            with_sides(ActiveSide(nets=NETS)),
            [NOTHING_YET, *(f"--source {net} {FIRST_PASSED}" for net in NETS), f"{ALL_PASSED} {ACCEPTED}"],
        ),
        (
            with_sides(ActiveSide(nets=NETS[:1], not_nets=MORE_NETS[:1])),
            [ALL_SO_FAR, f"--source 11.0.0.0/24 {FAILED}", f"--source 10.0.0.0/24 {ALL_PASSED} {ACCEPTED}"],
        ),
        (
            with_sides(ActiveSide(nets=NETS, not_nets=MORE_NETS[:1])),
            [
                NOTHING_YET,
                *(f"--source {net} {FIRST_PASSED}" for net in NETS),
                f"! --source 11.0.0.0/24 {ALL_PASSED} {ACCEPTED}",
            ],
        ),
        (
            with_sides(ActiveSide(nets=NETS, not_nets=MORE_NETS)),
            [
                NOTHING_YET,
                *(f"--source {net} {FIRST_PASSED}" for net in NETS),
                *(f"--source {net} {FAILED}" for net in MORE_NETS),
                f"{ALL_PASSED} {ACCEPTED}",
            ],
        ),
        (
            with_sides(
                ActiveSide(ports=RANGES, port_sets=(SetSpec("ipset-1"),), nets=("10.1.0.0/16", "11.0.0.0/8")),
                protocol="tcp",
            ),
            [
                NOTHING_YET,
                f"-p tcp -m multiport --source-ports 1:2,3:4,5:6,7:8,9:10,11:12,13:14 {FIRST_PASSED}",
                f"-p tcp -m multiport --source-ports 15:16 {FIRST_PASSED}",
                f"-m set --match-set cali40ipset-1 src,src {FIRST_PASSED}",
                f"--source 10.1.0.0/16 {THIS_PASSED}",
                f"--source 11.0.0.0/8 {THIS_PASSED}",
                MERGE,
                f"-p tcp {ALL_PASSED} {ACCEPTED}",
            ],
        ),
    ],
)
def test_blocks_are_drawn_ahead_of_their_rule(active: ActiveRule, expected: list[str]) -> None:
    assert untitled(drawn(active)) == expected
    assert set(drawn(active).numbers) == {0}


@pytest.mark.parametrize(
    "chain, title",
    [
        (drawn(), "GlobalNetworkPolicy p ingress"),
        (drawn(direction="egress"), "GlobalNetworkPolicy p egress"),
        (
            drawn(subject=policy("allow", kind="NetworkPolicy", namespace="ns1")),
            "NetworkPolicy ns1/allow ingress",
        ),
        (drawn(subject=policy("odd\nname")), "GlobalNetworkPolicy odd_name ingress"),
    ],
)
def test_the_first_rule_says_whose_chain_it_is(chain: Chain, title: str) -> None:
    assert chain.bodies == (f'-m comment --comment "{title}"',)


def test_the_title_follows_annotations_and_the_bodies_comments() -> None:
    rule = Rule(action="deny", protocol="tcp", annotations=(("name", "no $x"), ("team", "red")))
    name = '-m comment --comment "name=no _x" -m comment --comment "team=red"'
    assert drawn(rule).bodies == (
        f'{name} -m comment --comment "GlobalNetworkPolicy p ingress" -p tcp --jump MARK --set-mark 0x40000/0x40000',
        f"{name} -m mark --mark 0x40000/0x40000 --jump DROP",
    )


def test_every_rule_of_a_block_has_the_annotations() -> None:
    rule = Rule(action="allow", source=Side(nets=NETS), annotations=(("name", "x"),))
    assert all('-m comment --comment "name=x"' in body for body in drawn(rule).bodies)


def test_rules_know_which_rule_of_the_policy_they_draw() -> None:
    rules = [LOG, Rule(action="allow", ip_version=6), DENY, Rule(action="allow", source=Side(nets=NETS))]
    assert drawn(*rules).numbers == (0, 2, 2, 3, 3, 3, 3)
    assert drawn(*rules, family=6).numbers == (0, 1, 1, 2, 2)


LOG_PREFIXES = [
    ("calico-packet", "calico-packet"),
    ("", "calico-packet"),
    ("calico-packet %k:%p:%t:%n", "calico-packet np:app/foo:admin:foo"),
    ("100%", "100%"),
    ("%x %k%%n", "%x np%foo"),
]


@pytest.mark.parametrize("prefix, expected", LOG_PREFIXES)
def test_log_prefixes_are_filled_in(prefix: str, expected: str) -> None:
    subject = policy("foo", kind="NetworkPolicy", namespace="app", tier="admin")
    chain = drawn(LOG, subject=subject, config={"log_prefix": prefix})
    assert chain.bodies[0].endswith(f'--jump LOG --log-prefix "{expected}: " --log-level 5')


@pytest.mark.parametrize(
    "config, limit",
    [
        ({}, ""),
        ({"log_rate": "50/minute"}, "-m limit --limit 50/minute --limit-burst 5 "),
        ({"log_rate": "50/minute", "log_burst": 0}, "-m limit --limit 50/minute "),
        ({"log_burst": 9}, ""),
    ],
)
def test_a_log_rule_may_be_limited_before_its_criteria(config: dict[str, Any], limit: str) -> None:
    rule = Rule(action="log", protocol="tcp")
    expected = f'{limit}-p tcp --jump LOG --log-prefix "calico-packet: " --log-level 5'
    assert untitled(drawn(rule, config=config)) == [expected]


LOGGED = {"local_flow_reporter": "Enabled"}


def nflog(mark: str, group: int, prefix: str, size: str = "--nflog-size 80") -> str:
    return f"-m mark --mark {mark}/{mark} --jump NFLOG --nflog-group {group} --nflog-prefix {prefix} {size}"


def test_flow_logs_tell_every_verdict_and_its_rule() -> None:
    """Numbers count the policy's rules, also those that mean nothing in this family."""
    rules = (Rule(action="allow", ip_version=6), DENY, LOG, PASS, ALLOW)
    ingress = untitled(drawn(*rules, config=LOGGED))
    assert ingress == [
        "--jump MARK --set-mark 0x40000/0x40000",
        nflog("0x40000", 1, "DPI1|gnp/p"),
        "-m mark --mark 0x40000/0x40000 --jump DROP",
        '--jump LOG --log-prefix "calico-packet: " --log-level 5',
        "--jump MARK --set-mark 0x20000/0x20000",
        nflog("0x20000", 1, "PPI3|gnp/p"),
        "-m mark --mark 0x20000/0x20000 --jump RETURN",
        ACCEPTED,
        nflog("0x10000", 1, "API4|gnp/p"),
    ]
    assert nflog("0x10000", 2, "APE4|gnp/p") in drawn(*rules, direction="egress", config=LOGGED).bodies
    goldmane = drawn(*rules, config={"goldmane_server": "goldmane:7443"})
    assert untitled(goldmane) == ingress


def test_long_names_are_shortened_in_flow_logs() -> None:
    name = "a-name-of-a-policy-that-is-much-longer-than-a-log-prefix"
    chain = drawn(ALLOW, subject=policy(name), config=LOGGED)
    assert nflog("0x10000", 1, nflog_prefix(f"API0|gnp/{name}")) in chain.bodies


def test_an_old_kernel_logs_a_range() -> None:
    chain = drawn(ALLOW, config={**LOGGED, "feature_override": (("NFLogSize", "false"),)})
    assert chain.bodies[-1] == nflog("0x10000", 1, "API0|gnp/p", "--nflog-range 80")


def test_untracked_policies_log_no_flows() -> None:
    plain = drawn(ALLOW, DENY, PASS)
    assert drawn(ALLOW, DENY, PASS, do_not_track=True, config=LOGGED).bodies == plain.bodies


def profile_chain(known: ActiveProfile, direction: str = "ingress", **config: Any) -> Chain:
    return RENDERER.chain(chains(**config).profile(known, direction, 4))


def test_profiles_are_drawn_like_policies() -> None:
    given = profile("kns.default", [ALLOW], [DENY, LOG])
    known = ActiveProfile(
        name="kns.default",
        inbound=(activate(0, ALLOW),),
        outbound=(activate(0, DENY), activate(1, LOG)),
        needs={},
        profile=given,
    )
    assert untitled(profile_chain(known), "Profile kns.default ingress") == [ACCEPTED]
    outgoing = profile_chain(known, "egress", log_prefix="%k-%n-%p-%t", local_flow_reporter="Enabled")
    assert outgoing.name == "cali-pro-kns.default"
    assert untitled(outgoing, "Profile kns.default egress") == [
        "--jump MARK --set-mark 0x40000/0x40000",
        nflog("0x40000", 2, "DRE0|kns.default"),
        "-m mark --mark 0x40000/0x40000 --jump DROP",
        '--jump LOG --log-prefix "pro-kns.default-kns.default-: " --log-level 5',
    ]


def test_a_profile_that_does_not_exist_denies() -> None:
    missing = ActiveProfile(name="gone", inbound=(), outbound=(), needs={}, profile=None)
    chain = profile_chain(missing, local_flow_reporter="Enabled")
    assert untitled(chain, "Profile gone ingress") == [
        "--jump MARK --set-mark 0x40000/0x40000",
        nflog("0x40000", 1, "DRI0|gone"),
        "-m mark --mark 0x40000/0x40000 --jump DROP",
    ]
    assert "does not exist" in chain.origin.words


def known(name: str, selector: str = "all()", kind: str = "GlobalNetworkPolicy") -> ActivePolicy:
    return ActivePolicy(policy=policy(name, kind=kind), selector=selector, inbound=(), outbound=(), needs={})


def staged(name: str, selector: str = "all()") -> ActivePolicy:
    return known(name, selector, "StagedGlobalNetworkPolicy")


GROUPS = [
    ("one policy has no group", [known("a")], ["cali-pi-gnp/a"]),
    ("nor has one beside staged ones", [staged("s"), known("a"), staged("t")], ["cali-pi-gnp/a"]),
    ("staged ones alone are nothing", [staged("s"), staged("t")], []),
    ("two make a group", [known("a"), known("b")], ["cali-gi-js-B7zioflPRrAki3OCu"]),
    (
        "another selector ends a group",
        [known("a"), known("x", "has(x)"), known("b")],
        ["cali-pi-gnp/a", "cali-pi-gnp/x", "cali-pi-gnp/b"],
    ),
    (
        "so does a staged policy with another selector",
        [known("a"), staged("x", "has(x)"), known("b")],
        ["cali-pi-gnp/a", "cali-pi-gnp/b"],
    ),
]


@pytest.mark.parametrize("members, expected", [row[1:] for row in GROUPS], ids=[row[0] for row in GROUPS])
def test_consecutive_policies_with_one_selector_are_grouped(members: list[ActivePolicy], expected: list[str]) -> None:
    targets, groups = chains().jumps(tuple(members), "ingress")
    assert targets == expected
    assert [group.name for group in groups] == [name for name in expected if name.startswith("cali-gi-")]


def test_the_two_directions_have_groups_of_their_own() -> None:
    targets, (group,) = chains().jumps((known("a"), known("b")), "egress")
    assert targets == [group.name] == ["cali-go-4ezo5iTUduM_NXbqxhkl"]
    assert RENDERER.chain(group).bodies == (
        "--jump cali-po-gnp/a",
        "-m mark --mark 0/0x30000 --jump cali-po-gnp/b",
    )


def test_staged_members_do_not_count_in_the_steps_of_a_group() -> None:
    """After five policies a packet that has its verdict leaves; staged ones are none of the five."""
    members = [member for name in "abcdef" for member in (staged(f"s{name}"), known(name))]
    _, (group,) = chains().jumps(tuple(members), "ingress")
    undecided = "-m mark --mark 0/0x30000 "
    decided = '-m comment --comment "Return on verdict" -m mark ! --mark 0/0x30000 --jump RETURN'
    assert RENDERER.chain(group).bodies == (
        "--jump cali-pi-gnp/a",
        *(f"{undecided}--jump cali-pi-gnp/{name}" for name in "bcde"),
        decided,
        "--jump cali-pi-gnp/f",
    )
    assert "GlobalNetworkPolicy a, GlobalNetworkPolicy b" in group.origin.words
