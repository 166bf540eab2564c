"""`apply --watch`: when files count as changed and what is done then, on a kernel made of dicts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from felixpy.cli.footprints import UNREST_SECONDS, Footprint, Watcher, check_paths, footprint
from felixpy.cli.given import Given
from felixpy.cli.goal import Goal, LiveGoal
from felixpy.cli.watching import RETRY_SECONDS, Keeper, stoppable
from felixpy.dataplane.iptables import IptablesEnforcer
from felixpy.dataplane.tools import Tools
from felixpy.dataplane.wanted import Wanted
from felixpy.errors import EnvironmentMissing, FelixpyError, InputError, KernelRefused, Place, Problem, UsageError
from felixpy.kernel import Done
from felixpy.model import Host
from felixpy.testing.kernels import Faulty
from tests.unit.states import NEW, OLD, kernel_with, state

# --- files


def test_the_files_that_are_watched_are_those_that_are_read(tmp_path: Path) -> None:
    wanted = ["a.yaml", "b.YML", "sub/c.json"]
    for name in (*wanted, "notes.txt", ".git/d.yaml", "sub/.hidden/e.yaml", "sub/f.yaml.bak"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "named.txt").write_text("")
    found = footprint([str(tmp_path), str(tmp_path / "named.txt"), str(tmp_path / "not-there.yaml")])
    assert sorted(found) == sorted(str(tmp_path / name) for name in (*wanted, "named.txt"))


def test_every_way_to_write_a_file_shows(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("one")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/b.txt").write_text("x")
    (tmp_path / "b.yaml").symlink_to("data/b.txt")
    before = footprint([str(tmp_path)])
    file.write_text("another")
    longer = footprint([str(tmp_path)])
    (tmp_path / "new").write_text("another")
    (tmp_path / "new").replace(file)
    replaced = footprint([str(tmp_path)])
    (tmp_path / "data/b.txt").write_text("yy")
    behind_a_link = footprint([str(tmp_path)])
    file.unlink()
    gone = footprint([str(tmp_path)])
    assert len({tuple(sorted(one.items())) for one in (before, longer, replaced, behind_a_link, gone)}) == 5
    assert sorted(gone) == [str(tmp_path / "b.yaml")]


@pytest.mark.parametrize(
    "path, told",
    [("-", "can be read again"), ("/dev/null", "again"), ("git:main:x", "revision"), ("cluster:", "felixpy watch")],
)
def test_what_cannot_be_watched(path: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_paths([".", path])


def test_what_is_not_there_yet_is_for_the_reader_to_complain_about() -> None:
    check_paths([".", "not-there.yaml"])


A, B, C = ({"a.yaml": (time, 1, 1), "b.yaml": (7, 7, 7)} for time in (1, 2, 3))
BARE = {"b.yaml": (7, 7, 7)}


@pytest.mark.parametrize(
    "looks, told",
    [
        ([A, A, A], [[], []]),
        ([A, B, B, B], [[], ["a.yaml"], []]),
        ([A, B, C, C, C], [[], [], ["a.yaml"], []]),
        ([A, B, A, A], [[], [], []]),
        ([A, BARE, BARE], [[], ["a.yaml"]]),
        ([BARE, A, A], [[], ["a.yaml"]]),
        ([A, {}, {}], [[], ["a.yaml", "b.yaml"]]),
    ],
    ids=["quiet", "written", "still being written", "as before", "gone", "new", "all gone"],
)
def test_files_count_as_changed_when_they_are_at_rest(looks: list[Footprint], told: list[list[str]]) -> None:
    left = iter(looks)
    watcher = Watcher(lambda: next(left))
    assert [watcher.changed(0.3 * number) for number, _ in enumerate(told)] == told


def test_files_that_never_rest_are_read_all_the_same() -> None:
    times = iter(range(1000))
    watcher = Watcher(lambda: {"a.yaml": (next(times), 1, 1)})
    told = [bool(watcher.changed(float(second))) for second in range(12)]
    assert told.index(True) == UNREST_SECONDS
    assert sum(told) == 3


# --- the keeper


class Files(LiveGoal):
    """Manifests that say whatever a test wants them to say, or that are wrong."""

    says: Wanted | FelixpyError = OLD

    def follow(self) -> None:
        if isinstance(Files.says, FelixpyError):
            raise Files.says

    def now(self, host: Host) -> Wanted:
        assert isinstance(Files.says, Wanted)
        return Files.says


class Around:
    """Stands for the machine: its interfaces, and the lock that somebody may hold."""

    host = Host(interfaces={})
    held = False

    def inside(self, function: object) -> Host:
        return self.host

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        if self.held:
            raise KernelRefused("another felixpy is at work")
        yield


class Scene:
    """A keeper at work: time goes on by `tick`, and `said` is what it said since the last time."""

    def __init__(self, capsys: pytest.CaptureFixture[str], resync: float = 90.0, given: Host | None = None) -> None:
        Files.says = OLD
        self.kernel = kernel_with(OLD)
        self.broken: Done | None = None
        self.machine = Around()
        self.files = {"shop.yaml": (1, 1, 1)}
        self.capsys, self.now = capsys, 1000.0
        enforcer = IptablesEnforcer(Tools(Faulty(self.kernel, self._fault), "legacy"))
        names = tuple(f"{name}={','.join(texts)}" for name, texts in (given.interfaces or {}).items()) if given else ()
        goal = Files(Given(paths=["."], interface=names))
        self.keeper = Keeper(
            goal, self.machine, enforcer, OLD, self.machine.host, Watcher(lambda: dict(self.files)), 10, resync  # type: ignore[arg-type]
        )  # fmt: skip
        self.keeper.rest(self.now)

    def _fault(self, command: tuple[str, ...], text: str) -> Done | None:
        return self.broken

    def write(self, says: Wanted | FelixpyError) -> None:
        Files.says = says
        self.files["shop.yaml"] = (self.files["shop.yaml"][0] + 1, 1, 1)

    def tick(self, seconds: float = 0.3, times: int = 1) -> list[str]:
        for _ in range(times):
            self.now += seconds
            self.keeper.tick(self.now)
        said = self.capsys.readouterr().err.splitlines()
        return [re.sub(r"felixpy: \d\d:\d\d:\d\d ", "", line) for line in said]


@pytest.fixture
def scene(capsys: pytest.CaptureFixture[str]) -> Scene:
    return Scene(capsys)


def test_what_the_files_say_is_applied_once(scene: Scene) -> None:
    assert scene.tick(times=5) == []
    scene.write(NEW)
    assert scene.tick() == []
    assert scene.tick() == ["shop.yaml: changed 6 sets and 16 chains in 2 tables"]
    assert state(scene.kernel) == state(kernel_with(NEW))
    assert scene.tick(times=5) == []
    scene.write(NEW)
    assert scene.tick(times=2) == ["shop.yaml: nothing to write"]


def test_wrong_input_is_told_and_changes_nothing(scene: Scene) -> None:
    before = state(kernel_with(OLD))
    scene.write(InputError([Problem(place=Place("shop.yaml", 7), reason="not a policy")]))
    said = scene.tick(times=3)
    assert said == ["shop.yaml:7: not a policy", "shop.yaml: the input is wrong; the policy is unchanged"]
    scene.write(UsageError("the input has 2 nodes"))
    assert scene.tick(times=3) == ["shop.yaml: the input has 2 nodes; the policy is unchanged"]
    assert state(scene.kernel) == before
    scene.kernel.tables[4, "legacy"]["filter"]["cali-FORWARD"].clear()
    assert "table filter (IPv4) cali-FORWARD" in scene.tick(90.0)[-1]
    assert state(scene.kernel) == before


def test_what_others_change_is_put_right_and_told(scene: Scene) -> None:
    scene.kernel.tables[4, "legacy"]["filter"]["cali-FORWARD"].pop()
    name = next(name for name in scene.kernel.sets if name.startswith("cali40s:"))
    scene.kernel.sets[name][1].add("10.9.9.9")
    assert scene.tick(89.0) == []
    assert scene.tick(2.0) == [f"put right what others had changed: sets {name}; table filter (IPv4) cali-FORWARD"]
    assert state(scene.kernel) == state(kernel_with(OLD))
    assert scene.tick(91.0) == []


def test_resync_0_never_looks(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene(capsys, resync=0)
    scene.kernel.tables[4, "legacy"]["filter"]["cali-FORWARD"].pop()
    assert scene.tick(1e6, times=3) == []
    assert state(scene.kernel) != state(kernel_with(OLD))


def test_what_fails_is_tried_again_and_told_once(scene: Scene) -> None:
    scene.write(NEW)
    scene.broken = Done(1, errors="out of luck")
    (said,) = scene.tick(times=2)
    assert said.startswith("shop.yaml: iptables-legacy-save refused: out of luck; tried again every 10 s")
    assert scene.tick(RETRY_SECONDS + 0.1, times=5) == []
    scene.broken = None
    (said,) = scene.tick(RETRY_SECONDS + 0.1)
    assert said.startswith("done at last: sets ")
    assert state(scene.kernel) == state(kernel_with(NEW))
    assert scene.tick(RETRY_SECONDS + 0.1, times=3) == []


def test_whoever_holds_the_lock_is_waited_for_by_trying_again(scene: Scene) -> None:
    scene.machine.held = True
    scene.write(NEW)
    (said,) = scene.tick(times=2)
    assert said.startswith("shop.yaml: another felixpy is at work; tried again")
    scene.machine.held = False
    assert scene.tick(RETRY_SECONDS)[0].startswith("done at last")


def test_a_rule_that_was_changed_but_kept_its_hash_is_told(scene: Scene) -> None:
    chain = scene.kernel.tables[4, "legacy"]["filter"]["cali-FORWARD"]
    chain[0] = f"{chain[0].rpartition(' -j ')[0]} -j ACCEPT"
    said = scene.tick(91.0)
    assert said[0] == "table filter (IPv4): a rule of cali-FORWARD had been changed and is put right"
    assert said[1].startswith("put right what others had changed")


def test_new_interfaces_are_a_reason_to_compile_anew(scene: Scene) -> None:
    Files.says = NEW
    assert scene.tick(91.0) == []
    scene.machine.host = Host(interfaces={"eth0": ("192.0.2.1/24",)})
    (said,) = scene.tick(91.0)
    assert said.startswith("the interfaces changed: changed ")
    assert state(scene.kernel) == state(kernel_with(NEW))


def test_interfaces_that_were_given_stay_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    given = Host(interfaces={"eth9": ()})
    scene = Scene(capsys, given=given)
    scene.keeper.host = given
    scene.machine.host = Host(interfaces={"eth0": ("192.0.2.1/24",)})
    Files.says = EnvironmentMissing("nobody may read them again")
    assert scene.tick(91.0) == []


def test_new_interfaces_with_wrong_input_are_not_told_every_moment(scene: Scene) -> None:
    Files.says = UsageError("no")
    scene.machine.host = Host(interfaces={"eth0": ("192.0.2.1/24",)})
    assert scene.tick(91.0) == ["the interfaces changed: no; the policy is unchanged"]
    assert scene.tick(times=20) == []


def test_signals_are_a_wish_to_stop() -> None:
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        with stoppable() as stopping:
            assert not stopping.is_set()
            signal.raise_signal(number)
            assert stopping.is_set()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default, labels: {app: %s}}
spec: {nodeName: node1}
status: {phase: Running, podIP: %s}
---
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}
"""


def test_a_goal_goes_with_its_files(tmp_path: Path) -> None:
    """What is wanted is what `apply` without --watch would want, also after mistakes and on other interfaces."""
    pods, policy = tmp_path / "pods.yaml", tmp_path / "policy.yaml"
    pods.write_text(POD % ("web", "web", "10.65.0.1"))
    policy.write_text(POLICY)
    given = Given(paths=[str(tmp_path)], quiet=True)
    goal, host = LiveGoal(given), Host(interfaces={})

    def same() -> None:
        goal.follow()
        fresh = Goal(given)
        assert state(kernel_with(goal.now(host))) == state(kernel_with(fresh.compiled(fresh.read(), host)))

    same()
    pods.write_text(POD % ("web", "web", "10.65.0.1") + POD % ("db", "db", "10.65.0.2"))
    same()
    policy.write_text(POLICY.replace("db", "web"))
    host = Host(interfaces={"eth0": ("192.0.2.1/24",)})
    same()
    policy.write_text("kind: [")
    with pytest.raises(InputError):
        goal.follow()
    policy.unlink()
    same()
    (tmp_path / "more.yaml").write_text(POLICY)
    same()
