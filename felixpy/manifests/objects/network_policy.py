"""NetworkPolicy (networking.k8s.io/v1): its schema, and its conversion to a Calico policy.

(k8s.io/kubernetes/pkg/apis/networking/validation; libcalico-go/lib/backend/k8s/conversion)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from felixpy.errors import Path
from felixpy.manifests.objects.criteria import OUT_OF_RANGE, port
from felixpy.manifests.objects.labels import LABEL_SELECTOR, namespace_clause, namespaced, pod_selector
from felixpy.manifests.validation.addresses import network, packed
from felixpy.manifests.validation.findings import Complaint, Finding, shown
from felixpy.manifests.validation.metadata import document
from felixpy.manifests.validation.shapes import Complain, ListOf, Object, Scalar, integer, one_of, text
from felixpy.model import ANYONE, DEFAULT_TIER, Policy, PolicyKey, PortRange, Rule, Side, Source
from felixpy.remembered import remembered

Data = Mapping[str, Any]
Ports = tuple[PortRange | str, ...]
Peer = tuple[str, tuple[str, ...], tuple[str, ...]]
"""What a peer decides of a `Side`: selector, nets and not_nets."""

EVERYONE: Peer = ("", (), ())

ORDER = 1000.0
"""The order of every Kubernetes policy within the default tier."""

_RANGE = re.compile(r"(\d+)(?::(\d+))?", re.ASCII)
_LEADING_ZEROS = re.compile(r"(?<![\d:])0+(?=\d)", re.ASCII)


def _readable(effect: str) -> Complain:
    """A check of networks: Kubernetes accepts leading zeros and host bits, Calico fails on leading zeros (`effect`)."""

    def complain(given: str) -> Complaint | None:
        if network(given) is not None:
            return None
        if network(_LEADING_ZEROS.sub("", given)) is not None:
            reason = f"{shown(given)}: Calico cannot read numbers with leading zeros"
            return Complaint(reason, effect, "warning")
        hint = "a prefix length is needed" if packed(given) else ""
        return Complaint(f"{shown(given)}: not a valid CIDR", hint)

    return complain


def _exceptions_inside(block: Data, path: Path) -> Iterator[Finding]:
    net = network(block["cidr"])
    for index, given in enumerate(block.get("except", ())):
        exception = network(given)
        if net is None or exception is None:
            continue
        where = (*path, "except", index)
        if not net.contains(exception):
            yield Finding(where, f"{given}: not inside {net}")
        elif net.length == exception.length:
            yield Finding(where, f"{given}: is all of {net}", "an exception must be smaller than the cidr")


def _one_kind_of_peer(peer: Data, path: Path) -> Sequence[Finding]:
    if "ipBlock" in peer and ("podSelector" in peer or "namespaceSelector" in peer):
        return [Finding((*path, "ipBlock"), "cannot be combined with podSelector or namespaceSelector")]
    if "ipBlock" in peer or "podSelector" in peer or "namespaceSelector" in peer:
        return ()
    reason = "an empty peer is refused by the API server; Calico takes it for all pods of the namespace"
    return [Finding(path, reason, "podSelector: {} says the same", "refused")]


def _port(given: int | str) -> Complaint | None:
    if isinstance(given, str) and _RANGE.fullmatch(given.replace("-", ":")) and not given.isdigit():
        return Complaint(f"{shown(given)}: not a valid port name", "a range is written with port and endPort")
    complaint = port(given)
    if complaint is None and isinstance(given, str) and given.isdigit():
        reason = f"{shown(given)}: the API server takes digits in quotes for a name and refuses it"
        return Complaint(reason, f"write {given}", "refused")
    return complaint


def _end_port(entry: Data, path: Path) -> Sequence[Finding]:
    if "endPort" not in entry:
        return ()
    first, last = entry.get("port"), entry["endPort"]
    reason = ""
    if first is None:
        reason = "needs port"
    elif isinstance(first, str):
        reason = f"only allowed with a numeric port, not with {shown(first)}"
    elif last < first:
        reason = f"{last}: lower than port {first}"
    return [Finding((*path, "endPort"), reason)] if reason else ()


CALICO_FIELDS = (
    "selector", "types", "order", "tier", "action", "protocol", "source", "destination", "namespaceSelector",
    "serviceAccountSelector", "serviceAccounts", "nets", "notNets", "applyOnForward", "doNotTrack", "preDNAT",
    "notPorts", "notSelector",
)  # fmt: skip
CALICO = dict.fromkeys(CALICO_FIELDS, "this is a Calico field; apiVersion projectcalico.org/v3 was probably meant")


def _peer_matches_more(peer: Data, key: str) -> str:
    known = any(name in peer for name in ("podSelector", "namespaceSelector", "ipBlock"))
    return "" if known or key in CALICO or key == "ports" else "without it the peer is empty"


def _rule_shape(peers: str, other: str) -> Object:
    cidr = text(_readable("the rule then allows every address"))
    exception = text(_readable("this exception and all that follow it are lost"))
    block = Object({"cidr": cidr, "except": ListOf(exception)}, ("cidr",), (_exceptions_inside,))
    peer = Object(
        {"podSelector": LABEL_SELECTOR, "namespaceSelector": LABEL_SELECTOR, "ipBlock": block},
        relations=(_one_kind_of_peer,),
        elsewhere=CALICO | {"ports": "ports belong beside from or to, not into a peer"},
        effect=_peer_matches_more,
    )
    entry = Object(
        {
            "protocol": one_of("TCP", "UDP", "SCTP", what="unknown protocol"),
            "port": Scalar("a port or the name of a port", (int, str), _port),
            "endPort": integer(1, 65535, OUT_OF_RANGE.removesuffix(" from 1 to 65535")),
        },
        relations=(_end_port,),
    )
    swapped = {other: f"{peers} was probably meant"}
    fields = {peers: ListOf(peer, "peers"), "ports": ListOf(entry, "ports")}
    return Object(fields, elsewhere=CALICO | swapped, repeat=True)


_IN_RULES = {
    "ports": "ports belong into spec.ingress[] or spec.egress[]",
    "from": "from belongs into spec.ingress[]",
    "to": "to belongs into spec.egress[]",
}
SPEC = Object(
    {
        "podSelector": LABEL_SELECTOR,
        "policyTypes": ListOf(one_of("Ingress", "Egress"), "policy types"),
        "ingress": ListOf(_rule_shape("from", "to"), "rules"),
        "egress": ListOf(_rule_shape("to", "from"), "rules"),
    },
    elsewhere=CALICO | _IN_RULES,
)
NETWORK_POLICY = document(SPEC)


class _Draft(NamedTuple):
    """A rule before the namespace of its policy is known; `own` selects the peer's pods in that namespace, if any."""

    rule: Rule
    own: str = ""

    def of(self, namespace: str, *, inward: bool) -> Rule:
        """The rule in a policy of a namespace whose pods it selects."""
        selector = f"({namespace_clause(None, namespace)}) && ({self.own})"
        if inward:
            return replace(self.rule, source=_side((selector, (), ())))
        return replace(self.rule, destination=_side((selector, (), ()), self.rule.destination.ports))


class _Drafts(NamedTuple):
    """A converted rule of a manifest, independent of the namespace, and the networks in it that Calico masks."""

    rules: tuple[_Draft, ...]
    rewritten: tuple[tuple[Path, str, str], ...]


class PolicyDraft(NamedTuple):
    """The converted spec of a policy, independent of the namespace."""

    selector: str
    ingress: bool
    egress: bool
    inbound: tuple[_Draft, ...]
    outbound: tuple[_Draft, ...]
    rewritten: tuple[tuple[Path, str, str], ...]


def draft(spec: Data | None, types: Sequence[str] = ()) -> PolicyDraft:
    """Convert a spec. `types` are used if policyTypes is absent.

    By default that is Ingress, and Egress if there are egress rules, as the API server defaults it for NetworkPolicies.
    """
    spec = spec or {}
    types = spec.get("policyTypes") or types or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    inbound = [_drafted(rule, "ingress", index) for index, rule in enumerate(spec.get("ingress", ()))]
    outbound = [_drafted(rule, "egress", index) for index, rule in enumerate(spec.get("egress", ()))]
    return PolicyDraft(
        selector=pod_selector(spec.get("podSelector")),
        ingress="Ingress" in types,
        egress="Egress" in types,
        inbound=tuple([rule for found in inbound for rule in found.rules]),
        outbound=tuple([rule for found in outbound for rule in found.rules]),
        rewritten=tuple([net for found in (*inbound, *outbound) for net in found.rewritten]),
    )


def network_policy(data: Data, source: Source, drafted: PolicyDraft) -> Policy:
    """A NetworkPolicy, whose spec is drafted."""
    return policy(data, "KubernetesNetworkPolicy", drafted, source)


def policy(data: Data, kind: str, drafted: PolicyDraft, source: Source) -> Policy:
    """The common part of a NetworkPolicy and of its staged form."""
    metadata = data["metadata"]
    name, space = metadata["name"], metadata["namespace"]
    return Policy(
        key=PolicyKey(kind, space, name),
        tier=DEFAULT_TIER,
        order=ORDER,
        selector=namespaced(drafted.selector, space),
        ingress=drafted.ingress,
        egress=drafted.egress,
        inbound=tuple([rule.of(space, inward=True) if rule.own else rule.rule for rule in drafted.inbound]),
        outbound=tuple([rule.of(space, inward=False) if rule.own else rule.rule for rule in drafted.outbound]),
        source=source,
        rewritten=drafted.rewritten,
    )


_encode = msgspec.json.Encoder().encode


def _drafted(rule: Data, direction: str, index: int) -> _Drafts:
    """Convert a rule. Rules repeat across namespaces, so rules with equal texts are converted once."""
    try:
        text = _encode(rule)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return _drafts(rule, direction, index)  # unknown fields, dropped with a warning, may hold anything
    return _drafts_of(text, direction, index)


@remembered(1 << 14)
def _drafts_of(text: bytes, direction: str, index: int) -> _Drafts:
    return _drafts(msgspec.json.decode(text), direction, index)


def _drafts(rule: Data, direction: str, index: int) -> _Drafts:
    """One rule for each protocol, in alphabetical order, and each peer. Ports are those of the destination."""
    inward = direction == "ingress"
    side = "from" if inward else "to"
    path: Path = ("spec", direction, index)
    given = rule.get(side, ())
    peers = [_peer(peer) for peer in given] or [(EVERYONE, "")]
    places: list[Path] = [(*path, side, number) for number in range(len(given))] or [()]
    drafts = []
    for protocol, found in sorted(_ports(rule.get("ports", ())).items()):
        ports, named = simplified(found), protocol.lower() or None
        for (peer, own), at in zip(peers, places, strict=True):
            source, destination = (_side(peer), _only(ports)) if inward else (ANYONE, _side(peer, ports))
            drafted = Rule(action="allow", protocol=named, source=source, destination=destination, path=path, peer=at)
            drafts.append(_Draft(drafted, own))
    return _Drafts(tuple(drafts), tuple(_rewritten(given, (*path, side))))


def _rewritten(peers: Sequence[Data], path: Path) -> Iterator[tuple[Path, str, str]]:
    """(path, network, masked network) for networks with host bits, which Calico masks."""
    for number, peer in enumerate(peers):
        block = peer.get("ipBlock")
        if block:
            at = (*path, number, "ipBlock")
            given = [((*at, "cidr"), block["cidr"])]
            given += [((*at, "except", place), net) for place, net in enumerate(block.get("except", ()))]
            for where, text in given:
                net = network(text)
                if net is not None and not net.masked:
                    yield where, text, str(net)


@remembered(1 << 14)
def _side(peer: Peer, ports: Ports = ()) -> Side:
    """One side of a rule; rules with the same peer share the object."""
    selector, nets, not_nets = peer
    return Side(selector=selector, nets=nets, not_nets=not_nets, ports=ports)


@remembered(1 << 12)
def _only(ports: Ports) -> Side:
    return Side(ports=ports) if ports else ANYONE


def _ports(given: Sequence[Data]) -> dict[str, Ports]:
    """Ports by protocol; a protocol without ports means all of them, whatever else is listed."""
    if not given:
        return {"": ()}
    found: dict[str, list[PortRange | str] | None] = {}
    for item in given:
        protocol, first = item.get("protocol", "TCP"), item.get("port")
        ports = found.setdefault(protocol, [])
        if first is None:
            found[protocol] = None
        elif ports is not None:
            ports.append(_span(first, item.get("endPort")))
    return {protocol: tuple(ports or ()) for protocol, ports in found.items()}


@remembered(1 << 12)
def _span(first: int | str, last: int | None) -> PortRange | str:
    return port_or_name(str(first) if last is None else f"{first}:{last}")


def port_or_name(given: str) -> PortRange | str:
    """A port as Calico parses its text: digits are a number, ``low:high`` a range, all else a name."""
    found = _RANGE.fullmatch(given)
    return PortRange(int(found[1]), int(found[2] or found[1])) if found else given


@remembered(1 << 12)
def simplified(ports: Ports) -> Ports:
    """Named ports first, then numeric ones as ascending ranges without overlap.

    Lists with fewer than two numeric ports are returned unchanged; duplicates count separately.

    >>> [str(port) for port in simplified((PortRange(81, 90), PortRange(4, 4), "foo", PortRange(80, 81)))]
    ['foo', '4', '80:90']
    """
    ranges = sorted(port for port in ports if isinstance(port, PortRange))
    if len(ports) < 2 or sum(last - first + 1 for first, last in ranges) < 2:
        return ports
    merged = [ranges[0]]
    for first, last in ranges[1:]:
        if first <= merged[-1].last + 1:
            merged[-1] = PortRange(merged[-1].first, max(merged[-1].last, last))
        else:
            merged.append(PortRange(first, last))
    return (*(port for port in ports if isinstance(port, str)), *merged)


def _peer(peer: Data) -> tuple[Peer, str]:
    """(peer, own): an address block or a selector of pods; `own` selects pods in the policy's namespace, or ""."""
    block = peer.get("ipBlock")
    if block is not None:
        return _block(block), ""
    pods, namespaces = pod_selector(peer.get("podSelector")), peer.get("namespaceSelector")
    if namespaces is None:
        return EVERYONE, pods
    return (f"({namespace_clause(namespaces, '')}) && ({pods})", (), ()), ""


def _block(block: Data) -> Peer:
    """The peer of an ipBlock.

    Calico's parser is stricter than Kubernetes' (leading zeros): a cidr that it cannot parse is dropped, so that the
    peer matches all addresses; an exception that it cannot parse is dropped with those after it.
    """
    net = network(block["cidr"])
    if net is None:
        return EVERYONE
    exceptions = []
    for given in block.get("except", ()):
        exception = network(given)
        if exception is None:
            break
        exceptions.append(str(exception))
    return "", (str(net),), tuple(exceptions)
