"""Running commands in a namespace, the lock, and what is said when something is missing."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from felixpy import kernel as kernel_module
from felixpy.errors import EnvironmentMissing, KernelRefused
from felixpy.kernel import NOT_FOUND, Done, Machine, namespace_path, open_machine
from felixpy.testing.kernels import Faulty, Recorder
from tests.unit.pretend import Pretend


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine in the namespace that the tests are in anyway: that takes no root, and nothing here writes to it."""
    monkeypatch.setenv("FELIXPY_LOCKFILE", str(tmp_path / "lock"))
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    machine = Machine(namespace)
    yield machine
    machine.close()
    os.close(namespace)


PYTHON = (sys.executable, "-c")


def test_a_command_gets_its_input_and_says_how_it_went(machine: Machine) -> None:
    text = "a line\n" * 100_000 + "Grüße \udcff\n"
    assert machine.run("cat", text=text) == Done(0, text)
    program = "import sys; print('out'); print('why', file=sys.stderr); sys.exit(4)"
    assert machine.run(*PYTHON, program) == Done(4, "out\n", "why\n")


def test_a_missing_command_is_an_answer(machine: Machine) -> None:
    assert machine.run("no-such-tool", "-x").status == NOT_FOUND


def test_tools_speak_english_and_are_found_outside_of_the_path(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    done = machine.run(*PYTHON, "import os; print(os.environ['LC_ALL'], os.environ['PATH'])")
    assert done.output == "C /usr/bin:/bin:/usr/sbin:/sbin\n"


def test_the_input_is_complete_before_the_command_starts(machine: Machine) -> None:
    """A pipe would break off where felixpy is killed; a file does not."""
    done = machine.run(*PYTHON, "import os; print(os.fstat(0).st_size)", text="12345")
    assert done.output == "5\n"


def test_the_terminal_cannot_interrupt_a_command(machine: Machine) -> None:
    done = machine.run(*PYTHON, "import os; print(os.getsid(0) == os.getpid())")
    assert done.output == "True\n"


def test_a_command_that_hangs_is_given_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_module, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(KernelRefused, match="sleep has not finished"):
        machine.run("sleep", "60")


# --- the lock


def test_one_at_a_time_for_each_namespace(machine: Machine) -> None:
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = Machine(namespace)
    with machine.locked(1):
        started = time.monotonic()
        with pytest.raises(KernelRefused, match="another felixpy"), other.locked(0.2):
            pass
        assert 0.2 <= time.monotonic() - started < 5
    with other.locked(1):
        pass
    other.close()
    os.close(namespace)


def test_a_lock_is_waited_for(machine: Machine) -> None:
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = Machine(namespace)
    order: list[str] = []
    with machine.locked(1):
        timer = threading.Timer(0.2, order.append, ["released"])
        timer.start()
        timer.join()
    with other.locked(5):
        order.append("taken")
    assert order == ["released", "taken"]
    other.close()
    os.close(namespace)


def test_a_command_that_outlives_felixpy_keeps_the_lock(machine: Machine, tmp_path: Path) -> None:
    """Killed while a tool writes: whoever comes next has to wait until the tool is done."""
    program = (
        "import os, sys\n"
        "from felixpy.kernel import Machine\n"
        "machine = Machine(os.open('/proc/self/ns/net', os.O_RDONLY))\n"
        "with machine.locked(1):\n"
        "    machine.run('sh', '-c', f'touch {sys.argv[1]}; sleep 1')\n"
    )
    started = tmp_path / "started"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = os.posix_spawn(sys.executable, [*PYTHON, program, str(started)], environment)
    deadline = time.monotonic() + 20
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with pytest.raises(KernelRefused), machine.locked(0.1):
        pass
    with machine.locked(10):
        pass


def test_a_lock_that_cannot_be_made_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIXPY_LOCKFILE", "/no/such/folder/lock")
    with pytest.raises(EnvironmentMissing, match="No such file"), machine.locked(1):
        pass


# --- namespaces


def test_a_namespace_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_module, "NAMESPACES", tmp_path / "netns")
    with pytest.raises(EnvironmentMissing, match="no network namespace shop; ip netns add makes one"):
        namespace_path("shop")
    (tmp_path / "netns").mkdir()
    for name in ("web", "db"):
        (tmp_path / "netns" / name).touch()
    with pytest.raises(EnvironmentMissing, match="no network namespace shop; there are: db, web"):
        namespace_path("shop")
    assert namespace_path("web") == tmp_path / "netns/web"
    assert namespace_path("/proc/self/ns/net") == Path("/proc/self/ns/net")


def test_only_root_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EnvironmentMissing, match="root"), open_machine():
        pass


def test_what_is_no_namespace_cannot_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    plain = tmp_path / "plain"
    plain.touch()
    with pytest.raises(EnvironmentMissing, match=re.escape(f"{plain} cannot be entered")), open_machine(str(plain)):
        pass


# --- the other kernels


def test_the_recorder_passes_on_and_remembers() -> None:
    recorder = Recorder(Pretend())
    assert recorder.run("ipset", "restore", text="create cali40a hash:net family inet maxelem 9\n").status == 0
    assert "create cali40a" in recorder.run("ipset", "save").output
    assert [command for command, _ in recorder.commands] == [("ipset", "restore"), ("ipset", "save")]
    assert recorder.written() == ["ipset restore"]


def test_the_faulty_one_fails_where_it_should() -> None:
    inner = Recorder(Pretend())
    faulty = Faulty(inner, lambda command, text: Done(4, errors="busy") if text else None)
    assert faulty.run("ipset", "restore", text="x").errors == "busy"
    assert faulty.run("ipset", "save").status == 0
    assert [command for command, _ in inner.commands] == [("ipset", "save")]
