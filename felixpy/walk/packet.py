"""The packet that is walked and the machine it meets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from felixpy.netfilter.numbers import Address, State, is_loopback, parse_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet at the moment it meets a machine.

    It came in by `in_interface`, or the machine sent it ("") itself. `out_interface` is where routing sends it, "" for
    the machine itself, None to let `Machine.route` say. `destination` is what the sender wrote; `dnat` is what the
    connection's destination is rewritten to if no rule of the machine does so. Ports count for protocols that have
    them, `icmp` (type, code) is by default an echo request.
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
    """What a machine's rules ask about besides the packet.

    `interfaces` are its own addresses by interface, `routes` the interfaces of single addresses such as its pods';
    everything else leaves by `uplink`.
    """

    interfaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    uplink: str = "eth0"

    def local(self) -> dict[str, frozenset[Address]]:
        """Own addresses by interface."""
        return {name: frozenset(map(parse_address, texts)) for name, texts in self.interfaces.items()}

    def route(self, address: str) -> str:
        """The interface that an address is reached by, "" for the machine's own."""
        parsed = parse_address(address)
        if is_loopback(parsed) or any(address in own for own in self.interfaces.values()):
            return ""
        return self.routes.get(address, self.uplink)
