"""The judge judged: every way in which an answer may be wrong is found and named."""

from __future__ import annotations

import pytest

from tests.conformance.comparison import broken_seals, difference, set_difference

SAVE = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:cali-FORWARD - [0:0]
:cali-cidr-block - [0:0]
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m comment --comment "Policy explicitly accepted packet." \
-m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment "cali:mp77cMpurHhyjLrM" -j MARK --set-xmark 0x10000/0x10000
-A cali-FORWARD -m comment --comment "cali:W_vvds1Nw3n9QE2f" -j MARK --set-xmark 0x0/0x1a0000
-A cali-FORWARD -m comment --comment "cali:ZfgmjuiLaA8Pg0kp" -m mark --mark 0x0/0x10000 -j cali-from-hep-forward
COMMIT
"""
RESTORE = (
    SAVE.replace("-j MARK --set-xmark 0x0/", "--jump MARK --set-mark 0/")
    .replace("-j MARK --set-xmark", "--jump MARK --set-mark")
    .replace("--mark 0x0/", "--mark 0/")
    .replace(" -j ", " --jump ")
)


def test_right_answers_are_silent() -> None:
    assert difference(SAVE, SAVE) == ""
    assert broken_seals(RESTORE, SAVE) == ""
    assert set_difference("add a 10.0.0.1\n", "add a 10.0.0.1\n") == ""


@pytest.mark.parametrize(
    "old, new, told",
    [
        (":cali-cidr-block - [0:0]\n", "", "missing chains: filter/cali-cidr-block"),
        (":cali-cidr-block", ":cali-new - [0:0]\n:cali-cidr-block", "needless chains: filter/cali-new"),
        ("-j ACCEPT", "-j RETURN", "the first is FORWARD of table filter"),
        ("0x1a0000", "0x1b0000", '  +   -A cali-FORWARD -m comment --comment "cali:W_vvds1Nw3n9QE2f" -j MARK'),
        (":INPUT ACCEPT", ":INPUT DROP", "  -   :INPUT ACCEPT [0:0]"),
        ("COMMIT\n", "COMMIT\n*raw\nCOMMIT\n", "  -   (no more lines)"),
    ],
)
def test_a_wrong_save_text_is_named(old: str, new: str, told: str) -> None:
    assert told in difference(SAVE, SAVE.replace(old, new))


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("--set-mark 0/", "--set-mark 0x0/", "chain cali-FORWARD"),
        ("Policy explicitly", "policy explicitly", "chain FORWARD of table filter"),
        (RESTORE.splitlines(keepends=True)[-2], "", "(no more lines)"),
        ("COMMIT", "-A cali-FORWARD --jump DROP\nCOMMIT", "+   -A cali-FORWARD --jump DROP"),
    ],
)
def test_a_word_that_felix_did_not_hash_is_named(old: str, new: str, told: str) -> None:
    """The kernel's spelling would hide each of these changes."""
    assert told in broken_seals(RESTORE.replace(old, new), SAVE)


def test_one_line_for_several_kernel_rules_is_hashed_once() -> None:
    """The kernel makes a rule of each address of a list; the hashes are from the case host/hep-dscp-annotation."""
    head = "*mangle\n:cali-egress-dscp - [0:0]\n"
    rule = '-A cali-egress-dscp -m comment --comment "cali:{}" --source {} --jump DSCP --set-dscp {}\n'
    several = rule.format("2oKR6qKe2cAy-CmH", "192.168.10.11,192.168.10.111", 34)
    last = rule.format("iKewQlO_MboQC7yW", "192.168.20.11", 20)
    save, restore = head + 2 * several + last, head + several + last
    assert broken_seals(restore, save) == ""
    assert "cali:iKewQlO_MboQC7yW" in broken_seals(restore.replace("192.168.20.11", "192.168.20.12"), save)
    assert "cali:2oKR6qKe2cAy-CmH" in broken_seals(head + 2 * several + last, save)


def test_sets_are_told_by_member() -> None:
    report = set_difference("create a hash:net\nadd a 10.0.0.1\n", "create a hash:net\nadd a 10.0.0.2\n")
    assert report.splitlines() == ["sets differ:", "  -   add a 10.0.0.1", "  +   add a 10.0.0.2"]
