"""The whole compiler: which node, which parameters, what nodes share, what is refused and remarked."""

from __future__ import annotations

from typing import Any

import pytest

import felixpy
from felixpy.calico_versions import CALICO_VERSIONS
from felixpy.compiler import Compiler, interface_prefix, only_node
from felixpy.config import Setting
from felixpy.effective import configure
from felixpy.errors import InputError, UsageError
from felixpy.lab.layout import layout_of
from felixpy.model import Configuration, Host, Rule, Side
from felixpy.tracing import Nodes, Question, Tracer
from tests.clusters import (
    ALLOW,
    bodies,
    cluster,
    compiled,
    configuration,
    host_endpoint,
    network_set,
    node,
    pod,
    policy,
    pool,
    tier,
)

TWO = cluster(
    pod("a", labels={"app": "a"}), pod("b", node="node2"), policy("p", selector="app == 'a'", ingress=[ALLOW])
)


def test_messages_name_few_nodes_in_natural_order() -> None:
    """A cluster of a thousand nodes does not fill the screen; node2 comes before node10."""
    many = cluster(*(node(f"node{number}") for number in range(1, 1001)))
    shown = "node1, node2, node3, node4, node5, node6, node7, node8 and 992 more"
    for ask in (
        lambda: only_node(many),
        lambda: felixpy.compile(many, node="other"),
        lambda: Tracer(Nodes(Compiler(many))).trace(Question(source="host", destination="internet")),
        lambda: Tracer(Nodes(Compiler(many))).trace(Question(source="host:other", destination="internet")),
        lambda: layout_of(many, "lab", node="other"),
    ):
        with pytest.raises(UsageError, match=f"{shown}$"):
            ask()


def test_the_node_may_be_left_out_when_there_is_one() -> None:
    one = cluster(pod("a"), node())
    assert only_node(one) == "node1"
    assert felixpy.compile(one).node == "node1"
    with pytest.raises(UsageError, match="2 nodes, say which with --node: node1, node2"):
        felixpy.compile(TWO)
    with pytest.raises(UsageError, match="no node is named anywhere"):
        felixpy.compile(cluster())


def test_a_compiler_gives_each_node_what_it_would_get_alone() -> None:
    """Chains and sets are shared between nodes, families and tables; nothing of one may leak to the next."""
    compiler = Compiler(TWO)
    together = {name: compiler.compile(name) for name in ("node1", "node2", "node1")}
    for name, ruleset in together.items():
        alone = felixpy.compile(TWO, name)
        assert [ruleset.save(family) for family in (4, 6)] == [alone.save(family) for family in (4, 6)]
        assert ruleset.ipset_save() == alone.ipset_save()
    assert "gnp/p" not in together["node2"].save(4)


def test_a_compiler_keeps_parameters_of_nodes_apart() -> None:
    scoped = cluster(
        node("node1", labels={"zone": "a"}),
        node("node2"),
        pod("a"),
        pod("b", node="node2"),
        configuration("zone-a", selector="zone == 'a'", iptablesFilterDenyAction="Reject"),
    )
    compiler = Compiler(scoped)
    texts = [compiler.compile(name).save(4) for name in ("node1", "node2", "node1")]
    assert ["-j REJECT" in text for text in texts] == [True, False, True]
    assert texts[0] == texts[2]


LAYERS = (
    configuration("default", vxlanPort=1),
    configuration("b-scoped", selector="zone == 'a'", created="2024-01-01", vxlanPort=2),
    configuration("a-scoped", selector="has(zone)", created="2024-01-02", vxlanPort=3),
    configuration("elsewhere", selector="zone == 'b'", created="2023-01-01", vxlanPort=4),
    configuration("node.node1", vxlanPort=5),
    configuration("node.node2", vxlanPort=6),
)


@pytest.mark.parametrize(
    "configurations, settings, port",
    [
        ((), [], 4789),
        (LAYERS[:1], [], 1),
        (LAYERS[:2], [], 2),
        (LAYERS[:4], [], 2),
        (LAYERS[:1] + LAYERS[2:4], [], 3),
        (LAYERS[:1] + LAYERS[3:4], [], 1),
        (LAYERS, [], 5),
        (LAYERS[:1] + LAYERS[5:], [], 1),
        (LAYERS[::-1], [], 5),
        (LAYERS, [Setting("VXLANPort", "7"), Setting("VXLANPort", "8")], 7),
        (LAYERS, [Setting("VXLANPort", "nonsense")], 4789),
        ((configuration("default", vxlanPort=1, annotations={"VXLANPort": "9"}),), [], 9),
        ((LAYERS[0], configuration("node.node1", annotations={"vxlanport": "9"})), [], 9),
    ],
)
def test_where_a_parameter_comes_from(
    configurations: tuple[Configuration, ...], settings: list[Setting], port: int
) -> None:
    given = cluster(node(labels={"zone": "a"}), *configurations)
    assert configure(given, "node1", settings).vxlan_port == port


def test_parameters_come_from_several_resources_each_on_its_own() -> None:
    given = cluster(node(), configuration(vxlanPort=1, natPortRange="10:20"), configuration("node.node1", vxlanPort=5))
    found = configure(given, "node1")
    assert (found.vxlan_port, found.nat_port_range) == (5, (10, 20))


def test_of_two_scoped_resources_of_one_age_the_smaller_name_counts() -> None:
    scoped = {"selector": "all()", "created": "2024-01-01"}
    larger, smaller = configuration("b", **scoped, vxlanPort=2), configuration("a", **scoped, vxlanPort=1)
    assert configure(cluster(node(), larger, smaller), "node1").vxlan_port == 1


def test_the_cluster_type_is_the_last_resort() -> None:
    assert configure(cluster(node(), cluster_type="k8s,openstack"), "node1").openstack
    assert not configure(cluster(node(), cluster_type="openstack"), "node1", [Setting("ClusterType", "k8s")]).openstack


@pytest.mark.parametrize(
    "settings, prefix",
    [
        ([], ""),
        ([Setting("InterfacePrefix", "eni,veth")], "eni"),
        ([Setting("interfaceprefix", "tap"), Setting("InterfacePrefix", "eni")], "tap"),
    ],
)
def test_names_of_pod_interfaces_begin_with_what_the_environment_says(settings: list[Setting], prefix: str) -> None:
    assert interface_prefix(settings) == prefix


def test_too_small_a_mark_mask_keeps_felix_from_starting() -> None:
    with pytest.raises(InputError, match="command line: IptablesMarkMask 0xf0: the rules need 6 mark bits"):
        compiled(node(), settings={"IptablesMarkMask": "0xf0"})
    with pytest.raises(InputError) as caught:
        compiled(node(), configuration(iptablesMarkMask=0x3F, wireguardEnabledV6=True))
    (problem,) = caught.value.problems
    assert (problem.severity, problem.path) == ("error", ("spec", "iptablesMarkMask"))
    assert "need 7 mark bits and 6 are set" in problem.reason


def test_the_mark_mask_of_nftables_mode_is_named() -> None:
    with pytest.raises(InputError, match="command line: NftablesMarkMask 0xf0: the rules need 6 mark bits"):
        felixpy.compile(cluster(node()), settings=[Setting("NftablesMarkMask", "0xf0")], dataplane="nftables")


def test_every_source_is_read_even_where_a_stronger_one_counts() -> None:
    """Felix parses all of them and exits on the first that it cannot read."""
    settings = {"InterfacePrefix": "cali"}
    for bad in ("cali, eni", "none"):
        with pytest.raises(InputError, match="InterfacePrefix"):
            compiled(node(), configuration(interfacePrefix=bad), settings=settings)
    assert compiled(node(), configuration("node.node2", interfacePrefix="a b"), settings=settings)
    assert compiled(node(), configuration(natOutgoingAddress="x"))


def test_configurations_with_a_name_of_their_own_are_not_chosen_by_selector() -> None:
    layers = [
        configuration("default", selector="all()", vxlanPort=1),
        configuration("node.node2", selector="all()", vxlanPort=2),
    ]
    assert configure(cluster(node(labels={"a": "b"}), *layers), "node1").vxlan_port == 1


def test_settings_of_a_cluster_reach_the_rules() -> None:
    ruleset = compiled(node(), pool("10.0.0.0/8", nat_outgoing=True), configuration(natOutgoingAddress="192.0.2.1"))
    assert "SNAT --to-source 192.0.2.1" in bodies(ruleset, "nat", "cali-nat-outgoing")[0]


def test_what_an_era_has_no_words_for_is_refused_policy_by_policy() -> None:
    """All of them at once, with their places; the newest Calico version can say everything."""
    things: list[Any] = [
        pod("a"),
        tier("later", 2e6, passes=True),
        policy("cnp", kind="KubernetesClusterNetworkPolicy", tier="kube-admin"),
        policy("fine"),
    ]
    with pytest.raises(InputError) as caught:
        compiled(*things, calico_version=CALICO_VERSIONS["v3.8"])
    assert {problem.subject for problem in caught.value.problems} == {"KubernetesClusterNetworkPolicy cnp"}
    assert "cluster.yaml:1" in str(caught.value)
    assert compiled(*things).calico_version == "v3.32"


def test_interfaces_that_nobody_has_seen_are_remarked() -> None:
    things = [host_endpoint("named", "eth0"), host_endpoint("by-address", "", "192.0.2.1"), host_endpoint("all", "*")]
    found = {problem.subject: problem for problem in compiled(*things).assumed}
    assert set(found) == {"HostEndpoint named", "HostEndpoint by-address"}
    assert "interface eth0 is taken as present" in found["HostEndpoint named"].reason
    assert "no chains" in found["HostEndpoint by-address"].reason
    assert {problem.severity for problem in found.values()} == {"warning"}


def test_interfaces_that_are_not_there_are_remarked() -> None:
    things = [host_endpoint("named", "eth0"), host_endpoint("by-address", "", "192.0.2.1"), host_endpoint("all", "*"),
              host_endpoint("loopback", "lo")]  # fmt: skip
    found = {problem.subject: problem for problem in compiled(*things, interfaces={"eth1": ("192.0.2.9/24",)}).assumed}
    named, by_address = found.pop("HostEndpoint named"), found.pop("HostEndpoint by-address")
    assert not found
    assert (named.path, named.severity) == (("spec", "interfaceName"), "warning")
    assert "node1 has no interface eth0: no chains for it" in named.reason
    assert named.hint == "there are eth1"
    assert "no interface with 192.0.2.1" in by_address.reason
    assert compiled(*things, interfaces={"eth0": ("192.0.2.1/24",)}).assumed == ()


def test_rules_that_no_kernel_takes_are_remarked() -> None:
    impossible = Rule(action="allow", protocol="tcp", not_protocol="udp", path=("spec", "ingress", 0))
    ruleset = compiled(pod("a"), policy("p", ingress=[impossible]))
    assert [problem.subject for problem in ruleset.refused] == ["GlobalNetworkPolicy p"]
    assert ruleset.findings == (*ruleset.assumed, *ruleset.refused)


@pytest.mark.parametrize("mode, kept", [("Auto", False), ("Disabled", True)])
def test_members_covered_by_others_stay_when_nftables_is_ruled_out(mode: str, kept: bool) -> None:
    rule = Rule(action="allow", source=Side(selector="has(app)"))
    inside = pod("a", "10.0.0.1", labels={"app": "x"})
    nets = network_set("nets", "10.0.0.0/24", app="x")
    ruleset = compiled(inside, nets, policy("p", ingress=[rule]), settings={"NFTablesMode": mode})
    assert any("10.0.0.1" in ipset.members for ipset in ruleset.sets) is kept


def test_equal_arguments_give_equal_text() -> None:
    first, second = (felixpy.compile(TWO, "node1", host=Host(interfaces={"eth0": ()})) for _ in range(2))
    assert first is not second
    assert first.restore(4) == second.restore(4)
