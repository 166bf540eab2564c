"""``felixpy apply --watch``: update a namespace when files change, and undo changes that others make in the kernel."""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from felixpy.cli import invocation, progress
from felixpy.cli.footprints import Watcher, check_paths, footprint
from felixpy.cli.target import ChosenNamespace, IptablesKind, enforce, enforcer_for, say
from felixpy.errors import FelixpyError, InputError

if TYPE_CHECKING:
    from felixpy.cli.goal import LiveGoal
    from felixpy.dataplane.enforcer import AnyEnforcer, Program
    from felixpy.dataplane.enforcer import WantedRules as Wanted
    from felixpy.kernel import Machine
    from felixpy.model import Host

POLL_SECONDS = 0.3
"""How often files are looked at: at their inodes only, so a thousand of them cost some milliseconds."""

RETRY_SECONDS = 10.0
"""How soon what failed is tried again, as Felix does. (felix/dataplane/linux/int_dataplane.go)"""


@dataclass(slots=True)
class Keeper:
    """Keeps one namespace at the wanted rules. `host` are the interfaces that these were compiled for."""

    goal: LiveGoal
    machine: Machine
    enforcer: AnyEnforcer
    wanted: Wanted
    host: Host
    watcher: Watcher
    wait: int
    """Seconds to wait for another felixpy."""

    resync: float
    """Seconds between two looks at the kernel, 0 for never."""

    backend: IptablesKind = IptablesKind.auto
    """The kind of iptables to use."""

    due: float = 0.0
    """When to look at the kernel next, whether to try again or to find what others changed."""

    failed: str = ""
    """What did not work and is due to be tried again; the same words are said once only."""

    def tick(self, now: float) -> None:
        """Do what is due. Errors are printed, and the policy in force stays in force."""
        if changed := self.watcher.changed(now):
            self._reload(_shortened(changed), now)
        elif now >= self.due:
            self._resync(now)

    def rest(self, now: float) -> None:
        """Record a success: schedule the next resync."""
        self.failed, self.due = "", now + (self.resync or inf)

    def _reload(self, reason: str, now: float) -> None:
        """Read the files again and apply the rules."""
        try:
            host = self.goal.interfaces(self.machine)
            self.goal.follow()
            wanted = self.goal.now(host)
            if wanted.dataplane != self.wanted.dataplane:
                self.enforcer = enforcer_for(self.machine, wanted, self.backend, self.wait)
            self.wanted, self.host = wanted, host
        except FelixpyError as wrong:
            self.due = now + (RETRY_SECONDS if self.failed else self.resync or inf)
            if isinstance(wrong, InputError):
                invocation.tell(str(wrong))
            told = "the input is wrong" if isinstance(wrong, InputError) else str(wrong)
            log(f"{reason}: {told}; the policy is unchanged")
            return
        if program := self._apply(reason, now):
            log(f"{reason}: {'nothing to write' if program.empty else f'changed {program.summary()}'}")

    def _resync(self, now: float) -> None:
        """Compare the kernel with the wanted rules and undo foreign changes, without waiting for locks.

        Rules that could not be written before are written now.
        """
        reason = "done at last" if self.failed else "put right what others had changed"
        try:
            if self.goal.interfaces(self.machine) != self.host:
                self._reload("the interfaces changed", now)
                return
            if self.enforcer.plan(self.wanted).empty:
                self.rest(now)
                return
        except FelixpyError as wrong:
            self._retry("looking at the kernel", wrong, now)
            return
        program = self._apply("writing what is missing", now)
        if program and not program.empty:
            log(f"{reason}: {'; '.join(program.places())}")

    def _apply(self, reason: str, now: float) -> Program | None:
        try:
            with self.machine.locked(self.wait):
                program: Program = enforce(self.enforcer, self.wanted, log).program
        except FelixpyError as wrong:
            self._retry(reason, wrong, now)
            return None
        self.rest(now)
        return program

    def _retry(self, reason: str, wrong: FelixpyError, now: float) -> None:
        if str(wrong) != self.failed:
            log(f"{reason}: {wrong}; tried again every {RETRY_SECONDS:.0f} s")
        self.failed, self.due = str(wrong), now + RETRY_SECONDS


def follow(goal: LiveGoal, place: ChosenNamespace, backend: IptablesKind, *, wait: int, resync: float) -> None:
    """Keep a namespace up to date with files until a signal stops it.

    Bad input ends it only at the start. A namespace that is deleted and made again under the same name is used again;
    raises EnvironmentMissing if it is not made again.
    """
    check_paths(goal.paths)
    # Commands switch off the search for cycles of values, but this one may run for days.
    gc.enable()
    watcher = Watcher(partial(footprint, goal.paths))
    goal.follow()
    earlier: Keeper | None = None
    with stoppable() as stopping, farewell():
        while not stopping.is_set():
            with place.machine() as machine:
                host = earlier.host if earlier else goal.interfaces(machine)
                wanted = earlier.wanted if earlier else goal.now(host)
                enforcer = _begin(machine, wanted, place.words, backend, wait)
                keeper = Keeper(goal, machine, enforcer, wanted, host, watcher, wait, resync, backend)
                if earlier is None:
                    keeper.rest(time.monotonic())
                # Otherwise the interfaces, which may be others now, are looked at first.
                _keep(keeper, stopping)
                earlier = keeper
    log("stopped; the rules stay in force")


class SyncStep(Protocol):
    """Updates a lab. With `unasked` it prints something only if there was something to do."""

    def __call__(self, *, unasked: bool) -> None: ...


def follow_lab(bring: SyncStep, paths: Sequence[str], resync: float) -> None:
    """Start a lab, and update it whenever files change, until a signal stops it.

    It is also checked every `resync` seconds (0: never). Bad input ends it only at the start.
    """
    gc.enable()
    watcher = Watcher(partial(footprint, paths))
    bring(unasked=False)
    log("now watching, Ctrl-C ends that")
    due = time.monotonic() + (resync or inf)
    with stoppable() as stopping, farewell():
        while not _waited(stopping):
            changed = watcher.changed(time.monotonic())
            if not changed and time.monotonic() < due:
                continue
            if changed:
                log(_shortened(changed))
            try:
                bring(unasked=not changed)
            except FelixpyError as wrong:
                invocation.tell(str(wrong))
                log("the lab stays as it was")
            due = time.monotonic() + (resync or inf)
    log("stopped; the lab stays up")


def _begin(machine: Machine, wanted: Wanted, words: str, backend: IptablesKind, wait: int) -> AnyEnforcer:
    """Write the rules into a namespace for the first time and return the enforcer for updates."""
    with machine.locked(wait):
        enforcer = enforcer_for(machine, wanted, backend, wait)
        program = enforce(enforcer, wanted, log).program
    done = "is in step already" if program.empty else f"changed {program.summary()}"
    log(f"{words} ({enforcer.name}): {done}; now watching, Ctrl-C ends that")
    return enforcer


def _waited(stopping: Event) -> bool:
    """Wait for one interval; return whether a signal came."""
    with progress.idle():
        return stopping.wait(POLL_SECONDS)


def _keep(keeper: Keeper, stopping: Event) -> None:
    """Call `Keeper.tick` until a signal comes, or the namespace is deleted."""
    while not _waited(stopping):
        if keeper.machine.vanished():
            log("the network namespace went away")
            return
        keeper.tick(time.monotonic())


@contextmanager
def farewell() -> Iterator[None]:
    """On Ctrl-C print that the rules stay in force, then end."""
    try:
        yield
    except KeyboardInterrupt:
        log("interrupted; the rules stay in force")
        raise


@contextmanager
def stoppable() -> Iterator[Event]:
    """SIGTERM and SIGHUP set the event that is yielded: the watch ends after the step in progress."""
    stopping = Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log(text: str) -> None:
    """Print a message with the time of day."""
    say(f"{time.strftime('%H:%M:%S')} {text}")


def _shortened(names: Sequence[str]) -> str:
    from felixpy.dataplane.program import shortened

    return shortened(names, 3)
