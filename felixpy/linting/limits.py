"""Checks of logging, and of limits of Felix and the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from felixpy.errors import Path, many
from felixpy.ipsets import SetSpec
from felixpy.linting.finding import Finding, about
from felixpy.linting.subject import Subject
from felixpy.match import MAX_MULTIPORT, split_ports
from felixpy.model import SHORT_KINDS, NetworkSet, Policy, PortRange, Rule
from felixpy.rules import activate

MAX_LOG_PREFIX = 29
"""What the kernel keeps of a log prefix; Felix ends it with ": ". (XT_LOG: char prefix[30])"""

MANY_CHAINS = 10_000
"""Policy chains of a node from which on programming them takes many seconds. Felix has no limit of its own."""


def hot_logs(subject: Subject) -> Iterator[Finding]:
    """FX131. Logging packets that are then denied is useful; logging all that are allowed floods the log."""
    if all(config.log_rate for config in subject.configs.values()) and subject.configs:
        return
    for policy in subject.enforced:
        for rules, active in ((policy.inbound, policy.ingress), (policy.outbound, policy.egress)):
            for number, rule in enumerate(rules):
                if rule.action != "log" or not active or not subject.selected(policy):
                    continue
                if policy.do_not_track:
                    message = "logs every packet: policies with doNotTrack see all packets of a connection"
                    yield about(policy, rule.path, message, hint="set logActionRateLimit")
                elif _is_bare(rule) and any(later.action == "allow" for later in rules[number + 1 :]):
                    message = "logs every new connection, those that later rules allow included"
                    yield about(policy, rule.path, message, hint="log only what is denied, or set logActionRateLimit")


def _is_bare(rule: Rule) -> bool:
    return replace(rule, path=(), annotations=(), peer=()) == Rule(action="log")


def only_logs(subject: Subject) -> Iterator[Finding]:
    """FX132."""
    for policy in subject.enforced:
        rules = [*(policy.inbound if policy.ingress else ()), *(policy.outbound if policy.egress else ())]
        if rules and all(rule.action == "log" for rule in rules):
            tier = subject.cluster.tiers.get(policy.tier)
            end = "passes" if tier and tier.passes else "denies"
            message = (
                f"has rules with action Log only: the end of tier {policy.tier} then {end} what no other policy decides"
            )
            yield about(policy, ("spec",), message, hint="Log does not decide; add a rule that does")


def long_log_prefixes(subject: Subject) -> Iterator[Finding]:
    """FX163."""
    prefixes = sorted({config.log_prefix for config in (*subject.configs.values(), subject.default_config)})
    for policy in subject.enforced:
        rule = next((rule for rule in (*policy.inbound, *policy.outbound) if rule.action == "log"), None)
        for prefix in prefixes if rule else ():
            written = f"{_expanded(prefix, policy)}: "
            if rule and len(written.encode()) > MAX_LOG_PREFIX:
                size = len(written.encode())
                message = f'the log prefix "{written}" has {size} bytes: the kernel cuts it to {MAX_LOG_PREFIX}'
                yield about(policy, rule.path, message, hint="shorten logPrefix or the name")


def _expanded(prefix: str, policy: Policy) -> str:
    """A prefix with %k, %n, %p and %t filled in."""
    key = policy.key
    full = f"{key.namespace}/{key.name}" if key.namespace else key.name
    values = {"k": SHORT_KINDS.get(key.kind, key.kind), "n": key.name, "p": full, "t": policy.tier}
    text, rest = "", prefix
    while "%" in rest:
        before, _, rest = rest.partition("%")
        known = values.get(rest[:1])
        text += before + ("%" if known is None else known)
        rest = rest[1:] if known is not None else rest
    return text + rest


def large_sets(subject: Subject) -> Iterator[Finding]:
    """FX161. A set cannot have more members than the cluster has addresses and networks."""
    membership = subject.shared.membership
    configs = [*subject.configs.values()] or [subject.default_config]
    most = min(config.max_ipset_size for config in configs)
    total = sum(len(t.nets if isinstance(t, NetworkSet) else t.addresses) for t in membership.labelled.values())
    ports = max((len(getattr(thing, "ports", ())) for thing in membership.labelled.values()), default=0)
    total = max(total * max(ports, 1), sum(len(p.addresses) * max(len(p.ports), 1) for p in subject.cluster.slices))
    if total <= most:
        return
    told: set[SetSpec] = set()
    for policy in subject.enforced:
        for rule in (*policy.inbound, *policy.outbound):
            for spec in activate(0, rule).all_sets():
                if spec in told:
                    continue
                told.add(spec)
                size = max(len(membership.members(spec, family)) for family in (4, 6))
                if size > most:
                    message = f"the set of {spec.words()} has {size} members, more than maxIpsetSize {most}"
                    hint = "Felix cannot program it and leaves the node without new rules"
                    yield about(policy, rule.peer or rule.path, message, hint=hint)


def split_port_lists(subject: Subject) -> Iterator[Finding]:
    """FX162."""
    for policy in subject.policies:
        told: set[Path] = set()
        for rule in (*policy.inbound, *policy.outbound):
            for side in (rule.source, rule.destination):
                groups = list(split_ports(port for port in side.ports if isinstance(port, PortRange)))
                if len(groups) > 1 and rule.path not in told:
                    told.add(rule.path)
                    message = (
                        f"takes {len(groups)} iptables rules: one holds {MAX_MULTIPORT} ports, a range counts twice"
                    )
                    yield about(policy, rule.path, message, hint="ranges in place of single ports make it cheaper")


def joined_exclusions(subject: Subject) -> Iterator[Finding]:
    """FX165. See `felixpy.nftables.joining`."""
    if not subject.nftables_nodes:
        return
    message = "nft before 1.1.0 compares both excluded ports at once: packets with only one of them meet this rule"
    hint = "exclude ports on one side only, or give one side several ports or a range, which are not joined"
    for policy in subject.enforced:
        for rule in (*policy.inbound, *policy.outbound):
            source, destination = rule.source, rule.destination
            one = len(destination.ports) == 1 and _has_value(destination.ports)
            if _has_value(source.not_ports) and _has_value(destination.not_ports) and not one:
                yield about(policy, rule.path, message, hint=hint)


def _has_value(ports: Iterable[PortRange | str]) -> bool:
    """Whether one of the matches that ports become is a single port."""
    groups = split_ports(port for port in ports if isinstance(port, PortRange))
    return any(group.isdigit() for group in groups)


def many_chains(subject: Subject) -> Iterator[Finding]:
    """FX164. Counts the chains of policies that a node has to program: one for each direction of each."""
    local = subject.shared.local
    chains: dict[str, int] = {}
    by_endpoint = {number: node for node, numbers in local.items() for number in numbers}
    for policy in subject.enforced:
        for node in {by_endpoint[number] for number in subject.selected(policy)}:
            chains[node] = chains.get(node, 0) + policy.ingress + policy.egress
    for node, count in sorted(chains.items()):
        if count > MANY_CHAINS:
            source = subject.cluster.nodes[node].source if node in subject.cluster.nodes else None
            first = subject.thing(local[node][0])
            message = f"policies take {many(count, 'chain')} on this node"
            hint = "fewer policies with more general selectors make fewer chains"
            yield Finding(subject=f"Node {node}", source=source or first.source, message=message, hint=hint)  # type: ignore[attr-defined]
