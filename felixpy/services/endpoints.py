"""The endpoints of the ports of Services."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from felixpy.frontends import Service, ServiceName, ServicePort, SliceEndpoint, SlicePort
from felixpy.model import Cluster, HostPod, Slice, Workload

NodeAddress = Callable[[str, int], str]
"""The address of a node in a family, "" if it has none."""


class ServiceEndpoint(NamedTuple):
    """An endpoint of a Service: an address and port.

    `node` is that of the EndpointSlice, from which kube-proxy decides what is local. `pod` is (namespace, name) of the
    pod, if it is one.
    """

    address: str
    port: int
    node: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    pod: tuple[str, str] | None = None
    zone_hints: frozenset[str] = frozenset()
    node_hints: frozenset[str] = frozenset()

    @property
    def last_resort(self) -> bool:
        """Whether it is used if no endpoint is ready: it still serves, but is being deleted."""
        return self.serving and self.terminating


def _no_address(node: str, family: int) -> str:
    return ""


class ServiceEndpoints:
    """The endpoints of all Services of a cluster. `node_address` returns addresses of pods with hostNetwork."""

    def __init__(self, cluster: Cluster, node_address: NodeAddress = _no_address) -> None:
        self._cluster, self._node_address = cluster, node_address

    @cached_property
    def _slices(self) -> Mapping[ServiceName, list[Slice]]:
        found: dict[ServiceName, list[Slice]] = defaultdict(list)
        for each in self._cluster.slices:
            found[each.service].append(each)
        return found

    @cached_property
    def _pods(self) -> Mapping[str, list[Workload | HostPod]]:
        found: dict[str, list[Workload | HostPod]] = defaultdict(list)
        pods: tuple[Workload | HostPod, ...] = (*self._cluster.workloads, *self._cluster.host_pods)
        for pod in pods:
            found[pod.namespace].append(pod)
        return found

    def has_slices(self, name: ServiceName) -> bool:
        return name in self._slices

    def behind(self, service: Service, port: ServicePort, family: int) -> tuple[ServiceEndpoint, ...]:
        """All endpoints of a port in one family, in any state, in a fixed order."""
        if service.name in self._slices:
            return tuple(self._of_slices(service.name, port, family))
        if service.subsets:
            return tuple(_of_subsets(service, port, family))
        return tuple(self._of_pods(service, port, family))

    def selected(self, service: Service) -> list[Workload | HostPod]:
        """The pods that the selector matches; without selector none."""
        if not service.selector:
            return []
        wanted = service.selector.items()
        return [pod for pod in self._pods.get(service.name.namespace, ()) if wanted <= pod.labels.items()]

    def _of_slices(self, name: ServiceName, port: ServicePort, family: int) -> Iterator[ServiceEndpoint]:
        """The endpoints in EndpointSlices; of duplicates in several slices the first."""
        known: set[tuple[str, int]] = set()
        for piece in self._slices[name]:
            if piece.family != family:
                continue
            for each in _on_port(piece.endpoints, piece.named_ports, port):
                if (each.address, each.port) not in known:
                    known.add((each.address, each.port))
                    yield each

    def _of_pods(self, service: Service, port: ServicePort, family: int) -> Iterator[ServiceEndpoint]:
        """The endpoints that the EndpointSlice controller would write. (staging/src/k8s.io/endpointslice/utils.go)"""
        for pod in self.selected(service):
            number = target_port(pod, port)
            address = self._address(pod, family)
            if number and address:
                ready = service.publish_not_ready or (pod.ready and not pod.leaving)
                identity = (pod.namespace, pod.name)
                yield ServiceEndpoint(address, number, pod.node, ready, pod.ready, pod.leaving, identity)

    def _address(self, pod: Workload | HostPod, family: int) -> str:
        own = next((text for text in pod.addresses if (":" in text) == (family == 6)), "")
        return own or (self._node_address(pod.node, family) if isinstance(pod, HostPod) else "")


def _of_subsets(service: Service, port: ServicePort, family: int) -> Iterator[ServiceEndpoint]:
    for subset in service.subsets:
        for each in _on_port(subset.endpoints, subset.ports, port):
            if (":" in each.address) == (family == 6):
                yield each


def _on_port(
    endpoints: Iterable[SliceEndpoint], ports: Iterable[SlicePort], port: ServicePort
) -> Iterator[ServiceEndpoint]:
    """The endpoints for a port, matched by name and protocol; of an endpoint only the first address is used."""
    numbers = [each.number for each in ports if (each.name, each.protocol) == (port.name, port.protocol)]
    for number in filter(None, numbers):
        for each in endpoints:
            if each.addresses:
                yield ServiceEndpoint(
                    each.addresses[0], number, each.node, each.ready, each.serving, each.terminating, each.pod,
                    each.zone_hints, each.node_hints,
                )  # fmt: skip


def target_port(pod: Workload | HostPod, port: ServicePort) -> int | None:
    """The port number of a pod for a port of a Service; None if the pod has no port of that name.

    (pkg/api/v1/pod/util.go, FindPort)
    """
    if isinstance(port.target, int):
        return port.target
    named = (each for each in pod.ports if not each.init)
    return next((each.port for each in named if (each.name, each.protocol) == (port.target, port.protocol)), None)
