"""Ingresses, Gateway API routes and OpenShift Routes: which Services they send requests to.

(networking.k8s.io Ingress, v1 and before; gateway.networking.k8s.io HTTPRoute, GRPCRoute, TCPRoute, TLSRoute, UDPRoute,
ReferenceGrant; route.openshift.io Route)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from felixpy.errors import Source
from felixpy.frontends import Backend, Grant, Route, ServiceName
from felixpy.manifests.validation.metadata import metadata
from felixpy.manifests.validation.shapes import Anything, ListOf, Object, text

Data = Mapping[str, Any]

GATEWAY = "gateway.networking.k8s.io"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"

_OPEN = Object({}, opened=True)
_ITEMS = ListOf(_OPEN)

INGRESS = Object(
    {
        "metadata": metadata(),
        "spec": Object(
            {
                "ingressClassName": text(),
                "defaultBackend": _OPEN,
                "backend": _OPEN,
                "rules": ListOf(
                    Object({"host": text(), "http": Object({"paths": _ITEMS}, opened=True)}, opened=True), "rules"
                ),
            },
            opened=True,
        ),
    },
    required=("metadata",),
    opened=True,
)

GATEWAY_ROUTE = Object(
    {
        "metadata": metadata(),
        "spec": Object(
            {
                "parentRefs": _ITEMS,
                "hostnames": ListOf(text()),
                "rules": ListOf(Object({"backendRefs": _ITEMS, "filters": _ITEMS}, opened=True), "rules"),
            },
            opened=True,
        ),
    },
    required=("metadata",),
    opened=True,
)

OPENSHIFT_ROUTE = Object(
    {
        "metadata": metadata(),
        "spec": Object(
            {"host": text(), "to": _OPEN, "alternateBackends": _ITEMS, "port": Object({"targetPort": Anything()})},
            opened=True,
        ),
    },
    required=("metadata",),
    opened=True,
)

REFERENCE_GRANT = Object(
    {"metadata": metadata(), "spec": Object({"from": _ITEMS, "to": _ITEMS}, opened=True)},
    required=("metadata",),
    opened=True,
)


def _route(kind: str, data: Data, source: Source, backends: Iterable[Backend], **more: Any) -> Route:
    own = data["metadata"]
    return Route(
        kind=kind, namespace=own["namespace"], name=own["name"], source=source,
        backends=tuple(dict.fromkeys(backends)), **more,
    )  # fmt: skip


def ingress(data: Data, source: Source) -> Route:
    """An Ingress; backends that are not Services are ignored."""
    spec, own = data.get("spec", {}), data["metadata"]
    namespace = own["namespace"]
    given = [_mapping(spec, "defaultBackend") or _mapping(spec, "backend")]
    for rule in spec.get("rules", ()):
        given += [_mapping(path, "backend") for path in _items(_mapping(rule, "http"), "paths")]
    hosts = tuple(rule["host"] for rule in spec.get("rules", ()) if rule.get("host"))
    controller = spec.get("ingressClassName") or own.get("annotations", {}).get(CLASS_ANNOTATION, "")
    backends = (found for each in given if (found := _ingress_backend(namespace, each)))
    return _route("Ingress", data, source, backends, hosts=hosts, controller=controller)


def _ingress_backend(namespace: str, data: Data) -> Backend | None:
    """A backend: ``service: {name, port: {number | name}}`` in v1, ``serviceName`` and ``servicePort`` before."""
    service = _mapping(data, "service")
    if service.get("name"):
        port = _mapping(service, "port")
        return Backend(ServiceName(namespace, str(service["name"])), _port(port.get("name") or port.get("number")))
    if data.get("serviceName"):
        return Backend(ServiceName(namespace, str(data["serviceName"])), _port(data.get("servicePort")))
    return None


def _port(given: object) -> int | str | None:
    """A port by number or name; a number written as text is a number."""
    if isinstance(given, str) and given.isdecimal():
        return int(given)
    return given if isinstance(given, int | str) and given else None


def _mapping(data: Data, name: str) -> Data:
    """A field that should be a mapping; the API server refuses anything else."""
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _items(data: Data, name: str) -> list[Data]:
    value = data.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def gateway_route(kind: str, data: Data, source: Source) -> Route:
    """A route of the Gateway API; the Services of request mirrors are backends, too."""
    spec, namespace = data.get("spec", {}), data["metadata"]["namespace"]
    parents = tuple(
        (str(parent.get("namespace") or namespace), str(parent.get("name", "")))
        for parent in spec.get("parentRefs", ())
        if parent.get("kind", "Gateway") == "Gateway"
    )
    backends = (found for rule in spec.get("rules", ()) for found in _rule_backends(namespace, rule))
    return _route(kind, data, source, backends, hosts=tuple(spec.get("hostnames", ())), parents=parents)


def _rule_backends(namespace: str, rule: Data) -> Iterator[Backend]:
    references = [each for each in _items(rule, "backendRefs") if each.get("weight", 1) != 0]
    filters = [*_items(rule, "filters"), *(each for ref in references for each in _items(ref, "filters"))]
    references += [_mapping(_mapping(each, "requestMirror"), "backendRef") for each in filters]
    for reference in references:
        kind, group = reference.get("kind", "Service"), reference.get("group", "")
        if reference.get("name") and (kind, group) == ("Service", ""):
            name = ServiceName(str(reference.get("namespace") or namespace), str(reference["name"]))
            yield Backend(name, _port(reference.get("port")))


def openshift_route(data: Data, source: Source) -> Route:
    """A Route; its port is a target port of the Service, or the name of a Service's port."""
    spec, namespace = data.get("spec", {}), data["metadata"]["namespace"]
    port = _port(_mapping(spec, "port").get("targetPort"))
    targets = [_mapping(spec, "to"), *_items(spec, "alternateBackends")]
    backends = [
        Backend(ServiceName(namespace, str(target["name"])), port)
        for target in targets
        if target.get("name") and target.get("kind", "Service") == "Service" and target.get("weight", 1) != 0
    ]
    return _route("Route", data, source, backends, hosts=(spec["host"],) if spec.get("host") else ())


def reference_grant(data: Data, source: Source) -> Grant:
    """A ReferenceGrant, as far as it is about Services."""
    spec = data.get("spec", {})
    targets = [each for each in spec.get("to", ()) if each.get("kind") == "Service" and not each.get("group")]
    names = frozenset(each["name"] for each in targets if each.get("name"))
    everything = any(not each.get("name") for each in targets)
    sources = tuple((str(each.get("kind")), str(each.get("namespace"))) for each in spec.get("from", ()))
    if not targets:
        sources = ()
    return Grant(data["metadata"]["namespace"], sources, frozenset() if everything else names)
