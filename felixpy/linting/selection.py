"""Checks of selectors, and of references to namespaces, accounts and Services."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from ipaddress import ip_address, ip_network

from felixpy.errors import Path, many
from felixpy.linting.finding import Finding, about
from felixpy.linting.subject import Subject, conjuncts, listed, none_of, tests_of
from felixpy.linting.typos import near
from felixpy.model import (
    NAMESPACE_LABEL,
    NAMESPACE_PREFIX,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    Policy,
    Side,
    Workload,
)
from felixpy.reports import Level
from felixpy.selector import And, LabelTest, Node, matches

METADATA_NAME = f"{NAMESPACE_PREFIX}kubernetes.io/metadata.name"
NAMES = (METADATA_NAME, f"{NAMESPACE_PREFIX}projectcalico.org/name")
"""Labels with the name of a namespace: a condition on one refers to a namespace, in the input or not."""

SELECTORS = {
    "KubernetesNetworkPolicy": "podSelector",
    "StagedKubernetesNetworkPolicy": "podSelector",
    "KubernetesClusterNetworkPolicy": "subject",
}
"""The field with the selector of a policy, by kind; in Calico's kinds it is selector."""


def selector_path(policy: Policy) -> Path:
    return ("spec", SELECTORS.get(policy.key.kind, "selector"))


def is_about_namespaces(node: Node) -> bool:
    """Whether a condition uses labels of namespaces only."""
    labels = [test.label for test in tests_of(node)]
    return bool(labels) and all(label == NAMESPACE_LABEL or label.startswith(NAMESPACE_PREFIX) for label in labels)


def policies_without_endpoints(subject: Subject) -> Iterator[Finding]:
    """FX101. Not reported if the input has no pods in the namespaces that the policy is for."""
    for policy in subject.policies:
        if subject.selected(policy) or not subject.pods:
            continue
        spaces = _spaces(subject, policy.selector)
        pods = frozenset().union(*(subject.by_namespace.get(name, frozenset()) for name in spaces))
        if not pods:
            continue
        meant = _meant(subject, policy.selector, pods)
        level: Level | None = None
        if not policy.key.namespace and not subject.hosts and not meant and not _needs_namespace(policy.selector):
            level = "info"
        where = f" of namespace {policy.key.namespace}" if policy.key.namespace else ""
        yield about(
            policy,
            selector_path(policy),
            f"selects {none_of(len(pods), 'pod')}{where}",
            hint=meant,
            level=level,
        )


def peers_without_endpoints(subject: Subject) -> Iterator[Finding]:
    """FX102. Peers that may exist outside the input are reported only if a name looks like a typo."""
    for policy in subject.policies:
        for _, _, _, side, path in subject.sides(policy):
            if not side.selector or not subject.pods or subject.select(side.selector):
                continue
            if any(_unknown_accounts(subject, side.selector, policy)):
                continue
            spaces = _spaces(subject, side.selector)
            if spaces:
                finding = _no_pod(subject, policy, side.selector, path)
            else:
                finding = _no_namespace(subject, policy, side.selector, path)
            if finding:
                yield finding


def _no_pod(subject: Subject, policy: Policy, selector: str, path: Path) -> Finding | None:
    spaces = _spaces(subject, selector)
    pods = frozenset().union(*(subject.by_namespace.get(name, frozenset()) for name in spaces))
    hint = _meant(subject, selector, pods)
    everywhere = not any(map(is_about_namespaces, conjuncts(selector)))
    if not pods or (everywhere and not hint and not subject.is_whole):
        return None
    where = "the input" if everywhere else f"namespace{'s' if len(spaces) > 1 else ''} {listed(spaces)}"
    return about(policy, path, f"selects {none_of(len(pods), 'pod')} of {where}", hint=hint)


WELL_KNOWN = (
    "kube-system", "kube-public", "default", "ingress-nginx", "monitoring", "observability", "logging", "istio-system",
    "linkerd", "cert-manager", "calico-system", "calico-apiserver", "tigera-operator", "metallb-system", "openshift-",
    "traefik", "argocd", "gatekeeper-system", "vault",
)  # fmt: skip
"""Namespaces that are seldom part of an application's manifests."""


def _no_namespace(subject: Subject, policy: Policy, selector: str, path: Path) -> Finding | None:
    conditions = [node for node in conjuncts(selector) if is_about_namespaces(node)]
    hints = [hint for node in conditions for hint in _hints(node, list(subject.namespaces.values()))]
    tests = [test for node in conditions for test in tests_of(node)]
    values = {value for test in tests for value in ([test.operand] if isinstance(test.operand, str) else test.operand)}
    if not hints and not subject.is_whole:
        elsewhere = any(value.startswith(WELL_KNOWN) for value in values)
        if elsewhere or any(test.label in NAMES for test in tests):
            return None
    message = "its namespace selector matches no namespace of the input"
    return about(policy, path, message, hint=hints[0] if hints else "")


def _spaces(subject: Subject, selector: str) -> list[str]:
    """The namespaces of the input that a selector admits."""
    conditions = [node for node in conjuncts(selector) if is_about_namespaces(node)]
    return [
        name
        for name, labels in sorted(subject.namespaces.items())
        if all(matches(condition, labels) for condition in conditions)
    ]


DEFAULT_ACCOUNT = "default"
"""Kubernetes makes it in every namespace."""


def _needs_namespace(selector: str) -> bool:
    """Whether a selector can match pods only, as host endpoints are in no namespace."""
    tests = [node for node in conjuncts(selector) if isinstance(node, LabelTest)]
    return any(
        test.operator in ("==", "in", "has")
        and (test.label in (NAMESPACE_LABEL, ORCHESTRATOR_LABEL) or test.label.startswith(NAMESPACE_PREFIX))
        for test in tests
    )


def _meant(subject: Subject, selector: str, pods: Iterable[int]) -> str:
    """Suggestions for conditions that no pod meets."""
    labels = [subject.labels(number) for number in pods]
    for node in conjuncts(selector):
        if not any(matches(node, those) for those in labels):
            for hint in _hints(node, labels):
                return hint
    return ""


def _hints(node: Node, things: list[Mapping[str, str]]) -> Iterator[str]:
    """Likely corrections of a condition: another value of the label, or another label."""
    for test in tests_of(node):
        if test.operator not in ("==", "in", "has"):
            continue
        wanted = (test.operand,) if isinstance(test.operand, str) else test.operand
        values = {value for labels in things if (value := labels.get(test.label)) is not None}
        if test.operator != "has":
            label = test.label.removeprefix(NAMESPACE_PREFIX)
            for value in wanted:
                if value not in values and (likely := near(value, values)):
                    yield f"did you mean {' or '.join(f'{label}={one}' for one in likely)}?"
        keys = {key for labels in things for key in labels if test.operator == "has" or labels[key] in wanted}
        if test.label not in keys and (likely := near(test.label, keys)):
            yield f"did you mean the label {likely[0].removeprefix(NAMESPACE_PREFIX)}?"


def unknown_namespaces(subject: Subject) -> Iterator[Finding]:
    """FX105. Reported only if the input has namespaces, and no pod is in the missing one."""
    known = subject.written_namespaces | set(subject.by_namespace)
    if not known:
        return
    told: set[str] = set()
    for policy in subject.policies:
        name = policy.key.namespace
        if not name or name in known or name in told:
            continue
        told.add(name)
        likely = near(name, known)
        if not likely and not subject.is_whole and name not in ("", "default"):
            continue
        level: Level | None = None if likely or subject.is_whole else "info"
        hint = f"did you mean {' or '.join(likely)}?" if likely else ""
        yield about(
            policy,
            ("metadata", "namespace"),
            f'there is no namespace "{name}" in the input, and no pod in it',
            hint=hint,
            level=level,
        )


def unknown_accounts(subject: Subject) -> Iterator[Finding]:
    """FX106."""
    if not subject.pods:
        return
    for policy in subject.policies:
        places: list[tuple[str, Path]] = [(policy.selector, ("spec", "serviceAccountSelector"))]
        places += [(side.selector, (*path, "serviceAccounts")) for _, _, _, side, path in subject.sides(policy)]
        for selector, path in places:
            for name, known in _unknown_accounts(subject, selector, policy):
                likely = near(name, known)
                hint = f"did you mean {' or '.join(likely)}?" if likely else ""
                yield about(policy, path, f'there is no service account "{name}" in the matching namespaces', hint=hint)


def _unknown_accounts(subject: Subject, selector: str, policy: Policy) -> Iterator[tuple[str, frozenset[str]]]:
    """Names of service accounts that none of the matched namespaces has, if the input has pods in one of them."""
    if SERVICE_ACCOUNT_LABEL not in selector:
        return
    spaces = [name for name in _spaces(subject, selector) if name in subject.by_namespace]
    known = frozenset(
        account
        for name in subject.cluster.profiles
        if name.startswith("ksa.")
        for space, _, account in (name.removeprefix("ksa.").partition("."),)
        if space in spaces
    )
    if not spaces:
        return
    known |= {DEFAULT_ACCOUNT}
    for node in conjuncts(selector):
        if isinstance(node, LabelTest) and node.label == SERVICE_ACCOUNT_LABEL and node.operator in ("==", "in"):
            for name in (node.operand,) if isinstance(node.operand, str) else node.operand:
                if name not in known:
                    yield name, known


def services_without_endpoints(subject: Subject) -> Iterator[Finding]:
    """FX107. Felix looks for the EndpointSlices of the Service, not for the Service."""
    known = {piece.service for piece in subject.cluster.slices}
    for policy in subject.policies:
        for _, _, _, side, path in subject.sides(policy):
            service = side.service
            # The cluster makes the slices of a Service with selector: manifests with the Service alone are complete.
            if service is None or service in known or service in subject.cluster.services:
                continue
            names = {f"{one.namespace}/{one.name}" for one in (*known, *subject.cluster.services)}
            likely = near(f"{service.namespace}/{service.name}", names)
            hint = f"did you mean {likely[0]}?" if likely else "the rule matches nothing until there is one"
            yield about(
                policy,
                (*path, "services"),
                f"the input has no service {service.namespace}/{service.name}, nor EndpointSlices of it",
                hint=hint,
            )


def rules_without_type(subject: Subject) -> Iterator[Finding]:
    """FX108."""
    for policy in subject.policies:
        field = "policyTypes" if policy.key.kind in SELECTORS else "types"
        for rules, active, name in (
            (policy.inbound, policy.ingress, "Ingress"),
            (policy.outbound, policy.egress, "Egress"),
        ):
            if rules and not active:
                message = f"these rules have no effect: {name} is not among the {field}"
                yield about(
                    policy, ("spec", name.lower()), message, hint=f"add {name} to spec.{field}, or remove the rules"
                )


def rules_for_others(subject: Subject) -> Iterator[Finding]:
    """FX126. The destination of an ingress rule is the pod itself, as the source of an egress rule is."""
    for policy in subject.enforced:
        pods = subject.selected(policy)
        if not pods or not pods <= subject.pods:
            continue
        for _, inward, is_peer, side, path in subject.sides(policy):
            if is_peer or _is_about_any(subject, side, pods):
                continue
            own, other, direction = OWN[inward]
            message = (
                f"matches none of the {many(len(pods), 'pod')} that the policy applies to, so this rule never matches"
                if len(pods) > 1
                else "does not match the only pod that the policy applies to, so this rule never matches"
            )
            hint = f"the {own} of an {direction} rule is the pod that the policy applies to; its peer is the {other}"
            yield about(policy, path, message, hint=hint)


OWN = {True: ("destination", "source", "ingress"), False: ("source", "destination", "egress")}
"""By whether a rule is for ingress: the side that is the pod's own, the other one, and the direction."""


def _is_about_any(subject: Subject, side: Side, pods: AbstractSet[int]) -> bool:
    """Whether the selectors and networks of a side match one of the pods."""
    if side.service:
        return True
    left = subject.select(side.selector, pods) if side.selector else pods
    if side.not_selector:
        left = left - subject.select(side.not_selector, left)
    if not side.nets and not side.not_nets:
        return bool(left)
    nets, excepted = ([ip_network(net) for net in those] for those in (side.nets, side.not_nets))
    return any(
        (not nets or any(address in net for net in nets)) and not any(address in net for net in excepted)
        for pod in map(subject.thing, left)
        if isinstance(pod, Workload)
        for address in map(ip_address, pod.addresses)
    )


def peers_meant_as_one(subject: Subject) -> Iterator[Finding]:
    """FX109. Two items of a list are alternatives; reported only if the pods show that both were meant as one."""
    for policy in subject.policies:
        for rules in (policy.inbound, policy.outbound):
            peers: dict[Path, dict[Path, str]] = {}
            for rule in rules:
                if rule.peer:
                    side = rule.source if rules is policy.inbound else rule.destination
                    peers.setdefault(rule.path, {})[rule.peer] = side.selector
            for by_peer in peers.values():
                items = list(by_peer.items())
                for (_, one), (second, other) in itertools.pairwise(items):
                    finding = _meant_as_one(subject, policy, (one, other), second)
                    if finding:
                        yield finding


def _meant_as_one(subject: Subject, policy: Policy, selectors: tuple[str, str], path: Path) -> Finding | None:
    if not all(selectors) or not policy.key.namespace:
        return None
    by_pods = [selector for selector in selectors if _is_pods_only(selector, policy.key.namespace)]
    by_space = [selector for selector in selectors if selector not in by_pods and _is_namespaces_only(selector)]
    if len(by_pods) != 1 or len(by_space) != 1:
        return None
    pods, spaces = subject.select(by_pods[0], subject.pods), subject.select(by_space[0], subject.pods)
    conditions = And(tuple(node for node in conjuncts(by_pods[0]) if not is_about_namespaces(node)))
    both = subject.shared.membership.index.select(conditions, spaces)
    if pods and pods <= spaces:
        reason = "the podSelector adds no pod to those of the namespaceSelector"
    elif not pods and both:
        own = f"no pod of namespace {policy.key.namespace}"
        reason = f"the podSelector selects {own}, but {many(len(both), 'pod')} of the other namespaces"
    else:
        return None
    return about(
        policy,
        path,
        f"two items are alternatives: {reason}",
        hint='probably one item with both selectors was meant: remove the "-"',
    )


def _is_pods_only(selector: str, namespace: str) -> bool:
    nodes = conjuncts(selector)
    own = [node for node in nodes if is_about_namespaces(node)]
    others = [node for node in nodes if node not in own and not _is_orchestrator(node)]
    return bool(others) and own == [LabelTest(NAMESPACE_LABEL, "==", namespace)]


def _is_namespaces_only(selector: str) -> bool:
    nodes = conjuncts(selector)
    return all(is_about_namespaces(node) or _is_orchestrator(node) for node in nodes) and any(
        map(is_about_namespaces, nodes)
    )


def _is_orchestrator(node: Node) -> bool:
    return isinstance(node, LabelTest) and node.label == ORCHESTRATOR_LABEL
