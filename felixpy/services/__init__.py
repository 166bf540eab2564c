"""Which endpoints a client of a Service reaches, as kube-proxy's iptables mode decides it.

    endpoints   who stands behind a port of a Service: EndpointSlices, or else the pods that the selector selects
    proxy       which of them a node takes for a connection, and whether the source address is rewritten
    directory   Services by name and address, node ports and hostPorts

Pure: everything follows from the Services, EndpointSlices and pods of a cluster. (kubernetes: pkg/proxy/iptables/
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
