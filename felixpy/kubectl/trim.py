"""The fields of an object that felixpy keeps; everything else is dropped as soon as a page has arrived.

Environment variables, annotations with a copy of the object, images, volumes and status messages do not affect packets,
may contain secrets, and are nine tenths of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Object = dict[str, Any]

METADATA = frozenset({
    "name", "namespace", "labels", "annotations", "ownerReferences", "deletionTimestamp", "generateName",
    "creationTimestamp", "uid", "resourceVersion",
})  # fmt: skip
"""Creation times break ties between objects; uid and resourceVersion identify what a watch goes on from."""

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

FELIX_PREFIX = "FELIX_"


def trimmed(item: Object, kind: str) -> Object:
    """A copy of an object with the fields that felixpy reads.

    >>> trimmed({"metadata": {"name": "web", "managedFields": []}, "spec": {"volumes": [], "nodeName": "n1"}}, "Pod")
    {'metadata': {'name': 'web'}, 'spec': {'nodeName': 'n1'}}
    """
    kept = {key: value for key, value in item.items() if key != "status" or kind in _STATUS}
    if isinstance(metadata := item.get("metadata"), dict):
        kept["metadata"] = _metadata(metadata)
    special = _SPECIAL.get(kind)
    return special(kept) if special else kept


def _metadata(metadata: Object) -> Object:
    kept = {key: value for key, value in metadata.items() if key in METADATA}
    if isinstance(notes := kept.get("annotations"), dict) and LAST_APPLIED in notes:
        kept["annotations"] = {key: value for key, value in notes.items() if key != LAST_APPLIED}
    return kept


def _only(value: Any, *names: str) -> Any:
    return {key: value[key] for key in names if key in value} if isinstance(value, dict) else value


def _each(values: Any, keep: Callable[[Any], Any]) -> Any:
    return [keep(value) for value in values] if isinstance(values, list) else values


def _with(item: Any, **parts: Callable[[Any], Any]) -> Any:
    if not isinstance(item, dict):
        return item
    return {key: parts[key](value) if key in parts else value for key, value in item.items()}


def _pod(item: Object) -> Any:
    containers = dict.fromkeys(("containers", "initContainers"), _containers)
    names = ("nodeName", "hostNetwork", "serviceAccountName", "serviceAccount", "hostname", "subdomain")
    return _with(
        item,
        spec=lambda spec: _with(_only(spec, *names, *containers), **containers),
        status=lambda status: _with(
            _only(status, "phase", "podIP", "podIPs", "hostIP", "hostIPs", "conditions"),
            conditions=lambda conditions: _each(conditions, lambda one: _only(one, "type", "status")),
        ),
    )


def _containers(containers: Any) -> Any:
    return _each(containers, lambda one: _only(one, "name", "ports", "restartPolicy"))


def _node(item: Object) -> Any:
    return _with(item, status=lambda status: _only(status, "addresses"))


def _account(item: Object) -> Object:
    """A service account without the names of its secrets."""
    return {key: item[key] for key in ("apiVersion", "kind", "metadata") if key in item}


def _daemon_set(item: Object) -> Any:
    """A DaemonSet; of the pod template only images and Felix's environment variables are kept."""

    def variables(environment: Any) -> Any:
        named = [one for one in environment if isinstance(one, dict)] if isinstance(environment, list) else []
        wanted = [one for one in named if str(one.get("name", "")).startswith(FELIX_PREFIX)]
        return [_only(one, "name", "value") for one in wanted]

    def container(one: Any) -> Any:
        return _with(_only(one, "name", "image", "env"), env=variables)

    def template(value: Any) -> Any:
        return _with(
            _only(value, "metadata", "spec"),
            metadata=lambda metadata: _only(metadata, "labels"),
            spec=lambda spec: _with(_only(spec, "containers"), containers=lambda all_: _each(all_, container)),
        )

    return _with(item, spec=lambda spec: _with(_only(spec, "selector", "template"), template=template))


_STATUS = frozenset({"Pod", "Node", "Service", "Installation", "Ingress"})
"""Kinds whose status says something about packets or versions."""

_SPECIAL: Mapping[str, Callable[[Object], Any]] = {
    "Pod": _pod,
    "Node": _node,
    "Namespace": _account,
    "ServiceAccount": _account,
    "DaemonSet": _daemon_set,
}
