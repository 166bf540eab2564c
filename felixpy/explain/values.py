"""The values that explanations consist of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from felixpy.decode.legend import Direction
from felixpy.errors import Path, Place


class Who(NamedTuple):
    """The names of what a selector matches now."""

    pods: tuple[str, ...] = ()
    host_endpoints: tuple[str, ...] = ()
    network_sets: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pods) + len(self.host_endpoints) + len(self.network_sets)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLine:
    """One rule of a policy or profile. `number` counts from 1, as traces and flow logs do (these from 0).

    `peers` are what the selectors of the other side match now, None if it has no selector; `sets` are its IP sets.
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
    """A policy that applies to an endpoint, in one direction."""

    name: str
    place: Place | None
    order: float | None
    staged: bool
    rules: tuple[RuleLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierLine:
    """A tier that applies to an endpoint. `end` says what happens to packets that none of its policies decide.

    `reached` is false if the tiers before decide all packets.
    """

    name: str
    policies: tuple[PolicyLine, ...]
    end: str
    reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileLine:
    """A profile that applies to an endpoint."""

    name: str
    place: Place | None
    rules: tuple[RuleLine, ...]
    exists: bool
    reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStage:
    """A kind of traffic of an endpoint: its chain, its tiers and profiles in order, and what happens at the end."""

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
    """A policy rule that matches an endpoint, through an IP set, as the other side of a connection."""

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
    """The explanation of a pod or host endpoint: its facts, and what applies to it."""

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

    `applies` is false if the direction is not among the policy's types.
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
    """The explanation of a policy: what it selects, where it is enforced, its rules."""

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
    """A policy in the list of its tier."""

    name: str
    place: Place | None
    order: float | None
    staged: bool
    directions: tuple[Direction, ...]
    words: str
    selects: Who


@dataclass(frozen=True, slots=True, kw_only=True)
class TierExplanation:
    """The explanation of a tier: its position, its policies in order, and its end."""

    name: str
    exists: bool
    order: float
    before: str
    after: str
    policies: tuple[TierPolicy, ...]
    end: str
