"""crd.projectcalico.org/v1: the form in which Calico stores its objects as custom resources.

Name, labels and annotations that an author gave stand as JSON in an annotation.
(libcalico-go/lib/backend/k8s/resources)
"""

from __future__ import annotations

import json
from typing import Any

from felixpy.model import DEFAULT_TIER

METADATA = "projectcalico.org/metadata"
TIERED = frozenset({"GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy", "StagedNetworkPolicy"})
"""Kinds whose stored names carried the tier in front."""


def restored(data: dict[str, Any]) -> dict[str, Any]:
    """The object as its author wrote it.

    Felix knows a policy by its stored name; kube-controllers renames stored policies of the default tier so that
    both are the same, and that is the state restored here.

    >>> stored = {"kind": "GlobalNetworkPolicy", "metadata": {"name": "default.web", "annotations": {METADATA: "{}"}}}
    >>> restored(stored)["metadata"]["name"]
    'web'
    """
    metadata = data.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    packed = annotations.get(METADATA) if isinstance(annotations, dict) else None
    if not isinstance(packed, str) or not isinstance(metadata, dict) or not isinstance(annotations, dict):
        return data
    given = _unpacked(packed)
    own = dict(metadata)
    own["annotations"] = {key: value for key, value in annotations.items() if key != METADATA}
    for name in ("labels", "annotations"):
        if isinstance(given.get(name), dict) and isinstance(own.get(name) or {}, dict):
            own[name] = {**(own.get(name) or {}), **given[name]}
    own["name"] = given.get("name") or _without_tier(data, str(own.get("name", "")))
    return {**data, "metadata": own}


def _unpacked(packed: str) -> dict[str, Any]:
    try:
        given = json.loads(packed)
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}


def _without_tier(data: dict[str, Any], name: str) -> str:
    spec = data.get("spec")
    tier = spec.get("tier") if isinstance(spec, dict) else None
    if data.get("kind") in TIERED and tier in (None, "", DEFAULT_TIER):
        return name.removeprefix("default.")
    return name
