"""Namespaces and service accounts as Calico's profiles.

(libcalico-go/lib/backend/k8s/conversion)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.validation.findings import Finding
from felixpy.manifests.validation.metadata import dns_label, metadata
from felixpy.manifests.validation.names import is_label_value, labels_to_apply, too_long_to_inherit
from felixpy.manifests.validation.shapes import Object, Relation
from felixpy.model import NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX, Profile, Rule, Source

Data = Mapping[str, Any]

ALLOW_ALL = (Rule(action="allow"),)


def _inheritable(prefix: str) -> Relation:
    def check(data: Data, path: Path) -> Iterator[Finding]:
        key = too_long_to_inherit(data["metadata"].get("labels", {}), prefix)
        if key:
            reason = f"too long with {prefix} in front; Calico then hands down none of these labels"
            hint = "selectors of namespaces or service accounts will not match"
            yield Finding((*path, "metadata", "labels", key), reason, hint, "warning")

    return check


def _name_fits(data: Data, path: Path) -> Iterator[Finding]:
    name = data["metadata"]["name"]
    if not is_label_value(name):
        reason = f"{len(name)} characters do not fit into a label; Calico then hands down none of its labels"
        yield Finding((*path, "metadata", "name"), reason, severity="warning")


NAMESPACE = Object({"metadata": metadata(dns_label)}, ("metadata",), (_inheritable(NAMESPACE_PREFIX),), opened=True)
SERVICE_ACCOUNT = Object(
    {"metadata": metadata()}, ("metadata",), (_inheritable(SERVICE_ACCOUNT_PREFIX), _name_fits), opened=True
)


def namespace(data: Data, source: Source) -> Profile:
    """Profile ``kns.<namespace>``: it allows everything, and pods inherit the namespace's labels."""
    metadata = data["metadata"]
    name = metadata["name"]
    own = {"kubernetes.io/metadata.name": name, **metadata.get("labels", {}), "projectcalico.org/name": name}
    labels = labels_to_apply({NAMESPACE_PREFIX + key: value for key, value in own.items()})
    return Profile(name=f"kns.{name}", inbound=ALLOW_ALL, outbound=ALLOW_ALL, labels=labels, source=source)


def service_account(data: Data, source: Source) -> Profile:
    """Profile ``ksa.<namespace>.<account>``: it has no rules, and pods inherit the account's labels."""
    metadata = data["metadata"]
    own = {**metadata.get("labels", {}), "projectcalico.org/name": metadata["name"]}
    labels = labels_to_apply({SERVICE_ACCOUNT_PREFIX + key: value for key, value in own.items()})
    name = f"ksa.{metadata['namespace']}.{metadata['name']}"
    return Profile(name=name, inbound=(), outbound=(), labels=labels, source=source)
