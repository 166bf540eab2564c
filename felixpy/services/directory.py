"""Services by name and by address, and the ports of nodes that lead to pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from ipaddress import ip_address
from typing import NamedTuple

from felixpy.errors import UsageError
from felixpy.frontends import Service, ServiceName, ServicePort
from felixpy.model import Cluster, HostPort, Workload
from felixpy.services.endpoints import NodeAddress, ServiceEndpoints
from felixpy.services.proxy import Via

STAND_IN = {4: int(ip_address("198.19.0.1")), 6: int(ip_address("2001:db8:198:19::1"))}
"""The first of the addresses for Services whose cluster IP is unknown; they are not used otherwise."""

KINDS = frozenset({"svc", "service", "services"})
VIA_WORDS: Mapping[Via, str] = {
    "cluster": "cluster IP",
    "external": "external IP",
    "balancer": "load balancer",
    "node": "node port",
}


class ServiceAddress(NamedTuple):
    """An address of a Service, and its kind."""

    service: Service
    via: Via


class ServiceDirectory:
    """Finds Services. `namespace` is that of bare names."""

    def __init__(self, cluster: Cluster, node_address: NodeAddress, namespace: str = "") -> None:
        self.cluster, self.namespace = cluster, namespace
        self.services: Mapping[ServiceName, Service] = cluster.services
        self.endpoints = ServiceEndpoints(cluster, node_address)

    def named(self, text: str) -> tuple[Service, str] | None:
        """The Service that a text names, and the pod name at the beginning of a DNS name, or "".

        ``svc/NAME``, ``NS/svc/NAME``, ``NAME.NS.svc`` with or without the domain of the cluster. None for texts of
        another form. Raises UsageError if there is no such Service, or several.
        """
        *head, name = text.split("/")
        if head and head[-1].lower() in KINDS and len(head) <= 2:
            return self._by_name(text, name, head[0] if len(head) == 2 else ""), ""
        labels = text.split(".")
        if "svc" in labels[2:4] and "/" not in text:
            *pod, name, namespace = labels[: labels.index("svc", 2)]
            return self._by_name(text, name, namespace), ".".join(pod)
        return None

    def _by_name(self, text: str, name: str, namespace: str) -> Service:
        space = namespace or self.namespace
        found = [each for key, each in self.services.items() if key.name == name and space in ("", key.namespace)]
        if len(found) == 1:
            return found[0]
        if found:
            spaces = ", ".join(sorted(each.name.namespace for each in found))
            raise UsageError(f"{text} is in several namespaces, write NAMESPACE/svc/{name}: {spaces}")
        names = [str(key) for key in self.services] + [key.name for key in self.services]
        close = get_close_matches(f"{space}/{name}" if space else name, names, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"{text}: no such service{hint}" if names else f"{text}: the input has no services")

    def at(self, address: str) -> ServiceAddress | None:
        """The Service with an address that kube-proxy handles, None if there is none."""
        return self._by_address.get(address)

    def proxied_balancer(self, address: str) -> Service | None:
        """The Service of a load balancer that forwards connections itself (ipMode Proxy)."""
        return next((each for each in self.services.values() if address in each.proxies), None)

    @cached_property
    def _by_address(self) -> Mapping[str, ServiceAddress]:
        found: dict[str, ServiceAddress] = {}
        for service in self.services.values():
            if not service.proxied:
                continue
            if not service.headless:
                several: tuple[tuple[Via, tuple[str, ...]], ...] = (
                    ("cluster", service.cluster_ips),
                    ("external", service.external_ips),
                    ("balancer", service.balancers),
                )
                for via, addresses in several:
                    for address in addresses:
                        found.setdefault(address, ServiceAddress(service, via))
        for address, service in self._stand_ins.items():
            found.setdefault(address, ServiceAddress(service, "cluster"))
        return found

    @cached_property
    def _stand_ins(self) -> Mapping[str, Service]:
        """Services by a made-up cluster IP, in families in which their real one is not in the input."""
        found = {}
        for start in STAND_IN.values():
            for number, name in enumerate(sorted(self.services)):
                service = self.services[name]
                if not service.headless and service.type != "ExternalName" and not service.cluster_ips:
                    found[str(ip_address(start + number))] = service
        return found

    def families(self, service: Service) -> list[int]:
        """The families of a Service."""
        if service.headless or not service.cluster_ips:
            known = [
                family
                for family in (4, 6)
                for port in service.ports[:1]
                if self.endpoints.behind(service, port, family)
            ]
            return list(service.families) or known or [4]
        return [6 if ":" in address else 4 for address in service.cluster_ips]

    def cluster_ip(self, service: Service, family: int) -> tuple[str, bool]:
        """The cluster IP of a Service in a family, and whether it is made up."""
        given = next((each for each in service.cluster_ips if (":" in each) == (family == 6)), "")
        if given:
            return given, False
        stands = (text for text, each in self._stand_ins.items() if each is service)
        return next((text for text in stands if (":" in text) == (family == 6)), ""), True

    # --- ports of nodes

    @cached_property
    def _node_ports(self) -> Mapping[tuple[str, int], tuple[Service, ServicePort]]:
        return {
            (port.protocol, port.node_port): (service, port)
            for service in self.services.values()
            for port in service.ports
            if port.node_port and service.proxied
        }

    def node_port(self, protocol: str, port: int) -> tuple[Service, ServicePort] | None:
        """The Service, and its port, with this NodePort."""
        return self._node_ports.get((protocol, port))

    @cached_property
    def _host_ports(self) -> Mapping[tuple[str, str, int], list[tuple[Workload, HostPort]]]:
        found: dict[tuple[str, str, int], list[tuple[Workload, HostPort]]] = defaultdict(list)
        for pod in self.cluster.workloads:
            for each in pod.host_ports:
                found[pod.node, each.protocol, each.port].append((pod, each))
        return found

    def host_port(self, node: str, address: str, protocol: str, port: int) -> tuple[Workload, HostPort] | None:
        """The pod with a hostPort on a node, and that port; `address` is that of the node."""
        several = self._host_ports.get((node, protocol, port), ())
        return next((each for each in several if each[1].address in ("", address)), None)


def ports_of(service: Service, port: int | str | None, protocol: str) -> Iterator[ServicePort]:
    """The ports of a Service by number or name; all ports for None."""
    for each in service.ports:
        if protocol in ("", each.protocol) and (port is None or port == each.port or (port and port == each.name)):
            yield each
