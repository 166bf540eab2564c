"""Explanations: selectors and rules in words, what applies to endpoints, what policies are, and how that is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

import felixpy
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.decode.phrases import rule_words, selector_words
from felixpy.errors import UsageError
from felixpy.explain import Explainer
from felixpy.explain.naming import POLICY_KINDS, find_policy, singular
from felixpy.explain.report import document, text
from felixpy.model import Host, Icmp, NamedPort, PortRange, Rule, ServiceName, Side
from felixpy.tracing import Nodes
from tests.clusters import ALLOW, DENY, LOG, PASS, cluster, host_endpoint, network_set, pod, policy, profile, tier
from tests.conformance.recordings import AREAS, Case, cases
from tests.manifests import CALICO, loaded, manifest
from tests.manifests import pod as running_pod

K8S = "projectcalico.org/orchestrator == 'k8s'"
IN_SHOP = "projectcalico.org/namespace == 'shop'"


@pytest.mark.parametrize(
    "selector, words",
    [
        ("", "all endpoints and network sets"),
        ("all()", "all endpoints and network sets"),
        ("app == 'web'", 'endpoints and network sets with app == "web"'),
        (f"{K8S} && {IN_SHOP}", "pods in namespace shop"),
        (f"({K8S} && app == 'web') && {IN_SHOP}", 'pods with app == "web" in namespace shop'),
        (IN_SHOP, "pods and network sets in namespace shop"),
        ("projectcalico.org/namespace in {'b', 'a'}", "pods and network sets in namespaces a, b"),
        (f"has(projectcalico.org/namespace) && {K8S}", "pods in any namespace"),
        ("!has(projectcalico.org/namespace)", "endpoints and network sets outside of namespaces"),
        ("pcns.team == 'red'", 'pods and network sets in namespaces with team == "red"'),
        ("pcns.team != 'red'", 'endpoints and network sets in namespaces with team != "red"'),
        ("pcns.kubernetes.io/metadata.name == 'ops'", "pods and network sets in namespace ops"),
        (
            "has(pcns.team) && pcns.team not in {'x'}",
            'pods and network sets in namespaces with label team and team not in {"x"}',
        ),
        (
            f"{IN_SHOP} && projectcalico.org/serviceaccount == 'web'",
            "pods and network sets in namespace shop of service account web",
        ),
        ("pcsa.role == 'ci'", 'endpoints and network sets of service accounts with role == "ci"'),
        ("has(app) && !has(old)", "endpoints and network sets with label app and no label old"),
        ("a == 'b' || c == 'd'", 'endpoints and network sets with a == "b" || c == "d"'),
        ("a == 'b' && (c == 'd' || has(e))", 'endpoints and network sets with a == "b" and (c == "d" || has(e))'),
        ("!(a == 'b')", 'endpoints and network sets with !a == "b"'),
    ],
)  # fmt: skip
def test_selectors_in_words(selector: str, words: str) -> None:
    assert selector_words(selector) == words


def side(**values: Any) -> Side:
    return Side(**values)


RANGE = PortRange(1, 9)
WEB_PORT = side(ports=(PortRange(80, 80),))


@pytest.mark.parametrize(
    "rule, direction, words",
    [
        (ALLOW, "ingress", "allow anything"),
        (DENY, "egress", "deny anything"),
        (PASS, "ingress", "pass anything"),
        (LOG, "ingress", "log anything"),
        (Rule(action="allow", protocol="tcp", destination=WEB_PORT), "ingress", "allow tcp port 80"),
        (Rule(action="allow", protocol=17), "egress", "allow udp"),
        (Rule(action="allow", protocol=200), "egress", "allow protocol 200"),
        (Rule(action="allow", not_protocol="tcp"), "egress", "allow anything but tcp"),
        (
            Rule(action="allow", protocol="tcp", destination=side(ports=("http", RANGE), not_ports=(PortRange(5, 5),))),
            "ingress",
            "allow tcp ports http, 1-9 ports other than 5",
        ),
        (Rule(action="allow", protocol="udp", source=WEB_PORT), "ingress", "allow udp from port 80"),
        (Rule(action="deny", protocol="icmp", icmp=Icmp(8)), "ingress", "deny icmp type 8"),
        (Rule(action="deny", protocol="icmp", icmp=Icmp(3, 1)), "ingress", "deny icmp type 3 code 1"),
        (Rule(action="deny", protocol="icmp", not_icmp=Icmp(8, 0)), "ingress", "deny icmp other than type 8 code 0"),
        (Rule(action="allow", ip_version=6), "ingress", "allow anything (IPv6 only)"),
        (Rule(action="allow", annotations=(("name", "ssh"),)), "ingress", 'allow anything "ssh"'),
        (Rule(action="allow", source=side(nets=("10.0.0.0/8",))), "ingress", "allow anything from 10.0.0.0/8"),
        (
            Rule(action="allow", source=side(nets=("10.0.0.0/8",), not_nets=("10.1.0.0/16",))),
            "ingress",
            "allow anything from 10.0.0.0/8 except 10.1.0.0/16",
        ),
        (Rule(action="allow", source=side(not_nets=("10.1.0.0/16",))), "ingress",
         "allow anything from anywhere except 10.1.0.0/16"),
        (Rule(action="allow", source=side(nets=tuple(f"10.{n}.0.0/16" for n in range(6)))), "ingress",
         "allow anything from 10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16 and 2 more"),
        (Rule(action="allow", source=side(selector="all()", nets=("10.0.0.0/8",))), "ingress",
         "allow anything from all endpoints and network sets within 10.0.0.0/8"),
        (Rule(action="allow", source=side(not_selector=IN_SHOP)), "ingress",
         "allow anything from anyone but pods and network sets in namespace shop"),
        (Rule(action="allow", destination=side(service=ServiceName("shop", "db"))), "egress",
         "allow anything to service shop/db"),
        (Rule(action="allow", source=side(nets=("1.0.0.0/8",)), destination=side(nets=("2.0.0.0/8",))), "egress",
         "allow anything to 2.0.0.0/8 from 1.0.0.0/8"),
    ],
)  # fmt: skip
def test_rules_in_words(rule: Rule, direction: Any, words: str) -> None:
    assert rule_words(rule, direction) == words


# --- pods

FROM_WEB = Rule(
    action="allow",
    protocol="tcp",
    source=side(selector="app == 'web'"),
    destination=side(ports=(PortRange(5432, 5432),)),
    path=("spec", "ingress", 0),
)
WEB = pod("web", "10.65.0.2", namespace="shop", labels={"app": "web"}, ports=(NamedPort("http", "tcp", 8080),))
DB = pod("db", "10.65.0.3", "fd00::3", namespace="shop", labels={"app": "db"}, node="node2")
FOR_DB: dict[str, Any] = {"kind": "NetworkPolicy", "namespace": "shop", "selector": "app == 'db'"}
ONLY_WEB = policy("only-web", ingress=[FROM_WEB], order=10.0, **FOR_DB)


def explainer(*things: object, hosts: dict[str, Host] | None = None, **more: Any) -> Explainer:
    return Explainer(Nodes(Compiler(cluster(WEB, DB, *things)), hosts=hosts), **more)


def told(found: Any, **how: bool) -> str:
    return "".join(f"{line}\n" for line in text(found, **how))


POD = """\
pod shop/db  cluster.yaml:1
  node node2, interface calidb, 10.65.0.3, fd00::3
  labels app=db
  profiles namespace shop

INGRESS  packets to the pod  [filter cali-tw-calidb]
  tier default
    NetworkPolicy shop/only-web (order 10)  cluster.yaml:1
      1. allow tcp port 5432 from endpoints and network sets with app == "web"  :1
    then: drop what none of them decided
  profiles are not asked: nothing is left undecided

EGRESS  packets from the pod  [filter cali-fw-calidb]
  no policy applies
  namespace shop  cluster.yaml:1
    1. allow anything  :1
"""


def test_a_pod() -> None:
    assert told(explainer(ONLY_WEB).pod("shop/db")) == POD


def test_names_of_the_nftables_data_plane() -> None:
    nodes = Nodes(Compiler(cluster(WEB, DB, ONLY_WEB), dataplane="nftables"))
    pod_ = told(Explainer(nodes).pod("shop/db"))
    assert "INGRESS  packets to the pod  [calico filter-cali-tw-calidb]" in pod_
    assert "verdict maps filter-cali-from-wl-dispatch and" in pod_
    found = told(Explainer(nodes).policy("shop/only-web", ["NetworkPolicy"]))
    node = nodes.get("node2")
    assert node
    assert node.index
    (last,) = [rule.identity for rule in node.dump.tables[4]["filter"]["cali-pi-np/shop/only-web"].rules][-1:]
    assert f"INGRESS  [filter-cali-pi-np/shop/only-web, last hash {last}]" in found
    (name,) = (name for name in node.dump.sets or {} if name.startswith("cali40s"))
    assert name.replace(":", "-", 1) in found


def test_each_node_has_the_names_of_its_own_data_plane() -> None:
    """node1 programs iptables, node2 nftables."""
    database = running_pod("db", "10.65.0.3", labels={"app": "shop"})
    database["spec"]["nodeName"] = "node2"
    everybody = {"selector": "app == 'shop'", "ingress": [{"action": "Allow"}]}
    made = loaded(
        manifest(CALICO, "FelixConfiguration", "node.node2", {"nftablesMode": "Enabled"}),
        running_pod("web", "10.65.0.2", labels={"app": "shop"}),
        database,
        manifest(CALICO, "GlobalNetworkPolicy", "both", everybody),
    )
    here = Explainer(Nodes(Compiler(made, dataplane=None)))
    assert "[filter cali-tw-cali" in told(here.pod("shop/web"))
    assert "[calico filter-cali-tw-cali" in told(here.pod("shop/db"))
    found = told(here.policy("both", ["GlobalNetworkPolicy"]))
    rules = here.nodes.get("node1")
    assert rules
    chain = next(name for name in rules.dump.tables[4]["filter"] if name.startswith("cali-pi-"))
    assert f"INGRESS  [{chain}," in found
    assert "on node2 Felix programs nftables: there its chain is filter-cali-pi-gnp/both" in found


def test_who_names_a_pod() -> None:
    shown = told(explainer(ONLY_WEB).pod("shop/web"))
    assert shown.endswith(
        """\
NAMED BY POLICIES OF OTHERS  rules that mean this pod
  NetworkPolicy shop/only-web, packets from it to 1 pod: shop/db
    1. allow tcp port 5432 from endpoints and network sets with app == "web"  :1  [cali40s:t6uFgsgeGmAv8M8RAVBmM1q]
""".replace("cali40s:t6uFgsgeGmAv8M8RAVBmM1q", explainer(ONLY_WEB).pod("shop/web").mentions[0].sets[0])
    )
    assert "named ports http tcp/8080" in shown


@pytest.mark.parametrize(
    "rule, mentioned",
    [
        (Rule(action="allow", destination=side(selector="app == 'web'", ports=("http",)), protocol="tcp"), True),
        (Rule(action="allow", destination=side(selector="app == 'web'", ports=("gone",)), protocol="tcp"), False),
        (Rule(action="allow", destination=side(selector="app == 'db'")), False),
        (Rule(action="allow", destination=side(nets=("10.0.0.0/8",))), False),
    ],
)
def test_a_pod_is_named_by_egress_rules_as_well(rule: Rule, mentioned: bool) -> None:
    found = explainer(policy("out", selector="all()", egress=[rule])).pod("shop/web")
    assert bool(found.mentions) is mentioned


def test_tiers_are_told_in_order_and_which_of_them_are_never_reached() -> None:
    early = policy("early.first", tier="early", order=1.0, ingress=[PASS], selector="all()")
    shut = policy("shut.all", tier="shut", ingress=[ALLOW], selector="all()")
    staged = policy("draft", kind="StagedGlobalNetworkPolicy", tier="soft", ingress=[DENY], selector="all()")
    things = (early, shut, staged, tier("early", 1.0), tier("soft", 2.0), tier("shut", 3.0), ONLY_WEB)
    found = explainer(*things).pod("shop/db")
    ingress = found.stages[0]
    assert [(line.name, line.reached, line.end) for line in ingress.tiers] == [
        ("early", True, "nothing gets here, the rules decide everything"),
        ("soft", True, "only staged policies: everything goes on"),
        ("shut", True, "nothing gets here, the rules decide everything"),
        ("default", False, "drop what none of them decided"),
    ]
    shown = told(found)
    assert "StagedGlobalNetworkPolicy draft (staged, no order, so last)" in shown
    assert "tier default  (never reached)" in shown


def test_profiles_are_told_as_far_as_they_are_reached() -> None:
    lonely = pod("lonely", "10.65.0.9", namespace="shop", profiles=("own", "kns.shop", "gone"), node="node1")
    shown = told(explainer(lonely, profile("own", [LOG], [DENY])).pod("shop/lonely"))
    ingress, egress = shown.split("\n\n")[1:3]
    assert "  profile own  cluster.yaml:1\n    1. log anything" in ingress
    assert "  profile gone  (never reached)\n    there is no such profile" in ingress
    assert "  namespace shop  cluster.yaml:1  (never reached)" in egress
    assert "then: drop" not in egress
    bare = pod("bare", "10.65.0.8", namespace="shop", profiles=())
    assert told(explainer(bare).pod("shop/bare")).count("then: drop what no profile allowed") == 2


def test_a_pod_that_felix_refuses_is_told() -> None:
    odd = pod("odd", "10.65.0.9", namespace="shop", spoofable=("10.0.0.0/8",))
    shown = told(explainer(odd).pod("odd"))
    assert "note: Felix knows nothing of it" in shown
    assert "INGRESS" not in shown


# --- host endpoints


def test_a_host_endpoint() -> None:
    some = Rule(action="allow", protocol="tcp")
    early = policy("early", pre_dnat=True, ingress=[some], apply_on_forward=True, selector="role == 'edge'")
    raw = policy("raw", do_not_track=True, ingress=[some], egress=[some], apply_on_forward=True, selector="all()")
    through = policy("through", ingress=[ALLOW], apply_on_forward=True, selector="role == 'edge'")
    edge = host_endpoint("edge", "eth0", "192.0.2.1", labels={"role": "edge"})
    found = explainer(early, raw, through, edge).host("edge")
    assert [(stage.table, stage.chain, [tier.name for tier in stage.tiers]) for stage in found.stages] == [
        ("raw", "cali-fh-eth0", ["default"]),
        ("raw", "cali-th-eth0", ["default"]),
        ("mangle", "cali-fh-eth0", ["default"]),
        ("filter", "cali-fh-eth0", ["default"]),
        ("filter", "cali-th-eth0", []),
        ("filter", "cali-fhfw-eth0", ["default"]),
        ("filter", "cali-thfw-eth0", []),
    ]
    shown = told(found)
    assert shown.count("goes on to ordinary policy") == 3
    assert "let everything pass, as no policy with applyOnForward applies" in shown
    assert "  failsafe ports, ingress: always pass, whatever policies say: tcp/22, udp/68, " in shown
    assert "  failsafe ports, egress: always pass, whatever policies say: udp/53, udp/67, " in shown
    ports = [Setting("FailsafeInboundHostPorts", "tcp:10.0.0.0/8:22"), Setting("FailsafeOutboundHostPorts", "none")]
    few = Explainer(Nodes(Compiler(cluster(edge)), settings=ports)).host("edge")
    assert few.failsafes == {"ingress": ("tcp/22 with 10.0.0.0/8",), "egress": ()}
    assert "failsafe ports, egress: none" in told(few)
    assert document(found)["failsafes"]["ingress"][0] == "tcp/22"
    nowhere = host_endpoint("nowhere", "", "192.0.2.9")
    assert "no interface of the machine is its own" in told(explainer(nowhere).host("nowhere"))
    with pytest.raises(UsageError, match="no such host endpoint; the input has edge"):
        explainer(edge).host("gone")


# --- policies

POLICY = """\
NetworkPolicy shop/only-web  cluster.yaml:1
  tier default, order 10, for ingress
  for endpoints with app == "db"
  that is 1 pod: shop/db
  on node2

INGRESS  [cali-pi-np/shop/only-web, last hash {hash}]
  1. allow tcp port 5432 from endpoints and network sets with app == "web"  :1
     today 2 pods: shop/web, shop/web2; 1 network set: partners
     in set {set}
  then: what no policy of the tier allows, its end drops
"""


def test_a_policy() -> None:
    more = pod("web2", "10.65.0.7", namespace="shop", labels={"app": "web"})
    found = explainer(ONLY_WEB, more, network_set("partners", "198.51.100.0/24", app="web")).policy("only-web", ALL)
    (ingress, _) = found.sides
    assert told(found) == POLICY.format(hash=ingress.hash, set=ingress.rules[0].sets[0])
    assert ingress.nodes == ("node2",)
    compiled = Compiler(cluster(WEB, DB, ONLY_WEB)).compile("node2")
    chain = next(chain for chain in compiled.tables[4, "filter"].chains if chain.name == ingress.chain)
    assert (ingress.hash, ingress.rules[0].sets[0]) == (chain.hashes[-1], chain.bodies[0].split("--match-set ")[1][:31])


ALL = POLICY_KINDS["policy"]


@pytest.mark.parametrize(
    "found, remark",
    [
        (policy("p", ingress=[ALLOW], selector="has(nothing)"), "it selects no endpoint, so no node has its chains"),
        (policy("p", kind="StagedGlobalNetworkPolicy", ingress=[ALLOW], selector="all()"), "it is staged"),
        (policy("p", ingress=[], selector="all()"), "it has no ingress rule, so it allows nothing of ingress"),
        (policy("p", ingress=[ALLOW], outbound=(DENY,), selector="all()"), "it has egress rules without effect"),
        (policy("p", ingress=[ALLOW], pre_dnat=True, selector="all()"), "only host endpoints heed it"),
        (policy("p", ingress=[ALLOW], tier="gone", selector="all()"), "there is no tier gone"),
        (policy("p", ingress=[ALLOW, DENY], selector="all()"), "! never reached: rule 1 decides everything"),
        (policy("p", ingress=[Rule(action="allow", source=side(selector="x == 'y'"))]), "! no endpoint today"),
        (
            policy("p", ingress=[Rule(action="allow", protocol="tcp", destination=side(ports=("x",)))]),
            "! no port of that name today: x",
        ),
        (
            policy("p", egress=[Rule(action="allow", destination=side(service=ServiceName("shop", "gone")))]),
            "! service shop/gone has no endpoints today",
        ),
        (policy("p", ingress=[ALLOW], everywhere=True, selector="all()"), "its chains are on every node"),
    ],
)
def test_what_is_odd_about_policies(found: Any, remark: str) -> None:
    assert remark in told(explainer(found).policy("p", ALL))


def test_ordinary_policies_have_nothing_odd() -> None:
    shown = told(explainer(ONLY_WEB).policy("only-web", ALL))
    assert "REMARKS" not in shown
    assert "!" not in shown


NAMES = cluster(
    WEB,
    policy("web", kind="NetworkPolicy", namespace="shop"),
    policy("web", kind="KubernetesNetworkPolicy", namespace="shop"),
    policy("web", kind="NetworkPolicy", namespace="ops"),
    policy("security.base", tier="security"),
    policy("netpol"),
    policy("admin", kind="KubernetesClusterNetworkPolicy", tier="kube-admin"),
)


@pytest.mark.parametrize(
    "kind, name, namespace, found",
    [
        ("knp", "shop/web", "", "KubernetesNetworkPolicy shop/web"),
        ("caliconetworkpolicies", "shop/web", "", "NetworkPolicy shop/web"),
        ("netpol", "ops/web", "", "NetworkPolicy ops/web"),
        ("policy", "knp/shop/web", "", "KubernetesNetworkPolicy shop/web"),
        ("knp", "web", "shop", "KubernetesNetworkPolicy shop/web"),
        ("policy", "web", "ops", "NetworkPolicy ops/web"),
        ("gnp", "security.base", "", "GlobalNetworkPolicy security.base"),
        ("globalnetworkpolicies.projectcalico.org", "base", "", "GlobalNetworkPolicy security.base"),
        ("policy", "gnp/base", "", "GlobalNetworkPolicy security.base"),
        ("policy", "netpol", "", "GlobalNetworkPolicy netpol"),
        ("cnp", "admin", "", "KubernetesClusterNetworkPolicy admin"),
        ("policy", "base", "shop", "GlobalNetworkPolicy security.base"),
    ],
)
def test_policies_are_found_as_kubectl_would(kind: str, name: str, namespace: str, found: str) -> None:
    assert str(find_policy(NAMES, name, POLICY_KINDS[singular(kind)], namespace).key) == found


@pytest.mark.parametrize(
    "kinds, name, said",
    [
        (ALL, "shop/web", "there are several; write one of knp/shop/web, np/shop/web"),
        (ALL, "web", "there are several; write one of knp/shop/web, np/ops/web, np/shop/web"),
        (ALL, "shop/wbe", "no such policy; did you mean shop/web?"),
        (ALL, "securty.base", "no such policy; did you mean security.base?"),
        (ALL, "a/b/c/d", "no such policy"),
        (POLICY_KINDS["gnp"], "shop/web", "no such policy"),
    ],
)
def test_policies_that_are_not_found(kinds: Sequence[str], name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_policy(NAMES, name, kinds)


# --- tiers


def test_a_tier() -> None:
    first = policy("early.a", tier="early", order=1.0, ingress=[ALLOW], selector="app == 'db'")
    later = policy("early.b", tier="early", egress=[ALLOW], selector="has(nothing)")
    shown = told(explainer(first, later, tier("early", 5.0, passes=True), ONLY_WEB).tier("early"))
    assert shown == (
        "tier early\n"
        "  order 5, before default\n"
        "  1. GlobalNetworkPolicy early.a (order 1, ingress)  cluster.yaml:1\n"
        '     for endpoints with app == "db", that is 1 pod: shop/db\n'
        "  2. GlobalNetworkPolicy early.b (no order, so last, egress)  cluster.yaml:1\n"
        "     for endpoints with label nothing, that is no endpoint\n"
        "  then: what no policy of the tier decides goes on to the next tier\n"
    )
    assert "tier default\n  order 1000000\n  no policies\n" in told(explainer().tier("default"))
    with pytest.raises(UsageError, match="no such tier; did you mean default"):
        explainer().tier("defaul")


# --- everything


def test_lists_are_cut_unless_they_are_asked_for() -> None:
    many = [pod(f"web-{n}", f"10.65.1.{n}", namespace="shop", labels={"app": "web"}) for n in range(9)]
    found = explainer(*many, ONLY_WEB).policy("only-web", ALL)
    assert "today 10 pods: shop/web, shop/web-0, shop/web-1 and 7 more" in told(found)
    assert "shop/web-8" in told(found, verbose=True)


def test_json() -> None:
    shown = json.loads(json.dumps(document(explainer(ONLY_WEB).pod("shop/db"))))
    assert (shown["apiVersion"], shown["kind"], shown["name"]) == ("felixpy/v1", "EndpointExplanation", "shop/db")
    rule = shown["stages"][0]["tiers"][0]["policies"][0]["rules"][0]
    assert (rule["number"], rule["path"], rule["peers"]) == (1, "spec.ingress[0]", {"count": 1, "pods": ["shop/web"]})
    shown = json.loads(json.dumps(document(explainer(ONLY_WEB).policy("only-web", ALL))))
    assert (shown["kind"], shown["byNode"], shown["selects"]) == (
        "PolicyExplanation",
        {"node2": 1},
        {"count": 1, "pods": ["shop/db"]},
    )
    shown = json.loads(json.dumps(document(explainer(ONLY_WEB).tier("default"))))
    assert shown["policies"][0]["directions"] == ["ingress"]


SHARE = 8
"""One recording in so many is explained by default, all of them with the slow tests."""

RECORDED = [
    pytest.param(case, marks=[pytest.mark.slow] if number % SHARE and case.area != "seeds" else [], id=str(case))
    for number, case in enumerate(case for case in cases(*AREAS) if case.families)
]


@pytest.mark.parametrize("case", RECORDED)
def test_everything_in_a_recording_can_be_explained(case: Case) -> None:
    """And whatever is said of a pod agrees with what is said of its policies."""
    whole = felixpy.load([case.folder / "manifests.yaml"], strict=False)
    about = Explainer(Nodes(Compiler(whole)))
    selected: dict[str, set[str]] = {}
    for one in whole.policies:
        space = f"{one.key.namespace}/" if one.key.namespace else ""
        found = about.policy(f"{space}{one.key.name}", [one.key.kind])
        assert told(found).startswith(str(one.key))
        assert json.dumps(document(found))
        selected[str(one.key)] = {*found.selects.pods}
    for workload in whole.workloads:
        explained = about.pod(f"{workload.namespace}/{workload.name}")
        assert told(explained).startswith(f"pod {explained.name}")
        names = {line.name for stage in explained.stages for tier in stage.tiers for line in tier.policies}
        assert all(explained.name in selected[name] for name in names)
    for host in whole.host_endpoints:
        assert told(about.host(host.name)).startswith("host endpoint")
    for name in whole.tiers:
        assert told(about.tier(name)).startswith(f"tier {name}")
