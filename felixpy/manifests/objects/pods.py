"""Pod → Workload, as Calico makes a WorkloadEndpoint of a pod. (libcalico-go/lib/backend/k8s/conversion)"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha1
from typing import NamedTuple

from felixpy.errors import Path
from felixpy.manifests.completion.owners import Owners
from felixpy.manifests.objects import pod_annotations as notes
from felixpy.manifests.objects.pod_facts import PATH, GivenPort, Placed, PodFacts, SharedByPods, facts
from felixpy.manifests.objects.pod_record import record
from felixpy.manifests.reading.documents import Document
from felixpy.manifests.validation.addresses import host
from felixpy.manifests.validation.findings import Finding, Ignored
from felixpy.manifests.validation.metadata import metadata, or_empty, subdomain
from felixpy.manifests.validation.names import is_endpoint_name
from felixpy.manifests.validation.quantities import dscp
from felixpy.manifests.validation.shapes import ListOf, Object, flag, integer, text
from felixpy.model import (
    NAMESPACE_LABEL,
    NAMESPACE_PREFIX,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    SERVICE_ACCOUNT_PREFIX,
    HostPod,
    HostPort,
    Labels,
    NamedPort,
    Qos,
    Source,
    Workload,
)

PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp", "": "tcp"}
INHERITED = (NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX)

EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - what a hostIP may say, nothing listens here
NO_EXTRAS = ((), (), None, None)

Ports = tuple[tuple[NamedPort, ...], tuple[tuple[str, int], ...], tuple[HostPort, ...]]
"""A pod's named ports, (protocol, port) of all ports that it serves, and ports of its node that lead to it."""


def _usable_limits(annotations: Mapping[str, str], path: Path) -> Iterator[Finding]:
    for annotation, effect in notes.odd_limits(annotations):
        yield Finding((*path, annotation), effect, severity="warning")


_CONTAINERS = ListOf(
    Object(
        {
            "ports": ListOf(
                Object(
                    {
                        "name": text(),
                        "containerPort": integer(0, 65535),
                        "hostPort": integer(0, 65535),
                        "hostIP": text(),
                        "protocol": text(),
                    },
                    opened=True,
                ),
                "ports",
            )
        },
        opened=True,
    ),
    "containers",
)
METADATA = metadata(annotated=(_usable_limits,))
POD = Object(
    {
        "metadata": METADATA,
        "spec": Object(
            {
                "nodeName": text(or_empty(subdomain)),
                "hostNetwork": flag(),
                "serviceAccountName": text(),
                "serviceAccount": text(),
                "containers": _CONTAINERS,
                "initContainers": _CONTAINERS,
            },
            opened=True,
        ),
        "status": Object(
            {
                "phase": text(),
                "podIP": text(),
                "podIPs": ListOf(Object({"ip": text()}, opened=True)),
                "conditions": ListOf(Object({"type": text(), "status": text()}, opened=True)),
            },
            opened=True,
        ),
    },
    required=("metadata",),
    opened=True,
)


def interface_name(prefix: str, namespace: str, name: str) -> str:
    """The host's end of the pod's veth pair.

    Calico takes the prefix from its environment, never from a FelixConfiguration.

    >>> interface_name("cali", "default", "podA")
    'cali7f94ce7c295'
    """
    return prefix + sha1(f"{namespace}.{name}".encode()).hexdigest()[:11]


class _Common(NamedTuple):
    """What pods of one template have in common; the first two are kept so that their ids are not reused."""

    given_labels: Labels
    given_ports: tuple[GivenPort, ...]
    labels: Labels
    profiles: tuple[str, ...]
    ports: Ports


class Pods:
    """Converts pods. What many pods have in common (labels, profiles, ports) is kept once."""

    def __init__(self, interface_prefix: str, owners: Owners | None = None) -> None:
        self.interface_prefix = interface_prefix
        self.owners = owners or Owners()
        self.shared = SharedByPods()
        self.common: dict[tuple[str, str, int, int], _Common] = {}
        self.profiles: dict[tuple[str, str], tuple[str, ...]] = {}
        self.ports: dict[tuple[GivenPort, ...], Ports] = {(): ((), (), ())}
        self.named: dict[tuple[str, str, int, bool], NamedPort] = {}

    def anew(self) -> Pods:
        """A converter with the same options and empty caches, so that removed pods free their memory."""
        return Pods(self.interface_prefix, self.owners.anew())

    def facts(self, found: Document | Placed) -> PodFacts:
        """The facts about a pod."""
        return found.pod if isinstance(found, Placed) else facts(record(found.data), self.shared)

    def workload(self, placed: Placed) -> Workload | None:
        """The workload; None also for a pod that would get a remark."""
        pod, source = placed
        try:
            return self(pod, source)
        except Ignored:
            return None

    def __call__(self, pod: PodFacts, source: Source) -> Workload | None:
        """The workload; None for pods that are not endpoints of Calico: host network, not scheduled, without address.

        Raises Ignored if an address or a list in an annotation cannot be parsed.
        """
        if not pod.node or pod.host_network:
            return None
        addresses = _addresses(pod)
        if not addresses or pod.finished:
            return None
        namespace, name, annotations = pod.namespace, pod.name, pod.annotations
        _, _, labels, profiles, (named, served, host_ports) = self._common(pod)
        owner = self.owners.find(namespace, pod.owners, pod.labels) if pod.owners else None
        spoofable, floating, qos, dscp_value = _extras(annotations, addresses) if annotations else NO_EXTRAS
        return Workload(
            namespace, name, pod.node, interface_name(self.interface_prefix, namespace, name), addresses,
            labels, profiles, named, source, spoofable, floating, qos, dscp_value, served, owner,
            host_ports, pod.ready, pod.leaving,
        )  # fmt: skip

    def _common(self, pod: PodFacts) -> _Common:
        key = (pod.namespace, pod.account, id(pod.labels), id(pod.ports))
        known = self.common.get(key)
        if known is None:
            ports = self._ports(pod)
            labels, profiles = self._labels(pod), self._profiles(pod.namespace, pod.account)
            known = self.common[key] = _Common(pod.labels, pod.ports, labels, profiles, ports)
        return known

    def on_host(self, pod: PodFacts, source: Source) -> HostPod | None:
        """A pod in the network of its node; None for all others, and for pods that no longer run."""
        if not pod.node or not pod.host_network or pod.finished:
            return None
        try:
            addresses = _addresses(pod)
            named = self._ports(pod)[0]
        except Ignored:
            addresses, named = (), ()
        return HostPod(
            pod.namespace, pod.name, pod.node, pod.labels, named, source, addresses,
            self.owners.find(pod.namespace, pod.owners, pod.labels), pod.ready, pod.leaving,
        )  # fmt: skip

    @staticmethod
    def _labels(pod: PodFacts) -> Labels:
        """The pod's own labels without those with Calico's prefixes, and the three labels that Calico adds."""
        labels = {key: value for key, value in pod.labels.items() if not key.startswith(INHERITED)}
        labels[NAMESPACE_LABEL] = pod.namespace
        labels[ORCHESTRATOR_LABEL] = "k8s"
        if pod.account:
            labels[SERVICE_ACCOUNT_LABEL] = pod.account
        return labels

    def _profiles(self, namespace: str, account: str) -> tuple[str, ...]:
        profiles = self.profiles.get((namespace, account))
        if profiles is None:
            profiles = (f"kns.{namespace}", f"ksa.{namespace}.{account}") if account else (f"kns.{namespace}",)
            self.profiles[namespace, account] = profiles
        return profiles

    def _ports(self, pod: PodFacts) -> Ports:
        """Named ports (those of init containers last), container ports, and host ports.

        Ports with unknown protocols are ignored.
        """
        known = self.ports.get(pod.ports)
        if known is not None:
            return known
        found, served, passed = [], [], []
        for name, spelled, number, init, host_port, host_address in pod.ports:
            protocol = PROTOCOLS.get(spelled)
            if not number or not protocol:
                continue
            if not init:
                served.append((protocol, number))
            if name:
                key = (name, protocol, number, init)
                found.append(self.named.get(key) or self._named(key))
            if host_port and not init:
                passed.append(HostPort(protocol, host_port, number, _host_address(host_address)))
        ports = self.ports[pod.ports] = tuple(found), tuple(served), tuple(passed)
        return ports

    def _named(self, key: tuple[str, str, int, bool]) -> NamedPort:
        if not is_endpoint_name(key[0]):
            reason = f'"{key[0]}" is not a port name; Felix ignores the whole pod'
            raise Ignored(("spec", "containers"), reason)
        port = self.named[key] = NamedPort(*key)
        return port


def _host_address(given: str) -> str:
    """The address of the node to which a hostPort is limited, "" for all."""
    found = host(given) if given else None
    return "" if found is None or found in EVERY_ADDRESS else found


def _addresses(pod: PodFacts) -> tuple[str, ...]:
    given = pod.given
    if len(given) == 1 and host(given[0]) == given[0]:
        return given
    addresses = tuple([host(each) for each in given])
    if None in addresses:
        index = addresses.index(None)
        raise Ignored(pod.address_path(index), f'"{given[index]}" is not an address; Calico ignores the whole pod')
    return given if addresses == given else addresses  # type: ignore[return-value]


def _extras(
    annotations: Mapping[str, str], addresses: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], Qos | None, int | None]:
    """The facts in annotations. Raises Ignored for lists that cannot be parsed, for which Calico drops the pod."""
    try:
        name = notes.FLOATING
        floating = notes.floating(annotations, addresses)
        name = notes.SOURCE_PREFIXES
        spoofable = notes.source_prefixes(annotations)
    except notes.BadAnnotation as wrong:
        raise Ignored((*PATH, name), f"{wrong}; Calico ignores the whole pod") from None
    return spoofable, floating, notes.qos(annotations), dscp(annotations.get(notes.DSCP, "x"))
