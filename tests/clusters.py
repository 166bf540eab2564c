"""Small clusters put together by hand: everything has a default, a test says only what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import felixpy
from felixpy.calico_versions import V3_32, CalicoVersion
from felixpy.config import Setting, spec_fields
from felixpy.errors import Path
from felixpy.manifests.objects.felix_configuration import PREFIX, as_text
from felixpy.model import (
    DEFAULT_TIER,
    DEFAULT_TIER_ORDER,
    NAMESPACE_LABEL,
    ORCHESTRATOR_LABEL,
    Cluster,
    Configuration,
    Host,
    HostEndpoint,
    NamedPort,
    NetworkSet,
    Node,
    Policy,
    PolicyKey,
    Pool,
    Profile,
    Rule,
    Slice,
    Source,
    Tier,
    Workload,
)
from felixpy.ruleset import Chain, Ruleset

HERE = Source("cluster.yaml", 1)
ALLOW, DENY, PASS, LOG = (Rule(action=action) for action in ("allow", "deny", "next-tier", "log"))
NAMESPACED = {"NetworkPolicy", "StagedNetworkPolicy", "StagedKubernetesNetworkPolicy", "KubernetesNetworkPolicy"}


def pod(
    name: str,
    *addresses: str,
    namespace: str = "default",
    interface: str = "",
    labels: Mapping[str, str] | None = None,
    profiles: tuple[str, ...] | None = None,
    ports: tuple[NamedPort, ...] = (),
    **more: Any,
) -> Workload:
    """A pod on node1 with the labels that Calico adds and, unless told otherwise, the profile of its namespace."""
    return Workload(
        namespace=namespace,
        name=name,
        node=more.pop("node", "node1"),
        interface=interface or f"cali{name}",
        addresses=addresses or ("10.65.0.1",),
        labels={NAMESPACE_LABEL: namespace, ORCHESTRATOR_LABEL: "k8s", **(labels or {})},
        profiles=(f"kns.{namespace}",) if profiles is None else profiles,
        ports=ports,
        source=HERE,
        **more,
    )


def policy(
    name: str,
    *,
    kind: str = "GlobalNetworkPolicy",
    ingress: Sequence[Rule] | None = None,
    egress: Sequence[Rule] | None = None,
    **more: Any,
) -> Policy:
    """A policy; a direction that is not given is not among its types. Without any it has both, and no rule."""
    namespace = more.pop("namespace", "default" if kind in NAMESPACED else "")
    both = ingress is None and egress is None
    values: dict[str, Any] = {
        "key": PolicyKey(kind, namespace, name),
        "tier": DEFAULT_TIER,
        "order": None,
        "selector": "",
        "ingress": both or ingress is not None,
        "egress": both or egress is not None,
        "inbound": tuple(ingress or ()),
        "outbound": tuple(egress or ()),
        "source": HERE,
    }
    return Policy(**(values | more))


def host_endpoint(name: str, interface: str = "", *addresses: str, **more: Any) -> HostEndpoint:
    values: dict[str, Any] = {"node": "node1", "labels": {}, "profiles": (), "ports": (), "source": HERE}
    return HostEndpoint(name=name, interface=interface, addresses=addresses, **(values | more))


def profile(
    name: str, inbound: Sequence[Rule] = (), outbound: Sequence[Rule] = (), *, labels: Mapping[str, str] | None = None
) -> Profile:
    return Profile(name=name, inbound=tuple(inbound), outbound=tuple(outbound), labels=labels or {}, source=HERE)


def network_set(name: str, *nets: str, namespace: str = "", **labels: str) -> NetworkSet:
    own = labels | ({NAMESPACE_LABEL: namespace} if namespace else {})
    profiles = (f"kns.{namespace}",) if namespace else ()
    return NetworkSet(name=name, namespace=namespace, nets=nets, labels=own, profiles=profiles, source=HERE)


def tier(name: str, order: float, *, passes: bool = False) -> Tier:
    return Tier(name=name, order=order, passes=passes)


def node(name: str = "node1", **more: Any) -> Node:
    return Node(name=name, labels=more.pop("labels", {}), source=HERE, **more)


def pool(cidr: str, **more: Any) -> Pool:
    values: dict[str, Any] = {"nat_outgoing": False, "ipip": False, "vxlan": False, "workloads": True, "source": HERE}
    return Pool(name=cidr.replace("/", "-"), cidr=cidr, **(values | more))


def written(value: object) -> str:
    """A value as it is written in an annotation or a variable."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def configuration(name: str = "default", /, *, selector: str = "", created: str = "", **values: Any) -> Configuration:
    """A FelixConfiguration; values by field, annotations through ``annotations={...}``."""
    annotations = values.pop("annotations", {})
    texts = {spec_fields()[field].name: as_text(spec_fields()[field], value) for field, value in values.items()}
    paths: dict[str, Path] = {spec_fields()[field].name: ("spec", field) for field in values}
    paths |= {key: ("metadata", "annotations", PREFIX + key) for key in annotations}
    return Configuration(
        name=name, node_selector=selector, created=created, values=texts | annotations, paths=paths, source=HERE
    )


def cluster(*things: object, **more: Any) -> Cluster:
    """Sort things into a cluster with the default tier and, for each namespace, a profile that lets everything pass."""

    def of(kind: type) -> tuple[Any, ...]:
        return tuple(thing for thing in things if isinstance(thing, kind))

    spaces = {f"kns.{pod.namespace}" for pod in of(Workload)}
    values: dict[str, Any] = {
        "workloads": of(Workload),
        "host_endpoints": of(HostEndpoint),
        "network_sets": of(NetworkSet),
        "policies": of(Policy),
        "profiles": {name: profile(name, [ALLOW], [ALLOW]) for name in sorted(spaces)}
        | {thing.name: thing for thing in of(Profile)},
        "tiers": {DEFAULT_TIER: tier(DEFAULT_TIER, DEFAULT_TIER_ORDER)} | {thing.name: thing for thing in of(Tier)},
        "pools": of(Pool),
        "nodes": {thing.name: thing for thing in of(Node)},
        "slices": of(Slice),
        "configurations": of(Configuration),
    }
    return Cluster(**(values | more))


def compiled(
    *things: object,
    node: str = "node1",
    calico_version: CalicoVersion = V3_32,
    interfaces: Mapping[str, tuple[str, ...]] | None = None,
    settings: Mapping[str, object] | None = None,
    **more: Any,
) -> Ruleset:
    """What felixpy makes of a cluster of these things. `settings` are Felix's parameters by name."""
    given = [Setting(name, written(value)) for name, value in (settings or {}).items()]
    return felixpy.compile(
        cluster(*things, **more), node, calico_version=calico_version, host=Host(interfaces=interfaces), settings=given
    )


def chains(ruleset: Ruleset, table: str, family: int = 4) -> dict[str, Chain]:
    """The chains of a table by name; what is appended to a kernel chain is called ``CHAIN*appends*``."""
    found = ruleset.tables[family, table]
    appended = {f"{name}*appends*": chain for name, chain in found.appended.items()}
    return {**found.inserted, **appended, **{chain.name: chain for chain in found.chains}}


def bodies(ruleset: Ruleset, table: str, chain: str, family: int = 4) -> list[str]:
    """The rules of one chain, without ``-A chain`` and hash."""
    return list(chains(ruleset, table, family)[chain].bodies)
