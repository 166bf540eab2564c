"""The difference between two states: rules whatever their hashes, sets, objects, and where it is the same."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from felixpy.compiler import Compiler
from felixpy.difference import GROUPS, OWN_CHAINS, Difference, difference, report
from felixpy.difference.chains import RuleChange, compare_tables
from felixpy.difference.sets import compare_sets
from felixpy.iptables.forms import read_dump
from felixpy.iptables.saved import read_tables
from felixpy.iptables.sets import read_sets
from felixpy.model import Cluster, Icmp, PortRange, Rule, Side, Source
from felixpy.nftables.dumps import read_listing
from felixpy.topology.nodes import Nodes
from tests.clusters import ALLOW, DENY, cluster, node, pod, policy, tier

A, B, C, D = (f"{letter * 16}" for letter in "abcd")


def chain(*rules: tuple[str, str]) -> str:
    lines = "".join(f'-A cali-x -m comment --comment "cali:{identity}" {text}\n' for identity, text in rules)
    return f"*filter\n:INPUT ACCEPT [0:0]\n:cali-x - [0:0]\n{lines}COMMIT\n"


def tables(text: str):
    return read_tables(text, "f")


ONE, TWO, THREE = (A, "-p tcp -j DROP"), (B, "-p udp -j DROP"), (C, "-j RETURN")
LISTED = {
    "-p tcp -j DROP": 'meta l4proto tcp counter drop comment "why"',
    "-p udp -j DROP": "meta l4proto udp counter drop",
    "-j RETURN": "counter return",
}
"""The rules as nft lists them; one has a comment."""


def listed(*rules: tuple[str, str], counted: str = ""):
    """The same chain as nft lists it."""
    lines = ""
    for identity, text in rules:
        rule, _, words = LISTED[text].partition(' comment "')
        lines += f'\t\t{rule.replace("counter", f"counter{counted}")} comment "cali:{identity};'
        lines += f" {words}\n" if words else '"\n'
    return read_listing(f"table ip calico {{\n\tchain filter-cali-x {{\n{lines}\t}}\n}}\n").tables[4]


@pytest.mark.parametrize(
    "before, after, rules, rehashed",
    [
        ([ONE, TWO], [ONE, TWO], None, 0),
        ([ONE, TWO, THREE], [ONE, THREE], [RuleChange("-", 2, TWO[1])], 0),
        ([ONE, THREE], [ONE, TWO, (D, THREE[1])], [RuleChange("+", 2, TWO[1])], 1),
        ([ONE], [(D, TWO[1])], [RuleChange("-", 1, ONE[1]), RuleChange("+", 1, TWO[1])], 0),
        ([ONE], [(D, ONE[1])], [], 1),
    ],
)
def test_rules_are_compared_by_text_and_new_hashes_only_counted(before, after, rules, rehashed) -> None:
    changes = list(compare_tables(tables(chain(*before)), tables(chain(*after))))
    if rules is None:
        assert changes == []
    else:
        (change,) = changes
        assert (change.kind, list(change.rules), change.rehashed) == ("changed", rules, rehashed)
    nft_changes = list(compare_tables(listed(*before), listed(*after, counted=" packets 7 bytes 420")))
    assert len(nft_changes) == len(changes)
    for change in nft_changes:
        shown = [rule._replace(text=LISTED[rule.text]) for rule in rules]
        assert (change.kind, list(change.rules), change.rehashed) == ("changed", shown, rehashed)


DISPATCH = """\
table ip calico {{
	map filter-cali-from-wl-dispatch {{
		type ifname : verdict
		elements = {{ {elements} }}
	}}
	chain filter-cali-from-wl-dispatch {{
		iifname vmap @filter-cali-from-wl-dispatch comment "cali:AAAAAAAAAAAAAAAA;"
		counter drop comment "cali:BBBBBBBBBBBBBBBB; Unknown interface"
	}}
}}
"""


def test_an_element_of_a_verdict_map_is_a_rule_that_came_or_went() -> None:
    def dispatch(**chains: str):
        elements = ", ".join(f'"{name}" : goto filter-cali-fw-{chain}' for name, chain in chains.items())
        return read_listing(DISPATCH.format(elements=elements)).tables[4]

    assert list(compare_tables(dispatch(a="a", b="b"), dispatch(a="a", b="b"))) == []
    (change,) = compare_tables(dispatch(a="a", b="b"), dispatch(a="b", c="c", b="b"))
    assert [(rule.sign, rule.text) for rule in change.rules] == [
        ("-", 'iifname "a" goto filter-cali-fw-a'),
        ("+", 'iifname "a" goto filter-cali-fw-b'),
        ("+", 'iifname "c" goto filter-cali-fw-c'),
    ]


def test_a_chain_that_comes_or_goes_has_all_its_rules() -> None:
    empty = tables("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
    (added,) = compare_tables(empty, tables(chain(ONE, TWO)))
    (removed,) = compare_tables(tables(chain(ONE, TWO)), empty)
    assert (added.kind, added.size, [rule.sign for rule in added.rules]) == ("added", 2, ["+", "+"])
    assert (removed.kind, removed.size, [rule.sign for rule in removed.rules]) == ("removed", 2, ["-", "-"])


def test_rules_of_others_count_only_if_asked_for() -> None:
    before = tables("*filter\n:INPUT ACCEPT [0:0]\n:MINE - [0:0]\nCOMMIT\n")
    after = tables("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n:MINE - [0:0]\n-A MINE -j DROP\nCOMMIT\n")
    assert list(compare_tables(before, after)) == []
    assert [change.chain for change in compare_tables(before, after, foreign=True)] == ["INPUT", "MINE"]


def test_spelling_is_no_difference() -> None:
    """iptables -L -n prints protocols by number; releases print units of limits and options in another order."""
    before = tables(chain((A, "-p tcp -m limit --limit 5/min -j DROP"), (B, "-s 10.0.0.1/32 -i eth0 -j RETURN")))
    after = tables(chain((A, "-p 6 -m limit --limit 5/minute -j DROP"), (B, "-i eth0 -s 10.0.0.1 -j RETURN")))
    assert list(compare_tables(before, after)) == []


def test_the_policy_of_a_kernel_chain_is_compared_with_that_of_another_dump() -> None:
    before, after = (tables(f"*filter\n:INPUT {policy} [0:0]\nCOMMIT\n") for policy in ("ACCEPT", "DROP"))
    assert list(compare_tables(before, after)) == []
    (change,) = compare_tables(before, after, foreign=True)
    assert change.rules == (RuleChange("-", 0, "policy ACCEPT"), RuleChange("+", 0, "policy DROP"))


@pytest.mark.parametrize("declared", ["priority filter + 5; policy accept;", "priority filter; policy drop;"])
def test_how_a_base_chain_of_felix_is_declared_is_compared(declared: str) -> None:
    def declaring(words: str):
        chain = (
            f"\tchain filter-INPUT {{\n\t\ttype filter hook input {words}\n\t\tcounter jump filter-cali-INPUT\n\t}}\n"
        )
        return read_listing(f"table ip calico {{\n{chain}\tchain filter-cali-INPUT {{\n\t}}\n}}\n").tables[4]

    before = declaring("priority filter; policy accept;")
    assert list(compare_tables(before, declaring("priority 0; policy accept;"))) == []
    (change,) = compare_tables(before, declaring(declared))
    assert (change.chain, [rule.number for rule in change.rules]) == ("INPUT", [0, 0])
    assert change.rules[0].text == "type filter hook input priority 0; policy accept;"


def test_sets_are_compared_by_members_and_head() -> None:
    before = read_sets("create cali40s:a hash:net family inet maxelem 8 hashsize 64\nadd cali40s:a 10.0.0.1\n")
    same = read_sets("create cali40s:a hash:net family inet maxelem 8 hashsize 1024\nadd cali40s:a 10.0.0.1\n")
    other = read_sets("create cali40s:a hash:net family inet maxelem 9\nadd cali40s:a 10.0.0.2\ncreate other hash:ip\n")
    assert list(compare_sets(before, same)) == list(compare_sets(None, other)) == []
    (change,) = compare_sets(before, other)
    assert (change.added, change.removed) == (("10.0.0.2",), ("10.0.0.1",))
    assert change.head == "hash:net family inet maxelem 8 → hash:net family inet maxelem 9"
    assert [(c.name, c.kind) for c in compare_sets({}, other)] == [("cali40s:a", "added")]


def nodes(made: Cluster) -> Nodes:
    return Nodes(Compiler(made))


def compared(before: Cluster, after: Cluster) -> Difference:
    return difference(nodes(before), nodes(after), flows=False)


def tcp(port: int) -> Rule:
    return Rule(action="allow", protocol="tcp", destination=Side(ports=(PortRange(port, port),)))


WEB = pod("web", "10.65.0.1", "fd00::1")


def titles(found: Difference) -> list[str]:
    return [group.title for group in found.groups]


def text(found: Difference, *, verbose: bool = False) -> str:
    return "\n".join(report.text(found, verbose=verbose))


def test_equal_states_have_no_difference() -> None:
    found = compared(cluster(WEB, policy("p")), cluster(WEB, policy("p")))
    assert not found.rules_differ
    assert text(found) == "no difference"


def test_where_an_object_stands_makes_no_difference() -> None:
    moved = policy("p", ingress=[replace(ALLOW, path=("spec", "ingress", 7))], source=Source("other.yaml", 9))
    found = compared(cluster(WEB, policy("p", ingress=[ALLOW])), cluster(WEB, moved))
    assert (found.objects, found.groups) == ((), {})


def test_changed_rules_are_grouped_by_their_policy_and_told_once_for_both_families() -> None:
    found = compared(cluster(WEB, policy("p", ingress=[tcp(80)])), cluster(WEB, policy("p", ingress=[tcp(81)])))
    assert titles(found) == ["GlobalNetworkPolicy p"]
    ((change, spread),) = found.groups[next(iter(found.groups))].items()
    assert spread == (("node1",), (4, 6))
    assert [(rule.sign, "--dports 8" in rule.text) for rule in change.rules] == [("-", True), ("+", True)]
    assert report.summary(found) == "1 rule added, 1 removed in 1 chain"


def test_a_family_that_changes_alone_is_named() -> None:
    four = Rule(action="allow", source=Side(nets=("192.0.2.0/24",)))
    found = compared(cluster(WEB, policy("p")), cluster(WEB, policy("p", ingress=[four], egress=[])))
    assert [spread.families for spread in found.groups[next(iter(found.groups))].values()] == [(4,)]
    assert "(IPv4)" in text(found)


def test_nodes_are_named_where_they_differ() -> None:
    pods = [pod("a", "10.65.0.1", node="node1"), pod("b", "10.65.0.2", node="node2")]
    both = cluster(*pods, policy("p", ingress=[tcp(80)]))
    changed = cluster(*pods, policy("p", ingress=[tcp(81)]))
    assert "node1" not in text(compared(both, changed))
    moved = cluster(pods[0], replace(pods[1], node="node1"), policy("p", ingress=[tcp(80)]), node("node2"))
    found = compared(both, moved)
    assert "(node1)" in text(found)
    assert "(node2)" in text(found)
    assert not difference(nodes(both), nodes(moved), ["node3"], flows=False).rules_differ


def test_a_node_of_one_state_only_is_told_but_not_its_rules() -> None:
    found = compared(cluster(WEB), cluster(WEB, pod("b", "10.65.0.2", node="node2")))
    assert (found.appeared, found.vanished) == (("node2",), ())
    assert found.groups == {}
    assert report.summary(found) == "1 node new: node2"


def test_pods_with_the_same_change_are_told_together() -> None:
    pods = [pod(f"web-{number}", f"10.65.0.{number}") for number in range(1, 6)]
    found = compared(cluster(*pods, policy("p")), cluster(*pods, policy("q")))
    lines = text(found).splitlines()
    assert "  5 pods alike: default/web-1, default/web-2, default/web-3 and 2 more" in lines
    assert sum("cali-tw-" in line for line in lines) == 1
    assert not any("caliweb" in line for line in lines)


def test_whole_chains_of_pods_are_counted_unless_asked_for() -> None:
    one = cluster(WEB)
    two = cluster(WEB, pod("b", "10.65.0.2"))
    found = compared(one, two)
    assert titles(found) == ["pod default/b", OWN_CHAINS]
    assert "  + filter cali-tw-calib  " in text(found)
    assert "INVALID" not in text(found)
    assert "INVALID" in text(found, verbose=True)


def test_members_of_sets_are_told_with_the_meaning_of_the_set() -> None:
    rule = Rule(action="allow", source=Side(selector="app == 'b'"))
    one = cluster(WEB, policy("p", ingress=[rule]))
    two = cluster(WEB, pod("b", "10.65.0.2", labels={"app": "b"}, node="node2"), policy("p", ingress=[rule]))
    found = compared(one, two)
    ((change, spread),) = found.sets.items()
    assert (change.added, change.removed, spread.nodes) == (("10.65.0.2",), (), ("node1",))
    assert found.meanings[change.name] == 'addresses of endpoints and network sets with app == "b"'


def test_of_many_members_the_first_are_told() -> None:
    rule = Rule(action="allow", source=Side(selector="app == 'b'"))
    more = [pod(f"b{n}", f"10.65.1.{n}", labels={"app": "b"}, node="node2") for n in range(12)]
    found = compared(cluster(WEB, policy("p", ingress=[rule])), cluster(WEB, *more, policy("p", ingress=[rule])))
    assert "… and 4 more" in text(found)
    assert "… and 4 more" not in text(found, verbose=True)


@pytest.mark.parametrize(
    "after, told",
    [
        ([WEB, policy("p", order=5.0)], ["~ GlobalNetworkPolicy p"]),
        ([WEB, policy("q", order=1.0)], ["- GlobalNetworkPolicy p", "+ GlobalNetworkPolicy q"]),
        ([replace(WEB, labels={"a": "b"}), policy("p", order=1.0)], ["~ pod default/web"]),
        ([WEB, policy("p", order=1.0), tier("t", 9)], ["+ Tier t"]),
    ],
)
def test_objects_that_mean_something_else_are_told(after, told) -> None:
    found = compared(cluster(WEB, policy("p", order=1.0)), cluster(*after))
    assert [line.partition("  ")[0] for line in report.object_lines(found)] == told


def test_policies_that_share_a_selector_change_their_group() -> None:
    a, b = policy("a", ingress=[ALLOW]), policy("b", ingress=[DENY])
    found = compared(cluster(WEB, a), cluster(WEB, a, b))
    assert titles(found) == ["GlobalNetworkPolicy b", GROUPS, "pod default/web"]


def test_tiers_other_than_the_default_are_named() -> None:
    made = cluster(WEB, tier("t", 9), policy("p", tier="t"))
    assert "GlobalNetworkPolicy p (tier t)" in titles(compared(cluster(WEB, tier("t", 9)), made))


def test_a_dump_is_compared_with_manifests_as_far_as_it_goes() -> None:
    made = cluster(WEB, policy("p", ingress=[Rule(action="allow", protocol="icmp", icmp=Icmp(8))]))
    ruleset = Compiler(made).compile("node1")
    four = read_dump({4: ruleset.save(4)})
    saved = Nodes(Compiler(Cluster()), dumps={"node1": four})
    assert not difference(saved, nodes(made), flows=False).rules_differ
    changed = difference(saved, nodes(cluster(WEB, policy("p"))), flows=False)
    assert changed.objects == ()
    assert {spread.families for chains in changed.groups.values() for spread in chains.values()} == {(4,)}


def test_json_has_everything() -> None:
    found = report.document(
        compared(cluster(WEB, policy("p", ingress=[tcp(80)])), cluster(WEB, policy("p", ingress=[tcp(81)])))
    )
    assert (found["apiVersion"], found["kind"], found["different"]) == ("felixpy/v1", "Difference", True)
    (group,) = found["rules"]
    (change,) = group["chains"]
    assert (group["of"], change["chain"], change["families"]) == ("GlobalNetworkPolicy p", "cali-pi-gnp/p", [4, 6])
    assert [rule["sign"] for rule in change["rules"]] == ["-", "+"]
    assert found["flows"] is None


def test_markdown_marks_lines_as_diffs_do() -> None:
    found = compared(cluster(WEB, policy("p", ingress=[tcp(80)])), cluster(WEB, policy("p", ingress=[tcp(81)])))
    lines = list(report.markdown(found, verbose=False))
    assert lines[0] == "**felixpy:** 1 rule added, 1 removed in 1 chain"
    assert lines.count("```diff") == 2
    assert [line[0] for line in lines if "--dports 8" in line] == ["-", "+"]
