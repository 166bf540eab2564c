"""Criteria for one packet: a function for each class of `felixpy.netfilter.criteria`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from felixpy.netfilter.criteria import (
    AddressIn,
    Assumed,
    Constant,
    Criterion,
    IcmpTypes,
    InSet,
    Interface,
    Local,
    Marked,
    Masked,
    Ports,
    Protocol,
    ReversePath,
    TcpFlags,
    Test,
    Tracked,
)
from felixpy.netfilter.numbers import Range
from felixpy.walk.members import SetLibrary, UnknownSet
from felixpy.walk.run import PacketRun
from felixpy.walk.run import Test as Check


class Unknown(Exception):
    """A criterion that is not understood."""


def never(run: PacketRun) -> bool:
    return False


def make_check(test: Test, sets: SetLibrary) -> Check | None:
    """The function that tests a packet; None if all packets match. Raises Unknown."""
    make = CHECKS.get(type(test.criterion))
    if make is None:
        raise Unknown(getattr(test.criterion, "reason", str(test.criterion)))
    try:
        check = make(test.criterion, sets)
    except UnknownSet as wrong:
        raise Unknown(f"set: {wrong}") from wrong
    return negate(check) if test.negated else check


def negate(check: Check | None) -> Check:
    if check is None:
        return never
    positive = check
    return lambda run: not positive(run)


def every(checks: Iterable[Check | None]) -> Check | None:
    """The conjunction of checks, without those that always hold."""
    real = [check for check in checks if check is not None]
    if len(real) < 2:
        return real[0] if real else None
    first, *others = real
    if len(others) == 1:
        second = others[0]
        return lambda run: first(run) and second(run)
    return lambda run: all(check(run) for check in real)


# --- addresses and interfaces


def _addresses(criterion: AddressIn, sets: SetLibrary) -> Check:
    source = criterion.side == "source"
    if len(criterion.ranges) == 1:
        ((first, last),) = criterion.ranges
        if source:
            return lambda run: first <= run.source <= last
        return lambda run: first <= run.destination <= last
    ranges = criterion.ranges
    return lambda run: any(low <= (run.source if source else run.destination) <= high for low, high in ranges)


def _masked(criterion: Masked, sets: SetLibrary) -> Check:
    bits, mask = criterion.bits, criterion.mask
    if criterion.side == "source":
        return lambda run: run.source & mask == bits
    return lambda run: run.destination & mask == bits


def _listed(criterion: InSet, sets: SetLibrary) -> Check:
    return sets.get(criterion.name).test(list(criterion.sides), sets.family)


def _interface(criterion: Interface, sets: SetLibrary) -> Check:
    name, incoming = criterion.pattern, criterion.incoming
    if name.endswith("+"):
        prefix = name[:-1]
        if incoming:
            return lambda run: run.in_interface.startswith(prefix)
        return lambda run: run.out_interface.startswith(prefix)
    if incoming:
        return lambda run: run.in_interface == name
    return lambda run: run.out_interface == name


def _local(criterion: Local, sets: SetLibrary) -> Check:
    source, limit = criterion.side == "source", criterion.limit

    def check(run: PacketRun) -> bool:
        address = run.source if source else run.destination
        if limit == "out":
            return address in run.local.get(run.out_interface, ())
        if limit == "in":
            return address in run.local.get(run.in_interface, ())
        return run.is_local(address)

    return check


def _reverse_path(criterion: ReversePath, sets: SetLibrary) -> Check:
    if criterion.fails:
        return lambda run: run.spoofed
    return lambda run: not run.spoofed


# --- protocols, ports, types and flags


def _protocol(criterion: Protocol, sets: SetLibrary) -> Check:
    number = criterion.number
    return lambda run: run.protocol == number


def _ports(criterion: Ports, sets: SetLibrary) -> Check:
    singles, wide = _parts(criterion.ranges)
    if criterion.sides == ("destination",):
        if not wide:
            return lambda run: run.port in singles
        return lambda run: run.port in singles or any(low <= run.port <= high for low, high in wide)
    if criterion.sides == ("source",):
        return lambda run: run.source_port in singles or any(low <= run.source_port <= high for low, high in wide)
    ranges = criterion.ranges
    return lambda run: any(low <= run.source_port <= high or low <= run.port <= high for low, high in ranges)


def _parts(ranges: Iterable[Range]) -> tuple[frozenset[int], list[Range]]:
    """Single ports, and ranges of several."""
    found = list(ranges)
    return frozenset(low for low, high in found if low == high), [part for part in found if part.first != part.last]


def _icmp(criterion: IcmpTypes, sets: SetLibrary) -> Check:
    first, last = criterion.range
    return lambda run: first <= run.icmp_type << 8 | run.icmp_code <= last


def _flags(criterion: TcpFlags, sets: SetLibrary) -> Check:
    examined, wanted = criterion.examined, criterion.wanted
    return lambda run: run.flags & examined == wanted


# --- marks and connections


def _marked(criterion: Marked, sets: SetLibrary) -> Check:
    mark, mask = criterion.mark, criterion.mask
    if criterion.connection:
        return lambda run: run.connection_mark & mask == mark
    return lambda run: run.mark & mask == mark


def _tracked(criterion: Tracked, sets: SetLibrary) -> Check:
    states = criterion.states
    return lambda run: run.ct & states != 0


# --- what no packet decides


def _constant(criterion: Constant | Assumed, sets: SetLibrary) -> Check | None:
    return None if criterion.holds else never


CHECKS: Mapping[type[Criterion], Callable[[Any, SetLibrary], Check | None]] = {
    AddressIn: _addresses,
    Masked: _masked,
    InSet: _listed,
    Interface: _interface,
    Local: _local,
    ReversePath: _reverse_path,
    Protocol: _protocol,
    Ports: _ports,
    IcmpTypes: _icmp,
    TcpFlags: _flags,
    Marked: _marked,
    Tracked: _tracked,
    Constant: _constant,
    Assumed: _constant,
}
"""All criteria but `NotUnderstood`, which has no answer."""
