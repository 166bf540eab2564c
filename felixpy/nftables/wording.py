"""Felix's hash in a rule of either data plane, and the rule without it."""

from __future__ import annotations

from felixpy.iptables import words
from felixpy.netfilter.rules import Rule
from felixpy.nftables.dumps import split_comment
from felixpy.nftables.normal import normal


def identity(text: str) -> str:
    """The hash that a rule bears, "" for a rule that is not Felix's.

    >>> identity('counter drop comment "cali:AAAAAAAAAAAAAAAA; why"'), identity("-j DROP")
    ('AAAAAAAAAAAAAAAA', '')
    """
    return split_comment(text).identity or words.identity(text)


def without_hash(text: str) -> str:
    """The rule without its hash; what else its comment says stays.

    >>> without_hash('counter drop comment "cali:AAAAAAAAAAAAAAAA; why"')
    'counter drop comment "why"'
    """
    found = split_comment(text)
    return _with_words(found.text, found.words) if found.identity else words.without_hash(text)


def said(text: str) -> str:
    """What a line of a dump says, whatever was above it and was counted: no ``-A chain``, hash or counters.

    >>> said('-A cali-x -m comment --comment "cali:AAAAAAAAAAAAAAAA" -j DROP')
    '-j DROP'
    >>> said('counter packets 7 bytes 420 drop comment "cali:AAAAAAAAAAAAAAAA; why"')
    'counter drop comment "why"'
    """
    if text.startswith("-A "):
        return words.without_hash(text.split(" ", 2)[2] if text.count(" ") > 1 else "")
    found = split_comment(text)
    return _with_words(normal(found.text), found.words)


def said_by(rule: Rule) -> str:
    """The same for a rule that was read, which may stand for one element of a map that the line looks up."""
    if rule.text.startswith("-A "):
        return rule.body.text
    return _with_words(normal(rule.body.text), " ".join(rule.comments))


def _with_words(rule: str, comment: str) -> str:
    return f'{rule} comment "{comment}"' if comment else rule
