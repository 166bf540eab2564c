"""Pods directly from their JSON texts, for texts that contain no other than the used fields.

What pods of one template have in common (labels, owners, containers) is parsed once for each text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar

from msgspec import UNSET, Raw, Struct, convert, field
from msgspec.json import Decoder, Encoder

from felixpy.manifests.objects.pod_facts import EMPTY, GivenPort, PodFacts, SharedByPods
from felixpy.manifests.objects.pod_record import NO_STATUS, Container, OwnerReference, OwnMetadata, OwnSpec, Status
from felixpy.manifests.reading.jsonstream import vouched
from felixpy.manifests.reading.scalars import number
from felixpy.manifests.reading.streams import GivenUp

Value = TypeVar("Value")

_NOTHING = Raw(b"null")

_REMEMBERED = 1 << 14
"""Texts of one sort whose meaning is remembered."""

_FLAT = 100
"""Brackets in a part of a pod that is certainly not nested too deeply."""


class TextMetadata(OwnMetadata, frozen=True):
    """metadata; fields that pods have in common are kept as text."""

    labels: Raw = _NOTHING
    owners: Raw = field(default=_NOTHING, name="ownerReferences")


class TextSpec(OwnSpec, frozen=True):
    """spec; containers are kept as text."""

    containers: Raw = _NOTHING
    init_containers: Raw = field(default=_NOTHING, name="initContainers")


class PodText(Struct, frozen=True, omit_defaults=True):
    """A pod all of whose members have a field here."""

    version: Literal["v1"] = field(name="apiVersion")
    kind: Literal["Pod"]
    metadata: TextMetadata
    spec: TextSpec
    status: Status = NO_STATUS


_decode = Decoder(PodText, float_hook=number).decode
_encode = Encoder().encode


class _Parts(Generic[Value]):
    """Values of parts of pods, by their texts: `make` is called once for each text."""

    def __init__(self, type_: Any, make: Callable[[Any], Value]) -> None:
        self._type, self._make = type_, make
        self._known: dict[bytes, Value] = {}

    def __call__(self, raw: Raw) -> Value:
        text = bytes(raw)
        known = self._known.get(text)
        if known is None:
            if text.count(b"{") + text.count(b"[") > _FLAT:
                raise GivenUp
            known = self._make(convert(vouched(text), self._type))
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[text] = known
        return known


class PodTexts:
    """Parses pods. `check` validates the containers of a pod, once for each text, and may raise."""

    def __init__(self, shared: SharedByPods, check: Callable[[Sequence[Container]], None]) -> None:
        def ports(containers: Sequence[Container] | None) -> tuple[GivenPort, ...]:
            check(containers or ())
            return shared.ports(containers, None)

        self._shared = shared
        self._labels = _Parts(dict[str, str] | None, lambda given: shared.labels(given or EMPTY))
        self._owners = _Parts(list[OwnerReference] | None, lambda given: shared.owners(given or ()))
        self._ports = _Parts(list[Container] | None, ports)
        self._init_ports = _Parts(list[Container] | None, lambda given: shared.ports(None, given))

    def read(self, text: bytes) -> PodText | None:
        """A pod whose text consists of used fields only; None if it has others.

        Every member has a colon, so a text with more colons than its parsed fields, printed again, has other members or
        a duplicate key; see `vouched`. Raises MsgspecError, ValueError, RecursionError for a text of another form.
        """
        pod = _decode(text)
        if text.count(b":") != _encode(pod).count(b":"):
            return None
        own = pod.metadata
        if own.deleted is not None or not (own.uid is UNSET or type(own.uid) is str):
            return None  # of any type, and maybe nested too deeply
        address = pod.status.host_address
        return pod if address is None or type(address) is str else None

    def facts(self, pod: PodText) -> PodFacts:
        """The facts about a parsed pod. Raises GivenUp, ValueError, MsgspecError if something may be invalid."""
        own, spec = pod.metadata, pod.spec
        ports = self._ports(spec.containers)
        if spec.init_containers is not _NOTHING:
            ports = self._shared.same(ports + self._init_ports(spec.init_containers))
        owners = () if own.owners is _NOTHING else self._owners(own.owners)
        return PodFacts(own, spec, pod.status, self._labels(own.labels), owners, ports)
