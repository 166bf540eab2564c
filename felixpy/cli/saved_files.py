"""Files with rules or sets that were saved on nodes: what is in them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from felixpy.cli import progress
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.iptables.forms import Split


def read(name: str) -> str:
    """A dump. Raises UsageError, with the file's name, if it cannot be read."""
    from felixpy import reading

    try:
        with progress.idle() if name == "-" else nullcontext():
            return reading.read_saved(name)
    except reading.UnreadableFile as wrong:
        raise UsageError(f"{'stdin' if name == '-' else name}: {wrong}") from wrong


class Look(NamedTuple):
    """What a file holds: saved rules or sets, an nft listing, and whether Calico's tables are in it."""

    saved: bool
    listed: bool
    calico: bool


class SavedFiles:
    """Reads files with saved rules or sets. With `kept`, each is read and split into its parts once."""

    def __init__(self, *, kept: bool = True) -> None:
        self._kept = kept
        self._texts: dict[str, str] = {}
        self._parts: dict[str, Split] = {}
        self._looks: dict[str, Look] = {}

    def text(self, name: str) -> str:
        text = self._texts.get(name)
        if text is None:
            text = read(name)
            if self._kept:
                self._texts[name] = text
        return text

    def parts(self, name: str) -> Split:
        """Rules by family, and sets; ``ip6…`` in a file's name decides the family if the contents do not."""
        from felixpy.iptables.forms import split_saved

        parts = self._parts.get(name)
        if parts is None:
            parts = split_saved(self.text(name), 6 if Path(name).name.startswith("ip6") else 0)
            if self._kept:
                self._parts[name] = parts
        return parts

    def look(self, name: str) -> Look:
        from felixpy.iptables.forms import looks_saved
        from felixpy.nftables.dumps import lists_calico
        from felixpy.nftables.reading import looks_listed

        look = self._looks.get(name)
        if look is None:
            text = self.text(name)
            listed = looks_listed(text)
            look = self._looks[name] = Look(looks_saved(text), listed, listed and lists_calico(text))
        return look

    def is_listing(self, name: str) -> bool:
        """Whether the file is an nft listing."""
        return self.look(name).listed

    def lists_calico(self, name: str) -> bool:
        """Whether the file is an nft listing with Calico's tables."""
        return self.look(name).calico

    def is_saved(self, name: str) -> bool:
        look = self.look(name)
        return look.saved or look.listed

    def has_rules(self, name: str) -> bool:
        return self.is_listing(name) or bool(self.parts(name).rules)
