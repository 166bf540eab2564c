"""Flows with names: source, destination and traffic."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from felixpy.flows.packets.traffic_words import Traffic

PeerKind = Literal[
    "workload", "pod", "interface", "host", "ingress-controller", "service", "external", "class", "group"
]


TITLES = {"ingress-controller": "IngressController"}


class Peer(NamedTuple):
    """One end of flows: a workload with its pods, a single pod, an interface, a node, or addresses of no endpoint.

    It can also be a Service, or an ingress controller that is not in the input (any pod).

    `maker` is the kind of a workload (Deployment and so on), `pods` are the names of its pods; the space of an
    interface is its node. `ranges` are CIDRs or first-last, the lowest first, `words` a shorter way to say them.
    `lowest` is the family and the first address, for sorting.
    """

    kind: PeerKind
    space: str
    name: str
    maker: str = ""
    pods: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    words: str = ""
    lowest: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        """Return ``shop/web[Deployment]``, ``shop/db-0``, ``host:node1``, ``10.0.0.0/8 except 10.1.0.0/16``."""
        match self.kind:
            case "external":
                return self.words
            case "host":
                return f"host:{self.name}"
            case "ingress-controller":
                return f"{{{self.name}}}"
            case "service":
                return f"{self.space}/svc/{self.name}"
            case "group":
                return self.name
            case "class":
                return f"{self.name}[{len(self.pods)}]"
            case "workload":
                return f"{self.space}/{self.name}[{self.maker}]"
            case _:
                return f"{self.space}/{self.name}"

    @property
    def title(self) -> str:
        """The kind as it is written in manifests."""
        return self.maker or TITLES.get(self.kind) or self.kind.capitalize()

    def json(self) -> dict[str, Any]:
        """Return ``{"kind": …, "namespace": …, "name": …}``, or ``{"kind": "External", "ranges": […]}``."""
        if self.kind == "external":
            return {"kind": "External", "ranges": list(self.ranges)}
        found: dict[str, Any] = {"kind": self.title}
        if self.space:
            found["node" if self.kind == "interface" else "namespace"] = self.space
        return found | {"name": self.name}


class Flow(NamedTuple):
    """Traffic from one peer to another; `family` is 4 or 6 if it applies to one of two families only, else None."""

    source: Peer
    destination: Peer
    traffic: Traffic
    family: int | None = None

    def json(self) -> dict[str, Any]:
        found = {
            "source": self.source.json(),
            "destination": self.destination.json(),
            "connection": str(self.traffic),
            **self.traffic.json(),
        }
        return found if self.family is None else found | {"family": self.family}
