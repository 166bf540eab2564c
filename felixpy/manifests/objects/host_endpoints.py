"""HostEndpoint: its schema, and its conversion.

(libcalico-go/lib/validator/v3; felix/calc: validation filter)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.objects.criteria import OUT_OF_RANGE
from felixpy.manifests.objects.pod_annotations import DSCP
from felixpy.manifests.validation.addresses import address, network
from felixpy.manifests.validation.findings import Complaint, Finding, Ignored, shown
from felixpy.manifests.validation.metadata import document, subdomain
from felixpy.manifests.validation.names import is_endpoint_name
from felixpy.manifests.validation.quantities import dscp
from felixpy.manifests.validation.shapes import ListOf, Object, Scalar, integer, text
from felixpy.model import HostEndpoint, NamedPort, Source

Data = Mapping[str, Any]

_INTERFACE = re.compile(r"\*|[a-zA-Z0-9_.-]+", re.ASCII)
PROTOCOLS = ("TCP", "UDP", "SCTP")
ACCEPTED = frozenset({*PROTOCOLS, 6, 17, 132, "6", "17", "132"})
"""What Calico's API takes; Felix takes no numbers."""

IGNORED = "Felix then ignores the whole host endpoint"
OPEN = "no policy protects the interface"
IN_SET = "the API server refuses it because the list is a set; calicoctl does not look"


def _interface(given: str) -> Complaint | None:
    if len(given) > 15:
        return Complaint(f"{shown(given)}: at most 15 characters", "the kernel has no longer names")
    if given and not _INTERFACE.fullmatch(given):
        return Complaint(f"{shown(given)}: not the name of an interface", '"*" means all interfaces')
    return None


def _address(given: str) -> Complaint | None:
    if address(given) is not None:
        return None
    if network(given) is not None:
        return Complaint(f"{shown(given)}: an address without prefix length is expected")
    return Complaint(f"{shown(given)}: not an address")


def _already_listed(value: object) -> Complaint:
    return Complaint(f"{shown(value)} is already in the list", IN_SET)


def _protocol(value: int | str) -> Complaint | None:
    return None if value in ACCEPTED else Complaint(f"{shown(value)}: {', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}")


def _port_name(given: str) -> Complaint | None:
    form = 'at most 128 letters, digits, "_", "." and "-"'
    return None if is_endpoint_name(given) else Complaint(f"{shown(given)}: not a valid port name", form)


def _found_somehow(spec: Data, path: Path) -> Iterator[Finding]:
    if not spec.get("interfaceName") and not spec.get("expectedIPs"):
        yield Finding(path, "interfaceName or expectedIPs is needed")


HOST_ENDPOINT = document(
    Object(
        {
            "node": text(subdomain),
            "interfaceName": text(_interface),
            "expectedIPs": ListOf(text(_address), "addresses", _already_listed),
            "profiles": ListOf(text(subdomain), "profiles", _already_listed),
            "ports": ListOf(
                Object(
                    {
                        "name": text(_port_name),
                        "protocol": Scalar("a protocol's name or number", (int, str), _protocol),
                        "port": integer(1, 65535, OUT_OF_RANGE.removesuffix(" from 1 to 65535")),
                    },
                    required=("name", "protocol", "port"),
                ),
                "ports",
            ),
        },
        required=("node",),
        relations=(_found_somehow,),
    ),
    required=("spec",),
)


def host_endpoint(data: Data, source: Source) -> HostEndpoint:
    """A host endpoint with its labels as they are: no namespace, no orchestrator.

    Raises Ignored for values that the API accepts and Felix refuses: protocols of ports as numbers, long profile names.
    """
    metadata, spec = data["metadata"], data["spec"]
    for index, name in enumerate(spec.get("profiles", ())):
        if not is_endpoint_name(name):
            raise Ignored(("spec", "profiles", index), f"{shown(name)}: longer than 128 characters; {IGNORED}", OPEN)
    ports = []
    for index, port in enumerate(spec.get("ports", ())):
        if port["protocol"] not in PROTOCOLS:
            path = ("spec", "ports", index, "protocol")
            raise Ignored(path, f"{shown(port['protocol'])} is a number; {IGNORED}", OPEN)
        ports.append(NamedPort(port["name"], port["protocol"].lower(), port["port"]))
    found = map(address, spec.get("expectedIPs", ()))
    return HostEndpoint(
        name=metadata["name"],
        node=spec["node"],
        interface=spec.get("interfaceName", ""),
        addresses=tuple(own for own in found if own is not None),
        labels=metadata.get("labels", {}),
        profiles=tuple(spec.get("profiles", ())),
        ports=tuple(ports),
        source=source,
        dscp=dscp(metadata.get("annotations", {}).get(DSCP, "x")),
    )
