"""Objects that install Calico: what they make of Felix, and that every use of them is said."""

from __future__ import annotations

from typing import Any

import pytest

from felixpy.effective import configure
from felixpy.errors import spell
from tests.manifests import CALICO, loaded, manifest, pod, problems
from tests.unit.test_effective import NODE, daemon_set, felix, installation, variable

IPV4, IPV6 = "10.48.0.0/16", "fd00:48::/64"


def pools(*manifests: dict[str, Any]) -> list[tuple[str, str, bool, bool, bool]]:
    return [(each.name, each.cidr, each.nat_outgoing, each.ipip, each.vxlan) for each in loaded(*manifests).pools]


@pytest.mark.parametrize(
    "asked, made",
    [
        ([{"cidr": IPV4}], [("default-ipv4-ippool", IPV4, True, True, False)]),
        ([{"cidr": IPV4, "encapsulation": "None"}], [("default-ipv4-ippool", IPV4, True, False, False)]),
        (
            [{"cidr": IPV4, "encapsulation": "VXLANCrossSubnet", "natOutgoing": "Disabled", "name": "mine"}],
            [("mine", IPV4, False, False, True)],
        ),
        (
            [{"cidr": IPV4, "encapsulation": "VXLAN"}, {"cidr": IPV6}],
            [("default-ipv4-ippool", IPV4, True, False, True), ("default-ipv6-ippool", IPV6, False, False, False)],
        ),
        ([], []),
    ],
)
def test_pools_with_the_operators_defaults(asked: list[dict[str, Any]], made: list[tuple[Any, ...]]) -> None:
    assert pools(installation({"ipPools": asked})) == made


def test_pools_of_the_input_are_left_alone() -> None:
    own = manifest(CALICO, "IPPool", "mine", {"cidr": IPV4, "vxlanMode": "Always"})
    assert pools(own, installation({"ipPools": [{"cidr": IPV4}]})) == [("mine", IPV4, False, False, True)]


def test_what_the_operator_has_computed_counts() -> None:
    computed = {"calicoNetwork": {"ipPools": [{"cidr": IPV4, "encapsulation": "VXLAN"}], "linuxDataplane": "BPF"}}
    cluster = loaded(NODE, installation() | {"status": {"computed": computed}})
    assert [pool.vxlan for pool in cluster.pools] == [True]
    assert configure(cluster, "node1").bpf_enabled


def test_a_bad_pool_is_an_error_at_the_installation() -> None:
    (wrong,) = [
        each for each in problems(installation({"ipPools": [{"cidr": "10.48.0.1/16"}]})) if each.severity == "error"
    ]
    assert wrong.reason == '"10.48.0.1/16": host bits are set'


def test_the_environment_that_the_operator_gives() -> None:
    cluster = loaded(NODE, pod("web"), installation({"ipPools": []}, cni={"type": "AmazonVPC"}))
    found = configure(cluster, "node1")
    assert (found.endpoint_to_host_action, found.mangle_allow_action, found.ipv6) == ("ACCEPT", "RETURN", False)
    assert cluster.workloads[0].interface.startswith("eni")
    seen = loaded(NODE, installation({"ipPools": []}), daemon_set(variable("FELIX_VXLANPORT", "1")))
    assert configure(seen, "node1").endpoint_to_host_action == "DROP"


def test_each_use_is_told_in_one_line() -> None:
    said = {problem.subject: f"{spell(problem.path)}: {problem.reason}" for problem in problems(
        daemon_set(variable("FELIX_DEFAULTENDPOINTTOHOSTACTION", "ACCEPT"), variable("FELIX_HEALTHPORT", "1")),
        installation({"ipPools": [{"cidr": IPV4}]}),
    )}  # fmt: skip
    assert said["DaemonSet kube-system/calico-node"] == (
        "spec.template.spec.containers[0].env: sets DefaultEndpointToHostAction=ACCEPT for Felix, "
        "before every FelixConfiguration"
    )
    assert said["Installation default"] == (
        "spec: the operator makes of it IPPool default-ipv4-ippool (10.48.0.0/16) and NFTablesMode=Disabled"
    )
    assert not any("skipped" in reason for reason in said.values())


@pytest.mark.parametrize(
    "entry, reason, hint",
    [
        (variable("FELIX_LOGPREFX", "x"), "FELIX_LOGPREFX: Felix has no such parameter and ignores it",
         "FELIX_LOGPREFIX was probably meant"),
        (variable("FELIX_IPV6SUPPORT", "flase"), 'FELIX_IPV6SUPPORT: "flase": true or false is expected',
         "Felix takes the default: true"),
        ({"name": "FELIX_VXLANPORT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
         "FELIX_VXLANPORT: its value is not in the input, so the real VXLANPort may differ", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_variable(entry: dict[str, Any], reason: str, hint: str) -> None:
    found = [each for each in problems(daemon_set(entry)) if each.reason == reason]
    assert [(each.hint, each.severity) for each in found] == [(hint, "warning")]


def test_a_value_that_felix_cannot_read_hides_weaker_ones() -> None:
    cluster = loaded(NODE, daemon_set(variable("FELIX_VXLANPORT", "x")), felix(vxlanPort=7))
    assert configure(cluster, "node1").vxlan_port == 4789


def test_without_pools_nothing_is_guessed() -> None:
    said = [problem.reason for problem in problems(installation())]
    assert "names no ipPools; the operator's default pool depends on the cluster, so felixpy assumes none" in said
    assert loaded(installation()).pools == ()


@pytest.mark.parametrize("chosen, severity", [("VPP", "warning"), ("Ebpf", "error")])
def test_data_planes_that_are_not_drawn_or_do_not_exist(chosen: str, severity: str) -> None:
    path = ("spec", "calicoNetwork", "linuxDataplane")
    found = [each for each in problems(installation({"linuxDataplane": chosen, "ipPools": []})) if each.path == path]
    assert [each.severity for each in found] == [severity]
