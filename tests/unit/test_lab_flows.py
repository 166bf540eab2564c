"""From questions in people's words to addresses, namespaces and ports."""

from __future__ import annotations

import pytest

from felixpy.errors import UsageError
from felixpy.lab.flows import endpoint_of, flow_of, parse_service
from felixpy.lab.layout import layout_of
from felixpy.model import NamedPort
from tests.clusters import cluster, node, pod

LAYOUT = layout_of(
    cluster(
        pod("web", "10.65.0.1", "fd00:65::1", namespace="shop", ports=(NamedPort("dns", "udp", 53),)),
        pod("db", "fd00:65::2", namespace="shop"),
        pod("log", "10.65.1.1", namespace="shop", node="node2"),
        node("node1", bgp_v4="192.0.2.1/24"),
    ),
    "trial",
    node="node1",
)


@pytest.mark.parametrize(
    "source, target, ends, spaces, service",
    [
        ("shop/web", "shop/log:80", "10.65.0.1 10.65.1.1", "trial.shop.web trial.outside", "tcp/80"),
        ("shop/web", "shop/log", "10.65.0.1 10.65.1.1", "trial.shop.web trial.outside", "icmp"),
        ("shop/log", "shop/web:53/udp", "10.65.1.1 10.65.0.1", "trial.outside trial.shop.web", "udp/53"),
        ("shop/log", "shop/web:dns", "10.65.1.1 10.65.0.1", "trial.outside trial.shop.web", "udp/53"),
        ("shop/log", "shop/web:80/SCTP", "10.65.1.1 10.65.0.1", "trial.outside trial.shop.web", "sctp/80"),
        ("shop/web", "shop/db:80", "fd00:65::1 fd00:65::2", "trial.shop.web trial.shop.db", "tcp/80"),
        ("internet", "shop/web:80", "198.51.100.7 10.65.0.1", "trial.outside trial.shop.web", "tcp/80"),
        ("shop/db", "internet:icmp", "fd00:65::2 2001:db8:ffff::7", "trial.shop.db trial.outside", "icmp"),
        ("8.8.8.8", "shop/web:80", "8.8.8.8 10.65.0.1", "trial.outside trial.shop.web", "tcp/80"),
        ("host", "shop/web:80", "192.0.2.1 10.65.0.1", "trial trial.shop.web", "tcp/80"),
        ("host:node2", "host:node1:22", "198.18.0.2 192.0.2.1", "trial.outside trial", "tcp/22"),
        ("10.65.0.1", "[10.65.1.1]:80", "10.65.0.1 10.65.1.1", "trial.shop.web trial.outside", "tcp/80"),
    ],
)
def test_names_become_addresses_and_namespaces(source: str, target: str, ends: str, spaces: str, service: str) -> None:
    flow = flow_of(LAYOUT, source, target)
    assert f"{flow.source.address} {flow.destination.address}" == ends
    assert f"{flow.source_netns} {flow.destination_netns}" == spaces
    assert flow.service == service


def test_a_family_and_a_namespace_can_be_asked_for() -> None:
    flow = flow_of(LAYOUT, "web", "internet:80", family=6, namespace="shop")
    assert (flow.source.address, flow.destination.address) == ("fd00:65::1", "2001:db8:ffff::7")
    assert endpoint_of(LAYOUT, "web", namespace="shop").name == "shop/web"
    assert endpoint_of(LAYOUT, "db", namespace="shop").address == "fd00:65::2"


@pytest.mark.parametrize(
    "source, target, family, message",
    [
        ("shop/wbe", "shop/log:80", None, "shop/wbe: no such pod.*did you mean shop/web"),
        ("shop/web", "shop/log:http", None, "shop/log has no port called http"),
        ("shop/log", "shop/web:http", None, "shop/web has no port called http; it has dns"),
        ("shop/log", "shop/db:80", None, "shop/db has no IPv4 address"),
        ("shop/web", "shop/log:80", 6, "shop/log has no IPv6 address"),
        ("shop/web", "shop/log:80/dccp", None, "a lab has no answer to dccp; it knows tcp, udp, sctp, icmp"),
        ("shop/web", "shop/log:0", None, "ports are numbers"),
    ],
)
def test_questions_without_an_answer_are_refused(source: str, target: str, family: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        flow_of(LAYOUT, source, target, family=family)


@pytest.mark.parametrize("text", ["http", "80/http", "0", "70000", "", "80/", "80/ipip"])
def test_services_of_tables_are_numbers(text: str) -> None:
    with pytest.raises(UsageError):
        parse_service(text)
