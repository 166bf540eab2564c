"""Normalises rules listed by any release of nft to the syntax of 1.0.6, which compiled rules have."""

from __future__ import annotations

import re

from felixpy.nftables.dumps import without_counts
from felixpy.nftables.joining import joined

_BURST = re.compile(r"(limit rate (?:over )?\S+) burst 5 packets")
_MARK = re.compile(r"meta mark & (0x[0-9a-f]{8}) (==|!=) (0x[0-9a-f]{8})")
_ROUTE = re.compile(r"(fib saddr \. mark \. iif) (?:oif|check) missing")


def normal(text: str) -> str:
    """Return a rule as nft 1.0.6 lists it.

    The default burst is left out, a mask of leading ones is a prefix, and merged comparisons of ports are side by side.

    >>> normal("limit rate 10/minute burst 5 packets meta mark & 0xffe00000 != 0x00200000 drop")
    'limit rate 10/minute meta mark != 0x00200000/11 drop'
    """
    bare = without_counts(text)
    if " burst 5 " in bare:
        bare = _BURST.sub(r"\1", bare)
    if " & 0xf" in bare:
        bare = _MARK.sub(_prefix, bare)
    if " missing" in bare:
        bare = _ROUTE.sub(r"\1 oif 0", bare)
    return joined(bare)


def _prefix(found: re.Match[str]) -> str:
    mask = int(found[1], 16)
    length = mask.bit_count()
    if mask != (1 << 32) - (1 << 32 - length):
        return found[0]
    return f"meta mark {'!= ' if found[2] == '!=' else ''}{found[3]}/{length}"
