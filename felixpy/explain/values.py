"""What explanations are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from felixpy.decode.legend import Direction
from felixpy.errors import Path, Place


class Who(NamedTuple):
    """Whom a selector means today, by name."""

    pods: tuple[str, ...] = ()
    host_endpoints: tuple[str, ...] = ()
    network_sets: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pods) + len(self.host_endpoints) + len(self.network_sets)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLine:
    """One rule of a policy or profile. `number` counts from 1, as traces and flow logs do (these from 0).

    `peers` are those whom the selectors of the other side mean today, None where it has no selector; `sets` hold them.
    """

    number: int
    words: str
    place: Place | None
    path: Path
    peers: Who | None = None
    sets: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLine:
    """A policy as an endpoint meets it, in one direction."""

    name: str
    place: Place | None
    order: float | None
    staged: bool
    rules: tuple[RuleLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierLine:
    """A tier as an endpoint meets it. `end` says what becomes of packets that none of its policies decided.

    It is `reached` unless the tier before leaves nothing undecided.
    """

    name: str
    policies: tuple[PolicyLine, ...]
    end: str
    reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileLine:
    """A profile as an endpoint meets it."""

    name: str
    place: Place | None
    rules: tuple[RuleLine, ...]
    exists: bool
    reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStage:
    """One way through an endpoint: which packets, in which chain, who is asked in which order, and what comes last."""

    title: str
    direction: Direction
    chain: str
    table: str
    tiers: tuple[TierLine, ...]
    profiles: tuple[ProfileLine, ...]
    profiles_reached: bool
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A rule of some policy that means an endpoint by a set: as the other side of the connection."""

    policy: str
    staged: bool
    direction: Direction
    number: int
    words: str
    place: Place | None
    sets: tuple[str, ...]
    selects: Who


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointExplanation:
    """A pod or host endpoint: what it is, and what applies to it."""

    endpoint_type: str
    name: str
    place: Place | None
    node: str
    interface: str
    addresses: tuple[str, ...]
    labels: Mapping[str, str]
    profiles: tuple[str, ...]
    ports: tuple[str, ...]
    stages: tuple[EndpointStage, ...]
    mentions: tuple[Mention, ...]
    remarks: tuple[str, ...]
    failsafes: Mapping[Direction, tuple[str, ...]] = field(default_factory=dict)
    """Of host endpoints: the ports that stay open whatever the policies say, such as ``tcp/22``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySide:
    """One direction of a policy: its chain, the hash of the chain's last rule, the nodes that have it, and its rules.

    Without `applies` the direction is none of the policy's types.
    """

    direction: Direction
    applies: bool
    chain: str
    hash: str
    tables: tuple[str, ...]
    nodes: tuple[str, ...]
    rules: tuple[RuleLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyExplanation:
    """A policy: whom it selects, where it is enforced, what its rules say."""

    name: str
    place: Place | None
    tier: str
    order: float | None
    staged: bool
    kinds: tuple[str, ...]
    selector: str
    words: str
    selects: Who
    by_node: Mapping[str, int]
    sides: tuple[PolicySide, ...]
    end: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierPolicy:
    """A policy in its tier."""

    name: str
    place: Place | None
    order: float | None
    staged: bool
    directions: tuple[Direction, ...]
    words: str
    selects: Who


@dataclass(frozen=True, slots=True, kw_only=True)
class TierExplanation:
    """A tier: its place among the others, its policies in order, and its end."""

    name: str
    exists: bool
    order: float
    before: str
    after: str
    policies: tuple[TierPolicy, ...]
    end: str
