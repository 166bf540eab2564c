"""Run a user's command for an event, with a document about it on standard input."""

from __future__ import annotations

import subprocess

TIMEOUT_SECONDS = 60.0


def notify(command: str, document: str, *, timeout: float = TIMEOUT_SECONDS) -> str:
    """Run a command line in the shell; return an error message, "" on success.

    Its output goes to stderr.

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
