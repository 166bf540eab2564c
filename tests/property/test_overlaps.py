"""Suppressing covered networks keeps exactly those that no other one contains."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy.ipsets import uncovered

pytestmark = pytest.mark.property

BITS = {4: 32, 6: 128}
FIRST = {4: int(IPv4Address("10.0.0.0")), 6: int(IPv6Address("fd00::"))}


@st.composite
def networks(draw: st.DrawFn, family: int) -> str:
    """Close together, so that many contain each other; hosts without a length, as sets have them."""
    length = draw(st.integers(BITS[family] - 6, BITS[family]))
    base = FIRST[family] + draw(st.integers(0, 63))
    address = base >> BITS[family] - length << BITS[family] - length
    text = str(ip_address(address))
    return text if length == BITS[family] else f"{text}/{length}"


def contains(outer: str, inner: str) -> bool:
    return ip_network(inner).subnet_of(ip_network(outer))  # type: ignore[arg-type]


@pytest.mark.parametrize("family", [4, 6])
@given(data=st.data())
def test_only_networks_inside_others_are_left_out(family: int, data: st.DataObject) -> None:
    nets = data.draw(st.lists(networks(family), max_size=12))
    expected = {net for net in nets if not any(other != net and contains(other, net) for other in nets)}
    kept = uncovered(nets, family)
    assert len(kept) == len(set(kept))
    assert set(kept) == expected
