"""The scripts that prepare a machine: any shell can read them, their packages exist, what is missing is said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"
SCRIPTS = sorted(TOOLS.glob("*.sh"))
ESSENTIAL = ("sh", "dirname", "basename", "sed", "id", "sort", "env", "stat", "true")


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=dict(os.environ) | variables, capture_output=True, text=True, check=False)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with next to nothing in it, to be the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ESSENTIAL:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def play(folder: Path, name: str, body: str) -> None:
    """Put a program of our own on the PATH."""
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_its_shell_can_read_it(script: Path) -> None:
    """What prepares a machine is for any shell; what runs where GitHub's actions do may be for bash."""
    first = script.read_text().partition("\n")[0]
    assert first == "#!/bin/sh" or (first == "#!/usr/bin/env bash" and script.name == "comment.sh")
    done = run(first.rpartition("/")[2].rpartition(" ")[2], "-n", script)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(script, os.X_OK)


def test_a_word_it_does_not_know_is_answered_with_help() -> None:
    done = run(TOOLS / "system.sh", "nonsense")
    assert done.returncode == 2
    words = set(re.findall(r"tools/system\.sh (\w+)", done.stderr))
    assert words == set(re.findall(r"^    (\w+)\) \w+ ;;", (TOOLS / "system.sh").read_text(), re.MULTILINE))


def test_what_is_there_is_not_asked_for(bare: Path) -> None:
    """apt-get would fail the test by being called."""
    play(bare, "apt-get", "exit 99")
    play(bare, "cc", "exit 0")
    play(bare, "python3", "exit 0")
    assert run(TOOLS / "system.sh", "compiler", PATH=str(bare), PYTHON="python3").returncode == 0


@pytest.mark.parametrize(
    "there, packages",
    [([], "gcc libc6-dev python3-dev"), (["cc"], "python3-dev")],
)
def test_a_compiler_and_headers_are_installed_or_missed_aloud(there: list[str], packages: str, bare: Path) -> None:
    for name in there:
        play(bare, name, "exit 0")
    play(bare, "python3", "exit 1")
    done = run(TOOLS / "system.sh", "compiler", PATH=str(bare), PYTHON="python3")
    assert done.returncode == 1
    assert re.search(rf"missing and not installable here: +{packages}", done.stderr)
    play(bare, "id", "echo 0")
    play(bare, "apt-get", f'echo "$@" >> {bare}/asked')
    run(TOOLS / "system.sh", "compiler", PATH=str(bare), PYTHON="python3")
    assert (bare / "asked").read_text().splitlines()[-1].endswith(f"--yes {packages}")


def packages() -> set[str]:
    """All packages that the scripts install by their own names."""
    provision = re.search(r'packages="([^"]+)"', (TOOLS / "provision.sh").read_text())
    assert provision
    system = (TOOLS / "system.sh").read_text()
    tools = re.findall(r"[\w-]+:([\w-]+)(?= |;)", system.partition("for pair in")[2].partition("; do")[0] + ";")
    compiler = re.search(r'missing="(gcc [\w -]+)"', system)
    assert compiler
    return {*provision[1].split(), *tools, *compiler[1].split()}


def test_all_packages_exist() -> None:
    named = packages()
    if not shutil.which("apt-cache"):
        pytest.skip("this system has no apt")
    assert {"iptables", "ipset", "conntrack", "iproute2", "gcc", "tcpdump", "python3-venv"} <= named
    known = re.findall(r"^Package: (\S+)$", run("apt-cache", "show", *named).stdout, re.MULTILINE)
    if "iptables" not in known:
        pytest.skip("no lists of packages here")
    assert named - set(known) == set()


def test_the_virtual_machine_runs_the_script_that_is_there() -> None:
    vagrantfile = (TOOLS.parent / "Vagrantfile").read_text()
    (path,) = re.findall(r'path: "([^"]+)"', vagrantfile)
    assert (TOOLS.parent / path) in SCRIPTS
    for example in re.findall(r"/opt/felixpy/(\S+)", vagrantfile.partition("Vagrant.configure")[0]):
        assert (TOOLS.parent / example).exists()
