"""The model: the objects of a cluster as Felix sees them, as frozen values.

Policies have the form in which Felix gets them (Calico's "v1 model"): one selector text for a policy, one for each side
of a rule, with namespaces and service accounts merged in. The model is independent of files and of the fields of
manifests. Labels are plain mappings and must not be changed after loading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from msgspec import Struct

from felixpy.described import Described
from felixpy.errors import Path, Place, Problem
from felixpy.errors import Source as Source  # noqa: PLC0414 - one of the nouns
from felixpy.frontends import Grant, Route, Service, SliceEndpoint, SlicePort
from felixpy.frontends import ServiceName as ServiceName  # noqa: PLC0414

Labels = Mapping[str, str]

NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
NAMESPACE_PREFIX = "pcns."
SERVICE_ACCOUNT_PREFIX = "pcsa."

DEFAULT_TIER = "default"
DEFAULT_TIER_ORDER = 1_000_000.0

SHORT_KINDS = {
    "NetworkPolicy": "np",
    "GlobalNetworkPolicy": "gnp",
    "StagedNetworkPolicy": "snp",
    "StagedGlobalNetworkPolicy": "sgnp",
    "StagedKubernetesNetworkPolicy": "sknp",
    "KubernetesNetworkPolicy": "knp",
    "KubernetesClusterNetworkPolicy": "kcnp",
}
"""Felix's kinds of policy and the short names that its chain names are made of."""

STAGED_KINDS = frozenset(kind for kind in SHORT_KINDS if kind.startswith("Staged"))


class NamedPort(NamedTuple):
    """A port of an endpoint that rules may refer to by name; the protocol is in lower case.

    `init`: a port of an init container, which older Calico versions ignore.
    """

    name: str
    protocol: str
    port: int
    init: bool = False


class PortRange(NamedTuple):
    """Ports first..last, both included; a single port has first == last."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}:{self.last}"


class Icmp(NamedTuple):
    """An ICMP type and, if given, its code."""

    type: int
    code: int | None = None


class PolicyKey(NamedTuple):
    """The identity of a policy in Felix, of which the tier is not part."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Qos(Struct, frozen=True, kw_only=True):
    """Limits of one workload that become rules; 0 means no limit. Packets are per second."""

    ingress_packet_rate: int = 0
    ingress_packet_burst: int = 0
    egress_packet_rate: int = 0
    egress_packet_burst: int = 0
    ingress_connections: int = 0
    egress_connections: int = 0


class HostPort(NamedTuple):
    """A port of the node (of all its addresses, or of `address`) that leads to a port of the pod; see portmap (CNI)."""

    protocol: str
    port: int
    target: int
    address: str = ""


class Owner(NamedTuple):
    """The Deployment or other workload that a pod belongs to, by kind and name; its namespace is the pod's."""

    kind: str
    name: str


class Workload(Struct, frozen=True):
    """A pod that is a workload endpoint: on the pod network, scheduled and with at least one address.

    `addresses` are without prefix length, in the given order and in canonical spelling. `labels` are the pod's own
    after Calico's changes; those of its profiles are inherited at resolution.
    """

    namespace: str
    name: str
    node: str
    interface: str
    addresses: tuple[str, ...]
    labels: Labels
    profiles: tuple[str, ...]
    ports: tuple[NamedPort, ...]
    source: Source
    spoofable: tuple[str, ...] = ()
    """CIDRs the pod may send from although they are not its own (annotation allowedSourcePrefixes)."""
    floating: tuple[tuple[str, str], ...] = ()
    """(own address, floating address) pairs."""
    qos: Qos | None = None
    dscp: int | None = None
    serves: tuple[tuple[str, int], ...] = ()
    """(protocol, port) of all ports that its containers declare, named or not; rules do not depend on them."""
    owner: Owner | None = None
    host_ports: tuple[HostPort, ...] = ()
    ready: bool = True
    leaving: bool = False
    """Whether the pod is being deleted."""


class HostPod(Struct, frozen=True):
    """A pod in the network of its node: part of the node for Felix, an endpoint for Services."""

    namespace: str
    name: str
    node: str
    labels: Labels
    ports: tuple[NamedPort, ...]
    source: Source
    addresses: tuple[str, ...] = ()
    owner: Owner | None = None
    ready: bool = True
    leaving: bool = False


class HostEndpoint(Struct, frozen=True, kw_only=True):
    """An interface of a node, given by name, by ``*`` for all, or ("") by one of `addresses` (expectedIPs)."""

    name: str
    node: str
    interface: str
    addresses: tuple[str, ...]
    labels: Labels
    profiles: tuple[str, ...]
    ports: tuple[NamedPort, ...]
    source: Source
    dscp: int | None = None


class NetworkSet(Struct, frozen=True, kw_only=True):
    """Labelled networks; a GlobalNetworkSet has no namespace and no profiles. `nets` are masked CIDRs."""

    name: str
    namespace: str
    nets: tuple[str, ...]
    labels: Labels
    profiles: tuple[str, ...]
    source: Source


class Side(Struct, frozen=True, kw_only=True):
    """Source or destination of a rule. Nets are masked CIDRs of both families; a str among the ports is a name."""

    selector: str = ""
    not_selector: str = ""
    nets: tuple[str, ...] = ()
    not_nets: tuple[str, ...] = ()
    ports: tuple[PortRange | str, ...] = ()
    not_ports: tuple[PortRange | str, ...] = ()
    service: ServiceName | None = None


ANYONE = Side()


class Rule(Struct, frozen=True, kw_only=True):
    """One rule of a policy or profile.

    `action` is allow, deny, log or next-tier; protocols are names in lower case or numbers.
    """

    action: str
    ip_version: int | None = None
    protocol: str | int | None = None
    not_protocol: str | int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    source: Side = ANYONE
    destination: Side = ANYONE
    annotations: tuple[tuple[str, str], ...] = ()
    path: Path = ()
    """The path of the rule in its manifest, such as ``("spec", "ingress", 0)``."""
    peer: Path = ()
    """The path of this rule's peer, if the rule in the manifest lists peers; it begins with `path`."""


class Policy(Struct, frozen=True, kw_only=True):
    """A policy of any kind. Rules of both directions are kept whatever `ingress`/`egress` say: they create sets."""

    key: PolicyKey
    tier: str
    order: float | None
    selector: str
    ingress: bool
    egress: bool
    inbound: tuple[Rule, ...]
    outbound: tuple[Rule, ...]
    source: Source
    do_not_track: bool = False
    pre_dnat: bool = False
    apply_on_forward: bool = False
    everywhere: bool = False
    """Performance hint AssumeNeededOnEveryNode."""
    rewritten: tuple[tuple[Path, str, str], ...] = ()
    """Networks with host bits: the path, the text as written, and the network as Calico reads it."""

    @property
    def staged(self) -> bool:
        return self.key.kind in STAGED_KINDS


class Profile(Struct, frozen=True, kw_only=True):
    """Rules and labels that endpoints inherit: ``kns.<namespace>``, ``ksa.<ns>.<account>`` or a custom profile."""

    name: str
    inbound: tuple[Rule, ...]
    outbound: tuple[Rule, ...]
    labels: Labels
    source: Source


class Tier(Struct, frozen=True, kw_only=True):
    """A step of policy evaluation; `passes`: packets that no policy decided continue with the next tier."""

    name: str
    order: float
    passes: bool


class Pool(Struct, frozen=True, kw_only=True):
    """An IP pool. `workloads` is false for pools used by load balancers only."""

    name: str
    cidr: str
    nat_outgoing: bool
    ipip: bool
    vxlan: bool
    workloads: bool
    source: Source


class Node(Struct, frozen=True, kw_only=True):
    """A node; absent addresses are "". `bgp_*` are the annotations as written, possibly with a prefix length.

    `addresses` are those of its status, internal ones first. They are the host's own, but only BGP addresses become
    members of the sets all-hosts-net and all-vxlan-net. (felix v3.32.1: calc/dataplane_passthru.go,
    calc/vxlan_resolver.go)
    """

    name: str
    labels: Labels
    source: Source
    bgp_v4: str = ""
    bgp_v6: str = ""
    ipip_tunnel: str = ""
    vxlan_tunnel_v4: str = ""
    vxlan_tunnel_v6: str = ""
    addresses: tuple[str, ...] = ()


class Slice(Struct, frozen=True, kw_only=True):
    """An EndpointSlice: the endpoints of a Service.

    Felix uses all `addresses` and `ports` (protocol, port), kube-proxy uses `endpoints` and `named_ports`.
    """

    service: ServiceName
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]
    source: Source
    family: int = 4
    endpoints: tuple[SliceEndpoint, ...] = ()
    named_ports: tuple[SlicePort, ...] = ()


class Configuration(Struct, frozen=True, kw_only=True):
    """A FelixConfiguration as the texts that Felix gets; `effective` selects those that apply to a node."""

    name: str
    node_selector: str
    created: str
    values: Mapping[str, str]
    """Texts by parameter name; an annotation beats a field, and its name may be written in any case."""
    paths: Mapping[str, Path]
    """Where each of them is written."""
    source: Source


class Stated(Struct, frozen=True, kw_only=True):
    """A value that the input states outside Calico's own configuration, and its place.

    `name` is a Felix parameter or another name for the value, `by` the object in words, such as
    ``DaemonSet kube-system/calico-node``. `node` is "" if it applies to every node.
    """

    name: str
    value: str
    by: str
    source: Source
    path: Path = ()
    node: str = ""


DataPlaneKind = Literal["iptables", "nftables", "bpf", "windows"]


class DataPlane(Struct, frozen=True, kw_only=True):
    """How Felix programs a node, the reason, and its place in the input (None for Felix's default).

    `reason` follows the object's name: "spec.bpfEnabled is true". `is_default` where neither settings nor objects say.
    """

    kind: DataPlaneKind
    reason: str
    is_default: bool = False
    by: str = ""
    place: Place | None = None
    path: Path = ()


class Host(Struct, frozen=True, kw_only=True):
    """The machine that a node runs on: its network interfaces with their addresses as CIDRs, without loopback.

    `interfaces` is None if unknown; then every interface that a host endpoint names is assumed to exist.
    """

    interfaces: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Cluster(Described):
    """Everything that was loaded. Objects are in an order that does not depend on the order of documents."""

    workloads: tuple[Workload, ...] = ()
    host_endpoints: tuple[HostEndpoint, ...] = ()
    network_sets: tuple[NetworkSet, ...] = ()
    policies: tuple[Policy, ...] = ()
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    tiers: Mapping[str, Tier] = field(default_factory=dict)
    pools: tuple[Pool, ...] = ()
    nodes: Mapping[str, Node] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()
    services: Mapping[ServiceName, Service] = field(default_factory=dict)
    host_pods: tuple[HostPod, ...] = ()
    routes: tuple[Route, ...] = ()
    grants: tuple[Grant, ...] = ()
    configurations: tuple[Configuration, ...] = ()
    cluster_type: str = ""
    """``clusterType`` of the ClusterInformation."""
    service_cidrs: tuple[str, ...] = ()
    """Cluster, external and load balancer CIDRs of the BGPConfiguration."""
    environment: tuple[Stated, ...] = ()
    """Variables ``FELIX_<NAME>`` of calico-node's containers, by parameter: they beat every FelixConfiguration."""
    operator: tuple[Stated, ...] = ()
    """Parameters that the operator writes into the FelixConfiguration ``default`` because an Installation asks."""
    kube_proxy_mode: Stated | None = None
    """iptables, ipvs or nftables; None where the input does not say."""
    calico_version: Stated | None = None
    """The release that the ClusterInformation or the Installation's status names, such as ``v3.32.1``."""
    warnings: tuple[Problem, ...] = ()
    """What loading found odd but usable: skipped kinds, unknown fields, objects that had to be assumed."""
    texts: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)  # by file name, for comments
    where: Callable[[Source, Path], Place] = Source.beginning
    """File, line and column of a path inside an object; costs a second reading of that one object."""

    def node_names(self) -> list[str]:
        """The names of Node objects, and of nodes that a pod or host endpoint names, sorted."""
        named = {workload.node for workload in self.workloads} | {host.node for host in self.host_endpoints}
        return sorted(named | set(self.nodes))
