"""What python-iptables tells, as rules in the words of iptables-save; and what is said when it cannot tell anything."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import Done
from felixpy.testing.readback import Extension, ReadRule, _told, main, read_back

CHECKOUT = Path(__file__).parents[2]


class Canned:
    """Stands for the process that reads."""

    def __init__(self, four: Done, six: Done | None = None) -> None:
        self.answers = {"4": four, "6": six or Done(0, "{}")}

    def run(self, *command: str, text: str = "") -> Done:
        assert command[1:3] == ("-m", "felixpy.testing.readback")
        return self.answers[command[3]]


def extension(name: str, **options: list[str]) -> SimpleNamespace:
    """A match or target as python-iptables has it."""
    return SimpleNamespace(name=name, goto=False, get_all_parameters=lambda: options)


def rule(**more: Any) -> SimpleNamespace:
    """A rule as python-iptables has it, without anything unless told otherwise."""
    nothing: dict[str, Any] = {
        "src": "0.0.0.0/0.0.0.0",
        "dst": "0.0.0.0/0.0.0.0",
        "in_interface": None,
        "out_interface": None,
        "protocol": "ip",
        "protocols": {0: "ip", 4: "ipip", 6: "tcp", 58: "icmpv6"},
        "matches": [],
        "target": None,
    }
    return SimpleNamespace(**(nothing | more))


ACCEPT = extension("ACCEPT")
CHAIN = SimpleNamespace(name="cali-x", goto=True, get_all_parameters=dict)


@pytest.mark.parametrize(
    "read, words",
    [
        (rule(), ""),
        (rule(target=extension("")), ""),
        (rule(target=ACCEPT), "-j ACCEPT"),
        (rule(target=CHAIN), "-g cali-x"),
        (rule(src="10.0.0.0/255.255.240.0", dst="!10.0.0.1/255.255.255.255"), "-s 10.0.0.0/20 ! -d 10.0.0.1/32"),
        (rule(src="::/0", dst="fd00::/64"), "-d fd00::/64"),
        (rule(in_interface="cali+", out_interface="!eth0"), "-i cali+ ! -o eth0"),
        (rule(protocol="tcp"), "-p tcp"),
        (rule(protocol="!ipip"), "! -p ipencap"),
        (rule(protocol="icmpv6"), "-p ipv6-icmp"),
        (rule(protocol="132"), "-p sctp"),
        (rule(protocol="200"), "-p 200"),
        (
            rule(
                matches=[extension("set", **{"match-set": ["!", "cali40s:x", "src"]}), extension("mark", mark=["0x1"])]
            ),
            "-m set ! --match-set cali40s:x src -m mark --mark 0x1",
        ),
        (
            rule(target=extension("SNAT", **{"to-source": ["10.0.0.1"], "random-fully": []})),
            "-j SNAT --to-source 10.0.0.1 --random-fully",
        ),
    ],
)
def test_rules_are_told_in_the_words_of_iptables_save(read: SimpleNamespace, words: str) -> None:
    told = json.dumps({"filter": {"cali-x": [_told(read)]}})
    assert read_back(Canned(Done(0, told)))[4, "filter"]["cali-x"][0].words() == words.split()


def test_a_rule_is_a_value() -> None:
    told = json.dumps({"raw": {"OUTPUT": [_told(rule(protocol="tcp", target=ACCEPT))]}})
    expected = ReadRule(core=(("-p", "tcp"),), matches=(), target=Extension("ACCEPT"))
    assert read_back(Canned(Done(0, "{}"), Done(0, told))) == {(6, "raw"): {"OUTPUT": (expected,)}}


@pytest.mark.parametrize(
    "done, error, told",
    [
        (Done(3, errors="python-iptables does not work here: OSError: x\n"), EnvironmentMissing, "does not work here"),
        (Done(-11), KernelRefused, "python-iptables died of SIGSEGV"),
        (
            Done(1, errors="Traceback\n  a line\nIPTCError: no\n"),
            KernelRefused,
            "python-iptables failed: IPTCError: no",
        ),
    ],
)
def test_a_reader_that_fails(done: Done, error: type[FelixpyError], told: str) -> None:
    with pytest.raises(error, match=re.escape(told)):
        read_back(Canned(done))


def test_a_library_that_cannot_be_loaded_is_an_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "iptc", None)
    assert main("4") == 3
    assert capsys.readouterr().err.startswith("python-iptables does not work here: ModuleNotFoundError: ")


def test_the_lock_of_the_extra_pins_and_hashes_it() -> None:
    text = (CHECKOUT / "requirements-legacy.lock").read_text()
    assert "://" not in text
    entries = re.findall(r"^([\w.-]+)==[\w.]+ \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.MULTILINE)
    extra = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["legacy"]
    assert entries == [re.split("[<>=]", name)[0] for name in extra]
