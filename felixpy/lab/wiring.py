"""Make and remove network namespaces, veth pairs, addresses, routes and sysctls.

What to make is decided in `topology`. A thread that enters a namespace does the work there, so no process is started.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from felixpy.errors import EnvironmentMissing, KernelRefused
from felixpy.kernel import NAMESPACES, open_machine
from felixpy.lab.layout import belongs, family_of
from felixpy.lab.topology import LinkRoute, Space, Sysctls, Topology, Veth, VethEnd

SYSCTLS = Path("/proc/sys")
IPV6 = SYSCTLS / "net" / "ipv6"

KINDS = {"unicast": 1, "local": 2, "unreachable": 7}
SCOPES = {"unicast": 253, "local": 254, "unreachable": 0}
"""Of routes without a gateway; those with one are global. (include/uapi/linux/rtnetlink.h)"""

ONLINK = 4
"""RTNH_F_ONLINK: the gateway is there although no address says so."""

NODAD = 2
BOOT = 3
"""RTPROT_BOOT, the protocol of routes that people and Felix add."""

_LACKING = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EROFS})
_GONE = frozenset({errno.ESRCH, errno.ENODEV, errno.ENOENT, errno.ENETDOWN})
_ADVICE = {
    errno.EOPNOTSUPP: "this kernel lacks it; veth pairs need CONFIG_VETH (modprobe veth)",
    errno.EPERM: "root alone may; in a container that takes --privileged",
    errno.EROFS: "in a container that takes --privileged",
}


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn errors of the kernel into felixpy's exceptions; `doing` names the operation in the message."""
    try:
        yield
    except (NetlinkError, OSError) as wrong:
        code = wrong.code if isinstance(wrong, NetlinkError) else wrong.errno or 0
        kind = EnvironmentMissing if code in _LACKING else KernelRefused
        advice = f" ({_ADVICE[code]})" if code in _ADVICE else ""
        raise kind(f"{doing}: {os.strerror(code)}{advice}") from wrong


def existing(lab: str) -> list[str]:
    """Existing network namespaces with a name of a lab's, sorted."""
    names = (path.name for path in NAMESPACES.iterdir()) if NAMESPACES.is_dir() else ()
    return sorted(name for name in names if belongs(name, lab))


def links(names: Collection[str], lookup: Collection[str]) -> dict[str, set[str]]:
    """The interfaces of namespaces by name; only those in `lookup` are entered, the others have an empty set."""
    found: dict[str, set[str]] = {}
    for name in names:
        found[name] = set()
        if name in lookup:
            with open_machine(name) as machine:
                found[name] = {link for _, link in machine.inside(socket.if_nameindex)}
    return found


def build(new: Topology) -> None:
    """Make everything in a topology.

    First the namespaces, each with the near ends of its pairs and their routes, then everything else. Raises
    EnvironmentMissing if the kernel lacks a feature or the user a permission, KernelRefused for all else.
    """
    if new.empty:
        return
    ends = {(veth.near.netns, veth.near.name) for veth in new.veths}
    pairs, far, early, late = _by_place(), _by_place(), _by_place(), _by_place()
    for veth in new.veths:
        pairs[veth.near.netns].append(veth)
        far[veth.far.netns].append(veth.far)
    for route in new.routes:
        (early if (route.netns, route.device) in ends else late)[route.netns].append(route)
    with open_machine() as here:
        for space in new.spaces:
            with explained(f"network namespace {space.netns}"), here.scratch() as machine:
                machine.inside(partial(_found, space))
                machine.inside(partial(_connect, pairs.pop(space.netns, ()), early.pop(space.netns, ())))
    for name in sorted({*pairs, *early}):
        _visit(name, partial(_connect, pairs[name], early[name]))
    for name in sorted({*far, *late}):
        _visit(name, partial(_settle, far[name], late[name]))


def demolish(gone: Topology) -> None:
    """Remove everything in a topology; parts that do not exist are ignored."""
    ends, routes = _by_place(), _by_place()
    for veth in gone.veths:
        ends[veth.far.netns].append(veth.far.name)
    for route in gone.routes:
        routes[route.netns].append(route)
    for name in sorted({*ends, *routes}):
        _visit(name, partial(_unsettle, ends[name], routes[name]))
    remove(space.netns for space in gone.spaces)


def remove(names: Iterable[str]) -> None:
    """Remove namespaces by name; the kernel frees them as soon as no process is in them."""
    for name in names:
        with explained(f"network namespace {name}"), suppress(FileNotFoundError):
            netns.remove(name)


def become(name: str, words: Sequence[str]) -> NoReturn:
    """Replace this process by a command in a namespace. Raises EnvironmentMissing if the command is not found."""
    with explained(f"network namespace {name}"):
        netns.setns(name, flags=0)
    sys.stdout.flush()
    # Python ignores SIGPIPE, and the command would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(words[0], list(words))  # noqa: S606 - which command it is, is the caller's affair
    except OSError as wrong:
        raise EnvironmentMissing(f"{words[0]}: {wrong.strerror}") from wrong


def _by_place() -> defaultdict[str, list[Any]]:
    return defaultdict(list)


def _visit(name: str, task: Callable[[], None]) -> None:
    with open_machine(name) as machine, explained(f"network namespace {name}"):
        machine.inside(task)


# --- inside a namespace


def _found(space: Space) -> None:
    """Set the name and the sysctls of this thread's namespace."""
    netns.attach(space.netns, "thread-self")
    _write(space.sysctls)
    with IPRoute() as netlink:
        netlink.link("set", index=socket.if_nametoindex("lo"), state="up")


LOWEST_INDEX = 100_000
"""Near ends have numbers above, far ends those that the kernel chooses from 1 on.

Of a pair whose ends have the same number the kernel takes its time to notice that it is up, and does not speak IPv6
there until then. (net/core/link_watch.c, linkwatch_urgent_event)
"""


def _connect(pairs: Iterable[Veth], routes: Iterable[LinkRoute]) -> None:
    """Make pairs whose near end is here; an existing interface of that name, left from a broken pair, is replaced."""
    if not pairs and not routes:
        return
    there = {name: index for index, name in socket.if_nameindex()}
    first = max(LOWEST_INDEX, *there.values()) + 1
    with IPRoute() as netlink:
        for index, (near, far) in enumerate(pairs, start=first):
            if near.name in there:
                with _unless_gone():
                    netlink.link("del", index=there[near.name])
            peer = {"ifname": far.name, "net_ns_fd": far.netns, **({"address": far.mac} if far.mac else {})}
            netlink.link("add", ifname=near.name, kind="veth", index=index, peer=peer)
            _raise(netlink, near)
        _route(netlink, routes)


def _settle(ends: Iterable[VethEnd], routes: Iterable[LinkRoute]) -> None:
    """Bring up ends that were made in another namespace, and add routes."""
    with IPRoute() as netlink:
        for end in ends:
            _raise(netlink, end)
        _route(netlink, routes)


def _unsettle(ends: Iterable[str], routes: Iterable[LinkRoute]) -> None:
    with IPRoute() as netlink:
        for route in routes:
            with _unless_gone():
                netlink.route("del", **_spelt(route))
        for name in ends:
            with _unless_gone():
                netlink.link("del", index=socket.if_nametoindex(name))


@contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except NetlinkError as wrong:
        if wrong.code not in _GONE:
            raise
    except OSError as wrong:
        # The C library looks names up without saying why it found none.
        if wrong.errno is not None and wrong.errno not in _GONE:
            raise


def _raise(netlink: Any, end: VethEnd) -> None:
    """Set the sysctls and addresses of an interface and bring it up."""
    index = socket.if_nametoindex(end.name)
    _write(end.sysctls)
    for text in filter(_usable, end.addresses):
        address, _, length = text.partition("/")
        extra = {"flags": NODAD} if family_of(address) == 6 else {}
        netlink.addr("add", index=index, address=address, prefixlen=int(length), **extra)
    netlink.link("set", index=index, state="up")


def _route(netlink: Any, routes: Iterable[LinkRoute]) -> None:
    """Add routes; those with gateways last, as gateways are reached through the others."""
    for route in sorted(routes, key=lambda route: bool(route.gateway)):
        if _usable(route.destination):
            netlink.route("replace", **_spelt(route))


def _spelt(route: LinkRoute) -> dict[str, Any]:
    """The arguments of pyroute2 for a route."""
    four = family_of(route.destination) == 4
    spelt: dict[str, Any] = {
        "family": socket.AF_INET if four else socket.AF_INET6,
        "dst": route.destination,
        "type": KINDS[route.kind],
        "table": route.table,
        "proto": BOOT,
    }
    if route.device:
        spelt["oif"] = socket.if_nametoindex(route.device)
    if route.metric:
        spelt["priority"] = route.metric
    if route.gateway:
        spelt |= {"gateway": route.gateway, "flags": ONLINK if route.onlink else 0}
    elif four:
        spelt["scope"] = SCOPES[route.kind]
    return spelt


def _usable(destination: str) -> bool:
    """Whether this kernel supports the family of a destination."""
    return family_of(destination) == 4 or IPV6.exists()


def _write(sysctls: Sysctls) -> None:
    """Write sysctls, without those that the kernel has no file for."""
    for path, value in sysctls:
        with suppress(FileNotFoundError):
            (SYSCTLS / path).write_text(value)
