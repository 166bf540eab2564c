"""Who reaches whom, as people and programs see it."""

from __future__ import annotations

from felixpy.lab.layout import layout_of
from felixpy.lab.probing import ANSWERED, TIMED_OUT
from felixpy.lab.tables import ProbeTable, Turn, declared, document, text, turns
from tests.clusters import cluster, pod


def table(rows: str, service: tuple[str, int] = ("tcp", 80)) -> ProbeTable:
    """A table as it is printed: "ab: .X X." """
    names, _, signs = rows.partition(": ")
    cells = {
        (source, destination): ANSWERED if sign == "." else TIMED_OUT
        for source, row in zip(names, signs.split(), strict=True)
        for destination, sign in zip(names, row, strict=True)
    }
    return ProbeTable(*service, 4, tuple(names), cells)


def test_rows_send_and_columns_receive() -> None:
    assert list(text(table("ab: .X ..")) ) == [
        "tcp/80 over IPv4: 3 of 4 allowed (rows send, columns receive)",
        "     1 2",
        "1  a . X",
        "2  b . .",
    ]  # fmt: skip


def test_columns_that_do_not_fit_follow_below() -> None:
    assert list(text(table("abc: .X. ... XX."), width=9)) == [
        "tcp/80 over IPv4: 6 of 9 allowed (rows send, columns receive)",
        "     1 2",
        "1  a . X",
        "2  b . .",
        "3  c X X",
        "     3",
        "1  a .",
        "2  b .",
        "3  c .",
    ]


def test_many_endpoints_have_numbers_of_two_digits() -> None:
    names = "abcdefghij"
    lines = list(text(table(f"{names}: {' '.join('.' * 10 for _ in names)}")))
    assert lines[1] == "       1  2  3  4  5  6  7  8  9 10"
    assert lines[2] == " 1  a  .  .  .  .  .  .  .  .  .  ."
    assert lines[-1].startswith("10  j  .")


def test_icmp_has_no_port() -> None:
    assert next(text(table("a: .", ("icmp", 0)))) == "icmp over IPv4: 1 of 1 allowed (rows send, columns receive)"
    assert "port" not in document([table("a: .", ("icmp", 0))])["tables"][0]


def test_a_document_tells_every_cell() -> None:
    assert document([table("ab: .X ..")])["tables"][0] == {
        "protocol": "tcp",
        "port": 80,
        "family": 4,
        "parties": ["a", "b"],
        "cells": [
            {"source": "a", "destination": "a", "verdict": "allow", "how": "answered"},
            {"source": "a", "destination": "b", "verdict": "deny", "how": "timed out"},
            {"source": "b", "destination": "a", "verdict": "allow", "how": "answered"},
            {"source": "b", "destination": "b", "verdict": "allow", "how": "answered"},
        ],
    }


def test_what_turned_is_what_both_rounds_asked() -> None:
    before = [table("ab: .X .."), table("ab: .. ..", ("udp", 53))]
    after = [table("abc: ... XX. ..."), table("ab: .. ..", ("tcp", 443))]
    assert turns(before, after) == [
        Turn("a", "b", "tcp/80", allowed=True),
        Turn("b", "a", "tcp/80", allowed=False),
        Turn("b", "b", "tcp/80", allowed=False),
    ]
    assert turns(before, before) == []


def test_what_is_tried_is_what_containers_declare() -> None:
    pods = [pod("a", serves=(("udp", 53), ("tcp", 80))), pod("b", "10.65.0.2", serves=(("tcp", 80),))]
    assert declared(layout_of(cluster(*pods), "trial")) == [("tcp", 80), ("udp", 53)]
    assert declared(layout_of(cluster(pod("a")), "trial")) == [("tcp", 80)]
