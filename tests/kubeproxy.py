"""kube-proxy's iptables mode, written down a second time: from manifests as dicts to rules, and what rules do.

It shares nothing with `felixpy.services`: what is compared are the endpoints that these rules can choose and the ones
that felixpy names. The same rules are loaded into real kernels by the tests of labs. (kubernetes: pkg/proxy/iptables/
proxier.go)
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

Data = Mapping[str, Any]
Chains = Mapping[str, list[list[str]]]

MASQUERADE_MARK = "0x4000"


class Target(NamedTuple):
    """An endpoint with its state, as the EndpointSlices tell it."""

    address: str
    port: int
    node: str
    ready: bool
    serving: bool
    terminating: bool
    zones: frozenset[str]
    nodes: frozenset[str]


def targets(objects: Sequence[Data], service: Data, port: Data) -> list[Target]:
    """The endpoints of one port of a Service: from its slices, or from the pods that a controller would put there."""
    space, name = service["metadata"]["namespace"], service["metadata"]["name"]
    slices = [
        each
        for each in objects
        if each["kind"] == "EndpointSlice"
        and each["metadata"]["namespace"] == space
        and each["metadata"]["labels"].get("kubernetes.io/service-name") == name
    ]
    found: list[Target] = []
    if not slices:
        selector = service["spec"].get("selector")
        for pod in (each for each in objects if each["kind"] == "Pod" and selector):
            if pod["metadata"]["namespace"] != space:
                continue
            if any(pod["metadata"]["labels"].get(key) != value for key, value in selector.items()):
                continue
            number = port.get("targetPort", port["port"])
            if isinstance(number, str):
                own = [
                    p for p in pod["spec"]["containers"][0].get("ports", [])
                    if p.get("name") == number and p.get("protocol", "TCP") == port.get("protocol", "TCP")
                ]  # fmt: skip
                if not own:
                    continue
                number = own[0]["containerPort"]
            conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
            serving = conditions.get("Ready", "True") == "True"
            leaving = "deletionTimestamp" in pod["metadata"]
            ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not leaving)
            found.append(
                Target(pod["status"]["podIP"], number, pod["spec"]["nodeName"], ready, serving, leaving, NONE, NONE)
            )
        return found
    for each in slices:
        for slice_port in each["ports"]:
            same = slice_port.get("name", "") == port.get("name", "")
            if not same or slice_port.get("protocol", "TCP") != port.get("protocol", "TCP"):
                continue
            for end in each["endpoints"]:
                state = end.get("conditions", {})
                hints = end.get("hints", {})
                found.append(
                    Target(
                        end["addresses"][0], slice_port["port"], end.get("nodeName", ""), state.get("ready", True),
                        state.get("serving", True), state.get("terminating", False),
                        frozenset(z["name"] for z in hints.get("forZones", [])),
                        frozenset(n["name"] for n in hints.get("forNodes", [])),
                    )
                )  # fmt: skip
    return found


NONE: frozenset[str] = frozenset()


@dataclass
class Rules:
    """The rules of one node. `pods` is the CIDR of all pods (--cluster-cidr)."""

    node: str
    zone: str
    pods: str
    nat: list[str] = field(default_factory=list)
    filter: list[str] = field(default_factory=list)
    chains: list[str] = field(default_factory=list)

    @cached_property
    def parsed(self) -> tuple[Chains, Chains]:
        """The rules of both tables in words."""
        return _chains(self.nat), _chains(self.filter)

    def text(self) -> str:
        """For iptables-restore --noflush; the chains of kube-proxy are made anew."""
        firewall = ["KUBE-PROXY-FIREWALL", "KUBE-EXTERNAL-SERVICES", "KUBE-SERVICES"]
        jumps = [
            f"-A {hook} -m conntrack --ctstate NEW -j {chain}"
            for hook, chain in [
                ("INPUT", "KUBE-PROXY-FIREWALL"), ("FORWARD", "KUBE-PROXY-FIREWALL"), ("OUTPUT", "KUBE-PROXY-FIREWALL"),
                ("INPUT", "KUBE-EXTERNAL-SERVICES"), ("FORWARD", "KUBE-EXTERNAL-SERVICES"),
                ("FORWARD", "KUBE-SERVICES"), ("OUTPUT", "KUBE-SERVICES"),
            ]
        ]  # fmt: skip
        return "\n".join(
            [
                "*nat", *(f":{chain} - [0:0]" for chain in BASE + self.chains),
                "-A PREROUTING -j KUBE-SERVICES", "-A OUTPUT -j KUBE-SERVICES", "-A POSTROUTING -j KUBE-POSTROUTING",
                *self.nat, "COMMIT",
                "*filter", *(f":{chain} - [0:0]" for chain in firewall), *jumps, *self.filter, "COMMIT", "",
            ]
        )  # fmt: skip


BASE = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"]
COMMON = [
    f"-A KUBE-MARK-MASQ -j MARK --or-mark {MASQUERADE_MARK}",
    f"-A KUBE-POSTROUTING -m mark ! --mark {MASQUERADE_MARK}/{MASQUERADE_MARK} -j RETURN",
    f"-A KUBE-POSTROUTING -j MARK --xor-mark {MASQUERADE_MARK}",
    "-A KUBE-POSTROUTING -j MASQUERADE",
]


def rules(objects: Sequence[Data], node: str, pods: str) -> Rules:
    """What kube-proxy programs on a node."""
    labels: Data = next(
        (o["metadata"].get("labels", {}) for o in objects if o["kind"] == "Node" and o["metadata"]["name"] == node), {}
    )
    made = Rules(node, labels.get("topology.kubernetes.io/zone", ""), pods, list(COMMON))
    for service in (each for each in objects if each["kind"] == "Service"):
        spec = service["spec"]
        if spec.get("clusterIP") == "None" or spec.get("type") == "ExternalName":
            continue
        for port in spec["ports"]:
            _one(made, objects, service, port)
    made.nat.append("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")
    return made


def _one(made: Rules, objects: Sequence[Data], service: Data, port: Data) -> None:  # noqa: C901, PLR0912 - as it reads there
    spec, name = (
        service["spec"],
        f"{service['metadata']['namespace']}/{service['metadata']['name']}:{port.get('name', '')}",
    )
    protocol = port.get("protocol", "TCP").lower()
    tag = sha256((name + protocol).encode()).hexdigest()[:12].upper()
    ends = targets(objects, service, port)
    ready = [end for end in ends if end.ready]
    # Topology: only hints that all ready endpoints have, and only if one of them is for here.
    usable = ready
    if ready and all(end.nodes for end in ready) and any(made.node in end.nodes for end in ready):
        usable = [end for end in ready if made.node in end.nodes]
    elif ready and all(end.zones for end in ready) and any(made.zone in end.zones for end in ready):
        usable = [end for end in ready if made.zone in end.zones]
    cluster = usable or [end for end in ends if end.serving and end.terminating]
    mine = [end for end in ends if end.node == made.node]
    local = [end for end in mine if end.ready] or [
        end for end in mine if end.serving and end.terminating and not end.ready
    ]
    anybody = bool(ready or [end for end in ends if end.serving and end.terminating])
    internal_local = spec.get("internalTrafficPolicy") == "Local"
    external_local = spec.get("externalTrafficPolicy") == "Local"
    svc, svl, ext, firewall = (f"KUBE-{kind}-{tag}" for kind in ("SVC", "SVL", "EXT", "FW"))
    made.chains += [svc, svl, ext, firewall]
    _balance(made, svc, cluster, protocol, tag + "C")
    _balance(made, svl, local, protocol, tag + "L")
    inner = svl if internal_local else svc
    outer = svl if external_local else svc
    no_inner = not (local if internal_local else cluster)
    no_outer = not (local if external_local else cluster)
    dead = None if anybody else "REJECT"
    match = f"-p {protocol} -m {protocol} --dport"
    if external_local:
        made.nat += [
            f"-A {ext} -s {made.pods} -j {svc}",
            f"-A {ext} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
            f"-A {ext} -m addrtype --src-type LOCAL -j {svc}",
        ]
    else:
        made.nat.append(f"-A {ext} -j KUBE-MARK-MASQ")
    made.nat.append(f"-A {ext} -j {outer}")

    ip = spec.get("clusterIP")
    if ip:
        if anybody and not no_inner:
            made.nat += [
                f"-A {inner} ! -s {made.pods} -d {ip}/32 {match} {port['port']} -j KUBE-MARK-MASQ",
                f"-A KUBE-SERVICES -d {ip}/32 {match} {port['port']} -j {inner}",
            ]
            # The marking rule has to be the first of its chain.
            made.nat.insert(0, made.nat.pop(-2))
        else:
            made.filter.append(f"-A KUBE-SERVICES -d {ip}/32 {match} {port['port']} -j {dead or 'DROP'}")
    balancers = spec.get("type") == "LoadBalancer" and service.get("status", {}).get("loadBalancer", {}).get(
        "ingress", []
    )
    vips = [each["ip"] for each in balancers or [] if each.get("ipMode", "VIP") == "VIP"]
    ranges = spec.get("loadBalancerSourceRanges", [])
    for address in spec.get("externalIPs", []):
        _external(made, f"-d {address}/32 {match} {port['port']}", ext, anybody, no_outer, dead)
    for address in vips:
        where = f"-d {address}/32 {match} {port['port']}"
        _external(made, where, firewall if ranges else ext, anybody, no_outer, dead)
        if ranges and anybody:
            made.filter.append(f"-A KUBE-PROXY-FIREWALL {where} -j DROP")
    if ranges:
        made.nat += [f"-A {firewall} -s {each} -j {ext}" for each in ranges]
    if port.get("nodePort"):
        if anybody:
            made.nat.append(f"-A KUBE-NODEPORTS {match} {port['nodePort']} -j {ext}")
        if no_outer:
            where = f"-m addrtype --dst-type LOCAL {match} {port['nodePort']}"
            made.filter.append(f"-A KUBE-EXTERNAL-SERVICES {where} -j {dead or 'DROP'}")


def _external(made: Rules, where: str, chain: str, anybody: bool, no_outer: bool, dead: str | None) -> None:
    if anybody:
        made.nat.append(f"-A KUBE-SERVICES {where} -j {chain}")
    if no_outer:
        made.filter.append(f"-A KUBE-EXTERNAL-SERVICES {where} -j {dead or 'DROP'}")


def _balance(made: Rules, chain: str, ends: Sequence[Target], protocol: str, tag: str) -> None:
    for number, end in enumerate(ends):
        own = f"KUBE-SEP-{tag}{number}"
        made.chains.append(own)
        rest = len(ends) - number
        chance = f"-m statistic --mode random --probability {1 / rest:.10f} " if rest > 1 else ""
        made.nat += [
            f"-A {chain} {chance}-j {own}",
            f"-A {own} -s {end.address}/32 -j KUBE-MARK-MASQ",
            f"-A {own} -p {protocol} -m {protocol} -j DNAT --to-destination {end.address}:{end.port}",
        ]


# --- what rules do

_address, _network = cache(ip_address), cache(ip_network)


class Packet(NamedTuple):
    """A packet at a node whose own addresses are `local`."""

    source: str
    destination: str
    protocol: str
    port: int
    local: frozenset[str]


class Fate(NamedTuple):
    """What may become of a packet: an endpoint and whether the source is masqueraded, or REJECT, DROP or nothing."""

    address: str = ""
    port: int = 0
    masquerade: bool = False
    ended: str = ""


def fates(made: Rules, packet: Packet) -> set[Fate]:
    """All that may become of it: a random choice goes both ways."""
    nat, rest = made.parsed
    found = set(_walk(nat, "KUBE-SERVICES", packet, False))
    ended: set[Fate] = set()
    for fate in found:
        if fate.address:
            ended.add(fate)
            continue
        for chain in ("KUBE-PROXY-FIREWALL", "KUBE-EXTERNAL-SERVICES", "KUBE-SERVICES"):
            verdict = next((f.ended for f in _walk(rest, chain, packet, False) if f.ended), "")
            if verdict:
                ended.add(Fate(ended=verdict))
                break
        else:
            ended.add(Fate())
    return ended


def _chains(lines: Sequence[str]) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for line in lines:
        _, chain, *words = shlex.split(line)
        found.setdefault(chain, []).append(words)
    return found


def _walk(chains: Chains, chain: str, packet: Packet, masquerade: bool) -> Iterator[Fate]:  # noqa: C901, PLR0912
    """The fates of a packet that enters a chain; one that leaves it at its end has none of its own."""
    states = {masquerade}
    for words in chains.get(chain, []):
        following: set[bool] = set()
        for mark in states:
            applies, may_not = _matches(words, packet)
            if not applies or may_not:
                following.add(mark)
            if not applies:
                continue
            target = words[words.index("-j") + 1]
            if target == "DNAT":
                address, _, port = words[-1].rpartition(":")
                yield Fate(address, int(port), mark)
            elif target in ("REJECT", "DROP"):
                yield Fate(ended=target)
            elif target == "MARK":
                following.add("--or-mark" in words or mark)
            elif target == "RETURN":
                yield Fate(masquerade=mark)
            else:
                for fate in _walk(chains, target, packet, mark):
                    if fate.address or fate.ended:
                        yield fate
                    else:
                        following.add(fate.masquerade)
        states = following
        if not states:
            return
    for mark in states:
        yield Fate(masquerade=mark)


def _matches(words: list[str], packet: Packet) -> tuple[bool, bool]:
    """Whether a rule applies, and whether it may as well not (a random choice)."""
    chance, index = False, 0
    while index < len(words):
        word, negated = words[index], False
        if word == "!":
            negated, index, word = True, index + 1, words[index + 1]
        value = words[index + 1] if index + 1 < len(words) else ""
        holds = True
        if word == "-s":
            holds = _address(packet.source) in _network(value)
        elif word == "-d":
            holds = _address(packet.destination) in _network(value)
        elif word == "-p":
            holds = packet.protocol == value
        elif word == "--dport":
            holds = packet.port == int(value)
        elif word == "--dst-type":
            holds = packet.destination in packet.local
        elif word == "--src-type":
            holds = packet.source in packet.local
        elif (word, value) == ("-m", "statistic"):
            chance = True
        if holds == negated:
            return False, False
        index += 2
    return True, chance
