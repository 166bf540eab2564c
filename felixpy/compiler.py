"""The whole compiler in one function: cluster → resolution → plan → text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from felixpy.config import Config, Setting, build
from felixpy.dialects import V3_32, Dialect
from felixpy.effective import configure, data_plane
from felixpy.errors import InputError, Path, Problem, UsageError
from felixpy.hosts import ALL_INTERFACES
from felixpy.model import Cluster, DataPlane, Host
from felixpy.plan import Planner
from felixpy.plan.facts import RuleContext
from felixpy.refusals import refusals
from felixpy.render import Renderer
from felixpy.resolve import Resolution, Shared, resolve
from felixpy.ruleset import Ruleset


def compile(
    cluster: Cluster,
    node: str | None = None,
    *,
    dialect: Dialect = V3_32,
    host: Host | None = None,
    settings: Sequence[Setting] = (),
) -> Ruleset:
    """Compile every policy that touches a node into iptables chains and IP sets.

    `node` may be left out when the cluster has just one. `host` says which interfaces the machine has, `settings`
    override the cluster's FelixConfigurations, strongest first. No input or output, no clock: equal arguments give
    equal text. `Ruleset.findings` are warnings: rules that no kernel takes, interfaces that had to be assumed.

    Raises UsageError for an unknown or ambiguous node, InputError for policies that the dialect cannot say.
    """
    return Compiler(cluster, dialect).compile(node or only_node(cluster), host or Host(), settings)


def only_node(cluster: Cluster) -> str:
    """The node when there is no choice. Raises UsageError naming the nodes otherwise."""
    names = cluster.node_names()
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError("no node is named anywhere in the input; say which with --node")
    raise UsageError(f"the input has {len(names)} nodes, say which with --node: {', '.join(names)}")


def interface_prefix(settings: Sequence[Setting]) -> str:
    """What pods' interface names begin with according to `settings`, "" if they do not say.

    Felix's environment decides that, never a FelixConfiguration.
    """
    strongest = next((s for s in settings if s.name.lower() == "interfaceprefix" and not s.by_field), None)
    return build([strongest]).interface_prefixes[0] if strongest else ""


class Compiler:
    """Compiles nodes of one cluster, sharing whatever is the same for several of them."""

    def __init__(self, cluster: Cluster, dialect: Dialect = V3_32) -> None:
        refuse(cluster, dialect)
        self.cluster, self.dialect = cluster, dialect
        self._renderer = Renderer(dialect)
        self._shared: dict[tuple[bool, bool], Shared] = {}
        self._planners: dict[Config, Planner] = {}

    def compile(self, node: str, host: Host | None = None, settings: Sequence[Setting] = ()) -> Ruleset:
        """One node's rules; see `felixpy.compile`."""
        resolution = self.resolve(node, host, settings)
        ruleset = self._renderer.render(self._planner(resolution.config).plan(resolution, self.dialect))
        refused = tuple(refusals(ruleset, self.cluster))
        return replace(ruleset, refused=refused, assumed=tuple(assumed_interfaces(resolution, host or Host())))

    def resolve(self, node: str, host: Host | None = None, settings: Sequence[Setting] = ()) -> Resolution:
        """What a node's rules depend on; see `felixpy.resolve`."""
        config = self.config(node, settings)
        return resolve(self._shared_for(config), node, config, host or Host())

    def prepare(self, settings: Sequence[Setting] = ()) -> None:
        """Do once what all nodes have in common; for compiling many of them with these settings."""
        for config in {self.config(node, settings) for node in self.cluster.node_names()}:
            self._shared_for(config).prepare()

    def purpose(self, template: str) -> str:
        """What a template says about itself."""
        return self._renderer.purpose(template)

    def config(self, node: str, settings: Sequence[Setting] = ()) -> Config:
        """The parameters in force on a node."""
        return configure(self.cluster, node, (*self.dialect.parameters, *settings))

    def data_plane(self, node: str, settings: Sequence[Setting] = ()) -> DataPlane:
        """How Felix programs a node according to the input."""
        return data_plane(self.cluster, node, (*self.dialect.parameters, *settings))

    def _shared_for(self, config: Config) -> Shared:
        key = (config.source_spoofing == "Any", config.suppresses_overlaps)
        if key not in self._shared:
            self._shared[key] = Shared(self.cluster, self.dialect, *key)
        return self._shared[key]

    def _planner(self, config: Config) -> Planner:
        if config not in self._planners:
            self._planners[config] = Planner(RuleContext(config, self.dialect))
        return self._planners[config]


def refuse(cluster: Cluster, dialect: Dialect) -> None:
    """Raise InputError naming every policy that the dialect has no words for."""
    problems = [
        Problem(
            place=cluster.where(policy.source, ()),
            subject=str(policy.key),
            reason=f"cannot be said in dialect {dialect.name}: {reason}",
        )
        for policy, reason in dialect.refusals(cluster)
    ]
    if problems:
        raise InputError(problems)


def assumed_interfaces(resolution: Resolution, host: Host) -> Iterator[Problem]:
    """A warning for each host endpoint whose interface nobody has seen."""
    if host.interfaces is not None:
        return
    for endpoint in resolution.all_hosts:
        if endpoint.interface == ALL_INTERFACES:
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
