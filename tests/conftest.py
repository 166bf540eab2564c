"""How the whole suite runs: examples for hypothesis, and the parity table that closes a run."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import hypothesis

if TYPE_CHECKING:
    import pytest

# No example may fail for being slow, and none is kept between runs: a run depends on the checkout only.
hypothesis.settings.register_profile("brief", max_examples=60, deadline=None, database=None, derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=2000, deadline=None, database=None)
hypothesis.settings.load_profile("brief")

# Nothing of a test stays on the machine; tests of what is kept there name a place of their own.
os.environ["FELIXPY_NFTABLES_MEMORY"] = ""

# A shell without job control starts what it leaves in the background deaf to Ctrl-C, and so would be every process that
# a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave thousands of collected tests out of every later search for garbage."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print, area by area, how many recorded cases were compared and how many are equal.

    Tests say what they compare through the user property "area". A case that is known to differ counts as compared.
    """
    compared: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    for outcome in ("passed", "failed", "xfailed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for key, area in report.user_properties:
                if key == "area" and report.when == "call":
                    compared[str(area)] += 1
                    equal[str(area)] += outcome == "passed"
    if not compared:
        return
    terminalreporter.section("parity with the recorded answers of Felix")
    terminalreporter.line(f"{'area':<20}{'cases':>7}{'equal':>7}")
    for area in compared:
        terminalreporter.line(f"{area:<20}{compared[area]:>7}{equal[area]:>7}")
    terminalreporter.line(f"{'all':<20}{compared.total():>7}{equal.total():>7}")
