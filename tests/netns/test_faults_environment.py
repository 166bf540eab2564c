"""Machines on which something is missing: one line says what, and how to get it; nothing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.netns.enforcing import EMPTY, here
from tests.netns.namespace import BACKENDS, PATH, TOOLS, Namespace, canonical, in_ci, members

pytestmark = pytest.mark.netns

CHECKOUT = Path(__file__).parents[2]
MANIFESTS = CHECKOUT / "fixtures/conformance/k8s/shop-three-tiers/manifests.yaml"
FELIXPY = (sys.executable, "-m", "felixpy")

HIDE = """\
set -e
mkdir "$1/real" && mount --bind /usr/sbin "$1/real" && mount -t tmpfs none /usr/sbin
[ -L /sbin ] || mount --bind /usr/sbin /sbin
for tool in "$1"/real/*; do
    case " $2 " in *" ${tool##*/} "*) ;; *) ln -s "$tool" "/usr/sbin/${tool##*/}" ;; esac
done
shift 2
exec "$@"
"""
"""Takes the tools named by the second argument away, in a mount namespace of its own."""

LITTLE_ROOM = """\
set -e
mkdir "$1/full" && mount -t tmpfs -o nr_inodes=1 none "$1/full"
shift
exec "$@"
"""

UNPRIVILEGED = """\
import importlib, os, pkgutil, sys
import felixpy
for module in pkgutil.walk_packages(felixpy.__path__, "felixpy."):
    importlib.import_module(module.name)
from felixpy.cli import run
run(["render", "--quiet", "--node", "node1", "--output-dir", sys.argv[1], sys.argv[2]])
os.setgid(65534)
os.setuid(65534)
sys.exit(run(["apply", "--quiet", "--node", "node1", "-", *sys.argv[3:]]))
"""
"""Loads everything while it may still read files, then goes on as nobody."""


class Ended(NamedTuple):
    status: int
    said: list[str]


def run(netns: Namespace, *command: str | Path, path: str = PATH, **variables: str) -> Ended:
    environment = {**netns.environment, "PATH": path, "PYTHONPATH": str(CHECKOUT), **variables}
    manifests = MANIFESTS.read_text()
    done = subprocess.run(
        command, env=environment, input=manifests, capture_output=True, text=True, timeout=60, check=False
    )
    return Ended(done.returncode, done.stderr.splitlines())


def apply(*words: str) -> tuple[str | Path, ...]:
    return "apply", MANIFESTS, "--node", "node1", "--quiet", *words


def snapshot(netns: Namespace) -> list[object]:
    texts = [netns.run(f"{tool}-{backend}-save").stdout for tool in TOOLS.values() for backend in BACKENDS]
    return [*map(canonical, texts), members(netns.run("ipset", "save").stdout)]


NOTHING = [*EMPTY[:2], *EMPTY[:2], EMPTY[2]]


def check(ended: Ended, netns: Namespace, told: str) -> None:
    """Status 3, one line that says it, and nothing in the kernel."""
    assert [ended.status, len(ended.said)] == [3, 1], ended
    assert ended.said[0].startswith("felixpy: ")
    assert told in ended.said[0]
    assert snapshot(netns) == NOTHING


LEGACY, NFT = (
    [f"{tool}-{backend}-{what}" for tool in TOOLS.values() for what in ("save", "restore")] for backend in BACKENDS
)
PLAIN = [f"{tool}-{what}" for tool in TOOLS.values() for what in ("save", "restore")]


@pytest.fixture
def own_mounts(netns: Namespace) -> None:
    """Skip where no mount namespace can be made; in CI that is an error, except in a chroot that is no mount."""
    done = netns.run("unshare", "-m", "true")
    if done.returncode:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        chrooted = all(line.split()[4] != "/" for line in mounts)
        (pytest.fail if in_ci() and not chrooted else pytest.skip)(done.stderr.strip())


@pytest.mark.usefixtures("own_mounts")
@pytest.mark.parametrize(
    "hidden, words, told",
    [
        (["ipset"], [], "ipset is missing; install ipset (Debian: apt-get install ipset)"),
        ([*LEGACY, *NFT, *PLAIN], [], "iptables-save is missing; install iptables (Debian: apt-get install iptables)"),
        ([*NFT, *PLAIN], ["--backend", "nft"], "iptables-save is missing; install iptables"),
        (["iptables-legacy-restore"], ["--backend", "legacy"], "iptables-legacy-restore is missing; install iptables"),
        (["ip6tables-legacy-restore"], ["--backend", "legacy"], "ip6tables-legacy-restore is missing"),
    ],
    ids=["ipset", "iptables", "nft", "restore", "restore of IPv6"],
)  # fmt: skip
def test_tools_that_are_not_installed(
    hidden: list[str], words: list[str], told: str, netns: Namespace, tmp_path: Path
) -> None:
    script = ("unshare", "-m", "sh", "-c", HIDE, "sh", tmp_path, " ".join(hidden))
    check(run(netns, *script, *FELIXPY, *apply("--netns", here(), *words)), netns, told)


@pytest.mark.parametrize("words", [["--host"], ["--netns", "no-such-namespace"]])
def test_without_root(words: list[str], netns: Namespace, tmp_path: Path) -> None:
    ended = run(netns, sys.executable, "-c", UNPRIVILEGED, tmp_path / "out", MANIFESTS, *words)
    check(ended, netns, "only root may program the kernel; try sudo")


@pytest.mark.parametrize(
    "lost, words, told",
    [
        ("-net_admin", ["--host"], "it takes root, and in a container CAP_NET_ADMIN"),
        ("-sys_admin", ["--netns", "{}"], "cannot be entered: Operation not permitted"),
    ],
)
def test_root_without_capabilities(lost: str, words: list[str], told: str, netns: Namespace) -> None:
    """As in a container. The process is in the namespace of this test, which counts as its own machine."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is missing; it comes with util-linux")
    place = [word.format(f"/proc/{os.getppid()}/ns/net") for word in words]
    check(run(netns, "setpriv", "--bounding-set", lost, *FELIXPY, *apply(*place)), netns, told)


COMPLAINTS = {
    "no legacy tables": (
        ["iptables-legacy-restore"],
        "iptables-legacy-restore v1.8.9 (legacy): iptables-legacy-restore: unable to initialize table 'raw'",
        "modprobe ip_tables",
    ),
    "no legacy tables of IPv6": (
        ["ip6tables-legacy-restore"],
        "ip6tables-legacy-restore v1.8.9 (legacy): ip6tables-legacy-restore: unable to initialize table 'raw'",
        "modprobe ip6_tables, take --backend nft, or --set Ipv6Support=false",
    ),
    "no nf_tables": (
        ["iptables-nft-save", "iptables-nft-restore"],
        "iptables-nft-save v1.8.9 (nf_tables): Could not fetch rule set generation id: Invalid argument",
        "modprobe nf_tables",
    ),
    "no sets": (["ipset"], "ipset v7.17: Cannot open session to kernel.", "modprobe ip_set ip_set_hash_net"),
    "no xt_set": (
        ["iptables-legacy-restore"],
        "iptables-legacy-restore v1.8.9 (legacy): Kernel module xt_set is not loaded in.",
        "modprobe xt_set",
    ),
}


@pytest.mark.parametrize("missing", COMPLAINTS)
def test_kernel_modules_that_are_missing(missing: str, netns: Namespace, tmp_path: Path) -> None:
    """Everything is built into the kernel of the tests: the tools are played by scripts with their lines."""
    tools, complaint, told = COMPLAINTS[missing]
    for tool in tools:
        script = tmp_path / tool
        script.write_text(f'#!/bin/sh\necho "{complaint}" >&2\nexit 1\n')
        script.chmod(0o755)
    words = apply("--netns", here(), "--backend", "nft" if "nft" in tools[0] else "legacy")
    check(run(netns, *FELIXPY, *words, path=f"{tmp_path}:{PATH}"), netns, told)


@pytest.mark.usefixtures("own_mounts")
@pytest.mark.parametrize(
    "variable, backend, told",
    [
        ("FELIXPY_LOCKFILE", "nft", "full/lock cannot be opened: No space left on device (FELIXPY_LOCKFILE names"),
        ("XTABLES_LOCKFILE", "legacy", "full/lock: No space left on device (XTABLES_LOCKFILE names another place"),
    ],
)
def test_no_room_for_a_lock(variable: str, backend: str, told: str, netns: Namespace, tmp_path: Path) -> None:
    script = ("unshare", "-m", "sh", "-c", LITTLE_ROOM, "sh", tmp_path)
    words = apply("--netns", here(), "--backend", backend)
    check(run(netns, *script, *FELIXPY, *words, **{variable: f"{tmp_path}/full/lock"}), netns, told)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_namespace_that_vanishes_while_it_is_written_to(backend: str, netns: Namespace, tmp_path: Path) -> None:
    """Its name goes with the first set; what was written cannot be found under it any more."""
    name, script = tmp_path / "shop", tmp_path / "ipset"
    name.symlink_to(here())
    script.write_text(f'#!/bin/sh\n[ "$1" = restore ] && rm -f {name}\nexec {shutil.which("ipset", path=PATH)} "$@"\n')
    script.chmod(0o755)
    ended = run(netns, *FELIXPY, *apply("--netns", str(name), "--backend", backend), path=f"{tmp_path}:{PATH}")
    assert ended.status == 3
    assert ended.said[-1] == f"felixpy: network namespace {name} went away meanwhile, and with it whatever was written"
