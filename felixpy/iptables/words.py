"""Split a line into words, with quotes and escapes, and quote values."""

from __future__ import annotations

import re

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = re.compile(r'"(?P<quoted>[^"]*)"|(?P<plain>\S+)')
_SAFE = re.compile(r"[A-Za-z0-9_-]+")

HASH_PREFIX = "cali:"

_IDENTITY = rf'{HASH_PREFIX}([\w-]{{16}})(?:["; ]|$)'

HASH = re.compile(rf'(?:--comment "?|^){_IDENTITY}', re.ASCII)
"""The comment by which Felix recognises its rules: the hash and nothing else. (felix/iptables/table.go)"""

_HASHES = re.compile(rf'--comment "?{_IDENTITY}', re.ASCII | re.MULTILINE)

_HASH_COMMENT = re.compile(rf'-m comment --comment "?{HASH_PREFIX}([\w-]{{16}})"?(?: |$)', re.ASCII)


def split_words(text: str) -> list[str]:
    """The words of a rule as the tools print it, without quotes.

    >>> split_words('-j LOG --log-prefix "a b: "')
    ['-j', 'LOG', '--log-prefix', 'a b: ']
    """
    if '"' not in text:
        return text.split()
    if "\\" in text:
        found = (match.groups() for match in _QUOTED.finditer(text))
        return [plain if quoted is None else _ESCAPED.sub(r"\1", quoted) for quoted, plain in found]
    words: list[str] = []
    for at, part in enumerate(text.split('"')):
        if at % 2:
            words.append(part)
        else:
            words.extend(part.split())
    return words


def felix_words(text: str) -> list[str]:
    """The words of a rule as Felix passes it to iptables-restore, where a backslash has no special meaning."""
    return [found["plain"] or found["quoted"] or "" for found in _PLAIN.finditer(text)]


def quoted(text: str) -> str:
    """A value as the tools print it: in quotes unless every character is safe.

    >>> quoted("word"), quoted("two words"), quoted("a.b")
    ('word', '"two words"', '"a.b"')
    """
    if _SAFE.fullmatch(text):
        return text
    return '"' + re.sub(r"([\"\\'])", r"\\\1", text) + '"'


def identity(text: str) -> str:
    """The hash in a rule's comment, "" if it has none.

    >>> identity('-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD')
    'wUHhoiAYhphO9Mso'
    """
    found = HASH.search(text)
    return found[1] if found else ""


def hashes_in(text: str) -> list[str]:
    """All hashes in the text of many rules, faster than calling `identity` for each."""
    return _HASHES.findall(text)


def hash_comment(found: str) -> str:
    """The comment match with a hash.

    >>> hash_comment("wUHhoiAYhphO9Mso")
    '-m comment --comment "cali:wUHhoiAYhphO9Mso"'
    """
    return f'-m comment --comment "{HASH_PREFIX}{found}"'


def without_hash(text: str) -> str:
    """A rule's text without the comment with Felix's hash.

    >>> without_hash('-p tcp -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD')
    '-p tcp -j cali-FORWARD'
    """
    return _HASH_COMMENT.sub("", text, count=1).strip()
