"""Labs on a real kernel: packets go where the policy lets them, and nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pyroute2 import IPRoute, netns

from felixpy.dataplane.enforcer import Enforcer
from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.kernel import open_machine
from felixpy.lab import Lab, LabOptions, serving, state, take_down, wiring
from felixpy.lab import lab as lab_module
from felixpy.lab.probing import ANSWERED, REJECTED, TIMED_OUT
from felixpy.lab.tables import ask, text
from felixpy.lab.topology import LinkRoute, Space, Topology, Veth, VethEnd
from felixpy.model import Cluster, PortRange, Rule, Side
from tests.clusters import cluster, node, pod, policy, pool
from tests.netns.enforcing import EVERY_BACKEND
from tests.netns.labs import connected, left_of, new_name, options, page, places, run, said_back
from tests.netns.namespace import BACKENDS

pytestmark = pytest.mark.netns

EACH_BACKEND = pytest.mark.parametrize("backend", EVERY_BACKEND)


@pytest.fixture(autouse=True)
def folder(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with places(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def name(folder: Path) -> str:
    return new_name()


CLIENT = pod("w1", "10.65.0.1", "fd00:65::1", labels={"role": "client"})
SERVER = pod("w2", "10.65.0.2", "fd00:65::2", labels={"app": "server"}, serves=(("tcp", 8080),))
FAR = pod("far", "10.65.1.1", "fd00:65:1::1", node="node2")
TO_SERVER = policy(
    "server",
    selector="app == 'server'",
    ingress=[
        Rule(
            action="allow",
            protocol="tcp",
            source=Side(selector="role == 'client'"),
            destination=Side(ports=(PortRange(8080, 8080),)),
        )
    ],
)
NODES = (node(bgp_v4="192.0.2.1/24", bgp_v6="fd00:192::1/64"), node("node2", bgp_v4="192.0.2.2/24"))
POOLS = (pool("10.65.0.0/16", nat_outgoing=True), pool("fd00:65::/32", nat_outgoing=True))
SHOP = cluster(CLIENT, SERVER, FAR, TO_SERVER, *NODES, *POOLS)
STRANGER = cluster(replace(CLIENT, labels={}), SERVER, FAR, TO_SERVER, *NODES, *POOLS)

# --- who gets through

CELLS = [
    ("default/w1", "default/w2:8080", ANSWERED),
    ("default/w1", "default/w2:9090", TIMED_OUT),
    ("default/w1", "default/w2:8080/udp", TIMED_OUT),
    ("default/w1", "default/w2:8080/sctp", TIMED_OUT),
    ("default/w1", "default/w2", TIMED_OUT),
    ("default/w2", "default/w1:9090", ANSWERED),
    ("default/w2", "default/w1:53/udp", ANSWERED),
    ("default/w2", "default/w1:99/sctp", ANSWERED),
    ("default/w2", "default/w1", ANSWERED),
    ("default/w2", "default/w2:9090", ANSWERED),  # to itself no packet leaves the pod
    ("default/far", "default/w1:9090", ANSWERED),
    ("default/far", "default/w2:8080", TIMED_OUT),
    ("default/w1", "default/far:53/udp", ANSWERED),
    ("host:node1", "default/w2:9090", ANSWERED),  # a host reaches its own pods always
    ("host:node2", "default/w2:8080", TIMED_OUT),
    ("default/w1", "host:node1:8080", TIMED_OUT),  # DefaultEndpointToHostAction
    ("default/w1", "host:node2:8080", ANSWERED),
    ("internet", "default/w1:9090", ANSWERED),
    ("internet", "default/w2:8080", TIMED_OUT),
    ("default/w1", "internet:443", ANSWERED),
    ("default/w1", "internet:53/udp", ANSWERED),
    ("default/w1", "internet:99/sctp", ANSWERED),
    ("default/w1", "internet", ANSWERED),
]


@EACH_BACKEND
def test_packets_go_where_the_policy_lets_them(backend: str, name: str, subtests: pytest.Subtests) -> None:
    with Lab.up(SHOP, name, options(backend)) as lab:
        flows = [lab.flow(source, target, family=family) for family in (6, 4) for source, target, _ in CELLS]
        for flow, outcome, (*_, expected) in zip(flows, lab.probe_many(flows), CELLS * 2, strict=True):
            with subtests.test(f"{flow.source.name} to {flow.destination.name} {flow.service} IPv{flow.family}"):
                assert outcome == expected
        with subtests.test("what a pod sees of who calls"):
            assert page(lab, "default/w1", "10.65.0.2", 8080) == "default/w2 tcp/8080 answers 10.65.0.1\n"
            assert page(lab, "default/w1", "198.51.100.7", 443).endswith("answers 192.0.2.1\n")
            assert page(lab, "default/w1", "2001:db8:ffff::7", 443).endswith("answers fd00:192::1\n")
        with subtests.test("interface that no endpoint has"):
            add_unknown_pod(lab)
            for source, address, port in (
                (f"{name}.x.w3", "10.65.0.1", 9090),
                (lab.space("default/w1"), "10.65.0.3", 9),
            ):
                with open_machine(source) as machine, pytest.raises(TimeoutError):
                    machine.inside(lambda: socket.create_connection((address, port), 0.3))  # noqa: B023
        with subtests.test("spoofed source"):
            assert not dropped_by_rpfilter(lab, backend)
            with pytest.raises(TimeoutError), connected(lab, "default/w1", "10.65.0.2", 8080, spoofed="10.65.0.77"):
                pass
            assert dropped_by_rpfilter(lab, backend)


def add_unknown_pod(lab: Lab) -> None:
    """A pod like others as far as the kernel is concerned, of which the rules do not know."""
    there = f"{lab.name}.x.w3"
    sysctls = (("net/ipv4/conf/caliw3/proxy_arp", "1"), ("net/ipv4/neigh/caliw3/proxy_delay", "0"))
    pair = Veth(VethEnd(there, "eth0", ("10.65.0.3/32",)), VethEnd(lab.name, "caliw3", sysctls=sysctls))
    routes = (
        LinkRoute(there, "169.254.1.1/32", "eth0"),
        LinkRoute(there, "0.0.0.0/0", "eth0", "169.254.1.1"),
        LinkRoute(lab.name, "10.65.0.3/32", "caliw3"),
    )
    wiring.build(Topology((Space(there, ()),), frozenset([pair]), frozenset(routes)))


def dropped_by_rpfilter(lab: Lab, backend: str) -> int:
    """How many packets had a source that does not belong to the interface that they came from."""
    if backend == "nftables":
        listing = run(lab, "host:node1", "nft", "list", "table", "ip", "calico")
        [counter] = re.findall(r"(?m)fib saddr \. mark \. iif oif 0 counter packets (\d+) bytes \d+ drop", listing)
        return int(counter)
    save = run(lab, "host:node1", f"iptables-{backend}-save", "-c", "-t", "raw")
    [counter] = re.findall(r"(?m)^\[(\d+):\d+\] .* -m rpfilter .* -j DROP$", save)
    return int(counter)


@EACH_BACKEND
def test_a_connection_that_stands_outlives_the_policy_until_it_is_forgotten(backend: str, name: str) -> None:
    with Lab.up(SHOP, name, options(backend)) as lab:
        with connected(lab, "default/w1", "10.65.0.2", 8080) as connection:
            assert said_back(connection, b"before") == b"before"
            assert lab.update(STRANGER).changed
            assert lab.probe("default/w1", "default/w2", 8080) == TIMED_OUT
            assert said_back(connection, b"after") == b"after"
            run(lab, "host:node1", "conntrack", "--family", "ipv4", "--delete", "--orig-src", "10.65.0.1")
            with pytest.raises(TimeoutError):
                said_back(connection, b"forgotten")
        lab.update(SHOP)
        assert lab.probe("default/w1", "default/w2", 8080) == ANSWERED


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_rejected_is_told_from_what_is_dropped(backend: str, name: str) -> None:
    with Lab.up(cluster(CLIENT, SERVER, node()), name, options(backend)) as lab:
        for program in ("iptables", "ip6tables"):
            run(lab, "host", f"{program}-{backend}", "-I", "FORWARD", "-o", "caliw2", "-j", "REJECT")
        services = [("tcp", 9090), ("udp", 53), ("sctp", 99), ("icmp", 0)]
        for table in (*ask(lab, services), *ask(lab, services, family=6)):
            assert table.cells["default/w1", "default/w2"] == REJECTED
            # What w2 asks passes, but not the answer: only a connection that stands is let back to it.
            assert table.cells["default/w2", "default/w1"] == TIMED_OUT
            assert table.allowed == 2


def test_of_a_single_node_the_others_are_outside(name: str) -> None:
    with Lab.up(SHOP, name, LabOptions(node="node1")) as lab:
        assert set(wiring.existing(name)) == {name, f"{name}.outside", f"{name}.default.w1", f"{name}.default.w2"}
        assert lab.space("default/far") == lab.space("host:node2") == lab.space("internet") == f"{name}.outside"
        targets = ["default/far:53/udp", "host:node2:22", "203.0.113.9:1", "10.65.9.9:1"]
        sent = [lab.flow("default/w1", target) for target in targets]
        came = [lab.flow(source, "default/w1:9090") for source in ("default/far", "host:node2", "203.0.113.9")]
        answers = [outcome.allowed for outcome in lab.probe_many([*sent, *came])]
        assert answers == [True, True, True, False, True, True, True]


def test_a_table_of_everybody(name: str) -> None:
    with Lab.up(SHOP, name) as lab:
        [table] = ask(lab, more=["internet"])
        assert list(text(table)) == [
            "tcp/8080 over IPv4: 14 of 16 allowed (rows send, columns receive)",
            "               1 2 3 4",
            "1  default/far . . X .",
            "2  default/w1  . . . .",
            "3  default/w2  . . . .",
            "4  internet    . . X .",
        ]


# --- up, again and otherwise


def test_a_second_up_changes_nothing_and_a_third_what_is_new(name: str, folder: Path) -> None:
    lab = Lab.up(SHOP, name)
    assert lab.report
    assert lab.report.fresh
    before = state.read(name)
    again = lab.update(SHOP)
    assert again.empty
    assert state.read(name) == before
    more = pod("w4", "10.65.0.4", serves=(("udp", 53),))
    report = lab.update(cluster(CLIENT, SERVER, more, *NODES, *POOLS))
    assert (report.pods_added, report.pods_removed) == (("default/w4",), ("default/far",))
    assert report.policies_removed == ("GlobalNetworkPolicy server",)
    assert lab.probe("default/w4", "default/w2", 1).allowed
    assert (f"{name}.default.w4", "udp", 53) in serving.served(name)
    assert f"{name}.default.far" not in wiring.existing(name)
    found = Lab.find(name)
    assert found.probe("internet", "default/w4", 53, "udp").allowed
    found.down()
    assert left_of(name, folder) == []


def test_a_pod_may_move_and_change_its_address(name: str) -> None:
    with Lab.up(SHOP, name) as lab:
        moved = replace(SERVER, node="node2", addresses=("10.65.9.2",))
        lab.update(cluster(CLIENT, moved, FAR, TO_SERVER, *NODES, *POOLS))
        assert lab.probe("default/w1", "default/w2", 8080) == ANSWERED
        assert lab.probe("default/far", "default/w2", 8080) == TIMED_OUT
        assert not lab.probe("default/w1", "10.65.0.2", 8080).allowed


def test_two_labs_know_nothing_of_each_other(name: str, folder: Path) -> None:
    other = f"{name}-b"
    with Lab.up(SHOP, name) as first:
        with Lab.up(STRANGER, other, LabOptions(backend="nft")) as second:
            assert state.known() == [name, other]
            answers = [lab.probe("default/w1", "default/w2", 8080) for lab in (first, second)]
            assert answers == [ANSWERED, TIMED_OUT]
        assert left_of(other, folder) == []
        assert first.probe("default/w1", "default/w2", 8080) == ANSWERED


def test_another_backend_takes_over(name: str) -> None:
    with Lab.up(SHOP, name, LabOptions(backend="legacy")):
        lab = Lab.up(SHOP, name, LabOptions(backend="nft"))
        assert "cali" not in run(lab, "host:node1", "iptables-legacy-save")
        assert "cali-FORWARD" in run(lab, "host:node1", "iptables-nft-save")
        assert lab.probe("default/w1", "default/w2", 9090) == TIMED_OUT
        assert Lab.up(SHOP, name).state.backend == "nft"


def test_another_data_plane_takes_over(name: str) -> None:
    with Lab.up(SHOP, name, options("nft")):
        lab = Lab.up(SHOP, name, options("nftables"))
        assert "cali" not in run(lab, "host:node1", "iptables-nft-save")
        assert "filter-cali-FORWARD" in run(lab, "host:node1", "nft", "list", "table", "ip", "calico")
        assert lab.probe("default/w1", "default/w2", 9090) == TIMED_OUT
        assert {row.backend for row in lab.state.enforced} == {"nftables"}
        assert {row.backend for row in Lab.find(name).state.enforced} == {"nftables"}
        back = Lab.up(SHOP, name, options("legacy"))
        assert "calico" not in run(back, "host:node1", "nft", "list", "tables")
        assert back.probe("default/w1", "default/w2", 8080) == ANSWERED


# --- damage


def delete_link(space: str, link: str) -> None:
    with open_machine(space) as machine:

        def delete() -> None:
            with IPRoute() as netlink:
                netlink.link("del", index=socket.if_nametoindex(link))

        machine.inside(delete)


def break_file(name: str) -> None:
    Path(os.environ["FELIXPY_LAB_DIR"], f"{name}.json").write_text("{")


DAMAGES: dict[str, Callable[[str], None]] = {
    "pod gone": lambda name: netns.remove(f"{name}.default.w2"),
    "node gone": netns.remove,
    "outside gone": lambda name: netns.remove(f"{name}.outside"),
    "interface of a pod gone": lambda name: delete_link(name, "caliw2"),
    "uplink gone": lambda name: delete_link(name, "eth0"),
    "responder gone": serving.stop,
    "file broken": break_file,
}


def test_damage_is_repaired(name: str, subtests: pytest.Subtests) -> None:
    lab = Lab.up(SHOP, name)
    asked = [("default/w1", "default/w2:8080"), ("default/far", "default/w1:9090"), ("internet", "default/far")]
    for what, damage in DAMAGES.items():
        with subtests.test(what):
            damage(name)
            assert not lab.update(SHOP).empty
            assert lab.update(SHOP).empty
            assert lab.probe_many([lab.flow(*words) for words in asked]) == [ANSWERED] * 3
            assert lab.probe("default/w1", "default/w2", 9090) == TIMED_OUT


def test_without_responder_there_is_one_clear_line(name: str) -> None:
    with Lab.up(SHOP, name) as lab:
        serving.stop(name)
        with pytest.raises(EnvironmentMissing, match=f"nothing answers in lab {name} any more; felixpy lab up starts"):
            lab.probe("default/w1", "default/w2", 8080)


STEPS = {
    "after the file": (wiring, "build"),
    "in the middle of a namespace": (wiring, "_connect"),
    "before any rule": (lab_module, "enforce"),
    "with rules, before pods": (wiring, "_settle"),
    "before something answers": (serving, "serve"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_lab_whose_making_was_killed_is_cleared_by_down(step: str, name: str, folder: Path) -> None:
    """The process is killed as it enters a step; what it had started by then may go on for a moment."""
    module, function = STEPS[step]
    child = os.fork()
    if not child:
        setattr(module, function, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        Lab.up(SHOP, name)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with pytest.raises(EnvironmentMissing, match="is incomplete"):
        Lab.find(name)
    if step == "before any rule":
        lab = Lab.up(SHOP, name)
        assert lab.report
        assert lab.report.recovered
        assert lab.probe("default/w1", "default/w2", 8080) == ANSWERED
    assert take_down(name)
    assert left_of(name, folder) == []
    assert not take_down(name)


def refuse(*_: Any) -> None:
    raise KernelRefused("no")


def test_a_lab_that_cannot_be_made_leaves_nothing(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Enforcer, "apply", refuse)
    with pytest.raises(KernelRefused):
        Lab.up(SHOP, name)
    assert left_of(name, folder) == []


def test_a_policy_that_the_kernel_refuses_leaves_the_old_one(name: str) -> None:
    with Lab.up(SHOP, name) as lab:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Enforcer, "apply", refuse)
            with pytest.raises(KernelRefused):
                lab.update(STRANGER)
        assert Lab.find(name).probe("default/w1", "default/w2", 8080) == ANSWERED


def test_namespaces_of_others_are_left_alone(name: str) -> None:
    for stranger in (name, f"{name}.default.w1"):
        netns.create(stranger)
        try:
            with pytest.raises(
                EnvironmentMissing, match=f"network namespace {stranger} is there and belongs to no lab"
            ):
                Lab.up(SHOP, name)
            assert not take_down(name)
            assert wiring.existing(name) == [stranger]
        finally:
            netns.remove(stranger)


@pytest.mark.parametrize("wrong", [Cluster(), cluster(CLIENT, policy("x", selector="!!"))], ids=["empty", "selector"])
def test_a_cluster_that_cannot_be_a_lab_is_refused_before_anything_is_made(
    wrong: Cluster, name: str, folder: Path
) -> None:
    with pytest.raises((FelixpyError, ValueError)):
        Lab.up(wrong, name)
    assert left_of(name, folder) == []


# --- what answers


def test_everything_that_is_said_comes_back(name: str) -> None:
    with Lab.up(SHOP, name) as lab, connected(lab, "default/w1", "10.65.0.2", 8080) as connection:
        much = os.urandom(1 << 20)
        sender = threading.Thread(target=connection.sendall, args=(much,))
        sender.start()
        back = b""
        while len(back) < len(much):
            back += connection.recv(1 << 16)
        sender.join()
        assert back == much


def test_nothing_is_left_open_in_the_process_that_asks(name: str) -> None:
    def open_things() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    Lab.up(SHOP, name).down()
    before = open_things()
    with Lab.up(SHOP, name) as lab:
        lab.probe_many([lab.flow(source, target) for source, target, _ in CELLS])
        lab.update(STRANGER)
    assert open_things() == before
