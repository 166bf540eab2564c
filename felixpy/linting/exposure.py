"""Checks for traffic that is open or closed by mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from felixpy.errors import Path, many
from felixpy.linting.chains import At
from felixpy.linting.finding import Finding, about
from felixpy.linting.selection import selector_path
from felixpy.linting.subject import DNS_PORTS, KUBERNETES_KINDS, Subject, conjuncts, listed, name_of
from felixpy.linting.views import View
from felixpy.model import (
    ANYONE,
    NAMESPACE_LABEL,
    NAMESPACE_PREFIX,
    ORCHESTRATOR_LABEL,
    HostEndpoint,
    Policy,
    PortRange,
    Rule,
    Side,
    Workload,
)
from felixpy.netfilter.numbers import NUMBERS
from felixpy.reports import Level
from felixpy.selector import Everything, LabelTest, Node, matches, parse

EVERY_PORT = Rule(action="allow")


def open_to_everyone(subject: Subject) -> Iterator[Finding]:
    """FX110. ``- {}`` and a rule with ports only are intended for everyone; an empty list may be a mistake."""
    for policy in subject.policies:
        seen: set[Path] = set()
        for rules, field in ((policy.inbound, "from"), (policy.outbound, "to")):
            for rule in rules:
                path = rule.peer or (*rule.path, field)
                if rule.action == "allow" and path not in seen and (message := _opens(subject, policy, rule, field)):
                    seen.add(path)
                    yield about(policy, path, message)


def _opens(subject: Subject, policy: Policy, rule: Rule, field: str) -> str:
    side, other = (rule.source, rule.destination) if field == "from" else (rule.destination, rule.source)
    who = "lets in" if field == "from" else "reaches"
    if policy.key.kind in KUBERNETES_KINDS and not rule.peer:
        written = subject.is_written(policy.source, (*rule.path, field))
        return f"an empty list of peers {who} everyone, addresses outside included" if written else ""
    unlimited = replace(rule, source=ANYONE, destination=ANYONE, path=(), peer=(), annotations=()) == EVERY_PORT
    if unlimited and other == ANYONE and side == Side(selector=side.selector) and _is_every_pod(side.selector):
        return f"empty selectors: {who} every pod of every namespace, on all ports"
    return ""


def _is_every_pod(selector: str) -> bool:
    nodes = conjuncts(selector) if selector else []
    return bool(nodes) and all(_admits_every_pod(node) for node in nodes)


def _admits_every_pod(node: Node) -> bool:
    return node in (LabelTest(NAMESPACE_LABEL, "has"), LabelTest(ORCHESTRATOR_LABEL, "==", "k8s")) or isinstance(
        node, Everything
    )


DNS_PODS: tuple[Mapping[str, str], ...] = tuple(
    {
        ORCHESTRATOR_LABEL: "k8s",
        NAMESPACE_LABEL: namespace,
        f"{NAMESPACE_PREFIX}kubernetes.io/metadata.name": namespace,
        f"{NAMESPACE_PREFIX}projectcalico.org/name": namespace,
        f"{NAMESPACE_PREFIX}name": namespace,
        label: value,
    }
    for namespace, label, value in (
        ("kube-system", "k8s-app", "kube-dns"),
        ("kube-system", "k8s-app", "node-local-dns"),
        ("openshift-dns", "dns.operator.openshift.io/daemonset-dns", "default"),
    )
)
"""Labels of the resolver's pods in usual clusters, as Felix sees them."""


def egress_without_dns(subject: Subject) -> Iterator[Finding]:
    """FX111. The resolver is seldom part of the input, so rules that may be meant for it count as well.

    Pods that may send nothing at all are closed on purpose.
    """
    resolves: dict[int, bool] = {}
    views: dict[int, View] = {}
    unknown = set(subject.views.unknown)
    for_dns = {policy.key for policy in subject.enforced if policy.egress and _may_be_for_dns(subject, policy)}
    for view in subject.views.all:
        policies = [policy for tier in view.policies for policy in tier]
        if view.direction != "egress" or view.section != "normal" or not policies:
            continue
        if any(rule.action == "allow" for policy in policies for rule in policy.outbound):
            may = (
                _resolves(subject, view)
                or unknown.intersection(policy.key for policy in policies)
                or any(policy.key in for_dns for policy in policies)
            )
            for number in view.endpoints:
                resolves[number] = resolves.get(number, False) or bool(may)
                views.setdefault(number, view)
    by_policy: dict[int, tuple[Policy, list[Workload]]] = {}
    for number, may in sorted(resolves.items()):
        pod = subject.thing(number)
        if not may and isinstance(pod, Workload):
            policies = [policy for tier in views[number].policies for policy in tier]
            blamed = next(policy for policy in policies if policy.outbound)
            by_policy.setdefault(id(blamed), (blamed, []))[1].append(pod)
    for policy, pods in by_policy.values():
        names = listed(f"{pod.namespace}/{pod.name}" for pod in pods)
        message = f"{many(len(pods), 'pod')} ({names}) may send, but not to a DNS server on UDP port 53"
        yield about(policy, ("spec", "egress"), message, hint="names of services then do not resolve")


def _resolves(subject: Subject, view: View) -> bool:
    """Whether UDP port 53 is open to possible resolvers: private addresses that no endpoint has."""
    pieces = view.pieces
    dns = pieces.port(NUMBERS["udp"], 53) | pieces.port(NUMBERS["udp"], 5353)
    return bool(view.chain.allowed & dns & pieces.with_peers(subject.views.landscapes[view.family].private))


def _may_be_for_dns(subject: Subject, policy: Policy) -> bool:
    return any(rule.action == "allow" and _is_for_dns(subject, rule) for rule in policy.outbound)


def _is_for_dns(subject: Subject, rule: Rule) -> bool:
    """Whether a rule's ports include 53, by number or name, or it has no ports and its peers may be resolvers."""
    side = rule.destination
    if rule.protocol not in (None, "udp", NUMBERS["udp"]) or side.service:
        return side.service is not None
    if any(map(_is_dns_port, side.ports)):
        return True
    if side.ports or side.nets:
        return False
    if not side.selector:
        return True
    node = parse(side.selector)
    if any(matches(node, labels) for labels in DNS_PODS):
        return True
    chosen = subject.select(side.selector)
    return not chosen or any(_serves_dns(subject.thing(number)) for number in chosen)


def _is_dns_port(port: PortRange | str) -> bool:
    if isinstance(port, str):
        return "dns" in port or port == "domain"
    return any(port.first <= number <= port.last for number in DNS_PORTS)


def _serves_dns(thing: object) -> bool:
    return isinstance(thing, Workload) and any(served in thing.serves for served in (("udp", 53), ("udp", 5353)))


def unprotected(subject: Subject) -> Iterator[Finding]:
    """FX112, optional. A namespace is reported as a whole if no pod in it is isolated."""
    ordinary = (policy for policy in subject.enforced if not policy.do_not_track and not policy.pre_dnat)
    isolated = frozenset().union(*(subject.selected(policy) for policy in ordinary))
    for space, numbers in sorted(subject.by_namespace.items()):
        bare = sorted(numbers - isolated)
        if not bare or space in subject.options.system_namespaces:
            continue
        profile = subject.cluster.profiles.get(f"kns.{space}")
        if len(bare) == len(numbers) and profile:
            message = f"no policy isolates any of its {many(len(bare), 'pod')}"
            yield Finding(subject=f"Namespace {space}", source=profile.source, message=message)
            continue
        owners: dict[object, list[Workload]] = {}
        for pod in map(subject.thing, bare):
            assert isinstance(pod, Workload)
            owners.setdefault(pod.owner or pod.name, []).append(pod)
        for pods in owners.values():
            message = "no policy isolates it" + (f" and {len(pods) - 1} more of its kind" if len(pods) > 1 else "")
            yield Finding(subject=name_of(pods[0]), source=pods[0].source, message=message)


def public_ports(subject: Subject) -> Iterator[Finding]:
    """FX113, optional: rules that open ports other than the public ones to the internet."""
    told: dict[tuple[object, Path], tuple[Policy, str, set[int]]] = {}
    for view in subject.views.all:
        if view.direction != "ingress" or view.section != "normal":
            continue
        pieces = view.pieces
        fine = 0
        for port in subject.options.public_ports:
            fine |= pieces.port(NUMBERS["tcp"], port)
        wrong = pieces.with_peers(subject.views.landscapes[view.family].public) & ~fine
        for number, policies in enumerate(view.policies):
            for position, policy in enumerate(policies):
                for rule, model in enumerate(policy.inbound):
                    found = view.chain.decided(At(number, position, rule)) & wrong if model.action == "allow" else 0
                    if found:
                        words = str(pieces.space.tell(pieces.traffic_of(found)))
                        key = policy.key, model.peer or model.path
                        told.setdefault(key, (policy, words, set()))[2].update(view.endpoints)
    for (_, path), (policy, words, numbers) in told.items():
        allowed = listed([str(port) for port in subject.options.public_ports], 8)
        message = f"the internet reaches {many(len(numbers), 'endpoint')} on {words}; public may be {allowed}"
        yield about(policy, path, message)


def denied_hosts(subject: Subject) -> Iterator[Finding]:
    """FX114. A global policy without a namespace condition applies to host endpoints, too."""
    for policy in subject.enforced:
        if policy.key.kind != "GlobalNetworkPolicy" or policy.do_not_track or policy.pre_dnat:
            continue
        selected = subject.selected(policy)
        if not _denies_everything(policy) or not selected & subject.pods:
            continue
        things = map(subject.thing, sorted(selected & subject.hosts))
        hosts = [thing.name for thing in things if isinstance(thing, HostEndpoint)]
        hint = "for pods only, add has(projectcalico.org/namespace) to the selector"
        level: Level | None = None
        if hosts:
            told = f"{many(len(hosts), 'host endpoint')} ({listed(hosts)})"
            message = f"denies everything, also for {told}: only failsafe ports stay open to kubelet and API server"
        elif matches(parse(policy.selector), {}):
            message, level = "denies everything, and would do so for every host endpoint that is made", "info"
        else:
            continue
        yield about(policy, selector_path(policy), message, hint=hint, level=level)


def _denies_everything(policy: Policy) -> bool:
    rules = [*(policy.inbound if policy.ingress else ()), *(policy.outbound if policy.egress else ())]
    return all(rule.action in ("deny", "log") for rule in rules) and all(
        rule.action == "log" or replace(rule, path=(), annotations=()) == Rule(action="deny") for rule in rules
    )
