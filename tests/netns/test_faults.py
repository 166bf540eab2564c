"""What goes wrong while packets flow: the right policy is in force afterwards, and nothing slipped through meanwhile.

Neither policy of a pair lets a flow through, so it never comes through; both let it through, so it is never lost. The
pairs are drawn by lot. docs/faults.md has the list of faults, and which test is about which.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from felixpy.dataplane.backends import EnforcerOptions, enforcer_of
from felixpy.dataplane.enforcer import AnyEnforcer
from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import NOT_FOUND, Done, Kernel, open_machine
from felixpy.testing.kernels import Faulty
from tests.netns.damages import (
    DAMAGES,
    DORMANT_TABLE,
    FOREIGN_TABLE,
    OF_IPTABLES,
    OF_NFTABLES,
    damaged,
    damaged_listed,
    put_away,
)
from tests.netns.enforcing import EMPTY, EVERY_BACKEND, goal, snapshot
from tests.netns.mortal import MOMENTS
from tests.netns.namespace import BACKENDS, TOOLS
from tests.netns.packets import Topology, Traffic, watched
from tests.netns.policies import Drawn, draw, pairs

pytestmark = pytest.mark.netns

Fault = Callable[[tuple[str, ...], str], Done | None]
CHECKOUT = Path(__file__).parents[2]
EACH_BACKEND = pytest.mark.parametrize("backend", EVERY_BACKEND)
SEEDS, MOST = 5, 24
STEPS = {**dict.fromkeys(BACKENDS, 2), NFTABLES: 1}
"""How many commands write at least when a policy changes."""

BAD_LINES = {"ipset": "add cali40nowhere 10.0.0.1", "nft": "add rule ip calico filter-FORWARD jump nowhere"}


def each_pair(number: int = SEEDS) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pair", range(number), indirect=True)


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> tuple[int, int]:
    """The seeds of two policies; drawn when a test needs them, not when tests are gathered."""
    return pairs(MOST)[request.param]


class Scene(NamedTuple):
    """Two workloads that talk, and the tools of one backend in the namespace of their node."""

    topology: Topology
    traffic: Traffic
    backend: str

    def enforcer(self, kernel: Kernel | None = None, seconds: int = 10, instead_of: Sequence[str] = ()) -> AnyEnforcer:
        node = self.topology.node
        return enforcer_of(
            kernel or node, self.backend, node.scratch, instead_of=instead_of, options=EnforcerOptions(seconds)
        )

    def apply(self, drawn: Drawn | None, enforcer: AnyEnforcer | None = None) -> None:
        """Put a policy in force, or none at all."""
        enforcer = enforcer or self.enforcer()
        with self.topology.node.locked(10):
            enforcer.apply(drawn.wanted(self.backend) if drawn else enforcer.nothing())

    def attempt(self, drawn: Drawn, fault: Fault, instead_of: Sequence[str] = ()) -> str:
        """Apply with a fault; returns what was said if it failed."""
        try:
            self.apply(drawn, self.enforcer(Faulty(self.topology.node, fault), instead_of=instead_of))
        except FelixpyError as refusal:
            return str(refusal)
        return ""

    def holds(self, drawn: Drawn) -> bool:
        """Whether exactly this policy is in the kernel."""
        return snapshot(self.topology.node, self.backend) == goal(drawn.ruleset(self.backend), self.backend)

    def is_clear(self) -> bool:
        """Whether the backend holds nothing of Felix's."""
        enforcer = self.enforcer()
        found: bool = enforcer.plan(enforcer.nothing()).empty
        return found

    def steps(self, drawn: Drawn, instead_of: Sequence[str] = ()) -> int:
        """How many commands write when this is applied now."""
        enforcer = self.enforcer(instead_of=instead_of)
        return len(list(enforcer.inputs(enforcer.plan(drawn.wanted(self.backend)))))


@pytest.fixture
def scene(talk: tuple[Topology, Traffic], backend: str, locks: Path) -> Iterator[Scene]:
    yield Scene(*talk, backend)
    for name in {backend, *BACKENDS}:
        enforcer = enforcer_of(talk[0].node, name)
        enforcer.apply(enforcer.nothing())


@contextmanager
def nothing_slips_through(scene: Scene, old: Drawn, new: Drawn, end: Drawn | None = None) -> Iterator[None]:
    """Watch what happens on the way from one policy to the other; `end` is the one in force then if not the second."""
    with watched(scene.traffic) as found:
        yield
    assert found[0].slips(old.passing, new.passing) == ""
    assert found[0].before == old.passing
    assert found[0].after == (end or new).passing


def at_write(number: int, fault: Fault) -> Fault:
    """The fault for the writing command with this number; others are none of its business."""
    left = number

    def decide(command: tuple[str, ...], text: str) -> Done | None:
        nonlocal left
        if not text:
            return None
        left -= 1
        return fault(command, text) if left == -1 else None

    return decide


# --- no fault


@EACH_BACKEND
@each_pair(MOST)
def test_one_policy_after_the_other(scene: Scene, pair: tuple[int, int]) -> None:
    old, new = map(draw, pair)
    scene.apply(old)
    with nothing_slips_through(scene, old, new):
        scene.apply(new)
    assert scene.holds(new)


@EACH_BACKEND
@each_pair(3)
def test_the_first_policy_of_all_and_its_end(scene: Scene, pair: tuple[int, int]) -> None:
    new = draw(pair[0])
    open_to_all = scene.traffic.passing()
    assert open_to_all > new.passing
    for drawn in (new, None):
        with watched(scene.traffic) as found:
            scene.apply(drawn)
        assert found[0].slips() == ""
    assert found[0].after == open_to_all


# --- a command fails


def with_fault(scene: Scene, pair: tuple[int, int], fault: Fault) -> int:
    """Let every writing command fail once, one after the other, until one does not matter; returns how many did."""
    old, new = map(draw, pair)
    scene.apply(old)
    for number in range(100):
        with watched(scene.traffic) as found:
            said = scene.attempt(new, at_write(number, fault))
        right = old if said else new
        assert not said or said.endswith("; what was in force before still is")
        assert found[0].slips(old.passing, new.passing) == ""
        assert found[0].after == right.passing
        if right is new:
            scene.apply(new)
            assert scene.holds(new)
            return number
        assert scene.holds(old), f"step {number}"
    raise AssertionError("there is no end to it")


@EACH_BACKEND
@each_pair()
def test_a_restore_that_fails_in_the_middle(scene: Scene, pair: tuple[int, int]) -> None:
    """ipset has done half of the lines by then, iptables the tables above the one that fails, nft nothing."""

    def half(command: tuple[str, ...], text: str) -> Done:
        lines = text.splitlines(keepends=True)
        above = "".join(lines[: len(lines) // 2]) if command[0] == "ipset" else text.partition("*filter")[0]
        if above and command[0] != "nft":
            assert not scene.topology.node.run(*command, text=above).status
        return Done(1, errors="out of luck")

    assert with_fault(scene, pair, half) >= STEPS[scene.backend]


@EACH_BACKEND
@each_pair()
def test_a_rule_that_the_kernel_does_not_take(scene: Scene, pair: tuple[int, int]) -> None:
    """Here it is the tools themselves that refuse."""

    def spoilt(command: tuple[str, ...], text: str) -> Done:
        bad = BAD_LINES.get(command[0], "-A FORWARD -j cali-nowhere")
        if command[0] == "nft":
            return scene.topology.node.run(*command, text=f"{text}{bad}\n")
        return scene.topology.node.run(*command, text=text.removesuffix("COMMIT\n") + f"{bad}\nCOMMIT\n")

    assert with_fault(scene, pair, spoilt) >= STEPS[scene.backend]


@pytest.mark.parametrize(
    "backend, name",
    [
        *((backend, "ipset") for backend in BACKENDS),
        *(
            (backend, f"{tool}-{backend}-{what}")
            for backend in BACKENDS
            for tool in TOOLS.values()
            for what in ("save", "restore")
        ),
        (NFTABLES, "nft"),
    ],
)
def test_a_tool_that_is_missing(scene: Scene, name: str) -> None:
    """From the start; what was written before it was missed is taken back."""
    old, new = map(draw, pairs(MOST)[0])
    scene.apply(old)

    def without(command: tuple[str, ...], text: str) -> Done | None:
        return Done(NOT_FOUND) if command[0] in (name, name.replace(f"-{scene.backend}", "")) else None

    with (
        nothing_slips_through(scene, old, new, end=old),
        pytest.raises(EnvironmentMissing, match=r"is missing; install (ip|nftables)"),
    ):
        scene.apply(new, scene.enforcer(Faulty(scene.topology.node, without)))
    assert scene.holds(old)


# --- others at work


@pytest.mark.parametrize("backend", ["legacy"])
@each_pair(3)
def test_the_lock_of_iptables_is_waited_for(scene: Scene, pair: tuple[int, int], locks: Path) -> None:
    old, new = map(draw, pair)
    scene.apply(old)
    with (locks / "xtables.lock").open("w") as lock, nothing_slips_through(scene, old, new):
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.2, fcntl.flock, [lock, fcntl.LOCK_UN]).start()
        scene.apply(new)
    assert scene.holds(new)


@pytest.mark.parametrize("backend", ["legacy"])
def test_a_lock_that_is_never_given_back_is_not_waited_for_without_end(scene: Scene, locks: Path) -> None:
    old, new = map(draw, pairs(MOST)[0])
    scene.apply(old)
    with (locks / "xtables.lock").open("w") as lock, nothing_slips_through(scene, old, old):
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(KernelRefused, match=r"xtables lock.*--wait gives it more time.*before still is"):
            scene.apply(new, scene.enforcer(seconds=1))
    assert scene.holds(old)


@EACH_BACKEND
def test_a_second_felixpy_is_waited_for_but_not_without_end(scene: Scene) -> None:
    old, new = map(draw, pairs(MOST)[0])
    scene.apply(old)
    with open_machine(scene.topology.path) as other, nothing_slips_through(scene, old, new):
        with other.locked(1):
            threading.Timer(0.1, lambda: None).start()
            with pytest.raises(KernelRefused, match="another felixpy is at work"), scene.topology.node.locked(0.2):
                pass
        scene.apply(new)
    assert scene.holds(new)


FOREIGN_USE = {
    **{
        backend: (
            (f"iptables-{backend}", "-w", "-F", "INPUT"),
            (f"iptables-{backend}", "-w", "-A", "INPUT", "-p", "tcp", "--dport"),
            (f"iptables-{backend}", "-S", "INPUT"),
            (f"iptables-{backend}", "-w", "-F", "INPUT"),
        )
        for backend in BACKENDS
    },
    NFTABLES: (
        ("nft", "add table ip theirs; add chain ip theirs input { type filter hook input priority 0; }"),
        ("nft", "add", "rule", "ip", "theirs", "input", "tcp", "dport"),
        ("nft", "list", "table", "ip", "theirs"),
        ("nft", "delete", "table", "ip", "theirs"),
    ),
}
"""What somebody else does with the same tool: before, eight times at the same time, to look, and to clear up."""


@EACH_BACKEND
@each_pair(3)
def test_two_that_write_at_the_same_time(scene: Scene, pair: tuple[int, int]) -> None:
    """Both want the same; each waits for the other, and a foreign user of the tools comes in between."""
    old, new = map(draw, pair)
    node = scene.topology.node
    before, add, look, after = FOREIGN_USE[scene.backend]
    assert not node.run(*before).status
    scene.apply(old)

    def meddle() -> None:
        with open_machine(scene.topology.path) as other:
            for number in range(8):
                assert not other.run(*add, str(number + 1)).status

    meddler = threading.Thread(target=meddle)
    with nothing_slips_through(scene, old, new):
        meddler.start()
        scene.apply(new)
        meddler.join()
    assert node.run(*look).output.count(" dport ") + node.run(*look).output.count("--dport ") == 8
    node.run(*after)
    scene.apply(new)
    assert scene.holds(new)


# --- a sudden end


class Sacrifice:
    """Processes that carry out orders until they die of them."""

    def __init__(self, scene: Scene) -> None:
        command = [sys.executable, "-m", "tests.netns.mortal", scene.topology.path, scene.backend]
        self.process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._answer() == "ready"

    def order(self, *words: object) -> str:
        assert self.process.stdin
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture
def sacrifice(scene: Scene) -> Iterator[Sacrifice]:
    sacrifice = Sacrifice(scene)
    yield sacrifice
    sacrifice.close()


@EACH_BACKEND
@each_pair(4)
def test_killed_at_any_step(scene: Scene, pair: tuple[int, int], sacrifice: Sacrifice) -> None:
    """Before, during or after each writing command; the next run may be about the new policy or about the old one."""
    old, new = map(draw, pair)
    scene.apply(old)
    for step in range(scene.steps(new)):
        moment, goal_next = MOMENTS[(step + pair[0]) % 3], (old, new)[(step + pair[0]) % 2]
        with nothing_slips_through(scene, old, new, end=goal_next):
            assert sacrifice.order(pair[1], step, moment) == "killed"
            scene.apply(goal_next)
        assert scene.holds(goal_next), (step, moment)
        scene.apply(old)
    assert sacrifice.order(pair[1], 99, "before").startswith("survived: ")


# --- no room


READERS = {NFTABLES: "nft refused to list table arp calico-arp"}
"""What is asked first, by the command, as nft's library has no room either."""


@EACH_BACKEND
def test_no_room_for_files(scene: Scene, sacrifice: Sacrifice) -> None:
    """What the tools read and print are files in memory; here none of them may grow beyond so many bytes."""
    seed = pairs(MOST)[0][0]
    drawn = draw(seed)
    told = []
    for size in (0, 600, 3000, 1_000_000):
        with watched(scene.traffic) as found:
            told.append(sacrifice.order("limit", seed, size))
        survived = told[-1].startswith("survived: ")
        assert found[0].slips() == ""
        assert scene.holds(drawn) is survived
        assert (snapshot(scene.topology.node, scene.backend) == EMPTY) is not survived
    assert [said.endswith("cannot be run: File too large; what was in force before still is") for said in told[1:3]]
    assert survived
    if scene.backend == NFTABLES:
        # Where the last run left everything: nothing has to be read, so that it is the writing that fails.
        said = sacrifice.order("limit", pairs(MOST)[0][1], 100)
        assert said.endswith("cannot be run: File too large; what was in force before still is")
        assert scene.topology.node.run("nft", "-f", "-", text="add table ip x\ndelete table ip x\n") == Done(0)
    said = sacrifice.order("limit", pairs(MOST)[0][1], 100)
    looks = READERS.get(scene.backend, f"iptables-{scene.backend}-save refused")
    assert said == f"KernelRefused: {looks}: ended by SIGXFSZ"
    assert scene.holds(drawn)


# --- from one data plane to the other

MIGRATIONS = pytest.mark.parametrize(
    "backend, before", [("nftables", "legacy"), ("nftables", "nft"), ("legacy", "nftables"), ("nft", "nftables")]
)


@contextmanager
def in_force(scene: Scene, before: str, drawn: Drawn) -> Iterator[Scene]:
    """The scene as the backend before found it, with a policy in force there; that is cleared in the end."""
    earlier = scene._replace(backend=before)
    earlier.apply(drawn)
    yield earlier
    earlier.apply(None)


@MIGRATIONS
@each_pair(8)
def test_a_migration_is_never_open_in_between(scene: Scene, before: str, pair: tuple[int, int]) -> None:
    """The new rules come before the old ones go, and nothing of these stays."""
    old, new = map(draw, pair)
    with in_force(scene, before, old) as earlier:
        with nothing_slips_through(scene, old, new):
            scene.apply(new, scene.enforcer(instead_of=[before]))
        assert scene.holds(new)
        assert earlier.is_clear()
        assert scene.steps(new, instead_of=[before]) == 0


@MIGRATIONS
@each_pair(2)
def test_a_migration_that_fails_at_any_step(scene: Scene, before: str, pair: tuple[int, int]) -> None:
    """The old rules are back in force before the new ones go. That old sets stay is told, and no failure."""
    old, new = map(draw, pair)
    with in_force(scene, before, old) as earlier:
        steps = scene.steps(new, instead_of=[before])
        for number in range(steps):
            with watched(scene.traffic) as found:
                said = scene.attempt(new, at_write(number, lambda *_: Done(1, errors="out of luck")), [before])
            assert found[0].slips(old.passing, new.passing) == ""
            assert bool(said) is (before == NFTABLES or number < steps - 1)
            if said:
                assert said.endswith("out of luck; what was in force before still is"), said
                assert earlier.holds(old)
                assert scene.is_clear()


@MIGRATIONS
@each_pair(1)
def test_a_migration_that_is_killed(scene: Scene, before: str, pair: tuple[int, int], sacrifice: Sacrifice) -> None:
    """At any step; the next run goes on, or goes back."""
    old, new = map(draw, pair)
    with in_force(scene, before, old) as earlier:
        for step in range(scene.steps(new, instead_of=[before])):
            goal_next, to, away = [(new, scene, earlier), (old, earlier, scene)][step % 2]
            with nothing_slips_through(scene, old, new, end=goal_next):
                assert sacrifice.order(pair[1], step, MOMENTS[step % 3], before) == "killed"
                to.apply(goal_next, to.enforcer(instead_of=[away.backend]))
            assert to.holds(goal_next), step
            assert away.is_clear(), step
            earlier.apply(old, earlier.enforcer(instead_of=[scene.backend]))


# --- tampering


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("damage", OF_IPTABLES)
def test_damage(scene: Scene, damage: str, seed: int) -> None:
    """Repair has no in-between: what neither the damaged rules nor the right ones let through stays out, and so on."""
    node = scene.topology.node
    old, new = map(draw, pairs(MOST)[seed])
    scene.apply(old)
    damaged(node, scene.backend, damage, seed)
    goal_next = old if DAMAGES[damage].ipset else new
    with watched(scene.traffic) as seen:
        scene.apply(goal_next)
    assert seen[0].slips() == ""
    put_away(node, scene.backend)
    assert scene.holds(goal_next)
    assert scene.traffic.passing() == goal_next.passing


@pytest.mark.parametrize("backend", [NFTABLES])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("damage", OF_NFTABLES)
def test_damage_to_tables_of_nftables(scene: Scene, damage: str, seed: int) -> None:
    """Rules and sets are repaired and changed in one step, so the next policy may be another one at the same time.

    A dormant table becomes active with the rules that it had before.
    """
    node = scene.topology.node
    old, new = map(draw, pairs(MOST)[seed])
    scene.apply(old)
    damaged_listed(node, damage, seed)
    goal_next = old if damage == DORMANT_TABLE else new
    with watched(scene.traffic) as seen:
        scene.apply(goal_next)
    assert seen[0].slips() == ""
    assert not node.run("nft", "delete", "table", "ip", "theirs").status or damage != FOREIGN_TABLE
    assert scene.holds(goal_next)
    assert scene.traffic.passing() == goal_next.passing
