"""What lies between two inputs, and how it is told."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from felixpy.compiler import Compiler
from felixpy.flows import Changes, compare
from felixpy.flows.packets.traffic_words import Traffic, TrafficPart
from felixpy.flows.presentation.bundles import bundled, listed
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.presentation.report import change_lines, change_rows, changes_json
from felixpy.iptables.forms import read_dump
from felixpy.model import Cluster, Owner, PortRange, Rule, Side
from felixpy.netfilter.numbers import Range
from felixpy.tracing import Nodes
from tests.clusters import cluster, host_endpoint, node, pod, policy

WEB = Owner("Deployment", "web")
DB = pod("db-0", "10.65.0.2", namespace="shop", labels={"app": "db"}, interface="calidb")
FAR = pod("far", "10.65.1.1", namespace="other", node="node2", labels={"app": "far"}, interface="califar")


def web(name: str, number: int, **more: object) -> object:
    values = {"namespace": "shop", "labels": {"app": "web"}, "interface": f"caliw{number}", "owner": WEB}
    return pod(f"web-{name}", f"10.65.0.{number}", **{**values, **more})  # type: ignore[arg-type]


OLD = (web("1-a", 11), web("1-b", 12, node="node2"))
NEW = (web("2-c", 21), web("2-d", 22, node="node2"))


def nodes(*things: object) -> Nodes:
    return Nodes(Compiler(cluster(*things)))


def for_db(*ports: int, source: Side | None = None) -> object:
    sides = Side(ports=tuple(PortRange(port, port) for port in ports))
    rule = Rule(action="allow", protocol="tcp", destination=sides, source=source or Side())
    return policy("for-db", selector="app == 'db'", ingress=[rule])


def lines(before: tuple[object, ...], after: tuple[object, ...], **more: bool) -> list[str]:
    return list(change_lines(compare(nodes(*before), nodes(*after)), **more))


def test_nothing_lies_between_an_input_and_itself() -> None:
    changes = compare(nodes(DB, FAR, *OLD, for_db(5432)), nodes(DB, FAR, *OLD, for_db(5432)))
    assert changes == Changes(opened=(), closed=())
    assert changes.same
    assert list(change_lines(changes)) == list(change_rows(changes)) == []
    nothing: dict[str, list[object]] = {"opened": [], "closed": [], "appeared": [], "vanished": [], "notUnderstood": []}
    assert changes_json(changes) == nothing


def test_exactly_what_opens_and_what_closes() -> None:
    only_web = Side(selector="app == 'web'")
    before, after = (DB, FAR, *OLD, for_db(80, 5432)), (DB, FAR, *OLD, for_db(5432, 6432, source=only_web))
    assert lines(before, after, verbose=True) == [
        "+ shop/web[Deployment] → shop/db-0 : TCP 6432",
        "- other/far → shop/db-0 : TCP 80,5432",
        "- shop/web[Deployment] → shop/db-0 : TCP 80",
        "- 0.0.0.0/0 → shop/db-0 : TCP 80,5432",
    ]
    assert lines(before, after) == [
        "+ shop/web[Deployment] → shop/db-0 : TCP 6432",
        "- other/far, 0.0.0.0/0 → shop/db-0 : TCP 80,5432",
        "- shop/web[Deployment] → shop/db-0 : TCP 80",
    ]


def test_what_opens_one_way_closes_the_other_way() -> None:
    one, other = nodes(DB, FAR, *OLD, for_db(80)), nodes(DB, FAR, *OLD)
    there, back = compare(one, other), compare(other, one)
    assert there.opened == back.closed != ()
    assert there.closed == back.opened == ()


def test_ranges_of_addresses_that_are_no_pods() -> None:
    before = for_db(80, source=Side(nets=("198.51.100.0/24",)))
    after = for_db(80, source=Side(nets=("198.51.100.0/25", "203.0.113.0/24")))
    assert lines((DB, before), (DB, after)) == [
        "+ 203.0.113.0/24 → shop/db-0 : TCP 80",
        "- 198.51.100.128/25 → shop/db-0 : TCP 80",
    ]


def test_replicas_with_other_names_are_the_same_pods() -> None:
    """A rollout renames pods and gives them other addresses; nothing opens or closes by that."""
    guarded = for_db(5432, source=Side(selector="app == 'web'"))
    assert lines((DB, *OLD, guarded), (DB, *NEW, guarded)) == []
    opened = lines((DB, *OLD, guarded), (DB, *NEW, for_db(5432, 80, source=Side(selector="app == 'web'"))))
    assert opened == ["+ shop/web[Deployment] → shop/db-0 : TCP 80"]


def test_endpoints_that_appear_or_vanish_are_told_apart() -> None:
    changes = compare(nodes(DB, FAR, for_db(80)), nodes(DB, *OLD, for_db(80)))
    assert changes.opened == changes.closed == ()
    assert not changes.same
    assert list(map(str, changes.appeared)) == ["shop/web[Deployment]"]
    assert list(map(str, changes.vanished)) == ["other/far"]
    assert list(change_lines(changes)) == [
        "+ new: shop/web[Deployment] (2 pods)",
        "  flows with it:",
        "  + shop/db-0, shop/web[Deployment], 0.0.0.0/0 → shop/web[Deployment] : All",
        "  + shop/web[Deployment] → shop/db-0 : TCP 80",
        "  + shop/web[Deployment] → 0.0.0.0/0 : All",
        "- gone: other/far",
        "  flows with it:",
        "  - other/far → shop/db-0 : TCP 80",
        "  - other/far → 0.0.0.0/0 : All",
        "  - shop/db-0, 0.0.0.0/0 → other/far : All",
    ]


def test_one_more_replica_is_told_as_one_pod() -> None:
    changes = compare(nodes(DB, *OLD), nodes(DB, *OLD, web("1-c", 13)))
    assert (changes.opened, changes.closed, changes.vanished) == ((), (), ())
    assert list(map(str, changes.appeared)) == ["shop/web-1-c"]


def test_nodes_count_where_one_input_has_policy_for_them() -> None:
    machine = node("node1", bgp_v4="192.0.2.1/24")
    guard = policy("guard", selector="role == 'node'", ingress=[])
    endpoint = host_endpoint("n1", "eth0", "192.0.2.1", labels={"role": "node"})
    changes = compare(nodes(FAR, machine, node("node2")), nodes(FAR, machine, node("node2"), endpoint, guard))
    assert "other/far" in {str(flow.source) for flow in changes.closed if str(flow.destination) == "host:node1"}


def test_a_dump_against_manifests() -> None:
    saved = read_dump({4: Compiler(cluster(DB, *OLD[:1])).compile("node1").save(4)}, "")
    named = Nodes(Compiler(cluster(DB, *OLD[:1])), dumps={"node1": saved})
    assert list(change_lines(compare(named, nodes(DB, *OLD[:1])))) == []
    nameless = Nodes(Compiler(Cluster()), dumps={"node1": saved})
    changes = compare(nameless, nodes(DB, *OLD[:1], for_db(80)))
    assert list(change_lines(changes)) == ["- 0.0.0.0/0 → shop/db-0 : All but TCP 80"]


# --- in words

TCP = Traffic((TrafficPart("TCP", 6, "ports", (Range(80, 80),)),))
UDP = Traffic((TrafficPart("UDP", 17, "ports"),))


def peer(name: str, space: str = "shop") -> Peer:
    return Peer("pod", space, name)


def test_flows_of_equal_traffic_are_one_line() -> None:
    a, b, c = map(peer, "abc")
    flows = [Flow(a, c, TCP), Flow(b, c, TCP), Flow(a, b, TCP), Flow(a, c, UDP), Flow(b, a, TCP, 6)]
    assert [bundle.text() for bundle in bundled(flows)] == [
        "shop/a, shop/b → shop/c : TCP 80",
        "shop/a → shop/b : TCP 80",
        "shop/a → shop/c : UDP",
        "shop/b → shop/a : TCP 80 (IPv6 only)",
    ]


def test_of_many_lines_the_rest_is_counted() -> None:
    parts = [TrafficPart("TCP", 6, "ports", (Range(number, number),)) for number in range(100)]
    flows = tuple(Flow(peer(f"p{number}"), peer("db"), Traffic((part,))) for number, part in enumerate(parts))
    changes = Changes(opened=flows, closed=())
    told = list(change_lines(changes))
    assert len(told) == 61
    assert told[-1] == "+ … and 40 more; --verbose names them all"
    assert len(list(change_lines(changes, verbose=True))) == 100


@pytest.mark.parametrize(
    "names, words",
    [
        (("a", "b"), "shop/a, shop/b"),
        (tuple("abcde"), "5 in shop (a, b, …)"),
        ((), ""),
    ],
)
def test_long_lists_are_counted(names: tuple[str, ...], words: str) -> None:
    assert listed([peer(name) for name in names]) == words


def test_long_lists_over_namespaces() -> None:
    many = [peer("web", f"team-{number}") for number in range(6)]
    outside = Peer("external", "", "", ranges=("10.0.0.0/8",), words="10.0.0.0/8")
    assert listed([*many, outside]) == "6 in 6 namespaces (team-0/web, team-5/web, …), 10.0.0.0/8"


def test_markdown_has_a_row_for_each_line() -> None:
    opened, gone = Flow(peer("a|b"), peer("c"), TCP), Flow(peer("d"), peer("c"), UDP)
    changes = Changes(opened=(opened,), closed=(), vanished=(peer("d"),), vanished_flows=(gone,))
    assert list(change_rows(changes)) == [
        "| | from | to | what |",
        "|---|---|---|---|",
        "| opened | `shop/a\\|b` | `shop/c` | `TCP 80` |",
        "| with what is gone | `shop/d` | `shop/c` | `UDP` |",
    ]


def test_json_has_every_flow_on_its_own() -> None:
    off = replace(FAR, name="off", addresses=("10.65.1.2",), interface="calioff")
    changes = compare(nodes(DB, FAR, off), nodes(DB, FAR, off, for_db(80)))
    closed = changes_json(changes)["closed"]
    assert [flow["source"] for flow in closed] == [
        {"kind": "Pod", "namespace": "other", "name": "far"},
        {"kind": "Pod", "namespace": "other", "name": "off"},
        {"kind": "External", "ranges": ["0.0.0.0/0"]},
    ]
    assert closed[0]["connection"] == "All but TCP 80"
    assert closed[0]["protocols"][0] == {"protocol": "TCP", "number": 6, "ports": ["1-79", "81-65535"]}
