"""Every printed rule begins with its chain, and its hash is that of its text and of all rules above it."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha224
from itertools import groupby

import pytest
from hypothesis import given

import felixpy
from felixpy.config import Setting
from felixpy.model import Cluster, Host
from felixpy.ruleset import TABLES
from tests.property.strategies import clusters, fewer, hosts, settings

pytestmark = pytest.mark.property

RULE = re.compile(r'-A (\S+) -m comment --comment "cali:([\w-]{16})"(?: (.+))?')
HASH = re.compile(r' -m comment --comment "(cali:[\w-]{16})"')
HEADER = re.compile(r"(?::[A-Z]+ ACCEPT|:cali-\S+ -) \[0:0\]")


def verified(lines: list[str]) -> None:
    """Recompute the hashes of one table's rules, told from what is printed alone."""
    digests: dict[str, bytes] = {}
    for line in lines:
        found = RULE.fullmatch(line)
        assert found, line
        chain, identity, body = found.groups()
        for seed in (chain, f"{chain}*appends*"):
            digest = digests.get(seed, sha224(seed.encode()).digest())
            text = " ".join(part for part in (f"-A {seed} HASH", body) if part)
            digest = sha224(digest + text.encode()).digest()
            if urlsafe_b64encode(digest)[:16].decode() == identity:
                digests[seed] = digest
                break
        else:
            pytest.fail(f"the hash is not that of the text: {line}")


@fewer
@given(clusters, hosts, settings)
def test_hashes_can_be_recomputed_from_the_text(
    cluster: Cluster, host: Host, given_settings: tuple[Setting, ...]
) -> None:
    ruleset = felixpy.compile(cluster, "node1", host=host, settings=given_settings)
    for family in ruleset.families:
        saved, restored = ruleset.save(family).splitlines(), ruleset.restore(family).splitlines()
        tables = "\n".join(restored).split("\nCOMMIT")
        assert [table.strip().splitlines()[0] for table in tables[:-1]] == [f"*{name}" for name in TABLES]
        for table in tables[:-1]:
            lines = table.strip().splitlines()[1:]
            rules = [line for line in lines if not line.startswith(":")]
            assert all(HEADER.fullmatch(line) for line in lines[: len(lines) - len(rules)])
            verified(rules)
        # One rule that the kernel splits has several lines there, all with its hash.
        found = [(line.split(" ")[:2], HASH.findall(line)) for line in saved]
        whole = [item for item, _ in groupby(found)]
        assert whole == [(line.split(" ")[:2], HASH.findall(line)) for line in restored]
