"""Label selectors: Kubernetes' form, and the selector texts that Calico's converters write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.objects.criteria import label_key, label_value
from felixpy.manifests.validation.findings import Finding
from felixpy.manifests.validation.shapes import ListOf, MapOf, Object, one_of, text
from felixpy.model import NAMESPACE_LABEL, NAMESPACE_PREFIX, SERVICE_ACCOUNT_LABEL, SERVICE_ACCOUNT_PREFIX
from felixpy.remembered import remembered
from felixpy.selector import canonical_prefixed

IN_KUBERNETES = "projectcalico.org/orchestrator == 'k8s'"
"""The clause that keeps pod selectors away from host endpoints and network sets."""

ANY_NAMESPACE = f"has({NAMESPACE_LABEL})"
ANY_SERVICE_ACCOUNT = f"has({SERVICE_ACCOUNT_LABEL})"

OPERATORS = {
    "In": "{key} in {{ {values} }}",
    "NotIn": "{key} not in {{ {values} }}",
    "Exists": "has({key})",
    "DoesNotExist": "! has({key})",
}
"""Kubernetes' operators of matchExpressions as Calico writes them."""

CANONICAL_OPERATORS = {
    "In": "{key} in {{{values}}}",
    "NotIn": "{key} not in {{{values}}}",
    "Exists": "has({key})",
    "DoesNotExist": "!has({key})",
}
"""The same in canonical spelling."""

LabelSelector = Mapping[str, Any]
EMPTY: LabelSelector = {}


def _operands(expression: LabelSelector, path: Path) -> Iterator[Finding]:
    operator = expression["operator"]
    if operator in ("In", "NotIn") and not expression.get("values"):
        yield Finding((*path, "values"), f"{operator} needs at least one value")
    if operator in ("Exists", "DoesNotExist") and expression.get("values"):
        yield Finding((*path, "values"), f"{operator} takes no values")


_EXPRESSION = Object(
    {
        "key": text(label_key),
        "operator": one_of(*OPERATORS, what="unknown operator"),
        "values": ListOf(text(label_value)),
    },
    required=("key", "operator"),
    relations=(_operands,),
)


def _selects_everything(selector: LabelSelector, key: str) -> str:
    """The effect of a selector with labels outside matchLabels, for a message."""
    if selector.get("matchLabels") or selector.get("matchExpressions"):
        return "without it the selector selects more"
    return "without it the selector is empty and selects everything"


LABEL_SELECTOR = Object(
    {
        "matchLabels": MapOf(text(label_value), label_key),
        "matchExpressions": ListOf(_EXPRESSION, "expressions"),
    },
    effect=_selects_everything,
)
"""A LabelSelector of Kubernetes. (apimachinery/pkg/apis/meta/v1/validation)"""


def pod_selector(selector: LabelSelector | None) -> str:
    """The text for a selector of pods; absent and empty ones select every pod.

    >>> pod_selector({"matchLabels": {"app": "web"}})
    "projectcalico.org/orchestrator == 'k8s' && app == 'web'"
    """
    if selector and "matchExpressions" in selector:
        return " && ".join([IN_KUBERNETES, *_conditions(selector)])
    return (
        _pods_with(tuple(selector["matchLabels"].items())) if selector and "matchLabels" in selector else IN_KUBERNETES
    )


@remembered(1 << 12)
def _pods_with(labels: tuple[tuple[str, str], ...]) -> str:
    return " && ".join([IN_KUBERNETES, *_conditions({"matchLabels": dict(labels)})])


def _conditions(selector: LabelSelector) -> list[str]:
    """matchLabels in order of their keys, then matchExpressions as given."""
    parts = [f"{key} == '{value}'" for key, value in sorted(selector.get("matchLabels", EMPTY).items())]
    for expression in selector.get("matchExpressions", ()):
        values = ", ".join(f"'{value}'" for value in expression.get("values", ()))
        parts.append(OPERATORS[expression["operator"]].format(key=expression["key"], values=values))
    return parts


def namespace_clause(selector: LabelSelector | None, namespace: str) -> str:
    """The namespace clause of a rule side, from Kubernetes' namespaceSelector and the policy's namespace.

    Calico writes a selector of namespaces, parses it and adds the prefix to each key. Here the resulting text is
    written directly.

    >>> namespace_clause({"matchLabels": {"team": "a", "env": "b"}}, "shop")
    '(pcns.env == "b" && pcns.team == "a")'
    """
    if selector is None:
        return f"{NAMESPACE_LABEL} == '{namespace}'" if namespace else ""
    own = selector.get("matchLabels", EMPTY)
    parts = [f'{NAMESPACE_PREFIX}{key} == "{value}"' for key, value in sorted(own.items())]
    for expression in selector.get("matchExpressions", ()):
        values = ", ".join(f'"{value}"' for value in sorted(set(expression.get("values", ()))))
        key = NAMESPACE_PREFIX + expression["key"]
        parts.append(CANONICAL_OPERATORS[expression["operator"]].format(key=key, values=values))
    if not parts:
        return ANY_NAMESPACE
    return parts[0] if len(parts) == 1 else f"({' && '.join(parts)})"


def namespaced(selector: str, namespace: str) -> str:
    """The selector of a policy in a namespace."""
    clause = f"{NAMESPACE_LABEL} == '{namespace}'"
    return f"({selector}) && {clause}" if selector else clause


def policy_selector(spec: Mapping[str, Any], namespace: str) -> str:
    """One selector from a Calico policy's selector, namespaceSelector, serviceAccountSelector and namespace.

    For global policies an ``all()`` anywhere in the text comes to mean "in some namespace" or "with some service
    account" as soon as such a selector is given. (updateprocessors/networkpolicyprocessor.go and its global twin)

    >>> policy_selector({"selector": "all()", "namespaceSelector": "team == 'a'"}, "")
    '(has(projectcalico.org/namespace)) && pcns.team == "a"'
    """
    text: str = spec.get("selector", "")
    accounts = spec.get("serviceAccountSelector", "")
    if namespace:
        text = namespaced(text, namespace)
        accounts = canonical_prefixed(accounts, SERVICE_ACCOUNT_PREFIX) if accounts else ""
        return f"({text}) && {accounts}" if accounts else text
    extras = (
        (spec.get("namespaceSelector", ""), NAMESPACE_PREFIX, ANY_NAMESPACE),
        (accounts, SERVICE_ACCOUNT_PREFIX, ANY_SERVICE_ACCOUNT),
    )
    for given, prefix, meaning_of_all in extras:
        extra = canonical_prefixed(given, prefix) if given else ""
        if extra:
            text = f"({text}) && {extra}" if text else extra
        if given:
            text = text.replace("all()", meaning_of_all)
    return text


def side_selector(entity: Mapping[str, Any], namespace: str) -> str:
    """One selector from a rule side's selector, namespaceSelector and serviceAccounts.

    The policy's own namespace is part of it only if some selector is given, a notSelector included.
    (updateprocessors/rules.go)

    >>> side_selector({"selector": "role == 'db'"}, "shop")
    "(projectcalico.org/namespace == 'shop') && (role == 'db')"
    """
    given: str = entity.get("namespaceSelector", "")
    if given:
        clause = canonical_prefixed(given, NAMESPACE_PREFIX)
        clause = clause.replace("all()", ANY_NAMESPACE).replace("global()", f"!{ANY_NAMESPACE}")
    else:
        clause = f"{NAMESPACE_LABEL} == '{namespace}'" if namespace else ""
    parts = [_accounts(entity.get("serviceAccounts", EMPTY)), entity.get("selector", "")]
    text = _both(*parts)
    if clause and (text or given or entity.get("notSelector")):
        text = _both(clause, text)
    return text


def _both(first: str, second: str) -> str:
    return f"({first}) && ({second})" if first and second else first or second


def _accounts(accounts: Mapping[str, Any]) -> str:
    """Service accounts by labels, by name, or both."""
    selector = accounts.get("selector", "")
    by_label = canonical_prefixed(selector, SERVICE_ACCOUNT_PREFIX) if selector else ""
    names = accounts.get("names", ())
    quoted = ", ".join(f"'{name}'" for name in names)
    by_name = canonical_prefixed(f"{SERVICE_ACCOUNT_LABEL} in {{ {quoted} }}", "") if names else ""
    return _both(by_label, by_name)
