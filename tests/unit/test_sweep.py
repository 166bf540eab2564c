"""Damage to recorded nodes: what the exact engine says of it, what walked packets say, and what verify says.

A sample of the recordings; ``make sweep`` goes over all of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from felixpy.compiler import Compiler
from felixpy.model import Cluster, Host, Rule
from felixpy.verification import Node, Verification, observe_listing, observe_saved, verify
from tests.clusters import cluster, host_endpoint, policy
from tests.conformance.recordings import AREAS, Case, cases
from tests.sweep.damage import Damage, deletions
from tests.sweep.judge import NODES, RecordedNode, RecordedTables

SHOTS = 300
EVERY = 53
"""One recording in so many, a few deletions of each; all of them with ``make sweep``."""

DELETED = 20
VERIFIED = 3

CASES = [(case, family) for case in cases(*AREAS)[::EVERY] for family in case.families]


def kind(opens: bool, closes: bool) -> str:
    return "both" if opens and closes else "opens" if opens else "closes" if closes else "none"


@pytest.mark.parametrize("plane", NODES)
@pytest.mark.parametrize("case, family", CASES, ids=str)
def test_walked_packets_say_the_same(case: Case, family: int, plane: str) -> None:
    if plane == "nftables" and CASES.index((case, family)) % 2:
        pytest.skip("every second one on nftables; make sweep goes over all of them")
    draw = random.Random(f"{case} {family}")
    node = NODES[plane](case, family, SHOTS, draw)
    if family not in node.ruleset.families:
        pytest.skip("the family is switched off")
    more = list(node.others())
    node.extra = tuple(damage.dump for damage in more)
    every = list(node.deletions())
    damages = [*draw.sample(every, min(len(every), DELETED)), *more]
    assert [line for damage in damages for line in node.judge(damage)] == []
    own = [damage for damage in damages if not damage.foreign]
    for damage in draw.sample(own, min(len(own), VERIFIED)):
        found = verified(node, damage)
        verdict = node.verdict(damage)
        expected = kind(bool(verdict.change.opens), bool(verdict.change.closes))
        if expected == "none" and (verdict.conditions or verdict.change.rewrites):
            expected = "unknown"
        if found.equal:
            assert expected == "none", damage.words
        elif "ahead" not in damage.words:
            assert found.together.kind == expected, damage.words


def verified(node: RecordedNode, damage: Damage) -> Verification:
    """What verify finds of a damage."""
    family = node.family
    if damage.text:
        compiler = Compiler(node.cluster, dataplane="nftables")
        return verify(
            observe_listing(damage.text, "a listing"), Node(name=node.case.node, compiler=compiler, host=node.host)
        )
    text = "".join(
        f"*{table}\n"
        + "".join(f":{chain.name} {chain.policy or '-'} [0:0]\n" for chain in chains.values())
        + "".join(f"{line.text}\n" for chain in chains.values() for line in chain.lines)
        + "COMMIT\n"
        for table, chains in damage.dump.tables[family].items()
    )
    sets = "".join(
        f"create {found.name} {found.type} family {found.options['family']} maxelem {found.options['maxelem']}\n"
        + "".join(f"add {found.name} {member}\n" for member in found.members)
        for found in (damage.dump.sets or {}).values()
    )
    target = Node(name=node.case.node, compiler=Compiler(node.cluster), host=node.host)
    return verify(observe_saved({family: text}, sets, "a dump"), target)


def test_the_judge_can_disagree() -> None:
    """A judge that nothing could make say no would prove nothing."""
    case = cases("seeds")[0]
    node = RecordedNode(case, 4, 800, random.Random(1))
    hook = next(damage for damage in deletions(node.dump, 4) if damage.chain == "FORWARD")
    assert list(node.judge(hook)) == []
    node.verdict = lambda damage: RecordedNode.verdict(node, damage._replace(dump=node.dump))  # type: ignore[method-assign]
    assert any("nothing is said to open" in line for line in node.judge(hook))


@pytest.mark.parametrize(
    ("name", "family", "words"),
    [
        ("host/gnp-do-not-track-on-all-interfaces", 4, "cali-PREROUTING emptied"),
        ("host/failsafe-ports-with-nets", 4, "z_xuyw0pzXFb2GuU"),
        ("host/gnp-all-four-kinds-on-one-endpoint", 4, "kUR_CvD5zdKkMdB_"),
        ("host/hep-expected-ips-only", 6, "-A FORWARD -s fd00::/8 -j ACCEPT ahead"),
    ],
)
def test_packets_that_are_redirected_on_one_side_only(name: str, family: int, words: str) -> None:
    """Damage of raw decides whether connection tracking sees a packet, and only then is its destination rewritten."""
    (case,) = (case for case in cases("host") if str(case) == name)
    draw = random.Random(f"{case} {family}")
    node = RecordedNode(case, family, SHOTS, draw)
    more = list(node.others())
    node.extra = tuple(damage.dump for damage in more)
    (damage,) = (damage for damage in [*deletions(node.dump, family), *more] if words in damage.words)
    verdict = node.verdict(damage)
    assert any(part.came for part in (*verdict.change.opens, *verdict.change.closes, *verdict.change.rewrites))
    assert list(node.judge(damage)) == []


@dataclass(frozen=True)
class Given:
    """A cluster in the place of a recording."""

    cluster: Cluster
    host: Host
    node: str = "node1"

    def load(self) -> Cluster:
        return self.cluster


def test_what_has_a_connection_keeps_it() -> None:
    """Felix's raw chain at a later priority: ``notrack`` leaves packets with a connection alone, as in the kernel."""
    allow = Rule(action="allow", protocol="udp")
    things = (
        host_endpoint("a", "eth0"),
        host_endpoint("b", "eth1"),
        policy("untracked", ingress=[allow], do_not_track=True, apply_on_forward=True),
        policy("forward", ingress=[], egress=[], apply_on_forward=True),
    )
    given = Given(cluster(*things), Host(interfaces={"eth0": ("192.0.2.1",), "eth1": ("192.0.2.2",)}))
    node = NODES["nftables"](given, 4, SHOTS, random.Random(1))  # type: ignore[arg-type]
    assert isinstance(node, RecordedTables)
    own = node.listing.own
    raw = own.chains["raw-PREROUTING"]
    assert raw.base
    for priority in ("-310", "-160", "60"):
        late = replace(raw, base=raw.base._replace(priority=priority))
        damage = node.listing.damaged(priority, replace(own, chains={**own.chains, "raw-PREROUTING": late}))
        assert list(node.judge(damage)) == []
        assert bool(node.verdict(damage).change.closes) is (priority != "-310")
