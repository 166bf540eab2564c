"""Mutated manifests, dumps and command lines end as they should; `make fuzz` tries as many as wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.corpus import make, samples

CHECKOUT = Path(__file__).parents[1]
INPUTS = 2000


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_inputs_end_as_they_should(seed: int, tmp_path: Path) -> None:
    """Each half in a process of its own: limits of memory hold for a whole process."""
    options = ("--inputs", str(INPUTS // 2), "--seed", str(seed), "--keep", str(tmp_path))
    command = (sys.executable, "-m", "tests.fuzz", *options)
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout == f"felixpy: {INPUTS // 2} inputs, 0 ended badly, seed {seed}\n"


def test_an_input_depends_on_its_seed_and_number_alone() -> None:
    corpus = samples()
    assert make(3, 7, corpus) == make(3, 7, corpus)
    assert make(3, 7, corpus) != make(4, 7, corpus)


@pytest.mark.parametrize(
    "body, name",
    [
        ("raise KeyError", "70 KeyError"),
        ("while True: pass", "hang"),
        ("bytearray(2**31)", "memory"),
        ("import os; os.close(9999)", "74"),
    ],
)
def test_what_ends_badly_is_noticed(body: str, name: str, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
import felixpy.cli.catalogue
from tests.fuzz import runner
from tests.fuzz.corpus import Input
runner.SECONDS = 1
def version(*_):
    {body}
felixpy.cli.invocation.emit = version
felixpy.cli.catalogue.print = version
with runner.limits():
    print(runner.call(Input(("version",), {{}}), Path({str(tmp_path / "x")!r})).name)
"""
    done = subprocess.run((sys.executable, "-c", code), cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(name)
