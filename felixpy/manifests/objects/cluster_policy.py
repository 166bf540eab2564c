"""ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) → a global policy in the tier kube-admin or kube-baseline.

(libcalico-go/lib/backend/k8s/conversion/clusternetworkpolicy.go)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.objects.criteria import OUT_OF_RANGE, loose_cidr
from felixpy.manifests.objects.labels import IN_KUBERNETES, LABEL_SELECTOR, namespace_clause, pod_selector
from felixpy.manifests.objects.network_policy import simplified
from felixpy.manifests.validation.addresses import network
from felixpy.manifests.validation.findings import Complaint, Finding, Ignored
from felixpy.manifests.validation.metadata import document
from felixpy.manifests.validation.names import is_port_name
from felixpy.manifests.validation.shapes import Anything, ListOf, Object, Relation, Shape, integer, one_of, text
from felixpy.model import ANYONE, Policy, PolicyKey, PortRange, Rule, Side, Source

Data = Mapping[str, Any]
Ports = tuple[PortRange | str, ...]

TIERS = {"Admin": "kube-admin", "Baseline": "kube-baseline"}
ACTIONS = {"Accept": "allow", "Deny": "deny", "Pass": "next-tier"}
PROTOCOLS = ("tcp", "udp", "sctp")


PORT = integer(1, 65535, OUT_OF_RANGE.removesuffix(" from 1 to 65535"))
KNOWN = ("pods", "namespaces", "networks")
EXPERIMENTAL = ("nodes", "domainNames")
"""Peers of the API's experimental channel, which Calico does not know."""


def _exactly_one(*names: str) -> Relation:
    """A check that exactly one of these fields is present."""

    def check(value: Data, path: Path) -> Iterator[Finding]:
        given = [name for name in names if name in value]
        if len(given) != 1:
            found = f", not {' and '.join(given)}" if given else ""
            yield Finding(path, f"exactly one of {', '.join(names)} is needed{found}")

    return check


SIDES = {"ingress": "from", "egress": "to"}


def _peers_of_use(side: str) -> Relation:
    def check(rule: Data, path: Path) -> Iterator[Finding]:
        if not rule[side]:
            yield Finding((*path, side), "at least one peer is needed")
        for index in _unknown_peers(rule[side]):
            effect = "drops the rule" if rule["action"] == "Accept" else "denies everything in place of the rule"
            reason = f"Calico does not know {' and '.join(rule[side][index])} and {effect}"
            yield Finding((*path, side, index), reason, severity="warning")

    return check


def _unknown_peers(peers: Sequence[Data]) -> list[int]:
    """The positions of peers that Calico cannot convert."""
    return [index for index, peer in enumerate(peers) if not any(peer.get(name) not in (None, []) for name in KNOWN)]


def _range_ascends(span: Data, path: Path) -> Iterator[Finding]:
    if span["end"] < span["start"]:
        yield Finding((*path, "end"), f"{span['end']}: lower than start {span['start']}")


def _name(given: str) -> Complaint | None:
    return None if len(given) <= 100 else Complaint(f"{len(given)} characters: a rule's name has at most 100")


def _shapes() -> Object:
    pods = Object({"namespaceSelector": LABEL_SELECTOR, "podSelector": LABEL_SELECTOR})
    namespaces_or_pods: dict[str, Shape] = {"namespaces": LABEL_SELECTOR, "pods": pods}
    span = Object({"start": PORT, "end": PORT}, required=("start", "end"), relations=(_range_ascends,))
    port = Object({"number": PORT, "range": span}, relations=(_exactly_one("number", "range"),))
    protocols: dict[str, Shape] = {name: Object({"destinationPort": port}) for name in PROTOCOLS}
    protocols["destinationNamedPort"] = text()

    def rules(direction: str, peers: dict[str, Shape]) -> ListOf:
        side, other = SIDES[direction], "from" if direction == "egress" else "to"
        fields: dict[str, Shape] = {
            "name": text(_name),
            "action": one_of(*ACTIONS, what="unknown action"),
            side: ListOf(Object(peers, relations=(_exactly_one(*peers),)), "peers"),
            "protocols": ListOf(Object(protocols, relations=(_exactly_one(*protocols),)), "protocols"),
        }
        elsewhere = {"ports": "protocols was probably meant", other: f"{side} was probably meant"}
        rule = Object(fields, required=("action", side), relations=(_peers_of_use(side),), elsewhere=elsewhere)
        return ListOf(rule, "rules")

    outward = namespaces_or_pods | {"networks": ListOf(text(loose_cidr))} | {name: Anything() for name in EXPERIMENTAL}
    spec = Object(
        {
            "tier": one_of(*TIERS),
            "priority": integer(0, 1000),
            "subject": Object(namespaces_or_pods, relations=(_exactly_one(*namespaces_or_pods),)),
            "ingress": rules("ingress", namespaces_or_pods),
            "egress": rules("egress", outward),
        },
        required=("tier", "priority", "subject"),
    )
    return document(spec, required=("spec",))


def policy(data: Data, source: Source) -> Policy:
    """The policy.

    A rule that cannot be converted is dropped if it accepts and becomes a denial of everything otherwise.
    Raises Ignored when Felix would drop the whole policy.
    """
    spec = data["spec"]
    rules = {direction: tuple(_rules(spec.get(direction, ()), direction)) for direction in ("ingress", "egress")}
    _refuse_odd_port_names(spec)
    # Without any rule the list of types is empty, which Felix treats as both directions.
    neither = not rules["ingress"] and not rules["egress"]
    return Policy(
        key=PolicyKey("KubernetesClusterNetworkPolicy", "", data["metadata"]["name"]),
        tier=TIERS[spec["tier"]],
        order=float(spec["priority"]),
        selector=_subject(spec["subject"]),
        ingress=bool(rules["ingress"]) or neither,
        egress=bool(rules["egress"]) or neither,
        inbound=rules["ingress"],
        outbound=rules["egress"],
        source=source,
    )


def _subject(subject: Data) -> str:
    """The selector of a subject: pods in matching namespaces, or matching pods in these."""
    if "namespaces" in subject:
        return f"({IN_KUBERNETES}) && {namespace_clause(subject['namespaces'], '')}"
    pods = subject["pods"]
    clause = namespace_clause(pods.get("namespaceSelector", {}), "")
    return f"({pod_selector(pods.get('podSelector'))}) && {clause}"


def _rules(given: Sequence[Data], direction: str) -> Iterator[Rule]:
    for index, rule in enumerate(given):
        path: Path = ("spec", direction, index)
        if not _unknown_peers(rule[SIDES[direction]]):
            yield from _rule(rule, direction, path)
        elif rule["action"] != "Accept":
            yield Rule(action="deny", path=path)


def _rule(rule: Data, direction: str, path: Path) -> Iterator[Rule]:
    """One rule for each protocol (none first, then alphabetically) and each peer."""
    name = rule.get("name")
    annotations = (("name", name),) if name else ()
    peers = [_peer(peer) for peer in rule[SIDES[direction]]]
    action = ACTIONS[rule["action"]]
    for protocol, ports in sorted(_buckets(rule.get("protocols", ())).items()):
        numbers = simplified(ports)
        for number, peer in enumerate(peers):
            if direction == "ingress":
                source, destination = peer, Side(ports=numbers) if numbers else ANYONE
            else:
                source, destination = ANYONE, Side(selector=peer.selector, nets=peer.nets, ports=numbers)
            yield Rule(
                action=action, protocol=protocol or None, source=source, destination=destination,
                annotations=annotations, path=path, peer=(*path, SIDES[direction], number),
            )  # fmt: skip


def _peer(peer: Data) -> Side:
    selector = ""
    if "pods" in peer:
        pods = peer["pods"]
        clause = namespace_clause(pods.get("namespaceSelector", {}), "")
        selector = f"({clause}) && ({pod_selector(pods.get('podSelector'))})"
    elif "namespaces" in peer:
        # Without the orchestrator clause of pod selectors: it also matches network sets of those namespaces.
        selector = namespace_clause(peer["namespaces"], "")
    return Side(selector=selector, nets=tuple(str(network(given)) for given in peer.get("networks", ())))


def _buckets(protocols: Sequence[Data]) -> dict[str, Ports]:
    """Ports by protocol; named ports have protocol "", any. An empty list means every port."""
    if not protocols:
        return {"": ()}
    found: dict[str, list[PortRange | str] | None] = {}
    for item in protocols:
        named = item.get("destinationNamedPort")
        protocol = next((name for name in PROTOCOLS if name in item), "")
        port = named or item.get(protocol, {}).get("destinationPort")
        ports = found.setdefault("" if named else protocol, [])
        if not port:
            found[protocol] = None
        elif ports is not None:
            ports.append(named or _port(port))
    return {protocol: tuple(ports or ()) for protocol, ports in found.items()}


def _port(port: Data) -> PortRange:
    span = port.get("range", {"start": port.get("number"), "end": port.get("number")})
    return PortRange(span["start"], span["end"])


def _refuse_odd_port_names(spec: Data) -> None:
    """Raise Ignored for port names that Felix's own validation refuses, which drops the policy."""
    for direction in ("ingress", "egress"):
        for index, rule in enumerate(spec.get(direction, ())):
            for number, item in enumerate(rule.get("protocols", ())):
                name = item.get("destinationNamedPort")
                if name and not is_port_name(name):
                    path = ("spec", direction, index, "protocols", number, "destinationNamedPort")
                    reason = f'"{name}" is not a port name; Felix ignores the whole policy'
                    raise Ignored(path, reason, "nothing that it should deny is denied")


CLUSTER_NETWORK_POLICY = _shapes()
