"""How Calico versions name policies, which templates and parameters differ, what each of them cannot express."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import felixpy
from felixpy.calico_versions import (
    CALICO_VERSIONS,
    V3_8,
    V3_28,
    V3_29,
    V3_30,
    V3_31,
    V3_32,
    CalicoVersion,
    encoded_name,
)
from felixpy.errors import Place
from felixpy.layouts import NFTABLES
from felixpy.model import NamedPort, PolicyKey, PortRange, Qos, Rule, ServiceName, Side
from felixpy.render import Renderer, purposes, template_root
from felixpy.ruleset import Ruleset
from tests.clusters import (
    ALLOW,
    DENY,
    bodies,
    chains,
    cluster,
    compiled,
    host_endpoint,
    network_set,
    pod,
    policy,
    pool,
    tier,
)

NEWEST_FIRST = (V3_32, V3_31, V3_30, V3_29, V3_28, V3_8)
NP, GNP, KNP = "NetworkPolicy", "GlobalNetworkPolicy", "KubernetesNetworkPolicy"


def test_versions_are_listed_by_name_newest_first() -> None:
    assert tuple(CALICO_VERSIONS.values()) == NEWEST_FIRST
    assert all(
        name == calico_version.name and calico_version.release.startswith(name)
        for name, calico_version in CALICO_VERSIONS.items()
    )


# --- names


@pytest.mark.parametrize(
    "kind, tier_name, name, expected",
    [
        (KNP, "default", "web", "shop/knp.default.web"),
        (KNP, "default", "default.web", "shop/knp.default.default.web"),
        (NP, "default", "web", "shop/default.web"),
        (NP, "default", "web.v2", "shop/default.web.v2"),
        (NP, "default", "default.web", "shop/default.web"),
        (NP, "default", "knp.default.web", "shop/default.knp.default.web"),
        (NP, "security", "security.web", "shop/security.web"),
        (GNP, "default", "web", "default.web"),
        (GNP, "default", "defaults", "default.defaults"),
        ("StagedNetworkPolicy", "default", "web", "shop/staged:default.web"),
        ("StagedNetworkPolicy", "security", "security.web", "shop/staged:security.web"),
        ("StagedGlobalNetworkPolicy", "default", "default.web", "staged:default.web"),
        ("StagedKubernetesNetworkPolicy", "default", "web", "shop/staged:knp.default.web"),
    ],
)
def test_older_releases_keep_a_policy_under_one_name(kind: str, tier_name: str, name: str, expected: str) -> None:
    namespace = "" if "Global" in kind else "shop"
    assert encoded_name(policy(name, kind=kind, tier=tier_name, namespace=namespace)) == expected


@pytest.mark.parametrize(
    "calico_version, chain_id, nflog_id, title",
    [
        (V3_32, "np/shop/web", "np/shop/web", "NetworkPolicy shop/web"),
        (V3_31, "default/shop/default.web", "shop/default.web", "Policy shop/default.web"),
        (V3_29, "default/shop/default.web", "shop/default.web", "Policy shop/default.web"),
        (V3_28, "shop/default.web", "shop/default.web", "Policy shop/default.web"),
        (V3_8, "shop/default.web", "shop/default.web", None),
    ],
    ids=lambda value: value.name if isinstance(value, CalicoVersion) else "",
)
def test_a_policy_has_a_name_for_each_use(
    calico_version: CalicoVersion, chain_id: str, nflog_id: str, title: str | None
) -> None:
    web = policy("web", kind=NP, namespace="shop")
    assert (calico_version.policy_id(web), calico_version.nflog_id(web)) == (chain_id, nflog_id)
    assert (calico_version.policy_title(web) if calico_version.policy_title else None) == title


@pytest.mark.parametrize(
    "calico_version, expected",
    [
        (V3_32, ["a-b", "a", "a0"]),  # "a-b/…" < "a/…" < "a0/…"
        (V3_31, ["a", "a-b", "a0"]),  # nothing follows the name
    ],
    ids=["v3.32", "v3.31"],
)
def test_policies_of_one_order_go_by_the_eras_name(calico_version: CalicoVersion, expected: list[str]) -> None:
    policies = [policy(name, selector="all()", order=1.0, ingress=[ALLOW]) for name in ("a0", "a", "a-b")]
    ruleset = compiled(pod("p"), *policies, calico_version=calico_version)
    (group,) = (name for name in chains(ruleset, "filter") if name.startswith("cali-gi-"))
    targets = [body.rpartition(" ")[2] for body in bodies(ruleset, "filter", group)]
    assert targets == [f"cali-pi-{calico_version.policy_id(policy(name))}" for name in expected]


# --- what an Calico version did not have


def rules_of(ruleset: Ruleset) -> str:
    return "".join(ruleset.restore(family) for family in ruleset.families)


@pytest.mark.parametrize(
    "settings, word, known_to",
    [
        ({"FlowLogsLocalReporter": "Enabled"}, "NFLOG", {"v3.32", "v3.31", "v3.30"}),
        ({"FlowLogsGoldmaneServer": "goldmane:7443"}, "NFLOG", {"v3.32", "v3.31", "v3.30"}),
        ({"IstioAmbientMode": "Enabled"}, "DSCP", {"v3.32", "v3.31"}),
        ({"IptablesFilterDenyAction": "REJECT"}, "REJECT", {"v3.32", "v3.31", "v3.30", "v3.29", "v3.28"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_parameters_of_younger_eras_change_nothing(settings: dict[str, Any], word: str, known_to: set[str]) -> None:
    things = (pod("a"), policy("web", selector="all()", ingress=[ALLOW, DENY], egress=[DENY]))
    for name, calico_version in CALICO_VERSIONS.items():
        with_it, without = (
            compiled(*things, calico_version=calico_version, settings=given) for given in (settings, {})
        )
        assert (word in rules_of(with_it)) == (name in known_to), name
        if name not in known_to:
            assert rules_of(with_it) == rules_of(without)
            assert with_it.ipset_save() == without.ipset_save()


@pytest.mark.parametrize(
    "values, words, known_to",
    [
        ({"qos": Qos(ingress_packet_rate=10, ingress_packet_burst=5)}, "packet rate", {"v3.32", "v3.31", "v3.30"}),
        ({"qos": Qos(egress_connections=3)}, "connlimit", {"v3.32", "v3.31", "v3.30"}),
        ({"dscp": 46}, "--set-dscp", {"v3.32", "v3.31"}),
    ],
    ids=["rate", "connections", "dscp"],
)
def test_wishes_of_pods_that_an_era_does_not_know_change_nothing(
    values: dict[str, Any], words: str, known_to: set[str]
) -> None:
    for name, calico_version in CALICO_VERSIONS.items():
        assert (words in rules_of(compiled(pod("a", **values), calico_version=calico_version))) == (name in known_to), (
            name
        )


def test_sets_keep_members_that_others_cover_unless_nftables_could_be_in_use() -> None:
    """NFTablesMode Auto is of v3.32; before, the default was Disabled."""
    nets = network_set("nets", "10.0.0.0/8", "10.1.0.0/16", a="b")
    from_nets = Rule(action="allow", source=Side(selector="a == 'b'"))
    things = (pod("a"), nets, policy("web", selector="all()", ingress=[from_nets]))
    for name, calico_version in CALICO_VERSIONS.items():
        assert ("10.1.0.0/16" in compiled(*things, calico_version=calico_version).ipset_save()) == (name != "v3.32"), (
            name
        )


@pytest.mark.parametrize("name", CALICO_VERSIONS)
def test_the_set_of_all_pools_that_is_matched_exists(name: str) -> None:
    ruleset = compiled(pod("a"), pool("10.65.0.0/16", nat_outgoing=True), calico_version=CALICO_VERSIONS[name])
    (rule,) = bodies(ruleset, "nat", "cali-nat-outgoing")
    pools = "cali40network-ip-pools" if name in ("v3.32", "v3.31") else "cali40all-ipam-pools"
    assert f"! --match-set {pools} dst" in rule
    assert pools in {ipset.name for ipset in ruleset.sets}


def test_a_forward_chain_without_policy_of_its_direction_lets_all_pass_up_to_v3_28() -> None:
    """From v3.29 on one forward policy of either direction is enough to end that."""
    things = (host_endpoint("h", "eth0"), policy("in", selector="all()", ingress=[ALLOW], apply_on_forward=True))
    for name, calico_version in CALICO_VERSIONS.items():
        ruleset = compiled(*things, calico_version=calico_version, interfaces={"eth0": ()})
        lets_pass = any("Allow forwarded" in body for body in bodies(ruleset, "filter", "cali-thfw-eth0"))
        assert lets_pass == (name in ("v3.28", "v3.8")), name
        assert not any("Allow forwarded" in body for body in bodies(ruleset, "filter", "cali-fhfw-eth0"))


def test_every_endpoint_chain_of_an_era_begins_by_clearing_the_same_marks() -> None:
    things = (pod("a"), host_endpoint("h", "eth0"))
    for name, calico_version in CALICO_VERSIONS.items():
        ruleset = compiled(*things, calico_version=calico_version, interfaces={"eth0": ()})
        cleared = "0x10000" if name == "v3.8" else "0x30000"
        for chain in ("cali-tw-calia", "cali-fw-calia", "cali-th-eth0", "cali-fh-eth0", "cali-thfw-eth0"):
            first = next(body for body in bodies(ruleset, "filter", chain) if body.startswith("--jump MARK"))
            assert first == f"--jump MARK --set-mark 0/{cleared}", (name, chain)


@pytest.mark.parametrize("name", ["v3.29", "v3.28", "v3.8"])
def test_denying_is_one_rule_without_a_mark(name: str) -> None:
    ruleset = compiled(pod("a"), policy("no", selector="all()", ingress=[DENY]), calico_version=CALICO_VERSIONS[name])
    chain = f"cali-pi-{CALICO_VERSIONS[name].policy_id(policy('no'))}"
    (body,) = bodies(ruleset, "filter", chain)
    assert body.endswith("--jump DROP")
    assert "0x100000" not in rules_of(ruleset)


# --- refusals

PORTS = Rule(action="allow", protocol="tcp", destination=Side(ports=("http", PortRange(80, 80))))
BARE_PORTS = Rule(action="allow", destination=Side(ports=("http",)))
BARE_NOT_PORTS = Rule(action="allow", source=Side(not_ports=("http",)))
SERVICE = Rule(action="allow", destination=Side(service=ServiceName("shop", "web")))
CLUSTER_KIND = "KubernetesClusterNetworkPolicy"
ALL_OLDER = {"v3.31", "v3.30", "v3.29", "v3.28", "v3.8"}


@pytest.mark.parametrize(
    "values, refused_by",
    [
        ({"kind": KNP}, set()),
        ({"kind": GNP, "inbound": (PORTS,)}, set()),
        ({"kind": CLUSTER_KIND, "tier": "kube-admin"}, ALL_OLDER),
        ({"kind": "StagedNetworkPolicy"}, {"v3.29", "v3.28", "v3.8"}),
        ({"kind": "StagedKubernetesNetworkPolicy"}, {"v3.29", "v3.28", "v3.8"}),
        ({"kind": NP, "tier": "denying", "name": "denying.web"}, {"v3.28", "v3.8"}),
        ({"kind": NP, "tier": "passing", "name": "passing.web"}, {"v3.29", "v3.28", "v3.8"}),
        ({"kind": NP, "tier": "denying", "name": "web"}, ALL_OLDER),
        ({"kind": NP, "inbound": (ALLOW, BARE_PORTS)}, ALL_OLDER),
        ({"kind": NP, "outbound": (BARE_NOT_PORTS,)}, ALL_OLDER),
        ({"kind": NP, "outbound": (SERVICE,)}, {"v3.8"}),
    ],
    ids=lambda value: " ".join(map(str, value.values()))[:40] if isinstance(value, dict) else "",
)
def test_an_era_refuses_what_it_has_no_words_for(values: dict[str, Any], refused_by: set[str]) -> None:
    needy = policy(**({"name": "web"} | values))
    tiers = (tier("denying", 1.0), tier("passing", 2.0, passes=True), tier("kube-admin", 0.0, passes=True))
    with_it = cluster(pod("a"), needy, *tiers)
    refusing = {name: [*calico_version.refusals(with_it)] for name, calico_version in CALICO_VERSIONS.items()}
    assert {name for name, refused in refusing.items() if refused} == refused_by
    for refused in refusing.values():
        assert [found.key for found, _ in refused] == [needy.key] * len(refused)
        assert len(refused) <= 1


def test_of_two_policies_that_were_kept_under_one_name_the_renamed_one_is_refused() -> None:
    both = cluster(pod("a"), policy("web"), policy("default.web"), policy("web", kind=NP), policy("web", kind=KNP))
    (refused,) = V3_31.refusals(both)
    assert refused[0].key == PolicyKey(GNP, "", "web")
    assert [*V3_32.refusals(both)] == []


def test_compiling_names_every_refused_policy_with_its_place() -> None:
    staged = [policy(name, kind="StagedGlobalNetworkPolicy", selector="all()") for name in ("one", "two")]
    with pytest.raises(felixpy.InputError) as caught:
        compiled(pod("a"), *staged, calico_version=V3_29)
    assert caught.value.exit_code == 2
    assert [(problem.subject, problem.place) for problem in caught.value.problems] == [
        ("StagedGlobalNetworkPolicy one", Place("cluster.yaml", 1)),
        ("StagedGlobalNetworkPolicy two", Place("cluster.yaml", 1)),
    ]
    assert "Felix v3.29 cannot express it: there were no staged policies" in str(caught.value)
    assert compiled(pod("a"), *staged, calico_version=V3_30).calico_version == "v3.30"


def test_names_of_ports_with_a_protocol_are_understood_by_every_version() -> None:
    web = pod("a", ports=(NamedPort("http", "tcp", 8080),))
    named = policy("p", selector="all()", ingress=[PORTS])
    for name, calico_version in CALICO_VERSIONS.items():
        assert "10.65.0.1,tcp:8080" in compiled(web, named, calico_version=calico_version).ipset_save(), name


# --- templates


def test_each_era_searches_its_own_folder_before_those_of_its_elders() -> None:
    for younger, older in pairwise(NEWEST_FIRST):
        assert older.templates[-len(younger.templates) :] == younger.templates
        assert set(older.templates) - set(younger.templates) <= {older.name}
    folders = {path.name for path in template_root().iterdir()} - set(NFTABLES.templates)
    assert folders == set(NEWEST_FIRST[-1].templates)


def overriding() -> list[tuple[str, str]]:
    """(folder, template) of every template that stands before another of the same name."""
    root = template_root()
    return sorted(
        (folder, path.relative_to(root / folder).as_posix())
        for folder in V3_8.templates[:-1]
        for path in (root / folder).rglob("*.j2")
    )


@pytest.mark.parametrize("folder, template", overriding())
def test_an_older_template_differs_from_the_one_that_it_stands_for(folder: str, template: str) -> None:
    """A copy that says the same, or one that no younger Calico version has, would mislead whoever reads the folder."""
    younger = V3_8.templates[V3_8.templates.index(folder) + 1 :]
    paths = [template_root() / name / template for name in younger]
    replaced = next(path for path in paths if path.exists())
    drawn, before = (_rules_of(path) for path in (template_root() / folder / template, replaced))
    assert drawn != before


def _rules_of(path: Path) -> list[str]:
    """The lines of a template without the comment that opens it."""
    return path.read_text().splitlines()[1:]


@pytest.mark.parametrize(
    "calico_version, template, files",
    [
        (V3_32, "filter/cali-sm", ("v3.32/filter/cali-sm.j2",)),
        (V3_31, "cali-pi", ("v3.32/cali-pi.j2", "v3.32/_blocks.j2")),
        (V3_30, "mangle/cali-POSTROUTING", ("v3.30/mangle/cali-POSTROUTING.j2",)),
        (
            V3_28,
            "filter/cali-tw",
            ("v3.29/filter/cali-tw.j2", "v3.32/_conntrack.j2", "v3.28/_tiers.j2", "v3.29/_profiles.j2"),
        ),
        (V3_8, "raw/cali-th", ("v3.32/raw/cali-th.j2", "v3.8/raw/_untracked.j2")),
    ],
    ids=lambda value: value.name if isinstance(value, CalicoVersion) else "",
)
def test_a_template_tells_which_files_draw_it(
    calico_version: CalicoVersion, template: str, files: tuple[str, ...]
) -> None:
    assert Renderer(calico_version).files(template) == files


@pytest.mark.parametrize("calico_version", NEWEST_FIRST, ids=lambda calico_version: calico_version.name)
def test_every_template_says_what_it_is_for(calico_version: CalicoVersion) -> None:
    rows = purposes(calico_version, Renderer(calico_version))
    assert {"filter/cali-tw", "cali-pi", "nat/cali-nat-outgoing"} <= set(rows)
    assert all(words.endswith(".") for words in rows.values()), rows
