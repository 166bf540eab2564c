"""What is kept of nftables tables for the next run, and what is wrong with a file that is not gone by."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from felixpy.dataplane.nftables import memory
from felixpy.dataplane.nftables.content import Base, Elements, ListedLines, TableContent
from felixpy.kernel import Machine
from felixpy.testing.kernels import Recorder

FORWARD = Base("filter", "forward", 0, "accept")
RULES = ('ip saddr @pods counter accept comment "cali:a"', 'counter drop comment "cali:b"')
TABLE = TableContent(
    "ip",
    "calico",
    {"pods": Elements("type ipv4_addr ;", {"10.0.0.1": "10.0.0.1"})},
    {"dispatch": Elements("type ifname : verdict ;", {'"cali1" : goto pod': '"cali1" : goto pod'})},
    {"forward": ListedLines(FORWARD, ("jump pod",)), "pod": ListedLines(None, RULES)},
)
TABLES = {"ip": TABLE}


@pytest.fixture
def machine() -> Iterator[Machine]:
    """In the namespace that the tests are in anyway: nothing of it is looked at but its cookie."""
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    machine = Machine(namespace)
    yield machine
    machine.close()
    os.close(namespace)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is kept; nft is a file that nobody runs."""
    nft = tmp_path / "bin" / "nft"
    nft.parent.mkdir()
    nft.write_bytes(b"\x7fELF")
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", str(nft.parent))
    monkeypatch.setenv("FELIXPY_NFTABLES_MEMORY", str(tmp_path / "memory"))
    return tmp_path / "memory"


def file_in(folder: Path) -> Path:
    [file] = folder.iterdir()
    return file


def test_what_was_kept_is_remembered(machine: Machine, folder: Path) -> None:
    memory.keep(machine, 7, TABLES)
    found = memory.recall(machine, 7)
    assert found is not None
    [table] = found.values()
    assert table.chains == TABLE.chains
    assert table == TABLE
    assert (folder.stat().st_mode & 0o777, file_in(folder).stat().st_mode & 0o777) == (0o700, 0o600)


def test_no_tables_are_an_answer_and_no_file_is_none(machine: Machine) -> None:
    assert memory.recall(machine, 3) is None
    memory.keep(machine, 3, {})
    assert memory.recall(machine, 3) == {}


@pytest.mark.parametrize("generation", [6, 8])
def test_another_generation_is_another_state(machine: Machine, generation: int) -> None:
    memory.keep(machine, 7, TABLES)
    assert memory.recall(machine, generation) is None
    memory.keep(machine, generation, {})
    assert memory.recall(machine, 7) is None
    assert memory.recall(machine, generation) == {}


def test_only_the_kernel_itself_is_remembered(machine: Machine, folder: Path) -> None:
    memory.keep(Recorder(machine), 7, TABLES)
    assert not folder.exists()
    memory.keep(machine, 7, TABLES)
    assert memory.recall(Recorder(machine), 7) is None


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def altered(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"drop", b"pass"))


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def of_another_form(file: Path) -> None:
    packed = b"\x93\x01\x02\x03"
    file.write_bytes(memory._sum(packed) + packed)


def open_to_others(file: Path) -> None:
    file.chmod(0o640)


def in_a_folder_open_to_others(file: Path) -> None:
    file.parent.chmod(0o770)


def behind_a_link(file: Path) -> None:
    elsewhere = file.parent.parent / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def in_a_linked_folder(file: Path) -> None:
    elsewhere = file.parent.parent / "elsewhere"
    file.parent.rename(elsewhere)
    file.parent.symlink_to(elsewhere)


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir(0o700)


def of_another_boot(file: Path) -> None:
    packed = memory._DECODER.decode(file.read_bytes()[memory._SUM_BYTES :])
    other = msgspec.msgpack.encode(packed._replace(source=packed.source._replace(boot="another")))
    file.write_bytes(memory._sum(other) + other)


def nft_upgraded(file: Path) -> None:
    (file.parent.parent / "bin" / "nft").write_bytes(b"\x7fELF of another release")


DAMAGES: list[Callable[[Path], None]] = [
    cut_off, altered, emptied, of_another_form, open_to_others, in_a_folder_open_to_others, behind_a_link,
    in_a_linked_folder, a_pipe, a_folder, of_another_boot, nft_upgraded,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_ours_or_not_whole_is_not_gone_by(
    damage: Callable[[Path], None], machine: Machine, folder: Path
) -> None:
    memory.keep(machine, 7, TABLES)
    assert memory.recall(machine, 7) is not None
    damage(file_in(folder))
    assert memory.recall(machine, 7) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("given", ["file", "folder"])
def test_what_another_user_has_written_is_not_gone_by(given: str, machine: Machine, folder: Path) -> None:
    memory.keep(machine, 7, TABLES)
    os.chown(folder if given == "folder" else file_in(folder), 65534, 65534)
    assert memory.recall(machine, 7) is None
    memory.keep(machine, 7, TABLES)
    assert (memory.recall(machine, 7) is None) == (given == "folder"), "a file is written anew, a folder is left alone"


def test_what_a_link_leads_to_is_not_written(machine: Machine, folder: Path) -> None:
    memory.keep(machine, 7, TABLES)
    file = file_in(folder)
    behind_a_link(file)
    before = file.read_bytes()
    memory.keep(machine, 8, {})
    assert (folder.parent / "elsewhere").read_bytes() == before
    assert memory.recall(machine, 8) == {}


@pytest.mark.parametrize("place", ["", "/no/such/folder/at/all", "/proc/felixpy"])
def test_where_nothing_can_be_kept_nothing_is(place: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIXPY_NFTABLES_MEMORY", place)
    memory.keep(machine, 7, TABLES)
    assert memory.recall(machine, 7) is None


@pytest.mark.parametrize(
    "table",
    [
        TABLE._replace(options=("flags owner",)),
        TABLE._replace(sets={"pods": Elements("type ipv4_addr ; flags timeout ;", {})}),
        TABLE._replace(maps={"seen": Elements("type ipv4_addr : verdict ; flags dynamic ;", {})}),
        TABLE._replace(chains={"pod": ListedLines(None, ('accept comment "\udcff"',))}),
    ],
)
def test_what_may_change_without_being_counted_is_not_kept(table: TableContent, machine: Machine) -> None:
    memory.keep(machine, 7, {"ip": table})
    assert memory.recall(machine, 7) is None


def test_files_of_old_namespaces_go(machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(memory.MOST_FILES + 5):
        monkeypatch.setattr(memory, "cookie", lambda _, number=number: number + 1)
        memory.keep(machine, 7, TABLES)
        os.utime(folder / f"{number + 1:x}", ns=(number, number))
    assert len([*folder.iterdir()]) == memory.MOST_FILES
    assert memory.recall(machine, 7) is not None


def test_files_take_no_more_room_than_they_may(machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.keep(machine, 7, TABLES)
    one = file_in(folder).stat().st_size
    monkeypatch.setattr(memory, "MOST_BYTES", one - 1)
    monkeypatch.setattr(memory, "cookie", lambda _: 2)
    memory.keep(machine, 7, {})
    assert memory.recall(machine, 7) == {}
    assert [file.name for file in folder.iterdir()] == ["2"]
    memory.keep(machine, 8, {"ip": TABLE, "ip6": TABLE})
    assert memory.recall(machine, 8) is None, "it is larger than all may be together"
