"""Settings of Felix in objects that install Calico: its environment, the operator's Installation, kube-proxy's mode.

Felix's environment takes precedence over FelixConfigurations, so a calico-node DaemonSet in the input is read. From an
Installation the operator makes pools, the environment and parts of the FelixConfiguration.
(felix/config; tigera/operator v1.42: pkg/render/node.go, pkg/controller/ippool/defaults.go,
pkg/controller/installation/core_controller.go)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from felixpy.config import parameters, suggestion
from felixpy.errors import Path
from felixpy.manifests.completion.replicas import mappings
from felixpy.manifests.objects.felix_configuration import doubt
from felixpy.manifests.reading.documents import Document, subject
from felixpy.manifests.validation.findings import Finding, shown
from felixpy.model import Source, Stated

Data = Mapping[str, Any]

NODE_CONTAINER = "calico-node"
NODE_IMAGE = re.compile(r"(?:^|/)(?:calico/node|calico-node|cnx-node)(?::(?P<tag>v\d[^@]*))?(?:@.*)?$")
FELIX = re.compile(r"felix_(.+)", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_MODE = re.compile(r"^mode:[ \t]*[\"']?(\w*)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)

STRONGER = "--set and the FELIX_* variables of this shell are stronger"
CALICO = "projectcalico.org/v3"


@dataclass(slots=True)
class Installed:
    """The settings found. `pools` are the IPPools that the operator would make, `used` the ids of documents read."""

    environment: list[Stated] = field(default_factory=list)
    operator: list[Stated] = field(default_factory=list)
    kube_proxy_mode: Stated | None = None
    calico_version: Stated | None = None
    pools: list[Document] = field(default_factory=list)
    findings: list[tuple[Document, Finding]] = field(default_factory=list)
    used: set[int] = field(default_factory=set)

    @property
    def interface_prefix(self) -> str:
        """The prefix of pods' interfaces in the environment, "" if it is not set."""
        given = next((item for item in self.environment if item.name.lower() == "interfaceprefix"), None)
        return given.value.partition(",")[0].strip() if given else ""


def installed(documents: Sequence[Document]) -> Installed:
    """All settings in documents that install Calico."""
    found = Installed()
    maps = {_key(data): data.get("data") or {} for data, _ in documents if data["kind"] == "ConfigMap"}
    for document in documents:
        read = _READERS.get((document.data["apiVersion"].rpartition("/")[0], document.data["kind"]))
        if read is not None:
            read(found, document, maps)
    if not found.environment:
        for document in documents:
            if (document.data["apiVersion"], document.data["kind"]) == ("v1", "Pod"):
                _node_pod(found, document, maps)
    _operator(found, documents)
    return found


Maps = Mapping[tuple[str, str], Mapping[str, Any]]


def _key(data: Data) -> tuple[str, str]:
    metadata = _mapping(data, "metadata")
    return str(metadata.get("namespace") or "default"), str(metadata.get("name"))


def _mapping(data: Any, *steps: str) -> Mapping[str, Any]:
    """The mapping at a path, or an empty one: these objects are not validated completely."""
    for step in steps:
        data = data.get(step) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


# --- calico-node


class _Variable(NamedTuple):
    value: str
    path: Path


def _daemon_set(found: Installed, document: Document, maps: Maps) -> None:
    spec = _mapping(document.data, "spec", "template", "spec")
    _containers(found, document, spec, ("spec", "template", "spec"), maps)
    if _key(document.data)[1] == "kube-proxy":
        _proxy_arguments(found, document, spec)


def installs(data: Data) -> bool:
    """Whether `installed` may find settings in a document."""
    group, kind = data["apiVersion"].rpartition("/")[0], data["kind"]
    if (group, kind) in _READERS or kind == "Installation":
        return True
    if kind != "Pod" or group:
        return False
    containers = mappings(_mapping(data, "spec").get("containers"))
    # Of the pods of a running cluster neither images nor environments are kept.
    told = (each for each in containers if each.get("image") or each.get("env") or each.get("envFrom"))
    return any(each.get("name") == NODE_CONTAINER or NODE_IMAGE.search(str(each.get("image") or "")) for each in told)


def _node_pod(found: Installed, document: Document, maps: Maps) -> None:
    spec = _mapping(document.data, "spec")
    _containers(found, document, spec, ("spec",), maps, str(spec.get("nodeName") or ""))


def is_calico_node(name: object, image: object) -> bool:
    """Whether a container runs Felix, by its name or its image."""
    tag = str(image or "")
    return name == NODE_CONTAINER or ("node" in tag and NODE_IMAGE.search(tag) is not None)


def _containers(found: Installed, document: Document, spec: Data, at: Path, maps: Maps, node: str = "") -> None:
    for index, container in enumerate(mappings(spec.get("containers"))):
        if not is_calico_node(container.get("name"), container.get("image")):
            continue
        image = NODE_IMAGE.search(str(container.get("image") or ""))
        path = (*at, "containers", index)
        if image and image["tag"] and found.calico_version is None:
            found.calico_version = _stated("", image["tag"], document, (*path, "image"))
        _environment(found, document, _variables(container, path, _key(document.data)[0], maps), path, node)


def _variables(container: Data, at: Path, namespace: str, maps: Maps) -> dict[str, _Variable | None]:
    """The environment variables that the kubelet sets, by name; None for a value that is not in the input."""
    found: dict[str, _Variable | None] = {}
    for index, entry in enumerate(mappings(container.get("envFrom"))):
        name = str(_mapping(entry, "configMapRef").get("name") or "")
        for key, value in maps.get((namespace, name), {}).items():
            found[f"{entry.get('prefix') or ''}{key}"] = _Variable(str(value), (*at, "envFrom", index))
    for index, entry in enumerate(mappings(container.get("env"))):
        name, path = str(entry.get("name")), (*at, "env", index)
        reference = _mapping(entry, "valueFrom", "configMapKeyRef")
        if reference:
            held = maps.get((namespace, str(reference.get("name"))), {}).get(str(reference.get("key")))
            found[name] = None if held is None else _Variable(str(held), (*path, "valueFrom"))
        elif entry.get("valueFrom"):
            found[name] = None
        else:
            found[name] = _Variable(_expanded(str(entry.get("value") or ""), found), (*path, "value"))
    return found


def _expanded(value: str, known: Mapping[str, _Variable | None]) -> str:
    def replaced(reference: re.Match[str]) -> str:
        variable = known.get(reference[1])
        return variable.value if variable else reference[0]

    return _REFERENCE.sub(replaced, value)


def _environment(
    found: Installed, document: Document, variables: Mapping[str, _Variable | None], at: Path, node: str
) -> None:
    told = []
    for name, variable in variables.items():
        parameter = FELIX.fullmatch(name)
        if not parameter:
            continue
        known = parameters().get(parameter[1].lower())
        if variable is None:
            if known is not None and known.effect:
                reason = f"{name}: its value is not in the input, so the real {known.name} may differ"
                found.findings.append((document, Finding((*at, "env"), reason, severity="warning")))
            continue
        finding = _doubt(name, parameter[1], variable)
        if finding:
            found.findings.append((document, finding))
        if known is not None and known.effect and variable.value != "":
            stated = _stated(known.name, variable.value, document, variable.path, node)
            found.environment.append(stated)
            if not finding:
                told.append(f"{stated.name}={stated.value}")
    if told:
        found.used.add(id(document))
        reason = f"sets {_listed(told)} for Felix, before every FelixConfiguration"
        found.findings.append((document, Finding((*at, "env"), reason, STRONGER, "warning")))


def _doubt(variable: str, name: str, given: _Variable) -> Finding | None:
    """A finding for a variable that is not a parameter of Felix, or whose value Felix cannot parse."""
    known = parameters().get(name.lower())
    if known is None:
        close = suggestion(name, 0.8)
        hint = f"FELIX_{close.upper()} was probably meant" if close else ""
        return Finding(given.path, f"{variable}: Felix has no such parameter and ignores it", hint, "warning")
    found = doubt(known, given.value, given.path) if given.value else None
    return found._replace(reason=f"{variable}: {found.reason}") if found else None


# --- kube-proxy


def _config_map(found: Installed, document: Document, maps: Maps) -> None:
    if _key(document.data) != ("kube-system", "kube-proxy"):
        return
    for key in ("config.conf", "kubeconfig.conf", "config.yaml"):
        text = _mapping(document.data, "data").get(key)
        mode = _MODE.search(text) if isinstance(text, str) and "KubeProxyConfiguration" in text else None
        if mode:
            _proxy(found, document, mode[1], ("data", key))


def _proxy_configuration(found: Installed, document: Document, maps: Maps) -> None:
    _proxy(found, document, str(document.data.get("mode") or ""), ("mode",))


def _proxy_arguments(found: Installed, document: Document, spec: Data) -> None:
    for index, container in enumerate(mappings(spec.get("containers"))):
        for name in ("command", "args"):
            given = container.get(name)
            words = [str(word) for word in given] if isinstance(given, list) else []
            for number, word in enumerate(words):
                if word.startswith("--proxy-mode="):
                    path = ("spec", "template", "spec", "containers", index, name, number)
                    _proxy(found, document, word.partition("=")[2], path)


def _proxy(found: Installed, document: Document, mode: str, path: Path) -> None:
    """Record kube-proxy's mode; "" means iptables on Linux."""
    found.used.add(id(document))
    if found.kube_proxy_mode is None:
        found.kube_proxy_mode = _stated("kube-proxy", mode.lower() or "iptables", document, path)


# --- the operator


ENCAPSULATIONS = {
    "IPIP": {"ipipMode": "Always"},
    "IPIPCrossSubnet": {"ipipMode": "CrossSubnet"},
    "VXLAN": {"vxlanMode": "Always"},
    "VXLANCrossSubnet": {"vxlanMode": "CrossSubnet"},
    "None": {},
}
PLUGINS = {"EKS": "AmazonVPC", "GKE": "GKE", "AKS": "AzureVNET"}
"""The CNI plugin that a Kubernetes provider has where the Installation names none."""

PLUGIN_ENVIRONMENT = {
    "AmazonVPC": {"InterfacePrefix": "eni", "IptablesMangleAllowAction": "Return"},
    "GKE": {
        "InterfacePrefix": "gke", "IptablesMangleAllowAction": "Return", "IptablesFilterAllowAction": "Return",
    },
    "AzureVNET": {"InterfacePrefix": "azv"},
}  # fmt: skip
HOST_ENCRYPTION = {("AKS", "AzureVNET"), ("EKS", "AmazonVPC")}
PLANES: Mapping[str, Mapping[str, str]] = {
    "Iptables": {"NFTablesMode": "Disabled"},
    "Nftables": {"NFTablesMode": "Auto"},
    "BPF": {"NFTablesMode": "Enabled", "BPFEnabled": "true"},
    "VPP": {"NFTablesMode": "Disabled"},
}
"""What the operator writes into the FelixConfiguration for each ``linuxDataplane``."""


def _operator(found: Installed, documents: Sequence[Document]) -> None:
    for document in documents:
        data = document.data
        if data["kind"] == "Installation" and data["apiVersion"].startswith("operator.tigera.io/"):
            found.used.add(id(document))
            if _key(data)[1] == "default":
                _installation(found, document, documents)


def _installation(found: Installed, document: Document, documents: Sequence[Document]) -> None:
    """Read an Installation: status.computed if the operator has written it, else spec."""
    data = document.data
    at: Path = ("status", "computed") if _mapping(data, "status", "computed") else ("spec",)
    spec = _mapping(data, *map(str, at))
    network = _mapping(spec, "calicoNetwork")
    version = _mapping(data, "status").get("calicoVersion")
    if isinstance(version, str) and found.calico_version is None:
        found.calico_version = _stated("", version, document, ("status", "calicoVersion"))
    plugin = str(_mapping(spec, "cni").get("type") or PLUGINS.get(str(spec.get("kubernetesProvider")), "Calico"))
    pools = _pools(network, plugin, documents, document.source)
    found.pools += pools
    told = [f"IPPool {pool.data['metadata']['name']} ({pool.data['spec']['cidr']})" for pool in pools]
    told += _plane(found, document, network, (*at, "calicoNetwork", "linuxDataplane"))
    if not found.environment:
        values = _implied(spec, network, plugin)
        found.environment += [_stated(name, value, document, at) for name, value in values.items()]
        told += [f"{name}={value}" for name, value in values.items()]
    reason = f"the operator makes of it {_listed(told)}"
    found.findings.append((document, Finding(at, reason, STRONGER, "warning")))
    known = any(each["kind"] == "IPPool" for each, _ in documents)
    if network.get("ipPools") is None and not known:
        reason = "names no ipPools; the operator's default pool depends on the cluster, so felixpy assumes none"
        hint = "give the cluster's IPPool objects, without which nothing is masqueraded or encapsulated"
        found.findings.append((document, Finding((*at, "calicoNetwork"), reason, hint, "warning")))


def _plane(found: Installed, document: Document, network: Data, path: Path) -> list[str]:
    chosen = str(network.get("linuxDataplane") or "Iptables")
    values = PLANES.get(chosen)
    if values is None:
        reason = f"{shown(chosen)}: unknown; one of {', '.join(PLANES)}"
        found.findings.append((document, Finding(path, reason)))
        return []
    if chosen == "VPP":
        reason = "the VPP data plane enforces policy itself; the rules shown here are not on its nodes"
        found.findings.append((document, Finding(path, reason, severity="warning")))
    if chosen == "Nftables" and found.kube_proxy_mode is None:
        found.kube_proxy_mode = _stated("kube-proxy", "nftables", document, path)
    found.operator += [_stated(name, value, document, path) for name, value in values.items()]
    return [f"{name}={value}" for name, value in values.items()]


def _implied(spec: Data, network: Data, plugin: str) -> dict[str, str]:
    """The variables that the operator sets for calico-node and that change rules."""
    detected = _mapping(network, "nodeAddressAutodetectionV6")
    second = any(":" in str(pool.get("cidr")) for pool in mappings(network.get("ipPools")))
    values = {"DefaultEndpointToHostAction": "ACCEPT", "Ipv6Support": "true" if detected or second else "false"}
    values |= PLUGIN_ENVIRONMENT.get(plugin, {})
    if (str(spec.get("kubernetesProvider")), plugin) in HOST_ENCRYPTION:
        values["WireguardHostEncryptionEnabled"] = "true"
    return values


def _pools(network: Data, plugin: str, documents: Sequence[Document], source: Source) -> list[Document]:
    """The IPPools that the operator makes, without those that the input has."""
    given = [data for data, _ in documents if data["kind"] == "IPPool"]
    names = {_key(data)[1] for data in given}
    cidrs = {str(_mapping(data, "spec").get("cidr")) for data in given}
    asked = mappings(network.get("ipPools"))
    made = []
    for pool in asked:
        cidr = str(pool.get("cidr"))
        name = str(pool.get("name") or _pool_name(cidr, asked))
        if name not in names and cidr not in cidrs:
            metadata = {"name": name}
            data = {"apiVersion": CALICO, "kind": "IPPool", "metadata": metadata, "spec": _pool(pool, cidr, plugin)}
            made.append(Document(data, source))
    return made


def _pool(pool: Data, cidr: str, plugin: str) -> dict[str, Any]:
    """The spec of an IPPool for a pool of the Installation, with the operator's defaults."""
    second = ":" in cidr
    encapsulation = str(pool.get("encapsulation") or ("IPIP" if plugin == "Calico" and not second else "None"))
    nat = str(pool.get("natOutgoing") or ("Disabled" if second else "Enabled"))
    spec: dict[str, Any] = {
        "cidr": cidr,
        "natOutgoing": nat == "Enabled",
        **ENCAPSULATIONS.get(encapsulation, {"ipipMode": encapsulation}),
    }
    for theirs, ours in (("blockSize", "blockSize"), ("nodeSelector", "nodeSelector"), ("allowedUses", "allowedUses"),
                         ("disableBGPExport", "disableBGPExport"), ("disableNewAllocations", "disabled"),
                         ("assignmentMode", "assignmentMode")):  # fmt: skip
        if pool.get(theirs) is not None:
            spec[ours] = pool[theirs]
    return spec


def _pool_name(cidr: str, pools: Sequence[Data]) -> str:
    """The name of a pool: a fixed one for the only pool of a family, else made from its CIDR."""
    family = [":" in str(pool.get("cidr")) for pool in pools]
    if len(pools) == 1 or (len(pools) == 2 and len(set(family)) == 2):
        return f"default-ipv{6 if ':' in cidr else 4}-ippool"
    return re.sub(r"[^a-z0-9.-]", "-", cidr.lower().replace(":", "."))


# --- in common


def _stated(name: str, value: str, document: Document, path: Path, node: str = "") -> Stated:
    return Stated(name=name, value=value, by=subject(document.data), source=document.source, path=path, node=node)


def _listed(told: Sequence[str]) -> str:
    return f"{', '.join(told[:-1])} and {told[-1]}" if len(told) > 1 else "".join(told)


def _cluster_information(found: Installed, document: Document, maps: Maps) -> None:
    """Read ClusterInformation, whose version is that of the running calico-node and overrides image tags."""
    version = _mapping(document.data, "spec").get("calicoVersion")
    if _key(document.data)[1] == "default" and isinstance(version, str) and version:
        found.calico_version = _stated("", version, document, ("spec", "calicoVersion"))


_READERS = {
    ("projectcalico.org", "ClusterInformation"): _cluster_information,
    ("crd.projectcalico.org", "ClusterInformation"): _cluster_information,
    ("apps", "DaemonSet"): _daemon_set,
    ("", "ConfigMap"): _config_map,
    ("kubeproxy.config.k8s.io", "KubeProxyConfiguration"): _proxy_configuration,
}
