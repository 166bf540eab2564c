"""What goes wrong while packets flow: the right policy is in force afterwards, and nothing slipped through meanwhile.

Neither policy of a pair lets a flow through, so it never comes through; both let it through, so it is never lost. The
pairs are drawn by lot. docs/faults.md has the list of faults, and which test is about which.
"""

from __future__ import annotations

import fcntl
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from felixpy.dataplane.enforcer import Applied, Enforcer
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import NOT_FOUND, Done, Kernel, open_machine
from felixpy.testing.kernels import Faulty
from tests.netns.enforcing import EMPTY, goal, snapshot
from tests.netns.mortal import MOMENTS
from tests.netns.namespace import BACKENDS
from tests.netns.packets import PORTS, Topology, Traffic, two_workloads, watched
from tests.netns.policies import Drawn, draw, pairs

pytestmark = pytest.mark.netns

Fault = Callable[[tuple[str, ...], str], Done | None]
CHECKOUT = Path(__file__).parents[2]
EACH_BACKEND = pytest.mark.parametrize("backend", BACKENDS)
SEEDS, MOST = 5, 24


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

    def apply(self, wanted: Wanted, kernel: Kernel | None = None, seconds: int = 10) -> Applied:
        tools = Tools(kernel or self.topology.node, self.backend, seconds)
        with self.topology.node.locked(10):
            return Enforcer(tools, self.topology.node.scratch).apply(wanted)

    def attempt(self, wanted: Wanted, fault: Fault) -> str:
        """Apply with a fault; returns what was said if it failed."""
        try:
            self.apply(wanted, Faulty(self.topology.node, fault))
        except FelixpyError as refusal:
            return str(refusal)
        return ""

    def holds(self, drawn: Drawn) -> bool:
        """Whether exactly this policy is in the kernel."""
        return snapshot(self.topology.node, self.backend) == goal(drawn.ruleset, self.backend)

    def steps(self, wanted: Wanted) -> int:
        """How many commands write when this is applied now."""
        tools = Tools(self.topology.node, self.backend)
        return len(list(Enforcer(tools).plan(wanted).inputs(tools)))


@pytest.fixture(scope="module")
def talk(kernel: None) -> Iterator[tuple[Topology, Traffic]]:
    with two_workloads() as topology:
        traffic = Traffic(topology)
        yield topology, traffic
        traffic.close()


@pytest.fixture
def scene(talk: tuple[Topology, Traffic], backend: str, locks: Path) -> Iterator[Scene]:
    yield Scene(*talk, backend)
    Enforcer(Tools(talk[0].node, backend)).apply(Wanted.nothing())


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
    scene.apply(old.wanted)
    with nothing_slips_through(scene, old, new):
        scene.apply(new.wanted)
    assert scene.holds(new)


@EACH_BACKEND
@each_pair(3)
def test_the_first_policy_of_all_and_its_end(scene: Scene, pair: tuple[int, int]) -> None:
    new = draw(pair[0])
    open_to_all = scene.traffic.passing()
    assert open_to_all > new.passing
    for wanted in (new.wanted, Wanted.nothing()):
        with watched(scene.traffic) as found:
            scene.apply(wanted)
        assert found[0].slips() == ""
    assert found[0].after == open_to_all


# --- a command fails


def with_fault(scene: Scene, pair: tuple[int, int], fault: Fault) -> int:
    """Let every writing command fail once, one after the other, until one does not matter; returns how many did."""
    old, new = map(draw, pair)
    scene.apply(old.wanted)
    for number in range(100):
        with watched(scene.traffic) as found:
            said = scene.attempt(new.wanted, at_write(number, fault))
        right = old if said else new
        assert not said or said.endswith("; what was in force before still is")
        assert found[0].slips(old.passing, new.passing) == ""
        assert found[0].after == right.passing
        if right is new:
            scene.apply(new.wanted)
            assert scene.holds(new)
            return number
        assert scene.holds(old), f"step {number}"
    raise AssertionError("there is no end to it")


@EACH_BACKEND
@each_pair()
def test_a_restore_that_fails_in_the_middle(scene: Scene, pair: tuple[int, int]) -> None:
    """ipset has done half of the lines by then, iptables the tables above the one that fails."""

    def half(command: tuple[str, ...], text: str) -> Done:
        lines = text.splitlines(keepends=True)
        above = "".join(lines[: len(lines) // 2]) if command[0] == "ipset" else text.partition("*filter")[0]
        if above:
            assert not scene.topology.node.run(*command, text=above).status
        return Done(1, errors="out of luck")

    assert with_fault(scene, pair, half) >= 2


@EACH_BACKEND
@each_pair()
def test_a_rule_that_the_kernel_does_not_take(scene: Scene, pair: tuple[int, int]) -> None:
    """Here it is the tools themselves that refuse."""

    def spoilt(command: tuple[str, ...], text: str) -> Done:
        bad = "add cali40nowhere 10.0.0.1" if command[0] == "ipset" else "-A FORWARD -j cali-nowhere"
        return scene.topology.node.run(*command, text=text.removesuffix("COMMIT\n") + f"{bad}\nCOMMIT\n")

    assert with_fault(scene, pair, spoilt) >= 2


@EACH_BACKEND
@pytest.mark.parametrize(
    "tool", ["ipset", "iptables-{}-save", "ip6tables-{}-save", "iptables-{}-restore", "ip6tables-{}-restore"]
)
def test_a_tool_that_is_missing(scene: Scene, tool: str) -> None:
    """From the start; what was written before it was missed is taken back."""
    old, new = map(draw, pairs(MOST)[0])
    name = tool.format(scene.backend)
    scene.apply(old.wanted)

    def without(command: tuple[str, ...], text: str) -> Done | None:
        return Done(NOT_FOUND) if command[0] in (name, name.replace(f"-{scene.backend}", "")) else None

    with (
        nothing_slips_through(scene, old, new, end=old),
        pytest.raises(EnvironmentMissing, match="is missing; install ip"),
    ):
        scene.apply(new.wanted, Faulty(scene.topology.node, without))
    assert scene.holds(old)


# --- others at work


@pytest.mark.parametrize("backend", ["legacy"])
@each_pair(3)
def test_the_lock_of_iptables_is_waited_for(scene: Scene, pair: tuple[int, int], locks: Path) -> None:
    old, new = map(draw, pair)
    scene.apply(old.wanted)
    with (locks / "xtables.lock").open("w") as lock, nothing_slips_through(scene, old, new):
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.2, fcntl.flock, [lock, fcntl.LOCK_UN]).start()
        scene.apply(new.wanted)
    assert scene.holds(new)


@pytest.mark.parametrize("backend", ["legacy"])
def test_a_lock_that_is_never_given_back_is_not_waited_for_without_end(scene: Scene, locks: Path) -> None:
    old, new = map(draw, pairs(MOST)[0])
    scene.apply(old.wanted)
    with (locks / "xtables.lock").open("w") as lock, nothing_slips_through(scene, old, old):
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(KernelRefused, match=r"xtables lock.*--wait gives it more time.*before still is"):
            scene.apply(new.wanted, seconds=1)
    assert scene.holds(old)


@EACH_BACKEND
def test_a_second_felixpy_is_waited_for_but_not_without_end(scene: Scene) -> None:
    old, new = map(draw, pairs(MOST)[0])
    scene.apply(old.wanted)
    with open_machine(scene.topology.path) as other, nothing_slips_through(scene, old, new):
        with other.locked(1):
            threading.Timer(0.1, lambda: None).start()
            with pytest.raises(KernelRefused, match="another felixpy is at work"), scene.topology.node.locked(0.2):
                pass
        scene.apply(new.wanted)
    assert scene.holds(new)


@EACH_BACKEND
@each_pair(3)
def test_two_that_write_at_the_same_time(scene: Scene, pair: tuple[int, int]) -> None:
    """Both want the same; each waits for the other, and a foreign user of iptables comes in between."""
    old, new = map(draw, pair)
    node, backend = scene.topology.node, scene.backend
    scene.apply(old.wanted)

    def meddle() -> None:
        with open_machine(scene.topology.path) as other:
            for number in range(8):
                assert not other.run(
                    f"iptables-{backend}", "-w", "-A", "INPUT", "-p", "tcp", "--dport", f"{number + 1}"
                ).status

    meddler = threading.Thread(target=meddle)
    with nothing_slips_through(scene, old, new):
        meddler.start()
        scene.apply(new.wanted)
        meddler.join()
    foreign = [
        line for line in node.run(f"iptables-{backend}", "-S", "INPUT").output.splitlines() if "cali" not in line
    ]
    assert len(foreign) == 9
    node.run(f"iptables-{backend}-restore", "--noflush", text="*filter\n-F INPUT\nCOMMIT\n")
    scene.apply(new.wanted)
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
    scene.apply(old.wanted)
    for step in range(scene.steps(new.wanted)):
        moment, goal_next = MOMENTS[(step + pair[0]) % 3], (old, new)[(step + pair[0]) % 2]
        with nothing_slips_through(scene, old, new, end=goal_next):
            assert sacrifice.order(pair[1], step, moment) == "killed"
            scene.apply(goal_next.wanted)
        assert scene.holds(goal_next), (step, moment)
        scene.apply(old.wanted)
    assert sacrifice.order(pair[1], 99, "before").startswith("survived: ")


# --- no room


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
    said = sacrifice.order("limit", pairs(MOST)[0][1], 100)
    assert said == f"KernelRefused: iptables-{scene.backend}-save refused: ended by SIGXFSZ"
    assert scene.holds(drawn)


# --- tampering


class There(NamedTuple):
    """What somebody finds who is about to do damage: IPv4 rules by chain of table filter, sets and their members."""

    lot: random.Random
    rules: dict[str, list[str]]
    sets: list[str]
    members: list[str]

    def chain(self) -> str:
        return self.lot.choice([name for name in self.rules if name.startswith("cali-")])

    def rule(self) -> tuple[str, int, str]:
        """Chain, number and text of a rule of ours."""
        chain = self.lot.choice([name for name, rules in self.rules.items() if name.startswith("cali-") and rules])
        number = self.lot.randrange(len(self.rules[chain]))
        return chain, number + 1, self.rules[chain][number]

    def verdict(self) -> str:
        return f"-p udp -m udp --dport {self.lot.choice(PORTS)} -j {self.lot.choice(['ACCEPT', 'DROP'])}"

    def same_hash(self) -> str:
        """A rule that keeps its hash and does something else."""
        chain, number, text = self.rule()
        hash_comment = re.search(r'-m comment --comment "cali:[^"]*"', text)
        assert hash_comment
        return f"-R {chain} {number} {hash_comment[0]} {self.verdict()}"


DAMAGES: dict[str, Callable[[There], str]] = {
    "a chain flushed": lambda there: f"-F {there.chain()}",
    "all chains flushed": lambda there: "\n".join(f"-F {name}" for name in there.rules),
    "a rule deleted": lambda there: "-D {} {}".format(*there.rule()),
    "a rule added on top": lambda there: f"-I {there.chain()} {there.verdict()}",
    "a rule added below": lambda there: f"-A {there.chain()} {there.verdict()}",
    "a rule replaced": lambda there: "-R {} {} {}".format(*there.rule()[:2], there.verdict()),
    "a rule changed, its hash kept": lambda there: there.same_hash(),
    "a foreign rule before ours": lambda there: f"-I FORWARD {there.verdict()}",
    "a foreign chain before ours": lambda there: f":MINE - -\n-I FORWARD -j MINE\n-A MINE {there.verdict()}",
    "our hooks gone": lambda there: "-F FORWARD",
    "our hooks twice": lambda there: "\n".join(f"-A FORWARD {rule}" for rule in there.rules["FORWARD"]),
    "our hooks below a foreign rule": lambda there: (
        f"-D FORWARD 1\n-A FORWARD {there.verdict()}\n-A FORWARD {there.rules['FORWARD'][0]}"
    ),
}
SET_DAMAGES: dict[str, Callable[[There], str]] = {
    "a set emptied": lambda there: f"flush {there.lot.choice(there.sets)}",
    "a member gone": lambda there: f"del {there.lot.choice(there.members)}",
    "a member more": lambda there: f"add {there.lot.choice(there.sets)} 10.65.0.{there.lot.choice([2, 3, 4])} --exist",
    "a set of a stranger with our prefix": lambda there: (
        "create cali40s:stranger hash:net\nadd cali40s:stranger 10.0.0.0/8"
    ),
    "the content of another set": lambda there: (
        f"create x hash:net maxelem 1048576\nadd x 10.65.0.2\nswap x {there.lot.choice(there.sets)}"
    ),
    "a set destroyed": lambda there: "destroy cali40masq-ipam-pools",
    "a leftover of a run that was killed": lambda there: "create cali4t0 hash:net\nadd cali4t0 10.65.0.2",
}


def there(scene: Scene, seed: int) -> There:
    node = scene.topology.node
    rules: dict[str, list[str]] = {}
    for line in node.run(f"iptables-{scene.backend}-save", "-t", "filter").output.splitlines():
        if line.startswith(":"):
            rules[line[1:].split()[0]] = []
        elif line.startswith("-A "):
            _, chain, text = line.split(" ", 2)
            rules[chain].append(text)
    lines = [line.split(" ") for line in node.run("ipset", "save").output.splitlines()]
    sets = [words[1] for words in lines if words[0] == "create" and words[1].startswith("cali40s:")]
    return There(
        random.Random(seed),
        rules,
        sets,
        [" ".join(words[1:]) for words in lines if words[1] in sets and words[0] == "add"],
    )


@EACH_BACKEND
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("damage", [*DAMAGES, *SET_DAMAGES])
def test_damage(scene: Scene, damage: str, seed: int) -> None:
    """Repair has no in-between: what neither the damaged rules nor the right ones let through stays out, and so on."""
    node = scene.topology.node
    old, new = map(draw, pairs(MOST)[seed])
    scene.apply(old.wanted)
    found = there(scene, seed)
    if damage in DAMAGES:
        tool, text = (f"iptables-{scene.backend}-restore", "--noflush"), f"*filter\n{DAMAGES[damage](found)}\nCOMMIT\n"
    else:
        tool, text = ("ipset", "restore"), f"{SET_DAMAGES[damage](found)}\n"
    assert node.run(*tool, text=text) == Done(0), text
    goal_next = old if damage in SET_DAMAGES else new
    with watched(scene.traffic) as seen:
        scene.apply(goal_next.wanted)
    assert seen[0].slips() == "", text
    # What is not ours stays, and is put away here.
    foreign = "".join(f"-D FORWARD {rule}\n" for rule in there(scene, 0).rules["FORWARD"] if "cali" not in rule)
    assert (
        not node.run(*tool[:1], "--noflush", text=f"*filter\n{foreign}:MINE - -\n-X MINE\nCOMMIT\n").status
        or damage in SET_DAMAGES
    )
    node.run("ipset", "destroy", "x")
    assert scene.holds(goal_next)
    assert scene.traffic.passing() == goal_next.passing
