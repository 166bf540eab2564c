"""Comparisons of ports that nft merges into one.

nft merges comparisons of adjacent header fields: a source port and a destination port, each a single value, become one
comparison of four bytes, which the listing shows at the position of the source port. (nftables src/rule.c,
``payload_do_merge``; addresses are not merged, since at most four bytes are)

Before 1.1.0 nft also merges two ``!=``. The kernel then tests whether the *pair* differs, so a packet with only one of
the two excluded ports matches the rule. A listing does not show which release of nft wrote a rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PORT = re.compile(r"(?<!\. )\b(?:tcp|udp|udplite|sctp|dccp) (?P<field>[sd]port) (?P<operator>!= )?\d+(?=$| )")
_STATEMENT = re.compile(r" (?:counter|log|limit) |$")
"""The statements after which comparisons are no longer merged."""

JOINED = "nft before 1.1.0 compares both ports at once, so that a packet with one of the two ports meets the rule"


def _pair(text: str) -> tuple[re.Match[str], re.Match[str]] | None:
    """Return the comparisons that nft merges, (source port, destination port); None if there are none."""
    if "sport " not in text or "dport " not in text:
        return None
    end = _STATEMENT.search(text)
    found: dict[str, list[re.Match[str]]] = {"sport": [], "dport": []}
    for each in _PORT.finditer(text, 0, end.start() if end else len(text)):
        found[each["field"]].append(each)
    if not found["sport"] or not found["dport"]:
        return None
    source, destination = found["sport"][-1], found["dport"][0]
    return (source, destination) if source["operator"] == destination["operator"] else None


def joined(text: str) -> str:
    """Return a listed rule with merged comparisons side by side, as nft before 1.1.0 lists them.

    >>> joined("tcp sport 5 ip daddr 10.0.0.0/8 tcp dport 6 counter accept")
    'tcp sport 5 tcp dport 6 ip daddr 10.0.0.0/8 counter accept'
    """
    pair = _pair(text)
    if not pair:
        return text
    source, destination = pair
    words = {source.span(): f"{source[0]} {destination[0]}", destination.span(): ""}
    pieces, at = [], 0
    for start, end in sorted(words):
        pieces += [text[at:start].strip(" "), words[start, end]]
        at = end
    return " ".join(filter(None, [*pieces, text[at:].strip(" ")]))


def loosened(text: str) -> Iterator[str]:
    """Yield the additional rules, for packets with one of two excluded ports, that a listed rule may also match.

    >>> list(loosened("udp sport != 5 udp dport != 6 accept"))
    ['udp sport 5 udp dport != 6 accept', 'udp sport != 5 udp dport 6 accept']
    """
    pair = _pair(text)
    if pair and pair[0]["operator"]:
        for each in pair:
            start, end = each.span("operator")
            yield text[:start] + text[end:]
