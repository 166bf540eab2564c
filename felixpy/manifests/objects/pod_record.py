"""The fields of a pod that are used, with their types: msgspec extracts them from a manifest, and refuses other types.

Other fields are ignored. The shape `pods.POD` validates values of the right type.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, convert, field

PortNumber = Annotated[int, Meta(ge=0, le=65535)]


class Port(Struct, frozen=True):
    """A port of a container."""

    name: str | None = None
    protocol: str | None = None
    number: PortNumber | None = field(default=None, name="containerPort")
    host_port: PortNumber | None = field(default=None, name="hostPort")
    host_address: str | None = field(default=None, name="hostIP")


class Container(Struct, frozen=True):
    """A container; name and image may be anything."""

    name: Any = None
    image: Any = None
    ports: list[Port] | None = None


class OwnerReference(Struct, frozen=True):
    """One of the ownerReferences."""

    kind: str | None = None
    name: str | None = None
    controller: Any = None


class OwnMetadata(Struct, frozen=True, omit_defaults=True):
    """The fields of metadata that differ between pods; `uid` is UNSET if absent."""

    name: str
    namespace: str | None = None
    annotations: dict[str, str] | None = None
    uid: Any = UNSET
    deleted: Any = field(default=None, name="deletionTimestamp")


class Metadata(OwnMetadata, frozen=True):
    """metadata."""

    labels: dict[str, str] | None = None
    owners: list[OwnerReference] | None = field(default=None, name="ownerReferences")


class OwnSpec(Struct, frozen=True, omit_defaults=True):
    """spec, without the containers."""

    node: str | None = field(default=None, name="nodeName")
    host_network: bool | None = field(default=None, name="hostNetwork")
    account: str | None = field(default=None, name="serviceAccountName")
    old_account: str | None = field(default=None, name="serviceAccount")


class Spec(OwnSpec, frozen=True):
    """spec."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = field(default=None, name="initContainers")


class PodAddress(Struct, frozen=True, omit_defaults=True):
    """One of status.podIPs."""

    ip: str | None = None


class Condition(Struct, frozen=True, omit_defaults=True):
    """One of status.conditions."""

    type: str | None = None
    status: str | None = None


class Status(Struct, frozen=True, omit_defaults=True):
    """status."""

    phase: str | None = None
    address: str | None = field(default=None, name="podIP")
    addresses: list[PodAddress] | None = field(default=None, name="podIPs")
    conditions: list[Condition] | None = None
    host_address: Any = field(default=None, name="hostIP")


NO_SPEC, NO_STATUS = Spec(), Status()


class PodRecord(Struct, frozen=True):
    """A pod. Null is treated as absent."""

    metadata: Metadata
    spec: Spec | None = None
    status: Status | None = None


def record(data: object) -> PodRecord:
    """The used fields of a pod's manifest. Raises msgspec.ValidationError for values of other types."""
    return convert(data, PodRecord)
