"""Names that the kernel limits: chains (28 characters) and sets (31), and how long ones are hashed to fit.

A name that is too long keeps its prefix and has a hash in place of the rest, so that it is unique and reproducible.
(libcalico-go/lib/hash, felix/rules)
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha3_224, sha256

MAX_CHAIN = 28
"""iptables' XT_EXTENSION_MAXNAMELEN - 1."""

MAX_SET = 31
"""ipset's IPSET_MAXNAMELEN - 1."""

MAX_NFLOG_PREFIX = 63
"""What fits into an NFLOG message beside the final zero."""

MAX_COMMENT = 256
"""Felix cuts comments here; the kernel keeps 255 of these bytes."""

ANY_INTERFACE = "any-interface-at-all"
"""The name under which the ``*`` host endpoint has its chains."""


def _base64(digest: bytes) -> str:
    return urlsafe_b64encode(digest).decode().rstrip("=")


def limited(prefix: str, suffix: str, limit: int | None = MAX_CHAIN) -> str:
    """Fit a name into `limit` bytes: a suffix that does not fit is hashed. Without a limit it is unchanged.

    A name of exactly the limit whose suffix begins with "_" is hashed too, as it could be mistaken for a hash.

    >>> limited("cali-pi-", "np/ns1/allow")
    'cali-pi-np/ns1/allow'
    >>> limited("cali-pi-", "knp/default/default-deny")
    'cali-pi-_hkektpvVyhILpLRsra1'
    """
    suffix = suffix or "_"
    if limit is None:
        return prefix + suffix
    length = len(prefix) + len(suffix.encode())
    if length > limit or (length == limit and suffix.startswith("_")):
        return f"{prefix}_{_base64(sha256(suffix.encode()).digest())[: limit - 1 - len(prefix)]}"
    return prefix + suffix


def set_name(family: int, set_id: str) -> str:
    """The kernel's name of a main IP set; long ids are cut, not hashed, as they end in a hash anyway.

    >>> set_name(4, "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug")
    'cali40s:5y5I3VdRZfDU01O--xXAPx2'
    """
    return f"cali{family}0{set_id}"[:MAX_SET]


_NFT_SET = re.compile(r"^(cali[46]0(?:s|n|svc|svcnoport))-")


def plain_set_name(name: str) -> str:
    """The name in iptables of a set with a name as in nftables: a colon follows its kind.

    >>> plain_set_name("cali40s-a-b"), plain_set_name("cali40this-host")
    ('cali40s:a-b', 'cali40this-host')
    """
    return _NFT_SET.sub(r"\1:", name)


LAYERS = ("raw", "mangle", "nat", "filter")
"""The layers with which names of nftables chains begin: the iptables tables with the same chains."""


def split_layer(name: str) -> tuple[str, str]:
    """The layer of a chain of nftables, "" for other chains, and its name in iptables.

    >>> split_layer("filter-cali-FORWARD"), split_layer("cali-FORWARD")
    (('filter', 'cali-FORWARD'), ('', 'cali-FORWARD'))
    """
    layer, _, rest = name.partition("-")
    return (layer, rest) if layer in LAYERS and rest else ("", name)


_FELIX_TABLE = re.compile(r"^table ip6? calico(?: \{)?$", re.MULTILINE)
_ARP_TABLE = re.compile(r"^table arp calico-arp(?: \{)?$", re.MULTILINE)


def has_felix_tables(tables: str) -> bool:
    r"""Whether an nft listing (of rules or of table names) has a table of Felix's nftables data plane.

    (felix/nftables/table.go)

    >>> has_felix_tables("table ip filter\ntable ip6 calico\n"), has_felix_tables("table arp calico-arp\n")
    (True, False)
    """
    return bool(_FELIX_TABLE.search(tables))


def has_arp_table(tables: str) -> bool:
    r"""Whether an nft listing has Felix's ARP table, which exists in both data planes.

    >>> has_arp_table("table ip filter {\n}\ntable arp calico-arp {\n}\n"), has_arp_table("table ip calico\n")
    (True, False)
    """
    return bool(_ARP_TABLE.search(tables))


def group_uid(selector: str, direction: str, members: Iterable[str]) -> str:
    """The name of a policy group's chain after its prefix: 20 characters of SHA3-224.

    `members` are one line for each policy of the group, staged ones included.
    """
    lines = list(members)
    content = "".join(f"{line}\n" for line in (selector, direction, str(len(lines)), *lines))
    return _base64(sha3_224(content.encode()).digest())[:20]


def nflog_prefix(text: str) -> str:
    """An NFLOG prefix; a long one keeps its first and last ten characters around a hash.

    >>> nflog_prefix("API0|np/namespace1/default.policy")
    'API0|np/namespace1/default.policy'
    """
    if len(text.encode()) < MAX_NFLOG_PREFIX:
        return text
    return f"{text[:10]}_{_base64(sha256(text.encode()).digest())[:41]}_{text[-10:]}"


_UNSAFE = re.compile(r"[^\w @%+=:,./-]", re.ASCII)


def comment(text: str) -> str:
    """Text made safe for an iptables comment: special characters become "_", then it is cut to 256 bytes.

    >>> comment("boz\\nfizz")
    'boz_fizz'
    """
    return _UNSAFE.sub("_", text)[:MAX_COMMENT]


_FAMILY = re.compile(r"\b(?:cali[46]0(?=[a-z])|ip6?(?= (?:[sd]addr|dscp)\b))")


def of_any_family(text: str) -> str:
    """A rule without the family in names of sets and in nft's address keywords, to compare rules of both families.

    >>> of_any_family("-m set --match-set cali60s:abc src") == of_any_family("-m set --match-set cali40s:abc src")
    True
    >>> of_any_family("ip6 saddr @cali60s-abc") == of_any_family("ip saddr @cali40s-abc")
    True
    """
    return _FAMILY.sub("cali0", text)
