"""What stands on flows, as text and JSON."""

from __future__ import annotations

from typing import Any

from felixpy.exposure.routes import Reached


def route_json(reached: Reached) -> dict[str, Any]:
    """A connection that a route asks for; without `source` it comes from a controller that is not in the input."""
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
