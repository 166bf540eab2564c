"""Reading the rules of nodes: a `kubectl` that passes `get` and `config` on and answers `exec` from files, and an `ssh`
that does the same.
"""

from __future__ import annotations

import gc
import json
import os
import shlex
import threading
import weakref
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from felixpy import kubectl, verification
from felixpy.compiler import Compiler
from felixpy.compiler import compile as compile_node
from felixpy.kubectl import Kubectl
from felixpy.kubectl.client import Unreachable
from felixpy.kubectl.listing import Listing, list_cluster
from felixpy.kubectl.nodes import AHEAD, AT_ONCE, FEWEST, MOST_HELD, NodeKernel, read_nodes
from felixpy.netfilter.rules import Dump
from felixpy.verification import Node, Observed, Verification, verify
from tests.cluster.standin import StandIn
from tests.commands import Answer, caller
from tests.manifests import CALICO, loaded, manifest, namespace, pod

POLICY = manifest(
    "networking.k8s.io/v1", "NetworkPolicy", "web",
    {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}, "shop",
)  # fmt: skip
NODES = ("node1", "node2", "node3")
EMPTY_TABLE = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"

ANSWER = """
if [ -e "$folder/hangs" ]; then exec sleep 600; fi
if [ -e "$folder/says" ]; then cat "$folder/says" >&2; exit 1; fi
file="$folder/$(echo "$command" | tr ' ' _)"
if [ -e "$file" ]; then exec cat "$file"; fi
echo "exec: $command: executable file not found in \\$PATH" >&2
echo "command terminated with exit code 127" >&2
exit 127
"""
"""What either program does once it knows the folder of a node and the command."""

KUBECTL = """#!/bin/sh
echo "$*" >> {log}
case " $* " in *" exec "*) ;; *) exec {real} "$@" ;; esac
while [ "$1" != --container ]; do pod=$1; shift; done
shift 3
folder={folder}/$pod; command="$*"
"""

SSH = """#!/bin/sh
echo "$*" >> {log}
while [ "$1" != -- ]; do shift; done
folder={folder}/$2; command=$(echo "$3" | sed 's/.*then //; s/; else.*//')
"""


class Nodes(NamedTuple):
    """The folder with a folder for each pod of calico-node, or each host of ssh, and felixpy's command line."""

    folder: Path
    stand_in: StandIn
    felixpy: object
    log: Path

    def run(self, *arguments: object) -> Answer:
        answer: Answer = self.felixpy(*arguments)  # type: ignore[operator]
        return answer

    def program(self, node: str, rules: dict[str, str], directory: str = "") -> None:
        """What the tools print on a node, by command."""
        place = self.folder / (directory or f"calico-{node}")
        place.mkdir(exist_ok=True)
        for command, text in rules.items():
            (place / command.replace(" ", "_")).write_text(text)


def pod_of(name: str, address: str, node: str) -> dict:
    found = pod(name, address)
    found["spec"]["nodeName"] = node
    return found


def objects() -> list[dict]:
    pods = [pod_of(f"web-{number}", f"10.244.{number}.10", node) for number, node in enumerate(NODES, start=1)]
    return [namespace("shop"), *(manifest("v1", "Node", node) for node in NODES), *pods, POLICY]


def printed(node: str, backend: str = "nft", *, port: int = 80) -> dict[str, str]:
    """What the tools print on a node that Felix has programmed, perhaps with another port than the policy has."""
    return saved_texts(compile_node(loaded(*objects(), *calico_pods()), node).files(), backend, port=port)


def saved_texts(files: Mapping[str, str], backend: str = "nft", *, port: int = 80) -> dict[str, str]:
    """A node's files by the commands that print them."""
    texts = {name: text.replace("--dports 80", f"--dports {port}") for name, text in files.items()}
    counted = {
        name: text.replace("\n-A", "\n[3:180] -A") if name.endswith("tables.save") else text
        for name, text in texts.items()
    }
    return {
        "nft list tables": "table ip filter\n",
        f"iptables-{backend}-save -c": counted["iptables.save"],
        f"ip6tables-{backend}-save -c": counted["ip6tables.save"],
        "ipset save": counted["ipset.save"],
    }


def calico_pod(node: str) -> dict:
    item = manifest("v1", "Pod", f"calico-{node}", {"nodeName": node, "hostNetwork": True}, "kube-system")
    item["metadata"]["labels"] = {"k8s-app": "calico-node"}
    item["spec"]["containers"] = [{"name": "calico-node"}]
    item["status"] = {"phase": "Running", "podIPs": [{"ip": "192.0.2.1"}]}
    return item


def calico_pods() -> list[dict]:
    return [*map(calico_pod, NODES)]


@pytest.fixture
def nodes(
    stand_in: StandIn, kubeconfig: Path, kubectl_program: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> Nodes:  # fmt: skip
    for item in (*objects(), *calico_pods()):
        stand_in.put(item)
    programs, folder, log = tmp_path / "bin", tmp_path / "answers", tmp_path / "log"
    for each in (programs, folder):
        each.mkdir()
    known = {"log": shlex.quote(str(log)), "folder": shlex.quote(str(folder)), "real": shlex.quote(kubectl_program)}
    for name, head in (("kubectl", KUBECTL), ("ssh", SSH)):
        (programs / name).write_text(head.format(**known) + ANSWER)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.chdir(tmp_path)
    found = Nodes(folder, stand_in, caller(capsys, monkeypatch), log)
    for node in NODES:
        found.program(node, printed(node))
    return found


def rows(answer: Answer) -> dict[str, str]:
    """State and findings by node."""
    table = answer.out.partition("\n\n")[0].splitlines()[1:]
    return {line.split()[0]: " ".join(line.split()[1:]) for line in table}


def test_all_nodes_are_equal(nodes: Nodes) -> None:
    answer = nodes.run("verify", "--cluster", "--all-nodes", "-q")
    assert answer.status == 0, answer.out + answer.err
    assert rows(answer) == dict.fromkeys(NODES, "equal")
    assert answer.err == ""


def test_what_differs_and_what_cannot_be_read_is_told_by_node(nodes: Nodes) -> None:
    nodes.program("node2", printed("node2", port=81))
    (nodes.folder / "calico-node3" / "says").write_text(
        'Error from server (Forbidden): pods "calico-node3" is forbidden: User "dev" cannot create resource "pods/exec"'
    )
    answer = nodes.run("verify", "--cluster", "-q")
    assert answer.status == 1
    found = rows(answer)
    assert found["node1"] == "equal"
    assert found["node2"].endswith("finding") or found["node2"].endswith("findings")
    assert found["node3"].startswith("unknown")
    assert 'User "dev" cannot create resource "pods/exec"' in found["node3"]
    shown = json.loads(nodes.run("verify", "--cluster", "-q", "-o", "json").out)
    assert shown["equal"] is False
    assert [each["node"] for each in shown["unknown"]] == ["node3"]


def test_a_node_that_does_not_answer_keeps_nobody_waiting(nodes: Nodes) -> None:
    (nodes.folder / "calico-node1" / "hangs").touch()
    answer = nodes.run("verify", "--cluster", "-q", "--request-timeout", "5")
    assert answer.status == 2
    assert rows(answer)["node1"].startswith("unknown")
    assert "no answer within 5 s" in rows(answer)["node1"]
    assert rows(answer)["node2"] == rows(answer)["node3"] == "equal"


def test_a_node_without_a_pod_of_calico(nodes: Nodes) -> None:
    nodes.stand_in.delete(calico_pods()[1])
    answer = nodes.run("verify", "--cluster", "-q")
    assert answer.status == 2
    assert rows(answer)["node2"] == "unknown no calico-node pod runs on it"


def test_windows_nodes_are_told_and_not_asked(nodes: Nodes) -> None:
    """Calico runs on them, but has no chains there: an answer that says EQUAL would be wrong, and so would DIFFERS."""
    for name in NODES[:2]:
        nodes.stand_in.put(manifest("v1", "Node", name, labels={"kubernetes.io/os": "windows"}))
    answer = nodes.run("verify", "--cluster")
    assert answer.status == 2
    said = "unknown kubernetes.io/os is windows: rules of the Windows data plane are not compared"
    assert rows(answer) == {"node1": said, "node2": said, "node3": "equal"}
    (warning,) = [line for line in answer.err.splitlines() if "Windows" in line]
    assert (
        "Node node1: kubernetes.io/os is windows, so Felix uses its Windows data plane on node1 and 1 more node;"
        in warning
    )
    assert not any(f"calico-{name}" in line for line in nodes.log.read_text().splitlines() for name in NODES[:2])


def test_nodes_with_ebpf_are_told_and_not_asked(nodes: Nodes) -> None:
    nodes.stand_in.put(manifest(CALICO, "FelixConfiguration", "node.node2", {"bpfEnabled": True}))
    answer = nodes.run("verify", "--cluster", "-q")
    assert answer.status == 2
    assert rows(answer)["node2"] == "unknown bpfEnabled is true: rules of the eBPF data plane are not compared"
    assert rows(answer)["node1"] == rows(answer)["node3"] == "equal"


class ManyNodes(Kubectl):
    """Thousands of nodes, each of which prints an empty table; the one that hangs does so until it is let go."""

    def __init__(self, count: int, hanging: str, sets: str = "") -> None:
        super().__init__(context="test")
        self.hanging, self.let_go = hanging, threading.Event()
        self.sets = sets
        self.pods = [
            manifest("v1", "Pod", f"pod-{number}", {"nodeName": f"node{number}"}, "kube-system")
            | {"status": {"phase": "Running"}}
            for number in range(count)
        ]
        self.begun: set[str] = set()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def get(self, path: str) -> bytes:
        assert "&limit=500" in path
        matches = "kube-system" in path and "canal" not in path
        start = int(path.partition("continue=")[2] or 0)
        found = self.pods[start : start + 500] if matches else []
        metadata = {"continue": str(start + 500)} if matches and start + 500 < len(self.pods) else {}
        return json.dumps({"kind": "PodList", "metadata": metadata, "items": found}).encode()

    def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
        with self._lock:
            self.begun.add(pod)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if pod == self.hanging and not self.let_go.wait(60):
                raise AssertionError("nobody went on")
            if pod == self.hanging:
                raise Unreachable(f"{pod}: no answer within 60 s")
            return EMPTY_TABLE if command[0].endswith("-save") else self.sets if command[0] == "ipset" else ""
        finally:
            with self._lock:
                self.now -= 1


def test_five_thousand_nodes_one_of_which_hangs() -> None:
    """As many as are allowed at once, not many more than somebody wants, and nobody waits for the one that hangs."""
    kubectl, names = ManyNodes(5000, "pod-7"), [f"node{number}" for number in range(5000)]
    found = []
    for kernel in read_nodes(kubectl, names):
        found.append(kernel)
        assert len(kubectl.begun) <= len(found) + AHEAD
        if len(found) == 4999:
            kubectl.let_go.set()
    assert sorted(kernel.node for kernel in found) == sorted(names)
    assert [kernel.node for kernel in found if kernel.failure] == ["node7"]
    assert found[-1].failure == "pod-7: no answer within 60 s"
    assert kubectl.most <= AT_ONCE


def test_of_nodes_with_large_sets_few_are_read_ahead() -> None:
    """Some of them at the beginning, when nobody knows that, then as many as fit."""
    kubectl, names = ManyNodes(100, "", "." * (MOST_HELD // 5)), [f"node{number}" for number in range(100)]
    for number, _ in enumerate(read_nodes(kubectl, names), start=1):
        assert len(kubectl.begun) <= max(number + 5, AT_ONCE)
    assert len(kubectl.begun) == 100
    kubectl = ManyNodes(100, "", "." * (2 * MOST_HELD))
    for number, _ in enumerate(read_nodes(kubectl, names), start=1):
        assert len(kubectl.begun) <= max(number + FEWEST, AT_ONCE)


class Noted(Listing):
    """One that may be asked for without being held."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("every", [0, 4])
def test_nothing_of_a_node_is_held_once_it_has_been_compared(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """Of 60 nodes, none or every fourth of which differs, some are read ahead and one after the other is compared."""
    names = [f"many{number}" for number in range(60)]
    items = [*(manifest("v1", "Node", name) for name in names), *map(calico_pod, names)]
    items += [pod_of(f"web-{name}", f"10.245.{number}.10", name) for number, name in enumerate(names)]
    for item in items:
        nodes.stand_in.put(item)
    compiler = Compiler(loaded(*objects(), *calico_pods(), *items))
    texts = {
        name: saved_texts(compiler.compile(name).files(), port=81 if every and not number % every else 80)
        for number, name in enumerate((*names, *NODES))
    }

    def execute(self: Kubectl, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
        return texts[pod.removeprefix("calico-")].get(" ".join(command), "")

    def living() -> list[int]:
        found = gc.get_objects()
        return [sum(isinstance(each, kind) for each in found) for kind in (NodeKernel, Dump)]

    def listing(*arguments: Any, **more: Any) -> Listing:
        found = Noted(*attrgetter("context", "listed", "missing")(list_cluster(*arguments, **more)))
        listed.append(weakref.ref(found))
        return found

    listed: list[weakref.ref[Listing]] = []
    held: list[list[int]] = []

    def counting(observed: Observed, node: Node) -> Verification:
        if every:  # what judges differences holds itself in circles
            gc.collect()
        held.append(living())
        assert [each() for each in listed] == [None]
        return verify(observed, node)

    monkeypatch.setattr(Kubectl, "execute", execute)
    monkeypatch.setattr(verification, "verify", counting)
    monkeypatch.setattr(kubectl, "list_cluster", listing)
    gc.collect()
    before = living()
    answer = nodes.run("verify", "--cluster", "-q")
    assert list(rows(answer).values()).count("equal") == (len(texts) * 3 // 4 if every else len(texts))
    assert len(held) == len(texts)
    kernels, dumps = (max(each) - some for each, some in zip(zip(*held, strict=True), before, strict=True))
    assert kernels <= AHEAD + 2
    assert dumps == 1


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_images_with_the_tools_of_one_backend_only(nodes: Nodes, backend: str) -> None:
    for file in (nodes.folder / "calico-node1").iterdir():
        file.unlink()
    nodes.program("node1", printed("node1", backend))
    answer = nodes.run("verify", "--cluster", "--node", "node1", "-q")
    assert answer.status == 0, answer.out + answer.err
    assert rows(answer) == {"node1": "equal"}


def test_the_backend_with_the_rules_of_felix_counts(nodes: Nodes) -> None:
    nodes.program("node1", {"iptables-legacy-save -c": EMPTY_TABLE, "ip6tables-legacy-save -c": EMPTY_TABLE})
    assert nodes.run("verify", "--cluster", "--node", "node1", "-q").status == 0
    both = {name: text for name, text in printed("node1", "legacy").items() if "legacy" in name}
    nodes.program("node1", both)
    answer = nodes.run("verify", "--cluster", "--node", "node1", "-q")
    assert answer.status == 1
    assert "legacy and nft both in use" in answer.out


def test_a_node_without_rules_of_felix(nodes: Nodes) -> None:
    nodes.program("node1", {"iptables-nft-save -c": EMPTY_TABLE, "ip6tables-nft-save -c": EMPTY_TABLE})
    answer = nodes.run("verify", "--cluster", "--node", "node1", "-q")
    assert answer.status == 1
    assert "nothing of Felix" in answer.out


def test_a_node_without_ipv6_tools_says_so(nodes: Nodes) -> None:
    (nodes.folder / "calico-node1" / "ip6tables-nft-save_-c").unlink()
    answer = nodes.run("verify", "--cluster", "--node", "node1")
    assert "IPv6 was not read" in answer.out + answer.err


def test_a_node_with_nftables_is_compared_in_that_data_plane(nodes: Nodes) -> None:
    """With an empty table, as Felix leaves it in a crash loop, and with iptables rules left beside it."""
    left = "*filter\n:FORWARD ACCEPT [0:0]\n:cali-FORWARD - [0:0]\n-A FORWARD -j cali-FORWARD\nCOMMIT\n"
    tables = {"nft list tables": "table ip calico\n", "nft list ruleset": "table ip calico {\n}\n"}
    nodes.program("node1", tables | {"iptables-legacy-save -c": left})
    answer = nodes.run("verify", "--cluster", "--node", "node1", "-q")
    assert answer.status == 1
    assert "table ip calico is empty" in answer.out
    assert "both data planes in use" in answer.out


def test_what_prints_no_rules_is_unknown(nodes: Nodes) -> None:
    nodes.program("node1", {"iptables-nft-save -c": "*filter\n-A cali-nowhere --what\n"})
    answer = nodes.run("verify", "--cluster", "--node", "node1", "-q")
    assert answer.status == 2
    assert rows(answer)["node1"].startswith("unknown")


def test_trace_walks_the_rules_of_the_nodes(nodes: Nodes) -> None:
    question = ("trace", "shop/web-1", "shop/web-2:80", "--cluster", "-q")
    assert nodes.run(*question, "--expect", "allow").status == 0
    nodes.program("node2", printed("node2", port=81))
    assert nodes.run(*question, "--expect", "allow").status == 0
    assert nodes.run(*question, "--node-rules", "--expect", "deny").status == 0
    (nodes.folder / "calico-node2" / "says").write_text("error: it is on fire")
    answer = nodes.run(*question, "--node-rules", "--expect", "allow")
    assert answer.status == 0, answer.err
    assert "the rules of node node2 could not be read" in answer.err


def test_counters_of_nodes(nodes: Nodes) -> None:
    answer = nodes.run("counters", "--cluster", "--node-rules", "-o", "json", "-q")
    assert answer.status == 0, answer.err
    assert any(item["packets"] for item in json.loads(answer.out)["items"])


def test_annotate_a_node(nodes: Nodes) -> None:
    answer = nodes.run("annotate", "--cluster", "--node", "node1", "--node-rules", "-q")
    assert answer.status == 0
    assert "# policy" in answer.out.lower() or "shop/web" in answer.out
    assert nodes.run("annotate", "--cluster", "--node-rules").status == 2


@pytest.mark.parametrize("host", ["router1", "-oProxyCommand=touch hacked"])
def test_a_machine_that_ssh_reaches(nodes: Nodes, host: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [
        *objects(), *calico_pods(),
    ]}))  # fmt: skip
    nodes.program("node1", printed("node1"), host)
    answer = nodes.run("verify", "files", f"--ssh={host}", "--node", "node1", "-q")
    assert answer.status == 0, answer.out + answer.err
    assert f"EQUAL  {host} has" in answer.out
    assert "-- " in nodes.log.read_text()
    assert (
        nodes.run("trace", "shop/web-1", "shop/web-2:80", "files", f"--ssh={host}", "--node", "node1", "-q").status == 0
    )
    assert nodes.run("counters", "files", f"--ssh={host}", "--node", "node1", "-q").status == 0
    assert nodes.run("annotate", "files", f"--ssh={host}", "--node", "node1", "-q").status == 0


def test_a_machine_that_ssh_cannot_read(nodes: Nodes) -> None:
    answer = nodes.run("verify", "--cluster", "--ssh", "nobody", "--node", "node1", "-q")
    assert answer.status == 3
    assert "nobody" in answer.err


def test_only_commands_that_read_are_run(nodes: Nodes) -> None:
    nodes.run("verify", "--cluster", "-q")
    nodes.run("counters", "--cluster", "--node-rules", "-q")
    run = {line.partition(" -- ")[2] for line in nodes.log.read_text().splitlines() if " exec " in f" {line}"}
    assert run == {
        "nft list tables", "iptables-nft-save -c", "iptables-legacy-save -c", "ip6tables-nft-save -c", "ipset save"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "files", "--node-rules"), "No such option"),
        (("verify", "--cluster", "--all-nodes", "--node", "node1"), "--all-nodes"),
        (("verify", "--cluster", "--node", "node9"), "node9"),
        (("trace", "shop/web-1", "shop/web-2", "--node-rules"), "--cluster"),
        (("trace", "shop/web-1", "shop/web-2", "--cluster", "--node-rules", "--ssh", "n1"), "exclude each other"),
    ],
)
def test_what_makes_no_sense(nodes: Nodes, arguments: tuple[str, ...], said: str) -> None:
    answer = nodes.run(*arguments)
    assert answer.status == 2
    assert said in answer.err
