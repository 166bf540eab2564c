"""A lab: started for a cluster, updated with it, probed, and removed.

A pod is connected only when its node's rules are in force, and a file records that a change is unfinished.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from felixpy.calico_versions import V3_32, CalicoVersion
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.dataplane.tools import LOCK_SECONDS
from felixpy.errors import EnvironmentMissing
from felixpy.lab import probing, serving, state, wiring
from felixpy.lab.enforcing import (
    AUTO,
    Enforced,
    EnforcedRules,
    choose_backend,
    compile_nodes,
    enforce,
    summaries,
)
from felixpy.lab.flows import LabFlow, endpoint_of, flow_of
from felixpy.lab.layout import DEFAULT_NAME, LabLayout, check_name, layout_of
from felixpy.lab.probing import ProbeOutcome
from felixpy.lab.responder import Item
from felixpy.lab.state import InForce, Inputs, LabState
from felixpy.lab.topology import Topology, TopologyChange, difference, present, topology_of, without_pods
from felixpy.model import Cluster, Host
from felixpy.topology.question import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class LabReport:
    """What starting or updating a lab changed; `changed` is what was written, by node."""

    fresh: bool
    recovered: bool
    pods_added: tuple[str, ...]
    pods_removed: tuple[str, ...]
    rewired: bool
    policies_added: tuple[str, ...]
    policies_removed: tuple[str, ...]
    changed: Mapping[str, str]
    remarks: tuple[str, ...]
    restarted: bool

    @property
    def empty(self) -> bool:
        """Whether nothing was changed, neither in namespaces nor in the list of policies."""
        told = (self.pods_added, self.pods_removed, self.policies_added, self.policies_removed)
        return not (self.fresh or self.rewired or self.changed or self.restarted or any(told))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabOptions:
    """How a lab is made: one node or all, tools, Calico version and parameters of Felix, interfaces of nodes.

    `backend` is the kind of iptables, `dataplane` that of all nodes, None if the cluster decides for each. `inputs` are
    the options from which later commands read the cluster again.
    """

    node: str = ""
    backend: str = AUTO
    calico_version: CalicoVersion = V3_32
    settings: Sequence[Setting] = ()
    hosts: Mapping[str, Host] | None = None
    inputs: Inputs = field(default_factory=Inputs)
    dataplane: str | None = None
    wait: int = LOCK_SECONDS


def require_root() -> None:
    """Raise EnvironmentMissing unless this process is root."""
    if os.geteuid():
        raise EnvironmentMissing("a lab is made of network namespaces, which only root may handle; try sudo")


class Lab:
    """A running lab. `report` is what `up` changed; a lab that was found has none.

    As a context manager it removes the lab at the end. It holds no resources: several instances may refer to one lab.
    """

    def __init__(self, found: LabState, options: LabOptions, report: LabReport | None = None) -> None:
        self.state, self.options, self.report = found, options, report
        self._served: set[Item] = set()

    @classmethod
    def up(cls, cluster: Cluster, name: str = DEFAULT_NAME, options: LabOptions | None = None) -> Self:
        """Start a lab, or update a running one: its pods, its connections, and the policies of all of its nodes.

        Raises InputError and UsageError for a cluster that cannot be built, EnvironmentMissing and KernelRefused for
        failures of this machine. After a failure a new lab is removed again; a running one keeps its policies.
        """
        options = options or LabOptions()
        return cls(*_bring(cluster, name, options))

    @classmethod
    def find(cls, name: str = DEFAULT_NAME) -> Self:
        """The running lab of that name. Raises EnvironmentMissing if it is not running."""
        require_root()
        check_name(name)
        found = state.read(name)
        if state.exists(name) and not (found and found.finished):
            # Another process may be about to finish it.
            with state.locked():
                found = state.read(name)
        if found and found.finished:
            inputs = found.inputs
            plane = inputs.dataplane or None
            return cls(found, LabOptions(node=inputs.node, backend=found.backend, inputs=inputs, dataplane=plane))
        if state.exists(name):
            raise EnvironmentMissing(f"lab {name} is incomplete; felixpy lab up rebuilds it, down removes it")
        others = state.known()
        there = f"; there is {', '.join(others)} (--name)" if others else ""
        raise EnvironmentMissing(f"lab {name} is not up; felixpy lab up brings it up{there}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def layout(self) -> LabLayout:
        return self.state.layout

    def update(self, cluster: Cluster) -> LabReport:
        """Update the lab to another cluster; raises what `up` raises."""
        self.state, _, report = _bring(cluster, self.name, self.options)
        self.report = report
        self._served.clear()
        return report

    def down(self) -> None:
        """Remove the lab."""
        take_down(self.name)

    # --- questions

    def flow(self, source: str, target: str | Target, *, family: int | None = None, namespace: str = "") -> LabFlow:
        """A flow for `probe_many`, from names as in `felixpy trace`. Raises UsageError for unknown ones."""
        return flow_of(self.layout, source, target, family=family, namespace=namespace)

    def space(self, endpoint: str, *, namespace: str = "") -> str:
        """The network namespace of an endpoint. Raises UsageError as `flow`."""
        return self.layout.space(endpoint_of(self.layout, endpoint, namespace=namespace))

    def probe(
        self,
        source: str,
        destination: str,
        port: int | str | None = None,
        protocol: str = "",
        *,
        family: int | None = None,
    ) -> ProbeOutcome:
        """Try one connection; without a port an ICMP echo request."""
        return self.probe_many([self.flow(source, Target(destination, port, protocol), family=family)])[0]

    def probe_many(self, flows: Iterable[LabFlow]) -> list[ProbeOutcome]:
        """Try connections in parallel; returns the outcomes in the same order.

        Raises EnvironmentMissing for a lab without a running responder, and for protocols that this kernel lacks.
        """
        flows = list(flows)
        probing.check({flow.protocol for flow in flows}, {flow.family for flow in flows})
        wanted = {
            (flow.destination_netns, flow.protocol, flow.port): flow.destination.name for flow in flows if flow.port
        }
        missing = wanted.keys() - self._served
        serving.serve(
            self.name, [(netns, wanted[netns, protocol, port], protocol, port) for netns, protocol, port in missing]
        )
        self._served |= wanted.keys()
        with wiring.explained(f"lab {self.name}"):
            return probing.probe(flows, lambda: serving.settle(self.name))


def take_down(name: str) -> bool:
    """Remove a lab in any state; return False if there is none."""
    require_root()
    check_name(name)
    with state.locked():
        if not state.exists(name):
            return False
        _sweep(name)
    return True


def _sweep(name: str) -> None:
    serving.stop(name)
    wiring.remove(wiring.existing(name))
    state.forget(name)


def _bring(cluster: Cluster, name: str, options: LabOptions) -> tuple[LabState, LabOptions, LabReport]:
    require_root()
    check_name(name)
    with state.locked() as lock:
        old, recovered = _found(name)
        home = old.layout.home.name if old else ""
        layout = layout_of(cluster, name, node=options.node, home=home, hosts=options.hosts)
        nodes = compile_nodes(Compiler(cluster, options.calico_version, options.dataplane), layout, options.settings)
        try:
            new, report = _in_step(old, layout, nodes, cluster, options, lock)
        except BaseException:
            if old is None:
                _sweep(name)
            raise
    return new, options, replace(report, recovered=recovered)


def _found(name: str) -> tuple[LabState | None, bool]:
    """The state of a lab, and whether an unfinished one was removed first (its state is then None)."""
    old = state.read(name)
    if old and old.finished:
        return old, False
    if state.exists(name):
        _sweep(name)
        return None, True
    if strangers := wiring.existing(name):
        raise EnvironmentMissing(
            f"network namespace {strangers[0]} is there and belongs to no lab; choose another --name, "
            f"or remove it (ip netns delete {strangers[0]})"
        )
    return None, False


def _in_step(
    old: LabState | None,
    layout: LabLayout,
    nodes: Sequence[EnforcedRules],
    cluster: Cluster,
    options: LabOptions,
    lock: int,
) -> tuple[LabState, LabReport]:
    """Change a lab to a layout, in an order in which no packet bypasses the policies."""
    change = _change(old, layout)
    backend = options.backend if options.backend != AUTO else old.backend if old else ""
    policies = tuple(sorted(str(policy.key) for policy in cluster.policies))
    goal = LabState(layout=layout, backend=backend, inputs=options.inputs, finished=False, policies=policies)
    rewired = not (change.gone.empty and change.new.empty)
    if rewired:
        state.write(goal)
    with ExitStack() as stack:
        starting = stack.enter_context(ThreadPoolExecutor(1)).submit(_have_responder, layout.name, lock)
        if old:
            starting.result()
            if rewired:
                serving.leave(layout.name, {space.netns for part in change for space in part.spaces})
                wiring.demolish(change.gone)
        first = without_pods(change.new, layout)
        wiring.build(first)
        backend = backend or choose_backend(layout)
        before = {row.node: row.backend for row in old.enforced} if old else {}
        done = enforce(nodes, backend, before, options.wait)
        wiring.build(change.new.without(first))
        restarted = starting.result() and old is not None
    serving.serve(
        layout.name,
        ((pod.netns, pod.key, protocol, port) for pod in layout.built_pods for protocol, port in pod.serves),
    )
    new = replace(goal, backend=backend, finished=True, enforced=_in_force(old, done))
    state.write(new)
    return new, _report(old, new, done, rewired=rewired, restarted=restarted)


def _have_responder(name: str, lock: int) -> bool:
    """Start the responder if it is not running; return whether it was started."""
    if serving.is_running(name):
        return False
    serving.start(name, lock)
    return True


def _change(old: LabState | None, layout: LabLayout) -> TopologyChange:
    """The change from what actually exists to the layout; broken veth pairs are removed, too."""
    after = topology_of(layout)
    if old is None:
        return difference(Topology(), after)
    known = topology_of(old.layout)
    routers = {node.netns for node in old.layout.built_nodes} | {old.layout.outside}
    links = wiring.links(wiring.existing(layout.name), routers)
    before = present(known, links)
    change = difference(before, after)
    halves = {veth for veth in known.veths - before.veths if veth.far.name in links.get(veth.far.netns, ())}
    return change._replace(gone=change.gone._replace(veths=change.gone.veths | halves))


def _in_force(old: LabState | None, done: Iterable[Enforced]) -> tuple[InForce, ...]:
    """The policies in force on each node; unchanged nodes keep their time."""
    known = {row.node: row.since for row in old.enforced} if old else {}
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return tuple(
        InForce(
            node=one.rules.node.name,
            backend=one.backend,
            rules=one.rules.rules,
            sets=len(one.rules.ruleset.sets),
            since=now if one.summary else known.get(one.rules.node.name, now),
        )
        for one in done
    )


def _report(
    old: LabState | None, new: LabState, done: Sequence[Enforced], *, rewired: bool, restarted: bool
) -> LabReport:
    before = {pod.key for pod in old.layout.pods} if old else set()
    after = {pod.key for pod in new.layout.pods}
    policies = set(old.policies) if old else set()
    return LabReport(
        fresh=old is None,
        recovered=False,
        pods_added=tuple(sorted(after - before)),
        pods_removed=tuple(sorted(before - after)),
        rewired=rewired,
        policies_added=tuple(sorted(set(new.policies) - policies)),
        policies_removed=tuple(sorted(policies - set(new.policies))),
        changed=summaries(done),
        remarks=tuple(remark for one in done for remark in one.remarks),
        restarted=restarted,
    )
