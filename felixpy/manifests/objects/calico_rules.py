"""The rules of Calico's policies and profiles: their schema, and their conversion.

(libcalico-go/lib/validator/v3; libcalico-go/lib/backend/syncersv1/updateprocessors/rules.go)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from felixpy.errors import Path, spell
from felixpy.manifests.objects.criteria import (
    ICMP,
    ICMP_VERSIONS,
    PORTS,
    PROTOCOL,
    RULE_NAMESPACES,
    SELECTOR,
    WITH_PORTS,
    cidr,
    excluded_cidr,
    given_twice,
    nets,
    number_of,
)
from felixpy.manifests.objects.labels import side_selector
from felixpy.manifests.objects.network_policy import port_or_name
from felixpy.manifests.validation.addresses import network
from felixpy.manifests.validation.findings import Complaint, Finding
from felixpy.manifests.validation.metadata import subdomain
from felixpy.manifests.validation.shapes import ListOf, MapOf, Object, Scalar, integer, one_of, text
from felixpy.model import ANYONE, Icmp, PortRange, Rule, ServiceName, Side

Data = Mapping[str, Any]

ACTIONS = {"Allow": "allow", "Deny": "deny", "Log": "log", "Pass": "next-tier"}
SIDES = ("source", "destination")


def _version(value: int) -> Complaint | None:
    return None if value in (4, 6) else Complaint(f"{value}: 4 or 6")


VERSION = Scalar("a whole number", (int,), _version)

PEERS = {
    "podSelector": "this is a field of networking.k8s.io/v1; Calico's is selector",
    "ipBlock": "this is a field of networking.k8s.io/v1; Calico's are nets and notNets",
}
RULE_FIELDS_OF_KUBERNETES = {
    "from": "this is a field of networking.k8s.io/v1; Calico's is source",
    "to": "this is a field of networking.k8s.io/v1; Calico's is destination",
}


def _account(given: str) -> Complaint | None:
    complaint = subdomain(given)
    return complaint and complaint._replace(hint="no service account can have this name", severity="warning")


def _code_needs_type(icmp: Data, path: Path) -> Iterator[Finding]:
    if "code" in icmp and "type" not in icmp:
        yield Finding((*path, "code"), "a code needs a type")


def _ports_need_protocol(rule: Data, path: Path) -> Iterator[Finding]:
    """Findings for ports without TCP, UDP or SCTP; named ports alone need no protocol."""
    given = rule.get("protocol")
    for side in SIDES:
        for name in ("ports", "notPorts"):
            ports = rule.get(side, {}).get(name)
            if not ports or (given is not None and number_of(given) in WITH_PORTS):
                continue
            where = (*path, side, name)
            if given is not None:
                yield Finding(where, f"not allowed with protocol {given}", "ports need TCP, UDP or SCTP")
            elif any(isinstance(port_or_name(str(port)), PortRange) for port in ports):
                yield Finding(where, f"numeric ports need {spell((*path, 'protocol'))} TCP, UDP or SCTP")


def _icmp_needs_its_protocol(rule: Data, path: Path) -> Iterator[Finding]:
    given = rule.get("protocol")
    version = ICMP_VERSIONS.get(given or "")
    if "icmp" in rule and (given is None or number_of(given) not in ICMP):
        found = f", not {given}" if given is not None else ""
        yield Finding((*path, "icmp"), f"needs protocol ICMP or ICMPv6{found}")
    if version and rule.get("ipVersion", version) != version:
        yield Finding((*path, "ipVersion"), f"must be {version} with protocol {given}")


def _one_family(rule: Data, path: Path) -> Iterator[Finding]:
    """Findings for networks of two families, or of another than ipVersion's: no packet could match the rule."""
    wanted, first = rule.get("ipVersion"), None
    for side in SIDES:
        for name in ("nets", "notNets"):
            for index, given in enumerate(rule.get(side, {}).get(name, ())):
                net = network(given)
                if net is None:
                    continue
                where = (*path, side, name)
                if wanted and net.version != wanted:
                    yield Finding((*where, index), f"{given}: does not fit ipVersion {wanted}")
                elif first and net.version != first[0]:
                    reason = f"IPv{net.version} while {spell(first[1])} is IPv{first[0]}"
                    yield Finding(where, f"{reason}; no packet can match", "use one rule per family")
                    return
                first = first or (net.version, where)


def _http_allows(rule: Data, path: Path) -> Iterator[Finding]:
    """Findings for http matches, which need an ingress rule that allows TCP, and which iptables rules ignore."""
    if "http" not in rule:
        return
    if "egress" in path:
        yield Finding((*path, "http"), "not allowed in egress rules")
    elif rule["action"] != "Allow":
        yield Finding((*path, "http"), "only allowed on Allow rules")
    elif number_of(rule.get("protocol", "TCP")) not in ("TCP", 6):
        yield Finding((*path, "http"), f"needs protocol TCP, not {rule['protocol']}")
    else:
        reason = "iptables cannot look into HTTP; Felix's rule allows the traffic whatever the request"
        yield Finding((*path, "http"), reason, severity="warning")


SIDE_CONDITIONS = ("nets", "notNets", "selector", "notSelector", "namespaceSelector", "services", "serviceAccounts")
"""Fields that limit who a side of a rule is; ports do not."""

BESIDE_SERVICES = ("selector", "notSelector", "namespaceSelector", "serviceAccounts", "nets", "notNets")
SERVICE_SIDES = {"ingress": "source", "egress": "destination"}


def _services_stand_alone(rule: Data, path: Path) -> Iterator[Finding]:
    """Findings for services together with other conditions on the same side; a destination also has its ports."""
    for side in SIDES:
        entity = rule.get(side, {})
        if "services" not in entity:
            continue
        where = (*path, side, "services")
        beside = (*BESIDE_SERVICES, "ports", "notPorts") if side == "destination" else BESIDE_SERVICES
        for name in beside:
            if entity.get(name):
                yield Finding(where, f"cannot be combined with {name}")
        if not entity["services"].get("name"):
            yield Finding((*where, "name"), "required field is missing")


def _services_stand_right(rule: Data, path: Path, direction: str, namespaced: bool) -> Iterator[Finding]:
    allowed = SERVICE_SIDES[direction]
    for side in SIDES:
        services = rule.get(side, {}).get("services")
        if services is None:
            continue
        where = (*path, side, "services")
        if side != allowed:
            yield Finding(where, f"in {direction} rules services may only be the {allowed}")
        elif not services.get("namespace"):
            if not namespaced:
                yield Finding((*where, "namespace"), "required field is missing")
            else:
                reason = "without namespace Felix finds no such service, and the rule never matches"
                yield Finding(where, reason, "name the namespace", "warning")


def _one_form(http_path: Data, path: Path) -> Iterator[Finding]:
    forms = [name for name in ("exact", "prefix") if http_path.get(name)]
    if len(forms) != 1:
        yield Finding(path, "exactly one of exact and prefix is needed")
    elif not http_path[forms[0]].startswith("/") or set(http_path[forms[0]]) & set("?# "):
        yield Finding((*path, forms[0]), 'must begin with "/" and contain no "?", "#" or blank')


ENTERPRISE = {"domains": "a field of Calico Enterprise; this release knows addresses and labels only"}


def _matches_anything(side: str) -> Callable[[Data, str], str]:
    """A function that describes the effect of dropping a condition of a rule's side."""

    def effect(entity: Data, key: str) -> str:
        limited = any(entity.get(name) not in (None, "", [], {}) for name in SIDE_CONDITIONS)
        return f"without it the rule matches {f'more {side}s' if limited else f'any {side}'}"

    return effect


@cache
def rules(direction: str, namespaced: bool) -> ListOf:
    """The shape of a list of rules."""
    icmp = Object({"type": integer(0, 254), "code": integer(0, 255)}, relations=(_code_needs_type,))
    conditions = {
        "nets": nets(cidr),
        "notNets": nets(excluded_cidr),
        "selector": SELECTOR,
        "notSelector": SELECTOR,
        "namespaceSelector": RULE_NAMESPACES,
        "ports": PORTS,
        "notPorts": PORTS,
        "services": Object({"name": text(subdomain), "namespace": text(subdomain)}),
        "serviceAccounts": Object({"names": ListOf(text(_account), "names"), "selector": SELECTOR}),
    }
    side = {name: Object(conditions, elsewhere=PEERS | ENTERPRISE, effect=_matches_anything(name)) for name in SIDES}
    http_path = Object({"exact": text(), "prefix": text()}, relations=(_one_form,))

    def services(rule: Data, path: Path) -> Iterator[Finding]:
        return _services_stand_right(rule, path, direction, namespaced)

    rule = Object(
        {
            "action": one_of(*ACTIONS, what="unknown action"),
            "ipVersion": VERSION,
            "protocol": PROTOCOL,
            "notProtocol": PROTOCOL,
            "icmp": icmp,
            "notICMP": icmp,
            "source": side["source"],
            "destination": side["destination"],
            "http": Object({"methods": ListOf(text(), repeated=given_twice), "paths": ListOf(http_path)}),
            "metadata": Object({"annotations": MapOf(text())}),
        },
        required=("action",),
        relations=(
            _ports_need_protocol, _icmp_needs_its_protocol, _one_family, _http_allows, _services_stand_alone,
            services,
        ),
        elsewhere=RULE_FIELDS_OF_KUBERNETES | dict.fromkeys(conditions, "it belongs into source or destination"),
        repeat=True,
    )  # fmt: skip
    return ListOf(rule, "rules")


def convert(spec: Data, direction: str, namespace: str) -> tuple[Rule, ...]:
    """The rules of one direction; `namespace` is "" outside namespaces."""
    given = spec.get(direction, ())
    return tuple(_rule(rule, namespace, ("spec", direction, index)) for index, rule in enumerate(given))


def _rule(rule: Data, namespace: str, path: Path) -> Rule:
    annotations = rule.get("metadata", {}).get("annotations", {})
    return Rule(
        action=ACTIONS[rule["action"]],
        ip_version=rule.get("ipVersion"),
        protocol=_protocol(rule.get("protocol")),
        not_protocol=_protocol(rule.get("notProtocol")),
        icmp=_icmp(rule.get("icmp")),
        not_icmp=_icmp(rule.get("notICMP")),
        source=_side_of(rule.get("source", {}), namespace),
        destination=_side_of(rule.get("destination", {}), namespace),
        annotations=tuple(sorted(annotations.items())),
        path=path,
    )


def _protocol(value: str | int | None) -> str | int | None:
    """A protocol by name in lower case or by number; digits in quotes are a number."""
    if value is None or isinstance(value, int):
        return value
    return int(value) if value.isascii() and value.isdigit() else value.lower()


def _icmp(value: Data | None) -> Icmp | None:
    """The ICMP match; None without a type, as in Felix, even if a code is given."""
    kind = (value or {}).get("type")
    return None if kind is None else Icmp(kind, (value or {}).get("code"))


def _side_of(entity: Data, namespace: str) -> Side:
    if not entity:
        return ANYONE
    service = entity.get("services")
    return Side(
        selector=side_selector(entity, namespace),
        not_selector=entity.get("notSelector", ""),
        nets=_nets(entity.get("nets", ())),
        not_nets=_nets(entity.get("notNets", ())),
        ports=_ports(entity.get("ports", ())),
        not_ports=_ports(entity.get("notPorts", ())),
        service=ServiceName(service.get("namespace", ""), service["name"]) if service else None,
    )


def _nets(given: Sequence[str]) -> tuple[str, ...]:
    """Masked CIDRs in the given order, repeated ones included."""
    return tuple(str(network(net)) for net in given)


def _ports(given: Sequence[int | str]) -> tuple[PortRange | str, ...]:
    """Numbers, ``low:high`` ranges and names."""
    return tuple(port_or_name(str(port)) for port in given)
