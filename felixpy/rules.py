"""Active rules: selectors, named ports and services are replaced by IP sets.

(felix/calc/rule_scanner.go, rule_convert.go)
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from felixpy.ipsets import SetSpec, named_port_set, selector_set, service_set
from felixpy.model import PortRange, Rule, Side

IMPLIED_VERSION = {"icmp": 4, "icmpv6": 6}
"""Protocol names that bind a rule to a family; the numbers 1 and 58 do not."""

EVERYONE = "all()"


class ActiveSide(Struct, frozen=True, kw_only=True):
    """Source or destination of an active rule, with separate positive and negated criteria.

    `port_sets` hold (address, port) pairs of a named port, `service_sets` those of a service.
    """

    nets: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()
    sets: tuple[SetSpec, ...] = ()
    port_sets: tuple[SetSpec, ...] = ()
    service_sets: tuple[SetSpec, ...] = ()
    not_nets: tuple[str, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    not_sets: tuple[SetSpec, ...] = ()
    not_port_sets: tuple[SetSpec, ...] = ()

    def all_sets(self) -> Iterator[SetSpec]:
        for specs in (self.sets, self.port_sets, self.service_sets, self.not_sets, self.not_port_sets):
            yield from specs


class ActiveRule(Struct, frozen=True, kw_only=True):
    """A rule of an active policy or profile. `number` is its position in the list of its direction."""

    number: int
    rule: Rule
    ip_version: int | None
    source: ActiveSide
    destination: ActiveSide

    def all_sets(self) -> Iterator[SetSpec]:
        yield from self.source.all_sets()
        yield from self.destination.all_sets()


def activate(number: int, rule: Rule) -> ActiveRule:
    """The active form of a rule, with the sets that it needs."""
    implied = IMPLIED_VERSION.get(rule.protocol) if isinstance(rule.protocol, str) else None
    return ActiveRule(
        number=number,
        rule=rule,
        ip_version=rule.ip_version or implied,
        source=_activate_side(rule.source, rule.protocol, is_source=True),
        destination=_activate_side(rule.destination, rule.protocol, is_source=False),
    )


def _activate_side(side: Side, protocol: str | int | None, *, is_source: bool) -> ActiveSide:
    """The active form of a side. A negated selector is merged into a positive one.

    A selector set is not needed if only named ports are matched.
    """
    positive, negative = side.selector, side.not_selector
    if positive and negative:
        positive, negative = f"({positive}) && (!({negative}))", ""
    ports = tuple(port for port in side.ports if isinstance(port, PortRange))
    names = [port for port in side.ports if isinstance(port, str)]
    not_names = [port for port in side.not_ports if isinstance(port, str)]
    sets = [selector_set(positive)] if positive and (ports or not names) else []
    if side.service and is_source:
        sets.append(service_set(side.service, with_ports=False))
    return ActiveSide(
        nets=side.nets,
        ports=ports,
        sets=tuple(sets),
        port_sets=tuple(named_port_set(positive or EVERYONE, protocol, name) for name in names),
        service_sets=(service_set(side.service, with_ports=True),) if side.service and not is_source else (),
        not_nets=side.not_nets,
        not_ports=tuple(port for port in side.not_ports if isinstance(port, PortRange)),
        not_sets=(selector_set(negative),) if negative else (),
        not_port_sets=tuple(named_port_set(positive or EVERYONE, protocol, name) for name in not_names),
    )
