"""Read the rules and sets in the kernels of nodes, through each node's calico-node pod or through ssh."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from felixpy.errors import EnvironmentMissing
from felixpy.kubectl.client import READING, Forbidden, Kubectl, RequestRefused, Unauthorized, Unreachable
from felixpy.kubectl.listing import pages
from felixpy.names import has_felix_tables

SELECTORS = ("k8s-app=calico-node", "k8s-app=canal")
NAMESPACES = ("calico-system", "kube-system")
CONTAINER = "calico-node"
AT_ONCE = 16
AHEAD = 2 * AT_ONCE
"""Nodes that are read, or have been and wait to be looked at: more of them only take memory."""

FEWEST = 4
MOST_HELD = 32 * 2**20
"""Characters of rules and sets that nodes hold while they wait: where nodes have much, fewer than `AHEAD` are read, but
`FEWEST` in any case, since one may not answer. Reading takes several times as much for a moment.
"""

OURS = "cali-"

BACKENDS: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "nft": {4: ("iptables-nft-save", "-c"), 6: ("ip6tables-nft-save", "-c")},
    "legacy": {4: ("iptables-legacy-save", "-c"), 6: ("ip6tables-legacy-save", "-c")},
}
SETS = ("ipset", "save")
TABLES = ("nft", "list", "tables")
RULESET = ("nft", "list", "ruleset")

NOTHING: Mapping[str, Mapping[int, str]] = MappingProxyType({})


class NodeKernel(NamedTuple):
    """What was read of one node: rules by family, sets, an nftables ruleset if the node has Calico's tables in it, or
    why nothing could be read.

    `others` are the rules of the other iptables backend, by backend and family, if it has chains of Calico, too;
    `remarks` say what could not be read beside the rest.
    """

    node: str
    rules: Mapping[int, str]
    sets: str | None
    ruleset: str = ""
    failure: str = ""
    others: Mapping[str, Mapping[int, str]] = NOTHING
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The number of characters read."""
        texts = [*self.rules.values(), *(text for each in self.others.values() for text in each.values())]
        return sum(map(len, texts)) + len(self.sets or "") + len(self.ruleset)


Run = Callable[[Sequence[str]], str]
"""Runs one reading command on a node, and gives what it prints. Raises Refused."""


def pods_of_nodes(kubectl: Kubectl) -> dict[str, tuple[str, str]]:
    """(namespace, name) of the running calico-node pod of each node. Raises Refused if pods cannot be listed."""
    found: dict[str, tuple[str, str]] = {}
    for namespace in NAMESPACES:
        for selector in SELECTORS:
            path = f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector.replace('=', '%3D')}"
            listed = pages(lambda page, _: kubectl.get(page), path)
            for pod in (pod for page in listed for pod in page.get("items") or ()):
                node = pod.get("spec", {}).get("nodeName")
                ending = "deletionTimestamp" in pod["metadata"]
                if node and not ending and pod.get("status", {}).get("phase") == "Running":
                    found.setdefault(node, (namespace, pod["metadata"]["name"]))
    return found


def read_nodes(
    kubectl: Kubectl, nodes: Sequence[str] | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Iterator[NodeKernel]:
    """The kernels of the given nodes, or of all that run calico-node, in the order in which reading them completes.

    Failures are independent: a node that cannot be read has a `failure`. `progress` is called with the number of nodes
    read and the total. Raises Refused if the pods of calico-node cannot be listed.
    """
    pods = pods_of_nodes(kubectl)
    names = sorted(pods) if nodes is None else list(nodes)

    def read(node: str) -> NodeKernel:
        if node not in pods:
            return NodeKernel(node, {}, None, failure="no calico-node pod runs on it")
        namespace, pod = pods[node]
        return read_kernel(node, lambda command: kubectl.execute(namespace, pod, CONTAINER, command))

    todo, running, largest = iter(names), set[Future[NodeKernel]](), 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number in range(1, len(names) + 1):
            room = max(_room(largest) - len(running), 0)
            running.update(pool.submit(read, name) for name in islice(todo, room))
            # Each leaves the set, so that nothing of a node is kept in memory once it has been processed.
            ready = wait(running, return_when=FIRST_COMPLETED).done.pop()
            running.remove(ready)
            kernel = ready.result()
            largest = max(largest, kernel.size)
            if progress:
                progress(number, len(names))
            yield kernel


def _room(largest: int) -> int:
    """How many nodes may be in progress or wait to be processed; `largest` is the size of the largest one so far."""
    return max(FEWEST, min(AHEAD, MOST_HELD // largest)) if largest else AT_ONCE


def read_kernel(node: str, run: Run) -> NodeKernel:
    """Read the rules of the iptables backend with Calico's chains, and the sets; failures become part of the value.

    If the kernel has the tables of Felix's nftables data plane, these are read, and Calico's iptables rules that were
    left.
    """
    try:
        if has_felix_tables(_attempt(run, TABLES)[0]):
            left, _ = _saved(run)
            others = {backend: {4: text} for backend, text in left.items() if f":{OURS}" in text}
            return NodeKernel(node, {}, run(SETS) if others else None, run(RULESET), others=others)
        saved, reasons = _saved(run)
        if not saved:
            return NodeKernel(node, {}, None, failure="; ".join(reasons))
        chosen = max(saved, key=lambda backend: saved[backend].count(OURS))
        with_ours = [backend for backend in saved if backend == chosen or OURS in saved[backend]]
        rules, remarks = {}, []
        for backend in with_ours:
            six, reason = _attempt(run, BACKENDS[backend][6])
            rules[backend] = {4: saved[backend], **({} if reason else {6: six})}
            remarks += [f"IPv6 was not read: {reason}"] * bool(reason)
        return NodeKernel(node, rules.pop(chosen), run(SETS), others=rules, remarks=tuple(remarks))
    except RequestRefused as wrong:
        return NodeKernel(node, {}, None, failure=str(wrong))


def _saved(run: Run) -> tuple[dict[str, str], list[str]]:
    """The IPv4 rules by backend, and why a backend has none; images may contain the tools of one backend only."""
    answers = {backend: _attempt(run, commands[4]) for backend, commands in BACKENDS.items()}
    reasons = [reason for _, reason in answers.values() if reason]
    return {backend: text for backend, (text, reason) in answers.items() if not reason}, reasons


def _attempt(run: Run, command: Sequence[str]) -> tuple[str, str]:
    """(output of a command, ""), or ("", the reason) if it fails, for example because the tool is missing.

    Raises Refused for failures that would be the same for every command: no connection, no permission.
    """
    try:
        return run(command), ""
    except (Forbidden, Unauthorized, Unreachable):
        raise
    except RequestRefused as wrong:
        return "", str(wrong)


def over_ssh(destination: str, *, timeout: float = 60.0, program: str = "ssh") -> Run:
    """A function that runs the same commands on a machine through ssh, as root or with passwordless sudo."""

    def run(command: Sequence[str]) -> str:
        if tuple(command) not in READING:
            raise ValueError(f"{' '.join(command)} is not among the commands that may run on a node")
        line = " ".join(command)
        remote = f"if [ $(id -u) = 0 ]; then {line}; else sudo -n {line}; fi"
        try:
            done = subprocess.run(  # noqa: S603 - the destination is one word, and no option
                [program, "-o", "BatchMode=yes", "--", destination, remote],
                stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=timeout,
            )  # fmt: skip
        except FileNotFoundError:
            raise EnvironmentMissing(f"{program} is missing, which --ssh needs") from None
        except subprocess.TimeoutExpired:
            raise Unreachable(f"{destination}: no answer within {timeout:.0f} s") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise (Unreachable if done.returncode == 255 else RequestRefused)(f"{destination}: {line}: {said}")
        return done.stdout.decode(errors="surrogateescape")

    return run
