"""A felixpy that dies where it is told to: ``python -m tests.netns.mortal NAMESPACE BACKEND``, orders on stdin.

An order is ``SEED STEP MOMENT``: apply the policy of that seed and die at the writing command with that number, just
before it, during it (as soon as it has started) or just after it; further words
name backends that it takes over from. ``limit SEED BYTES`` lets no file grow beyond so many bytes instead. Each order
is carried out by a process of its own; its end, and what it said, is one line on stdout.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

from felixpy.dataplane.backends import enforcer_of
from felixpy.errors import FelixpyError
from felixpy.kernel import Done, Machine, open_machine
from tests.netns.policies import draw

MOMENTS = ("before", "during", "after")


class Mortal:
    """Runs commands, and dies at one that writes."""

    def __init__(self, machine: Machine, step: int, moment: str) -> None:
        self.machine, self.left, self.moment = machine, step, moment

    def run(self, *command: str, text: str = "") -> Done:
        if not text:
            return self.machine.run(*command)
        if self.left or self.moment == "after":
            done = self.machine.run(*command, text=text)
        elif self.moment == "during":
            self.machine.inside(lambda: self.machine._start(command, text))
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        return done


def work(order: list[str], namespace: str, backend: str) -> str:
    """Carry out an order; returns what there is to say if it is survived."""
    limited = order[0] == "limit"
    wanted = draw(int(order[1] if limited else order[0])).wanted(backend)
    with open_machine(namespace) as machine, machine.locked(10):
        if limited:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(order[2]),) * 2)
        kernel = machine if limited else Mortal(machine, int(order[1]), order[2])
        try:
            enforcer = enforcer_of(kernel, backend, machine.scratch, instead_of=() if limited else order[3:])
            program = enforcer.apply(wanted).program
        except FelixpyError as refusal:
            return f"{type(refusal).__name__}: {refusal}"
    return f"survived: {program.summary()}"


def main(namespace: str, backend: str) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, work(line.split(), namespace, backend).encode()[:4000])
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as said:
            words = said.read()
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else words or "broken", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
