"""Bits of the packet mark: who gets which, how they are written, and the marks of endpoints in IPVS mode."""

from __future__ import annotations

import pytest

from felixpy.calico_versions import V3_32
from felixpy.marks import allocate, endpoint_marks, spell

WIREGUARD = (*V3_32.marks, "wireguard")


@pytest.mark.parametrize(
    "mask, order, bits, endpoint",
    [
        (0xFFFF0000, V3_32.marks, (0x10000, 0x20000, 0x40000, 0x80000, 0x100000), 0xFFE00000),
        (0xFFFF0000, WIREGUARD, (0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000), 0xFFC00000),
        (0xFFFF0000, ("accept", "pass"), (0x10000, 0x20000), 0xFFFC0000),
        (0xFF, V3_32.marks, (0x1, 0x2, 0x4, 0x8, 0x10), 0xE0),
        (0x8421_0F00, V3_32.marks, (0x100, 0x200, 0x400, 0x800, 0x10000), 0x84200000),
        (0x3F, V3_32.marks, (0x1, 0x2, 0x4, 0x8, 0x10), 0x20),
        (0xC0000000 | 0xF, V3_32.marks, (0x1, 0x2, 0x4, 0x8, 0x40000000), 0x80000000),
    ],
)
def test_bits_are_handed_out_from_the_lowest_up(
    mask: int, order: tuple[str, ...], bits: tuple[int, ...], endpoint: int
) -> None:
    marks = allocate(mask, order)
    assert marks.bits == tuple(zip(order, bits, strict=True))
    assert marks.endpoint == endpoint


def test_too_few_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="0xf0: the rules need 6 mark bits and 4 are set"):
        allocate(0xF0, V3_32.marks)
    with pytest.raises(ValueError, match="need 7 mark bits and 6 are set"):
        allocate(0x3F, V3_32.mark_names(wireguard=True))


def test_templates_find_single_and_combined_marks_spelt_out() -> None:
    named = allocate(0xFFFF0000, V3_32.marks).named()
    assert vars(named) == {
        "accept": "0x10000",
        "pass": "0x20000",
        "drop": "0x40000",
        "scratch0": "0x80000",
        "scratch1": "0x100000",
        "all": "0x1b0000",
        "all_but_accept": "0x1a0000",
        "accept_or_pass": "0x30000",
        "scratch": "0x180000",
        "endpoint": "0xffe00000",
        "non_cali": "0x200000",
    }


def test_an_era_without_a_drop_mark_names_none() -> None:
    named = allocate(0xFFFF0000, ("accept", "pass", "scratch0", "scratch1")).named()
    assert (named.all, named.scratch0) == ("0xf0000", "0x40000")
    assert not hasattr(named, "drop")


def test_zero_is_spelt_like_any_other_mark() -> None:
    assert (spell(0), spell(0xAB0000)) == ("0x0", "0xab0000")


@pytest.mark.parametrize(
    "interface, mask, mark",
    [
        ("cali1234", 0xFF00, 0xD400),
        ("cali2333", 0xFF00, 0xA700),
        ("cali2444", 0xFF00, 0x5200),
        ("eth0", 0xFF00, 0xA200),
        ("cali21", 0xFF00, 0xF700),
        ("cali1234", 0xFFE00000, 0x9A800000),
        ("eth0", 0xFFE00000, 0xF4400000),
    ],
)
def test_the_mark_of_an_interface_comes_from_its_name(interface: str, mask: int, mark: int) -> None:
    assert endpoint_marks([interface], [], mask) == {interface: mark}


def test_colliding_interfaces_take_the_next_free_marks() -> None:
    """Position 0 means no mark and position 1 packets of no endpoint, so neither is ever given away."""
    found = endpoint_marks(["cali11", "cali12", "cali13"], [], 0xFF00)
    assert list(found.items()) == [("cali11", 0x200), ("cali12", 0x300), ("cali13", 0x400)]


def test_marks_are_spread_over_a_mask_with_holes() -> None:
    straight = endpoint_marks(["cali1", "cali2", "eth0"], [], 0x0F)
    spread = endpoint_marks(["cali1", "cali2", "eth0"], [], 0xA0A)
    bits = (0x2, 0x8, 0x200, 0x800)
    for interface, mark in straight.items():
        assert spread[interface] == sum(bit for place, bit in enumerate(bits) if (mark or 0) >> place & 1)


def test_a_full_mark_space_is_used_to_the_last_mark_and_who_comes_later_has_none() -> None:
    names = [f"cali{number}" for number in range(15)]
    marks = endpoint_marks(names, ["eth0"], 0xF0)
    assert sorted(mark for mark in marks.values() if mark) == [position << 4 for position in range(2, 16)]
    assert [name for name, mark in marks.items() if mark is None][-1] == "eth0"
    assert list(marks.values()).count(None) == 2


def test_names_at_their_own_position_come_before_those_that_have_to_move() -> None:
    """Recorded: ipvs/mask-with-two-endpoint-bits."""
    names = ["cali911f607c56a", "cali98d841dd382", "cali9f7143a770d", "caliebc4aed15b0"]
    assert list(endpoint_marks(names, [], 0x600).values()) == [0x600, None, None, 0x400]


def test_a_mask_without_room_gives_no_marks() -> None:
    assert endpoint_marks([], [], 0) == {}
    assert endpoint_marks(["cali1"], ["eth0"], 0) == {"cali1": None, "eth0": None}
