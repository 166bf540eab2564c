"""The words of a rule of nft, gone over once: quoted texts and what braces hold are single words."""

from __future__ import annotations

import re

_WORD = re.compile(r'"[^"]*"|\{[^}]*\}|\S+')


class Words:
    """A rule's words and how far a reader has come."""

    def __init__(self, text: str) -> None:
        self.words: list[str] = _WORD.findall(text)
        self.position = 0

    def next(self) -> str:
        """The next word. Raises IndexError at the end."""
        self.position += 1
        return self.words[self.position - 1]

    def take(self, *words: str) -> bool:
        """Whether these words come next; if so they are passed over."""
        if tuple(self.words[self.position : self.position + len(words)]) != words:
            return False
        self.position += len(words)
        return True
