"""Kinds that configure Calico as a whole: what is taken over, what is refused, what is only mentioned."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.config import spec_fields
from felixpy.errors import spell
from felixpy.manifests.configuration import FELIX_CONFIGURATION, FLAGS, NUMBERS, OTHERS, TEXTS
from felixpy.manifests.shapes import Object
from tests.manifests import CALICO, loaded, manifest, problems, told


def felix(annotations: dict[str, str] | None = None, /, **spec: Any) -> dict[str, Any]:
    return manifest(CALICO, "FelixConfiguration", "default", spec, annotations=annotations or {})


def test_a_configuration_is_kept_as_written() -> None:
    given = felix(
        {"config.projectcalico.org/LogPrefix": "x", "other": "y"},
        logPrefix="calico",
        nodeSelector="has(a)",
        vxlanPort=None,
        externalNodesList=["192.0.2.0/24"],
    )
    given["metadata"]["creationTimestamp"] = "2024-01-01T00:00:00Z"
    (found,) = loaded(given).configurations
    assert (found.name, found.node_selector, found.created) == ("default", "has(a)", "2024-01-01T00:00:00Z")
    assert found.values == {"logPrefix": "calico", "externalNodesList": ["192.0.2.0/24"]}
    assert found.annotations == {"LogPrefix": "x"}


def test_every_parameter_with_a_field_is_a_known_field() -> None:
    spec = FELIX_CONFIGURATION.fields["spec"]
    assert isinstance(spec, Object)
    assert set(spec_fields()) <= set(spec.fields)


def test_no_field_is_listed_twice() -> None:
    listed = [*FLAGS, *NUMBERS, *TEXTS, *OTHERS]
    assert sorted(set(listed)) == sorted(listed)


REFUSED = [
    (felix(defaultEndpointToHostAction="Reject"), "spec.defaultEndpointToHostAction"),
    (felix(ipv6Support="false"), "spec.ipv6Support"),
    (felix(vxlanPort=0), "spec.vxlanPort"),
    (felix(vxlanPort="4789"), "spec.vxlanPort"),
    (felix(natOutgoingAddress="node1"), "spec.natOutgoingAddress"),
    (felix(natPortRange="9:1"), "spec.natPortRange"),
    (felix(logActionRateLimit="5 per minute"), "spec.logActionRateLimit"),
    (felix(externalNodesList=["node1"]), "spec.externalNodesList[0]"),
    (felix(externalNodesList="192.0.2.0/24"), "spec.externalNodesList"),
    (felix(istioDSCPMark="gold"), "spec.istioDSCPMark"),
    (felix(iptablesMarkMask=0xF), "spec.iptablesMarkMask"),
    (felix(iptablesMarkMask=-1), "spec.iptablesMarkMask"),
    (felix(nodeSelector="a ="), "spec.nodeSelector"),
    (felix(failsafeInboundHostPorts=[{"port": 70000}]), "spec.failsafeInboundHostPorts[0].port"),
    (felix(failsafeInboundHostPorts=[{"protocol": "TCP"}]), "spec.failsafeInboundHostPorts[0].port"),
    (felix(failsafeOutboundHostPorts=[{"port": 1, "net": "x"}]), "spec.failsafeOutboundHostPorts[0].net"),
    (felix(failsafeOutboundHostPorts=[{"port": 1, "protocol": "ICMP"}]), "spec.failsafeOutboundHostPorts[0].protocol"),
]


@pytest.mark.parametrize("given, path", REFUSED)
def test_values_that_cannot_be_used_are_errors(given: dict[str, Any], path: str) -> None:
    ((severity, where, _),) = told(given)
    assert (severity, where) == ("error", path)


ACCEPTED = [
    felix(defaultEndpointToHostAction="return", chainInsertMode="Append", iptablesMarkMask=0xFF00, maxIpsetSize=5),
    felix(natPortRange=32768, natOutgoingAddress="", istioDSCPMark="AF11", failsafeInboundHostPorts=[]),
    felix(failsafeInboundHostPorts=[{"port": 22, "net": "", "protocol": "tcp"}, {"port": 1, "net": "10.0.0.0/8"}]),
    felix(bpfEnabled=True, routeTableRanges=[{"min": 1, "max": 2}], healthPort=9099, bpfLogLevel="", xdpEnabled=None),
]


@pytest.mark.parametrize("given", ACCEPTED)
def test_values_that_can_be_used_pass(given: dict[str, Any]) -> None:
    assert told(given) == []


def test_names_of_dscp_values_become_numbers() -> None:
    (found,) = loaded(felix(istioDSCPMark="AF11")).configurations
    assert found.values == {"istioDSCPMark": 10}


def test_a_failsafe_port_that_stops_felix_is_left_out() -> None:
    ports = [{"protocol": "TCP", "port": 22}, {"protocol": "SCTP", "port": 3868}]
    (found,) = loaded(felix(failsafeInboundHostPorts=ports)).configurations
    assert found.values["failsafeInboundHostPorts"] == ports[:1]


PARAMETER = "config.projectcalico.org/"
ANNOTATIONS = [
    ("VXLANPort", "4790", ""),
    ("VXLANPort", "none", ""),
    ("VXLANPort", "", ""),
    ("VXLANPort", "x", "Felix ignores it"),
    ("iptablesmarkmask", "0", "Felix exits on this value"),
    ("Unheard", "x", ""),
]


@pytest.mark.parametrize("name, value, hint", ANNOTATIONS)
def test_annotations_are_only_mentioned(name: str, value: str, hint: str) -> None:
    found = problems(felix({PARAMETER + name: value}))
    assert [(p.severity, spell(p.path), p.hint) for p in found] == (
        [("warning", f"metadata.annotations[{PARAMETER}{name}]", hint)] if hint else []
    )


def test_misspelt_fields_are_told_apart_from_those_without_effect() -> None:
    (problem,) = problems(felix(healthPort=1, vxlanprt=2))
    assert (spell(problem.path), problem.hint) == ("spec.vxlanprt", "vxlanPort was probably meant")


def test_a_configuration_for_nobody_is_mentioned() -> None:
    given = felix()
    given["metadata"]["name"] = "mine"
    assert [(severity, path) for severity, path, _ in told(given)] == [("warning", "metadata.name")]
    given["spec"]["nodeSelector"] = "has(a)"
    assert told(given) == []
    given["metadata"]["name"] = "node.node1"
    assert told(given) == []


def bgp(name: str, **spec: Any) -> dict[str, Any]:
    return manifest(CALICO, "BGPConfiguration", name, spec)


def test_networks_of_services() -> None:
    given = bgp(
        "default",
        serviceLoadBalancerIPs=[{"cidr": "10.3.0.0/16"}],
        serviceExternalIPs=[{"cidr": "10.2.0.0/16"}, {}],
        serviceClusterIPs=[{"cidr": "10.3.0.0/16"}, {"cidr": "fd00::/108"}],
        asNumber=64512,
    )
    other = bgp("node.node1", serviceClusterIPs=[{"cidr": "10.9.0.0/16"}])
    assert loaded(given, other).service_cidrs == ("10.3.0.0/16", "fd00::/108", "10.2.0.0/16", "10.3.0.0/16")
    assert told(given) == []
    assert [path for _, path, _ in told(bgp("default", serviceClusterIPs=[{"cidr": "10.0.0.1/8"}]))] == [
        "spec.serviceClusterIPs[0].cidr"
    ]


def test_the_type_of_the_cluster() -> None:
    information = {"clusterType": "k8s,bgp", "calicoVersion": "v3.32.1", "datastoreReady": True}
    assert loaded(manifest(CALICO, "ClusterInformation", "default", information)).cluster_type == "k8s,bgp"
    assert loaded(manifest(CALICO, "ClusterInformation", "other", information)).cluster_type == ""


def test_fields_of_calico_enterprise_are_no_mistakes() -> None:
    logs = {"l7LogsFlushInterval": "15s", "captureRotationSeconds": 300, "dnsLogsFlushInterval": "1s"}
    spec = logs | {"tproxyMode": "x"}
    found = told(manifest(CALICO, "FelixConfiguration", "default", spec))
    assert found == [
        (
            "warning",
            "spec",
            "fields of Calico Enterprise, without effect on rules: "
            "l7LogsFlushInterval, captureRotationSeconds, dnsLogsFlushInterval, 1 more",
        )
    ]
    drops = told(manifest(CALICO, "FelixConfiguration", "default", {"dropActionOverride": "Accept"}))
    reason = "Calico Enterprise would not drop as the rules shown here do"
    assert drops == [("warning", "spec.dropActionOverride", reason)]
