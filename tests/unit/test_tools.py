"""Which backend is in use, what the tools are called, and what their complaints mean."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from felixpy.dataplane.tools import BackendChoice, Tools, choose, failure, is_about_a_line, line_number, look
from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import NOT_FOUND, Done
from felixpy.testing.kernels import Recorder

RULE = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n"
TWO = "*filter\n-A INPUT -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n"
HINT = "*raw\n-A OUTPUT -j ACCEPT\nCOMMIT\n*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
CANARY = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n*filter\nCOMMIT\n"
ELSEWHERE = "*mangle\nCOMMIT\n*filter\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
OURS = "*filter\n:cali-FORWARD - [0:0]\n-A cali-FORWARD -j ACCEPT\nCOMMIT\n"


class Canned:
    """Answers by the name of the tool; what has no answer is not installed."""

    def __init__(self, answers: Mapping[str, str | Done]) -> None:
        self.answers = answers

    def run(self, *command: str, text: str = "") -> Done:
        answer = self.answers.get(" ".join(command), self.answers.get(command[0], Done(NOT_FOUND)))
        return Done(0, answer) if isinstance(answer, str) else answer


def saves(legacy4: str | Done = "", legacy6: str | Done = "", nft4: str | Done = "", nft6: str | Done = "") -> Canned:
    names = ("iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft")
    return Canned({f"{name}-save": text for name, text in zip(names, (legacy4, legacy6, nft4, nft6), strict=True)})


MISSING = Done(NOT_FOUND)


@pytest.mark.parametrize(
    "kernel, choice",
    [
        (saves(), BackendChoice("legacy", (), guessed=True)),
        (saves(legacy4=RULE, nft4=RULE), BackendChoice("legacy", ())),
        (saves(legacy4=RULE, nft4=TWO), BackendChoice("nft", ())),
        (saves(legacy4=TWO, legacy6=TWO, nft4=RULE, nft6=TWO), BackendChoice("legacy", ())),
        (saves(legacy4=TWO, nft6=HINT), BackendChoice("nft", ())),
        (saves(legacy4=CANARY), BackendChoice("legacy", ())),
        (saves(legacy4=HINT, nft4=TWO + TWO), BackendChoice("legacy", ())),
        (saves(legacy6=CANARY, nft4=CANARY), BackendChoice("nft", ())),
        (saves(legacy4=RULE, nft4=ELSEWHERE), BackendChoice("legacy", ())),
        (saves(legacy4=OURS, nft4=TWO), BackendChoice("nft", ("legacy",))),
        (saves(legacy4=OURS, nft6=OURS), BackendChoice("legacy", ("legacy", "nft"))),
        (saves(MISSING, MISSING, RULE, ""), BackendChoice("nft", ())),
        (saves(MISSING, MISSING, "", ""), BackendChoice("nft", (), guessed=True)),
        (saves(Done(3, TWO, "no table"), "", RULE, ""), BackendChoice("nft", ())),
        (saves(MISSING, MISSING, MISSING, MISSING), BackendChoice("legacy", (), guessed=True)),
    ],
)
def test_the_backend_is_found_as_felix_finds_it(kernel: Canned, choice: BackendChoice) -> None:
    assert choose(look(kernel)) == choice


def test_nothing_is_looked_at_that_looking_would_create() -> None:
    """Naming a table that is not there makes the kernel make it."""
    recorder = Recorder(saves())
    choose(look(recorder))
    Tools(recorder, "legacy").tables(4)
    looks = {("ipset", "save"), ("nft", "list", "chains")}
    assert all(command[1:] == () or command in looks for command, _ in recorder.commands)


@pytest.mark.parametrize(
    "answers, command",
    [
        ({"ip6tables-nft-save": RULE, "ip6tables-save": RULE}, "ip6tables-nft-restore"),
        ({"ip6tables-save": RULE}, "ip6tables-restore"),
    ],
)
def test_tools_without_the_backend_in_their_name_will_do(answers: Mapping[str, str], command: str) -> None:
    tools = Tools(Canned(answers), "nft", 7)
    assert tools.tables(6) == RULE
    assert tools.restore_command(6) == (command, "--noflush", "--wait", "7")
    assert tools.restore_command(6, test=True) == (command, "--noflush", "--wait", "7", "--test")


def test_what_was_just_answered_is_not_asked_again_at_once() -> None:
    recorder = Recorder(saves(legacy4=RULE, legacy6=Done(3, errors="no table"), nft4=TWO))
    answers = look(recorder)
    recorder.commands.clear()
    tools = Tools(recorder, "legacy", known=answers)
    assert [tools.tables(4), tools.tables(4)] == [RULE, RULE]
    assert [command for command, _ in recorder.commands] == [("iptables-legacy-save",)]


def test_no_answer_outlives_the_look_it_belongs_to() -> None:
    recorder = Recorder(saves(legacy4=RULE))
    tools = Tools(recorder, "legacy", known={("iptables-legacy-save",): Done(0, TWO)})
    with tools.one_look():
        assert [command for command, _ in recorder.commands] == [("ip6tables-legacy-save",), ("ipset", "save")]
        assert tools.tables(4) == TWO
        assert len(recorder.commands) == 2
    assert tools.tables(6) == ""
    assert recorder.commands[-1] == (("ip6tables-legacy-save",), "")


def test_no_tools_at_all() -> None:
    with pytest.raises(EnvironmentMissing, match="iptables-save is missing; install iptables"):
        Tools(Canned({}), "legacy").tables(4)


def test_foreign_sets_that_ipset_cannot_print_are_passed_over() -> None:
    answers: dict[str, str | Done] = {
        "ipset save": Done(1, errors="ipset v7.17: Kernel and userspace incompatible"),
        "ipset list -name": "KUBE-X\ncali40a\ncali60b\n",
        "ipset save cali40a": "create cali40a hash:net family inet maxelem 9\n",
        "ipset save cali60b": "create cali60b hash:net family inet6 maxelem 9\n",
    }
    assert Tools(Canned(answers), "legacy").sets().count("create") == 2
    with pytest.raises(KernelRefused, match="to print set cali60b"):
        Tools(Canned({**answers, "ipset save cali60b": Done(1, errors="no")}), "legacy").sets()


def test_sets_in_use() -> None:
    listed = "Name: cali40a\nType: hash:net\nReferences: 2\n\nName: cali40b\nReferences: 0\n\nName: X\nReferences: 1\n"
    assert Tools(Canned({"ipset list -terse": listed}), "legacy").sets_in_use() == {"cali40a", "X"}


def test_a_refused_line_of_ipset_is_shown() -> None:
    done = Done(1, errors="ipset v7.17: Error in line 2: Element cannot be added to the set: it's already added\n")
    with pytest.raises(KernelRefused, match=r"line 2, 'add cali40a x',: ipset v7.17: Error in line 2"):
        Tools(Canned({"ipset": done}), "legacy").restore_sets("create cali40a hash:ip\nadd cali40a x\n")


@pytest.mark.parametrize(
    "said, error, advice",
    [
        ("iptables-restore: line 3 failed", KernelRefused, "line 3 failed"),
        ("Fatal: can't open lock file /run/xtables.lock: Permission denied", EnvironmentMissing, "it takes root"),
        ("Fatal: can't open lock file /run/x: No space left on device", EnvironmentMissing, "XTABLES_LOCKFILE"),
        ("iptables-restore: unable to initialize table 'filter'", EnvironmentMissing, "modprobe ip_tables"),
        ("can't initialize iptables table `filter': do you need to insmod?", EnvironmentMissing, "--backend nft"),
        ("Could not fetch rule set generation id: Invalid argument", EnvironmentMissing, "modprobe nf_tables"),
        ("Could not fetch rule set generation id: Permission denied (you must be root)", EnvironmentMissing, "root"),
        ("ipset v7.17: Cannot open session to kernel.", EnvironmentMissing, "modprobe ip_set "),
        ("ipset v7.17: Kernel error received: Invalid argument", EnvironmentMissing, "modprobe ip_set "),
        ("ipset v7.17: Kernel error received: set type not supported", EnvironmentMissing, "ip_set_hash_net"),
        ("ipset v7.17: Kernel error received: Operation not permitted", EnvironmentMissing, "it takes root"),
        ("Kernel module xt_set is not loaded in.", EnvironmentMissing, "modprobe xt_set"),
        ("Extension ipvs revision 0 not supported, missing kernel module?", EnvironmentMissing, "lacks the module"),
        ("Another app is currently holding the xtables lock. Stopped waiting after 1s.", KernelRefused, "--wait"),
        ("", KernelRefused, "status 1"),
    ],
)
def test_complaints(said: str, error: type[FelixpyError], advice: str) -> None:
    made = failure("iptables-legacy-restore", Done(1, errors=f"{said}\n\n"), "table filter")
    assert type(made) is error
    assert str(made).startswith("iptables-legacy-restore refused table filter: ")
    assert advice in str(made)


def test_a_tool_that_was_killed() -> None:
    assert str(failure("ipset", Done(-9))) == "ipset refused: ended by SIGKILL"


@pytest.mark.parametrize(
    "done, yes",
    [
        (Done(1, errors="iptables-restore: line 3 failed"), True),
        (Done(2, errors="Bad argument"), True),
        (Done(0), False),
        (Done(NOT_FOUND), False),
        (Done(-9), False),
        (Done(4, errors="Another app is currently holding the xtables lock"), False),
        (Done(3, errors="can't initialize iptables table `filter'"), False),
    ],
)
def test_whether_a_line_is_to_blame(done: Done, yes: bool) -> None:
    assert is_about_a_line(done) is yes


@pytest.mark.parametrize(
    "said, number",
    [
        ("iptables-restore: line 4 failed", 4),
        ("Error occurred at line: 17", 17),
        ("iptables-nft-restore v1.8.9: line 12: CHAIN_DEL failed (Device or resource busy)", 12),
        ("ipset v7.17: Error in line 5: Set cannot be created", 5),
        ("Another app is currently holding the xtables lock", 0),
        ("deadline 4 missed", 0),
    ],
)
def test_line_numbers(said: str, number: int) -> None:
    assert line_number(Done(1, errors=said)) == number
