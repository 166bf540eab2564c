"""Validation of fields in Calico's rules: selectors, networks, ports, protocols.

(libcalico-go/lib/validator/v3)
"""

from __future__ import annotations

import re
from collections.abc import Callable

from felixpy.manifests.validation.addresses import network, network_or_address, packed
from felixpy.manifests.validation.findings import Complaint, shown
from felixpy.manifests.validation.names import is_label_value, is_port_name, is_qualified_name
from felixpy.manifests.validation.shapes import ListOf, Scalar, text
from felixpy.remembered import remembered
from felixpy.selector import Everything, SelectorError, parse, uses_global

GUARDS = (
    "calicoctl and Calico's API server refuse it; the projectcalico.org/v3 CRD alone lets it in, and Felix then "
    "ignores the whole object"
)
"""What becomes of a policy with a selector that does not parse."""


def node_selector(given: str) -> Complaint | None:
    """A selector of nodes or namespaces outside policies."""
    try:
        parse(given)
    except SelectorError as wrong:
        return Complaint(wrong.reason, wrong.hint, excerpt=wrong.excerpt)
    return None


@remembered(1 << 14)
def selector(given: str) -> Complaint | None:
    """A selector of endpoints, in which ``global()`` is not allowed."""
    complaint = node_selector(given)
    if complaint:
        return complaint._replace(hint=f"{complaint.hint}; {GUARDS}" if complaint.hint else GUARDS)
    if uses_global(parse(given)):
        return Complaint("global() is only allowed in a rule's namespaceSelector", excerpt=given)
    return None


@remembered(1 << 12)
def rule_namespaces(given: str) -> Complaint | None:
    """A rule's namespaceSelector: ``global()``, which must be alone, matches objects without a namespace."""
    complaint = selector(given)
    if complaint and complaint.reason.startswith("global()"):
        if isinstance(parse(given), Everything):
            return None
        return Complaint("global() cannot be combined with other selectors", excerpt=given)
    return complaint


SELECTOR = text(selector)
NODE_SELECTOR = text(node_selector)
RULE_NAMESPACES = text(rule_namespaces)


def loose_cidr(given: str) -> Complaint | None:
    """A network in a ClusterNetworkPolicy, with prefix length; host bits are dropped."""
    return None if network(given) else Complaint(f"{shown(given)}: not a valid CIDR")


def cidr(given: str) -> Complaint | None:
    """A network in a rule: with prefix length, without host bits."""
    net = network(given)
    if net is None:
        if packed(given):
            return Complaint(f"{shown(given)}: a prefix length is needed", f"such as {network_or_address(given)}")
        return Complaint(f"{shown(given)}: not a valid CIDR")
    if not net.masked:
        return Complaint(f"{shown(given)}: host bits are set", f"{net} was probably meant")
    return None


def excluded_cidr(given: str) -> Complaint | None:
    """A network among notNets."""
    if given in ("0.0.0.0/0", "::/0"):
        return Complaint(f"{given}: excludes every address, so the rule can never match")
    return cidr(given)


def cidr_or_address(given: str) -> Complaint | None:
    """A member of a network set."""
    if network_or_address(given) is None:
        return Complaint(f"{shown(given)}: neither a CIDR nor an address")
    return None


def already_there(value: object) -> Complaint:
    """The complaint on a repeated entry that Calico accepts and keeps twice."""
    return Complaint(f"{shown(value)} is already in the list", severity="warning")


def given_twice(value: object) -> Complaint:
    """The complaint on a repeated entry that Calico refuses."""
    return Complaint(f"{shown(value)} is given twice")


def nets(complain: Callable[[str], Complaint | None]) -> ListOf:
    """A list of networks."""
    return ListOf(text(complain), repeated=already_there)


_RANGE = re.compile(r"(\d+)(?::(\d+))?", re.ASCII)
_DASHED = re.compile(r"(\d+)\s*-\s*(\d+)", re.ASCII)
PORT_NAME = '1 to 15 of a-z, 0-9 and "-", at least one letter'
OUT_OF_RANGE = "ports go from 1 to 65535"


@remembered(1 << 12, typed=True)
def port(value: int | str) -> Complaint | None:
    """A port, a range ``low:high`` or the name of a port."""
    found = _RANGE.fullmatch(str(value))
    if found:
        first, last = int(found[1]), int(found[2] or found[1])
        if not (1 <= first <= 65535 and 1 <= last <= 65535):
            return Complaint(f"{shown(value)}: {OUT_OF_RANGE}")
        return Complaint(f"{shown(value)}: the range ends before it starts") if first > last else None
    if isinstance(value, int):
        return Complaint(f"{value}: {OUT_OF_RANGE}")
    if is_port_name(value):
        return None
    dashed = _DASHED.fullmatch(value)
    hint = f'if a range was meant, write "{dashed[1]}:{dashed[2]}"' if dashed else PORT_NAME
    return Complaint(f"{shown(value)}: not a valid port name", hint)


PORTS = ListOf(Scalar("a port, a range or a name", (int, str), port), "ports")

PROTOCOLS = ("TCP", "UDP", "SCTP", "UDPLite", "ICMP", "ICMPv6")
WITH_PORTS = frozenset({"TCP", "UDP", "SCTP", 6, 17, 132})
ICMP_VERSIONS = {"ICMP": 4, "ICMPv6": 6}
ICMP = frozenset({"ICMP", "ICMPv6", 1, 58})
NUMBERS = {"IGMP": 2, "IPIP": 4, "GRE": 47, "ESP": 50, "AH": 51, "OSPF": 89, "VRRP": 112, "L2TP": 115}
"""Protocols that people ask for by name although Calico only takes their numbers."""


@remembered(256, typed=True)
def protocol(value: int | str) -> Complaint | None:
    """A protocol by name, spelt exactly so, or by number."""
    if isinstance(value, int) or (value.isascii() and value.isdigit()):
        return None if 1 <= int(value) <= 255 else Complaint(f"{shown(value)}: protocol numbers go from 1 to 255")
    if value in PROTOCOLS:
        return None
    near = next((name for name in PROTOCOLS if name.lower() == value.lower()), "")
    number = NUMBERS.get(value.upper())
    hint = f"{near} was probably meant" if near else f"{value} is {number}" if number else ""
    known = f"{', '.join(PROTOCOLS)} or a number from 1 to 255"
    return Complaint(f"{shown(value)}: unknown protocol", "; ".join(filter(None, (known, hint))))


PROTOCOL = Scalar("a protocol's name or number", (int, str), protocol)


def number_of(value: int | str) -> int | str:
    """A protocol with digits read as a number."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


@remembered(1 << 14)
def label_key(given: str) -> Complaint | None:
    """The key of a label."""
    if is_qualified_name(given):
        return None
    form = 'at most 63 letters, digits, "-", "_" and ".", maybe behind a DNS name and "/"'
    return Complaint(f"{shown(given)} is not a valid label key", form)


@remembered(1 << 14)
def label_value(given: str) -> Complaint | None:
    """The value of a label."""
    if is_label_value(given):
        return None
    form = 'at most 63 letters, digits, "-", "_" and ".", beginning and ending with a letter or digit'
    return Complaint(f"{shown(given)} is not a valid label value", form)
