"""Answers that stand on flows: what Ingresses and routes open, who reaches which Service, what is exposed.

controllers   the pods that serve Ingresses and routes, where the input has them
routes        from ingress controllers to the pods behind Services
clients       which clients reach which port of a Service
analysis      workloads that nothing protects, and what others that are not in the input may do
report        all of it as text and JSON
"""

from __future__ import annotations

from felixpy.exposure.routes import RouteFlows, route_flows

__all__ = ["RouteFlows", "route_flows"]
