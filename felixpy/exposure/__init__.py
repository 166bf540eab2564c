"""Answers computed from flows: what Ingresses and routes open, which clients reach Services, what is exposed.

controllers   the pods that serve Ingresses and routes, if the input has them
routes        connections from ingress controllers to the pods behind Services
clients       which clients reach which port of a Service
decisions     which rules decide about connections
strangers     pods that are not in the input, one for each selector
analysis      unprotected workloads, and what is open to pods that are not in the input
report        text and JSON
"""

from __future__ import annotations

from felixpy.exposure.routes import RouteFlows, route_flows

__all__ = ["RouteFlows", "route_flows"]
