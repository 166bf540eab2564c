"""Reads and removes Felix's hash in a rule of either data plane."""

from __future__ import annotations

from felixpy.iptables import words
from felixpy.netfilter.rules import Rule
from felixpy.nftables.dumps import split_comment
from felixpy.nftables.normal import normal


def identity(text: str) -> str:
    """Return Felix's hash of a rule, "" for a foreign rule.

    >>> identity('counter drop comment "cali:AAAAAAAAAAAAAAAA; why"'), identity("-j DROP")
    ('AAAAAAAAAAAAAAAA', '')
    """
    return split_comment(text).identity or words.identity(text)


def without_hash(text: str) -> str:
    """Return a rule without its hash; the rest of the comment stays.

    >>> without_hash('counter drop comment "cali:AAAAAAAAAAAAAAAA; why"')
    'counter drop comment "why"'
    """
    found = split_comment(text)
    return _with_words(found.text, found.words) if found.identity else words.without_hash(text)


def said(text: str) -> str:
    """Return a rule that nft lists without hash and counters, to compare rules by content.

    >>> said('counter packets 7 bytes 420 drop comment "cali:AAAAAAAAAAAAAAAA; why"')
    'counter drop comment "why"'
    """
    found = split_comment(text)
    return _with_words(normal(found.text), found.words)


def said_by(rule: Rule) -> str:
    """Return the same for a parsed rule of either data plane, which may be one element of a map that it looks up."""
    if rule.text.startswith("-A "):
        return rule.body.text
    return _with_words(normal(rule.body.text), " ".join(rule.comments))


def _with_words(rule: str, comment: str) -> str:
    return f'{rule} comment "{comment}"' if comment else rule
