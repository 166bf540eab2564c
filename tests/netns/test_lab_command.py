"""`felixpy lab` as it is called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from felixpy.cli.apply import apply
from felixpy.cli.lab import lab
from felixpy.errors import EnvironmentMissing, UsageError
from tests.netns.labs import left_of, new_name, places
from tests.netns.namespace import in_ci
from tests.schemas import checked

pytestmark = pytest.mark.netns

app = typer.Typer()
app.add_typer(lab)
app.command("apply")(apply)

SHOP = """\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
status: {podIPs: [{ip: 10.65.0.1}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {nodeName: n2, containers: [{name: db, image: db, ports: [{containerPort: 5432, name: sql}]}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
"""
DENY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}}
"""


@pytest.fixture(autouse=True)
def folder(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with places(tmp_path, monkeypatch) as found:
        monkeypatch.chdir(tmp_path)
        Path("shop").mkdir()
        Path("shop/shop.yaml").write_text(SHOP)
        Path("deny.yaml").write_text(DENY)
        yield found


@pytest.fixture
def name(folder: Path) -> str:
    return new_name()


def felixpy(*words: str) -> Result:
    found = CliRunner().invoke(app, words)
    assert found.exception is None or isinstance(found.exception, SystemExit | EnvironmentMissing | UsageError)
    return found


def test_a_lab_from_up_to_down(name: str, folder: Path) -> None:
    up = ("lab", "up", "shop", "--name", name)
    first = felixpy(*up)
    assert (first.exit_code, first.stdout) == (0, "")
    assert f"felixpy: lab {name} is up: 3 pods on 2 nodes; n1 is network namespace {name}@n1, n2 is" in first.stderr
    assert re.search(r"felixpy: n1 \(\w+\): changed \d+ sets and \d+ chains in 8 tables", first.stderr)
    assert f"felixpy: lab {name} is in step already; nothing was changed" in felixpy(*up, "--quiet").stderr

    status = felixpy("lab", "status", "--name", name).stdout
    assert f"lab {name}: up, iptables " in status
    assert re.search(r"shop/web +n1 +cali\w{11} +10\.65\.0\.1 +tcp/80", status)
    found = checked(felixpy("lab", "status", "--name", name, "-o", "json").stdout)
    assert [pod["serves"] for pod in found["pods"]] == [
        [{"protocol": "tcp", "port": port}] for port in (5432, 5432, 80)
    ]
    assert name in felixpy("lab", "list").stdout
    assert checked(felixpy("lab", "list", "-o", "json").stdout)["items"] == [found]

    # The rules are those that apply would write.
    in_step = felixpy("apply", "shop", "--node", "n2", "--netns", name, "--quiet")
    assert "is in step already; nothing was written" in in_step.stderr

    down = felixpy("lab", "down", "--name", name)
    assert (down.exit_code, down.stdout) == (0, "")
    assert f"lab {name} is gone" in down.stderr
    assert left_of(name, folder) == []
    again = felixpy("lab", "down", "--name", name)
    assert again.exit_code == 0
    assert f"there is no lab {name}" in again.stderr
    assert "no lab is up" in felixpy("lab", "list").stderr


def test_probes(name: str) -> None:
    felixpy("lab", "up", "shop", "deny.yaml", "--name", name)
    probe = ("lab", "probe", "--name", name)
    for words, status, answer in (
        (
            ["shop/web", "shop/deployment/db:sql"],
            0,
            r"DENIED  shop/web \(10\.65\.0\.1\) → shop/db\S+ \(\S+\) tcp/5432  timed",
        ),
        (["-n", "shop", "deployment/db", "web:80", "--expect", "allow"], 0, "ALLOWED  shop/db.* tcp/80  answered"),
        (["internet", "shop/web:80", "--expect", "deny"], 1, r"ALLOWED  internet \(198\.51\.100\.7\) → shop/web"),
    ):
        done = felixpy(*probe, *words)
        assert done.exit_code == status
        assert re.match(answer, done.stdout)
    found = checked(felixpy(*probe, "internet", "shop/web", "-o", "json").stdout)
    assert (found["kind"], found["verdict"], found["protocol"]) == ("LabProbe", "allow", "icmp")

    tables = felixpy(*probe, "--all").stdout
    assert re.findall(r"(?m)^\S+ over .* allowed", tables) == [
        "tcp/80 over IPv4: 5 of 9 allowed",
        "tcp/5432 over IPv4: 5 of 9 allowed",
    ]
    assert [line.rpartition("-")[2][5:] or line for line in tables.splitlines()[2:4]] == [" . X .", " X . ."]
    told = checked(felixpy(*probe, "--all", "--port", "53/udp", "--port", "icmp", "--internet", "-o", "json").stdout)
    assert [table["protocol"] for table in told["tables"]] == ["udp", "icmp"]
    assert {len(table["cells"]) for table in told["tables"]} == {16}
    assert isinstance(felixpy(*probe, "shop/web", "shop/nobody").exception, UsageError)
    assert "no pod of lab" in str(felixpy(*probe, "--all", "-6").exception)


def test_policies_come_and_go_and_what_that_changes_is_told(name: str) -> None:
    felixpy("lab", "up", "shop", "--name", name)
    word = ("--name", name, "--quiet")
    added = felixpy("lab", "policy", "add", "deny.yaml", *word)
    assert "added KubernetesNetworkPolicy shop/deny" in added.stderr
    lines = added.stdout.splitlines()
    assert len(lines) == 8  # 2 from shop/web and 1 from each other to each database, at two ports
    assert all(re.match(r"DENIED  shop/\S+ → shop/db\S+ tcp/(80|5432)$", line) for line in lines)
    again = felixpy("lab", "policy", "add", "deny.yaml", *word)
    assert "in step already" in again.stderr
    assert "no connection between pods is decided otherwise than before" in again.stderr
    removed = felixpy("lab", "policy", "remove", "deny.yaml", *word)
    assert sorted(line.replace("DENIED", "ALLOWED") for line in lines) == sorted(removed.stdout.splitlines())
    assert "no policy of the lab is in there" in str(felixpy("lab", "policy", "remove", "deny.yaml", *word).exception)


def test_a_policy_of_a_folder_stays_out_until_it_is_added_again(name: str) -> None:
    shutil.copy("deny.yaml", "shop")
    felixpy("lab", "up", "shop", "--name", name)
    word = ("shop/deny.yaml", "--name", name, "--quiet", "--no-probe")
    assert "removed KubernetesNetworkPolicy shop/deny" in felixpy("lab", "policy", "remove", *word).stderr
    assert "KubernetesNetworkPolicy shop/deny  removed" in felixpy("lab", "status", "--name", name).stdout
    listed = felixpy("lab", "policy", "list", "--name", name)
    assert "KubernetesNetworkPolicy shop/deny  removed" in listed.stdout.splitlines()
    assert "added KubernetesNetworkPolicy shop/deny" in felixpy("lab", "policy", "add", *word).stderr
    assert "KubernetesNetworkPolicy shop/deny\n" in felixpy("lab", "status", "--name", name).stdout


def test_a_lab_from_standard_input_cannot_be_read_again(name: str) -> None:
    done = CliRunner().invoke(app, ["lab", "up", "-", "--name", name], input=SHOP)
    assert done.exit_code == 0
    wrong = felixpy("lab", "policy", "add", "deny.yaml", "--name", name).exception
    assert "made from standard input, which cannot be read again" in str(wrong)


def test_interfaces_that_are_given_are_built(name: str) -> None:
    words = ("--node", "n1", "--interface", "bond0=192.0.2.9/24", "--interface", "eth7=203.0.113.9/24")
    felixpy("lab", "up", "shop", "--name", name, *words)
    found = checked(felixpy("lab", "status", "--name", name, "-o", "json").stdout)
    [node] = found["nodes"]
    assert node["uplink"] == "bond0"
    assert node["interfaces"]["eth7"] == ["203.0.113.9"]
    added = felixpy("lab", "policy", "add", "deny.yaml", "--name", name, "--quiet", "--no-probe")
    assert "no rule of its nodes is changed by that" in added.stderr  # the pods that it is about are elsewhere
    again = checked(felixpy("lab", "status", "--name", name, "-o", "json").stdout)
    assert again["nodes"][0]["interfaces"] == node["interfaces"]


def in_pod(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`felixpy lab` in a process of its own: exec takes its place."""
    command = [sys.executable, "-m", "felixpy", "lab", *words[:1], "--name", name, *words[1:]]
    return subprocess.run(command, input="said\n", capture_output=True, text=True, timeout=60, check=False)


def test_commands_run_where_the_pod_is_with_its_terminal_and_status(name: str) -> None:
    felixpy("lab", "up", "shop", "--name", name)
    done = in_pod(name, "exec", "shop/web", "--", "sh", "-c", "cat; ip -brief address show eth0; echo bad >&2; exit 7")
    assert (done.returncode, done.stderr) == (7, "bad\n")
    assert re.match(r"said\neth0@\S+ +UP +10\.65\.0\.1/32", done.stdout)


@pytest.mark.parametrize(
    "words, message",
    [
        ("status --name nosuch", "lab nosuch is not up; felixpy lab up brings it up"),
        ("probe --name nosuch internet a/b", "lab nosuch is not up"),
        ("policy add deny.yaml --name nosuch", "lab nosuch is not up"),
        ("exec --name nosuch a/b -- true", "lab nosuch is not up"),
        ("up shop --name A", "--name A: a lab's name has"),
    ],
)
def test_what_is_not_there_is_one_clear_line(words: str, message: str) -> None:
    assert message in str(felixpy("lab", *words.split()).exception)


@pytest.fixture
def tcpdump() -> None:
    """Skip where it is not installed; in CI that is an error."""
    if not shutil.which("tcpdump"):
        (pytest.fail if in_ci() else pytest.skip)("tcpdump is missing")


def test_packets_of_a_pod_can_be_watched(name: str, tcpdump: None) -> None:
    felixpy("lab", "up", "shop", "--name", name)
    words = ("capture", "--name", name, "shop/web", "--", "-c", "1", "-l", "tcp", "dst", "port", "80")
    command = [sys.executable, "-m", "felixpy", "lab", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr
        while "listening on" not in process.stderr.readline():
            assert process.poll() is None
        felixpy("lab", "probe", "--name", name, "internet", "shop/web:80")
        seen, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "> 10.65.0.1.80: Flags [S]" in seen


def test_without_tcpdump_it_is_told_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    felixpy("lab", "up", "shop", "--name", name)
    monkeypatch.setenv("PATH", os.devnull)
    wrong = felixpy("lab", "capture", "shop/web", "--name", name).exception
    assert isinstance(wrong, EnvironmentMissing)
    assert "apt-get install tcpdump" in str(wrong)


def test_without_the_tools_a_lab_is_not_made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools are looked for beside those of the path, so the path alone is not enough to hide them."""
    monkeypatch.setattr("felixpy.dataplane.tools.PROGRAMS", {4: "nosuchtables", 6: "nosuch6tables"})
    wrong = felixpy("lab", "up", "shop", "--name", name).exception
    assert isinstance(wrong, EnvironmentMissing)
    assert "is missing; install iptables" in str(wrong)
    assert left_of(name, folder) == []
