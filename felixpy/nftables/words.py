"""Splits an nft rule into words: a quoted text and a list in braces are single words."""

from __future__ import annotations

import re

_WORD = re.compile(r'"[^"]*"|\{[^}]*\}|\S+')


class Words:
    """The words of a rule and the position of the next one."""

    def __init__(self, text: str) -> None:
        self.words: list[str] = _WORD.findall(text)
        self.position = 0

    def next(self) -> str:
        """Return the next word and advance. Raises IndexError at the end."""
        self.position += 1
        return self.words[self.position - 1]

    def take(self, *words: str) -> bool:
        """Return whether these words come next, and advance past them if so."""
        if tuple(self.words[self.position : self.position + len(words)]) != words:
            return False
        self.position += len(words)
        return True
