"""Selectors and rules in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from felixpy.decode.legend import Direction
from felixpy.model import (
    NAMESPACE_LABEL,
    NAMESPACE_PREFIX,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    SERVICE_ACCOUNT_PREFIX,
    Icmp,
    PortRange,
    Rule,
    Side,
)
from felixpy.netfilter.numbers import PROTOCOLS
from felixpy.selector import And, Everything, LabelTest, Node, Not, parse, tests

MOST_NETS = 4

ACTIONS: Mapping[str, str] = {
    "allow": "allow", "": "allow", "deny": "deny", "log": "log", "next-tier": "pass", "pass": "pass",
}  # fmt: skip

NAMES_OF_NAMESPACES = frozenset({"projectcalico.org/name", "kubernetes.io/metadata.name"})
"""Labels of namespaces that hold nothing but their name."""


# --- selectors


class _Phrase(NamedTuple):
    """The conditions of a selector on labels, and the kind of things it selects."""

    conditions: list[str]
    places: list[str]
    pods_only: bool = False
    namespaced: bool = False


def selector_words(text: str, *, sets: bool = True) -> str:
    """What a selector matches, in words; with `sets` network sets are included.

    >>> selector_words("(projectcalico.org/orchestrator == 'k8s' && run == 'a') && projectcalico.org/namespace == 'b'")
    'pods with run == "a" in namespace b'
    >>> selector_words("pcns.team == 'red'"), selector_words("all()", sets=False)
    ('pods and network sets in namespaces with team == "red"', 'all endpoints')
    """
    phrase = _read(parse(text))
    if phrase.pods_only:
        noun = "pods"
    else:
        noun = f"{'pods' if phrase.namespaced else 'endpoints'}{' and network sets' if sets else ''}"
    if not phrase.conditions and not phrase.places:
        return f"all {noun}"
    with_words = f" with {_joined(phrase.conditions)}" if phrase.conditions else ""
    return f"{noun}{with_words}{''.join(f' {place}' for place in phrase.places)}"


def _read(node: Node) -> _Phrase:
    phrase = _Phrase([], [])
    spaces: list[str] = []
    accounts: list[str] = []
    for part in _conjuncts(node):
        if isinstance(part, Everything):
            continue
        if _is(part, ORCHESTRATOR_LABEL, "==", "k8s"):
            phrase = phrase._replace(pods_only=True)
        elif isinstance(part, LabelTest) and part.label == NAMESPACE_LABEL and part.operator in ("==", "in", "has"):
            phrase.places.append(_named("namespace", part))
            phrase = phrase._replace(namespaced=True)
        elif isinstance(part, Not) and _is(part.operand, NAMESPACE_LABEL, "has", ""):
            phrase.places.append("outside of namespaces")
        elif isinstance(part, LabelTest) and part.label == SERVICE_ACCOUNT_LABEL and part.operator in ("==", "in"):
            phrase.places.append(_named("service account", part, "of"))
            phrase = phrase._replace(namespaced=True)
        elif _all_begin(part, NAMESPACE_PREFIX):
            phrase = phrase._replace(namespaced=phrase.namespaced or _is_positive(part))
            spaces.append(_without(part, NAMESPACE_PREFIX))
        elif _all_begin(part, SERVICE_ACCOUNT_PREFIX):
            accounts.append(_without(part, SERVICE_ACCOUNT_PREFIX))
        else:
            phrase.conditions.append(_condition(part))
    for noun, labels in (("in namespaces", spaces), ("of service accounts", accounts)):
        names = [label.removeprefix("=") for label in labels if label.startswith("=")]
        phrase.places.extend(f"in namespace {name}" for name in names)
        others = [label for label in labels if not label.startswith("=")]
        if others:
            phrase.places.append(f"{noun} with {' and '.join(others)}")
    return phrase


def _joined(conditions: Sequence[str]) -> str:
    """Conditions joined with and; a single one needs no parentheses."""
    if len(conditions) == 1 and conditions[0].startswith("(") and conditions[0].endswith(")"):
        return conditions[0][1:-1]
    return " and ".join(conditions)


def _conjuncts(node: Node) -> Iterator[Node]:
    if isinstance(node, And):
        for operand in node.operands:
            yield from _conjuncts(operand)
    else:
        yield node


def _condition(node: Node, prefix: str = "") -> str:
    """One condition, its labels without a prefix; ``has`` is written in words."""
    if isinstance(node, LabelTest) and node.operator == "has":
        return f"label {node.label.removeprefix(prefix)}"
    if isinstance(node, Not) and isinstance(node.operand, LabelTest) and node.operand.operator == "has":
        return f"no label {node.operand.label.removeprefix(prefix)}"
    return str(node).replace(prefix, "") if prefix else str(node)


def _is(node: Node, label: str, operator: str, operand: str) -> bool:
    return isinstance(node, LabelTest) and (node.label, node.operator, node.operand) == (label, operator, operand)


def _named(noun: str, test: LabelTest, preposition: str = "in") -> str:
    if test.operator == "has":
        return f"{preposition} any {noun}"
    names = test.operand if isinstance(test.operand, tuple) else (test.operand,)
    return f"{preposition} {noun}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _all_begin(node: Node, prefix: str) -> bool:
    found = list(tests(node))
    return bool(found) and all(test.label.startswith(prefix) for test in found)


def _is_positive(node: Node) -> bool:
    """Whether a condition is positive, so that only endpoints in a namespace can meet it."""
    return isinstance(node, LabelTest) and node.operator not in ("!=", "not in")


def _without(node: Node, prefix: str) -> str:
    """The condition without the prefix of its labels; the name of a namespace has "=" in front."""
    if isinstance(node, LabelTest) and node.operator == "==" and node.label.removeprefix(prefix) in NAMES_OF_NAMESPACES:
        return f"={node.operand}"
    return _condition(node, prefix)


SET_WORDS = re.compile(r"(?P<what>addresses of|port .+ of) endpoints(?P<sets> and network sets)? with (?P<selector>.*)")


def set_words(words: str) -> str:
    """The description of an IP set (see `felixpy.ipsets`), with its selector in words.

    >>> set_words('port http (tcp) of endpoints with projectcalico.org/orchestrator == "k8s"')
    'port http (tcp) of all pods'
    """
    found = SET_WORDS.fullmatch(words)
    return f"{found['what']} {selector_words(found['selector'], sets=bool(found['sets']))}" if found else words


# --- rules


def rule_words(rule: Rule, direction: Direction) -> str:
    """A policy rule as one line.

    >>> rule_words(Rule(action="allow", protocol="tcp", destination=Side(ports=(PortRange(80, 80),))), "ingress")
    'allow tcp port 80'
    >>> rule_words(Rule(action="deny", source=Side(nets=("10.0.0.0/8",), not_nets=("10.1.0.0/16",))), "ingress")
    'deny anything from 10.0.0.0/8 except 10.1.0.0/16'
    """
    ends = [("from", side_words(rule.source)), ("to", side_words(rule.destination))]
    if direction == "egress":
        ends.reverse()
    words = [ACTIONS[rule.action], _service(rule), *(f"{way} {whom}" for way, whom in ends if whom)]
    if rule.ip_version:
        words.append(f"(IPv{rule.ip_version} only)")
    name = dict(rule.annotations).get("name", "")
    return " ".join([*words, *([f'"{name}"'] if name else [])])


def _service(rule: Rule) -> str:
    """Protocol, ports and types."""
    protocol = "" if rule.protocol is None else _protocol(rule.protocol)
    parts = [protocol]
    if rule.not_protocol is not None:
        parts.append(f"anything but {_protocol(rule.not_protocol)}")
    parts += _ports(rule.destination, "")
    parts += _ports(rule.source, "from ")
    parts += [f"type {_icmp(rule.icmp)}"] if rule.icmp else []
    parts += [f"other than type {_icmp(rule.not_icmp)}"] if rule.not_icmp else []
    return " ".join(filter(None, parts)) or "anything"


def _protocol(protocol: str | int) -> str:
    return protocol if isinstance(protocol, str) else PROTOCOLS.get(protocol, f"protocol {protocol}")


def _icmp(icmp: Icmp) -> str:
    return str(icmp.type) if icmp.code is None else f"{icmp.type} code {icmp.code}"


def _ports(side: Side, where: str) -> Iterator[str]:
    if side.ports:
        yield f"{where}{_listed(side.ports)}"
    if side.not_ports:
        yield f"{where}{_listed(side.not_ports, 'ports other than')}"


def _listed(ports: Sequence[PortRange | str], words: str = "") -> str:
    """Ports by number or name, ranges with a dash."""
    shown = [port if isinstance(port, str) else str(port).replace(":", "-") for port in ports]
    return f"{words or ('port' if len(shown) == 1 else 'ports')} {', '.join(shown)}"


def side_words(side: Side) -> str:
    """What a side of a rule matches, in words, "" for everything."""
    parts = []
    if side.service:
        parts.append(f"service {side.service.namespace}/{side.service.name}")
    if side.selector:
        parts.append(selector_words(side.selector))
    if side.nets:
        parts.append(f"{'within ' if parts else ''}{_nets(side.nets)}")
    if side.not_selector:
        parts.append(f"{'but not' if parts else 'anyone but'} {selector_words(side.not_selector)}")
    if side.not_nets:
        parts.append(f"{'' if parts else 'anywhere '}except {_nets(side.not_nets)}")
    return " ".join(parts)


def _nets(nets: Sequence[str]) -> str:
    more = f" and {len(nets) - MOST_NETS} more" if len(nets) > MOST_NETS else ""
    return f"{', '.join(nets[:MOST_NETS])}{more}"
