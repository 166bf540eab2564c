r"""The questions that the command line answers, as functions: clusters in, answers out.

Answers print as the commands print them, show one line in a session and a table in a notebook. `node`, `settings` and
`calico_version` mean what they mean to `felixpy.compile`; `dataplane` is "iptables" or "nftables", by default what the
input chooses for each node. Nothing here reads files, the clock or a kernel.

>>> import felixpy
>>> from io import StringIO
>>> head = "{{apiVersion: v1, kind: Pod, metadata: {{namespace: shop, name: {0}, labels: {{app: {0}}}}}, "
>>> pod = head + "status: {{podIP: {1}}}}}"
>>> policy = '''
... apiVersion: networking.k8s.io/v1
... kind: NetworkPolicy
... metadata: {namespace: shop, name: db}
... spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: wbe}}}]}]}
... '''
>>> pods = [pod.format("web", "10.65.0.2"), pod.format("db", "10.65.0.3")]
>>> before, after = (felixpy.load(StringIO("\n---\n".join(text)), node="node1") for text in (pods, [*pods, policy]))
>>> felixpy.trace(after, "shop/web", "shop/db:5432").verdict
'deny'
>>> felixpy.diff(before, after, rules=False)
<Difference 0 flows opened, 2 closed>
>>> [finding.name for finding in felixpy.lint(after, select=["FX10"]).failures]
['FX102']
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from felixpy.calico_versions import V3_32, CalicoVersion
from felixpy.compiler import Compiler, only_node
from felixpy.config import Setting
from felixpy.described import Answer
from felixpy.errors import UsageError, many, unknown_node
from felixpy.model import Cluster, Host

if TYPE_CHECKING:
    from felixpy.difference import Difference
    from felixpy.flows import Doubt, Flow
    from felixpy.netfilter.numbers import State
    from felixpy.netfilter.rules import Dump
    from felixpy.reports import Run
    from felixpy.tracing import Nodes, Trace
    from felixpy.tracing.service_report import ServiceTrace
    from felixpy.verification import Verification

__all__ = ["Connections", "diff", "lint", "matrix", "trace", "verify"]


def trace(
    cluster: Cluster,
    source: str,
    destination: str,
    *,
    node: str = "",
    namespace: str = "",
    family: Literal[4, 6] | None = None,
    icmp: str = "",
    protocol: str = "",
    source_port: int = 49152,
    state: State = "new",
    services: bool = True,
    hosts: Mapping[str, Host] | None = None,
    settings: Sequence[Setting] = (),
    calico_version: CalicoVersion = V3_32,
    dataplane: str | None = None,
) -> Trace | ServiceTrace:
    """Walk a packet through the rules: the verdict, what decided it, and the way there.

    `source` and `destination` are written as for ``felixpy trace``: ``shop/web-1``, ``shop/deployment/web``, an
    address, ``host:node1``, ``internet``; a destination with ``:PORT[/PROTOCOL]``, without it a ping. `icmp` is
    ``TYPE[/CODE]``, `hosts` are machines by node. A destination that is a Service is redirected as kube-proxy does it,
    unless `services` is false.

    Raises UsageError for ends that are not in the cluster and questions without an answer, InputError for policies
    that the Calico version cannot express.
    """
    from felixpy.topology.question import question_of
    from felixpy.tracing import Tracer
    from felixpy.tracing.services import ServiceTracer

    asked = question_of(source, destination, protocol=protocol, icmp=icmp)
    question = replace(asked, source_port=source_port, state=state, family=family)
    nodes = _nodes(cluster, calico_version, dataplane, settings, hosts)
    return ServiceTracer(Tracer(nodes, node=node, namespace=namespace)).trace(question, resolve=services)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Connections(Answer):
    """Which endpoints reach which others on what traffic: `flows`; iterating yields them.

    `uncertain` flows depend on rules that are not understood, which are `not_understood`. `remarks` are further notes.
    """

    flows: tuple[Flow, ...]
    uncertain: tuple[Flow, ...] = ()
    not_understood: tuple[Doubt, ...] = ()
    remarks: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Flow]:
        return iter(self.flows)

    def __len__(self) -> int:
        return len(self.flows)

    def _headline(self) -> str:
        unsure = f", {len(self.uncertain)} uncertain" if self.uncertain else ""
        return f"{many(len(self.flows), 'flow')}{unsure}"

    def _lines(self) -> Iterable[str]:
        from felixpy.flows.presentation.report import lines

        return lines(self.flows)

    def _table(self) -> Iterable[Sequence[str]]:
        if self.flows:
            yield "from", "to", "traffic"
        for source, destination, traffic, family in self.flows:
            yield str(source), str(destination), f"{traffic}{f' (IPv{family} only)' if family else ''}"


def matrix(
    cluster: Cluster,
    *,
    by: Literal["workload", "pod"] = "workload",
    external: bool = True,
    hosts: bool | None = None,
    machines: Mapping[str, Host] | None = None,
    settings: Sequence[Setting] = (),
    calico_version: CalicoVersion = V3_32,
    dataplane: str | None = None,
) -> Connections:
    """Compute which endpoints reach which others through the rules of all nodes, with Ingresses and routes.

    Each row is a workload or a pod, as `by` says. `external` adds addresses that belong to no pod, `hosts` the nodes
    themselves (by default if there are host endpoints); `machines` are the nodes' interfaces, by node.

    Raises InputError for policies that the Calico version cannot express.
    """
    from felixpy.exposure import route_flows
    from felixpy.flows import survey
    from felixpy.flows.presentation.report import remarks

    nodes = _nodes(cluster, calico_version, dataplane, settings, machines)
    found = survey(nodes)
    pairs = found.pairs(fold=by == "workload", external=external, hosts=hosts)
    routes = route_flows(nodes, [unit.peer for unit in pairs.units])
    return Connections(
        flows=(*pairs.flows(), *routes.flows),
        uncertain=tuple(found.unsure(fold=by == "workload", external=external, hosts=hosts)),
        not_understood=found.doubts,
        remarks=(*remarks(found, pairs), *routes.remarks),
    )


def diff(
    before: Cluster,
    after: Cluster,
    *,
    nodes: Iterable[str] | None = None,
    rules: bool = True,
    flows: bool = True,
    settings: Sequence[Setting] = (),
    calico_version: CalicoVersion = V3_32,
    calico_version_before: CalicoVersion | None = None,
    dataplane: str | None = None,
) -> Difference:
    """Compare two states: the objects, rules and sets that differ, and which flows open or close.

    `nodes` are those whose rules are compared, by default all. `calico_version_before` is another one for the first
    state: what an upgrade changes.

    Raises InputError for policies that a Calico version cannot express, UsageError for nodes that neither state has.
    """
    from felixpy.difference import difference

    known = [*dict.fromkeys((*before.node_names(), *after.node_names()))]
    chosen = None if nodes is None else [*nodes]
    for name in chosen or ():
        if name not in known:
            raise UsageError(unknown_node(name, known))
    old = _nodes(before, calico_version_before or calico_version, dataplane, settings)
    return difference(old, _nodes(after, calico_version, dataplane, settings), chosen, rules=rules, flows=flows)


def verify(
    cluster: Cluster,
    rules: str | Sequence[str],
    ipsets: str | None = None,
    *,
    node: str | None = None,
    host: Host | None = None,
    settings: Sequence[Setting] = (),
    calico_version: CalicoVersion = V3_32,
) -> Verification:
    """Compare what was saved on a node with the manifests: every difference and what it means for traffic.

    `rules` is the text of ``iptables-save``, ``iptables -S`` or ``-L``, or several texts (IPv4, IPv6); `ipsets` that of
    ``ipset save`` or ``list``. Without sets these are not compared. What ``nft list ruleset`` prints, as text or JSON,
    is compared with the rules of the nftables data plane, its sets included; rules of iptables given with it are what
    Felix's other data plane left. `node` may be left out when there is just one.

    Raises UsageError for an unknown or ambiguous node and for texts that hold no rules, or one family twice;
    InputError for rules that cannot be read.
    """
    from felixpy.nftables.reading import looks_listed
    from felixpy.verification import Node, Observed, observe_listing, observe_saved
    from felixpy.verification import verify as compare

    name = node or only_node(cluster)
    if name not in cluster.node_names():
        raise UsageError(unknown_node(name, cluster.node_names()))
    texts = [rules] if isinstance(rules, str) else rules
    listed = "".join(text for text in texts if looks_listed(text))
    if listed:
        observed: Observed = observe_listing(listed, "saved rules", others=_beside(texts, ipsets))
        compiler = Compiler(cluster, calico_version, "nftables")
    else:
        tables, sets, leaves_open, missing = _split(texts, ipsets)
        observed = observe_saved(tables, sets, "saved rules", leaves_open=leaves_open, not_given=missing)
        compiler = Compiler(cluster, calico_version)
    return compare(observed, Node(name=name, compiler=compiler, host=host or Host(), settings=settings))


def _beside(texts: Sequence[str], ipsets: str | None) -> Mapping[str, Dump]:
    """The iptables rules that were given together with an nft listing, in the same text or in others."""
    from felixpy.iptables.forms import read_dump, split_saved
    from felixpy.nftables.reading import looks_listed

    if all(looks_listed(text) and not split_saved(text).rules for text in texts):
        if ipsets is not None:
            raise UsageError("ipsets: what nft lists has its sets in it; these are of rules that were not given")
        return {}
    tables, sets, leaves_open, _ = _split(texts, ipsets)
    return {"iptables": read_dump(tables, sets, leaves_open)}


def _split(
    texts: Sequence[str], ipsets: str | None
) -> tuple[dict[int, str], str | None, tuple[str, ...], Mapping[int, Sequence[str]]]:
    """Rules by family, sets, what the input forms leave out, and tables that were not given."""
    from felixpy.iptables.forms import not_given, split_saved, words_of_missing

    tables: dict[int, str] = {}
    sets: list[str] = []
    leaves_open: dict[str, None] = {}
    missing: dict[int, Sequence[str]] = {}
    for text in texts:
        found = split_saved(text)
        for family, rules in found.rules.items():
            if family in tables:
                raise UsageError(f"rules: there are two texts of IPv{family}")
            tables[family] = rules
        sets += [found.sets] if found.sets is not None else []
        leaves_open.update(dict.fromkeys(found.leaves_open))
        missing.update(not_given(found.tables, found.listed))
    if not tables:
        raise UsageError("rules: there is no table in it; give what iptables-save prints")
    if ipsets is not None:
        given = split_saved(ipsets).sets
        if given is None and ipsets.strip():
            raise UsageError("ipsets: there is no set in it; give what ipset save prints")
        sets = [given or ""]
    leaves_open.update((words_of_missing(family, names), None) for family, names in missing.items())
    return tables, "".join(sets) if sets else None, tuple(leaves_open), missing


def lint(
    cluster: Cluster,
    *,
    select: Iterable[str] = (),
    extend_select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    public_ports: Sequence[int] = (),
    settings: Sequence[Setting] = (),
    calico_version: CalicoVersion = V3_32,
) -> Run:
    """Find what is probably wrong in policies that are valid; the findings are ``failures`` of the run.

    `select`, `extend_select` and `ignore` are codes of checks or their beginnings, `public_ports` the TCP ports that
    the internet may reach, which switches FX113 on.

    Raises UsageError for an unknown code.
    """
    from felixpy.linting import LintOptions, choose
    from felixpy.linting import lint as find

    extended = [*extend_select, *(["FX113"] if public_ports else [])]
    options = LintOptions(public_ports=tuple(sorted(set(public_ports)))) if public_ports else LintOptions()
    checks = choose(_listed(select), extended, _listed(ignore))
    return find(cluster, checks=checks, calico_version=calico_version, settings=settings, options=options)


def _listed(codes: Iterable[str]) -> list[str]:
    return [codes] if isinstance(codes, str) else [*codes]


def _nodes(
    cluster: Cluster,
    calico_version: CalicoVersion,
    dataplane: str | None,
    settings: Sequence[Setting],
    hosts: Mapping[str, Host] | None = None,
) -> Nodes:
    """The nodes of a cluster. Raises UsageError if `hosts` names a node that the cluster does not have."""
    from felixpy.tracing import Nodes

    for name in hosts or ():
        if name not in cluster.node_names():
            raise UsageError(unknown_node(name, cluster.node_names()))
    return Nodes(Compiler(cluster, calico_version, dataplane), hosts=hosts, settings=settings)
