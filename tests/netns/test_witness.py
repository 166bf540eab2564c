"""What python-iptables reads from the legacy tables is what was meant: chains, rules, matches and targets, in order."""

from __future__ import annotations

import re
import shlex
from concurrent.futures import ThreadPoolExecutor

import pytest

from felixpy.errors import EnvironmentMissing
from felixpy.kernel import Machine
from felixpy.ruleset import Ruleset
from felixpy.testing.readback import Tables, read_back
from tests.conformance.recordings import AREAS, Case, cases
from tests.netns.enforcing import case_of, enforcer, fresh_machine, wanted
from tests.netns.namespace import in_ci

pytestmark = [pytest.mark.netns, pytest.mark.slow]

EXTENSION = re.compile(r" -(m \S+|[jg] [A-Z]+)\b")
AT_A_TIME = 4


@pytest.fixture(scope="module")
def witness(kernel: None) -> None:
    """Skip without a python-iptables that works, but fail in CI: there it is built."""
    with fresh_machine() as machine:
        try:
            read_back(machine)
        except EnvironmentMissing as missing:
            (pytest.fail if in_ci() else pytest.skip)(f"{missing}; make legacy builds it")


def sample() -> list[Case]:
    """Cases in which every match and every target occurs that occurs anywhere, the small ones first; and some more."""
    everything = cases(*AREAS)
    texts = {case: "".join(case.expected(family) for family in case.families) for case in everything}
    kinds = {case: set(EXTENSION.findall(text)) for case, text in texts.items()}
    chosen, missing = everything[::48], set().union(*kinds.values())
    while missing := missing.difference(*(kinds[case] for case in chosen)):
        chosen.append(max(everything, key=lambda case: (len(kinds[case] & missing), -len(texts[case]))))
    return chosen


def meant(ruleset: Ruleset) -> dict[tuple[int, str], dict[str, list[list[str]]]]:
    """The tables as felixpy prints them, each rule as words."""
    tables: dict[tuple[int, str], dict[str, list[list[str]]]] = {}
    for family in ruleset.families:
        for line in ruleset.save(family).splitlines():
            if line.startswith("*"):
                chains = tables.setdefault((family, line[1:]), {})
            elif line.startswith(":"):
                chains[line[1:].split()[0]] = []
            elif line.startswith("-A "):
                _, chain, *words = shlex.split(line)
                chains[chain].append(words)
    return tables


def said(tables: Tables) -> dict[tuple[int, str], dict[str, list[list[str]]]]:
    return {
        key: {name: [rule.words() for rule in rules] for name, rules in chains.items()}
        for key, chains in tables.items()
    }


def doubts(case: Case) -> list[str]:
    """Where the witness tells another story."""
    ruleset = case.compile()
    with fresh_machine() as machine:
        enforcer(machine, "legacy").apply(wanted(case, ruleset))
        found = said(read_back(machine))
    wrong = []
    for key, chains in meant(ruleset).items():
        if list(found[key]) != list(chains):
            wrong.append(f"{case} {key}: chains {list(found[key])} instead of {list(chains)}")
        wrong += [
            f"{case} {key} {name}: {found[key].get(name)} instead of {rules}"
            for name, rules in chains.items()
            if found[key].get(name) != rules
        ]
    return wrong


def test_the_witness_reads_what_was_meant(witness: None) -> None:
    chosen = sample()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        wrong = [line for lines in pool.map(doubts, chosen) for line in lines]
    assert len(chosen) >= 8
    assert wrong == []


def test_the_witness_notices_a_changed_rule(witness: None, machine: Machine) -> None:
    case = case_of("k8s/knp-default-deny-both")
    enforcer(machine, "legacy").apply(wanted(case))
    before = said(read_back(machine))
    assert machine.run("iptables-legacy", "-w", "-R", "cali-FORWARD", "1", "-j", "ACCEPT").status == 0
    after = said(read_back(machine))
    assert before[4, "filter"]["cali-FORWARD"][1:] == after[4, "filter"]["cali-FORWARD"][1:]
    assert after[4, "filter"]["cali-FORWARD"][0] == ["-j", "ACCEPT"]


def test_rules_of_nft_are_none_of_its_business(witness: None, machine: Machine) -> None:
    enforcer(machine, "nft").apply(wanted(case_of("k8s/knp-default-deny-both")))
    assert not any(rules for chains in read_back(machine).values() for rules in chains.values())
