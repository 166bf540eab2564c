"""Felix's parameters that change no rule and no set, to distinguish misspelt names from parameters without effect.

For some of them Felix does not start with a value that it cannot parse. A row is Felix's name, the FelixConfiguration
field ("-" if a resource cannot set it), the type and the flags of `Parameter`.
(felix/config/config_params.go, api/pkg/apis/projectcalico/v3/felixconfig.go)
"""

from __future__ import annotations

from collections.abc import Iterator

from felixpy.parameters import Parameter

ROWS = """
    UseInternalDataplaneDriver useInternalDataplaneDriver bool
    DataplaneDriver dataplaneDriver file non-zero,die-on-fail
    DataplaneWatchdogTimeout dataplaneWatchdogTimeout seconds
    WireguardRoutingRulePriority wireguardRoutingRulePriority int
    WireguardMTU wireguardMTU int
    WireguardMTUV6 wireguardMTUV6 int
    WireguardPersistentKeepAlive wireguardKeepAlive seconds
    WireguardThreadingEnabled wireguardThreadingEnabled bool
    BPFDisableUnprivileged bpfDisableUnprivileged bool
    BPFJITHardening bpfJITHardening oneof(Auto,Strict) non-zero,exact
    BPFLogLevel bpfLogLevel oneof(off,info,debug) non-zero
    BPFConntrackLogLevel bpfConntrackLogLevel oneof(off,debug) non-zero,exact
    BPFConntrackCleanupMode bpfConntrackMode oneof(Auto,Userspace,BPFProgram) exact
    BPFConntrackTimeouts bpfConntrackTimeouts keyvaluelist mapping
    BPFLogFilters bpfLogFilters keyvaluelist mapping
    BPFCTLBLogFilter bpfCTLBLogFilter oneof(all)
    BPFDataIfacePattern bpfDataIfacePattern regexp
    BPFL3IfacePattern bpfL3IfacePattern regexp
    BPFConnectTimeLoadBalancingEnabled bpfConnectTimeLoadBalancingEnabled bool
    BPFConnectTimeLoadBalancing bpfConnectTimeLoadBalancing oneof(TCP,Enabled,Disabled) non-zero,exact
    BPFHostNetworkedNATWithoutCTLB bpfHostNetworkedNATWithoutCTLB oneof(Enabled,Disabled) non-zero,exact
    BPFExternalServiceMode bpfExternalServiceMode oneof(tunnel,dsr) non-zero
    BPFDSROptoutCIDRs bpfDSROptoutCIDRs cidr-list
    BPFKubeProxyIptablesCleanupEnabled bpfKubeProxyIptablesCleanupEnabled bool
    BPFKubeProxyMinSyncPeriod bpfKubeProxyMinSyncPeriod seconds
    BPFKubeProxyHealthzPort bpfKubeProxyHealthzPort int
    BPFExtToServiceConnmark bpfExtToServiceConnmark int
    BPFPSNATPorts bpfPSNATPorts portrange
    BPFMapSizeNATFrontend bpfMapSizeNATFrontend int non-zero
    BPFMapSizeNATBackend bpfMapSizeNATBackend int non-zero
    BPFMapSizeNATAffinity bpfMapSizeNATAffinity int non-zero
    BPFMapSizeRoute bpfMapSizeRoute int non-zero
    BPFMapSizeConntrack bpfMapSizeConntrack int non-zero
    BPFMapSizePerCPUConntrack bpfMapSizePerCpuConntrack int
    BPFMapSizeConntrackScaling bpfMapSizeConntrackScaling oneof(Disabled,DoubleIfFull) non-zero
    BPFMapSizeConntrackCleanupQueue bpfMapSizeConntrackCleanupQueue int non-zero
    BPFMapSizeIPSets bpfMapSizeIPSets int non-zero
    BPFMapSizeIfState bpfMapSizeIfState int non-zero
    BPFHostConntrackBypass bpfHostConntrackBypass bool
    BPFEnforceRPF bpfEnforceRPF oneof(Disabled,Strict,Loose) non-zero
    BPFPolicyDebugEnabled bpfPolicyDebugEnabled bool
    BPFForceTrackPacketsFromIfaces bpfForceTrackPacketsFromIfaces iface-filter-slice
    BPFDisableGROForIfaces bpfDisableGROForIfaces regexp
    BPFExcludeCIDRsFromNAT bpfExcludeCIDRsFromNAT cidr-list
    BPFRedirectToPeer bpfRedirectToPeer oneof(Disabled,Enabled,L2Only) non-zero,exact
    BPFAttachType bpfAttachType oneof(TCX,TC) non-zero,exact
    BPFExportBufferSizeMB bpfExportBufferSizeMB int non-zero
    BPFProfiling bpfProfiling oneof(Disabled,Enabled) non-zero,exact
    CgroupV2Path cgroupV2Path string
    DebugBPFCgroupV2 - string local
    DatastoreType - oneof(kubernetes,etcdv3) non-zero,die-on-fail,local
    FelixHostname - hostname non-zero,local
    EtcdAddr - authority local
    EtcdScheme - oneof(http,https) local
    EtcdKeyFile - file local
    EtcdCertFile - file local
    EtcdCaFile - file local
    EtcdEndpoints - endpoint-list local
    TyphaAddr - authority local
    TyphaK8sServiceName - string local
    TyphaK8sNamespace - string non-zero,local
    TyphaReadTimeout - seconds local
    TyphaWriteTimeout - seconds local
    TyphaKeyFile - file local
    TyphaCertFile - file local
    TyphaCAFile - file local
    TyphaCN - string local
    TyphaURISAN - string local
    IptablesBackend iptablesBackend oneof(legacy,nft,auto) exact
    RouteRefreshInterval routeRefreshInterval seconds
    InterfaceRefreshInterval interfaceRefreshInterval seconds
    DeviceRouteSourceAddress deviceRouteSourceAddress ipv4
    DeviceRouteSourceAddressIPv6 deviceRouteSourceAddressIPv6 ipv6
    DeviceRouteProtocol deviceRouteProtocol int
    RemoveExternalRoutes removeExternalRoutes bool
    ProgramClusterRoutes programClusterRoutes oneof(Enabled,Disabled) exact
    IPForwarding ipForwarding oneof(Enabled,Disabled) exact
    IptablesRefreshInterval iptablesRefreshInterval seconds
    IptablesPostWriteCheckIntervalSecs iptablesPostWriteCheckInterval seconds
    IptablesLockProbeIntervalMillis iptablesLockProbeInterval millis
    FeatureGates featureGates keyvaluelist
    IpsetsRefreshInterval ipsetsRefreshInterval seconds
    XDPRefreshInterval xdpRefreshInterval seconds
    PolicySyncPathPrefix policySyncPathPrefix file
    NetlinkTimeoutSecs netlinkTimeout seconds
    OpenstackRegion openstackRegion region die-on-fail
    LogFilePath logFilePath file die-on-fail
    LogSeverityFile logSeverityFile oneof(TRACE,DEBUG,INFO,WARNING,ERROR,FATAL)
    LogSeverityScreen logSeverityScreen oneof(TRACE,DEBUG,INFO,WARNING,ERROR,FATAL)
    LogSeveritySys logSeveritySys oneof(TRACE,DEBUG,INFO,WARNING,ERROR,FATAL)
    LogDebugFilenameRegex logDebugFilenameRegex regexp
    VXLANVNI vxlanVNI int
    VXLANMTU vxlanMTU int
    VXLANMTUV6 vxlanMTUV6 int
    VXLANTunnelMACAddr - string
    VXLANTunnelMACAddrV6 - string
    IpInIpMtu ipipMTU int
    WindowsManageFirewallRules windowsManageFirewallRules oneof(Enabled,Disabled) exact
    AWSSrcDstCheck awsSrcDstCheck oneof(DoNothing,Enable,Disable) non-zero,exact
    ReportingIntervalSecs reportingInterval seconds
    ReportingTTLSecs reportingTTL seconds
    EndpointReportingEnabled endpointReportingEnabled bool
    EndpointReportingDelaySecs endpointReportingDelay seconds
    EndpointStatusPathPrefix endpointStatusPathPrefix file
    HealthEnabled healthEnabled bool
    HealthPort healthPort int(0:65535)
    HealthHost healthHost host-address
    HealthTimeoutOverrides healthTimeoutOverrides keydurationlist
    PrometheusMetricsEnabled prometheusMetricsEnabled bool
    PrometheusMetricsHost prometheusMetricsHost host-address
    PrometheusMetricsPort prometheusMetricsPort int(0:65535)
    PrometheusGoMetricsEnabled prometheusGoMetricsEnabled bool
    PrometheusProcessMetricsEnabled prometheusProcessMetricsEnabled bool
    PrometheusWireGuardMetricsEnabled prometheusWireGuardMetricsEnabled bool
    PrometheusMetricsCAFile prometheusMetricsCAFile string
    PrometheusMetricsCertFile prometheusMetricsCertFile string
    PrometheusMetricsKeyFile prometheusMetricsKeyFile string
    PrometheusMetricsClientAuth prometheusMetricsClientAuth \
oneof(RequireAndVerifyClientCert,RequireAnyClientCert,VerifyClientCertIfGiven,NoClientCert)
    FlowLogsFlushInterval flowLogsFlushInterval seconds
    FlowLogsCollectorDebugTrace flowLogsCollectorDebugTrace bool
    FlowLogsPolicyEvaluationMode flowLogsPolicyEvaluationMode oneof(None,Continuous) exact
    UsageReportingEnabled usageReportingEnabled bool
    UsageReportingInitialDelaySecs usageReportingInitialDelay seconds
    UsageReportingIntervalSecs usageReportingInterval seconds
    ClusterGUID - string
    CalicoVersion - string
    DebugMemoryProfilePath debugMemoryProfilePath file
    DebugCPUProfilePath - file
    DebugDisableLogDropping debugDisableLogDropping bool
    DebugSimulateCalcGraphHangAfter debugSimulateCalcGraphHangAfter seconds
    DebugSimulateDataplaneHangAfter debugSimulateDataplaneHangAfter seconds
    DebugSimulateDataplaneApplyDelay debugSimulateDataplaneApplyDelay seconds
    DebugPanicAfter - seconds
    DebugSimulateDataRace - bool
    DebugHost debugHost host-address
    DebugPort debugPort int(0:65535)
    RouteSource routeSource oneof(WorkloadIPs,CalicoIPAM)
    RouteTableRange routeTableRange route-table-range die-on-fail
    RouteTableRanges routeTableRanges route-table-ranges die-on-fail
    RouteSyncDisabled routeSyncDisabled bool
    IPv4NormalRoutePriority ipv4NormalRoutePriority int(1:2147483646)
    IPv4ElevatedRoutePriority ipv4ElevatedRoutePriority int(1:2147483646)
    IPv6NormalRoutePriority ipv6NormalRoutePriority int(1:2147483646)
    IPv6ElevatedRoutePriority ipv6ElevatedRoutePriority int(1:2147483646)
    LiveMigrationRouteConvergenceTime liveMigrationRouteConvergenceTime seconds
    SidecarAccelerationEnabled sidecarAccelerationEnabled bool
    XDPEnabled xdpEnabled bool
    GenericXDPEnabled genericXDPEnabled bool
    Variant - string
    GoGCThreshold goGCThreshold int(-1)
    GoMemoryLimitMB goMemoryLimitMB int(-1)
    GoMaxProcs goMaxProcs int(-1)
    MTUIfacePattern mtuIfacePattern regexp
    NftablesRefreshInterval nftablesRefreshInterval seconds
    RequireMTUFile requireMTUFile bool
    BPFMaglevMaxEndpointsPerService bpfMaglevMaxEndpointsPerService int(1:3000)
    BPFMaglevMaxServices bpfMaglevMaxServices int(1:3000)
"""

FORMER_FIELDS = ("bpfKubeProxyEndpointSlicesEnabled", "iptablesLockFilePath", "iptablesLockTimeout")
"""Fields of a FelixConfiguration that v3.32 has no more and older releases had."""


def _parsed() -> Iterator[Parameter]:
    for row in ROWS.strip().splitlines():
        name, field, kind, flags = (*row.split(), "", "")[:4]
        yield Parameter(name, field.strip("-"), kind, "", "", frozenset(flags.split(",")), "")


OTHERS = tuple(_parsed())
