"""Real packets do what a walk through the rules says, on recorded clusters of all kinds, IPv4 and IPv6 together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest

from felixpy.dataplane.nftables.enforcer import NFTABLES
from felixpy.lab import Lab
from felixpy.manifests import load
from felixpy.model import Cluster, Host
from felixpy.topology.question import Target
from tests.conformance.recordings import Case, cases
from tests.conformance.test_nftables import NOT_PROGRAMMED
from tests.netns.expectations import Expectations, Expected, LeftOut
from tests.netns.labs import new_name, options, places, plane_of
from tests.netns.namespace import BACKENDS
from tests.netns.packet_cases import Drawn, Lot

pytestmark = pytest.mark.netns

EVERY = {"random": 3, "k8s": 40, "calico": 40, "host": 6, "config": 30}
"""Of each area of recordings, one case in so many. All of them can be had by other numbers, but that takes minutes."""

CLUSTERS = [case for area, step in EVERY.items() for case in cases(area)[::step]]
REFUSED = set(map(str, NOT_PROGRAMMED))
NFT_CLUSTERS = [case for case in CLUSTERS if str(case) not in REFUSED]
"""Those that Felix can program in nftables mode."""

PACKETS = 100
"""How many are tried in each cluster."""

KNOWN = 180
"""How many they are chosen from: of those that meet the same rules, the first few are enough."""

DRAWN = 1000
"""How many are drawn for that at most, as there are some of which nobody knows what comes of them."""


@pytest.fixture(autouse=True)
def folder(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with places(tmp_path, monkeypatch) as found:
        yield found


def hosts(case: Case) -> dict[str, Host]:
    """The machine of the recorded node, where its interfaces were given."""
    interfaces = {name: tuple(texts) for name, texts in case.facts.get("interfaces", {}).items()}
    return {case.node: Host(interfaces=interfaces)} if interfaces else {}


def varied(found: Sequence[tuple[Drawn, Expected]]) -> list[tuple[Drawn, Expected]]:
    """As many as are tried: of those with the same fate at the same rules the first before the second of any."""
    seen: Counter[Expected] = Counter()
    ranks = []
    for _, expected in found:
        ranks.append(seen[expected])
        seen[expected] += 1
    order = sorted(range(len(found)), key=ranks.__getitem__)
    return [found[number] for number in order[:PACKETS]]


def chosen(cluster: Cluster, lab: Lab, backend: str, seed: str) -> tuple[list[tuple[Drawn, Expected]], Counter[str]]:
    """Packets to be tried with what the walk says about them; and how many were left out, for which reasons."""
    expectations = Expectations(cluster, lab.layout, plane_of(backend))
    lot = Lot(cluster, lab.layout, expectations.families, seed)
    known: list[tuple[Drawn, Expected]] = []
    left_out: Counter[str] = Counter()
    for packet in islice(lot.packets(), DRAWN):
        answer = expectations.of(packet)
        if isinstance(answer, LeftOut):
            left_out[answer.reason] += 1
        else:
            known.append((packet, answer))
        if len(known) == KNOWN:
            break
    return varied(known), left_out


@pytest.mark.parametrize(
    "case, backend",
    [
        *(
            pytest.param(case, BACKENDS[number % 2], id=f"{case}-{BACKENDS[number % 2]}")
            for number, case in enumerate(CLUSTERS)
        ),
        *(pytest.param(case, NFTABLES, id=f"{case}-nftables") for case in NFT_CLUSTERS),
    ],
)
def test_packets_do_what_the_walk_says(case: Case, backend: str) -> None:
    cluster = load([case.folder / "manifests.yaml"], strict=False)
    with Lab.up(cluster, new_name(), options(backend, hosts=hosts(case))) as lab:
        tried, left_out = chosen(cluster, lab, backend, seed=str(case))
        outcomes = lab.probe_many(
            lab.flow(packet.source, Target(packet.destination, packet.port or None, packet.protocol))
            for packet, _ in tried
        )
    wrong = [
        f"{packet}: {outcome.how}, but the walk says {'allowed' if expected.allowed else 'denied'}: {expected.words}"
        for (packet, expected), outcome in zip(tried, outcomes, strict=True)
        if outcome.allowed != expected.allowed
    ]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
    assert len(tried) == PACKETS, left_out


def test_thousands_of_packets_are_tried() -> None:
    """Each cluster has its whole share, or its own test fails; so this is all of them."""
    assert len(CLUSTERS) * PACKETS >= 3000
    assert len(NFT_CLUSTERS) * PACKETS >= 3000
