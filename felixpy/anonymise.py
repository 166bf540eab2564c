"""Objects with other names, labels and addresses, in which every verdict stays the same.

Words: a name is cut at its ``-``, ``.`` and ``/``; each part is replaced by the same pseudonym everywhere, so that
selectors select what they selected, names with a common prefix keep one, and the order of names (which decides between
policies of one order) is kept. Addresses: two that share their first n bits share the first n bits afterwards, so that
each stays inside and outside of the same networks. Names with a predefined meaning (``kubernetes.io`` label names, tier
``default``, loopback addresses) are kept. Fields that no table here knows are dropped.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any, NamedTuple

from felixpy.errors import Place, Problem
from felixpy.selector import And, LabelTest, Node, Not, Or, SelectorError, parse, tests

Items = list[dict[str, Any]]


class Anonymised(NamedTuple):
    """The objects, and remarks on them: which values were kept, which fields were dropped."""

    items: Items
    remarks: list[Problem]


def anonymised(items: Sequence[Mapping[str, Any]], *, key: bytes = b"") -> Anonymised:
    """The objects under pseudonyms. `key` seeds the addresses; without one they differ from run to run."""
    kept = _values_in_parts(items)
    collecting = _Rewriter(_Collected(), lambda text: text, kept)
    for item in items:
        collecting.item(item)
    words = collecting.words.words
    assert isinstance(collecting.words, _Collected)
    writing = _Rewriter(_Pseudonyms(words), _Addresses(key or secrets.token_bytes(16)).text, kept)
    found = [written for item in items if (written := writing.item(item)) is not None]
    return Anonymised(found, list(_remarks(writing, kept)))


def _remarks(writing: _Rewriter, kept: frozenset[str]) -> Iterable[Problem]:
    place = Place("anonymise")
    if kept:
        labels = ", ".join(sorted(kept))
        reason = f"values of these labels stay, as selectors look at parts of them: {labels}"
        yield Problem(place=place, reason=reason, severity="warning")
    if writing.dropped:
        fields = ", ".join(sorted(writing.dropped))
        yield Problem(place=place, reason=f"left out: {fields}", severity="warning")


# --- words

RESERVED = frozenset({
    "", "default", "all", "node", "knp", "gnp", "kns", "ksa", "projectcalico", "allow", "adminnetworkpolicy",
    "baselineadminnetworkpolicy", "kube", "admin", "baseline",
})  # fmt: skip
"""Parts of names that mean something to Calico."""

_PARTS = re.compile(r"[^-./]+")
LONGEST = 63
KNOWN_LABEL = re.compile(r"(?:^|\.)(?:kubernetes\.io|k8s\.io|projectcalico\.org)/|^(?:pod-template-hash|k8s-app)$")
"""Label names with a meaning in Kubernetes or Calico, or in general use."""

KEPT_VALUES = frozenset({
    "projectcalico.org/orchestrator", "projectcalico.org/kind", "projectcalico.org/created-by",
})  # fmt: skip
"""Labels whose values come from Calico itself."""

PARTIAL = frozenset({"contains", "starts with", "ends with"})


class _Collected:
    """The first pass: collects the words."""

    def __init__(self) -> None:
        self.words: set[str] = set()

    def __call__(self, text: str) -> str:
        self.words |= {part for part in _PARTS.findall(text) if part not in RESERVED}
        return text


class _Pseudonyms:
    """The second pass: replaces the words. Pseudonyms have one length and sort as the words do."""

    def __init__(self, words: Iterable[str]) -> None:
        ordered = sorted(words)
        width = len(_base36(len(ordered)))
        self._names = {word: f"x{_base36(number).rjust(width, '0')}" for number, word in enumerate(ordered)}
        self.words = set(self._names)

    def __call__(self, text: str) -> str:
        return _PARTS.sub(lambda part: self._names.get(part[0], part[0]), text)


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if not number:
            return digits


def _values_in_parts(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Labels of which a selector compares only a part of the value: such values cannot be replaced."""
    found: set[str] = set()

    def look(text: str) -> str:
        with suppress(SelectorError):
            found.update(test.label for test in tests(parse(text)) if test.operator in PARTIAL)
        return text

    rewriter = _Rewriter(_Collected(), lambda text: text, frozenset(), selector=look)
    for item in items:
        rewriter.item(item)
    return frozenset(found)


# --- addresses

PINNED: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/64", "fe80::/10", "ff00::/8")
)
"""Networks that mean something by themselves; they, and what lies around them, stay where they are."""


class _Addresses:
    """A permutation of all addresses that keeps common prefixes: each bit is flipped or not by the bits before it."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._flip = lru_cache(maxsize=1 << 16)(self._flipped)

    def text(self, text: str) -> str:
        """The replaced address or network, spelt as the original. Raises ValueError for text that is neither."""
        if "/" not in text:
            return str(type(ip_address(text))(self._moved(ip_interface(text).network)))
        found = ip_interface(text)
        whole = type(found.ip)(self._moved(ip_network(f"{found.ip}/{found.max_prefixlen}")))
        if found.ip == found.network.network_address:
            return str(ip_network(f"{whole}/{found.network.prefixlen}", strict=False))
        return f"{whole}/{found.network.prefixlen}"

    def _moved(self, network: IPv4Network | IPv6Network) -> int:
        bits, value, moved = network.max_prefixlen, int(network.network_address), 0
        for length in range(network.prefixlen):
            prefix = value >> bits - length
            bit = value >> bits - length - 1 & 1
            moved = moved << 1 | (bit ^ self._flip(network.version, length, prefix))
        return moved << bits - network.prefixlen

    def _flipped(self, version: int, length: int, prefix: int) -> int:
        for pinned in PINNED:
            if pinned.version == version:
                bits = min(length, pinned.prefixlen)
                if prefix >> length - bits == int(pinned.network_address) >> pinned.max_prefixlen - bits:
                    return 0
        content = f"{version}/{length}/{prefix}".encode()
        return blake2b(content, key=self._key, digest_size=1).digest()[0] & 1


# --- fields

WORDS = frozenset({
    "name", "namespace", "nodeName", "node", "serviceAccountName", "serviceAccount", "hostname", "subdomain", "tier",
    "serviceName", "ingressClassName", "host", "hosts", "exact", "prefix", "path", "domains", "domainNames",
})  # fmt: skip
"""Fields whose value is a name."""

LISTS_OF_WORDS = frozenset({"names", "profiles"})
SELECTORS = frozenset({"selector", "notSelector", "namespaceSelector", "serviceAccountSelector", "nodeSelector"})
LABELS = frozenset({"labels", "matchLabels", "labelsToApply"})
PORTS = frozenset({"port", "targetPort", "ports", "notPorts", "namedPort", "destinationNamedPort", "endPort", "number"})

PLAIN = frozenset({
    "apiVersion", "kind", "action", "protocol", "notProtocol", "types", "policyTypes", "type", "operator", "phase",
    "interfaceName", "status", "controller", "ipipMode", "vxlanMode", "sessionAffinity", "externalTrafficPolicy",
    "internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy", "addressType", "stagedAction", "restartPolicy",
    "methods", "pathType", "calicoVersion", "clusterType", "datastoreReady", "cidr", "nets", "notNets", "except",
    "variant", "allowedUses", "creationTimestamp", "defaultAction", "performanceHints", "linuxDataplane",
    "encapsulation", "natOutgoing", "bgp", "appProtocol", "nat", "unit", "autoCreate", "templateNodeSelector",
})  # fmt: skip
"""Fields whose text identifies nothing."""

OPENED = frozenset({"FelixConfiguration", "KubeControllersConfiguration"})
"""Kinds all of whose fields are settings; addresses in them are replaced all the same."""

DROPPED_KINDS = frozenset({"ConfigMap", "Secret"})

ANNOTATION = re.compile(r"(?:^|\.)projectcalico\.org/")


class _Rewriter:
    """Walks through objects and rewrites what the tables name."""

    def __init__(
        self,
        words: _Collected | _Pseudonyms,
        address: Callable[[str], str],
        kept: frozenset[str],
        selector: Callable[[str], str] | None = None,
    ) -> None:
        self.words, self._address, self._kept = words, address, kept
        self._selector = selector or self._rewritten
        self.dropped: set[str] = set()

    def item(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        """One object; None for a kind that is left out."""
        kind = str(item.get("kind", ""))
        if kind in DROPPED_KINDS:
            self.dropped.add(f"{kind}s")
            return None
        metadata = item.get("metadata")
        found = {
            key: value if key in ("apiVersion", "kind") else self._value(key, value, opened=kind in OPENED)
            for key, value in item.items()
            if key != "metadata"
        }
        if isinstance(metadata, dict):
            found["metadata"] = self._metadata(metadata)
        return {key: value for key, value in found.items() if value is not None}

    def _metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {
            key: self.words(str(metadata[key])) for key in ("name", "namespace") if metadata.get(key)
        }
        found |= {key: metadata[key] for key in ("creationTimestamp", "deletionTimestamp") if key in metadata}
        if isinstance(labels := metadata.get("labels"), dict):
            found["labels"] = self._labels(labels)
        if isinstance(notes := metadata.get("annotations"), dict):
            calico = {key: value for key, value in notes.items() if ANNOTATION.search(key)}
            found["annotations"] = {key: self._texts(str(value)) for key, value in calico.items()}
        if owners := metadata.get("ownerReferences"):
            found["ownerReferences"] = [
                {**{key: value for key, value in owner.items() if key in ("apiVersion", "kind", "controller")},
                 "name": self.words(str(owner.get("name", "")))}
                for owner in owners
            ]  # fmt: skip
        return found

    def _label(self, name: str) -> str:
        return name if KNOWN_LABEL.search(name) else self.words(name)

    def _label_value(self, name: str, value: Any) -> Any:
        return value if name in self._kept or name in KEPT_VALUES or not isinstance(value, str) else self.words(value)

    def _labels(self, labels: Mapping[str, Any]) -> dict[str, Any]:
        return {self._label(name): self._label_value(name, value) for name, value in labels.items()}

    def _value(self, key: str, value: Any, *, opened: bool = False) -> Any:
        """The value of a field; None for one that is left out."""
        if key in LABELS and isinstance(value, dict):
            return self._labels(value)
        if key in SELECTORS:
            return self._selecting(value)
        if key == "matchExpressions" and isinstance(value, list):
            return [self._expression(each) for each in value]
        if key == "metadata" and isinstance(value, dict):
            return self._metadata(value)
        if isinstance(value, dict):
            inner = {name: self._value(name, each, opened=opened) for name, each in value.items()}
            return {name: each for name, each in inner.items() if each is not None}
        if isinstance(value, list):
            return [found for each in value if (found := self._value(key, each, opened=opened)) is not None]
        return self._text(key, value, opened=opened) if isinstance(value, str) else value

    def _text(self, key: str, value: str, *, opened: bool) -> str | None:
        if key in PORTS:
            return value if re.fullmatch(r"\d+(:\d+)?", value) else self.words(value)
        try:
            return self._address(value)
        except ValueError:
            pass
        if key in WORDS or key in LISTS_OF_WORDS:
            return self.words(value)
        if key in PLAIN:
            return value
        if opened:
            return self._texts(value)
        self.dropped.add(key)
        return None

    def _texts(self, value: str) -> str:
        """A value with addresses in it, such as a list of them."""

        def moved(found: re.Match[str]) -> str:
            try:
                return self._address(found[0])
            except ValueError:
                return found[0]

        return re.sub(r"[0-9A-Fa-f:.]{3,}(?:/\d+)?", moved, value)

    def _selecting(self, value: Any) -> Any:
        """A selector of Calico, of Kubernetes, or of a Service."""
        if isinstance(value, str):
            return self._selector(value)
        if not isinstance(value, dict):
            return value
        if {"matchLabels", "matchExpressions"} & value.keys() or not value:
            return self._value("", value)
        return self._labels(value)

    def _expression(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        name = str(value.get("key", ""))
        found = {**value, "key": self._label(name)}
        if isinstance(values := value.get("values"), list):
            found["values"] = [self._label_value(name, each) for each in values]
        return found

    def _rewritten(self, text: str) -> str:
        try:
            return str(self._node(parse(text))) if text.strip() else text
        except SelectorError:
            return text

    def _node(self, node: Node) -> Node:
        match node:
            case LabelTest(label, operator, operand):
                if isinstance(operand, tuple):
                    operand = tuple(sorted(str(self._label_value(label, each)) for each in operand))
                elif operator not in PARTIAL and operator != "has":
                    operand = str(self._label_value(label, operand))
                return LabelTest(self._label(label), operator, operand)
            case Not(operand):
                return Not(self._node(operand))
            case And(operands) | Or(operands):
                return type(node)(tuple(map(self._node, operands)))
        return node
