"""Exposure and routes as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from felixpy.exposure.analysis import Exposure, Open
from felixpy.exposure.routes import Reached
from felixpy.flows.presentation.flow import Peer


def route_json(reached: Reached) -> dict[str, Any]:
    """A connection that a route needs; without `source` it comes from a controller that is not in the input."""
    route = reached.route
    found: dict[str, Any] = {
        "route": {"kind": route.kind, "namespace": route.namespace, "name": route.name},
        "service": reached.service,
        "port": reached.port,
        "address": reached.endpoint.address,
        "targetPort": reached.endpoint.port,
        "protocol": reached.protocol.upper(),
        "allowed": reached.allowed,
    }
    if reached.source:
        found["source"] = reached.source
    if reached.endpoint.pod:
        found["pod"] = "/".join(reached.endpoint.pod)
    return found


ARROWS = {"ingress": "<=", "egress": "=>"}
HEADINGS = {"ingress": "may be reached by", "egress": "may reach"}


def exposure_lines(found: Exposure) -> Iterator[str]:
    """Unprotected workloads, then for each direction ``shop/web <= pods with app=x in namespace shop : TCP 80``."""
    yield "not protected by any policy:"
    for peer, directions in found.unprotected:
        yield f"  {peer} : {' and '.join(directions)}"
    if not found.unprotected:
        yield "  nothing"
    several = len({each.family for each in found.opened}) > 1
    for direction, heading in HEADINGS.items():
        yield ""
        yield f"{heading} others, as far as its own policies say ({direction}):"
        told = [_open_line(each, several=several) for each in found.opened if each.direction == direction]
        yield from dict.fromkeys(told) if told else ["  nothing"]


def _open_line(each: Open, *, several: bool) -> str:
    only = f" (IPv{each.family})" if several else ""
    return f"  {each.workload} {ARROWS[each.direction]} {each.other} : {each.traffic}{only}"


def exposure_json(found: Exposure) -> dict[str, Any]:
    """``{"unprotected": […], "exposed": […]}``; a peer is labels of pods and namespaces, or ranges of addresses."""
    return {
        "unprotected": [
            {"workload": peer.json(), "directions": list(directions)} for peer, directions in found.unprotected
        ],
        "exposed": [
            {
                "workload": each.workload.json(),
                "direction": each.direction,
                "peer": _other(each),
                "family": each.family,
                "connection": str(each.traffic),
                **each.traffic.json(),
            }
            for each in found.opened
        ],
    }


def _other(each: Open) -> dict[str, object]:
    if isinstance(each.other, Peer):
        return each.other.json()
    return {"kind": "AnyPod", "words": str(each.other), **each.other.json()}
