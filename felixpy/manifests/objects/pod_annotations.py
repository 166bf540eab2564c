"""The annotations of pods that Calico reads: floating addresses, allowed source prefixes, limits, DSCP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from felixpy.manifests.validation.addresses import network, packed, spelled
from felixpy.manifests.validation.quantities import dscp, quantity
from felixpy.model import Qos

Annotations = Mapping[str, str]

FLOATING = "cni.projectcalico.org/floatingIPs"
SOURCE_PREFIXES = "cni.projectcalico.org/allowedSourcePrefixes"
DSCP = "qos.projectcalico.org/dscp"
QOS = "qos.projectcalico.org/"


class BadAnnotation(ValueError):
    """An annotation that makes Calico drop the pod; the message says why."""


class Limit(NamedTuple):
    """A limit of `Qos` in an annotation: its range, and the field of another limit that it needs."""

    field: str
    annotation: str
    low: int
    high: int
    needs: str = ""


LIMITS = (
    Limit("ingress_packet_rate", QOS + "ingressPacketRate", 1, 10_000),
    Limit("egress_packet_rate", QOS + "egressPacketRate", 1, 10_000),
    Limit("ingress_packet_burst", QOS + "ingressPacketBurst", 1, 10_000, needs="ingress_packet_rate"),
    Limit("egress_packet_burst", QOS + "egressPacketBurst", 1, 10_000, needs="egress_packet_rate"),
    Limit("ingress_connections", QOS + "ingressMaxConnections", 1, 2**32 - 1),
    Limit("egress_connections", QOS + "egressMaxConnections", 1, 2**32 - 1),
)
"""Those that become rules; bandwidths are enforced elsewhere. (libcalico-go/lib/backend/k8s/conversion)"""

DEFAULT_BURST = 5


def qos(annotations: Annotations) -> Qos | None:
    """The pod's limits; None if it has none.

    A value out of range is replaced by the nearest valid one; a text that is not a quantity is ignored.

    >>> qos({"qos.projectcalico.org/ingressPacketRate": "20k"}).ingress_packet_rate
    10000
    """
    values: dict[str, int] = {}
    for limit in LIMITS:
        number = quantity(annotations.get(limit.annotation, ""))
        if number is not None and (not limit.needs or limit.needs in values):
            values[limit.field] = min(max(number, limit.low), limit.high)
        elif limit.needs in values:
            values[limit.field] = DEFAULT_BURST
    return Qos(**values) if values else None


def odd_limits(annotations: Annotations) -> Iterator[tuple[str, str]]:
    """(annotation, effect) for annotations on limits and DSCP that Calico changes or ignores."""
    for limit in LIMITS:
        text = annotations.get(limit.annotation, "")
        number = quantity(text)
        if text and number is None:
            yield limit.annotation, f'"{text}" is not a quantity; Calico ignores it'
        elif number is not None and not limit.low <= number <= limit.high:
            used = min(max(number, limit.low), limit.high)
            yield limit.annotation, f'"{text}" is not between {limit.low} and {limit.high}; Calico takes {used}'
        elif number is not None and limit.needs and quantity(annotations.get(_rate(limit), "")) is None:
            yield limit.annotation, "has no effect without a packet rate"
    value = annotations.get(DSCP)
    if value is not None and dscp(value) is None:
        yield DSCP, f'"{value}" is no DSCP value (a number from 0 to 63 or a name such as AF41); Calico ignores it'


def _rate(limit: Limit) -> str:
    return next(other.annotation for other in LIMITS if other.field == limit.needs)


def _text_list(text: str) -> list[str]:
    try:
        items: Any = json.loads(text)
    except (ValueError, RecursionError):
        items = None
    if text.strip() == "null":
        return []
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise BadAnnotation(f"'{text}' is not a JSON list of texts")
    return items


def floating(annotations: Annotations, addresses: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(floating address, the pod's own address of the same family) pairs.

    Raises BadAnnotation if the list is not JSON.
    """
    text = annotations.get(FLOATING)
    if text is None or not addresses:
        return ()
    pairs = []
    for external in _text_list(text):
        own = next((address for address in reversed(addresses) if (":" in address) == (":" in external)), None)
        raw = packed(external)
        if own is not None and raw is not None:
            pairs.append((own, spelled(raw)))
    return tuple(pairs)


def source_prefixes(annotations: Annotations) -> tuple[str, ...]:
    """CIDRs from which the pod may send besides its own addresses, masked.

    Raises BadAnnotation if the list is not JSON or an entry is not a CIDR; a bare address is not a CIDR.
    """
    text = annotations.get(SOURCE_PREFIXES)
    if not text:
        return ()
    nets = []
    for item in _text_list(text):
        net = network(item)
        if net is None:
            need = "; a prefix length is needed" if packed(item) else ""
            raise BadAnnotation(f'"{item}" is not a CIDR{need}')
        nets.append(str(net))
    return tuple(nets)
