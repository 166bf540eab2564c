"""``python -m felixpy`` and the ``felixpy`` command."""

from __future__ import annotations

import sys
from typing import NoReturn

from felixpy import CALICO_VERSION, __version__
from felixpy.ending import ended, leave, open_streams


def main() -> NoReturn:
    """Print the version for ``--version`` without loading the commands; otherwise run a command."""
    open_streams()
    if sys.argv[1:] in (["--version"], ["-V"]):
        leave(print_version())
    from felixpy.cli import run

    leave(run())


@ended
def print_version() -> int:
    print(f"felixpy {__version__} (Felix of Calico {CALICO_VERSION})")
    return 0


if __name__ == "__main__":
    main()
