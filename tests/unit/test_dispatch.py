"""From an interface to the chain of its endpoint: the tree, and the chains of workloads and host endpoints."""

from __future__ import annotations

from functools import partial

import pytest

from felixpy.names import limited
from felixpy.plan.dispatch import Branch, HostDispatchFacts, dispatch, tree
from felixpy.ruleset import Ruleset
from tests.clusters import DENY, bodies, chains, compiled, host_endpoint, pod, policy

ROOT = "cali-from-wl-dispatch"


@pytest.mark.parametrize(
    "interfaces, root, children",
    [
        ([], [], {}),
        (["cali1234"], ["cali1234"], {}),
        (["cali1234", "cali1234"], ["cali1234"], {}),
        (["cali1", "cali2"], ["cali1", "cali2"], {}),
        (["cali2444", "cali1234", "cali2333"], ["cali1234", "cali2+"], {f"{ROOT}-2": ["cali2333", "cali2444"]}),
        (["cali1", "cali12", "cali13"], ["cali1", "cali12", "cali13"], {}),
        (["cali1", "cali121", "cali122"], ["cali1", "cali12+"], {f"{ROOT}-2": ["cali121", "cali122"]}),
        (["eth0", "wlan0", "wlan1"], ["eth0", "w+"], {f"{ROOT}-w": ["wlan0", "wlan1"]}),
        (
            ["calia1", "calia2", "calib1", "calib2", "calib3", "calic"],
            ["calia+", "calib+", "calic"],
            {f"{ROOT}-a": ["calia1", "calia2"], f"{ROOT}-b": ["calib1", "calib2", "calib3"]},
        ),
        (
            ["caliaaa1", "caliaaa2", "caliaab1", "calib"],
            ["calia+", "calib"],
            {f"{ROOT}-a": ["caliaaa1", "caliaaa2", "caliaab1"]},
        ),
        (["B", "a", "Z"], ["B", "Z", "a"], {}),
    ],
)
def test_a_tree_has_two_levels(interfaces: list[str], root: list[str], children: dict[str, list[str]]) -> None:
    for given in (interfaces, interfaces[::-1]):
        found = tree(given, ROOT, "cali-fw-{}".format)
        assert [branch.interface for branch in found.root] == root
        assert {name: [leaf.interface for leaf in leaves] for name, leaves in found.children.items()} == children


def test_branches_lead_to_children_or_to_endpoints() -> None:
    found = tree(["cali1234", "cali2333", "cali2444"], ROOT, "cali-fw-{}".format)
    assert list(found.root) == [Branch("cali1234", "cali-fw-cali1234"), Branch("cali2+", f"{ROOT}-2")]
    assert found.children[f"{ROOT}-2"][0] == Branch("cali2333", "cali-fw-cali2333")


def test_long_interface_names_get_the_chain_that_their_endpoint_has() -> None:
    (branch,) = tree(["a-host-interface"], "cali-from-hep-forward", "cali-fhfw-{}".format).root
    assert branch == Branch("a-host-interface", "cali-fhfw-a-host-interface")
    (hashed,) = tree(["any-interface-at-all"], "cali-from-hep-forward", partial(limited, "cali-fhfw-")).root
    assert hashed.chain == "cali-fhfw-_Nqh4HyA73udmyanQI"


def test_children_get_the_facts_of_their_root() -> None:
    facts = partial(HostDispatchFacts, default="cali-x-any", prefixes=("cali",))
    plans = dispatch(
        "cali-r", "t", ["a1", "a2", "b"], "cali-x-{}".format, lambda branches: facts(branches=branches), "somewhere"
    )
    assert [plan.name for plan in plans] == ["cali-r-a", "cali-r"]
    assert {plan.facts.default for plan in plans if isinstance(plan.facts, HostDispatchFacts)} == {"cali-x-any"}
    assert {plan.origin.words for plan in plans} == {"somewhere"}


HOST_ROOTS = (
    ("cali-from-host-endpoint", "--in-interface", "cali-fh-wg0", "cali-fh-any-interface-at-all"),
    ("cali-to-host-endpoint", "--out-interface", "cali-th-wg0", "cali-th-any-interface-at-all"),
    ("cali-from-hep-forward", "--in-interface", "cali-fhfw-wg0", "cali-fhfw-_Nqh4HyA73udmyanQI"),
    ("cali-to-hep-forward", "--out-interface", "cali-thfw-wg0", "cali-thfw-_Nqh4HyA73udmyanQI"),
)
SKIP_PODS = (
    '-m comment --comment "Skip egress WHEP policy for traffic to local workload" --out-interface cali+ --jump RETURN'
)
PLAIN = host_endpoint("a", "eth0", labels={"is": "plain"})
EARLY = host_endpoint("b", "eth1", labels={"is": "early"})
RAW = host_endpoint("c", "wg0", labels={"is": "raw"})
ALL = host_endpoint("d", "*", labels={"is": "all"})
POLICIES = (
    policy("early", selector="is in {'early', 'all'}", pre_dnat=True, ingress=[DENY]),
    policy("raw", selector="is in {'raw', 'all'}", do_not_track=True, egress=[DENY]),
)


@pytest.fixture(scope="module")
def hosts() -> Ruleset:
    return compiled(PLAIN, EARLY, RAW, ALL, *POLICIES)


@pytest.mark.parametrize("root, flag, own, everywhere", HOST_ROOTS)
def test_in_filter_every_host_interface_takes_part(
    hosts: Ruleset, root: str, flag: str, own: str, everywhere: str
) -> None:
    assert bodies(hosts, "filter", root) == [
        f"{flag} e+ --goto {root}-e",
        f"{flag} wg0 --goto {own}",
        f"--goto {everywhere}",
    ]


def test_in_mangle_pre_dnat_policy_decides_on_the_way_in(hosts: Ruleset) -> None:
    assert bodies(hosts, "mangle", "cali-from-host-endpoint") == [
        "--in-interface eth1 --goto cali-fh-eth1",
        "--goto cali-fh-any-interface-at-all",
    ]
    assert bodies(hosts, "mangle", "cali-to-host-endpoint") == [
        "--out-interface e+ --goto cali-to-host-endpoint-e",
        "--out-interface wg0 --goto cali-th-wg0",
        SKIP_PODS,
        "--goto cali-th-any-interface-at-all",
    ]


def test_in_raw_only_interfaces_with_untracked_policy_and_never_the_one_for_all(hosts: Ruleset) -> None:
    assert bodies(hosts, "raw", "cali-from-host-endpoint") == ["--in-interface wg0 --goto cali-fh-wg0"]
    assert bodies(hosts, "raw", "cali-to-host-endpoint") == ["--out-interface wg0 --goto cali-th-wg0"]


def test_the_rules_at_the_end_are_in_child_chains_too(hosts: Ruleset) -> None:
    assert bodies(hosts, "filter", "cali-from-host-endpoint-e") == [
        "--in-interface eth0 --goto cali-fh-eth0",
        "--in-interface eth1 --goto cali-fh-eth1",
        "--goto cali-fh-any-interface-at-all",
    ]


def test_without_host_endpoints_the_chains_exist_and_are_empty() -> None:
    ruleset = compiled(pod("p"))
    for table, names in {
        "filter": tuple(row[0] for row in HOST_ROOTS),
        "mangle": ("cali-from-host-endpoint", "cali-to-host-endpoint"),
        "raw": ("cali-from-host-endpoint", "cali-to-host-endpoint"),
    }.items():
        assert [bodies(ruleset, table, name) for name in names] == [[]] * len(names)


def test_ipvs_marks_know_pods_and_host_interfaces_apart() -> None:
    things = [pod(name, interface=f"cali{name}") for name in ("11", "12", "2")]
    ruleset = compiled(*things, host_endpoint("a", "eth0"), ALL, interfaces={"kube-ipvs0": (), "eth0": ()})
    found = chains(ruleset, "filter")
    assert list(found["cali-set-endpoint-mark"].bodies) == [
        "--in-interface cali1+ --goto cali-set-endpoint-mark-wep-1",
        "--in-interface cali2 --goto cali-sm-cali2",
        "--in-interface eth0 --goto cali-sm-eth0",
        '-m comment --comment "Unknown endpoint" --in-interface cali+ --jump DROP',
        '-m comment --comment "Non-Cali endpoint mark" --jump MARK --set-mark 0x200000/0xffe00000',
    ]
    assert list(found["cali-set-endpoint-mark-wep-1"].bodies) == [
        "--in-interface cali11 --goto cali-sm-cali11",
        "--in-interface cali12 --goto cali-sm-cali12",
    ]
    targets = [body.rpartition(" ")[2] for body in found["cali-from-endpoint-mark"].bodies]
    assert targets == ["cali-fw-cali11", "cali-fw-cali12", "cali-fw-cali2", "cali-fhfw-eth0", "DROP"]
    for name in ("cali11", "eth0"):
        (marked,) = found[f"cali-sm-{name}"].bodies
        mark = marked.rpartition(" ")[2]
        assert any(f"--mark {mark} --goto" in body for body in found["cali-from-endpoint-mark"].bodies)
