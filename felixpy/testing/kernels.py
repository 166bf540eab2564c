"""Kernels for tests: one that records commands, and one that makes some of them fail."""

from __future__ import annotations

from collections.abc import Callable

from felixpy.kernel import Done, Kernel


class Recorder:
    """Runs commands with another kernel and records them."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.commands: list[tuple[tuple[str, ...], str]] = []

    def run(self, *command: str, text: str = "") -> Done:
        self.commands.append((command, text))
        return self.kernel.run(*command, text=text)

    def written(self) -> list[str]:
        """The commands with an input text, which are those that may have changed anything."""
        return [" ".join(command) for command, text in self.commands if text]


class Faulty:
    """Runs commands with another kernel, but makes some fail.

    `fault` gets each command and its text; it returns the result of a failure or raises; None runs the command.
    """

    def __init__(self, kernel: Kernel, fault: Callable[[tuple[str, ...], str], Done | None]) -> None:
        self.kernel, self.fault = kernel, fault

    def run(self, *command: str, text: str = "") -> Done:
        return self.fault(command, text) or self.kernel.run(*command, text=text)
