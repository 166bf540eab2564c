"""The options that all commands about manifests have in common, declared once.

A command takes a parameter `given`; `takes_manifests` puts the options in its place and hands their values over as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from felixpy.cli import invocation, options, progress
from felixpy.cli.running import PREFIX, Clusters, is_cluster
from felixpy.errors import InputError, UsageError, unknown_node

if TYPE_CHECKING:
    from felixpy.calico_versions import CalicoVersion
    from felixpy.compiler import Compiler
    from felixpy.config import Setting
    from felixpy.manifests.loading import Options
    from felixpy.model import Cluster, DataPlane, Host
    from felixpy.netfilter.rules import Dump
    from felixpy.tracing import Nodes

Rest = ParamSpec("Rest")

UNNAMED = "this node"
"""The name of a node that is known only from a dump."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """The values of the shared options: which manifests, and how they are read and compiled."""

    paths: Sequence[str] | None = None
    filename: Sequence[str] | None = None
    node: str | None = None
    calico_version: str = ""
    dataplane: str | None = None
    set_: Sequence[str] | None = None
    interface: Sequence[str] | None = None
    host_file: Path | None = None
    live: bool = False
    no_expand: bool = False
    strict: bool | None = None
    quiet: bool = False
    cluster_: bool = False
    context: str = ""
    kubeconfig: str = ""
    request_timeout: float = 60.0

    @property
    def files(self) -> list[str]:
        """Files, folders and running clusters, however they were given."""
        running = [f"{PREFIX}{self.context}"] if self.cluster_ or self.context or self.kubeconfig else []
        return [*(self.paths or ()), *(self.filename or ()), *running]

    @property
    def running(self) -> str:
        """The first running cluster among the inputs, as a path; "" if there is none."""
        return next(filter(is_cluster, self.files), "")

    @cached_property
    def clusters(self) -> Clusters:
        """Reads the running clusters among the files."""
        return Clusters(kubeconfig=self.kubeconfig, timeout=self.request_timeout, quiet=self.quiet)

    @cached_property
    def settings(self) -> list[Setting]:
        """Felix parameters from --set and the environment, strongest first. Raises UsageError for bad ones."""
        return invocation.gather_settings(self.set_ or (), invocation.felix_environment())

    @cached_property
    def host(self) -> Host:
        """The machine, as far as it was described. Raises UsageError for a bad description."""
        return invocation.gather_host(self.interface or (), self.host_file, live=self.live)

    @cached_property
    def named_version(self) -> CalicoVersion | None:
        """The Calico version of --calico-version, None without it. Raises UsageError for an unknown one."""
        return invocation.find_calico_version(self.calico_version) if self.calico_version else None

    @cached_property
    def version(self) -> CalicoVersion:
        """The Calico version of --calico-version, else that of the manifests."""
        return self.named_version or self.version_of(self.cluster_if_any)

    def version_of(self, *clusters: Cluster | None) -> CalicoVersion:
        """The Calico version of --calico-version, else that of the first cluster that states its version."""
        stated = (invocation.stated_version(cluster) for cluster in clusters if cluster)
        return self.named_version or next(filter(None, stated), invocation.default_version())

    def read(self, paths: Sequence[str]) -> Cluster:
        """Load manifests and print their warnings. Raises InputError with all problems."""
        cluster = invocation.load_cluster(self.clusters.expand(paths), self.options(paths), quiet=self.quiet)
        self.tell_about(cluster)
        return cluster

    def options(self, paths: Sequence[str]) -> Options:
        """The options for loading paths.

        Objects of a running cluster have passed its API server, so none are refused without --strict, and no pods are
        made up for workloads.
        """
        from felixpy.compiler import interface_prefix
        from felixpy.manifests.loading import Options

        running = bool(paths) and all(map(is_cluster, paths))
        return Options(
            node=self.node,
            expanding=not (self.no_expand or running),
            strict=False if self.strict is None and running else self.strict,
            interface_prefix=interface_prefix(self.settings),
        )

    def tell_about(self, cluster: Cluster) -> None:
        """Print which release of Calico and which data planes the cluster has, where that is not the default."""
        version = self.version_of(cluster)
        if not self.quiet:
            invocation.tell_version(cluster, version, asked=self.named_version is not None)
        if self.dataplane:
            invocation.tell_chosen_data_plane(self.dataplane, quiet=self.quiet)
        else:
            nodes = [self.node] if self.node else cluster.node_names()
            settings = (*version.parameters, *self.settings)
            invocation.tell_data_planes(cluster, nodes, settings, quiet=self.quiet)

    def check_options(self) -> None:
        """Raise UsageError for bad options, before manifests are read: that is the quicker answer."""
        _ = self.settings, self.host, self.named_version
        invocation.check_data_plane(self.dataplane)

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster of the given manifests; if none were given, of those in the current folder."""
        self.check_options()
        return self.read(self.files)

    @cached_property
    def cluster_if_any(self) -> Cluster:
        """As `cluster`; an empty cluster if none were given and the current folder holds no manifests."""
        from felixpy.model import Cluster

        try:
            return self.cluster
        except InputError as wrong:
            if self.files or any(problem.place.file != "." for problem in wrong.problems):
                raise
            return Cluster()

    @cached_property
    def compiler(self) -> Compiler:
        """Compiles nodes of `cluster`. Raises InputError for policies that the Calico version cannot express."""
        from felixpy.compiler import Compiler

        return Compiler(self.cluster, self.version_of(self.cluster), self.chosen_data_plane())

    def chosen_data_plane(self, dumps: Mapping[str, Dump] | None = None) -> str | None:
        """The data plane of all nodes: that of their dumps, else --dataplane; None if the input decides for each."""
        there = {dump.dataplane for dump in (dumps or {}).values()}
        if len(there) == 1:
            return there.pop()
        return self.dataplane

    @cached_property
    def _compilers(self) -> dict[str, Compiler]:
        return {}

    def compiler_for(self, dataplane: str) -> Compiler:
        """Compiles nodes of `cluster` for a data plane, whatever the input selects. Raises InputError as `compiler`."""
        from felixpy.compiler import Compiler

        if dataplane not in self._compilers:
            self._compilers[dataplane] = Compiler(self.cluster, self.version_of(self.cluster), dataplane)
        return self._compilers[dataplane]

    def selected_data_planes(self, cluster: Cluster) -> list[DataPlane]:
        """The data plane that the input selects for each node of a cluster, whatever --dataplane is."""
        from felixpy.effective import data_plane

        settings = (*self.version_of(cluster).parameters, *self.settings)
        return [data_plane(cluster, name, settings) for name in cluster.node_names()]

    def names_data_plane(self, cluster: Cluster) -> bool:
        """Whether an option, a setting or an object says which data plane any of the nodes has."""
        return bool(self.dataplane) or not all(plane.is_default for plane in self.selected_data_planes(cluster))

    def nodes(self, dumps: Mapping[str, Dump] | None = None, seen: Host | None = None) -> Nodes:
        """The nodes of the manifests. With `dumps` their rules are used, and manifests are optional.

        Interfaces, from the options or else from `seen`, belong to --node or to the only node. Raises UsageError if
        that is ambiguous.
        """
        from felixpy.compiler import Compiler, only_node
        from felixpy.model import Cluster
        from felixpy.tracing import Nodes

        machine = self.host if seen is None or self.host.interfaces is not None else seen
        cluster = self.cluster if self.files or not dumps else Cluster()
        self.check_node(cluster, dumps or ())
        names = list(dumps or cluster.node_names())
        home = self.node or (names[0] if len(names) == 1 else "")
        if machine.interfaces is not None and not home:
            home = only_node(cluster)
        hosts = {home: machine} if machine.interfaces is not None else {}
        compiler = Compiler(cluster, self.version_of(cluster), self.chosen_data_plane(dumps))
        if not self.quiet:
            invocation.tell_left_open(dumps or {})
        return Nodes(compiler, hosts=hosts, settings=self.settings, dumps=dumps)

    def check_node(self, cluster: Cluster, others: Iterable[str] = ()) -> None:
        """Raise UsageError if --node names a node that is neither in the manifests nor in `others`."""
        known = [*dict.fromkeys((*cluster.node_names(), *others))]
        if self.node and known and self.node not in known:
            raise UsageError(unknown_node(self.node, known))

    @cached_property
    def home(self) -> str:
        """The node of --node, or the only one. Raises UsageError if there are several."""
        from felixpy.compiler import only_node

        return self.node or only_node(self.cluster)


DECLARED: dict[str, Any] = {
    "paths": options.Paths,
    "filename": options.Filenames,
    "node": options.NodeName,
    "calico_version": options.CalicoVersionName,
    "dataplane": options.DataPlaneName,
    "set_": options.Settings,
    "interface": options.Interfaces,
    "host_file": options.HostFile,
    "live": options.Live,
    "no_expand": options.NoExpand,
    "strict": options.Strict,
    "quiet": options.Quiet,
    "cluster_": options.RunningCluster,
    "context": options.Context,
    "kubeconfig": options.Kubeconfig,
    "request_timeout": options.RequestTimeout,
}
"""The options in the order of the help."""

MACHINE = ("interface", "host_file", "live")
"""Those that describe the machine."""


def takes_manifests(
    *without: str, **instead: Any
) -> Callable[[Callable[Concatenate[Given, Rest], None]], Callable[Rest, None]]:
    """Decorator: add all shared options but those in `without` to a command; `instead` declares some differently."""
    kept = {name: instead.get(name, declared) for name, declared in DECLARED.items() if name not in without}

    def decorate(command: Callable[Concatenate[Given, Rest], None]) -> Callable[Rest, None]:
        own = [one for one in signature(command, eval_str=True).parameters.values() if one.name != "given"]

        @wraps(command)
        def call(*arguments: Rest.args, **values: Rest.kwargs) -> None:
            chosen: dict[str, Any] = {name: values.pop(name) for name in kept if name in values}
            with progress.shown("working"):
                command(Given(**chosen), *arguments, **values)

        shared = [_parameter(name, declared) for name, declared in kept.items()]
        call.__signature__ = Signature([*own, *shared])  # type: ignore[attr-defined]  # what typer reads
        return call

    return decorate


def _parameter(name: str, declared: Any) -> Parameter:
    default = Given.__dataclass_fields__[name].default
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=declared)
