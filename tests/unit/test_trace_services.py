"""Traces to Services, NodePorts and hostPorts: what is called, who stands behind it, and how that is told."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from felixpy.cli.trace import trace
from felixpy.errors import UsageError
from tests.commands import output_of
from tests.manifests import manifest, told

app = typer.Typer()
app.command("trace")(trace)
run = partial(output_of, app)


def space(name: str) -> dict[str, Any]:
    return manifest("v1", "Namespace", name, labels={"kubernetes.io/metadata.name": name})


def node(name: str, address: str) -> dict[str, Any]:
    return manifest("v1", "Node", name) | {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}


def pod(name: str, node: str, address: str, **more: Any) -> dict[str, Any]:
    ports = [{"containerPort": 9000, "name": "web", **more.pop("port", {})}]
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i", "ports": ports}], **more.pop("spec", {})}
    status = {"phase": "Running", "podIP": address, **more.pop("status", {})}
    labels = {"app": name.partition("-")[0]}
    return manifest("v1", "Pod", name, spec, "shop", labels=labels, **more) | {"status": status}


def service(name: str, **spec: Any) -> dict[str, Any]:
    given = {"clusterIP": "10.96.0.20", "selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": "web"}]}
    return manifest("v1", "Service", name, given | spec, "shop")


def policy(name: str, app: str, **spec: Any) -> dict[str, Any]:
    given = {"podSelector": {"matchLabels": {"app": app}}, **spec}
    return manifest("networking.k8s.io/v1", "NetworkPolicy", name, given, "shop")


BASE = (
    space("shop"),
    node("n1", "192.0.2.11"),
    node("n2", "192.0.2.12"),
    pod("web-0", "n1", "10.65.0.2"),
    pod("api-0", "n1", "10.65.0.3"),
    pod("api-1", "n2", "10.65.1.3"),
)
API = service("api")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(*words: str, things: tuple[dict[str, Any], ...] = (API,)) -> str:
    """What is said about a question without an answer."""
    with pytest.raises(UsageError) as wrong:
        asked(*words, things=things)
    return str(wrong.value)


def asked(*words: str, things: tuple[dict[str, Any], ...] = (API,), status: int = 0) -> str:
    Path("all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*BASE, *things]}))
    return run(*words, "all.json", "-q", status=status)


@pytest.mark.parametrize(
    "target",
    ["10.96.0.20:80", "shop/svc/api:80", "svc/api", "shop/service/api:80/tcp", "api.shop.svc:80",
     "api.shop.svc.cluster.local:80"],
)  # fmt: skip
def test_names_of_a_service(target: str) -> None:
    out = asked("shop/web-0", target).splitlines()
    assert out[0] == "ALLOWED  shop/web-0 → service shop/api tcp/80"
    assert out[1] == "  service shop/api port 80 (cluster IP 10.96.0.20) → 2 endpoints: both allowed"


def test_policies_see_the_endpoint() -> None:
    """An egress policy about the cluster IP never matches, one about the endpoint's port does."""
    by_ip = policy("p", "web", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": {"cidr": "10.96.0.0/12"}}]}])
    by_port = policy("p", "web", policyTypes=["Egress"], egress=[{"ports": [{"port": 9000}]}])
    denied = asked("shop/web-0", "svc/api", things=(API, by_ip))
    assert denied.startswith("DENIED")
    assert "note: policies other than preDNAT ones see the endpoint and its port, not 10.96.0.20:80" in denied
    assert asked("shop/web-0", "svc/api", things=(API, by_port)).startswith("ALLOWED")
    assert asked("shop/web-0", "10.96.0.20:80", "--no-services", things=(API, by_ip)).startswith("ALLOWED")


def test_a_table_where_endpoints_differ() -> None:
    isolated = policy("one", "lone", policyTypes=["Ingress"])
    lone = pod("lone-0", "n2", "10.65.1.9")
    lone["metadata"]["labels"]["tier"] = "api"
    other = pod("api-2", "n1", "10.65.0.8")
    other["metadata"]["labels"]["tier"] = "api"
    both = service("api", selector={"tier": "api"})
    out = asked("shop/web-0", "svc/api:80", "--expect", "allow", things=(both, isolated, lone, other), status=1)
    assert out.startswith("DEPENDS  shop/web-0 → service shop/api tcp/80\n")
    assert "2 endpoints: 1 allowed, 1 denied" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("  shop/")]
    assert [(row[0], row[2]) for row in rows] == [("shop/api-2", "allowed"), ("shop/lone-0", "denied")]
    found = json.loads(asked("shop/web-0", "svc/api:80", "-o", "json", things=(both, isolated, lone, other)))
    assert found["verdict"] == "mixed"
    assert [(row["name"], row["verdict"]) for row in found["endpoints"]] == [
        ("shop/api-2", "allow"), ("shop/lone-0", "deny"),
    ]  # fmt: skip
    assert "shop/one" in found["endpoints"][1]["trace"]["reason"]["words"]


@pytest.mark.parametrize("expect", ["allow", "deny"])
def test_without_endpoints_is_an_answer_of_its_own(expect: str) -> None:
    nobody = service("api", selector={"app": "nobody"})
    out = asked("shop/web-0", "svc/api", "--expect", expect, things=(nobody,), status=1)
    assert out.splitlines()[:2] == [
        "NO ENDPOINTS  shop/web-0 → service shop/api tcp/80",
        "  service shop/api port 80 (cluster IP 10.96.0.20) → it has no endpoints",
    ]


def test_only_ready_endpoints() -> None:
    late = pod("late-0", "n1", "10.65.0.9", status={"conditions": [{"type": "Ready", "status": "False"}]})
    behind = service("late", selector={"app": "late"}, clusterIP="10.96.0.30")
    assert "its one endpoint is not ready" in asked("shop/web-0", "svc/late", things=(late, behind))
    published = service("late", selector={"app": "late"}, publishNotReadyAddresses=True)
    assert "1 endpoint: allowed" in asked("shop/web-0", "svc/late", things=(late, published))


def test_slices_count_before_selectors() -> None:
    labels = {"kubernetes.io/service-name": "api"}
    piece = {
        **manifest("discovery.k8s.io/v1", "EndpointSlice", "api-x", None, "shop", labels=labels),
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.65.1.3"]}],
        "ports": [{"port": 9000}],
    }
    assert "1 endpoint: allowed" in asked("shop/web-0", "svc/api", things=(API, piece))


def test_endpoints_that_somebody_wrote_by_hand() -> None:
    """A Service without selector has the endpoints of the Endpoints object of its name."""
    subsets = [
        {"addresses": [{"ip": "10.65.1.3"}], "notReadyAddresses": [{"ip": "10.65.0.3"}], "ports": [{"port": 9000}]}
    ]
    written = manifest("v1", "Endpoints", "api", None, "shop") | {"subsets": subsets}
    assert "1 endpoint: allowed" in asked("shop/web-0", "svc/api", things=(service("api", selector=None), written))
    assert "2 endpoints: both allowed" in asked("shop/web-0", "svc/api", things=(API, written))


def test_several_ports() -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 9000}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    several = service("api", ports=ports)
    assert "tcp/udp/80,53" in asked("shop/web-0", "svc/api", things=(several,))
    assert "port 53/udp (dns)" in asked("shop/web-0", "svc/api:dns", things=(several,))
    said = refused("shop/web-0", "svc/api:81", things=(several,))
    assert said == "service shop/api has no port 81; it has 80 (http), 53/udp (dns)"


NODE_PORT = service("api", type="NodePort", ports=[{"port": 80, "targetPort": 9000, "nodePort": 30080}])


@pytest.mark.parametrize("target", ["n1:30080", "host:n1:30080", "node/n1:30080", "192.0.2.11:30080"])
def test_node_ports(target: str) -> None:
    out = asked("internet", target, things=(NODE_PORT,))
    assert out.startswith("ALLOWED  internet → service shop/api tcp/30080\n  node port 30080 of n1: service shop/api")


def test_a_node_port_of_any_node_has_the_source_rewritten() -> None:
    """From another node's NodePort the endpoint is reached from that node's address, unless the policy is Local."""
    only = policy("only", "api", policyTypes=["Ingress"], ingress=[{"from": [{"ipBlock": {"cidr": "192.0.2.11/32"}}]}])
    out = asked("internet", "node:30080", things=(NODE_PORT, only))
    assert out.startswith("DEPENDS")
    assert any(
        "shop/api-1 (10.65.1.3:9000)" in line and "n1" in line and "allowed" in line for line in out.splitlines()
    )
    local = service(
        "api", type="NodePort", externalTrafficPolicy="Local",
        ports=[{"port": 80, "targetPort": 9000, "nodePort": 30080}],
    )  # fmt: skip
    assert asked("internet", "node:30080", things=(local, only)).startswith("DENIED")


def test_node_port_of_a_node_without_endpoints() -> None:
    local = service(
        "api", type="NodePort", externalTrafficPolicy="Local", selector={"app": "web"},
        ports=[{"port": 80, "targetPort": 9000, "nodePort": 30080}],
    )  # fmt: skip
    out = asked("internet", "n2:30080", things=(local,))
    assert out.startswith("NO ENDPOINTS")
    assert "n2 has no endpoint of its own, and externalTrafficPolicy is Local" in out


def test_source_ranges_of_a_load_balancer() -> None:
    balanced = service("api", type="LoadBalancer", loadBalancerSourceRanges=["203.0.113.0/24"])
    balanced["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.80"}]}}
    assert "outside loadBalancerSourceRanges" in asked("198.51.100.9", "203.0.113.80:80", things=(balanced,))
    assert asked("203.0.113.9", "203.0.113.80:80", things=(balanced,)).startswith("ALLOWED")


def test_a_balancer_that_forwards_itself() -> None:
    balanced = service("api", type="LoadBalancer")
    balanced["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.80", "ipMode": "Proxy"}]}}
    assert "a load balancer of service shop/api that forwards connections itself" in asked(
        "shop/web-0", "203.0.113.80:80", things=(balanced,)
    )


def test_headless_services_are_their_endpoints() -> None:
    bare = service("api", clusterIP="None")
    out = asked("shop/web-0", "api.shop.svc:9000", things=(bare,))
    assert "headless: its name means the endpoints themselves" in out
    assert "2 endpoints: both allowed" in out
    assert "1 endpoint: allowed" in asked("shop/web-0", "api-1.api.shop.svc:9000", things=(bare,))


def test_names_for_something_else() -> None:
    alias = service("api", type="ExternalName", externalName="db.example.com")
    out = refused("shop/web-0", "svc/api:80", things=(alias,))
    assert "service shop/api is another name for db.example.com" in out


def test_unknown_service() -> None:
    assert refused("shop/web-0", "shop/svc/ap:80") == "shop/svc/ap: no such service; did you mean shop/api?"


@pytest.mark.parametrize(
    "target, note",
    [
        (
            "10.96.0.20:81",
            "10.96.0.20 is the cluster IP of service shop/api: kube-proxy redirects 80/tcp, not port 81/tcp",
        ),
        (
            "10.96.0.20",
            "10.96.0.20 is the cluster IP of service shop/api: kube-proxy redirects 80/tcp, not icmp packets",
        ),
    ],
)
def test_what_a_service_does_not_answer(target: str, note: str) -> None:
    assert note in asked("shop/web-0", target)


def test_a_cluster_ip_that_nobody_wrote_down() -> None:
    out = asked("shop/web-0", "svc/api", things=(service("api", clusterIP=""),))
    assert "both allowed" in out
    assert "note: the cluster IP of shop/api is not known, 198.19.0.1 is used in its place" in out


def test_host_ports() -> None:
    exposed = pod("exposed-0", "n1", "10.65.0.7", port={"hostPort": 8443})
    closed = policy("closed", "exposed", policyTypes=["Ingress"])
    out = asked("internet", "n1:8443", things=(exposed,))
    assert out.startswith("ALLOWED  internet → host port of pod shop/exposed-0 tcp/8443\n")
    assert asked("internet", "192.0.2.11:8443", things=(exposed, closed)).startswith("DENIED")
    assert "host port" not in asked("internet", "n2:8443", things=(exposed,))


def test_pods_of_the_node_are_the_node() -> None:
    agent = pod("agent-0", "n1", "192.0.2.11", spec={"hostNetwork": True})
    out = asked("shop/agent-0", "shop/web-0:9000", things=(agent,))
    assert "shop/agent-0 is in the network of n1, so it is the host to policies" in out
    behind = service("agents", selector={"app": "agent"})
    out = asked("shop/web-0", "svc/agents", things=(agent, behind))
    assert "1 endpoint: denied" in out
    assert "DefaultEndpointToHostAction" in out


def test_source_rewritten_by_hand() -> None:
    only = policy("only", "api", policyTypes=["Ingress"], ingress=[{"from": [{"ipBlock": {"cidr": "192.0.2.11/32"}}]}])
    assert asked("shop/web-0", "shop/api-1:9000", things=(only,)).startswith("DENIED")
    assert asked("shop/web-0", "shop/api-1:9000", "--snat", "node", things=(only,)).startswith("ALLOWED")
    assert asked("shop/web-0", "shop/api-1:9000", "--snat", "192.0.2.11", things=(only,)).startswith("ALLOWED")
    assert "--snat web: write an IP address" in refused("shop/web-0", "shop/api-1:9000", "--snat", "web")


def test_replies_that_miss_the_node_that_redirected() -> None:
    """A pod's own address, another node's NodePort and an endpoint on a third node: no connection comes about."""
    local = service(
        "api", type="NodePort", externalTrafficPolicy="Local", selector={"app": "far"},
        ports=[{"port": 80, "targetPort": 9000, "nodePort": 30080}],
    )  # fmt: skip
    pool = manifest("projectcalico.org/v3", "IPPool", "pods", {"cidr": "10.65.0.0/16"})
    things = (local, pool, node("n3", "192.0.2.13"), pod("far-0", "n3", "10.65.2.3"))
    out = asked("shop/web-0", "n2:30080", things=things)
    assert out.startswith("DENIED")
    assert "replies go straight to shop/web-0 and not by n2" in out


@pytest.mark.parametrize(
    "spec, path",
    [
        ({"clusterIP": "10.96.0"}, "spec.clusterIP"),
        ({"ports": [{"targetPort": 80}]}, "spec.ports[0].port"),
        ({"ports": [{"port": 80, "protocol": "tcp"}]}, "spec.ports[0].protocol"),
        ({"ports": [{"port": 80, "targetPort": 1.5}]}, "spec.ports[0].targetPort"),
        ({"externalTrafficPolicy": "local"}, "spec.externalTrafficPolicy"),
        ({"loadBalancerSourceRanges": ["10.0.0.0/33"]}, "spec.loadBalancerSourceRanges[0]"),
    ],
)
def test_services_that_no_api_server_takes(spec: dict[str, Any], path: str) -> None:
    assert [found[:2] for found in told(service("api", **spec))] == [("error", path)]
