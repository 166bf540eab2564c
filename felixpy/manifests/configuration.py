"""Kinds that configure Calico as a whole: FelixConfiguration, BGPConfiguration, ClusterInformation.

The fields of FelixConfiguration that matter to rules are known to `felixpy.config`; the others are listed here so that
a misspelt one can be told from one that has no effect. (api/pkg/apis/projectcalico/v3)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from felixpy.config import ConfigValueError, Setting, find, spec_fields
from felixpy.errors import Path
from felixpy.manifests.criteria import NODE_SELECTOR, OUT_OF_RANGE, cidr, cidr_or_address
from felixpy.manifests.findings import Complaint, Finding, shown
from felixpy.manifests.metadata import document
from felixpy.manifests.quantities import dscp
from felixpy.manifests.shapes import Anything, Clean, ListOf, Object, Scalar, Shape, flag, integer, text
from felixpy.model import Configuration, Source

Data = Mapping[str, Any]

PARAMETER = "config.projectcalico.org/"
"""Annotations with this prefix set parameters by their own name and beat the fields."""

LEAST_MARK_BITS = 5
FEW = ("no bit is", "only one bit is", "only two bits are", "only three bits are", "only four bits are")


class Parameter(Shape):
    """A field that `felixpy.config` reads: first its type, then its value."""

    def __init__(self, field: str, kind: Shape) -> None:
        self.field, self.kind = field, kind

    def compiled(self) -> Clean:
        clean = self.kind.compiled()
        return lambda value: clean(value) and next(self._unusable(value, ()), None) is None

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        found = list(self.kind.findings(value, path))
        yield from found or self._unusable(value, path)

    def normal(self, value: Any) -> Any:
        return self.kind.normal(value)

    def _unusable(self, value: Any, path: Path) -> Iterator[Finding]:
        parameter = find(Setting(self.field, value, by_field=True))
        if parameter is None or value == "":
            return
        try:
            parameter.metadata["parse"](value)
        except ConfigValueError as wrong:
            yield Finding((*path, *wrong.path), str(wrong), severity="warning" if wrong.fatal else "error")
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            yield Finding(path, f"{shown(value)}: {wrong}")


def _mark_mask(value: int) -> Complaint | None:
    bits = value.bit_count() if 0 <= value < 1 << 32 else LEAST_MARK_BITS
    if bits >= LEAST_MARK_BITS:
        return None
    needs = "the rules need at least five (six in IPVS mode, one more with WireGuard)"
    return Complaint(f"{value:#x}: {FEW[bits]} set and {needs}", "Felix stops when it starts with such a mask")


def _failsafe_protocol(given: str) -> Complaint | None:
    if given.lower() in ("tcp", "udp", ""):
        return None
    reason = f"{shown(given)}: only TCP and UDP work here, Felix exits on this value"
    return Complaint(reason, "the rules here go without the entry", "warning" if given.lower() == "sctp" else "error")


def _dscp(value: int | str) -> Complaint | None:
    if dscp(str(value)) is not None:
        return None
    return Complaint(f"{shown(value)}: no DSCP value", "a number from 0 to 63 or a name such as AF41")


FAILSAFE_PORTS = ListOf(
    Object({
        "protocol": text(_failsafe_protocol),
        "port": integer(0, 65535, OUT_OF_RANGE.removesuffix(" from 1 to 65535")),
        "net": text(lambda given: cidr_or_address(given) if given else None),
    }, required=("port",)),
    "ports",
)  # fmt: skip


def _words(listed: str) -> Sequence[str]:
    return listed.split()


FLAGS = _words("""
    allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads bpfConnectTimeLoadBalancingEnabled
    bpfDisableUnprivileged bpfEnabled bpfHostConntrackBypass bpfKubeProxyEndpointSlicesEnabled
    bpfKubeProxyIptablesCleanupEnabled bpfPolicyDebugEnabled debugDisableLogDropping
    disableConntrackInvalidCheck endpointReportingEnabled flowLogsCollectorDebugTrace genericXDPEnabled
    healthEnabled ipipEnabled ipv6Support prometheusGoMetricsEnabled prometheusMetricsEnabled
    prometheusProcessMetricsEnabled prometheusWireGuardMetricsEnabled removeExternalRoutes requireMTUFile
    routeSyncDisabled sidecarAccelerationEnabled usageReportingEnabled useInternalDataplaneDriver vxlanEnabled
    wireguardEnabled wireguardEnabledV6 wireguardHostEncryptionEnabled wireguardThreadingEnabled xdpEnabled
""")
NUMBERS = _words("""
    bpfExportBufferSizeMB bpfExtToServiceConnmark bpfMaglevMaxEndpointsPerService bpfMaglevMaxServices
    bpfMapSizeConntrack bpfMapSizeConntrackCleanupQueue bpfMapSizeIPSets bpfMapSizeIfState bpfMapSizeNATAffinity
    bpfMapSizeNATBackend bpfMapSizeNATFrontend bpfMapSizePerCpuConntrack bpfMapSizeRoute debugPort
    deviceRouteProtocol goGCThreshold goMaxProcs goMemoryLimitMB healthPort ipipMTU ipv4ElevatedRoutePriority
    ipv4NormalRoutePriority ipv6ElevatedRoutePriority ipv6NormalRoutePriority logActionRateLimitBurst
    maxIpsetSize metadataPort nftablesMarkMask prometheusMetricsPort vxlanMTU vxlanMTUV6 vxlanPort vxlanVNI
    wireguardListeningPort wireguardListeningPortV6 wireguardMTU wireguardMTUV6 wireguardRoutingRulePriority
""")
TEXTS = _words("""
    awsSrcDstCheck bpfAttachType bpfCTLBLogFilter bpfConnectTimeLoadBalancing bpfConntrackLogLevel
    bpfConntrackMode bpfDataIfacePattern bpfDisableGROForIfaces bpfEnforceRPF bpfExternalServiceMode
    bpfHostNetworkedNATWithoutCTLB bpfJITHardening bpfKubeProxyMinSyncPeriod bpfL3IfacePattern bpfLogLevel
    bpfMapSizeConntrackScaling bpfProfiling bpfRedirectToPeer cgroupV2Path chainInsertMode dataplaneDriver
    dataplaneWatchdogTimeout debugHost debugMemoryProfilePath debugSimulateCalcGraphHangAfter
    debugSimulateDataplaneApplyDelay debugSimulateDataplaneHangAfter defaultEndpointToHostAction
    deviceRouteSourceAddress deviceRouteSourceAddressIPv6 endpointReportingDelay endpointStatusPathPrefix
    featureDetectOverride featureGates floatingIPs flowLogsFlushInterval flowLogsGoldmaneServer
    flowLogsLocalReporter flowLogsPolicyEvaluationMode healthHost interfaceExclude interfacePrefix
    interfaceRefreshInterval ipForwarding ipsetsRefreshInterval iptablesBackend iptablesFilterAllowAction
    iptablesFilterDenyAction iptablesLockFilePath iptablesLockProbeInterval iptablesLockTimeout
    iptablesMangleAllowAction iptablesNATOutgoingInterfaceFilter iptablesPostWriteCheckInterval
    iptablesRefreshInterval istioAmbientMode logActionRateLimit logDebugFilenameRegex logFilePath logPrefix
    logSeverityFile logSeverityScreen logSeveritySys metadataAddr mtuIfacePattern natOutgoingAddress
    natOutgoingExclusions netlinkTimeout nftablesFilterAllowAction nftablesFilterDenyAction
    nftablesMangleAllowAction nftablesMode nftablesRefreshInterval openstackRegion policySyncPathPrefix
    programClusterRoutes prometheusMetricsHost reportingInterval reportingTTL routeRefreshInterval routeSource
    serviceLoopPrevention usageReportingInitialDelay usageReportingInterval windowsManageFirewallRules
    wireguardInterfaceName wireguardInterfaceNameV6 wireguardKeepAlive workloadSourceSpoofing xdpRefreshInterval
""")
OTHERS = _words("""
    bpfConntrackTimeouts bpfDSROptoutCIDRs bpfExcludeCIDRsFromNAT bpfForceTrackPacketsFromIfaces bpfLogFilters
    bpfPSNATPorts healthTimeoutOverrides kubeNodePortRanges routeTableRange routeTableRanges
""")

ENVIRONMENT_ONLY = _words("""
    CalicoIpamV6 ConfigFile DatastoreType Debug EtcdAddr EtcdCaFile EtcdCertFile EtcdEndpoints EtcdKeyFile
    EtcdScheme FelixHostname InstallDir KubernetesNamespace LogFilePath NodeName TyphaAddr TyphaCAFile TyphaCN
    TyphaCertFile TyphaK8sNamespace TyphaK8sServiceName TyphaKeyFile TyphaReadTimeout TyphaURISAN TyphaWriteTimeout
""")
"""Parameters that no resource sets and no rule shows."""


def parameters_without_effect() -> Mapping[str, str]:
    """Parameters that Felix has but that change no rule: their names by those names in lower case."""
    fields = [name for names in (FLAGS, NUMBERS, TEXTS, OTHERS) for name in names if name not in spec_fields()]
    return {name.lower(): name[0].upper() + name[1:] for name in (*fields, *ENVIRONMENT_ONLY)}


def _felix_fields() -> dict[str, Shape]:
    kinds: dict[str, Shape] = {name: Anything() for name in OTHERS}
    kinds |= dict.fromkeys(FLAGS, flag())
    kinds |= dict.fromkeys(NUMBERS, Scalar("a whole number", (int,)))
    kinds |= dict.fromkeys(TEXTS, text())
    kinds |= {
        "iptablesMarkMask": Scalar("a whole number", (int,), _mark_mask),
        "natPortRange": Scalar("a port or a range", (int, str)),
        "externalNodesList": ListOf(text(cidr_or_address), "CIDRs"),
        "istioDSCPMark": Scalar("a DSCP value", (int, str), _dscp),
    }
    parameters = {name: Parameter(name, kinds[name]) for name in spec_fields() if name in kinds}
    own: dict[str, Shape] = {
        "nodeSelector": NODE_SELECTOR,
        "failsafeInboundHostPorts": FAILSAFE_PORTS,
        "failsafeOutboundHostPorts": FAILSAFE_PORTS,
        "istioDSCPMark": kinds["istioDSCPMark"],
    }
    return kinds | parameters | own


def _readable_annotations(annotations: Mapping[str, str], path: Path) -> Iterator[Finding]:
    """Annotations may say anything; a value that Felix cannot read leaves the default or keeps it from starting."""
    for key, value in annotations.items():
        parameter = find(Setting(key.removeprefix(PARAMETER), value)) if key.startswith(PARAMETER) else None
        if parameter is None or not value or value.lower() == "none":
            continue
        try:
            parameter.metadata["parse"](value)
        except ValueError as wrong:
            effect = "Felix exits on this value" if parameter.metadata["fatal"] else "Felix ignores it"
            yield Finding((*path, key), f"{shown(value)}: {wrong}", effect, "warning")


def _meant_for_somebody(data: Data, path: Path) -> Iterator[Finding]:
    name = data["metadata"]["name"]
    if name != "default" and not name.startswith("node.") and not data.get("spec", {}).get("nodeSelector"):
        reason = f"{shown(name)}: without effect, as Felix reads default, node.<name> and those with a nodeSelector"
        yield Finding((*path, "metadata", "name"), reason, severity="warning")


FELIX_CONFIGURATION = document(
    Object(_felix_fields()), annotated=(_readable_annotations,), relations=(_meant_for_somebody,)
)

_NETWORKS = ListOf(Object({"cidr": text(cidr)}), "blocks")
SERVICE_NETWORKS = ("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs")
BGP_FIELDS = _words("""
    logSeverityScreen nodeToNodeMeshEnabled asNumber communities prefixAdvertisements listenPort
    nodeMeshPassword nodeMeshMaxRestartTime bindMode ignoredInterfaces ipv4NormalRoutePriority
    ipv6NormalRoutePriority localWorkloadPeeringIPV4 localWorkloadPeeringIPV6 programClusterRoutes
    serviceLoadBalancerAggregation
""")
BGP_CONFIGURATION = document(
    Object({name: Anything() for name in BGP_FIELDS} | dict.fromkeys(SERVICE_NETWORKS, _NETWORKS))
)
CLUSTER_INFORMATION = document(
    Object({name: Anything() for name in ("clusterGUID", "calicoVersion", "datastoreReady", "variant", "cnxVersion")}
           | {"clusterType": text()})
)  # fmt: skip


def felix_configuration(data: Data, source: Source) -> Configuration:
    """A FelixConfiguration as written; which one counts on a node is decided at resolution."""
    metadata, spec = data["metadata"], data.get("spec", {})
    values = {key: value for key, value in spec.items() if key != "nodeSelector"}
    for name in ("failsafeInboundHostPorts", "failsafeOutboundHostPorts"):
        if name in values:
            usable = ("tcp", "udp", "")
            values[name] = [entry for entry in values[name] if entry.get("protocol", "").lower() in usable]
    if "istioDSCPMark" in values:
        values["istioDSCPMark"] = dscp(str(values["istioDSCPMark"]))
    return Configuration(
        name=metadata["name"],
        node_selector=spec.get("nodeSelector", ""),
        created=str(metadata.get("creationTimestamp") or ""),
        values=values,
        annotations={
            key.removeprefix(PARAMETER): value
            for key, value in metadata.get("annotations", {}).items()
            if key.startswith(PARAMETER)
        },
        source=source,
    )


def service_networks(data: Data) -> tuple[str, ...]:
    """CIDRs of services that a BGPConfiguration names; a network given twice stays twice."""
    spec = data.get("spec", {})
    return tuple(entry["cidr"] for name in SERVICE_NETWORKS for entry in spec.get(name, ()) if entry.get("cidr"))


def cluster_type(data: Data) -> str:
    """The kinds of cluster that a ClusterInformation lists, such as ``k8s,bgp,kubeadm``."""
    listed: str = data.get("spec", {}).get("clusterType", "")
    return listed
