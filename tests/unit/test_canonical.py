"""Felix's spelling of a rule and the kernel's: the measured table, and the rules behind it at their edges."""

from __future__ import annotations

import re

import pytest

from felixpy.iptables.printer import kernel_rules, saved
from felixpy.iptables.words import quoted
from tests.tables import rows

REPEATED = re.compile(r"\b(\w)\*(\d+)")
FAMILIES = {"4": (4,), "6": (6,), "both": (4, 6)}


def table() -> list[tuple[str, int, list[str]]]:
    found = []
    for cells in rows("canonical.txt"):
        rule, families, printed = (REPEATED.sub(lambda run: run[1] * int(run[2]), cell) for cell in cells)
        body = "" if rule == "(none)" else rule
        found += [(body, family, printed.split(" // ")) for family in FAMILIES[families]]
    return found


def printed(body: str, family: int) -> list[str]:
    """The lines of iptables-save for a rule, without chain; (hash) stands for the hash comment."""
    lines = []
    for piece in kernel_rules(body):
        core, rest = saved(piece, family)
        lines.append(f"{core}(hash)" + (f" {rest}" if rest else ""))
    return lines


@pytest.mark.parametrize("body, family, expected", table())
def test_measured_rules(body: str, family: int, expected: list[str]) -> None:
    assert printed(body, family) == expected


@pytest.mark.parametrize(
    "asked, kept",
    [
        ("1/second", "1/sec"),
        ("3/second", "3/sec"),
        ("7/second", "7/sec"),
        ("300/second", "303/sec"),
        ("10000/second", "10000/sec"),
        ("6/minute", "6/min"),
        ("61/minute", "61/min"),
        ("99/minute", "99/min"),
        ("120/minute", "2/sec"),
        ("7000/minute", "117/sec"),
        ("59/hour", "59/hour"),
        ("60/hour", "1/min"),
        ("3600/hour", "1/sec"),
        ("13/day", "13/day"),
        ("24/day", "1/hour"),
        ("1440/day", "1/min"),
    ],
)
def test_a_rate_comes_back_in_the_largest_unit_that_fits(asked: str, kept: str) -> None:
    """The kernel keeps a period in units of 0.1 ms; the rates were worked out by hand with its integer division."""
    assert saved(f"-m limit --limit {asked} --jump RETURN", 4).rest == f"-m limit --limit {kept} -j RETURN"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("word", "word"),
        ("under_score-9", "under_score-9"),
        ("", '""'),
        ("a.b", '"a.b"'),
        ("a/b", '"a/b"'),
        ("DPI|default", '"DPI|default"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("it's", '"it\\\'s"'),
        ("back\\slash", '"back\\\\slash"'),
        ("é", '"é"'),
    ],
)
def test_values_are_quoted_where_a_character_needs_it(text: str, expected: str) -> None:
    assert quoted(text) == expected


def test_a_log_prefix_is_cut_before_it_is_quoted() -> None:
    """29 bytes are kept; what is left may need no quotes any more."""
    body = '--jump LOG --log-prefix "{}: " --log-level 5'
    cases = {
        "np default/audit-in shop/audit-in shop": '"np default/audit-in shop/audi"',
        "a" * 29: "a" * 29,
        "a" * 28: f'"{"a" * 28}:"',
        "a" * 27: f'"{"a" * 27}: "',
    }
    for prefix, kept in cases.items():
        assert saved(body.format(prefix), 4).rest == f"-j LOG --log-prefix {kept} --log-level 5"


def test_a_cut_never_splits_a_character() -> None:
    rest = saved('--jump LOG --log-prefix "{}: " --log-level 5'.format("a" * 28 + "é"), 4).rest
    assert rest == f"-j LOG --log-prefix {'a' * 28} --log-level 5"


@pytest.mark.parametrize(
    "number, name", [("4", "ipencap"), ("94", "ipip"), ("41", "ipv6"), ("114", "114"), ("254", "254")]
)
def test_protocol_numbers_get_the_names_of_etc_protocols(number: str, name: str) -> None:
    assert saved(f"-p {number} --jump DROP", 4) == (f"-p {name} ", "-j DROP")
    assert saved(f"! -p {number} --jump DROP", 4).core == f"! -p {name} "


def test_what_would_match_everything_is_left_out_unless_it_is_negated() -> None:
    assert saved("--source 0.0.0.0/0 --destination 10.0.0.0/8 --jump DROP", 4).core == "-d 10.0.0.0/8 "
    assert saved("--source 10.0.0.0/0 --jump DROP", 4).core == ""
    assert saved("! --source 0.0.0.0/0 --jump DROP", 4).core == "! -s 0.0.0.0/0 "


def test_core_options_have_one_order_and_keep_their_negations() -> None:
    body = (
        "-p tcp -m comment --comment x --out-interface eth1 ! --in-interface eth0"
        " ! --destination 10.0.0.1 --source 10.0.0.2 --jump ACCEPT"
    )
    core, rest = saved(body, 4)
    assert core == "-s 10.0.0.2/32 ! -d 10.0.0.1/32 ! -i eth0 -o eth1 -p tcp "
    assert rest == "-m comment --comment x -j ACCEPT"


def test_the_match_of_a_port_option_is_loaded_for_the_protocol_of_the_rule() -> None:
    assert saved("-p tcp --dport 80 --jump ACCEPT", 4) == ("-p tcp ", "-m tcp --dport 80 -j ACCEPT")
    assert saved("-p udp --dport 53 --jump ACCEPT", 6) == ("-p udp ", "-m udp --dport 53 -j ACCEPT")


@pytest.mark.parametrize(
    "body, expected",
    [
        ("--source 10.0.0.1 --jump DROP", 1),
        ("--source 10.0.0.1,10.0.0.2,10.0.0.3 --jump DSCP --set-dscp 1", 3),
        ("-p tcp -m multiport --source-ports 1,2 --jump DROP", 1),
        ('-m comment --comment "--source 10.0.0.1,10.0.0.2" --jump DROP', 1),
        ("-m set --match-set cali40x src,src --jump DROP", 1),
        ("-m conntrack --ctstate RELATED,ESTABLISHED --jump ACCEPT", 1),
    ],
)
def test_only_lists_of_addresses_become_several_rules(body: str, expected: int) -> None:
    pieces = kernel_rules(body)
    assert len(pieces) == expected
    assert pieces == (body,) if expected == 1 else all("," not in piece for piece in pieces)


@pytest.mark.parametrize(
    "words", ["a --jump cali-x", "--source 10.0.0.1,10.0.0.2", "-p tcp", "-m limit --limit 0/second", "--jump DROP"]
)
def test_words_in_a_comment_are_no_options(words: str) -> None:
    comment = f'-m comment --comment "name={words}"'
    assert printed(f"{comment} -p udp --jump DROP", 4) == [f"-p udp (hash) {comment} -j DROP"]
    assert printed(f"{comment} --jump cali-y", 4) == [f"(hash) {comment} -j cali-y"]
    assert printed(comment, 4) == [f"(hash) {comment}"]


def test_a_list_of_ipv6_addresses_is_split_too() -> None:
    assert printed("--source fd00::1,FD00::2 --jump DSCP --set-dscp 46", 6) == [
        "-s fd00::1/128 (hash) -j DSCP --set-dscp 0x2e",
        "-s fd00::2/128 (hash) -j DSCP --set-dscp 0x2e",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "-m limit --limit 0/second --jump RETURN",
        "-m limit --limit 10001/second --jump RETURN",
        '--jump LOG --log-prefix "a" b c: " --log-level 5',
        '--jump LOG --log-prefix "a" --source y: " --log-level 5',
        "--source nowhere --jump DROP",
    ],
)
def test_a_rule_that_cannot_be_read_stays_as_it_is(body: str) -> None:
    """The kernel refuses it, and that is told elsewhere; printing the other rules must not fail for it."""
    assert saved(body, 4) == ("", body)
