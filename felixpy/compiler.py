"""The whole compiler in one function: cluster → resolution → plan → text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from felixpy.calico_versions import CALICO_VERSIONS, V3_32, CalicoVersion
from felixpy.config import Config, Setting, build
from felixpy.effective import configure, data_plane
from felixpy.errors import InputError, Path, Problem, UsageError, few
from felixpy.hosts import ALL_INTERFACES, LOOPBACK
from felixpy.layouts import IPTABLES, LAYOUTS, NFTABLES, Layout
from felixpy.model import Cluster, DataPlane, Host, HostEndpoint
from felixpy.plan import Planner
from felixpy.plan.facts import RuleContext
from felixpy.refusals import IPTABLES as IPTABLES_REFUSER
from felixpy.refusals import Refuser, refusals
from felixpy.render import Renderer
from felixpy.resolve import Resolution, Shared, resolve
from felixpy.ruleset import Ruleset
from felixpy.startup import obstacles


def refuser(layout: Layout) -> Refuser:
    """The function that finds rules that the tools of a data plane refuse."""
    if layout is not NFTABLES:
        return IPTABLES_REFUSER
    from felixpy.nftables.refused import NFTABLES as NFTABLES_REFUSER

    return NFTABLES_REFUSER


def compile(
    cluster: Cluster,
    node: str | None = None,
    *,
    calico_version: CalicoVersion = V3_32,
    dataplane: str | None = None,
    host: Host | None = None,
    settings: Sequence[Setting] = (),
) -> Ruleset:
    """Compile every policy that touches a node into chains and IP sets.

    `node` may be left out when the cluster has just one. `dataplane` is ``iptables`` or ``nftables``; None takes what
    Felix would choose (iptables instead of eBPF). `host` says which interfaces the machine has, `settings`
    override the cluster's FelixConfigurations, strongest first. No input or output, no clock: equal arguments give
    equal text. `Ruleset.findings` are warnings: rules that no kernel takes, interfaces that had to be assumed.

    Raises UsageError for an unknown or ambiguous node, or a data plane whose rules are not known for the Calico
    version, InputError for policies that the Calico version cannot express and for settings with which Felix does not
    start.
    """
    return Compiler(cluster, calico_version, dataplane).compile(node or only_node(cluster), host or Host(), settings)


def only_node(cluster: Cluster) -> str:
    """The only node of a cluster. Raises UsageError, with the nodes' names, if there are several or none."""
    names = cluster.node_names()
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError("no node is named anywhere in the input; say which with --node")
    raise UsageError(f"the input has {len(names)} nodes, say which with --node: {few(names)}")


def interface_prefix(settings: Sequence[Setting]) -> str:
    """What pods' interface names begin with according to `settings`, "" if they do not say.

    Felix's environment decides that, never a FelixConfiguration.
    """
    strongest = next((s for s in settings if s.name.lower() == "interfaceprefix"), None)
    return next(iter(build([strongest]).interface_prefixes), "") if strongest else ""


class Compiler:
    """Compiles nodes of one cluster, sharing whatever is the same for several of them.

    `dataplane` is that of all nodes, or None if the input decides. Raises UsageError for one whose rules are not known
    for the Calico version.
    """

    def __init__(
        self, cluster: Cluster, calico_version: CalicoVersion = V3_32, dataplane: str | None = IPTABLES.name
    ) -> None:
        refuse(cluster, calico_version)
        self.cluster, self.calico_version = cluster, calico_version
        self.dataplane = dataplane
        self._asked = None if dataplane is None else _layout(dataplane, calico_version)
        self._renderers: dict[str, Renderer] = {}
        self._shared: dict[tuple[bool, bool], Shared] = {}
        self._planners: dict[tuple[Config, str], Planner] = {}

    def __reduce__(self) -> tuple[Callable[..., Compiler], tuple[object, ...]]:
        """Pickle the arguments only: cached results are computed again in the other process."""
        return _again, (self.cluster, self.calico_version.name, self.dataplane)

    def compile(self, node: str, host: Host | None = None, settings: Sequence[Setting] = ()) -> Ruleset:
        """One node's rules; see `felixpy.compile`."""
        return self.program(self.resolve(node, host, settings), host, settings)

    def program(self, resolution: Resolution, host: Host | None = None, settings: Sequence[Setting] = ()) -> Ruleset:
        """Compile a resolution that was made with the same `host` and `settings`."""
        layout = self.layout(resolution.node.name, settings)
        plan = self._planner(resolution.config, layout).plan(resolution, self.calico_version)
        ruleset = self._renderer(layout).render(plan)
        if layout is NFTABLES:
            from felixpy.nftables import NftRuleset

            ruleset = NftRuleset.of(ruleset)
        refused = tuple(refusals(ruleset, self.cluster, refuser(layout)))
        return replace(ruleset, refused=refused, assumed=tuple(assumed_interfaces(resolution, host or Host())))

    def resolve(
        self, node: str, host: Host | None = None, settings: Sequence[Setting] = (), others: Sequence[str] = ()
    ) -> Resolution:
        """What a node's rules depend on; see `felixpy.resolve`. The endpoints of `others` (nodes) are included."""
        config = self.config(node, settings)
        given = (*self.calico_version.parameters, *settings)
        in_the_way = [*obstacles(self.cluster, node, given, config, self.calico_version)]
        if in_the_way:
            raise InputError(in_the_way)
        return resolve(self._shared_for(config), node, config, host or Host(), others)

    def prepare(self, settings: Sequence[Setting] = ()) -> None:
        """Compute what all nodes have in common, before compiling many of them with these settings."""
        for config in {self.config(node, settings) for node in self.cluster.node_names()}:
            self._shared_for(config).prepare()

    def purpose(self, template: str, dataplane: str = IPTABLES.name) -> str:
        """The first line of a template: what its chains are for."""
        return self._renderer(LAYOUTS[dataplane]).purpose(template)

    def config(self, node: str, settings: Sequence[Setting] = ()) -> Config:
        """The parameters in force on a node."""
        config = configure(self.cluster, node, (*self.calico_version.parameters, *settings))
        if self._asked is NFTABLES:
            config = replace(config, nftables_mode="Enabled")
        return self.layout(node, settings).configured(config)

    def layout(self, node: str, settings: Sequence[Setting] = ()) -> Layout:
        """The layout of a node's chains; that of iptables for data planes without chains (eBPF, Windows)."""
        if self._asked:
            return self._asked
        kind = self.data_plane(node, settings).kind
        return _layout(kind if kind in LAYOUTS else IPTABLES.name, self.calico_version)

    def data_plane(self, node: str, settings: Sequence[Setting] = ()) -> DataPlane:
        """How Felix programs a node according to the input."""
        return data_plane(self.cluster, node, (*self.calico_version.parameters, *settings))

    def _shared_for(self, config: Config) -> Shared:
        key = (config.source_spoofing == "Any", config.suppresses_overlaps)
        if key not in self._shared:
            self._shared[key] = Shared(self.cluster, self.calico_version, *key)
        return self._shared[key]

    def _planner(self, config: Config, layout: Layout) -> Planner:
        key = (config, layout.name)
        if key not in self._planners:
            self._planners[key] = Planner(RuleContext(config, self.calico_version, layout))
        return self._planners[key]

    def _renderer(self, layout: Layout) -> Renderer:
        if layout.name not in self._renderers:
            self._renderers[layout.name] = Renderer(self.calico_version, layout)
        return self._renderers[layout.name]


def _again(cluster: Cluster, calico_version: str, dataplane: str | None) -> Compiler:
    return Compiler(cluster, CALICO_VERSIONS[calico_version], dataplane)


def _layout(dataplane: str, calico_version: CalicoVersion) -> Layout:
    if dataplane not in LAYOUTS:
        raise UsageError(f"unknown data plane {dataplane}; there are {', '.join(LAYOUTS)}")
    layout = LAYOUTS[dataplane]
    if layout is NFTABLES and calico_version is not V3_32:
        raise UsageError(f"the nftables rules of Felix {calico_version.name} are not known, only those of {V3_32.name}")
    return layout


def refuse(cluster: Cluster, calico_version: CalicoVersion) -> None:
    """Raise InputError naming every policy that the Calico version cannot express."""
    problems = [
        Problem(
            place=cluster.where(policy.source, ()),
            subject=str(policy.key),
            reason=f"Felix {calico_version.name} cannot express it: {reason}",
        )
        for policy, reason in calico_version.refusals(cluster)
    ]
    if problems:
        raise InputError(problems)


def assumed_interfaces(resolution: Resolution, host: Host) -> Iterator[Problem]:
    """A warning for each host endpoint whose interface is unknown or absent."""
    for endpoint in resolution.all_hosts:
        if endpoint.interface in (ALL_INTERFACES, LOOPBACK):
            continue
        if host.interfaces is not None:
            yield from _absent_interface(resolution, endpoint, host.interfaces)
            continue
        if endpoint.interface:
            path: Path = ("spec", "interfaceName")
            reason = f"interface {endpoint.interface} is taken as present on {endpoint.node}"
        else:
            path = ("spec", "expectedIPs")
            reason = f"the interfaces of {endpoint.node} are not known: no chains for it"
        yield Problem(
            place=resolution.cluster.where(endpoint.source, path),
            subject=f"HostEndpoint {endpoint.name}",
            path=path,
            reason=reason,
            hint="say what the machine has with --interface, --host-file or --live",
            severity="warning",
        )


def _absent_interface(
    resolution: Resolution, endpoint: HostEndpoint, interfaces: Mapping[str, Sequence[str]]
) -> Iterator[Problem]:
    """A warning for a host endpoint that matches none of the machine's interfaces, so that it has no rules."""
    if endpoint.interface:
        if endpoint.interface in interfaces:
            return
        path: Path = ("spec", "interfaceName")
        what = f"no interface {endpoint.interface}"
    else:
        present = {address.partition("/")[0] for addresses in interfaces.values() for address in addresses}
        if present.intersection(endpoint.addresses):
            return
        path = ("spec", "expectedIPs")
        what = f"no interface with {few(endpoint.addresses)}"
    yield Problem(
        place=resolution.cluster.where(endpoint.source, path),
        subject=f"HostEndpoint {endpoint.name}",
        path=path,
        reason=f"{endpoint.node} has {what}: no chains for it, so none of its policies is in force",
        hint=f"there are {few(interfaces)}" if interfaces else "there are no interfaces but the loopback",
        severity="warning",
    )
