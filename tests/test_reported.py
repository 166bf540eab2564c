"""Inputs after bug reports of other projects, and what is right about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from felixpy.cli import run

REPORTS = Path(__file__).parents[1] / "fixtures" / "reports"

TRACES = [
    # calico#5129: a policy about a ClusterIP never matches, as packets are redirected before policies see them.
    ("clusterip-nets", "app/c 10.96.139.205:80", "DENIED", "see the endpoint and its port, not 10.96.139.205:80"),
    # calico#8632: etcd's port is a failsafe port, accepted before the policy that denies it.
    ("failsafe-beats-deny-etcd", "192.0.2.53 host:2379", "ALLOWED", "by a failsafe port, which no policy closes"),
    ("failsafe-beats-deny-etcd", "192.0.2.53 host:8080", "DENIED", "by the end of tier default"),
    # A port of the node leads to a pod before any policy is asked, as a floating address does.
    ("hostport-fip", "internet 192.0.2.11:80", "DENIED", "host port 80/tcp of n1 → port 8080 of the pod"),
    ("hostport-fip", "internet 203.0.113.50:8080", "DENIED", "-j DNAT --to-destination 10.244.0.5"),
    # calico#8948: the destination of an ingress rule is the pod itself, so the denial never matches.
    ("ingress-dst-selector", "d/b d/a:80", "ALLOWED", "by GlobalNetworkPolicy allow-all (tier default)"),
    # A node without a BGP address has its InternalIP (felixnodeprocessor.go): packets to it are for the node itself.
    ("internalip", "app/c 192.0.2.11:10250", "DENIED", "by DefaultEndpointToHostAction"),
    ("internalip", "app/c 192.0.2.12:10250", "ALLOWED", "n2: in by eth0, for the node itself"),
    ("internalip", "192.0.2.11 app/c:80", "ALLOWED", "by the node itself, which always reaches its own pods"),
    # calico#734: a host endpoint that no policy of ingress selects drops everything but failsafe ports, here none.
    ("lockout", "internet host:22", "DENIED", "by having no profile that allows it"),
    # calico#3379: preDNAT policies see the packet as it came, and deny nothing at the end of their tier.
    ("prednat-hep", "internet 203.0.113.149:80 --dnat web/w:8080", "DENIED", "deny-lb-port-80"),
    ("prednat-hep", "internet 203.0.113.149:81 --dnat web/w:8080", "ALLOWED", "where no policy decided"),
    # A rule about a Service is about its endpoints, which is what a packet to the ClusterIP carries.
    ("svc-match", "app/c 172.31.0.1:443 --set DefaultEndpointToHostAction=ACCEPT", "ALLOWED", "allow-apiserver"),
    ("svc-match", "app/c 10.3.3.3:443", "DENIED", "by the end of tier default"),
    # calico#2279: what pods send to their node is no business of a host endpoint with an interface.
    ("wl-to-host", "app/c host:22", "ALLOWED", "by the profile of namespace app"),
    ("wl-to-host", "internet host:22", "ALLOWED", "by a failsafe port, which no policy closes"),
    ("wl-to-host", "internet host:23", "ALLOWED", "by GlobalNetworkPolicy block-ssh"),
]


@pytest.mark.parametrize("name, words, verdict, says", TRACES, ids=lambda value: str(value)[:40])
def test_traces(name: str, words: str, verdict: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", *words.split(), str(REPORTS / f"{name}.yaml")]) == 0
    out = capsys.readouterr().out
    assert out.startswith(verdict)
    assert says in out


@pytest.mark.parametrize(
    "name, code, says",
    [
        ("clusterip-nets", "FX111", "may send, but not to a DNS server"),
        ("failsafe-beats-deny-etcd", "FX144", "TCP 2379 stays open on n1"),
        ("ingress-dst-selector", "FX126", "does not match the only pod that the policy applies to"),
        ("lockout", "FX143", "locks the node out: SSH (TCP 22) into n1"),
        ("wl-to-host", "FX144", "TCP 22 stays open on n1"),
    ],
)
def test_what_lint_says(name: str, code: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["lint", "--select", code, str(REPORTS / f"{name}.yaml")])
    assert says in capsys.readouterr().out
