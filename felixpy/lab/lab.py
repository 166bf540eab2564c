"""A lab: brought up for a cluster and kept in step with it, asked who reaches whom, and taken down.

In every step a pod is wired only when its node's rules are in force, and a file tells that something is unfinished.
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
    """What bringing a lab in step took. `changed` has what was written, by node."""

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
        """Whether nothing had to be done, and nothing else is known by now."""
        told = (self.pods_added, self.pods_removed, self.policies_added, self.policies_removed)
        return not (self.fresh or self.rewired or self.changed or self.restarted or any(told))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabOptions:
    """How a lab is made: one node or all, tools, Calico version and parameters of Felix, and what machines look like.

    `backend` is the kind of iptables, `dataplane` that of all nodes, None if the cluster decides on each. `inputs` is
    what is to be remembered of where the cluster came from.
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
    """Raises EnvironmentMissing for everybody else."""
    if os.geteuid():
        raise EnvironmentMissing("a lab is made of network namespaces, which only root may handle; try sudo")


class Lab:
    """A lab that is up. `report` tells what that took; a lab that was found has none.

    As a context manager it goes down at the end. It holds nothing open: any number of these may speak of one lab.
    """

    def __init__(self, found: LabState, options: LabOptions, report: LabReport | None = None) -> None:
        self.state, self.options, self.report = found, options, report
        self._served: set[Item] = set()

    @classmethod
    def up(cls, cluster: Cluster, name: str = DEFAULT_NAME, options: LabOptions | None = None) -> Self:
        """Bring a lab up, or in step if it is there: its pods, its wires, and the policy of all of its nodes.

        Raises InputError and UsageError for a cluster that cannot be a lab, EnvironmentMissing and KernelRefused for a
        machine that cannot have one. A new lab is then gone again; one that was there keeps the policy it had.
        """
        options = options or LabOptions()
        return cls(*_bring(cluster, name, options))

    @classmethod
    def find(cls, name: str = DEFAULT_NAME) -> Self:
        """The lab of that name, to ask it things; `up` changes it. Raises EnvironmentMissing if it is not up."""
        require_root()
        check_name(name)
        found = state.read(name)
        if state.exists(name) and not (found and found.finished):
            # Perhaps somebody is just about to finish it.
            with state.locked():
                found = state.read(name)
        if found and found.finished:
            inputs = found.inputs
            plane = inputs.dataplane or None
            return cls(found, LabOptions(node=inputs.node, backend=found.backend, inputs=inputs, dataplane=plane))
        if state.exists(name):
            raise EnvironmentMissing(f"lab {name} is incomplete; felixpy lab up makes it anew, down clears it")
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
        """Bring the lab in step with another cluster; raises as `up` does."""
        self.state, _, report = _bring(cluster, self.name, self.options)
        self.report = report
        self._served.clear()
        return report

    def down(self) -> None:
        """Take the lab down; nothing of it stays."""
        take_down(self.name)

    # --- questions

    def flow(self, source: str, target: str | Target, *, family: int | None = None, namespace: str = "") -> LabFlow:
        """What `probe_many` takes, from names as `felixpy trace` takes them. Raises UsageError for unknown ones."""
        return flow_of(self.layout, source, target, family=family, namespace=namespace)

    def space(self, endpoint: str, *, namespace: str = "") -> str:
        """The network namespace in which a endpoint is. Raises UsageError as `flow`."""
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
        """Try one connection; without a port an echo request."""
        return self.probe_many([self.flow(source, Target(destination, port, protocol), family=family)])[0]

    def probe_many(self, flows: Iterable[LabFlow]) -> list[ProbeOutcome]:
        """Try connections at the same time; outcomes in their order.

        Raises EnvironmentMissing for a lab whose responder is gone, and for protocols that this kernel does not know.
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
    """Remove a lab, whatever state it is in; False if there is none."""
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
    """The lab as it is. One that was left unfinished is cleared away first; the second value tells that."""
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
    """Do whatever it takes, in the order that never lets a packet past the policy."""
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
    """Whether it had to be started."""
    if serving.is_running(name):
        return False
    serving.start(name, lock)
    return True


def _change(old: LabState | None, layout: LabLayout) -> TopologyChange:
    """From what is really there to what shall be. Halves of pairs that somebody took apart have to go as well."""
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
    """The policy of each node; one in which nothing was written is as old as it was."""
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
