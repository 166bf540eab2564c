"""Explanations of policies and tiers: what they select, where they are enforced, their rules, and remarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from felixpy.decode.legend import Direction
from felixpy.decode.phrases import selector_words
from felixpy.decode.rules import RuleIndex, Spot
from felixpy.errors import few
from felixpy.explain.lines import RuleLines, Thing, named
from felixpy.explain.values import PolicyExplanation, PolicySide, TierExplanation, TierPolicy
from felixpy.model import HostEndpoint, NetworkSet, Policy, Tier
from felixpy.plan.policies import POLICY_PREFIXES
from felixpy.resolve import Shared
from felixpy.ruleset import Ruleset
from felixpy.topology.nodes import Nodes

DROPS = "what no policy of the tier allows, its end drops"
PASSES = "what no policy of the tier decides goes on to the next tier"

DIRECTIONS: tuple[Direction, ...] = ("ingress", "egress")


def _hashes(spot: Spot, ruleset: Ruleset) -> Sequence[str]:
    """Felix's hashes of a chain's rules, which on nftables differ from layer to layer."""
    return ruleset.identities(ruleset.tables[spot.families[0], spot.table], spot.chain)


class Policies:
    """Explains policies and tiers of a cluster. `lines_of` returns rule lines with the names of a node's data plane."""

    def __init__(self, lines_of: Callable[[str], RuleLines], nodes: Nodes) -> None:
        self.lines_of, self.cluster, self.nodes = lines_of, nodes.cluster, nodes
        self.lines = lines_of("")
        self.calico_version = nodes.compiler.calico_version

    def policy(self, policy: Policy) -> PolicyExplanation:
        chosen = self.lines.population.select(policy.selector, sets=False)
        by_node = Counter(thing.node for thing in chosen if not isinstance(thing, NetworkSet))
        tier = self.cluster.tiers.get(policy.tier)
        names = sorted(by_node)
        index = self._index(names) if not policy.staged else None
        sides = tuple(self._side(policy, direction, index, names) for direction in DIRECTIONS)
        return PolicyExplanation(
            name=str(policy.key),
            place=self.lines.place(policy.source),
            tier=policy.tier,
            order=policy.order,
            staged=policy.staged,
            kinds=tuple(_kinds(policy)),
            selector=policy.selector or "all()",
            words=selector_words(policy.selector, sets=False),
            selects=named(chosen),
            by_node=dict(sorted(by_node.items())),
            sides=sides,
            end=_end(policy, tier),
            remarks=(*self._remarks(policy, chosen, index), *self._elsewhere(policy, names)),
        )

    def _index(self, nodes: Sequence[str]) -> RuleIndex | None:
        """The compiled rules of the first node that enforces the policy, on which its chains are shown."""
        node = self.nodes.get(nodes[0]) if nodes else None
        return node.index if node else None

    def _side(self, policy: Policy, direction: Direction, index: RuleIndex | None, nodes: Sequence[str]) -> PolicySide:
        applies = policy.ingress if direction == "ingress" else policy.egress
        lines = self.lines_of(nodes[0] if nodes else "")
        names = lines.names
        chain = (
            names.chain(POLICY_PREFIXES[direction], self.calico_version.policy_id(policy)) if not policy.staged else ""
        )
        spots = index.chains.get(chain, ()) if index else ()
        tables = dict.fromkeys(spot.table for spot in spots)
        hashes = _hashes(spots[0], index.ruleset) if spots and index else ()
        return PolicySide(
            direction=direction,
            applies=applies,
            chain=names.place(spots[0].table, chain)[1] if spots else "",
            hash=hashes[-1] if hashes else "",
            tables=tuple(tables),
            nodes=tuple(nodes) if spots else (),
            rules=lines.of(policy, direction),
        )

    def _elsewhere(self, policy: Policy, nodes: Sequence[str]) -> Iterator[str]:
        """The chains on nodes with a data plane other than that of the first node, whose chains are shown."""
        planes: dict[str, list[str]] = {}
        for node in nodes:
            planes.setdefault(self.nodes.compiler.layout(node, self.nodes.settings).name, []).append(node)
        for plane, others in [*planes.items()][1:] if not policy.staged else ():
            index = self._index(others)
            sides = [self._side(policy, direction, index, others) for direction in DIRECTIONS]
            chains = " and ".join(side.chain for side in sides if side.chain)
            if chains:
                yield f"on {few(others)} Felix programs {plane}: there its chain is {chains}"

    def _remarks(self, policy: Policy, chosen: Sequence[Thing], index: RuleIndex | None) -> Iterator[str]:
        if policy.staged:
            yield "it is staged: nothing of it is enforced; trace shows what it would do"
        if not chosen:
            yield "it selects no endpoint, so no node has its chains"
        elif (policy.do_not_track or policy.pre_dnat) and not any(isinstance(t, HostEndpoint) for t in chosen):
            yield "only host endpoints heed it, and it selects none"
        if policy.tier not in self.cluster.tiers:
            yield f"there is no tier {policy.tier}: Felix takes it for the last one, which drops at its end"
        for direction in DIRECTIONS:
            rules = policy.inbound if direction == "ingress" else policy.outbound
            applies = policy.ingress if direction == "ingress" else policy.egress
            if rules and not applies:
                yield f"it has {direction} rules without effect: {direction} is none of its types"
            elif applies and not rules and not policy.staged:
                yield f"it has no {direction} rule, so it allows nothing of {direction}"
        for problem in index.ruleset.refused if index else ():
            if problem.subject == str(policy.key):
                yield f"about one of its rules: {problem.reason}"

    # --- tiers

    def tier(self, name: str) -> TierExplanation:
        """Explain a tier that is defined, or that a policy names."""
        ordered = Shared(self.cluster, self.calico_version, spoofing=True, suppress_overlaps=False).tiers
        names = [tier.name for tier, _ in ordered]
        here = next(((tier, policies) for tier, policies in ordered if tier.name == name), None)
        tier, policies = here or (self.cluster.tiers[name], ())
        at = names.index(name) if here else -1
        return TierExplanation(
            name=name,
            exists=name in self.cluster.tiers,
            order=tier.order,
            before=names[at - 1] if at > 0 else "",
            after=names[at + 1] if 0 <= at < len(names) - 1 else "",
            policies=tuple(map(self._in_tier, policies)),
            end=PASSES if tier.passes else DROPS,
        )

    def _in_tier(self, policy: Policy) -> TierPolicy:
        applies = {"ingress": policy.ingress, "egress": policy.egress}
        return TierPolicy(
            name=str(policy.key),
            place=self.lines.place(policy.source),
            order=policy.order,
            staged=policy.staged,
            directions=tuple(direction for direction in DIRECTIONS if applies[direction]),
            words=selector_words(policy.selector, sets=False),
            selects=self.lines.population.who(policy.selector, sets=False),
        )


def _kinds(policy: Policy) -> Iterator[str]:
    """Remarks on where a policy is enforced: before DNAT, on forwarded traffic, untracked."""
    if policy.do_not_track:
        yield "doNotTrack: before connection tracking"
    if policy.pre_dnat:
        yield "preDNAT: before destinations are rewritten"
    if policy.apply_on_forward and not policy.do_not_track and not policy.pre_dnat:
        yield "applyOnForward: for what host endpoints forward, too"
    if policy.everywhere:
        yield "AssumeNeededOnEveryNode: its chains are on every node"


def _end(policy: Policy, tier: Tier | None) -> str:
    """What happens to packets that no policy of the tier decides."""
    if policy.staged or policy.do_not_track or policy.pre_dnat:
        return ""
    return PASSES if tier and tier.passes else DROPS
