"""How commands end when something but their input is wrong: exit statuses, one line at most, never a traceback."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from felixpy import ending
from felixpy.cli import run
from tests.commands import caller
from tests.conformance.recordings import ROOT

SHOP = str(ROOT / "k8s" / "shop-three-tiers" / "manifests.yaml")
DUMP = str(ROOT / "k8s" / "shop-three-tiers" / "expected" / "iptables.save")
SETS = ROOT / "k8s" / "shop-three-tiers" / "expected" / "ipset.save"
FELIXPY = (sys.executable, "-m", "felixpy")

PRINTING = (
    ("--version",),
    ("--help",),
    ("render", SHOP, "--node", "node1"),
    ("render", SHOP, "--node", "node1", "-o", "json"),
    ("validate", SHOP),
    ("trace", "shop/database-0", "198.51.100.1:80", SHOP),
    ("explain", "pod", "shop/database-0", SHOP),
    ("matrix", SHOP, "--node", "node1"),
    ("diff", DUMP, DUMP, "-o", "json"),
    ("decode", "cali-FORWARD", "-f", SHOP),
    ("verify", SHOP, "--node", "node1", "--rules", DUMP),
    ("settings",),
    ("templates",),
    ("completion", "bash"),
    ("version",),
)
"""A way to call each command that prints something without a kernel."""


def naming(command: Sequence[str]) -> str:
    return " ".join(word.rpartition("/")[2] for word in command[:3])


@pytest.fixture
def felixpy_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    return caller(capsys, monkeypatch)


SEPARATELY = PRINTING[:3]
"""What is tried as a process of its own, too."""


class Unwritable(io.RawIOBase):
    """A place that takes nothing."""

    def __init__(self, number: int) -> None:
        self.number = number

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    "number, status", [(errno.ENOSPC, 74), (errno.EBADF, 74), (errno.EIO, 74), (errno.EPIPE, 141)], ids=str
)
@pytest.mark.parametrize("command", PRINTING[1:], ids=naming)
def test_output_that_cannot_be_written(command: Sequence[str], number: int, status: int, monkeypatch, capsys) -> None:
    """The last byte counts, whenever Python writes it."""
    raw = Unwritable(number)
    out = io.TextIOWrapper(io.BufferedWriter(raw))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        assert run(list(command)) == status
    complaint = f"felixpy: input or output: {os.strerror(number)}"
    assert (complaint in capsys.readouterr().err.splitlines()) == (status == 74)
    with suppress(OSError):
        out.close()


@pytest.mark.parametrize("command", SEPARATELY, ids=naming)
def test_a_full_disk_is_an_io_error(command: Sequence[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run((*FELIXPY, *command), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (74, "felixpy: input or output: No space left on device\n")


@pytest.mark.parametrize("command", SEPARATELY, ids=naming)
def test_a_closed_stdout_is_an_io_error(command: Sequence[str]) -> None:
    shell = ("sh", "-c", 'exec "$@" >&-', "sh")
    done = subprocess.run((*shell, *FELIXPY, *command), stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (74, "felixpy: input or output: Bad file descriptor\n")


@pytest.mark.parametrize("command", SEPARATELY, ids=naming)
def test_a_reader_that_goes_away_ends_it_quietly(command: Sequence[str]) -> None:
    """The status is the one that shells give SIGPIPE."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run((*FELIXPY, *command), stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_without_any_stream_the_manifests_stay_as_they_are(tmp_path) -> None:
    """The number of a closed stream is free for the next file that is opened; nothing may be printed into that."""
    manifest = tmp_path / "broken.yaml"
    manifest.write_text("kind: [\n")
    shell = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    done = subprocess.run((*shell, *FELIXPY, "validate", str(manifest)), check=False)
    assert done.returncode == 2
    assert manifest.read_text() == "kind: [\n"


def test_what_the_locale_cannot_express_is_escaped() -> None:
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = (*FELIXPY, "decode", "ä", "-f", SHOP, "-o", "json")
    done = subprocess.run(command, env=ascii_only, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "\\xe4" in done.stdout


def test_what_nobody_foresaw_is_one_line_and_status_70(monkeypatch, capsys) -> None:
    @ending.ended
    def run() -> int:
        raise KeyError("a\x1b[31m\nb")

    monkeypatch.delenv(ending.DETAILS, raising=False)
    assert run() == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("felixpy: internal error: KeyError ")
    assert "\x1b" not in line
    assert "report" in line
    monkeypatch.setenv(ending.DETAILS, "1")
    assert run() == 70
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):")


@pytest.mark.parametrize(
    "wrong, status",
    [
        (RecursionError(), 70),
        (MemoryError(), 3),
        (OSError(errno.ENOSPC, "No space left on device"), 74),
        (OSError(errno.EIO, "Input/output error", "a file"), 74),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300), 2),
    ],
)
def test_other_ends_have_their_own_status(wrong: Exception, status: int, capsys) -> None:
    @ending.ended
    def run() -> int:
        raise wrong

    assert run() == status
    assert capsys.readouterr().err.count("\n") == 1


def test_a_stderr_that_is_full_does_not_hide_the_status(monkeypatch) -> None:
    @ending.ended
    def run() -> int:
        raise KeyError

    with monkeypatch.context() as patched:
        patched.setattr(
            sys, "stderr", io.TextIOWrapper(io.BufferedWriter(Unwritable(errno.ENOSPC)), write_through=True)
        )
        assert run() == 70
        with suppress(OSError):
            sys.stderr.close()


def test_a_field_of_icmp_that_is_none(felixpy_, tmp_path) -> None:
    """Felix matches every type where none is given."""
    text = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: ping}
spec:
  selector: all()
  ingress:
  - action: Allow
    protocol: ICMP
    icmp: {tpye: 8}
    notICMP: {tpye: 8}
"""
    (tmp_path / "policy.yaml").write_text(text)
    done = felixpy_("validate", tmp_path / "policy.yaml")
    assert done.status in (0, 2)
    assert "spec.ingress[0].icmp.tpye: unknown field" in done.err


@pytest.mark.parametrize("metadata", ["{name: a, namespace: [x]}", "{name: [a], namespace: x}", "{name: {}}", "[]"])
def test_metadata_of_unknown_kinds_may_be_anything(metadata: str, felixpy_, tmp_path) -> None:
    (tmp_path / "odd.yaml").write_text(f"apiVersion: projectcalico.org/v3\nkind: StagedX\nmetadata: {metadata}\n")
    done = felixpy_("validate", tmp_path / "odd.yaml")
    assert done.status == 2
    assert "StagedX" in done.err


@pytest.mark.parametrize("cut", ["maxelem", "family", "create ", "hash:net"])
def test_sets_that_end_in_the_middle_of_a_line(cut: str, felixpy_, tmp_path) -> None:
    whole = SETS.read_text()
    half = tmp_path / "sets"
    half.write_text(whole[: whole.index(cut, len(whole) // 2) + len(cut)])
    done = felixpy_("verify", SHOP, "--node", "node1", "--rules", DUMP, "--ipsets", half)
    assert done.status in (1, 2)


def test_a_jump_to_a_chain_that_is_not_in_the_dump(felixpy_, monkeypatch, tmp_path) -> None:
    gone = ":cali-from-wl-dispatch ", "-A cali-from-wl-dispatch "
    lines = [line for line in Path(DUMP).read_text().splitlines(keepends=True) if not line.startswith(gone)]
    (tmp_path / "rules").write_text("".join(lines))
    given = ("--rules", tmp_path / "rules", "--ipsets", SETS)
    for command in (("matrix",), ("trace", "shop/database-0", "198.51.100.1:80", SHOP), ("verify", SHOP)):
        assert felixpy_(*command, *given).status in (0, 1)
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(lines)))
    assert felixpy_("annotate", "-f", SHOP).status == 0


@pytest.mark.parametrize(
    "words, statuses",
    [
        (("decode", "", "-f", SHOP), (1, 2)),
        (("decode", "-f", SHOP, "--", "-"), (1, 2)),
        (("render", SHOP, "--all-nodes", "-j", "-5", "--output-dir", "out"), (2,)),
        (("render", SHOP, "--node", "node1", "--set", "InterfacePrefix=,"), (0, 2)),
    ],
)
def test_odd_words(words: Sequence[str], statuses: Sequence[int], felixpy_, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert felixpy_(*words).status in statuses


def test_saving_objects_of_any_shape(felixpy_, tmp_path) -> None:
    """Whether they are right is for others to say; they are copied as they are."""
    text = """
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default}
spec: a
status: [b]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
spec: {template: {spec: {containers: [{name: calico-node, env: [FELIX_A, {name: FELIX_B}]}, 7]}}}
"""
    (tmp_path / "odd.yaml").write_text(text)
    assert felixpy_("snapshot", tmp_path / "odd.yaml").status in (0, 2)


def test_names_where_the_mask_has_too_few_bits(felixpy_, tmp_path) -> None:
    too_few = ROOT / "felix-does-not-start" / "mask-five-bits-scattered" / "manifests.yaml"
    done = felixpy_("decode", "0x10000", "-f", too_few, "--node", "node1")
    assert done.status in (1, 2)
    assert "Traceback" not in done.err


@pytest.mark.parametrize("cut", [" -j", " -g", " -m", " -m comment --comment", " !"])
def test_rules_that_end_in_the_middle(cut: str, felixpy_, tmp_path) -> None:
    """What is cut off is told as different; it does not count as a rule without a target."""
    lines = Path(DUMP).read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("-A cali-FORWARD"))
    lines[at] = "-A cali-FORWARD" + cut
    (tmp_path / "rules").write_text("\n".join(lines) + "\n")
    given = ("--rules", tmp_path / "rules", "--ipsets", SETS)
    assert felixpy_("verify", SHOP, "--node", "node1", *given).status in (1, 2)
    assert felixpy_("matrix", *given).status in (0, 2)


@pytest.mark.parametrize("cut", ["-m", "-j", "-m comment --comment"])
def test_a_rule_that_ends_in_the_middle_beside_a_chain_that_is_stale(cut: str, felixpy_, tmp_path) -> None:
    text = Path(DUMP).read_text()
    lines = text.replace(":cali-FORWARD - [0:0]", ":cali-FORWARD - [0:0]\n:cali-tw-calistale - [0:0]").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("-A cali-to-wl-dispatch"))
    lines[at:at] = [f"-A cali-to-wl-dispatch {cut}"]
    (tmp_path / "rules").write_text("\n".join(lines) + "\n")
    done = felixpy_("verify", SHOP, "--node", "node1", "--rules", tmp_path / "rules", "--ipsets", SETS)
    assert done.status in (1, 2)


def test_a_saved_member_that_is_no_net(felixpy_, tmp_path) -> None:
    lines = SETS.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("add cali40s:"))
    (tmp_path / "sets").write_text(
        "\n".join([*lines[:at], f"{lines[at].rpartition(' ')[0]} nonsense", *lines[at:]]) + "\n"
    )
    given = ("--rules", DUMP, "--ipsets", tmp_path / "sets")
    assert felixpy_("trace", "internet", "shop/database-0:80", SHOP, *given).status in (0, 1, 2)


@pytest.mark.parametrize("kind", ["hash:ip,port", "hash:net"])
def test_a_saved_member_of_nothing(kind: str, felixpy_, tmp_path) -> None:
    (tmp_path / "sets").write_text(f"create odd {kind} family inet maxelem 1048576\nadd odd \n")
    lines = Path(DUMP).read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("-A cali-FORWARD"))
    (tmp_path / "rules").write_text(
        "\n".join([*lines[:at], "-A cali-FORWARD -m set --match-set odd src,src", *lines[at:]])
    )
    done = felixpy_("matrix", "--rules", tmp_path / "rules", "--ipsets", tmp_path / "sets")
    assert done.status == 2
    assert "member (empty) of set odd" in done.err or "odd" in done.err


def test_a_mark_match_that_says_nothing(felixpy_, tmp_path) -> None:
    """The rules of an endpoint say which bits mean accepted and passed; here one of them is cut."""
    text = Path(DUMP).read_text()
    tested = "-m mark --mark 0x10000/0x10000 -j RETURN"
    assert tested in text
    (tmp_path / "rules").write_text(text.replace(tested, "-m mark -j RETURN"))
    done = felixpy_("verify", SHOP, "--node", "node1", "--rules", tmp_path / "rules", "--ipsets", SETS, "-v")
    assert done.status == 1
