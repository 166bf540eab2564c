"""The packet to walk, and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from felixpy.netfilter.numbers import Address, State, is_loopback, parse_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet as it arrives at a machine, or as the machine sends it.

    `in_interface` is "" if the machine itself sends it. `out_interface` is the one that routing chooses, "" for the
    machine itself, None to use `Machine.route`. `destination` is the original one; `dnat` replaces it if no rule of the
    machine does. Ports are used for protocols that have them, `icmp` (type, code) is by default an echo request.
    """

    source: str
    destination: str
    protocol: str | int = "tcp"
    source_port: int = 49152
    port: int = 0
    icmp: tuple[int, int] | None = None
    in_interface: str = ""
    out_interface: str | None = None
    state: State = "new"
    mark: int = 0
    dnat: tuple[str, int] | None = None
    spoofed: bool = False
    """The source is not where the routes back to it lead."""
    sent_by: str | None = None
    """The interface that the packet would leave by if its destination were not rewritten, where that is not routed."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts about a machine that its rules depend on.

    `interfaces` are its own addresses by interface, `routes` the interfaces for single addresses such as its pods';
    everything else is routed to `uplink`.
    """

    interfaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    uplink: str = "eth0"

    def local(self) -> dict[str, frozenset[Address]]:
        """Own addresses by interface."""
        return {name: frozenset(map(parse_address, texts)) for name, texts in self.interfaces.items()}

    def route(self, address: str) -> str:
        """The outgoing interface for an address, "" for the machine's own."""
        parsed = parse_address(address)
        if is_loopback(parsed) or any(address in own for own in self.interfaces.values()):
            return ""
        return self.routes.get(address, self.uplink)
