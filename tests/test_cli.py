"""The commands as people type them: what comes out where, and with which status."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import felixpy
from felixpy.errors import InputError
from tests.commands import caller
from tests.conformance.recordings import ROOT

SHOP = ROOT / "k8s" / "shop-three-tiers"
DEMO = ROOT.parent / "demo" / "access-nginx.yaml"
INVALID = ROOT / "invalid"
HOST = ROOT / "host" / "hep-named-interface-with-policy"


@pytest.fixture
def felixpy_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs a command in this process, without the FELIX_* variables of the machine."""
    return caller(capsys, monkeypatch)


def recorded(case: Path, name: str) -> str:
    return (case / "expected" / name).read_text()


def test_the_default_is_the_iptables_save_text_of_the_node(felixpy_) -> None:
    answer = felixpy_("render", SHOP / "manifests.yaml", "--node", "node1")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == recorded(SHOP, "iptables.save")


def test_without_paths_the_manifests_of_this_folder_count(felixpy_, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(SHOP)
    answer = felixpy_("render", "--node", "node1", "-6")
    assert answer.out == recorded(SHOP, "ip6tables.save")
    monkeypatch.chdir(tmp_path)
    empty = felixpy_("render")
    assert (empty.status, empty.out) == (2, "")
    assert "no manifests" in empty.err


def test_stdin_is_a_dash(felixpy_, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO((SHOP / "manifests.yaml").read_text()))
    assert felixpy_("render", "-", "--node", "node1").out == recorded(SHOP, "iptables.save")


def test_files_and_folders_may_be_mixed_and_spelt_as_kubectl_does(felixpy_, tmp_path) -> None:
    documents = (SHOP / "manifests.yaml").read_text().split("\n---\n")
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "deeper" / "first.yaml").write_text("\n---\n".join(documents[::2]))
    (tmp_path / "second.yml").write_text("\n---\n".join(documents[1::2]))
    answer = felixpy_("render", tmp_path / "deep", "-f", tmp_path / "second.yml", "--node", "node1")
    assert answer.out == recorded(SHOP, "iptables.save")


def test_several_nodes_are_listed_when_none_is_named(felixpy_) -> None:
    answer = felixpy_("render", SHOP / "manifests.yaml")
    assert (answer.status, answer.out) == (2, "")
    assert "--node: node1, node2" in answer.err
    unknown = felixpy_("render", SHOP / "manifests.yaml", "--node", "node7")
    assert unknown.status == 2
    assert "node1, node2" in unknown.err


def test_sets_come_in_both_families_unless_one_is_asked_for(felixpy_) -> None:
    both = felixpy_("render", SHOP / "manifests.yaml", "--node", "node1", "--ipsets")
    assert both.out == recorded(SHOP, "ipset.save")
    four = felixpy_("render", SHOP / "manifests.yaml", "--node", "node1", "--ipsets", "-4").out
    six = felixpy_("render", SHOP / "manifests.yaml", "--node", "node1", "--ipsets", "-6").out
    assert four + six == both.out
    assert "cali60" not in four


def test_a_folder_gets_every_text(felixpy_, tmp_path) -> None:
    answer = felixpy_("render", SHOP / "manifests.yaml", "--node", "node1", "--output-dir", tmp_path / "new" / "out")
    assert (answer.status, answer.out) == (0, "")
    written = {file.name: file.read_text() for file in (tmp_path / "new" / "out").iterdir()}
    assert set(written) == {
        "iptables.save", "ip6tables.save", "iptables.restore", "ip6tables.restore", "ipset.save"
    }  # fmt: skip
    for name in ("iptables.save", "ip6tables.save", "ipset.save"):
        assert written[name] == recorded(SHOP, name)


def test_annotations_are_comments_that_name_object_file_and_line(felixpy_, monkeypatch) -> None:
    monkeypatch.chdir(SHOP)
    answer = felixpy_("render", "manifests.yaml", "--node", "node1", "--annotate")
    lines = answer.out.splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("#")) == recorded(SHOP, "iptables.save")
    heading = next(line for line in lines if line.startswith("# cali-pi-knp/shop/database: "))
    found = re.search(r"\(manifests\.yaml:(\d+):\d+\)", heading)
    assert found
    text = (SHOP / "manifests.yaml").read_text().splitlines()
    assert "NetworkPolicy" in "\n".join(text[int(found[1]) - 1 : int(found[1]) + 5])
    sets = felixpy_("render", "manifests.yaml", "--node", "node1", "--annotate", "--ipsets").out
    assert "".join(line for line in sets.splitlines(keepends=True) if not line.startswith("#")) == recorded(
        SHOP, "ipset.save"
    )


def test_counters_and_headers_are_added_on_request(felixpy_) -> None:
    plain = recorded(SHOP, "iptables.save").splitlines()
    counted = felixpy_("render", SHOP / "manifests.yaml", "--node", "node1", "--counters", "--headers").out.splitlines()
    assert counted[0].startswith("# iptables rules of node node1")
    assert counted[1:] == [f"[0:0] {line}" if line.startswith("-A") else line for line in plain]


def test_json_is_versioned_and_says_where_rules_come_from(felixpy_) -> None:
    answer = json.loads(felixpy_("render", SHOP / "manifests.yaml", "--node", "node1", "-o", "json").out)
    assert (answer["apiVersion"], answer["kind"]) == ("felixpy/v1", "Ruleset")
    assert [family["family"] for family in answer["families"]] == [4, 6]
    four = answer["families"][0]
    chains = {(table["name"], chain["name"]): chain for table in four["tables"] for chain in table["chains"]}
    rule = chains["filter", "cali-pi-knp/shop/database"]["rules"][0]
    assert set(rule) == {"text", "saved", "hash", "origin"}
    assert rule["origin"]["path"] == "spec.ingress[0]"
    assert f'"cali:{rule["hash"]}"' in rule["saved"][0]
    assert {ipset["name"] for ipset in four["sets"]} >= {"cali40this-host"}


def test_a_tutorials_manifests_alone_give_rules_and_say_what_was_assumed(felixpy_) -> None:
    answer = felixpy_("render", DEMO)
    assert answer.status == 0
    assert answer.out.count(":cali-tw-") == 3
    assert "2 for Deployment alpha/nginx" in answer.err
    again = felixpy_("render", DEMO, "--quiet")
    assert (again.out, again.err) == (answer.out, "")
    none = felixpy_("render", DEMO, "--no-expand", "--node", "n")
    assert ":cali-tw-" not in none.out


def test_errors_are_told_together_and_nothing_is_printed(felixpy_, tmp_path) -> None:
    for name in ("action-unknown", "selector-single-equals-sign"):
        (tmp_path / f"{name}.yaml").write_text((INVALID / name / "manifests.yaml").read_text())
    answer = felixpy_("render", tmp_path, "--node", "node1")
    assert (answer.status, answer.out) == (2, "")
    assert 'spec.ingress[1].action: "Accept": unknown action' in answer.err
    assert "\n    app = 'frontend'\n        ^" in answer.err
    assert "nothing was written" in answer.err


def test_unknown_fields_are_errors_unless_asked_to_be_lenient(felixpy_) -> None:
    path = INVALID / "field-misspelt" / "manifests.yaml"
    lenient, strict = (
        felixpy_("render", path, "--node", "node1", "--no-strict"),
        felixpy_("render", path, "--node", "node1"),
    )
    assert lenient.status == 0
    assert lenient.out
    assert "warning: NetworkPolicy shop/web: spec.egres: unknown field (egress was probably meant)" in lenient.err
    assert (strict.status, strict.out) == (2, "")


def test_rules_that_no_kernel_takes_are_warnings_and_for_validate_errors(felixpy_) -> None:
    path = ROOT / "refused-by-kernel" / "calico-protocol-with-notprotocol" / "manifests.yaml"
    rendered = felixpy_("render", path, "--node", "node1")
    assert rendered.status == 0
    assert "-p tcp ! -p sctp" in rendered.out
    assert "spec.ingress[0]: no kernel takes this" in rendered.err
    judged = felixpy_("validate", path)
    assert (judged.status, judged.out) == (2, "")
    assert "NetworkPolicy shop/two-protocols: spec.ingress[0]: no kernel takes this" in judged.err


def test_validate_counts_what_is_fine(felixpy_) -> None:
    answer = felixpy_("validate", SHOP / "manifests.yaml")
    assert (answer.status, answer.err) == (0, "")
    assert re.fullmatch(r"valid: \d+ endpoints, \d+ policies, 2 nodes\n", answer.out)


@pytest.mark.parametrize("spelling", ["options", "file"])
def test_the_machine_is_described_by_options_or_a_file(felixpy_, tmp_path, spelling: str) -> None:
    if spelling == "options":
        options = ["--interface", "eth0=192.168.10.11/24,fd00:10::11/64"]
    else:
        (tmp_path / "host.yaml").write_text("interfaces: {eth0: [192.168.10.11/24, 'fd00:10::11/64']}\n")
        options = ["--host-file", str(tmp_path / "host.yaml")]
    answer = felixpy_("render", HOST / "manifests.yaml", "--node", "node1", *options)
    assert (answer.err, answer.out) == ("", recorded(HOST, "iptables.save"))


def test_an_unknown_machine_has_the_interfaces_that_are_named_and_a_warning_says_so(felixpy_) -> None:
    answer = felixpy_("render", HOST / "manifests.yaml", "--node", "node1")
    assert answer.out == recorded(HOST, "iptables.save")
    assert "interface eth0 is taken as present on node1" in answer.err


def test_settings_come_from_options_then_the_environment_then_manifests(felixpy_, monkeypatch) -> None:
    path = ROOT / "config" / "endpoint-to-host-accept" / "manifests.yaml"
    last = re.compile(r'"Configured DefaultEndpointToHostAction" -j (\w+)')

    def action(*options: str) -> str:
        found = last.search(felixpy_("render", path, "--node", "node1", *options).out)
        assert found
        return found[1]

    assert action() == "ACCEPT"
    monkeypatch.setenv("FELIX_DEFAULTENDPOINTTOHOSTACTION", "return")
    assert action() == "RETURN"
    assert action("--set", "defaultendpointtohostaction=Drop") == "DROP"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "LogPrefx=x"], "did you mean LogPrefix?"),
        (["--set", "LogPrefix"], "write NAME=VALUE"),
        (["--set", "MaxIpsetSize=many"], "a whole number is expected"),
        (["--interface", "eth0=192.0.2.300"], "eth0=192.0.2.300"),
        (["--interface", "eth0=192.0.2.1/24", "--live"], "exclude each other"),
        (["--host-file", "/nowhere/host.yaml"], "/nowhere/host.yaml: there is no such file"),
        (["--dialect", "v1.0"], "there are v3.32"),
        (["-4", "-6"], "exclude each other"),
        (["--all-nodes"], "--all-nodes and --node exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(felixpy_, options: list[str], words: str) -> None:
    answer = felixpy_("render", SHOP / "manifests.yaml", "--node", "node1", *options)
    assert (answer.status, answer.out) == (2, "")
    assert words in answer.err
    assert "Traceback" not in answer.err


def test_older_eras_refuse_what_they_cannot_say(felixpy_) -> None:
    path = ROOT / "k8s" / "cnp-baseline" / "manifests.yaml"
    answer = felixpy_("render", path, "--node", "node1", "--dialect", "v3.8")
    assert (answer.status, answer.out) == (2, "")
    assert "ClusterNetworkPolicy" in answer.err


def test_help_begins_with_examples(felixpy_) -> None:
    for command in ("render", "validate", "settings", "templates", "completion", "version"):
        answer = felixpy_(command, "--help")
        assert answer.status == 0
        assert 0 < answer.out.index("Examples:") < answer.out.index("Options:")
        assert "felixpy" in answer.out.split("Examples:")[1]


def test_small_commands(felixpy_) -> None:
    assert felixpy.CALICO_VERSION in felixpy_("version").out
    assert json.loads(felixpy_("version", "-o", "json").out)["version"] == felixpy.__version__
    assert "_FELIXPY_COMPLETE" in felixpy_("completion", "bash").out
    assert "IptablesFilterDenyAction" in felixpy_("settings").out
    assert len(json.loads(felixpy_("settings", "-o", "json").out)["items"]) > 40
    assert "v3.8/" in felixpy_("templates", "--dialect", "v3.8").out


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m felixpy render {SHOP / 'manifests.yaml'} --node node1 | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=True
    )
    assert done.stdout in {"*raw\n141\n", "*raw\n0\n"}  # the text may fit into the pipe
    assert done.stderr == ""


def test_the_python_api_raises_what_the_command_prints() -> None:
    with pytest.raises(InputError) as caught:
        felixpy.load([INVALID / "action-missing" / "manifests.yaml"])
    assert "spec.ingress[0].action: required field is missing" in str(caught.value)


@pytest.mark.parametrize("command", ["render", "validate", "matrix"])
def test_another_data_plane_is_told_unless_the_rules_are_asked_for(felixpy_, tmp_path: Path, command: str) -> None:
    path = tmp_path / "felix.yaml"
    path.write_text(
        "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec:\n"
        "  bpfEnabled: true\n---\napiVersion: v1\nkind: Node\nmetadata: {name: node1}\n"
    )
    told, asked = felixpy_(command, path), felixpy_(command, path, "--dataplane", "iptables")
    assert told.status == asked.status
    expected = "felix.yaml:5:15: warning: FelixConfiguration default: bpfEnabled is true, so Felix uses its eBPF"
    assert expected in told.err
    assert "eBPF" not in asked.err
    assert felixpy_(command, path, "--dataplane", "ebpf").status == 2


def stating_version(path: Path, version: str) -> Path:
    path.write_text(
        "apiVersion: projectcalico.org/v3\nkind: ClusterInformation\nmetadata: {name: default}\n"
        f"spec: {{calicoVersion: {version}}}\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: node1}}\n"
    )
    return path


@pytest.mark.parametrize(
    "version, options, told",
    [
        ("v3.30.2", (), "felixpy: rules of Calico v3.30.7: ClusterInformation default says v3.30.2 ("),
        ("v3.20.0", (), "Calico v3.20.0 runs there, the rules shown are those of v3.32.1 (felixpy does not know that"),
        ("v3.32.0", (), ""),
        (
            "v3.30.2", ("--dialect", "v3.32"),
            "Calico v3.30.2 runs there, the rules shown are those of v3.32.1 (--calico-version v3.30 shows its rules)",
        ),
        ("v3.30.2", ("--dialect", "v3.30"), ""),
    ],
)  # fmt: skip
def test_the_release_of_calico_that_runs_there_counts(
    felixpy_, tmp_path: Path, version: str, options: tuple[str, ...], told: str
) -> None:
    path = stating_version(tmp_path / "cluster.yaml", version)
    answer = felixpy_("render", path, *options)
    assert answer.status == 0
    if told:
        assert told in answer.err
    else:
        assert "Calico v3" not in answer.err
    shown = "v3.30" if version == "v3.30.2" and options != ("--dialect", "v3.32") else "v3.32"
    plain = felixpy_("render", path, "--dialect", shown, "-q").out
    assert answer.out == plain
    assert felixpy_("render", path, *options, "-q").err == ""


def test_a_diff_of_a_cluster_and_files_is_in_the_release_that_one_of_them_states(felixpy_, tmp_path: Path) -> None:
    stated = stating_version(tmp_path / "cluster.yaml", "v3.30.2")
    silent = tmp_path / "files.yaml"
    silent.write_text("apiVersion: v1\nkind: Node\nmetadata: {name: node1}\n")
    assert felixpy_("diff", stated, silent, "-q").status == 0
    assert felixpy_("diff", silent, stated, "-q").status == 0
    assert felixpy_("diff", silent, silent, "--dialect-before", "v3.30", "-q").status == 1


def test_the_internal_address_of_a_node_is_the_host(felixpy_, tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(
        "apiVersion: v1\nkind: Node\nmetadata: {name: node1}\n"
        "status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}\n---\n"
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {nodeName: node1}\n"
        "status: {phase: Running, podIP: 10.0.0.7}\n"
    )
    out = felixpy_("trace", "shop/web", "192.0.2.11:10250", path, "-q").out
    assert out.startswith("DENIED  shop/web → node1 tcp/10250")
    assert "DefaultEndpointToHostAction" in out
    assert felixpy_("trace", "192.0.2.11", "shop/web:8080", path, "-q").out.startswith("ALLOWED  node1 → shop/web")


def test_help_lists_commands_by_the_first_sentence_of_their_own_help() -> None:
    import inspect

    import typer

    from felixpy.cli import COMMANDS, app

    for name, _, summary in COMMANDS:
        found = app.imported(name)
        text = found.info.help if isinstance(found, typer.Typer) else inspect.getdoc(found)
        assert isinstance(text, str)
        assert " ".join(text.partition("\n\n")[0].split()).startswith(summary), name


def test_help_imports_no_command() -> None:
    code = "import sys; from felixpy.cli import run; run(['--help']); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"felixpy.cli.render", "felixpy.cli.given", "felixpy.model"} & {*answer.stdout.splitlines()[-1].split()}
