"""Network sets and IP pools.

(libcalico-go/lib/validator/v3; libcalico-go/lib/backend/syncersv1/updateprocessors)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.objects.criteria import NODE_SELECTOR, already_there, cidr, cidr_or_address
from felixpy.manifests.validation.addresses import Network, network, network_or_address
from felixpy.manifests.validation.findings import Finding
from felixpy.manifests.validation.metadata import document
from felixpy.manifests.validation.shapes import Anything, ListOf, Object, flag, integer, one_of, text
from felixpy.model import NAMESPACE_LABEL, NetworkSet, Pool, Source

Data = Mapping[str, Any]


def _no_namespace_label(data: Data, path: Path) -> Iterator[Finding]:
    if NAMESPACE_LABEL in data["metadata"].get("labels", {}):
        yield Finding((*path, "metadata", "labels", NAMESPACE_LABEL), "this label is Calico's own and cannot be given")


NETWORK_SET = document(
    Object({"nets": ListOf(text(cidr_or_address), "networks", already_there)}), relations=(_no_namespace_label,)
)

HALVES = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
"""A hash:net set cannot hold a network of length 0, so Felix puts its halves in."""


def network_set(data: Data, source: Source) -> NetworkSet:
    """A NetworkSet; it inherits its namespace's labels through the namespace's profile."""
    metadata = data["metadata"]
    namespace = metadata["namespace"]
    return NetworkSet(
        name=metadata["name"],
        namespace=namespace,
        nets=_nets(data),
        labels={**metadata.get("labels", {}), NAMESPACE_LABEL: namespace},
        profiles=(f"kns.{namespace}",),
        source=source,
    )


def global_network_set(data: Data, source: Source) -> NetworkSet:
    """A GlobalNetworkSet, which has only its own labels."""
    metadata = data["metadata"]
    labels = metadata.get("labels", {})
    return NetworkSet(name=metadata["name"], namespace="", nets=_nets(data), labels=labels, profiles=(), source=source)


def _nets(data: Data) -> tuple[str, ...]:
    return tuple(_members(data.get("spec", {}).get("nets", ())))


def _members(given: Sequence[str]) -> Iterator[str]:
    for item in given:
        net = network_or_address(item)
        if net is not None:
            yield from HALVES.get(str(net), (str(net),))


ENCAPSULATES = frozenset({"Always", "CrossSubnet"})
MODES = one_of("Never", "Always", "CrossSubnet", what="unknown mode")
BLOCKS = {4: (26, range(20, 33)), 6: (122, range(116, 129))}
"""Default and allowed sizes of the blocks that pools are handed out in."""


def _link_local(net: Network) -> bool:
    ranges = filter(None, map(network, ("169.254.0.0/16", "fe80::/10")))
    return any(local.contains(net) or net.contains(local) for local in ranges)


def _one_encapsulation(spec: Data, path: Path) -> Iterator[Finding]:
    ipip, vxlan = spec.get("ipipMode", "Never"), spec.get("vxlanMode", "Never")
    if ipip != "Never" and vxlan != "Never":
        yield Finding((*path, "vxlanMode"), f"cannot be combined with spec.ipipMode {ipip}")
    if ipip != "Never" and ":" in spec["cidr"]:
        yield Finding((*path, "ipipMode"), f"{ipip}: IPIP carries IPv4 only, the pool is IPv6")


def _cidr_is_usable(spec: Data, path: Path) -> Iterator[Finding]:
    net = network(spec["cidr"])
    if net is None:
        return
    default, allowed = BLOCKS[net.version]
    size = spec.get("blockSize", default)
    if _link_local(net):
        yield Finding((*path, "cidr"), f"{net}: overlaps the link-local range")
    if size not in allowed:
        yield Finding((*path, "blockSize"), f"{size}: must be from {allowed[0]} to {allowed[-1]}")
    elif net.length > size and not spec.get("disabled"):
        yield Finding((*path, "cidr"), f"{net}: smaller than one block (/{size})", "choose a larger blockSize")


def _load_balancers_only(spec: Data, path: Path) -> Iterator[Finding]:
    """Findings for a pool for load balancers with other uses, or with fields that only pools for pods have."""
    uses = spec.get("allowedUses", ())
    if "LoadBalancer" not in uses:
        return
    if len(set(uses)) > 1:
        yield Finding((*path, "allowedUses"), "LoadBalancer cannot be combined with other uses")
    for name, harmless in (("ipipMode", "Never"), ("vxlanMode", "Never"), ("nodeSelector", "all()")):
        if spec.get(name, harmless) != harmless:
            yield Finding((*path, name), f"must be {harmless} in a pool for LoadBalancer")
    if spec.get("disableBGPExport"):
        yield Finding((*path, "disableBGPExport"), "must be false in a pool for LoadBalancer")


POOL = document(
    Object(
        {
            "cidr": text(cidr),
            "ipipMode": MODES,
            "vxlanMode": MODES,
            "natOutgoing": flag(),
            "disabled": flag(),
            "disableBGPExport": flag(),
            "blockSize": integer(0, 128),
            "nodeSelector": NODE_SELECTOR,
            "namespaceSelector": NODE_SELECTOR,
            "allowedUses": ListOf(one_of("Workload", "Tunnel", "LoadBalancer")),
            "assignmentMode": one_of("Automatic", "Manual"),
            "ipip": Anything(),
            "nat-outgoing": Anything(),
        },
        required=("cidr",),
        relations=(_one_encapsulation, _cidr_is_usable, _load_balancers_only),
    ),
    required=("spec",),
)


def pool(data: Data, source: Source) -> Pool:
    """An IP pool; a disabled one is still part of the sets and of masquerading."""
    spec = data["spec"]
    return Pool(
        name=data["metadata"]["name"],
        cidr=str(network(spec["cidr"])),
        nat_outgoing=bool(spec.get("natOutgoing")),
        ipip=spec.get("ipipMode") in ENCAPSULATES,
        vxlan=spec.get("vxlanMode") in ENCAPSULATES,
        workloads=spec.get("allowedUses") != ["LoadBalancer"],
        source=source,
    )


def one_for_each_cidr(pools: Sequence[Pool]) -> tuple[Pool, ...]:
    """The pools that Felix sees: of several with the same CIDR only the first by name."""
    first: dict[str, Pool] = {}
    for candidate in sorted(pools, key=lambda pool: pool.name):
        first.setdefault(candidate.cidr, candidate)
    return tuple(first.values())
