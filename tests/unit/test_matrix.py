"""``felixpy matrix``: what is asked for, and the forms it comes in."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import typer
from typer.testing import CliRunner

import felixpy.cli.matrix
from felixpy.cli.matrix import matrix
from felixpy.errors import FelixpyError, UsageError
from felixpy.flows.packets import traffic_words
from felixpy.flows.packets.traffic_words import Traffic
from felixpy.flows.presentation.flow import Flow, Peer
from felixpy.flows.presentation.pictures import Matrix, dot, grid, svg
from felixpy.flows.presentation.pictures import matrix as drawn
from felixpy.flows.reachability.choice import parse_ports, parse_wanted
from felixpy.flows.reachability.universe import Nets, PortChoice
from felixpy.netfilter.numbers import Range
from tests.conformance.recordings import ROOT

SHOP = str(ROOT.parent / "demo" / "shop")
DUMPED = ROOT / "seeds" / "catfacts-facts-denied"

app = typer.Typer()
app.command()(matrix)

PROMETHEUS, API, DB, WEB = (
    "monitoring/prometheus[Deployment]", "shop/api[Deployment]", "shop/db[StatefulSet]", "shop/web[Deployment]",
)  # fmt: skip
OUTSIDE = "0.0.0.0/0 except 169.254.169.254/32"


def run(*arguments: str, quiet: bool = True) -> str:
    result = CliRunner().invoke(app, [*arguments, *(["-q"] if quiet else [])])
    if isinstance(result.exception, FelixpyError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout if quiet else result.stderr


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FELIX_IPV6SUPPORT", raising=False)


# --- as a command


def test_a_line_for_each_connection() -> None:
    assert run(SHOP).splitlines() == [
        f"{PROMETHEUS} => {API} : TCP 9100",
        f"{PROMETHEUS} => {WEB} : TCP 8080",
        f"{PROMETHEUS} => {OUTSIDE} : All",
        f"{API} => {PROMETHEUS} : All",
        f"{API} => {DB} : TCP 5432",
        f"{API} => {WEB} : TCP 8080",
        f"{API} => {OUTSIDE} : All",
        f"{DB} => {PROMETHEUS} : All",
        f"{DB} => {WEB} : TCP 8080",
        f"{DB} => {OUTSIDE} : All",
        f"{WEB} => {PROMETHEUS} : All",
        f"{WEB} => {API} : TCP 9000",
        f"{WEB} => {WEB} : TCP 8080",
        f"{WEB} => {OUTSIDE} : All",
        f"0.0.0.0/0 => {PROMETHEUS} : All",
        f"0.0.0.0/0 => {WEB} : TCP 8080",
    ]


@pytest.mark.parametrize(
    "options, expected",
    [
        (("--focus", "shop/db", "--no-external"), [f"{API} => {DB} : TCP 5432", f"{DB} => {PROMETHEUS} : All",
                                                   f"{DB} => {WEB} : TCP 8080"]),
        (("--focus", "sts/db", "--focus", "monitoring", "--no-external", "--ports", "5432", "-o", "lines"),
         [f"{API} => {PROMETHEUS} : TCP 5432", f"{API} => {DB} : TCP 5432", f"{DB} => {PROMETHEUS} : TCP 5432",
          f"{WEB} => {PROMETHEUS} : TCP 5432"]),
        (("-n", "monitoring", "--ports", "9000-9200", "-o", "lines", "--no-external"),
         [f"{PROMETHEUS} => {API} : TCP 9100", f"{API} => {PROMETHEUS} : TCP 9000-9200",
          f"{DB} => {PROMETHEUS} : TCP 9000-9200", f"{WEB} => {PROMETHEUS} : TCP 9000-9200"]),
        (("-n", "shop", "-n", "monitoring", "--ports", "9100", "--no-external", "-o", "lines"),
         [f"{PROMETHEUS} => {API} : TCP 9100", f"{API} => {PROMETHEUS} : TCP 9100", f"{DB} => {PROMETHEUS} : TCP 9100",
          f"{WEB} => {PROMETHEUS} : TCP 9100"]),
        (("--focus", "169.254.169.254"), [f"169.254.169.254/32 => {PROMETHEUS} : All",
                                          f"169.254.169.254/32 => {WEB} : TCP 8080"]),
        (("--focus", "198.51.100.0/24", "--ports", "443", "-o", "lines"),
         [*(f"{name} => 198.51.100.0/24 : TCP 443" for name in (PROMETHEUS, API, DB, WEB)),
          f"198.51.100.0/24 => {PROMETHEUS} : TCP 443"]),
    ],
)  # fmt: skip
def test_what_is_asked_for(options: tuple[str, ...], expected: list[str]) -> None:
    assert run(SHOP, *options).splitlines() == expected


def test_pods_one_by_one() -> None:
    names = {line.partition(" => ")[0] for line in run("-f", SHOP, "--by", "pod", "--no-external").splitlines()}
    assert len([name for name in names if name.startswith("shop/web-")]) == 2
    assert "shop/db-0" in names


def test_csv_has_a_line_for_each_range() -> None:
    rows = list(csv.DictReader(io.StringIO(run(SHOP, "-o", "csv", "--focus", "db"))))
    outside = [row for row in rows if row["destination_kind"] == "External"]
    assert [(row["source"], row["destination"], row["connection"]) for row in outside] == [
        (DB, "0.0.0.0-169.254.169.253", "All"),
        (DB, "169.254.169.255-255.255.255.255", "All"),
    ]
    (api,) = [row for row in rows if row["source_name"] == "api"]
    assert api == {
        "source": API, "source_namespace": "shop", "source_name": "api", "source_kind": "Deployment",
        "destination": DB, "destination_namespace": "shop", "destination_name": "db",
        "destination_kind": "StatefulSet", "connection": "TCP 5432", "family": "",
    }  # fmt: skip


def test_json_names_every_endpoint_and_connection() -> None:
    shown = json.loads(run(SHOP, "-o", "json"))
    assert list(shown) == ["apiVersion", "kind", "endpoints", "connections", "families"]
    assert (shown["apiVersion"], shown["kind"]) == ("felixpy/v1", "Connectivity")
    assert shown["endpoints"][2] == {"kind": "StatefulSet", "namespace": "shop", "name": "db", "pods": ["db-0"]}
    assert len(shown["connections"]) == 16
    assert shown["connections"][4] == {
        "source": {"kind": "Deployment", "namespace": "shop", "name": "api"},
        "destination": {"kind": "StatefulSet", "namespace": "shop", "name": "db"},
        "connection": "TCP 5432",
        "all": False,
        "protocols": [{"protocol": "TCP", "number": 6, "ports": ["5432"]}],
    }


def test_ports_make_a_table_of_yes_and_no() -> None:
    shown = run(SHOP, "--ports", "8080,53/udp", "--no-external").splitlines()
    assert shown == [
        "                                    1 2 3 4",
        f"1 {PROMETHEUS} - X X a",
        f"2 {API}              . - X a",
        f"3 {DB}              . X - a",
        f"4 {WEB}              . X X a",
        "",
        "Rows send, columns receive.",
        "X nothing",
        ". TCP 8080; UDP 53",
        "a TCP 8080",
    ]


def test_what_else_is_worth_knowing_goes_to_stderr() -> None:
    said = run(SHOP, quiet=False)
    assert "5 pods are assumed" in said
    assert "felixpy: not counted, as Felix lets no pod send it: UDP 4789; IP-in-IP" in said


def test_nothing_to_survey(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
    assert run("empty.yaml") == ""
    assert "there is no pod in the input" in run("empty.yaml", quiet=False)


DUMP = ("--rules", str(DUMPED / "expected" / "iptables.save"), "--ipsets", str(DUMPED / "expected" / "ipset.save"))


def test_of_nodes_without_a_dump_the_manifests_tell_the_rules() -> None:
    """Only one of two nodes was saved."""
    manifests = str(DUMPED / "manifests.yaml")
    assert run(manifests, *DUMP) == run(manifests)
    told = run(manifests, *DUMP, quiet=False)
    assert "felixpy: node2 is compiled from the manifests: its rules were not given" in told


def test_saved_rules_alone() -> None:
    assert "this node/calif373273a45b => 10.65.1.11/32 : TCP 80,443" in run(*DUMP).splitlines()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--focus", "shopp/db"), "--focus shopp/db: nothing in the input is called so; did you mean shop/db?"),
        (("--focus", "nonsense-of-mine"), "--focus nonsense-of-mine: nothing in the input is called so"),
        (("--ports", "http"), '--ports http: "http" is not a protocol'),
        (("--ports", "80/icmp"), "--ports 80/icmp: icmp has no ports"),
        (("--ports", "0"), "--ports 0: ports are numbers from 1 to 65535"),
        (("--ports", "90-80"), "--ports 90-80: ports are numbers from 1 to 65535, the lower one first"),
        (("--ports", "8x"), '--ports 8x: "8x" is no port'),
        (("--ipsets", "x"), "--ipsets goes with --rules"),
        (("--dialect", "v2"), "--calico-version v2: unknown"),
    ],
)
def test_questions_that_make_no_sense(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as wrong:
        run(SHOP, *options)
    assert str(wrong.value).startswith(message)


class Screen:
    """A terminal as far as the command looks at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
        monkeypatch.setattr(felixpy.cli.matrix, "on_screen", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))


@pytest.mark.parametrize(
    "columns, readable, form", [(80, 8, "grid"), (40, 8, "lines"), (80, 30, "lines"), (160, 8, "grid")]
)
def test_a_terminal_gets_a_grid_where_that_reads_better(
    monkeypatch: pytest.MonkeyPatch, columns: int, readable: int, form: str
) -> None:
    Screen(monkeypatch, columns)
    monkeypatch.setattr(felixpy.cli.matrix, "READABLE", readable)
    assert run(SHOP) == run(SHOP, "-o", form)


# --- choices


@pytest.mark.parametrize(
    "text, expected",
    [
        ("80", [PortChoice(6, Range(80, 80))]),
        ("80,53/udp, 8000-8080/tcp", [PortChoice(6, Range(80, 80)), PortChoice(17, Range(53, 53)),
                                      PortChoice(6, Range(8000, 8080))]),
        ("icmp,gre", [PortChoice(1, None), PortChoice(47, None)]),
        ("", []),
    ],
)  # fmt: skip
def test_ports_as_people_write_them(text: str, expected: list[PortChoice]) -> None:
    assert parse_ports(text) == expected


def test_addresses_and_names_are_told_apart() -> None:
    found = parse_wanted(["shop", "10.0.0.1", "10.1.0.0/16", "fd00::1", "shop/web"])
    assert found.names == ("shop", "shop/web")
    ten = 10 << 24
    assert found.nets == (
        Nets(4, Range(ten + 1, ten + 1)),
        Nets(4, Range(ten + (1 << 16), ten + (2 << 16) - 1)),
        Nets(6, Range((0xFD << 120) + 1, (0xFD << 120) + 1)),
    )


# --- pictures

ALL = Traffic((), everything=True)


def peer(name: str, **more: Any) -> Peer:
    return Peer("pod", more.pop("space", "shop"), name, **more)


def flow(source: Peer, destination: Peer, words: str = "All", family: int | None = None) -> Flow:
    part = traffic_words.TrafficPart(words, None, "none")
    return Flow(source, destination, ALL if words == "All" else Traffic((part,)), family)


A, B, C = map(peer, "abc")
NET = Peer("external", "", "", ranges=("10.0.0.0/8",), words="10.0.0.0/8", lowest=(4, 10 << 24))


def test_a_grid_of_signs() -> None:
    flows = [flow(A, B), flow(A, NET, "TCP 80"), flow(NET, C, "TCP 80"), flow(C, A, "UDP"), flow(B, B)]
    found = drawn(flows, [A, B, C])
    assert list(grid(found)) == [
        "             1 2 3 4",
        "1 shop/a     - . X a",
        "2 shop/b     X . X X",
        "3 shop/c     b X - X",
        "4 10.0.0.0/8 X X a X",
        "",
        "Rows send, columns receive.",
        "X nothing",
        ". All",
        "a TCP 80",
        "b UDP",
    ]
    assert found.width == max(map(len, list(grid(found))[:5]))


def test_a_grid_of_many_has_its_numbers_upright() -> None:
    many = [peer(f"p{number:02}") for number in range(12)]
    lines = list(grid(drawn([flow(many[0], many[11])], many)))
    assert lines[0] == " " * 30 + "1 1 1"
    assert lines[1] == " " * 11 + " 1 2 3 4 5 6 7 8 9 0 1 2"
    assert lines[2] == " 1 shop/p00" + " -" + " X" * 10 + " ."


def test_what_nobody_asked_for_is_blank() -> None:
    found = drawn([flow(A, B)], [A, B, C], asked=[A])
    assert list(grid(found))[1:4] == ["1 shop/a - . X", "2 shop/b X", "3 shop/c X"]


def test_too_many_kinds_of_traffic_share_a_sign() -> None:
    many = [peer(f"p{number:03}") for number in range(100)]
    found = drawn([flow(A, each, f"TCP {number}") for number, each in enumerate(many)], [A, *many])
    assert set(found.signs().values()) == {".", "~"}
    assert list(grid(found))[-1] == "~ something"


def test_both_families_of_a_pair_share_a_field() -> None:
    found = drawn([flow(A, B, "TCP", 4), flow(A, B, "UDP", 6)], [A, B])
    assert found.cells == {(0, 1): "TCP (IPv4); UDP (IPv6)"}


def test_a_graph_for_graphviz() -> None:
    odd = peer('q"u', space="other", maker="")
    text = "\n".join(dot(drawn([flow(A, odd, "TCP 80"), flow(NET, A)], [A, odd])))
    assert text.startswith("digraph connectivity {\n")
    assert text.endswith("\n}")
    assert '"shop/a" -> "other/q\\"u" [label="TCP 80"];' in text
    assert '"10.0.0.0/8" [label="10.0.0.0/8", shape=ellipse];' in text
    assert text.count("subgraph") == 2


def test_a_drawing_is_sound_and_says_what_fields_mean() -> None:
    found = drawn([flow(A, B), flow(A, C), flow(B, A, "TCP <80>"), flow(NET, C)], [A, B, C])
    root = ET.fromstring("\n".join(svg(found)))
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["shop/a => shop/b … shop/c : All", "shop/b => shop/a : TCP <80>", "10.0.0.0/8 => shop/c : All"]
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"1 shop/a", "4 10.0.0.0/8", "All", "TCP <80>"} <= set(texts)


def test_an_empty_picture() -> None:
    nothing = Matrix((), {})
    assert list(grid(nothing))[-1] == "X nothing"
    assert ET.fromstring("\n".join(svg(nothing))) is not None


def test_json_of_doubts(tmp_path: Path) -> None:
    rules = ["*filter", ":FORWARD DROP [0:0]", ":cali-tw-cali1 - [0:0]", "-A FORWARD -o cali1 -j cali-tw-cali1"]
    rules += ["-A cali-tw-cali1 -p tcp -m time --timestart 10:00 -j ACCEPT", "COMMIT", ""]
    (tmp_path / "rules.txt").write_text("\n".join(rules))
    shown = json.loads(run("--rules", "rules.txt", "-o", "json"))
    assert list(shown)[4:] == ["uncertain", "notUnderstood", "families"]
    assert shown["connections"] == []
    assert shown["uncertain"][0]["connection"] == "TCP"
    assert shown["notUnderstood"] == [
        {
            "node": "this node",
            "family": 4,
            "what": "-m time",
            "place": "filter cali-tw-cali1 1",
            "rule": "-p tcp -m time --timestart 10:00 -j ACCEPT",
        }
    ]


def test_namespaces_with_what_all_and_what_some_of_their_pods_reach() -> None:
    shown = run(SHOP, "--by", "namespace", "--no-external").splitlines()
    assert shown == [
        "monitoring => shop : TCP 8080,9100 (some pairs)",
        "shop => monitoring : All (all pairs)",
        "shop => shop : TCP 5432,8080,9000 (some pairs)",
    ]


def test_labels_as_csv() -> None:
    shown = run(SHOP, "--by", "label:app", "-o", "csv", "--no-external").splitlines()
    assert shown[:3] == [
        "source,destination,family,all_pairs,some_pairs",
        "app=api,app=db,4,TCP 5432,",
        "app=api,app=prometheus,4,All,",
    ]


def test_classes_have_their_members_and_connections() -> None:
    shown = json.loads(run(SHOP, "--by", "class", "-o", "json"))
    assert [[member["name"].partition("-")[0] for member in each["members"]] for each in shown["classes"]] == [
        ["web", "web"], ["prometheus"], ["api"], ["db"],
    ]  # fmt: skip
    assert shown["connections"][1] == {
        "sources": ["e0"], "destinations": ["e1", "x0"], "connection": "All", "all": True,
    }  # fmt: skip
    assert shown["outside"][1] == {"id": "x1", "ranges": ["0.0.0.0/0"]}


@pytest.mark.parametrize(
    "words, reason",
    [
        (("--by", "label:"), "--by label:: say workload, pod, class, namespace or label:KEY"),
        (("--by", "cluster"), "--by cluster: say workload, pod, class, namespace or label:KEY"),
        (("--by", "class", "-o", "svg"), "--by class goes with lines and JSON"),
        (("--by", "namespace", "-o", "dot"), "--by namespace goes with lines, CSV and JSON"),
        (("--by", "namespace", "--services"), "--by namespace does not go with"),
    ],
)
def test_groups_that_cannot_be_shown(words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        run(SHOP, *words)
    assert reason in str(refused.value)
