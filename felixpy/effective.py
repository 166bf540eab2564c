"""What is in force on a node: Felix's parameters with their origin, and the data plane that they choose.

(felix/config/config_params.go: sources in descending order; felix/dataplane/linux/int_dataplane.go: useNftables)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from felixpy.config import Config, Setting, build, find
from felixpy.errors import Path
from felixpy.model import Cluster, Configuration, DataPlane, DataPlaneKind, Source, Stated
from felixpy.selector import matches, parse

OS_LABEL = "kubernetes.io/os"
"""The label in which the kubelet says what a node runs."""


class SettingOrigin(NamedTuple):
    """A setting and its source; without one it is from the command line or felixpy's environment."""

    setting: Setting
    by: str = ""
    source: Source | None = None
    path: Path = ()


def configure(cluster: Cluster, node: str, settings: Sequence[Setting] = ()) -> Config:
    """The parameters in force on a node."""
    return build([*settings, *(origin.setting for origin in origins(cluster, node))])


def origins(cluster: Cluster, node: str) -> Iterator[SettingOrigin]:
    """The settings of the input that apply to a node, strongest first.

    The environment of calico-node beats the FelixConfigurations ``node.<node>``, the oldest one whose nodeSelector
    matches, and ``default``, into which the operator writes the settings of an Installation.
    """
    yield from (_stated(item) for item in cluster.environment if item.node in ("", node))
    by_name = {configuration.name: configuration for configuration in cluster.configurations}
    found = cluster.nodes.get(node)
    labels = found.labels if found else {}
    named = ("default", "node.")
    scoped = [c for c in cluster.configurations if c.node_selector and not c.name.startswith(named)]
    scoped = [c for c in scoped if matches(parse(c.node_selector), labels)]
    oldest = sorted(scoped, key=lambda configuration: (configuration.created, configuration.name))[:1]
    for layer in filter(None, (by_name.get(f"node.{node}"), *oldest)):
        yield from _written(layer)
    yield from map(_stated, cluster.operator)
    if "default" in by_name:
        yield from _written(by_name["default"])
    yield SettingOrigin(Setting("ClusterType", cluster.cluster_type), "ClusterInformation default")


def _stated(item: Stated) -> SettingOrigin:
    return SettingOrigin(Setting(item.name, item.value), item.by, item.source, item.path)


def _written(layer: Configuration) -> Iterator[SettingOrigin]:
    by = f"FelixConfiguration {layer.name}"
    for name, raw in layer.values.items():
        yield SettingOrigin(Setting(name, raw), by, layer.source, layer.paths.get(name, ()))


def data_plane(cluster: Cluster, node: str, settings: Sequence[Setting] = ()) -> DataPlane:
    """The data plane that Felix chooses on a node, with the reason; always ``windows`` on Windows.

    `bpfEnabled` comes first; then ``nftablesMode``, of which Auto follows kube-proxy: nftables if it runs in that
    mode. Felix looks for kube-proxy's table in the kernel, felixpy for its configuration in the input.
    """
    found = cluster.nodes.get(node)
    if found and found.labels.get(OS_LABEL) == "windows":
        path = ("metadata", "labels", OS_LABEL)
        place = cluster.where(found.source, path)
        return DataPlane(kind="windows", reason=f"{OS_LABEL} is windows", by=f"Node {node}", place=place, path=path)
    config = configure(cluster, node, settings)
    given = [*(SettingOrigin(setting) for setting in settings), *origins(cluster, node)]
    if config.bpf_enabled:
        return _chosen(cluster, "bpf", _decisive(given, "bpf_enabled"), "true")
    if config.nftables_mode != "Auto":
        kind: DataPlaneKind = "nftables" if config.nftables_mode == "Enabled" else "iptables"
        return _chosen(cluster, kind, _decisive(given, "nftables_mode"), config.nftables_mode)
    proxy = cluster.kube_proxy_mode
    if proxy is not None:
        kind = "nftables" if proxy.value == "nftables" else "iptables"
        reason = f"nftablesMode is Auto and kube-proxy's mode is {proxy.value}"
        place = cluster.where(proxy.source, proxy.path)
        return DataPlane(kind=kind, reason=reason, by=proxy.by, place=place, path=proxy.path)
    reason = "nftablesMode is Auto and the input does not say how kube-proxy runs"
    return DataPlane(kind="iptables", reason=reason, is_default=True)


def _decisive(given: Sequence[SettingOrigin], field: str) -> SettingOrigin:
    """The setting that decides the value of a parameter, and its source."""
    for origin in given:
        if find(origin.setting) == field and origin.setting.value:
            return origin
    return SettingOrigin(Setting(field, ""))


def _chosen(cluster: Cluster, kind: DataPlaneKind, origin: SettingOrigin, value: str) -> DataPlane:
    is_field = origin.by.startswith("FelixConfiguration") and origin.path[:1] == ("spec",)
    name = origin.path[-1] if is_field else origin.setting.name
    reason = f"{name} is {value}"
    place = cluster.where(origin.source, origin.path) if origin.source else None
    return DataPlane(kind=kind, reason=reason, by=origin.by, place=place, path=origin.path)
