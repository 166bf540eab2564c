"""The output of ``nft -s list …``, printed by nft's library in a separate process.

The command writes each word of a listing with its own system call: 137,000 of write() for 10,000 rules, which take
longer than all the rest (nft 1.0.6). The library buffers its output. A crash of the library ends only the separate
process, and the command is used instead.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import select
import shutil
import signal
import warnings
from functools import cache
from pathlib import Path
from typing import IO

LIBRARY = "libnftables.so.1"
"""The interface of version 1 has not changed since nft 0.9.1. (libnftables(3))"""

_STATELESS = 1 << 2
"""NFT_CTX_OUTPUT_STATELESS, the option -s. (nftables/libnftables.h)"""

_EXECUTABLE = b"\x7fELF"


@cache
def _library() -> ctypes.CDLL | None:
    try:
        found = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    context = ctypes.c_void_p
    found.nft_ctx_new.restype = context
    found.nft_ctx_new.argtypes = [ctypes.c_uint32]
    found.nft_ctx_output_set_flags.argtypes = [context, ctypes.c_uint]
    found.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_get_output_buffer"):
        getattr(found, name).argtypes = [context]
    found.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]
    return found


def available(path: str) -> bool:
    """Whether the library can replace the nft command that is found on a `PATH`.

    It does not replace an nft that is a script, as the user may have reasons for wrapping the command.
    """
    command = shutil.which("nft", path=path)
    if command is None or _library() is None:
        return False
    try:
        with Path(command).open("rb") as file:
            return file.read(len(_EXECUTABLE)) == _EXECUTABLE
    except OSError:
        return False


class Printing:
    """A running listing that writes into a file."""

    def __init__(self, what: str, output: IO[bytes]) -> None:
        """`what` is a command of nft, such as ``list table ip calico``. Raises OSError if no process can be made."""
        with warnings.catch_warnings():
            # The other threads wait meanwhile, or hold no lock that the child needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process = os.fork()
        if not self._process:
            _print(what, output.fileno())

    def succeeded(self, seconds: float) -> bool:
        """Wait until it ends; False if it failed or did not end within `seconds`."""
        watched = os.pidfd_open(self._process)
        try:
            ended, _, _ = select.select([watched], [], [], seconds)
            if not ended:
                os.kill(self._process, signal.SIGKILL)
        finally:
            os.close(watched)
            _, status = os.waitpid(self._process, 0)
        return status == 0


def _print(what: str, output: int) -> None:
    """Write the listing and exit the process, with status 0 if all is written.

    It prints no error: the command, which runs next in that case, does.
    """
    status = 1
    try:
        os.setsid()
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        library = _library()
        assert library is not None, "`available` must be checked first"
        context = library.nft_ctx_new(0)
        library.nft_ctx_output_set_flags(context, _STATELESS)
        if library.nft_ctx_buffer_output(context) or library.nft_ctx_buffer_error(context):
            return
        if library.nft_run_cmd_from_buffer(context, what.encode()):
            return
        left = memoryview(library.nft_ctx_get_output_buffer(context))
        while left:
            left = left[os.write(output, left) :]
        status = 0
    finally:
        os._exit(status)
