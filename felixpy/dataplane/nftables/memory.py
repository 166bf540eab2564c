"""A cache on disk of Felix's nftables tables as felixpy last wrote or read them.

nft takes a quarter of a second to list 10,000 rules. The kernel numbers the transactions that change nftables in a
network namespace; while that number stays the same, the tables are unchanged. `felixpy.dataplane.nftables.enforcer`
uses it within one run, and this module from one run to the next: one file for each namespace records the tables and
the number. A namespace is identified by its cookie, which is unique until the next boot; the number starts again when
the kernel module is reloaded. All of that is part of what a file has to match.

Nothing depends on these files. If one is missing, cut off, owned or accessible by others, or reached through a link,
the tables are listed with nft and the file is written again.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from felixpy.dataplane.nftables.content import Elements, ListedLines, TableContent
from felixpy.dataplane.nftables.netlink import cookie
from felixpy.errors import UsageError
from felixpy.kernel import Kernel, Machine, found_tool
from felixpy.writing import write_file

FOLDER = "FELIXPY_NFTABLES_MEMORY"
"""Environment variable with another place for the files; none are kept where it is empty."""

DEFAULT_FOLDER = "/run/felixpy-nftables"
MOST_FILES = 32
MOST_BYTES = 64 << 20
"""Of all files together. That of a node with 100,000 rules has about 12 MB."""

_FORMAT = 1
_SUM_BYTES = 4
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Source(NamedTuple):
    """What a cache entry is valid for: the boot, the kernel module, the namespace, the nft executable."""

    form: int
    boot: str
    module: int
    namespace: int
    nft: tuple[int, ...]


class _Table(NamedTuple):
    """A table as nft lists it; sets and maps by name: (declaration, elements)."""

    family: str
    name: str
    sets: dict[str, tuple[str, tuple[str, ...]]]
    maps: dict[str, tuple[str, tuple[str, ...]]]
    chains: dict[str, ListedLines]

    @classmethod
    def of(cls, table: TableContent) -> _Table:
        chains = {name: ListedLines(chain.base, chain.listed()) for name, chain in table.chains.items()}
        return cls(table.family, table.name, _declared(table.sets), _declared(table.maps), chains)

    def content(self) -> TableContent:
        return TableContent(self.family, self.name, _elements(self.sets), _elements(self.maps), self.chains)


def _declared(sets: Mapping[str, Elements]) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {name: (one.declared, tuple(one.members)) for name, one in sets.items()}


def _elements(sets: Mapping[str, tuple[str, tuple[str, ...]]]) -> dict[str, Elements]:
    """Sets or maps from their stored form; elements are passed to nft as it lists them."""
    return {name: Elements(declared, dict(zip(kept, kept, strict=True))) for name, (declared, kept) in sets.items()}


class _Kept(NamedTuple):
    """The content of a file."""

    source: _Source
    generation: int
    tables: dict[str, _Table]


_DECODER = msgspec.msgpack.Decoder(_Kept)


def recall(kernel: Kernel, generation: int) -> dict[str, TableContent] | None:
    """The tables by family as cached for a generation of the kernel's rules; None if they are not cached."""
    place, source = _place(), _source(kernel)
    if place is None or source is None:
        return None
    content = _read(place, _name(source))
    if content is None or content[:_SUM_BYTES] != _sum(content[_SUM_BYTES:]):
        return None
    try:
        kept = _DECODER.decode(content[_SUM_BYTES:])
    except msgspec.DecodeError:
        return None
    if (kept.source, kept.generation) != (source, generation):
        return None
    return {family: table.content() for family, table in kept.tables.items()}


def keep(kernel: Kernel, generation: int, tables: Mapping[str, TableContent]) -> None:
    """Cache the tables of a generation; does nothing if they cannot be cached."""
    place, source = _place(), _source(kernel)
    if place is None or source is None or not all(map(_lasts, tables.values())) or not _made(place):
        return
    kept = _Kept(source, generation, {family: _Table.of(table) for family, table in tables.items()})
    try:
        packed = msgspec.msgpack.encode(kept)
    except UnicodeEncodeError:
        # Foreign rules were restored with a comment that is not valid UTF-8.
        return
    if len(packed) > MOST_BYTES:
        return
    with suppress(UsageError, OSError):
        write_file(place / _name(source), (_sum(packed), packed), mode=0o600)
        _forget_oldest(place)


def _lasts(table: TableContent) -> bool:
    """Whether a table changes only by transactions, which the kernel numbers.

    Elements that packets add or that time out, and tables that are removed with their owner, change without one. Felix
    has none of these; restored foreign tables may.
    """
    kinds = (one.declared for one in (*table.sets.values(), *table.maps.values()))
    return not table.options and not any("timeout" in kind or "dynamic" in kind for kind in kinds)


def _place() -> Path | None:
    named = os.environ.get(FOLDER, DEFAULT_FOLDER)
    return Path(named) if named else None


def _name(source: _Source) -> str:
    return f"{source.namespace:x}"


def _sum(packed: bytes) -> bytes:
    """A checksum that detects damaged files; owner and mode protect against forged ones."""
    return zlib.crc32(packed).to_bytes(_SUM_BYTES)


def _source(kernel: Kernel) -> _Source | None:
    """The identity of a kernel's tables; None for a kernel that is not this machine's, or without namespace cookies."""
    if not isinstance(kernel, Machine):
        return None
    command = found_tool("nft")
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        nft = Path(command or "").stat()
        namespace = cookie(kernel)
    except OSError:
        return None
    return _Source(_FORMAT, boot, _module(), namespace, (nft.st_dev, nft.st_ino, nft.st_size, nft.st_mtime_ns))


def _module() -> int:
    """The inode of the kernel module in sysfs, which changes when the module is reloaded; 0 if it is built in."""
    try:
        return Path("/sys/module/nf_tables").stat().st_ino
    except OSError:
        return 0


def _made(folder: Path) -> bool:
    """Make the folder if it is missing; return whether only this user can access it."""
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        return _ours(folder.lstat(), stat.S_IFDIR)
    except OSError:
        return False


def _ours(found: os.stat_result, kind: int) -> bool:
    """Whether a file is of this kind, owned by this user, and inaccessible to others."""
    mine = found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return mine and stat.S_IFMT(found.st_mode) == kind


def _read(folder: Path, name: str) -> bytes | None:
    """The content of a cache file; None if it is missing, too large, or accessible to others."""
    try:
        place = os.open(folder, _OPEN | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        if not _ours(os.fstat(place), stat.S_IFDIR):
            return None
        with os.fdopen(os.open(name, _OPEN | os.O_NONBLOCK, dir_fd=place), "rb") as file:
            found = os.fstat(file.fileno())
            if not _ours(found, stat.S_IFREG) or found.st_size > MOST_BYTES + _SUM_BYTES:
                return None
            return file.read(MOST_BYTES + _SUM_BYTES)
    except OSError:
        return None
    finally:
        os.close(place)


def _forget_oldest(folder: Path) -> None:
    """Remove the files that were written longest ago, until number and size are within the limits."""
    files = sorted(((file.lstat(), file) for file in folder.iterdir()), key=lambda each: -each[0].st_mtime_ns)
    total = 0
    for number, (found, file) in enumerate(files, 1):
        total += found.st_size
        if number > MOST_FILES or total > MOST_BYTES + _SUM_BYTES:
            file.unlink()
