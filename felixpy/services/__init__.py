"""Which endpoints a client of a Service reaches, as kube-proxy's iptables mode decides it.

    endpoints   the endpoints of a port of a Service: from EndpointSlices, else the pods that the selector matches
    proxy       the endpoints that a node may choose for a connection, and whether it rewrites the source address
    directory   Services by name and address, node ports and hostPorts

Pure functions of the Services, EndpointSlices and pods of a cluster. (kubernetes: pkg/proxy/iptables/
proxier.go, pkg/proxy/topology.go, pkg/proxy/endpointslicecache.go; staging/src/k8s.io/endpointslice)
"""

from __future__ import annotations

from felixpy.services.directory import ServiceAddress, ServiceDirectory
from felixpy.services.endpoints import ServiceEndpoint, ServiceEndpoints
from felixpy.services.proxy import Choice, Client, Via, choose

__all__ = [
    "Choice",
    "Client",
    "ServiceAddress",
    "ServiceDirectory",
    "ServiceEndpoint",
    "ServiceEndpoints",
    "Via",
    "choose",
]
