"""The parts that all objects have in common: metadata and the outer fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from felixpy.manifests.objects.criteria import label_key, label_value
from felixpy.manifests.validation.findings import Complaint, shown
from felixpy.manifests.validation.names import LABEL
from felixpy.manifests.validation.shapes import Anything, ListOf, MapOf, Object, Relation, Shape, text
from felixpy.remembered import remembered

Naming = Callable[[str], Complaint | None]

_SUBDOMAIN = re.compile(rf"{LABEL}(?:\.{LABEL})*", re.ASCII)
_LABEL = re.compile(LABEL, re.ASCII)
_POLICY = re.compile(rf"(?:(?:knp|ossg)\.default\.)?{LABEL}(?:\.{LABEL})?", re.ASCII)


def _naming(pattern: re.Pattern[str], longest: int, form: str) -> Naming:
    def complain(given: str) -> Complaint | None:
        # Names of pods rarely repeat, so results are not cached.
        if pattern.fullmatch(given) and len(given) <= longest:
            return None
        return Complaint(f"{shown(given)}: {form}")

    return complain


subdomain = _naming(_SUBDOMAIN, 253, 'lower-case letters, digits, "-" and "." only, at most 253')
dns_label = _naming(_LABEL, 63, 'lower-case letters, digits and "-" only, at most 63')
policy_name = _naming(_POLICY, 253, 'lower-case letters, digits and "-" only (with at most one dot)')


def or_empty(naming: Naming) -> Naming:
    """As `naming`, but an empty text is treated as absent."""

    @remembered(1 << 12)
    def complain(given: str) -> Complaint | None:
        return naming(given) if given else None

    return complain


LABELS = MapOf(text(label_value), label_key)


def annotation_key(given: str) -> Complaint | None:
    """Keys of annotations follow the rules of labels, in any case."""
    return label_key(given.lower())


IGNORED = (
    "uid", "resourceVersion", "generation", "generateName", "creationTimestamp", "deletionTimestamp",
    "deletionGracePeriodSeconds", "finalizers", "managedFields", "selfLink", "clusterName",
)  # fmt: skip


owner_kind = _naming(re.compile(r"[A-Za-z][A-Za-z0-9]*", re.ASCII), 63, "letters and digits only, at most 63")
owner_name = _naming(
    re.compile(r"(?!\.\.?$)[A-Za-z0-9._:-]+", re.ASCII), 253, 'letters, digits, ".", "_", ":" and "-" only, at most 253'
)
"""Names of roles have colons; no kind allows more. (apimachinery, ValidatePathSegmentName and the kinds' own checks)"""

OWNERS = ListOf(Object({"kind": text(or_empty(owner_kind)), "name": text(or_empty(owner_name))}, opened=True))


def metadata(naming: Naming = subdomain, annotated: Sequence[Relation] = ()) -> Object:
    """metadata with a name that `naming` accepts; `annotated` are checks of the annotations."""
    fields: dict[str, Shape] = {name: Anything() for name in IGNORED}
    fields |= {
        "name": text(naming),
        "namespace": text(or_empty(dns_label)),
        "labels": LABELS,
        "ownerReferences": OWNERS,
        "annotations": MapOf(text(), annotation_key, annotated),
    }
    return Object(fields, required=("name",), elsewhere={"label": "labels was probably meant"})


def document(
    spec: Shape,
    *,
    naming: Naming = subdomain,
    annotated: Sequence[Relation] = (),
    required: Sequence[str] = (),
    relations: Sequence[Relation] = (),
) -> Object:
    """An object with all its contents in spec, as Calico's kinds and policies have them."""
    fields: dict[str, Shape] = {"metadata": metadata(naming, annotated), "spec": spec}
    fields |= {"apiVersion": Anything(), "kind": Anything(), "status": Anything()}
    known: dict[str, Any] = getattr(spec, "fields", {})
    return Object(
        fields,
        required=("metadata", *required),
        relations=relations,
        elsewhere=dict.fromkeys(known, "it belongs into spec"),
    )
