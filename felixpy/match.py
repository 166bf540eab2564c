"""One active rule → the iptables matches that express it, in one family.

Alternatives that do not fit one iptables rule (more than one CIDR, more than 15 ports) become blocks: rules that set a
scratch mark, which the main rule then tests. (felix/rules/policy.go)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from felixpy.ipsets import SetSpec, family_of
from felixpy.marks import spell
from felixpy.model import Icmp, PortRange
from felixpy.names import set_name
from felixpy.rules import ActiveRule, ActiveSide

MAX_MULTIPORT = 15
"""Ports that one multiport match holds; a range takes two places (XT_MULTI_PORTS)."""

CATCH_ALL = ("0.0.0.0/0", "::/0")


class Block(NamedTuple):
    """Rules before the main one. Each of `alternatives` sets (or, negated, clears) a scratch mark.

    Alternatives begin with a space. `merges`: a second mark is combined with the first one afterwards.
    """

    alternatives: tuple[str, ...]
    negated: bool
    merges: bool


class RuleMatch(NamedTuple):
    """The main rule's matches, beginning with a space ("" matches everything), and the blocks before it."""

    text: str
    blocks: tuple[Block, ...] = ()


def split_ports(ports: Iterable[PortRange]) -> Iterator[str]:
    """Pack ports into lists that fit one multiport match each.

    >>> list(split_ports([PortRange(80, 80), PortRange(8000, 8080)]))
    ['80,8000:8080']
    """
    group: list[str] = []
    used = 0
    for port in ports:
        slots = 1 if port.first == port.last else 2
        if used + slots > MAX_MULTIPORT:
            yield ",".join(group)
            group, used = [], 0
        group.append(str(port))
        used += slots
    if group:
        yield ",".join(group)


class _Words(NamedTuple):
    """The option names of one side of a rule in iptables."""

    net: str
    set_flag: str
    port_flag: str
    ports: str


SOURCE = _Words("--source", "src", "src,src", "--source-ports")
DESTINATION = _Words("--destination", "dst", "dst,dst", "--destination-ports")
_ICMP = {4: ("icmp", "--icmp-type"), 6: ("icmp6", "--icmpv6-type")}


class _Side(Struct):
    """One side of a rule in one family; building blocks removes parts from it."""

    words: _Words
    side: ActiveSide
    nets: list[str]
    not_nets: list[str]
    port_groups: list[str] = field(default_factory=list)
    port_sets: list[SetSpec] = field(default_factory=list)

    @classmethod
    def of(cls, words: _Words, side: ActiveSide, family: int) -> _Side | None:
        """The side in a family; None if it cannot match any packet of the family."""
        if _impossible(side.nets, family) or _impossible(side.not_nets, family, negated=True):
            return None
        nets = [net for net in side.nets if family_of(net) == family]
        not_nets = [net for net in side.not_nets if family_of(net) == family]
        return cls(words, side, nets, not_nets, list(split_ports(side.ports)), list(side.port_sets))


def _impossible(nets: Sequence[str], family: int, *, negated: bool = False) -> bool:
    """Whether a list matches nothing: it has only networks of the other family, or negates all addresses."""
    if not nets:
        return False
    own = [net for net in nets if family_of(net) == family]
    return not own or (negated and any(net in CATCH_ALL for net in own))


def match(active: ActiveRule, family: int, all_blocks: str) -> RuleMatch | None:
    """The matches of a rule, or None if it cannot match in the family.

    `all_blocks` is the text of the mark that is set if every block matched.
    """
    if active.ip_version not in (None, family):
        return None
    source = _Side.of(SOURCE, active.source, family)
    destination = _Side.of(DESTINATION, active.destination, family)
    if source is None or destination is None:
        return None
    blocks = _blocks(active, source, destination, family)
    fragments = list(_fragments(active, source, destination, family))
    if blocks:
        fragments.append(f"-m mark --mark {all_blocks}/{all_blocks}")
    return RuleMatch("".join(f" {fragment}" for fragment in fragments), tuple(blocks))


def _blocks(active: ActiveRule, source: _Side, destination: _Side, family: int) -> list[Block]:
    """Move what does not fit the main rule into blocks: ports, then networks, then negated networks."""
    blocks: list[Block] = []

    def add(alternatives: Iterable[str], *, negated: bool = False) -> None:
        merges = not negated and any(not block.negated for block in blocks)
        blocks.append(Block(tuple(f" {alternative}" for alternative in alternatives), negated, merges))

    protocol = f"-p {active.rule.protocol} " if active.rule.protocol is not None else ""
    for side in (source, destination):
        if len(side.port_groups) + len(side.port_sets) > 1:
            numeric = [f"{protocol}-m multiport {side.words.ports} {ports}" for ports in side.port_groups]
            named = [_set(side.words.port_flag, spec, family) for spec in side.port_sets]
            add([*numeric, *named])
            side.port_groups, side.port_sets = [], []
    for side in (source, destination):
        if len(side.nets) > 1:
            add(f"{side.words.net} {net}" for net in side.nets)
            side.nets = []
    for side in (source, destination):
        if len(side.nets) + len(side.not_nets) > 1:
            add((f"{side.words.net} {net}" for net in side.not_nets), negated=True)
            side.not_nets = []
    return blocks


def _set(flag: str, spec: SetSpec, family: int, negation: str = "") -> str:
    return f"-m set {negation}--match-set {set_name(family, spec.id)} {flag}"


def _fragments(active: ActiveRule, source: _Side, destination: _Side, family: int) -> Iterator[str]:
    """The main rule's matches in Felix's order."""
    rule = active.rule
    if rule.protocol is not None:
        yield f"-p {rule.protocol}"
    for side in (source, destination):
        yield from (f"{side.words.net} {net}" for net in side.nets)
        yield from (_set(side.words.set_flag, spec, family) for spec in side.side.sets)
        yield from (_set(side.words.port_flag, spec, family) for spec in side.side.service_sets)
        yield from (f"-m multiport {side.words.ports} {ports}" for ports in side.port_groups)
        yield from (_set(side.words.port_flag, spec, family) for spec in side.port_sets)
    if rule.icmp:
        yield _icmp(rule.icmp, family)
    if rule.not_protocol is not None:
        yield f"! -p {rule.not_protocol}"
    for side in (source, destination):
        yield from (f"! {side.words.net} {net}" for net in side.not_nets)
        yield from (_set(side.words.set_flag, spec, family, "! ") for spec in side.side.not_sets)
        yield from (f"-m multiport ! {side.words.ports} {ports}" for ports in split_ports(side.side.not_ports))
        yield from (_set(side.words.port_flag, spec, family, "! ") for spec in side.side.not_port_sets)
    if rule.not_icmp:
        yield _icmp(rule.not_icmp, family, "! ")


def _icmp(icmp: Icmp, family: int, negation: str = "") -> str:
    name, option = _ICMP[family]
    code = "" if icmp.code is None else f"/{icmp.code}"
    return f"-m {name} {negation}{option} {icmp.type}{code}"


def first_mark(blocks: Sequence[Block], all_blocks: str) -> str:
    """The initial value of the scratch marks: set if the first block is negated, else clear."""
    return all_blocks if blocks[0].negated else spell(0)
