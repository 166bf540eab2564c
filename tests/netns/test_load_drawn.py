"""Drawn clusters: what is printed of them loads into a real kernel and is listed as printed, or is refused by both."""

from __future__ import annotations

import pytest
from hypothesis import given

import felixpy
from felixpy.config import Setting
from felixpy.model import Cluster, Host
from felixpy.nftables import NftRuleset
from tests.netns.namespace import fresh_namespace
from tests.netns.test_load import Texts, load
from tests.netns.test_load_nftables import fails, json_reports, reports
from tests.property.strategies import clusters, fewer, hosts, settings

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.property]


@fewer
@given(clusters, hosts, settings)
def test_nftables(cluster: Cluster, host: Host, given_settings: tuple[Setting, ...]) -> None:
    ruleset = felixpy.compile(cluster, "node1", host=host, settings=given_settings, dataplane="nftables")
    assert isinstance(ruleset, NftRuleset)
    with fresh_namespace() as namespace:
        if ruleset.refused:
            assert fails(namespace, ruleset), ruleset.refused
            return
        wrong = [*reports(ruleset.text(restore=True), ruleset.text(), namespace), *json_reports(ruleset, namespace)]
    assert not wrong, "\n".join(wrong)


@fewer
@given(clusters, hosts, settings)
def test_iptables(cluster: Cluster, host: Host, given_settings: tuple[Setting, ...]) -> None:
    ruleset = felixpy.compile(cluster, "node1", host=host, settings=given_settings)
    families = ruleset.families
    printed = Texts(
        ruleset.ipset_save(),
        {family: ruleset.save(family) for family in families},
        {family: ruleset.restore(family) for family in families},
    )
    for backend in ("legacy", "nft"):
        with fresh_namespace() as namespace:
            wrong = list(load(namespace, backend, printed, printed.restore))
        if ruleset.refused:
            assert wrong, ruleset.refused
            return
        assert not wrong, "\n".join(wrong)
