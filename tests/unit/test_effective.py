"""What is in force on a node, and which data plane Felix chooses there."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.config import Setting
from felixpy.effective import configure, data_plane
from felixpy.errors import spell
from tests.manifests import CALICO, loaded, manifest

NODE = manifest("v1", "Node", "node1")
PROXY = manifest("v1", "ConfigMap", "kube-proxy", namespace="kube-system")


def felix(name: str = "default", **spec: Any) -> dict[str, Any]:
    return manifest(CALICO, "FelixConfiguration", name, spec)


def proxy(mode: str) -> dict[str, Any]:
    text = f'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: "{mode}"\n'
    return PROXY | {"data": {"config.conf": text}}


def daemon_set(*env: dict[str, Any], name: str = "calico-node", args: Any = ()) -> dict[str, Any]:
    container = {"name": name, "image": f"quay.io/calico/{name}:v3.30.1", "env": list(env), "args": list(args)}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"hostNetwork": True, "containers": [container]}}
    return manifest("apps/v1", "DaemonSet", name, {"selector": {}, "template": template}, "kube-system")


def variable(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


def installation(network: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    given = spec if network is None else spec | {"calicoNetwork": network}
    return manifest("operator.tigera.io/v1", "Installation", "default", given)


PLANES: list[tuple[list[dict[str, Any]], list[Setting], str, str, str]] = [
    ([], [], "iptables", "nftablesMode is Auto and the input does not say how kube-proxy runs", ""),
    ([felix(bpfEnabled=True)], [], "bpf", "bpfEnabled is true", "spec.bpfEnabled"),
    ([felix(bpfEnabled=True, nftablesMode="Enabled")], [], "bpf", "bpfEnabled is true", "spec.bpfEnabled"),
    ([felix(nftablesMode="Enabled")], [], "nftables", "nftablesMode is Enabled", "spec.nftablesMode"),
    ([felix(nftablesMode="Disabled"), proxy("nftables")], [], "iptables", "nftablesMode is Disabled",
     "spec.nftablesMode"),
    ([proxy("nftables")], [], "nftables", "nftablesMode is Auto and kube-proxy's mode is nftables",
     "data[config.conf]"),
    ([proxy("")], [], "iptables", "nftablesMode is Auto and kube-proxy's mode is iptables", "data[config.conf]"),
    ([daemon_set(name="kube-proxy", args=["--proxy-mode=nftables"])], [], "nftables",
     "nftablesMode is Auto and kube-proxy's mode is nftables", "spec.template.spec.containers[0].args[0]"),
    ([felix(nftablesMode="Enabled"), felix("node.node1", nftablesMode="Disabled")], [], "iptables",
     "nftablesMode is Disabled", "spec.nftablesMode"),
    ([felix(nftablesMode="Enabled")], [Setting("NFTablesMode", "Disabled")], "iptables", "NFTablesMode is Disabled",
     ""),
    ([daemon_set(variable("FELIX_NFTABLESMODE", "Enabled")), felix("node.node1", nftablesMode="Disabled")], [],
     "nftables", "NFTablesMode is Enabled", "spec.template.spec.containers[0].env[0].value"),
    ([installation({"linuxDataplane": "BPF"})], [], "bpf", "BPFEnabled is true", "spec.calicoNetwork.linuxDataplane"),
    ([installation({"linuxDataplane": "Nftables"})], [], "nftables",
     "nftablesMode is Auto and kube-proxy's mode is nftables", "spec.calicoNetwork.linuxDataplane"),
    ([installation({"linuxDataplane": "Nftables"}), proxy("iptables")], [], "iptables",
     "nftablesMode is Auto and kube-proxy's mode is iptables", "data[config.conf]"),
    ([installation({}), proxy("nftables")], [], "iptables", "NFTablesMode is Disabled",
     "spec.calicoNetwork.linuxDataplane"),
]  # fmt: skip


@pytest.mark.parametrize("manifests, settings, kind, reason, path", PLANES)
def test_which_data_plane_felix_chooses(
    manifests: list[dict[str, Any]], settings: list[Setting], kind: str, reason: str, path: str
) -> None:
    found = data_plane(loaded(NODE, *manifests), "node1", settings)
    assert (found.kind, found.reason, spell(found.path)) == (kind, reason, path)
    assert bool(found.place) is bool(path)


def test_each_node_may_have_its_own() -> None:
    cluster = loaded(NODE, manifest("v1", "Node", "node2"), felix("node.node2", bpfEnabled=True))
    assert [data_plane(cluster, name).kind for name in ("node1", "node2")] == ["iptables", "bpf"]


def test_windows_nodes_have_a_data_plane_of_their_own() -> None:
    """Whatever Felix's parameters say. (felix for Windows has one data plane, HNS)"""
    label = {"kubernetes.io/os": "windows"}
    cluster = loaded(NODE, manifest("v1", "Node", "win1", labels=label), felix(nftablesMode="Enabled"))
    found = data_plane(cluster, "win1", [Setting("BPFEnabled", "true")])
    assert (found.kind, found.by, found.reason) == ("windows", "Node win1", "kubernetes.io/os is windows")
    assert found.path == ("metadata", "labels", "kubernetes.io/os")
    assert data_plane(cluster, "node1").kind == "nftables"


def test_the_environment_of_calico_node_beats_every_felix_configuration_and_yields_to_the_call() -> None:
    cluster = loaded(
        NODE,
        daemon_set(variable("felix_vxlanPort", "4"), variable("FELIX_VXLANVNI", "9"), variable("IP", "autodetect")),
        felix(vxlanPort=1),
        felix("node.node1", vxlanPort=2),
    )
    assert configure(cluster, "node1").vxlan_port == 4
    assert configure(cluster, "node1", [Setting("VXLANPort", "5")]).vxlan_port == 5


def test_values_of_the_environment_come_from_config_maps_and_other_variables() -> None:
    settings = manifest("v1", "ConfigMap", "calico-config", namespace="kube-system") | {"data": {"port": "77"}}
    reference = {"name": "FELIX_VXLANPORT", "valueFrom": {"configMapKeyRef": {"name": "calico-config", "key": "port"}}}
    env = (reference, variable("WORD", "drop"), variable("FELIX_IPTABLESFILTERDENYACTION", "$(WORD)"))
    found = configure(loaded(NODE, settings, daemon_set(*env)), "node1")
    assert (found.vxlan_port, found.filter_deny_action) == (77, "DROP")


def test_without_daemon_set_the_pods_of_calico_node_count_on_their_nodes() -> None:
    spec = {"nodeName": "node1", "hostNetwork": True, "containers": [
        {"name": "calico-node", "env": [variable("FELIX_VXLANPORT", "8")]}
    ]}  # fmt: skip
    cluster = loaded(NODE, manifest("v1", "Node", "node2"), manifest("v1", "Pod", "calico-node-x", spec, "kube-system"))
    assert [configure(cluster, name).vxlan_port for name in ("node1", "node2")] == [8, 4789]


def test_the_version_of_calico() -> None:
    stated = manifest(CALICO, "ClusterInformation", "default", {"calicoVersion": "v3.31.2"})
    for manifests, version in (
        ([], None), ([daemon_set()], "v3.30.1"),
        ([daemon_set(), stated], "v3.31.2"), ([stated, daemon_set()], "v3.31.2"),
        ([installation() | {"status": {"calicoVersion": "v3.29.0"}}], "v3.29.0"),
    ):  # fmt: skip
        found = loaded(*manifests).calico_version
        assert (found and found.value) == version
