"""A command of the user's that runs whenever something has happened, with a document about it on its standard input."""

from __future__ import annotations

import subprocess

TIMEOUT_SECONDS = 60.0


def notify(command: str, document: str, *, timeout: float = TIMEOUT_SECONDS) -> str:
    """Run a command line in the shell; returns what went wrong in words, "" if nothing did.

    What it prints goes where felixpy's own messages go.

    >>> notify("exit 3", "")
    'exit 3: it ended with status 3'
    """
    try:
        done = subprocess.run(  # noqa: S602 - the user's own command line
            command, shell=True, input=document.encode(), stdout=2, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return f"{command}: it was stopped after {timeout:.0f} s"
    return f"{command}: it ended with status {done.returncode}" if done.returncode else ""
