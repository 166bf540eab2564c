"""Every set that a rule names exists, and every member of a set is of its type and family."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given

import felixpy
from felixpy.config import Setting
from felixpy.ipsets import IPSet
from felixpy.model import Cluster, Host
from tests.property.strategies import clusters, fewer, hosts, settings

pytestmark = pytest.mark.property

NAMED = re.compile(r"--match-set (\S+) (\S+)")
PORT = re.compile(r"(\S+),(tcp|udp|sctp):(\d+)")
DIRECTIONS = {"hash:net": {"src", "dst"}, "hash:ip": {"src", "dst"}, "hash:ip,port": {"src,src", "dst,dst"}}


def check(ipset: IPSet) -> None:
    """Members are spelt as the kernel prints them; anything else raises or fails."""
    assert list(ipset.members) == sorted(set(ipset.members))
    assert ipset.name.startswith(f"cali{ipset.family}0")
    assert len(ipset.name) <= 31
    for member in ipset.members:
        if ipset.type == "hash:ip,port":
            found = PORT.fullmatch(member)
            assert found, member
            assert 1 <= int(found[3]) <= 65535
            assert ip_address(found[1]).version == ipset.family
        elif ipset.type == "hash:ip":
            assert ip_address(member).version == ipset.family
        else:
            net = ip_network(member)
            assert net.version == ipset.family
            assert net.prefixlen > 0
            assert ("/" in member) == (net.num_addresses > 1)


@fewer
@given(clusters, hosts, settings)
def test_sets_and_their_names(cluster: Cluster, host: Host, given_settings: tuple[Setting, ...]) -> None:
    ruleset = felixpy.compile(cluster, "node1", host=host, settings=given_settings)
    sets = {ipset.name: ipset for ipset in ruleset.sets}
    assert len(sets) == len(ruleset.sets)
    for ipset in ruleset.sets:
        check(ipset)
    for family in ruleset.families:
        for name, direction in NAMED.findall(ruleset.restore(family)):
            assert name in sets, f"a rule names {name}, which does not exist"
            assert sets[name].family == family
            assert direction in DIRECTIONS[sets[name].type]
    assert [line.split(" ")[1] for line in ruleset.ipset_save().splitlines() if line[0] == "c"] == sorted(sets)
