"""``python -m felixpy`` and the ``felixpy`` command."""

from __future__ import annotations

import sys

from felixpy import CALICO_VERSION, __version__


def main() -> None:
    """Answer ``--version`` at once; hand everything else to the commands."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"felixpy {__version__} (Felix of Calico {CALICO_VERSION})")
        return
    from felixpy.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
