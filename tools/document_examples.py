"""Renew what commands print in the ``console`` blocks of the README and of docs/examples.md.

    python tools/document_examples.py [--check]

A block holds commands, each a line that begins with "$ ", and below each what it prints. They are run in
fixtures/demo, with standard output and errors in one, on a terminal that is a pipe. With --check nothing is written:
the exit status shows whether every block is up to date, and the first difference is shown.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "fixtures" / "demo"
PAGES = (ROOT / "README.md", ROOT / "docs" / "examples.md")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROMPT = "$ "


def run(command: str) -> str:
    """What a shell command prints, felixpy being that of this environment."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("FELIX")}
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=FOLDER,
        env={**known, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return "".join(f"{line}\n" for line in map(str.rstrip, done.stdout.splitlines()))


def renewed(block: re.Match[str]) -> str:
    """The block with today's answers, an empty line before each command but the first."""
    commands = [line for line in block[1].splitlines() if line.startswith(PROMPT)]
    answers = (f"{command}\n{run(command.removeprefix(PROMPT))}" for command in commands)
    return "```console\n" + "\n".join(answers) + "```"


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = 0
    for page in PAGES:
        text = page.read_text()
        new = BLOCK.sub(renewed, text)
        if new == text:
            continue
        stale = 1
        if check:
            name = str(page.relative_to(ROOT))
            sys.stdout.writelines(
                difflib.unified_diff(text.splitlines(True), new.splitlines(True), name, f"{name}, renewed", n=1)
            )
        else:
            page.write_text(new)
    return stale if check else 0


if __name__ == "__main__":
    sys.exit(main())
