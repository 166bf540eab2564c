"""Endpoints of connections, found by the names that users give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from ipaddress import ip_address
from typing import Literal

from felixpy.errors import UsageError, few, unknown_node
from felixpy.model import Cluster, HostPod, Workload
from felixpy.netfilter.rules import Dump
from felixpy.topology.addresses import AddressBook
from felixpy.topology.outside import mentioned, outside, saved
from felixpy.topology.question import is_address

_HASH = "[a-z0-9]{1,10}"
_LETTERS = "[a-z0-9]{5}"
MAKERS: Mapping[str, str] = {
    "pod": "",
    "deployment": f"-{_HASH}-{_LETTERS}",
    "replicaset": f"-{_LETTERS}",
    "statefulset": r"-\d+",
    "daemonset": f"-{_LETTERS}",
    "job": rf"-(?:\d+-)?{_LETTERS}",
    "cronjob": rf"-\d+-(?:\d+-)?{_LETTERS}",
}
"""What a kind of workload appends to its name to name its pods."""

SHORT: Mapping[str, str] = {
    "po": "pod", "deploy": "deployment", "rs": "replicaset", "sts": "statefulset", "ds": "daemonset", "cj": "cronjob",
}  # fmt: skip

HOST = "host"
NODES = ("node/", "no/", "nodes/")
"""The prefixes before the name of a node."""

EndpointKind = Literal["pod", "host", "outside"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a connection. An outside endpoint has no node; `note` names a choice that was made for the user."""

    kind: EndpointKind
    name: str
    address: str
    node: str = ""
    workload: Workload | None = None
    note: str = ""


class Directory:
    """Finds endpoints in a cluster. `node` is the one for ``host``; `dumps` are the saved rules of nodes."""

    def __init__(
        self, cluster: Cluster, book: AddressBook, node: str = "", namespace: str = "", dumps: Iterable[Dump] = ()
    ) -> None:
        self.cluster, self.book, self.node, self.namespace = cluster, book, node, namespace
        self.dumps = tuple(dumps)

    def pair(self, source: str, destination: str, family: int) -> tuple[Endpoint, Endpoint]:
        """Both ends; a plain ``host`` is the node of the other end. Raises UsageError as `find` does."""
        if HOST in (source, destination) and source != destination:
            other = self.find(destination if source == HOST else source, family)
            host = self._host(self.node or other.node, family)
            return (host, other) if source == HOST else (other, host)
        return self.find(source, family), self.find(destination, family)

    def find(self, text: str, family: int) -> Endpoint:
        """An endpoint by name. Raises UsageError for an unknown name, or an endpoint without that family."""
        if text == "internet":
            return self._internet(family)
        if text == HOST or text.startswith("host:"):
            return self._host(text[5:] or self.node, family)
        if is_address(text):
            return self.owner(text, family)
        prefix = next((prefix for prefix in NODES if text.startswith(prefix)), "")
        if prefix and text[len(prefix) :] in self.book.names:
            return self._host(text[len(prefix) :], family)
        pods = sorted(self.pods(text), key=lambda pod: (pod.namespace, pod.name))
        if not pods and text in self.book.names:
            return self._host(text, family)
        if not pods:
            raise UsageError(f"{text}: {self._unknown(text)}")
        spaces = sorted({pod.namespace for pod in pods})
        if len(spaces) > 1:
            raise UsageError(f"{text} is in several namespaces, write NAMESPACE/{text}: {', '.join(spaces)}")
        note = f"{text} has {len(pods)} pods, this is the first" if len(pods) > 1 else ""
        return self._pod(pods[0], family, note)

    def owner(self, address: str, family: int = 0) -> Endpoint:
        """The endpoint with an address. Raises UsageError if it is not of the given family."""
        parsed = ip_address(address)
        if family and parsed.version != family:
            raise UsageError(f"{address} is not an IPv{family} address")
        pod = self._by_address.get(str(parsed))
        if pod:
            return Endpoint("pod", f"{pod.namespace}/{pod.name}", str(parsed), pod.node, pod)
        node = self.book.node(str(parsed))
        return Endpoint("host" if node else "outside", node or str(parsed), str(parsed), node)

    @cached_property
    def _by_name(self) -> Mapping[tuple[str, str], Workload | HostPod]:
        return {(pod.namespace, pod.name): pod for pod in self._everybody}

    @cached_property
    def _everybody(self) -> Sequence[Workload | HostPod]:
        """All pods, including those with hostNetwork."""
        return (*self.cluster.workloads, *self.cluster.host_pods)

    @cached_property
    def floating(self) -> Mapping[str, str]:
        """The nodes of pods by floating address, which the network routes to those nodes."""
        return {floating: pod.node for pod in self.cluster.workloads for _, floating in pod.floating}

    @cached_property
    def _by_address(self) -> Mapping[str, Workload]:
        return {address: pod for pod in reversed(self.cluster.workloads) for address in pod.addresses}

    def _host(self, node: str, family: int) -> Endpoint:
        names = self.book.names
        node = node or self.book.only
        if not node:
            known = f"; the input has {few(names)}" if names else ""
            raise UsageError(f"host: say which node, as in host:NAME or with --node{known}")
        address = self.book.address(node, family)
        if not address:
            raise UsageError(f"host:{node}: {unknown_node(node, names)}")
        assumed = address in self.book.assumed
        note = f"the address of {node} is not known, {address} is used in its place" if assumed else ""
        return Endpoint("host", node, address, node, note=note)

    def _pod(self, pod: Workload | HostPod, family: int, note: str) -> Endpoint:
        name = f"{pod.namespace}/{pod.name}"
        if isinstance(pod, HostPod):
            host = self._host(pod.node, family)
            notes = [note, f"{name} is in the network of {pod.node}, so it is the host to policies", host.note]
            return Endpoint("host", name, host.address, pod.node, note="; ".join(filter(None, notes)))
        for address in pod.addresses:
            if (":" in address) == (family == 6):
                return Endpoint("pod", name, address, pod.node, pod, note)
        raise UsageError(f"{name} has no IPv{family} address")

    def pods(self, text: str) -> Iterator[Workload | HostPod]:
        """The pods for ``pod``, ``ns/pod``, ``kind/name`` or ``ns/kind/name``; a namespace may be named like a kind."""
        *head, name = text.split("/")
        readings = [("", head[0] if head else "")]
        kind = SHORT.get(head[-1].lower(), head[-1].lower().removesuffix("s")) if head else ""
        if kind in MAKERS:
            readings = [(kind, head[0] if len(head) == 2 else ""), *readings]
        if len(head) > 2 or (len(head) == 2 and kind not in MAKERS):
            return
        for maker, namespace in readings:
            space = namespace or self.namespace
            if maker in ("", "pod") and space:
                yield from filter(None, [self._by_name.get((space, name))])
                continue
            pattern = re.compile(re.escape(name) + MAKERS.get(maker, ""))
            found = [
                pod for pod in self._everybody if (not space or pod.namespace == space) and pattern.fullmatch(pod.name)
            ]
            yield from found
            if found:
                return

    def _unknown(self, text: str) -> str:
        names = [f"{pod.namespace}/{pod.name}" for pod in self._everybody]
        short = {name.partition("/")[2]: name for name in names}
        begun = [name for name in [*names, *short] if name.startswith(text)]
        close = begun or get_close_matches(text, [*names, *short], n=1)
        hint = f"; did you mean {short.get(close[0], close[0])}?" if close else ""
        if not names:
            return "no pod is known; name pods by their addresses, or give manifests"
        return f"no such pod, workload, address, host or internet{hint}"

    def _internet(self, family: int) -> Endpoint:
        nets = [*mentioned(self.cluster), *self.book.known, *saved(self.dumps)]
        found = outside(nets, family)
        return Endpoint("outside", "internet", found.address, note=found.note)
