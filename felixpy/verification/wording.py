"""Felix's hash in a rule of either data plane, and the rule without it."""

from __future__ import annotations

from felixpy.iptables import words
from felixpy.nftables.dumps import split_comment


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
    if found.identity:
        return f'{found.text} comment "{found.words}"' if found.words else found.text
    return words.without_hash(text)
