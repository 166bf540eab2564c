"""Kernels for tests: one that writes down what it is asked to run, and one that makes some of it fail."""

from __future__ import annotations

from collections.abc import Callable

from felixpy.kernel import Done, Kernel


class Recorder:
    """Passes commands on and writes them down."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.commands: list[tuple[tuple[str, ...], str]] = []

    def run(self, *command: str, text: str = "") -> Done:
        self.commands.append((command, text))
        return self.kernel.run(*command, text=text)

    def written(self) -> list[str]:
        """The commands that were handed a text, that is those that can have changed anything."""
        return [" ".join(command) for command, text in self.commands if text]


class Faulty:
    """Passes commands on, but lets some fail.

    `fault` sees each command and its text, and says how it fails: with what it would answer, or by raising. None lets
    it through.
    """

    def __init__(self, kernel: Kernel, fault: Callable[[tuple[str, ...], str], Done | None]) -> None:
        self.kernel, self.fault = kernel, fault

    def run(self, *command: str, text: str = "") -> Done:
        return self.fault(command, text) or self.kernel.run(*command, text=text)
