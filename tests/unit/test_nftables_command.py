"""``felixpy render`` and the nftables data plane: which one is drawn and why, and every form that is printed."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from felixpy.difference.report import BY_MEANING
from felixpy.nftables.dumps import read_listing
from tests.commands import caller
from tests.conformance.recordings import ROOT
from tests.conformance.test_nftables import recordings

SHOP = ROOT / "k8s" / "shop-three-tiers"
ARGUMENTS = ("render", SHOP / "manifests.yaml", "--node", "node1", "--dataplane", "nftables")
ENABLED = (
    "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {nftablesMode: %s}\n"
)
PROXY = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-proxy, namespace: kube-system}\n"
    "data:\n  config.conf: |\n    apiVersion: kubeproxy.config.k8s.io/v1alpha1\n    kind: KubeProxyConfiguration\n"
    "    mode: nftables\n"
)


@pytest.fixture
def felixpy_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs a command in this process, without the FELIX_* variables of the machine."""
    return caller(capsys, monkeypatch)


def recorded(name: str) -> str:
    return recordings("k8s")[f"{SHOP.name}/{name}"]


def test_the_default_is_the_listing_of_all_tables(felixpy_) -> None:
    answer = felixpy_(*ARGUMENTS, "-q")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == recorded("ip.listed") + recorded("ip6.listed") + recorded("arp.listed")


@pytest.mark.parametrize("option, family", [("-4", "ip"), ("-6", "ip6")])
def test_one_family_in_both_spellings(felixpy_, option: str, family: str) -> None:
    assert felixpy_(*ARGUMENTS, option).out == recorded(f"{family}.listed")
    assert felixpy_(*ARGUMENTS, option, "--form", "restore").out == recorded(f"{family}.written")


def test_a_folder_gets_every_table_in_both_spellings(felixpy_, tmp_path: Path) -> None:
    felixpy_(*ARGUMENTS, "--output-dir", tmp_path / "out")
    found = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}
    assert found == {
        f"{t}.{form}": recorded(f"{t}.{form}") for t in ("ip", "ip6", "arp") for form in ("listed", "written")
    }


def test_all_nodes(felixpy_, tmp_path: Path) -> None:
    arguments = [part for part in ARGUMENTS if part not in ("--node", "node1")]
    felixpy_(*arguments, "--all-nodes", "--output-dir", tmp_path, "--jobs", "1")
    assert (tmp_path / "node1" / "ip.listed").read_text() == recorded("ip.listed")


@pytest.mark.parametrize("form", ["save", "restore"])
def test_annotated_text_has_comment_lines_only_in_addition(felixpy_, form: str) -> None:
    plain = felixpy_(*ARGUMENTS, "--form", form).out
    annotated = felixpy_(*ARGUMENTS, "--form", form, "--annotate").out
    assert [line for line in annotated.splitlines() if not line.strip().startswith("#")] == plain.splitlines()
    assert re.search(
        r"# filter-cali-pi-knp/shop/\S+: KubernetesNetworkPolicy shop/.*manifests.yaml:\d+:\d+\)", annotated
    )
    assert "#   spec.ingress[0] (" in annotated
    assert "verdict map leads from the interface" in annotated


def test_counters_and_headers(felixpy_) -> None:
    plain = felixpy_(*ARGUMENTS, "-4").out
    counted = felixpy_(*ARGUMENTS, "-4", "--counters", "--headers").out
    head, _, text = counted.partition("\n")
    assert head.startswith("# nftables rules of node node1")
    assert text.replace("counter packets 0 bytes 0", "counter") == plain


def test_sets_alone(felixpy_) -> None:
    text = felixpy_(*ARGUMENTS, "--ipsets", "-4").out
    assert text.startswith("table ip calico {\n\tset cali40")
    assert "chain" not in text
    assert all(line in recorded("ip.listed") for line in text.splitlines()[1:-1])


def test_json_has_the_shape_of_that_of_iptables(felixpy_) -> None:
    nft = json.loads(felixpy_(*ARGUMENTS, "-o", "json").out)
    legacy = json.loads(felixpy_(*ARGUMENTS[:-2], "-o", "json").out)
    assert list(nft) == list(legacy)
    assert (nft["dataplane"], legacy["dataplane"]) == ("nftables", "iptables")
    assert [family["family"] for family in nft["families"]] == [4, 6, "arp"]
    (table,) = nft["families"][0]["tables"]
    assert {"name", "hooks", "chains", "maps"} == set(table)
    rules = [rule for chain in table["hooks"] + table["chains"] for rule in chain["rules"]]
    lines = {f'{rule["text"]} comment "{rule["comment"]}"' for rule in rules}
    assert all(line.partition(" calico ")[2].partition(" ")[2] in lines for line in recorded("ip.written").splitlines()
               if line.startswith("add rule"))  # fmt: skip
    assert any(rule.get("origin", {}).get("path") == "spec.ingress[0]" for rule in rules)


CHOICES = [
    (ENABLED % "Enabled", (), "table ip calico", "nftablesMode is Enabled (FelixConfiguration default, "),
    (ENABLED % "Disabled", (), "*raw", ""),
    (ENABLED % "Auto", (), "*raw", ""),
    (PROXY, (), "table ip calico", "nftablesMode is Auto and kube-proxy's mode is nftables (ConfigMap "),
    (ENABLED % "Enabled", ("--dataplane", "iptables"), "*raw", ""),
    (ENABLED % "Disabled", ("--dataplane", "nftables"), "table ip calico", "--dataplane nftables"),
    ("", ("--set", "NFTablesMode=Enabled"), "table ip calico", "NFTablesMode is Enabled"),
]


@pytest.mark.parametrize("manifest, options, first, reason", CHOICES)
def test_the_data_plane_is_that_of_felix_and_is_told(
    felixpy_, tmp_path: Path, manifest: str, options: tuple[str, ...], first: str, reason: str
) -> None:
    path = tmp_path / "input.yaml"
    path.write_text(f"apiVersion: v1\nkind: Node\nmetadata: {{name: node1}}\n---\n{manifest}")
    answer = felixpy_("render", path, *options)
    assert answer.status == 0
    assert answer.out.startswith(first)
    told = [line for line in answer.err.splitlines() if "data plane on" in line or "data plane:" in line]
    assert [reason in line for line in told] == ([True] if reason else [])


def test_settings_of_iptables_count_in_mode_auto(felixpy_, tmp_path: Path) -> None:
    """Felix reads the Nftables* ones only when the mode is literally Enabled."""
    path = tmp_path / "input.yaml"
    path.write_text(f"apiVersion: v1\nkind: Node\nmetadata: {{name: node1}}\n---\n{PROXY}")
    given = ("--set", "IptablesFilterDenyAction=Reject", "--set", "NftablesMarkMask=0xff")
    auto = felixpy_("render", path, *given).out
    enabled = felixpy_("render", path, *given, "--dataplane", "nftables").out
    assert "counter reject" in auto
    assert "0x00010000" in auto
    assert "counter reject" not in enabled
    assert "0x00010000" not in enabled


def test_older_releases_are_refused(felixpy_) -> None:
    answer = felixpy_(*ARGUMENTS, "--dialect", "v3.30")
    assert answer.status == 2
    assert "the nftables rules of Felix v3.30 are not known, only those of v3.32" in answer.err


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What iptables-save and ipset save, and what nft list ruleset would print on node1."""
    folder = tmp_path_factory.mktemp("saved")
    nft = folder / "nft.save"
    nft.write_text(recorded("ip.listed") + recorded("ip6.listed") + recorded("arp.listed"))
    legacy = folder / "iptables.save"
    expected = SHOP / "expected"
    legacy.write_text("".join((expected / f"{n}.save").read_text() for n in ("iptables", "ip6tables", "ipset")))
    return {"nft": nft, "legacy": legacy}


PAIR = ("shop/frontend-6c8f7d9b4-5t2wq", "shop/database-0:5432")


def test_a_trace_shows_the_rules_of_the_data_plane(felixpy_, saved: dict[str, Path]) -> None:
    manifests = SHOP / "manifests.yaml"
    compiled = felixpy_("trace", *PAIR, manifests, "--dataplane", "nftables", "-q")
    dumped = felixpy_("trace", *PAIR, manifests, "--rules", saved["nft"], "--node", "node1", "-q")
    assert compiled.out == dumped.out
    assert compiled.out.startswith("DENIED")
    assert "meta mark & 0x00020000 == 0x00000000 counter drop" in compiled.out


@pytest.mark.parametrize("format_", ["lines", "json"])
def test_the_matrix_is_the_same_on_both_data_planes(felixpy_, saved: dict[str, Path], format_: str) -> None:
    manifests = SHOP / "manifests.yaml"
    command = ("matrix", manifests, "-q", "-o", format_)
    assert felixpy_(*command, "--dataplane", "nftables").out == felixpy_(*command).out
    dumps = [felixpy_(*command, "--node", "node1", "--rules", saved[kind]) for kind in ("nft", "legacy")]
    assert dumps[0].status == dumps[1].status == 0
    assert dumps[0].out == dumps[1].out


def test_no_flow_opens_or_closes_between_the_data_planes(felixpy_, saved: dict[str, Path]) -> None:
    command = ("--flows", "-f", SHOP / "manifests.yaml", "--node", "node1", "-q")
    answer = felixpy_("diff", saved["legacy"], saved["nft"], *command)
    assert (answer.status, "opened" in answer.out) == (0, False)
    broken = saved["nft"].with_name("broken.save")
    text = saved["nft"].read_text()
    broken.write_text(text.replace('counter drop comment "cali:', 'counter accept comment "cali:'))
    changed = felixpy_("diff", saved["legacy"], broken, *command)
    assert changed.status == 1
    assert "flows opened" in changed.out


def test_manifests_are_compared_in_the_data_plane_of_a_dump(felixpy_, saved: dict[str, Path]) -> None:
    command = ("diff", saved["nft"], SHOP / "manifests.yaml", "--node", "node1", "-q", "--rules")
    own = felixpy_(*command)
    assert (own.status, own.out) == (0, "no difference\n")
    other = felixpy_(*command, "--set", "NFTablesMode=Disabled")
    assert other.status == 1
    assert other.out.startswith("nftables → iptables on 1 node; 1 rule added, 1 removed in 1 chain; 2 chains renamed\n")


def test_what_a_change_of_the_data_plane_changes(felixpy_, tmp_path: Path) -> None:
    nft = tmp_path / "nft.yaml"
    mode = "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\n"
    nft.write_text(f"{(SHOP / 'manifests.yaml').read_text()}\n---\n{mode}spec: {{nftablesMode: Enabled}}\n")
    answer = felixpy_("diff", SHOP / "manifests.yaml", nft, "-q")
    assert answer.status == 1
    said = [line.strip() for line in answer.out.splitlines()]
    assert said[0].endswith("1 rule added, 1 removed in 1 chain; 2 chains renamed; no flow opens or closes")
    assert f"iptables → nftables on node1, node2: {BY_MEANING}" in said
    document = json.loads(felixpy_("diff", SHOP / "manifests.yaml", nft, "-q", "-o", "json").out)
    assert document["dataPlanes"] == [{"before": "iptables", "after": "nftables", "nodes": ["node1", "node2"]}]
    options = ("--dataplane-before", "iptables", "--dataplane", "nftables", "-q")
    same = felixpy_("diff", SHOP / "manifests.yaml", SHOP / "manifests.yaml", *options)
    assert [*same.out.splitlines()[:4]] == answer.out.splitlines()[:4]
    assert "#### Felix" in felixpy_("diff", SHOP / "manifests.yaml", nft, "-q", "-o", "md").out


def test_a_diff_says_what_is_not_in_force(felixpy_, tmp_path: Path) -> None:
    """A rule that nft refuses is no rule, so what the other state changes about flows is not known."""
    refused = tmp_path / "refused.yaml"
    policy = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: mtu, namespace: shop}\nspec:\n"
    rule = "  selector: all()\n  ingress: [{action: Allow, protocol: ICMP, icmp: {type: 3, code: 4}}]\n"
    refused.write_text(f"{(SHOP / 'manifests.yaml').read_text()}\n---\n{policy}{rule}")
    planes = ("--dataplane-before", "iptables", "--dataplane", "nftables", "-q")
    moved = felixpy_("diff", refused, refused, *planes, "--flows")
    assert (moved.status, "no flow opens" in moved.out) == (2, False)
    assert "not in force after: " in moved.out
    assert "NetworkPolicy shop/mtu: spec.ingress[0]: cannot be programmed in nftables mode" in moved.out
    came = felixpy_("diff", SHOP / "manifests.yaml", refused, "--dataplane", "nftables", "-q")
    assert (came.status, "not in force after: " in came.out) == (1, True)
    went = felixpy_("diff", refused, SHOP / "manifests.yaml", "--dataplane", "nftables", "-q")
    assert (went.status, "not in force before: " in went.out) == (1, True)
    same = felixpy_("diff", refused, refused, "--dataplane", "nftables", "-q")
    assert (same.status, same.out) == (0, "no difference\n")


def test_a_listing_as_json_is_annotated_as_text(felixpy_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nft.json"
    path.write_text(felixpy_(*ARGUMENTS, "--form", "nft-json", "-q").out)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    answer = felixpy_("annotate", SHOP / "manifests.yaml", "--node", "node1", "-q")
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert "table ip calico {" in lines
    assert any(line.startswith("\t# filter-cali-pi-knp/shop/database: ingress rules of ") for line in lines)
    given = felixpy_("annotate", path)
    assert (given.status, "a dump is read from stdin" in given.err) == (2, True)


def test_a_hash_of_either_data_plane_is_decoded(felixpy_, saved: dict[str, Path]) -> None:
    found = re.search(r'(ip saddr @[^"]*) comment "(cali:[\w-]{16});', saved["nft"].read_text())
    assert found
    answer = felixpy_("decode", found[2], "-f", SHOP / "manifests.yaml", "-q")
    assert answer.status == 0
    assert "rule: meta l4proto tcp ip saddr @" in answer.out


def test_a_listing_without_counters_says_how_to_get_them(felixpy_, saved: dict[str, Path]) -> None:
    answer = felixpy_("counters", SHOP / "manifests.yaml", "--rules", saved["nft"], "--node", "node1", "-q")
    assert answer.status == 2
    assert "list the rules with nft list ruleset, without -s" in answer.err


def test_counters_of_a_listing(felixpy_, saved: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "nft-c.save"
    path.write_text(
        felixpy_(*ARGUMENTS, "-q", "--counters").out.replace("packets 0 bytes 0 drop", "packets 3 bytes 9 drop")
    )
    command = ("counters", SHOP / "manifests.yaml", "--rules", path, "--node", "node1", "-q")
    answer = felixpy_(*command, "-o", "json")
    assert answer.status == 0
    assert '"packets": 3' in answer.out
    table = felixpy_(*command).out
    assert "spec.ingress[0]" in table
    policies = [part for part in re.split(r"\n(?=\S)", table) if part.startswith("KubernetesNetworkPolicy")]
    assert policies
    assert not any("  rule 1 " in part for part in policies), "the manifests know every rule of a policy"


ALLOWED = ("shop/backend-5b9d8c7f6-hn7rz", "shop/database-0:5432")
DENIED = ("shop/backend-5b9d8c7f6-hn7rz", "shop/database-0:5433")


def traced(felixpy_, *files: Path, pair: tuple[str, str] = PAIR) -> dict[str, Any]:
    rules = [word for file in files for word in ("--rules", file)]
    answer = felixpy_("trace", *pair, SHOP / "manifests.yaml", *rules, "--node", "node1", "-o", "json", "-q")
    assert answer.status in (0, 1), answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


def test_rules_of_both_data_planes_are_both_in_force(felixpy_, saved: dict[str, Path], tmp_path: Path) -> None:
    """In two files, in whatever order, or in one."""
    one = tmp_path / "both.save"
    one.write_text(saved["nft"].read_text() + saved["legacy"].read_text())
    alone = traced(felixpy_, saved["nft"])
    for files in ((saved["nft"], saved["legacy"]), (saved["legacy"], saved["nft"]), (one,)):
        found = traced(felixpy_, *files)
        assert (found["verdict"], found["certain"]) == (alone["verdict"], True)
        for pair, verdict in ((ALLOWED, "allow"), (DENIED, "deny")):
            assert traced(felixpy_, *files, pair=pair)["verdict"] == verdict
    left = tmp_path / "left.save"
    first = "-A cali-FORWARD "
    left.write_text(saved["legacy"].read_text().replace(first, f"{first}-j DROP\n{first}", 1))
    for files in ((saved["nft"], left), (left, saved["nft"])):
        assert traced(felixpy_, *files, pair=ALLOWED)["verdict"] == "deny"


def test_the_matrix_of_both_is_what_both_let_pass(felixpy_, saved: dict[str, Path], tmp_path: Path) -> None:
    command = ("matrix", SHOP / "manifests.yaml", "-q", "-o", "lines", "--node", "node1")
    alone = felixpy_(*command, "--rules", saved["nft"]).out
    assert felixpy_(*command, "--rules", saved["nft"], "--rules", saved["legacy"]).out == alone
    left = tmp_path / "left.save"
    left.write_text("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -m tcp --dport 5432 -j DROP\nCOMMIT\n")
    less = felixpy_(*command, "--rules", saved["nft"], "--rules", left).out
    line = "shop/backend-5b9d8c7f6-hn7rz => shop/database-0 : TCP 5432"
    assert line in alone.splitlines()
    assert "shop/backend-5b9d8c7f6-hn7rz => shop/database-0 " not in less


def test_packets_that_pass_both_are_counted_once(felixpy_, saved: dict[str, Path], tmp_path: Path) -> None:
    text = saved["nft"].read_text().replace(" counter ", " counter packets 3 bytes 9 ")
    (tmp_path / "alone.save").write_text(text)
    (tmp_path / "both.save").write_text(text + saved["legacy"].read_text().replace("\n-A", "\n[5:500] -A"))
    command = ("counters", SHOP / "manifests.yaml", "--node", "node1", "-o", "json", "--rules")
    alone, both = (felixpy_(*command, tmp_path / f"{name}.save") for name in ("alone", "both"))
    assert alone.out == both.out
    assert '"packets": 3' in alone.out
    assert "tables of Felix in iptables are in force, too; what they count is left out" in both.err


@pytest.mark.parametrize("text, said", [("", "there is no table in it"), ("nothing\n", "there is no table in it"),
                                        ("create x hash:net family inet\n", "does not go with it")])  # fmt: skip
def test_what_says_nothing_beside_a_listing_is_refused(
    felixpy_, saved: dict[str, Path], tmp_path: Path, text: str, said: str
) -> None:
    other = tmp_path / "other.save"
    other.write_text(text)
    answer = felixpy_("trace", *PAIR, SHOP / "manifests.yaml", "--rules", saved["nft"], "--rules", other)
    assert (answer.status, said in answer.err) == (2, True), answer.err


def test_a_listing_gets_comments_and_is_otherwise_the_same(
    felixpy_, saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = "table inet other {\n\tchain cali-not-ours {\n\t\tcounter drop\n\t}\n}\n"
    text = others + saved["nft"].read_text()
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    answer = felixpy_("annotate", SHOP / "manifests.yaml", "-q")
    lines = answer.out.splitlines()
    assert [line for line in lines if not line.strip().startswith("#")] == text.splitlines()
    assert lines[:5] == others.splitlines()
    at = lines.index("\tchain filter-cali-pi-knp/shop/database {")
    assert lines[at - 1].startswith(
        "\t# filter-cali-pi-knp/shop/database: ingress rules of KubernetesNetworkPolicy shop/database ("
    )
    assert lines[at + 1].startswith("\t\t#   spec.ingress[0]: allow tcp port postgres from pods with app")
    assert lines[at + 2].startswith("\t\t#   cali40s-s0Iqn0xyuY9eVgaXbj5cuYI: addresses of pods with app")


NAMES = {
    "filter-cali-pi-knp/shop/database": "ingress rules of KubernetesNetworkPolicy shop/database",
    "filter-cali-to-wl-dispatch": "finds the pod that a packet goes to",
    "mangle-PREROUTING": "Felix's rules in the kernel's chain PREROUTING",
    "cali40s-s0Iqn0xyuY9eVgaXbj5cuYI": 'addresses of pods with app == "backend"',
    "cali:xRkleZRAHl9v2z0I;": "rule 1 of cali-pi-knp/shop/database",
}


@pytest.mark.parametrize("name, words", NAMES.items())
def test_names_as_nft_lists_them(felixpy_, name: str, words: str) -> None:
    answer = felixpy_("decode", name, "-f", SHOP / "manifests.yaml", "--node", "node1")
    assert answer.status == 0
    assert words in answer.out


def test_a_chain_is_shown_as_nft_lists_it(felixpy_) -> None:
    answer = felixpy_("decode", "filter-cali-pi-knp/shop/database", "-f", SHOP / "manifests.yaml", "--node", "node1")
    assert "ip daddr . meta l4proto . tcp dport @cali40n-6eV5j5aFnrMnyoK7BqNViMD counter" in answer.out


def test_the_form_of_nft_json_reads_back(felixpy_) -> None:
    """What it has to equal a kernel says (tests/netns/test_load_nftables.py)."""
    text = felixpy_(*ARGUMENTS, "--form", "nft-json", "-q").out
    assert [next(iter(each)) for each in json.loads(text)["nftables"]][:2] == ["table", "chain"]
    plain = felixpy_(*ARGUMENTS, "--counters", "-q").out
    back, dump = read_listing(text), read_listing(plain)
    for family, table, chain in dump.chains():
        there = back.tables[family][table][chain.name]
        assert [rule.text for rule in there.rules] == [rule.text for rule in chain.rules]
    assert back.sets == dump.sets


@pytest.mark.parametrize("options", [("--annotate",), ("--dataplane", "iptables")])
def test_nft_json_is_for_nftables_and_has_no_comments(felixpy_, options: tuple[str, ...]) -> None:
    answer = felixpy_("render", SHOP / "manifests.yaml", "--node", "node1", "--form", "nft-json", *options)
    assert answer.status == 2
    assert "--form nft-json is for --dataplane nftables, and JSON has no comments" in answer.err
