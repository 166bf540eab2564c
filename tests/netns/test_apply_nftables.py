"""Applying nftables tables to a real kernel: what is left alone, what is refused, and every recorded case."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from felixpy import libnftables
from felixpy.dataplane.backends import find, goal_of
from felixpy.dataplane.enforcer import WantedRules
from felixpy.dataplane.nftables import netlink
from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.errors import FelixpyError, KernelRefused
from felixpy.kernel import LIST, Done, Machine
from felixpy.testing.kernels import Recorder
from tests.conformance.recordings import WITH_NFTABLES, Case
from tests.conformance.test_nftables import NOT_PROGRAMMED, PROGRAMMED, compiled
from tests.netns.enforcing import EMPTY, Snapshot, case_of, enforcer, fresh_machine, goal, snapshot
from tests.netns.namespace import PATH

pytestmark = pytest.mark.netns

SHOP, MORE = case_of("k8s/shop-three-tiers"), case_of("config/chain-insert-mode-append")
THEIRS = """\
table ip kube-proxy {
	map services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.1 . tcp . 443 : goto service }
	}
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr . meta l4proto . th dport vmap @services
	}
	chain service {
		meta l4proto tcp dnat to 192.0.2.9:6443
	}
}
table inet firewalld {
	set calico {
		type ipv4_addr
		elements = { 10.1.1.1 }
	}
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ip saddr @calico counter packets 0 bytes 0 drop
	}
}
"""


def wanted(case: Case) -> WantedRules:
    return goal_of(compiled(case))


def foreign(machine: Machine) -> str:
    return "".join(
        machine.run("nft", "list", "table", *title).output for title in (("ip", "kube-proxy"), ("inet", "firewalld"))
    )


def test_tables_of_others_survive(machine: Machine) -> None:
    assert machine.run("nft", "-f", "-", text=THEIRS).status == 0
    before = foreign(machine)
    assert before
    for case in (SHOP, MORE, SHOP):
        enforcer(machine, NFTABLES).apply(wanted(case))
        assert foreign(machine) == before
    there = enforcer(machine, NFTABLES)
    there.apply(there.nothing())
    assert foreign(machine) == before
    assert not find(machine).nftables


def test_a_second_run_writes_nothing_also_without_scratch(machine: Machine) -> None:
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    recorder = Recorder(machine)
    assert enforcer(machine, NFTABLES, recorder).apply(wanted(SHOP)).program.empty
    assert recorder.written() == []
    assert [command[:4] for command, _ in recorder.commands] == [("nft", "-s", "list", "table")] * 3


def test_a_watch_lists_tables_only_after_somebody_changed_some(machine: Machine) -> None:
    """One enforcer knows what it read and wrote, as long as the kernel says that nobody else wrote."""
    mine = enforcer(machine, NFTABLES)
    mine.apply(wanted(SHOP))
    machine.run("nft", "delete", "chain", "ip", "calico", "no-such-chain")
    known = mine.read(wanted(SHOP))
    assert mine.read(wanted(SHOP)) is known
    mine.apply(wanted(MORE))
    assert snapshot(machine, NFTABLES) == goal(compiled(MORE), NFTABLES)
    assert mine.plan(wanted(MORE)).empty
    assert machine.run("nft", "flush", "chain", "ip", "calico", "filter-cali-FORWARD").status == 0
    assert not mine.plan(wanted(MORE)).empty
    mine.apply(wanted(MORE))
    assert snapshot(machine, NFTABLES) == goal(compiled(MORE), NFTABLES)


@contextmanager
def asked_listings() -> Iterator[list[tuple[str, ...]]]:
    """The listings of tables that are asked for meanwhile."""
    asked: list[tuple[str, ...]] = []
    together = Machine.run_together

    def seen(machine: Machine, commands: Iterable[tuple[str, ...]]) -> list[Done]:
        told = [*commands]
        asked.extend(command for command in told if command[: len(LIST)] == LIST)
        return together(machine, told)

    with patch.object(Machine, "run_together", seen):
        yield asked


def test_one_run_after_another_lists_tables_only_after_somebody_changed_some(machine: Machine) -> None:
    """What the last run left counts as long as the kernel says that nobody else wrote."""
    with asked_listings() as asked:
        enforcer(machine, NFTABLES).apply(wanted(SHOP))
        assert asked == [], "there is no table yet"
    with asked_listings() as asked:
        for case, empty in ((SHOP, True), (MORE, False), (MORE, True), (SHOP, False)):
            assert enforcer(machine, NFTABLES).apply(wanted(case)).program.empty == empty
            assert snapshot(machine, NFTABLES) == goal(compiled(case), NFTABLES)
        assert asked == []
    for change in ("flush chain ip calico filter-cali-FORWARD", "add table ip theirs", "delete table ip theirs"):
        assert machine.run("nft", *change.split()).status == 0
        with asked_listings() as asked:
            enforcer(machine, NFTABLES).apply(wanted(SHOP))
        assert len(asked) == 3
        assert snapshot(machine, NFTABLES) == goal(compiled(SHOP), NFTABLES)


def test_what_is_remembered_is_of_one_namespace(machine: Machine) -> None:
    """Both have had as many transactions."""
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    with machine.scratch() as other:
        before = enforcer(other, NFTABLES)
        assert before.read(wanted(SHOP)) == {}
        before.apply(before.nothing())
        while (netlink.generation(other) or 0) < (netlink.generation(machine) or 0):
            other.run("nft", "-f", "-", text="add table ip theirs\ndelete table ip theirs\n")
        assert netlink.generation(other) == netlink.generation(machine)
        assert enforcer(other, NFTABLES).read(wanted(SHOP)) == {}


def test_what_was_remembered_comes_back_rule_by_rule(machine: Machine) -> None:
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    with asked_listings() as asked:
        mine = enforcer(machine, NFTABLES)
        state = mine.read(wanted(MORE))
        mine.apply(wanted(MORE))
        enforcer(machine, NFTABLES).revert(state)
    assert asked == []
    assert snapshot(machine, NFTABLES) == goal(compiled(SHOP), NFTABLES)


def test_a_plan_remembers_nothing_for_others(machine: Machine, locks: Path) -> None:
    """As for --dry-run and --check, which write nothing anywhere."""
    assert not enforcer(machine, NFTABLES).plan(wanted(SHOP)).empty
    assert not (locks / "nftables").exists()
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    [file] = (locks / "nftables").iterdir()
    kept = file.read_bytes()
    with asked_listings() as asked:
        assert not enforcer(machine, NFTABLES).plan(wanted(MORE)).empty
    assert asked == []
    assert file.read_bytes() == kept


@pytest.mark.parametrize("harm", ["cut off", "of somebody else", "nowhere to write"])
def test_without_a_memory_tables_are_listed(
    harm: str, machine: Machine, locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if harm == "nowhere to write":
        monkeypatch.setenv("FELIXPY_NFTABLES_MEMORY", "/proc/felixpy")
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    if harm != "nowhere to write":
        [file] = (locks / "nftables").iterdir()
        if harm == "cut off":
            os.truncate(file, 1000)
        else:
            os.chown(file, 65534, 65534)
    with asked_listings() as asked:
        enforcer(machine, NFTABLES).apply(wanted(MORE))
    assert len(asked) == 3
    assert snapshot(machine, NFTABLES) == goal(compiled(MORE), NFTABLES)
    with asked_listings() as asked:
        assert enforcer(machine, NFTABLES).apply(wanted(MORE)).program.empty
    assert len(asked) == (3 if harm == "nowhere to write" else 0), "the file was written anew"


@pytest.mark.parametrize("case", NOT_PROGRAMMED, ids=str)
def test_the_line_that_nft_refuses_is_named(case: Case, machine: Machine) -> None:
    """Nothing of a refused transaction is in force, where Felix leaves an empty table in which everything passes."""
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    before = snapshot(machine, NFTABLES)
    with pytest.raises(KernelRefused, match=r"nft refused line \d+, '.*',: .*what was in force before still is"):
        enforcer(machine, NFTABLES).apply(wanted(case))
    assert snapshot(machine, NFTABLES) == before


def test_a_rehearsal_touches_nothing(machine: Machine) -> None:
    for case in (SHOP, NOT_PROGRAMMED[0]):
        with machine.scratch() as elsewhere:
            try:
                enforcer(machine, NFTABLES).in_another(elsewhere, machine.scratch).rehearse(wanted(case))
            except KernelRefused:
                assert case is not SHOP
            else:
                assert case is SHOP
    assert snapshot(machine, NFTABLES) == EMPTY


def test_what_was_there_comes_back_rule_by_rule(machine: Machine) -> None:
    """Also what was not as Felix would have it: a revert restores what was found."""
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    odd = "add rule ip calico filter-cali-FORWARD meta mark & 0xffe00000 != 0x200000 counter\n"
    assert machine.run("nft", "-f", "-", text=odd).status == 0
    before = snapshot(machine, NFTABLES)
    mine = enforcer(machine, NFTABLES)
    state = mine.read(wanted(MORE))
    mine.apply(wanted(MORE))
    enforcer(machine, NFTABLES).revert(state)
    assert snapshot(machine, NFTABLES) == before


# --- every recorded case


class Prepared(NamedTuple):
    """A case, what it asks for, and what a namespace with nothing else in it lists then."""

    case: Case
    wanted: WantedRules
    goal: Snapshot


def prepare(case: Case) -> Prepared:
    ruleset = compiled(case)
    return Prepared(case, goal_of(ruleset), goal(ruleset, NFTABLES))


def one_over_the_other(batch: Sequence[Prepared]) -> list[str]:
    """What goes wrong when the cases are applied in a namespace that begins empty, each over the one before."""
    with fresh_machine() as machine:
        return [f"{each.case}: {wrong}" for each in batch if (wrong := applied(machine, each))]


def applied(machine: Machine, prepared: Prepared) -> str:
    """Apply a case twice: over its predecessor, then over itself."""
    recorder = Recorder(machine)
    try:
        enforcer(machine, NFTABLES).apply(prepared.wanted)
        again = enforcer(machine, NFTABLES, recorder).apply(prepared.wanted)
    except FelixpyError as wrong:
        return str(wrong)
    if recorder.written() or not again.program.empty:
        return f"the second run changes {'; '.join(again.program.places())}"
    found = snapshot(machine, NFTABLES)
    return "" if found == prepared.goal else f"{prepared.goal!r:.2000}\n  is not {found!r:.2000}"


@pytest.mark.slow
@pytest.mark.parametrize("area", WITH_NFTABLES)
def test_what_lands_is_what_is_rendered_and_a_second_run_writes_nothing(area: str) -> None:
    """Cases follow each other in an order drawn by lot, each in the namespace that the one before has left."""
    prepared = [prepare(case) for case in PROGRAMMED if case.area == area]
    random.Random(area).shuffle(prepared)
    batches = min(8, len(prepared))
    with ThreadPoolExecutor(batches) as pool:
        wrong = [line for found in pool.map(one_over_the_other, (prepared[n::batches] for n in range(batches)))
                 for line in found]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def listings(machine: Machine) -> list[str]:
    """Felix's tables as nft's library prints them, or the command in its place."""
    tables = (("ip", "calico"), ("arp", "calico-arp"))
    return [done.output for done in machine.run_together([("nft", "-s", "list", "table", *title) for title in tables])]


def test_the_library_of_nft_lists_what_the_command_lists(machine: Machine) -> None:
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    tables = (("ip", "calico"), ("arp", "calico-arp"))
    there = [machine.run("nft", "-s", "list", "table", *title).output for title in tables]
    with patch.object(Machine, "_start", side_effect=AssertionError("a command was started")):
        assert listings(machine) == there


def test_the_command_of_nft_is_asked_where_its_library_cannot_answer(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    there = listings(machine)
    assert machine.run_together([("nft", "-s", "list", "table", "ip", "absent")])[0].errors.startswith("Error: No such")
    with monkeypatch.context() as broken:
        broken.setattr(libnftables, "_print", lambda *asked: os.kill(os.getpid(), signal.SIGKILL))
        assert listings(machine) == there
    with monkeypatch.context() as missing:
        missing.setattr(libnftables, "_library", lambda: None)
        assert listings(machine) == there
    script = tmp_path / "nft"
    script.write_text("#!/bin/sh\necho somebody\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{PATH}")
    assert listings(machine) == ["somebody\n"] * 2


def test_a_table_that_nft_cannot_list_is_told(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    rule = "meta l4proto 200 ip daddr . meta l4proto . th dport @s counter accept"
    text = (
        "add table ip calico\nadd chain ip calico c\n"
        "add set ip calico s { type ipv4_addr . inet_proto . inet_service ; }\n"
        f"add rule ip calico c {rule}\n"
    )
    assert machine.run("nft", "-f", "-", text=text) == Done(0)
    with pytest.raises(KernelRefused, match=r"nft cannot list it; nft delete table removes the table"):
        enforcer(machine, NFTABLES).apply(wanted(SHOP))
    assert capfd.readouterr() == ("", "")
    assert machine.run("nft", "delete", "table", "ip", "calico").status == 0
    enforcer(machine, NFTABLES).apply(wanted(SHOP))
    assert snapshot(machine, NFTABLES) == goal(compiled(SHOP), NFTABLES)


def test_the_kernel_names_tables_as_nft_does(machine: Machine) -> None:
    """Also more of them than one answer holds."""
    assert netlink.tables(machine) == set()
    names = [(family, f"{family}-{number}") for family in netlink.FAMILIES.values() for number in range(300)]
    before = netlink.generation(machine)
    text = "".join(f"add table {family} {name}\n" for family, name in names if family != "netdev")
    assert machine.run("nft", "-f", "-", text=text) == Done(0)
    listed = machine.run("nft", "list", "tables").output
    assert netlink.tables(machine) == {tuple(line.split()[1:]) for line in listed.splitlines()}
    assert len(netlink.tables(machine) or ()) == len(names) - 300
    assert before is not None
    assert netlink.generation(machine) == before + 1
