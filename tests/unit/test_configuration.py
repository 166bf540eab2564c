"""Kinds that configure Calico as a whole: what is taken over, what is refused, what is only mentioned."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.config import spec_fields
from felixpy.errors import spell
from felixpy.manifests.objects.felix_configuration import FELIX_CONFIGURATION
from felixpy.manifests.validation.shapes import Object
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
    assert found.values == {"LogPrefix": "x", "ExternalNodesCIDRList": "192.0.2.0/24"}
    assert found.paths == {
        "LogPrefix": ("metadata", "annotations", "config.projectcalico.org/LogPrefix"),
        "ExternalNodesCIDRList": ("spec", "externalNodesList"),
    }


TEXTS = [
    ({"ipv6Support": True}, {"Ipv6Support": "true"}),
    ({"maxIpsetSize": 5, "iptablesMarkMask": 0xFF0000}, {"MaxIpsetSize": "5", "IptablesMarkMask": "16711680"}),
    ({"logPrefix": " a "}, {"LogPrefix": " a "}),
    ({"logPrefix": "", "failsafeInboundHostPorts": []}, {"FailsafeInboundHostPorts": "none"}),
    ({"natPortRange": 40000}, {"NATPortRange": "40000"}),
    ({"natPortRange": "40000:40000"}, {"NATPortRange": "40000"}),
    ({"natPortRange": "1:2"}, {"NATPortRange": "1:2"}),
    ({"externalNodesList": ["192.0.2.1", "10.0.0.0/8"]}, {"ExternalNodesCIDRList": "192.0.2.1,10.0.0.0/8"}),
    ({"istioDSCPMark": "af11"}, {"IstioDSCPMark": "af11"}),
    ({"istioDSCPMark": "010"}, {"IstioDSCPMark": "10"}),
    ({"routeTableRange": {"min": 1, "max": 5}}, {"RouteTableRange": "1-5"}),
    ({"routeTableRanges": [{"min": 1, "max": 5}, {"min": 7, "max": 9}]}, {"RouteTableRanges": "1-5,7-9"}),
    ({"bpfLogFilters": {"all": "x"}, "reportingInterval": "90s", "healthTimeoutOverrides": []}, {}),
    (
        {"failsafeOutboundHostPorts": [
            {"protocol": "TCP", "port": 22}, {"protocol": "UDP", "port": 53, "net": "10.0.0.0/8"},
            {"protocol": "TCP", "port": 179, "net": "fd00::/8"},
        ]},
        {"FailsafeOutboundHostPorts": "tcp:22,udp:10.0.0.0/8:53,tcp:[fd00::/8]:179"},
    ),
]  # fmt: skip


@pytest.mark.parametrize("spec, texts", TEXTS)
def test_fields_become_the_texts_that_felix_is_given(spec: dict[str, Any], texts: dict[str, str]) -> None:
    (found,) = loaded(felix(**spec)).configurations
    assert found.values == texts


def test_a_list_of_node_port_ranges_reaches_felix_in_a_form_that_it_cannot_read() -> None:
    given = felix(kubeNodePortRanges=["30000:31000", 32000])
    (found,) = loaded(given).configurations
    assert found.values == {"KubeNodePortRanges": "[30000:31000 32000]"}
    assert [(severity, path) for severity, path, _ in told(given)] == [("warning", "spec.kubeNodePortRanges")]


def test_every_parameter_with_a_field_is_a_known_field() -> None:
    spec = FELIX_CONFIGURATION.fields["spec"]
    assert isinstance(spec, Object)
    assert set(spec_fields()) <= set(spec.fields)


REFUSED = [
    (felix(defaultEndpointToHostAction="Reject"), "spec.defaultEndpointToHostAction"),
    (felix(ipv6Support="false"), "spec.ipv6Support"),
    (felix(defaultEndpointToHostAction=" drop"), "spec.defaultEndpointToHostAction"),
    (felix(nftablesMode="enabled"), "spec.nftablesMode"),
    (felix(featureDetectOverride="A=maybe"), "spec.featureDetectOverride"),
    (felix(featureDetectOverride="A = true"), "spec.featureDetectOverride"),
    (felix(logPrefix='"'), "spec.logPrefix"),
    (felix(logActionRateLimitBurst=10000), "spec.logActionRateLimitBurst"),
    (felix(wireguardListeningPort=0), "spec.wireguardListeningPort"),
    (felix(wireguardInterfaceName="wg:0"), "spec.wireguardInterfaceName"),
    (felix(iptablesNATOutgoingInterfaceFilter="sixteen-letters-"), "spec.iptablesNATOutgoingInterfaceFilter"),
    (felix(reportingInterval="90"), "spec.reportingInterval"),
    (felix(kubeNodePortRanges=["http"]), "spec.kubeNodePortRanges[0]"),
    (felix(externalNodesList=["fd00::1"]), "spec.externalNodesList[0]"),
    (felix(istioDSCPMark=256), "spec.istioDSCPMark"),
    (felix(vxlanPort="4789"), "spec.vxlanPort"),
    (felix(natOutgoingAddress="node1"), "spec.natOutgoingAddress"),
    (felix(natPortRange="9:1"), "spec.natPortRange"),
    (felix(logActionRateLimit="5 per minute"), "spec.logActionRateLimit"),
    (felix(externalNodesList=["node1"]), "spec.externalNodesList[0]"),
    (felix(externalNodesList="192.0.2.0/24"), "spec.externalNodesList"),
    (felix(iptablesMarkMask=0xF), "spec.iptablesMarkMask"),
    (felix(iptablesMarkMask=-1), "spec.iptablesMarkMask"),
    (felix(nodeSelector="a ="), "spec.nodeSelector"),
    (felix(failsafeInboundHostPorts=[{"port": 70000, "protocol": "TCP"}]), "spec.failsafeInboundHostPorts[0].port"),
    (felix(failsafeInboundHostPorts=[{"protocol": "TCP"}]), "spec.failsafeInboundHostPorts[0].port"),
    (
        felix(failsafeOutboundHostPorts=[{"protocol": "TCP", "port": 1, "net": "x"}]),
        "spec.failsafeOutboundHostPorts[0].net",
    ),
    (felix(failsafeOutboundHostPorts=[{"port": 1, "protocol": "ICMP"}]), "spec.failsafeOutboundHostPorts[0].protocol"),
    (felix(routeTableRanges=["1-250"]), "spec.routeTableRanges[0]"),
    (felix(routeTableRanges={"min": 1, "max": 250}), "spec.routeTableRanges"),
    (felix(routeTableRange=[{"min": 1, "max": 250}]), "spec.routeTableRange"),
    (felix(routeTableRange={"min": 1}), "spec.routeTableRange.max"),
    (felix(healthTimeoutOverrides=[{"name": "a"}]), "spec.healthTimeoutOverrides[0].timeout"),
    (felix(healthTimeoutOverrides=[{"name": "a", "timeout": 5}]), "spec.healthTimeoutOverrides[0].timeout"),
    (felix(bpfLogFilters=["tcp"]), "spec.bpfLogFilters"),
    (felix(bpfConntrackTimeouts={"udpTimeout": 60}), "spec.bpfConntrackTimeouts.udpTimeout"),
]


@pytest.mark.parametrize("given, path", REFUSED)
def test_values_that_cannot_be_used_are_errors(given: dict[str, Any], path: str) -> None:
    ((severity, where, _),) = told(given)
    assert (severity, where) == ("error", path)


FATAL = [
    (felix(interfacePrefix="cali, eni"), "spec.interfacePrefix"),
    (felix(interfacePrefix="none"), "spec.interfacePrefix"),
    (felix(metadataAddr="fd00::1"), "spec.metadataAddr"),
    (felix(metadataPort=65536), "spec.metadataPort"),
    (felix(openstackRegion="Region"), "spec.openstackRegion"),
    (felix(nftablesMarkMask=1), "spec.nftablesMarkMask"),
    (felix(failsafeInboundHostPorts=[{"port": 1, "protocol": "SCTP"}]), "spec.failsafeInboundHostPorts[0].protocol"),
    (felix(routeTableRange={"min": 1, "max": 300}), "spec.routeTableRange"),
]


@pytest.mark.parametrize("given, path", FATAL)
def test_values_with_which_felix_exits_are_errors(given: dict[str, Any], path: str) -> None:
    (problem,) = problems(given)
    assert (problem.severity, spell(problem.path), problem.hint) == ("error", path, "Felix exits on this value")


DEFAULTED = [
    (felix(interfaceExclude="a b"), "spec.interfaceExclude"),
    (felix(natPortRange="http"), "spec.natPortRange"),
    (felix(istioDSCPMark="gold"), "spec.istioDSCPMark"),
    (felix(istioDSCPMark=64), "spec.istioDSCPMark"),
]


@pytest.mark.parametrize("given, path", DEFAULTED)
def test_what_the_api_takes_and_felix_cannot_read_is_a_warning(given: dict[str, Any], path: str) -> None:
    (problem,) = problems(given)
    assert (problem.severity, spell(problem.path)) == ("warning", path)
    assert problem.hint.startswith("Felix takes the default: ")


ACCEPTED = [
    felix(vxlanPort=0, maxIpsetSize=-1, featureDetectOverride="SNATFullyRandom=false,MASQFullyRandom=true,"),
    felix(logPrefix=" a: ", iptablesBackend="NFT", bpfConntrackLogLevel="Off", natPortRange="0:5"),
    felix(defaultEndpointToHostAction="return", chainInsertMode="Append", iptablesMarkMask=0xFF00, maxIpsetSize=5),
    felix(natPortRange=32768, natOutgoingAddress="", istioDSCPMark="AF11", failsafeInboundHostPorts=[]),
    felix(failsafeInboundHostPorts=[{"port": 22, "net": "", "protocol": "tcp"}]),
    felix(bpfEnabled=True, routeTableRanges=[{"min": 1, "max": 2}], healthPort=9099, bpfLogLevel="", xdpEnabled=None),
]


@pytest.mark.parametrize("given", ACCEPTED)
def test_values_that_can_be_used_pass(given: dict[str, Any]) -> None:
    assert told(given) == []


PARAMETER = "config.projectcalico.org/"
ANNOTATIONS = [
    ("VXLANPort", "4790", ()),
    ("VXLANPort", "none", ()),
    ("VXLANPort", "", ()),
    ("VXLANPort", "x", ("warning", "Felix takes the default: 4789")),
    ("LogPrefix", "a\tb", ("error", "")),
    ("iptablesmarkmask", "0", ("error", "Felix exits on this value")),
    ("iptablesmarkmask", "0xf", ("error", "Felix exits on this value")),
    ("WireguardInterfaceName", "None", ("error", "Felix exits on this value")),
    ("OpenstackRegion", "A", ("error", "Felix exits on this value")),
    ("DatastoreType", "none", ()),
    ("Unheard", "x", ()),
]


@pytest.mark.parametrize("name, value, expected", ANNOTATIONS)
def test_annotations_are_read_as_felix_reads_them(name: str, value: str, expected: tuple[str, ...]) -> None:
    found = problems(felix({PARAMETER + name: value}))
    path = f"metadata.annotations[{PARAMETER}{name}]"
    assert [(p.severity, spell(p.path), p.hint) for p in found] == (
        [(expected[0], path, expected[1])] if expected else []
    )


@pytest.mark.parametrize(
    "name, value, refused",
    [("defaultendpointtohostaction", "DROP", True), ("defaultendpointtohostaction", "accept", False),
     ("DefaultEndpointToHostAction", "DROP", False), ("nosuchthing", "x", False)],
)  # fmt: skip
def test_one_parameter_under_two_names_makes_felix_restart_for_ever(name: str, value: str, refused: bool) -> None:
    given = felix({PARAMETER + name: value}, defaultEndpointToHostAction="Accept")
    assert [severity for severity, _, _ in told(given)] == (["error"] if refused else [])


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
