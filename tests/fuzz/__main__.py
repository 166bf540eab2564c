"""Run mutated inputs and say which ended badly. Exit status 1 if any did."""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.corpus import Input, Sample, make, samples
from tests.fuzz.runner import Fault, call, limits

BATCH = 250
"""Inputs for each process: what one of them leaves in memory is gone after that many."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000, help="how many; 0 goes on until interrupted")
    parser.add_argument("--seed", type=int, default=1, help="what inputs are made of, together with their number")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="where inputs that ended badly are kept")
    options = parser.parse_args()
    corpus = samples()
    print(f"felixpy: mutating {len(corpus)} recorded cases, seed {options.seed}", file=sys.stderr)
    kinds: Counter[str] = Counter()
    done, started = 0, time.monotonic()
    last = options.first + options.inputs if options.inputs else None
    try:
        for number, fault in faults(options.seed, options.first, last, corpus):
            if fault is None:
                done = number + 1 - options.first
                rate = done / (time.monotonic() - started)
                print(
                    f"felixpy: {done} inputs, {kinds.total()} faults, {rate:.0f} a second", file=sys.stderr, flush=True
                )
                continue
            kinds[fault.name] += 1
            if kinds[fault.name] == 1:
                where = keep(options.keep, number, fault, make(options.seed, number, corpus))
                print(f"{fault.name}: input {number}, kept in {where}", flush=True)
    except KeyboardInterrupt:
        pass
    for name, count in kinds.most_common():
        print(f"{count:>7}  {name}")
    print(f"felixpy: {done} inputs, {kinds.total()} ended badly, seed {options.seed}")
    return 1 if kinds else 0


def faults(seed: int, first: int, last: int | None, corpus: list[Sample]) -> Iterator[tuple[int, Fault | None]]:
    """Every fault with the number of its input; None after each batch, with the last number of it."""
    while last is None or first < last:
        end = first + BATCH if last is None else min(first + BATCH, last)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            batch(seed, range(first, end), corpus, writing)
        os.close(writing)
        begun = first
        with open(reading, encoding="utf-8", errors="replace") as pipe:  # noqa: PTH123
            for entry in pipe.read().split("\0"):
                number, name, said = [*entry.split("\1"), "", ""][:3]
                begun = int(number or begun)
                if name:
                    yield begun, Fault(name, said)
        _, status = os.waitpid(child, 0)
        if status:
            yield begun, Fault(f"died {status}", "")
            end = begun + 1
        yield end - 1, None
        first = end


def batch(seed: int, numbers: range, corpus: list[Sample], pipe: int) -> None:
    """Run some inputs in this process, write down what was wrong, and end."""
    folder = Path(tempfile.mkdtemp(prefix="felixpy-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    with limits(), open(pipe, "w", encoding="utf-8", errors="replace") as out:
        for number in numbers:
            print(number, end="\0", file=out, flush=True)
            fault = call(make(seed, number, corpus), folder / "x")
            if fault:
                print(
                    number, fault.name, fault.said[-20000:].replace("\0", ""), sep="\1", end="\0", file=out, flush=True
                )
            gc.collect(1)
    shutil.rmtree(folder)
    os._exit(0)


def keep(folder: Path, number: int, fault: Fault, made: Input) -> Path:
    """Write an input down, with what it led to."""
    target = folder / str(number)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, content in made.files.items():
        (target / name).write_bytes(content)
    (target / "stdin").write_bytes(made.stdin)
    (target / "command").write_text(repr(made.words) + "\n", errors="backslashreplace")
    (target / "said").write_text(f"{fault.name}\n{fault.said}", errors="backslashreplace")
    return target


if __name__ == "__main__":
    sys.exit(main())
