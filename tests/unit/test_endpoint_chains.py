"""What happens to a packet of one workload or host interface, and which parameters change it.

The plain chains are in fixtures/hashes.txt; here are the variants, as differences from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from felixpy.model import Qos
from felixpy.plan.facts import NFLOG_GROUPS
from felixpy.ruleset import Ruleset
from tests.clusters import ALLOW, DENY, bodies, chains, compiled, host_endpoint, pod, policy, profile, tier

TO, FROM = "cali-tw-calip", "cali-fw-calip"
ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED --jump"
SET_ACCEPT = "MARK --set-mark 0x10000/0x10000"
INVALID = "-m conntrack --ctstate INVALID --jump DROP"
CLEAR = "--jump MARK --set-mark 0/0x30000"
ACCEPTED = "-m mark --mark 0x10000/0x10000"
NO_VXLAN = (
    '-m comment --comment "Drop VXLAN encapped packets originating in workloads"'
    " -p 17 -m multiport --destination-ports 4789 --jump DROP"
)
NO_IPIP = '-m comment --comment "Drop IPinIP encapped packets originating in workloads" -p 4 --jump DROP'
NO_PROFILE = '-m comment --comment "Drop if no profiles matched" --jump DROP'
BARE_POD = pod("p", profiles=())


def start(name: str) -> str:
    return f'-m comment --comment "Start of tier {name}" --jump MARK --set-mark 0/0x20000'


def tried(chain: str) -> list[str]:
    return [
        f"-m mark --mark 0/0x20000 --jump {chain}",
        f'-m comment --comment "Return if policy accepted" {ACCEPTED} --jump RETURN',
    ]


def end(name: str, word: str = "Drop") -> str:
    comment = f'-m comment --comment "End of tier {name}. {word} if no policies passed packet"'
    return f"{comment} -m mark --mark 0/0x20000 --jump {word.upper()}"


def test_a_pod_without_policy_or_profile() -> None:
    ruleset = compiled(BARE_POD)
    assert bodies(ruleset, "filter", TO) == [f"{ESTABLISHED} ACCEPT", INVALID, CLEAR, NO_PROFILE]
    assert bodies(ruleset, "filter", FROM) == [f"{ESTABLISHED} ACCEPT", INVALID, CLEAR, NO_VXLAN, NO_IPIP, NO_PROFILE]
    assert bodies(ruleset, "filter", FROM, 6) == bodies(ruleset, "filter", FROM)


@pytest.mark.parametrize(
    "settings, expected",
    [
        (
            {"IptablesFilterAllowAction": "return"},
            [f"{ESTABLISHED} {SET_ACCEPT}", f"{ESTABLISHED} RETURN", INVALID, CLEAR, NO_VXLAN, NO_IPIP, NO_PROFILE],
        ),
        (
            {"DisableConntrackInvalidCheck": "true"},
            [f"{ESTABLISHED} ACCEPT", CLEAR, NO_VXLAN, NO_IPIP, NO_PROFILE],
        ),
        (
            {"AllowVXLANPacketsFromWorkloads": "true"},
            [f"{ESTABLISHED} ACCEPT", INVALID, CLEAR, NO_IPIP, NO_PROFILE],
        ),
        (
            {"AllowIPIPPacketsFromWorkloads": "true"},
            [f"{ESTABLISHED} ACCEPT", INVALID, CLEAR, NO_VXLAN, NO_PROFILE],
        ),
        (
            {"VXLANPort": "8472"},
            [f"{ESTABLISHED} ACCEPT", INVALID, CLEAR, NO_VXLAN.replace("4789", "8472"), NO_IPIP, NO_PROFILE],
        ),
        (
            {"IptablesFilterDenyAction": "Reject"},
            [
                rule.replace("DROP", "REJECT").replace("Drop", "Reject")
                for rule in (f"{ESTABLISHED} ACCEPT", INVALID, CLEAR, NO_VXLAN, NO_IPIP, NO_PROFILE)
            ],
        ),
    ],
)
def test_parameters_of_a_pods_chain(settings: dict[str, object], expected: list[str]) -> None:
    assert bodies(compiled(BARE_POD, settings=settings), "filter", FROM) == expected


def test_marks_follow_the_mask() -> None:
    rules = bodies(compiled(BARE_POD, policy("a"), settings={"IptablesMarkMask": "0xff"}), "filter", TO)
    assert rules[2:5] == [
        "--jump MARK --set-mark 0/0x3",
        '-m comment --comment "Start of tier default" --jump MARK --set-mark 0/0x2',
        "-m mark --mark 0/0x2 --jump cali-pi-gnp/a",
    ]


TIERS = (tier("first", 1.0), tier("soft", 2.0, passes=True))
GONE = [start("gone"), *tried("cali-pi-gnp/a"), end("gone")]
IN_TIERS = [
    ("a tier ends with a drop", [policy("a", tier="first")], [start("first"), *tried("cali-pi-gnp/a"), end("first")]),
    ("unless it passes", [policy("a", tier="soft")], [start("soft"), *tried("cali-pi-gnp/a")]),
    (
        "tiers follow each other",
        [policy("a"), policy("b", tier="soft"), policy("c", tier="first")],
        [
            start("first"),
            *tried("cali-pi-gnp/c"),
            end("first"),
            start("soft"),
            *tried("cali-pi-gnp/b"),
            start("default"),
            *tried("cali-pi-gnp/a"),
            end("default"),
        ],
    ),
    ("a direction without policy is no step", [policy("a", egress=[DENY])], []),
    ("staged policies let every packet through", [policy("s", kind="StagedGlobalNetworkPolicy")], [start("default")]),
    (
        "beside an enforced one they do not",
        [policy("s", kind="StagedGlobalNetworkPolicy", order=1.0), policy("t", order=2.0)],
        [start("default"), *tried("cali-pi-gnp/t"), end("default")],
    ),
    (
        "a missing tier comes last and denies",
        [policy("a", tier="gone"), policy("b")],
        [start("default"), *tried("cali-pi-gnp/b"), end("default"), *GONE],
    ),
]


@pytest.mark.parametrize("policies, expected", [row[1:] for row in IN_TIERS], ids=[row[0] for row in IN_TIERS])
def test_tiers(policies: Sequence[object], expected: list[str]) -> None:
    ruleset = compiled(BARE_POD, *TIERS, *policies)
    assert bodies(ruleset, "filter", TO) == [f"{ESTABLISHED} ACCEPT", INVALID, CLEAR, *expected, NO_PROFILE]


def test_profiles_are_asked_in_the_order_of_the_endpoint() -> None:
    ruleset = compiled(pod("p", profiles=("z", "a", "gone")), profile("a"), profile("z"))
    returned = f'-m comment --comment "Return if profile accepted" {ACCEPTED} --jump RETURN'
    expected = [rule for name in ("z", "a", "gone") for rule in (f"--jump cali-pri-{name}", returned)]
    assert bodies(ruleset, "filter", TO)[3:-1] == expected
    assert {"cali-pri-gone", "cali-pro-gone"} <= set(chains(ruleset, "filter"))


def test_limits_of_a_pod() -> None:
    """Each direction has its own; the rate comes first of all, connections after those that exist."""
    qos = Qos(egress_packet_rate=7, egress_packet_burst=5, ingress_connections=3)
    ruleset = compiled(pod("p", profiles=(), qos=qos), settings={"IptablesFilterDenyAction": "Reject"})
    outgoing, incoming = bodies(ruleset, "filter", FROM), bodies(ruleset, "filter", TO)
    clear = '-m comment --comment "Clear egress packet rate limit mark" --jump MARK --set-mark 0/0x80000'
    mark = '-m comment --comment "Mark packets within egress packet rate limit" -m limit --limit 7/sec --limit-burst 5'
    over = '-m comment --comment "Drop packets over egress packet rate limit" -m mark ! --mark 0x80000/0x80000'
    assert outgoing[:4] == [clear, f"{mark} --jump MARK --set-mark 0x80000/0x80000", f"{over} --jump DROP", clear]
    assert "connlimit" not in "".join(outgoing)
    assert incoming[0] == f"{ESTABLISHED} ACCEPT"
    assert incoming[2] == (
        '-m comment --comment "Reject connections over ingress connection limit" -p tcp -m tcp --tcp-flags'
        " FIN,SYN,RST,ACK SYN -m connlimit --connlimit-above 3 --connlimit-mask 0 -j REJECT --reject-with tcp-reset"
    )


def flow_logged(*things: object) -> Ruleset:
    return compiled(*things, *TIERS, settings={"FlowLogsLocalReporter": "Enabled"})


@pytest.mark.parametrize("direction, chain", [("ingress", TO), ("egress", FROM)])
def test_flow_logs_tell_how_tiers_and_profiles_end(direction: str, chain: str) -> None:
    letter, group = direction[0].upper(), NFLOG_GROUPS[direction]
    logged = f"--jump NFLOG --nflog-group {group} --nflog-prefix"
    undecided = "-m mark --mark 0/0x20000 "
    staged = policy("s", kind="StagedGlobalNetworkPolicy")
    rules = bodies(flow_logged(BARE_POD, policy("a", tier="first"), policy("b", tier="soft"), staged), "filter", chain)
    logs = [rule for rule in rules if "NFLOG" in rule]
    assert logs == [
        f"{undecided}{logged} DP{letter}|first --nflog-size 80",
        f"{undecided}{logged} PP{letter}|soft --nflog-size 80",
        f"{undecided}{logged} PP{letter}|default --nflog-size 80",
        f"{logged} DR{letter} --nflog-size 80",
    ]
    assert rules[rules.index(logs[0]) + 1] == end("first")
    assert rules[rules.index(logs[3]) + 1] == NO_PROFILE


HOST = host_endpoint("h", "eth0")
FORWARDED = [
    f'-m comment --comment "Allow forwarded traffic by default" --jump {SET_ACCEPT}',
    '-m comment --comment "Return for accepted forward traffic" --jump RETURN',
]


def test_forwarded_packets_pass_where_no_policy_applies_on_forward() -> None:
    head = [f"{ESTABLISHED} ACCEPT", INVALID, CLEAR]
    ruleset = compiled(HOST, policy("a", ingress=[ALLOW]))
    assert bodies(ruleset, "filter", "cali-fhfw-eth0") == [*head, *FORWARDED]
    one_way = compiled(HOST, policy("a", ingress=[ALLOW], apply_on_forward=True))
    assert bodies(one_way, "filter", "cali-fhfw-eth0") == [
        *head, start("default"), *tried("cali-pi-gnp/a"), end("default")
    ]  # fmt: skip
    # Policy in one direction is policy: the other direction is not allowed by default any more.
    assert bodies(one_way, "filter", "cali-thfw-eth0") == head


def test_host_chains_of_mangle_and_raw_have_their_own_allow_action() -> None:
    things = [HOST, policy("a"), policy("early", pre_dnat=True, ingress=[ALLOW]), policy("raw", do_not_track=True)]
    settings = {"IptablesMangleAllowAction": "Return", "FlowLogsLocalReporter": "Enabled"}
    ruleset = compiled(*things, settings=settings)
    returning = [f"{ESTABLISHED} {SET_ACCEPT}", f"{ESTABLISHED} RETURN", INVALID]
    assert bodies(ruleset, "mangle", "cali-th-eth0")[:4] == [*returning, "--jump cali-failsafe-out"]
    assert bodies(ruleset, "mangle", "cali-fh-eth0") == [
        *returning, "--jump cali-failsafe-in", CLEAR, start("default"), *tried("cali-pi-gnp/early")
    ]  # fmt: skip
    policy_chain, accepted = tried("cali-po-gnp/raw")
    assert bodies(ruleset, "raw", "cali-th-eth0") == [
        "--jump cali-failsafe-out", CLEAR, start("default"), policy_chain, f"{ACCEPTED} --jump NOTRACK", accepted
    ]  # fmt: skip
    assert bodies(ruleset, "filter", "cali-fh-eth0")[0] == f"{ESTABLISHED} ACCEPT"


def test_the_endpoint_for_all_interfaces_has_chains_of_its_own() -> None:
    found = chains(compiled(host_endpoint("all", "*"), policy("a")), "filter")
    for name in ("cali-th-any-interface-at-all", "cali-fh-any-interface-at-all", "cali-fhfw-_Nqh4HyA73udmyanQI"):
        assert "HostEndpoint all" in found[name].origin.words
