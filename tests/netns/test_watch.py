"""`felixpy apply --watch` as a process: it follows its files, repairs what others change, and ends when told to."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.kernel import open_machine
from tests.conformance.recordings import TOOLS, Case
from tests.netns import enforcing
from tests.netns.enforcing import case_of, here
from tests.netns.namespace import BACKENDS, Namespace, canonical, members

pytestmark = pytest.mark.netns

CHECKOUT = Path(__file__).parents[2]
SHOP, OTHER = case_of("k8s/shop-three-tiers"), case_of("k8s/knp-default-deny-both")
PATIENCE_SECONDS = 60


class Watch:
    """A running watch of one file; `said` waits for a line on stderr."""

    def __init__(self, netns: Namespace, folder: Path, *words: str) -> None:
        self.netns, self.file, self.name = netns, folder / "manifests.yaml", folder / "node"
        self.write(SHOP)
        self.name.symlink_to(here())
        place = ("--netns", str(self.name), "--node", SHOP.node)
        command = (sys.executable, "-m", "felixpy", "apply", str(folder), *place, "--watch", *words)
        environment = {**netns.environment, "PYTHONPATH": str(CHECKOUT)}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self._unread = b""

    def write(self, case: Case, more: str = "") -> None:
        """As an editor does it: under another name, then moved into place. `more` stands behind the manifests."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{(case.folder / 'manifests.yaml').read_text()}\n{more}")
        fresh.replace(self.file)

    def said(self, pattern: str) -> str:
        """The next line that the pattern is found in."""
        assert self.process.stderr
        deadline = time.monotonic() + PATIENCE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stderr, selectors.EVENT_READ)
            while True:
                line, end, rest = self._unread.partition(b"\n")
                if end:
                    self._unread = rest
                    if re.search(pattern, line.decode()):
                        return line.decode()
                    continue
                assert time.monotonic() < deadline, f"{pattern!r} was never said"
                if selector.select(1):
                    heard = os.read(self.process.stderr.fileno(), 1 << 16)
                    assert heard, f"it ended without saying {pattern!r}"
                    self._unread += heard

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr
        self.process.stderr.close()


@pytest.fixture
def watch(netns: Namespace, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Watch]:
    folder = tmp_path / "watched"
    folder.mkdir()
    watch = Watch(netns, folder, *getattr(request, "param", ()))
    yield watch
    watch.close()


def snapshot(netns: Namespace, backend: str) -> list[object]:
    texts = [netns.run(f"{tool}-{backend}-save").stdout for tool in TOOLS.values()]
    return [*map(canonical, texts), members(netns.run("ipset", "save").stdout)]


def goal(case: Case) -> list[object]:
    return [canonical(case.expected(4)), canonical(case.expected(6)), members(case.expected_sets())]


@pytest.mark.parametrize("watch", [("--backend", backend, "--resync", "1") for backend in BACKENDS], indirect=True)
def test_files_and_kernel_are_kept_in_step(watch: Watch, netns: Namespace, request: pytest.FixtureRequest) -> None:
    backend = request.node.callspec.params["watch"][1]
    watch.said(rf"\d\d:\d\d:\d\d network namespace \S+ \({backend}\): changed \d+ sets and \d+ chains")
    assert snapshot(netns, backend) == goal(SHOP)

    watch.write(OTHER)
    watch.said(r"manifests\.yaml: changed \d+ sets and \d+ chains")
    assert snapshot(netns, backend) == goal(OTHER)

    assert netns.run(f"iptables-{backend}", "-w", "-F", "cali-FORWARD").returncode == 0
    watch.said(r"put right what others had changed: .*table filter \(IPv4\) cali-FORWARD")
    assert snapshot(netns, backend) == goal(OTHER)

    watch.file.write_text("kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nspec: 7\n")
    watch.said(r"^\S+manifests\.yaml:\d")
    watch.said(r"manifests\.yaml: the input is wrong; the policy is unchanged")
    assert snapshot(netns, backend) == goal(OTHER)

    watch.write(SHOP)
    watch.said(r"manifests\.yaml: changed")
    assert snapshot(netns, backend) == goal(SHOP)
    assert watch.end() == 0
    watch.said("stopped; the rules stay in force")
    assert snapshot(netns, backend) == goal(SHOP)


NFTABLES_MODE = """
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {nftablesMode: Enabled}
"""


@pytest.mark.parametrize("watch", [("--resync", "1")], indirect=True)
def test_a_change_of_the_data_plane_is_carried_out(watch: Watch, netns: Namespace) -> None:
    """And back; in the new data plane the watch goes on as before."""

    def tables() -> enforcing.Snapshot:
        with open_machine(here()) as machine:
            return enforcing.snapshot(machine, NFTABLES)

    nothing = [canonical(""), canonical(""), set()]
    in_nftables = enforcing.goal(SHOP.compile(dataplane=NFTABLES), NFTABLES)
    watch.said("now watching")
    assert snapshot(netns, "legacy") == goal(SHOP)

    watch.write(SHOP, NFTABLES_MODE)
    watch.said("rules of Felix are in iptables .legacy., too; they go once those of nftables are in force")
    watch.said(r"manifests\.yaml: changed")
    assert snapshot(netns, "legacy") == nothing
    assert tables() == in_nftables

    assert netns.run("nft", "flush", "chain", "ip", "calico", "filter-cali-FORWARD").returncode == 0
    watch.said("put right what others had changed: .*table ip calico filter-cali-FORWARD")
    assert tables() == in_nftables

    watch.write(SHOP)
    watch.said(r"manifests\.yaml: changed")
    assert snapshot(netns, "legacy") == goal(SHOP)
    assert tables()[:2] == enforcing.EMPTY[:2]
    assert watch.end() == 0


@pytest.mark.parametrize("watch", [("--backend", "legacy")], indirect=True)
def test_a_change_of_the_data_plane_that_options_exclude_is_not_carried_out(watch: Watch, netns: Namespace) -> None:
    watch.said("now watching")
    watch.write(SHOP, NFTABLES_MODE)
    watch.said("--backend legacy is a kind of iptables, .*; the policy is unchanged")
    assert snapshot(netns, "legacy") == goal(SHOP)
    watch.write(OTHER)
    watch.said(r"manifests\.yaml: changed")
    assert snapshot(netns, "legacy") == goal(OTHER)


def test_ctrl_c_ends_it_and_leaves_the_rules(watch: Watch, netns: Namespace) -> None:
    watch.said("now watching")
    assert watch.end(signal.SIGINT) == 130
    watch.said("interrupted; the rules stay in force")
    assert snapshot(netns, "legacy") == goal(SHOP)


def test_the_lock_is_free_while_nothing_is_written(watch: Watch, netns: Namespace) -> None:
    """Another felixpy does its work meanwhile; the watch takes that for a change by somebody else."""
    watch.said("now watching")
    command = (sys.executable, "-m", "felixpy", "remove", "--netns", here(), "--wait", "1")
    assert netns.run(*command).returncode == 0
    assert snapshot(netns, "legacy") == [{}, {}, set()]


def test_a_namespace_that_is_gone_ends_it(watch: Watch) -> None:
    watch.said("now watching")
    watch.name.unlink()
    watch.said("the network namespace went away")
    watch.said(f"no network namespace {watch.name}")
    assert watch.process.wait(PATIENCE_SECONDS) == 3


def test_a_namespace_made_anew_is_taken_for_the_same(watch: Watch, netns: Namespace, tmp_path: Path) -> None:
    watch.said("now watching")
    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as sleeper:
        while Path(f"/proc/{sleeper.pid}/ns/net").readlink() == Path("/proc/thread-self/ns/net").readlink():
            time.sleep(0.01)
        anew = tmp_path / "anew"
        anew.symlink_to(f"/proc/{sleeper.pid}/ns/net")
        anew.replace(watch.name)
        watch.said(r"changed \d+ sets and \d+ chains in \d tables; now watching")
        saved = netns.run("nsenter", f"--net=/proc/{sleeper.pid}/ns/net", "iptables-legacy-save").stdout
        assert canonical(saved) == goal(SHOP)[0]
        sleeper.kill()


def test_wrong_input_at_the_start_is_an_error(netns: Namespace, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: NetworkPolicy\n")
    command = (sys.executable, "-m", "felixpy", "apply", str(tmp_path), "--netns", here(), "--watch")
    assert netns.run(*command).returncode == 2
