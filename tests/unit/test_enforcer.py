"""Applying as a whole, on a kernel made of dicts: the order, a second run, faults at every step, deaths in between."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from felixpy.dataplane.culprit import offending
from felixpy.dataplane.enforcer import Applied
from felixpy.dataplane.iptables import IptablesEnforcer
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import NOT_FOUND, Done, Kernel
from felixpy.testing.kernels import Faulty, Recorder
from tests.clusters import compiled
from tests.unit.pretend import Pretend
from tests.unit.states import FEWER_CLIENTS, NEW, OLD, OTHER_ORDER, THEIRS, WEB, kernel_with, state


def apply(kernel: Kernel, wanted: Wanted, backend: str = "legacy") -> Applied:
    return IptablesEnforcer(Tools(kernel, backend)).apply(wanted)


BACKENDS = pytest.mark.parametrize("backend", ["legacy", "nft"])


def writes_of(kernel: Pretend, wanted: Wanted, backend: str) -> list[str]:
    recorder = Recorder(copy.deepcopy(kernel))
    apply(recorder, wanted, backend)
    return recorder.written()


@BACKENDS
def test_sets_come_first_and_go_last(backend: str) -> None:
    """The kernel checks the order: it refuses rules whose set is missing, and to destroy sets that rules use."""
    recorder = Recorder(kernel_with(OLD, backend=backend))
    apply(recorder, NEW, backend)
    apply(recorder, Wanted.nothing(), backend)
    four, six = (f"{tool}-{backend}-restore --noflush --wait 10" for tool in ("iptables", "ip6tables"))
    changed = ["ipset restore", four, "ipset restore", six, "ipset restore"]
    removed = [four, six, "ipset restore"]
    assert recorder.written() == [*changed, *removed]


@pytest.mark.parametrize(
    "wanted, summary",
    [
        (OLD, "nothing"),
        (NEW, "6 sets and 16 chains in 2 tables"),
        (FEWER_CLIENTS, "2 sets"),
        (OTHER_ORDER, "2 chains in 2 tables"),
    ],
)
def test_what_was_changed_in_numbers(wanted: Wanted, summary: str) -> None:
    assert apply(kernel_with(OLD), wanted).program.summary() == summary


@BACKENDS
def test_a_second_run_writes_nothing(backend: str) -> None:
    kernel = kernel_with(OLD, NEW, backend=backend)
    recorder = Recorder(kernel)
    assert apply(recorder, NEW, backend).program.empty
    assert recorder.written() == []
    assert [command for command, _ in recorder.commands] == [
        (f"iptables-{backend}-save",), (f"ip6tables-{backend}-save",), ("ipset", "save"),
    ]  # fmt: skip


@BACKENDS
def test_one_over_the_other_is_as_good_as_fresh(backend: str) -> None:
    assert state(kernel_with(OLD, NEW, backend=backend)) == state(kernel_with(NEW, backend=backend))


@BACKENDS
def test_remove_takes_out_what_is_ours(backend: str) -> None:
    kernel = kernel_with(OLD, NEW, Wanted.nothing(), backend=backend)
    assert state(kernel) == ({(4, "filter"): THEIRS["filter"]}, {})


def test_a_family_that_is_off_is_cleared_and_may_be_without_tools() -> None:
    only_four = Wanted.of(compiled(WEB, settings={"Ipv6Support": False}))
    kernel = kernel_with(OLD, only_four)
    assert "cali" not in kernel.save(6)
    assert not any(name.startswith("cali6") for name in kernel.sets)
    bare = Pretend(without=("ip6tables-legacy-save", "ip6tables-save"))
    apply(bare, only_four)
    assert "cali-FORWARD" in bare.save(4)
    with pytest.raises(EnvironmentMissing, match="ip6tables-save is missing"):
        apply(bare, OLD)


# --- faults

Fault = Callable[[Kernel, tuple[str, ...], str], Done]


def refuse(kernel: Kernel, command: tuple[str, ...], text: str) -> Done:
    return Done(1, errors="no")


def stop_half_way(kernel: Kernel, command: tuple[str, ...], text: str) -> Done:
    """What ipset does when a line fails: everything above it stays. Tables are all or nothing."""
    lines = text.splitlines(keepends=True)
    if command[0] == "ipset":
        kernel.run(*command, text="".join(lines[: len(lines) // 2]))
    return Done(1, errors=f"Error in line {len(lines) // 2 + 1}: no")


def not_installed(kernel: Kernel, command: tuple[str, ...], text: str) -> Done:
    return Done(NOT_FOUND)


@dataclass
class Nth:
    """Lets the writing commands from the nth on fail, as many as `times` says."""

    kernel: Kernel
    number: int
    fault: Fault
    times: int = 1
    seen: int = -1

    def __call__(self, command: tuple[str, ...], text: str) -> Done | None:
        if not text:
            return None
        self.seen += 1
        if self.number <= self.seen < self.number + self.times:
            return self.fault(self.kernel, command, text)
        return None


@BACKENDS
@pytest.mark.parametrize("fault", [refuse, stop_half_way, not_installed])
@pytest.mark.parametrize("before", [(OLD,), ()], ids=["over another", "from nothing"])
def test_a_step_that_fails_leaves_everything_as_it_was(backend: str, fault: Fault, before: tuple[Wanted, ...]) -> None:
    """Whichever step it is, up to the last table: then the new policy is complete."""
    steps = writes_of(kernel_with(*before, backend=backend), NEW, backend)
    assert len(steps) > 3
    for number in range(len(steps) - len(before)):
        kernel = kernel_with(*before, backend=backend)
        was = copy.deepcopy(state(kernel))
        broken = Faulty(kernel, Nth(kernel, number, fault))
        with pytest.raises(FelixpyError, match="what was in force before still is") as caught:
            apply(broken, NEW, backend)
        assert isinstance(caught.value, EnvironmentMissing if fault is not_installed else KernelRefused)
        assert state(kernel) == was, steps[number]


def test_stale_sets_that_cannot_be_destroyed_are_no_reason_to_give_up() -> None:
    kernel = kernel_with(OLD)
    last = len(writes_of(kernel, NEW, "legacy")) - 1
    applied = apply(Faulty(kernel, Nth(kernel, last, refuse)), NEW)
    assert [remark.partition(":")[0] for remark in applied.remarks] == ["stale sets stay"]
    assert len(apply(kernel, NEW).program.stale_sets) == 2
    assert state(kernel) == state(kernel_with(NEW))


def test_what_cannot_be_put_back_is_told() -> None:
    kernel = kernel_with(OLD)
    broken = Faulty(kernel, Nth(kernel, 3, refuse, times=100))
    with pytest.raises(KernelRefused, match="putting back what was there before failed as well, so both are mixed"):
        apply(broken, NEW)
    apply(kernel, NEW)
    assert state(kernel) == state(kernel_with(NEW))


def test_an_interruption_leaves_everything_as_it_was_and_says_so() -> None:
    def interrupt(kernel: Kernel, command: tuple[str, ...], text: str) -> Done:
        kernel.run(*command, text=text)
        raise KeyboardInterrupt

    for number in range(len(writes_of(kernel_with(OLD), NEW, "legacy"))):
        kernel = kernel_with(OLD)
        was = copy.deepcopy(state(kernel))
        with pytest.raises(KeyboardInterrupt) as caught:
            apply(Faulty(kernel, Nth(kernel, number, interrupt)), NEW)
        assert caught.value.__notes__ == ["what was in force before still is"]
        assert state(kernel) == was


@pytest.mark.parametrize(
    "more, told", [(2, "what was in force before still is"), (3, "was interrupted, so both are mixed")]
)
def test_repeated_interruptions_restart_the_revert_up_to_a_limit(more: int, told: str) -> None:
    """An interrupted revert is restarted, but not forever."""
    kernel = kernel_with(OLD)
    was = copy.deepcopy(state(kernel))
    left = iter(range(more + 1))

    def interrupt(command: tuple[str, ...], text: str) -> Done | None:
        """The new policy is written, the old one is not."""
        number = next(left, None) if "*filter" in text else None
        if number == 0:
            kernel.run(*command, text=text)
        if number is not None:
            raise KeyboardInterrupt
        return None

    with pytest.raises(KeyboardInterrupt) as caught:
        apply(Faulty(kernel, interrupt), NEW)
    assert told in caught.value.__notes__[0]
    assert more == 3 or state(kernel) == was


def test_without_a_place_to_try_things_in_the_work_is_done_all_the_same() -> None:
    def nowhere() -> AbstractContextManager[Kernel]:
        raise EnvironmentMissing("no network namespace can be made")

    kernel = CalicoVersion()
    for _ in range(2):
        assert not IptablesEnforcer(Tools(kernel, "legacy"), nowhere).apply(OLD).program.empty
    with pytest.raises(
        KernelRefused, match=r"table filter \(IPv4\): iptables-restore: line \d+ failed; what was in force"
    ):
        IptablesEnforcer(Tools(Moody(), "legacy"), nowhere).apply(OLD)


def test_a_family_that_can_no_longer_be_read_is_not_taken_for_empty() -> None:
    """IPv6 was empty before, so that nothing of it is needed to go back; but it has to be looked at."""
    kernel = kernel_with()
    written: list[str] = []

    def fault(command: tuple[str, ...], text: str) -> Done | None:
        written.extend([text] if text else [])
        fails = "*filter" in text if text else command[0] == "ip6tables-legacy-save" and written
        return Done(1, errors="no") if fails else None

    with pytest.raises(KernelRefused, match="both are mixed now: ip6tables-legacy-save refused: no"):
        apply(Faulty(kernel, fault), OLD)


class Killed(BaseException):
    """Nothing more is run after this."""


@contextmanager
def killed(kernel: Kernel, number: int, *, before: bool) -> Iterator[Kernel]:
    """A felixpy that dies just before or just after the nth command that writes."""
    seen = -1

    def fault(command: tuple[str, ...], text: str) -> Done | None:
        nonlocal seen
        seen += bool(text)
        if seen > number or (seen == number and before):
            raise Killed
        return None

    with pytest.raises(Killed):
        yield Faulty(kernel, fault)


@BACKENDS
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_any_step_the_next_run_ends_right(backend: str, before: bool) -> None:
    steps = writes_of(kernel_with(OLD, backend=backend), NEW, backend)
    for number in range(len(steps) - (not before)):
        for goal in (NEW, OLD, Wanted.nothing()):
            kernel = kernel_with(OLD, backend=backend)
            with killed(kernel, number, before=before) as dying:
                apply(dying, NEW, backend)
            apply(kernel, goal, backend)
            assert state(kernel) == state(kernel_with(goal, backend=backend)), (steps[number], number)


def test_an_insert_that_vanished_since_it_was_read_is_no_reason_to_fail() -> None:
    kernel = kernel_with(OLD)
    forward = kernel.tables[4, "legacy"]["filter"]["FORWARD"]
    forward.insert(0, "-j MINE")
    vanish = [lambda: forward.remove(next(rule for rule in forward if "-j cali-FORWARD" in rule))]

    def meddle(command: tuple[str, ...], text: str) -> Done | None:
        if text.startswith("*filter") and vanish:
            vanish.pop()()
        return None

    recorder = Recorder(kernel)
    apply(Faulty(recorder, meddle), OLD)
    assert recorder.written() == ["iptables-legacy-restore --noflush --wait 10"] * 2
    assert "-j cali-FORWARD" in kernel.tables[4, "legacy"]["filter"]["FORWARD"][0]


def test_what_was_written_above_a_refused_table_is_taken_back() -> None:
    """The tools work table by table: those above the one that is refused have been changed by then."""
    kernel = kernel_with()
    was = copy.deepcopy(state(kernel))
    tables: list[str] = []

    def refuse_filter(command: tuple[str, ...], text: str) -> Done | None:
        """As the real tools do it."""
        above, filter_, _ = text.partition("*filter")
        if not filter_ or tables:
            return None
        tables.extend(re.findall(r"^\*(\w+)$", above, re.MULTILINE))
        assert not kernel.run(*command, text=above).status
        return Done(1, errors="iptables-restore: line 1 failed")

    with pytest.raises(KernelRefused, match=r"table filter .* what was in force before still is"):
        apply(Faulty(kernel, refuse_filter), OLD)
    assert tables == ["raw", "mangle", "nat"]
    assert state(kernel) == was


def test_what_is_refused_for_good_is_not_tried_again() -> None:
    kernel = kernel_with()
    recorder = Recorder(Faulty(kernel, lambda command, text: Done(2, errors="no") if "*filter" in text else None))
    with pytest.raises(KernelRefused):
        apply(recorder, OLD)
    assert sum("*filter" in text for _, text in recorder.commands) == 1


def test_a_stale_set_that_others_use_stays_and_is_told() -> None:
    kernel = kernel_with(OLD)
    name = next(name for name in kernel.sets if name.startswith("cali40s:"))
    kernel.tables[4, "legacy"]["filter"]["MINE"].append(f"-m set --match-set {name} src -j DROP")
    applied = apply(kernel, Wanted.nothing())
    assert list(kernel.sets) == [name]
    assert applied.remarks == (f"set {name} is stale, but rules or sets of others use it: it stays",)
    assert kernel.tables[4, "legacy"]["filter"]["MINE"][-1] == f"-m set --match-set {name} src -j DROP"


def test_the_old_policy_comes_back_unless_it_is_confirmed() -> None:
    kernel = kernel_with(OLD)
    kernel.tables[4, "legacy"]["filter"]["FORWARD"].append("-j MINE")
    was = copy.deepcopy(state(kernel))
    enforcer = IptablesEnforcer(Tools(kernel, "legacy"))
    applied = enforcer.apply(NEW)
    assert state(kernel) != was
    enforcer.revert(applied.before)
    assert state(kernel) == was


# --- which line

RULES = [f"-A cali-x --jump R{number}" for number in range(7)]


@pytest.mark.parametrize("bad", range(7))
def test_the_first_bad_rule_is_found(bad: int) -> None:
    lines = [":cali-x - -", *RULES, "-D FORWARD 3", "--delete-chain cali-y"]
    inputs = []

    def refused(text: str) -> bool:
        inputs.append(text)
        return any(f"R{number}\n" in text for number in range(bad, 7))

    assert offending(lines, "filter", refused) == bad + 1
    assert len(inputs) <= 4
    assert all(text.startswith("*filter\n:cali-x - -\n") and text.endswith("COMMIT\n") for text in inputs)


def test_rules_are_tried_by_themselves_wherever_they_were_to_go() -> None:
    lines = ["-R cali-x 3 --goto cali-y", "-I FORWARD 2 --jump cali-FORWARD", "-I INPUT -j DROP"]
    seen: list[str] = []
    assert offending(lines, "filter", lambda text: bool(seen.append(text))) == -1  # type: ignore[func-returns-value]
    assert seen[0].splitlines() == [
        "*filter",
        ":cali-FORWARD - -",
        ":cali-x - -",
        ":cali-y - -",
        "-A cali-x --goto cali-y",
        "-A FORWARD --jump cali-FORWARD",
        "-A INPUT -j DROP",
        "COMMIT",
    ]
    assert offending(["-D cali-x 1"], "filter", lambda text: True) == -1


class Moody(Pretend):
    """Does not take a certain rule, and says so at COMMIT, as legacy tables do."""

    def run(self, *command: str, text: str = "") -> Done:
        line = 0
        for table in text.split("COMMIT\n") if text.startswith("*") else [text]:
            line += table.count("\n") + 1
            if "--dports 80" in table or "--destination-ports 80" in table:
                return Done(1, errors=f"iptables-restore: line {line} failed")
            done = super().run(*command, text=f"{table}COMMIT\n" if table.startswith("*") else table)
        return done

    @contextmanager
    def scratch(self) -> Iterator[Pretend]:
        yield Moody()


def test_the_refused_rule_is_named_although_the_tool_names_commit() -> None:
    kernel = Moody()
    recorder = Recorder(kernel)
    with pytest.raises(KernelRefused) as caught:
        IptablesEnforcer(Tools(recorder, "legacy"), kernel.scratch).apply(OLD)
    found = re.search(r"table filter \(IPv4\), line (\d+), '(.*)',: iptables-restore", str(caught.value))
    assert found
    assert found[2].startswith("-A cali-pi-gnp/web-in -m comment")
    (text,) = (text for _, text in recorder.commands if "*filter" in text)
    assert text.startswith("*raw")
    assert text.splitlines()[int(found[1]) - 1] == found[2]
    with pytest.raises(KernelRefused, match=r"table filter \(IPv4\): iptables-restore: line \d+ failed"):
        apply(Moody(), OLD)


def test_a_rehearsal_reads_and_then_loads_everything() -> None:
    recorder = Recorder(Pretend())
    IptablesEnforcer(Tools(recorder, "nft")).rehearse(NEW)
    tables = [command for command, text in recorder.commands if text.startswith("*")]
    assert ["--test" in command for command in tables] == [True, False] * 8
    with pytest.raises(KernelRefused, match="cali-pi-gnp/web-in"):
        IptablesEnforcer(Tools(Moody(), "nft"), Moody().scratch).rehearse(NEW)


# --- spelling


class CalicoVersion(Pretend):
    """Prints one match in a way of its own."""

    def save(self, family: int, backend: str = "legacy") -> str:
        return super().save(family, backend).replace("-m conntrack --ctstate", "-m state --state")

    def _rule(self, chains: dict[str, list[str]], text: str, family: int) -> str:
        return super()._rule(chains, text, family).replace("-m state --state", "-m conntrack --ctstate")

    @contextmanager
    def scratch(self) -> Iterator[Pretend]:
        yield CalicoVersion()


def test_tools_that_spell_in_their_own_way_are_asked_before_anything_is_written_twice() -> None:
    kernel = CalicoVersion()
    IptablesEnforcer(Tools(kernel, "legacy"), kernel.scratch).apply(OLD)
    assert IptablesEnforcer(Tools(kernel, "legacy"), kernel.scratch).plan(OLD).empty
    assert not IptablesEnforcer(Tools(kernel, "legacy")).plan(OLD).empty
    chains = kernel.tables[4, "legacy"]["filter"]
    right = list(chains["cali-tw-caliweb"])
    chains["cali-tw-caliweb"][0] = right[0].replace("RELATED,ESTABLISHED", "NEW")
    applied = IptablesEnforcer(Tools(kernel, "legacy"), kernel.scratch).apply(OLD)
    assert applied.remarks == ("table filter (IPv4): a rule of cali-tw-caliweb had been changed and is put right",)
    assert [change.chains for change in applied.program.tables] == [("cali-tw-caliweb",)]
    assert kernel.tables[4, "legacy"]["filter"]["cali-tw-caliweb"] == right
