"""Every recorded case of nftables mode loads into a real kernel in both texts, and nft lists it as it was printed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from signal import SIGABRT

import pytest

from felixpy.nftables import NftRuleset
from felixpy.nftables.listing import WITH_HEADER
from felixpy.nftables.reading import ListedTable, read_tables
from tests.conformance.comparison import first_difference
from tests.conformance.recordings import AREAS, REFUSED, WITH_NFTABLES, Case, cases
from tests.conformance.test_nftables import NOT_PROGRAMMED, PROGRAMMED, compiled
from tests.netns import enforcing
from tests.netns.namespace import PATH, Namespace, fresh_namespace
from tests.unit import test_nftables_refused as refused

pytestmark = [
    pytest.mark.netns,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("nft", path=PATH), reason="nft is not installed"),
]

VERSION = "v1.0."
"""The release of nft whose listing felixpy prints; later ones spell two things in another way."""


def normal(tables: list[ListedTable]) -> list[str]:
    """A listing as lines in an order of its own."""
    found = sorted(tables, key=lambda each: each.title)
    return [line for table in found for line in (f"table {table.title}", *enforcing.normal(table))]


def reports(text: str, wanted: str, namespace: Namespace) -> Iterator[str]:
    """What goes wrong when a text is loaded and listed again."""
    if (done := namespace.run("nft", "-f", "-", text=text)).returncode:
        yield done.stderr.strip()
        return
    there, expected = (
        normal(read_tables(each)) for each in (namespace.run("nft", "-s", "list", "ruleset").stdout, wanted)
    )
    if there != expected:
        yield "\n".join(first_difference(expected, there))
    as_json = normal(read_tables(namespace.run("nft", "-s", "-j", "list", "ruleset").stdout))
    if as_json != there:
        yield "\n".join(["as JSON:", *first_difference(there, as_json)])


def objects(document: str) -> dict[tuple[str, ...], list[str]]:
    """A JSON listing by kind and name, in an order of its own and without what only the kernel knows."""
    found: dict[tuple[str, ...], list[str]] = {}
    for each in json.loads(document)["nftables"]:
        ((kind, value),) = each.items()
        if kind == "metainfo":
            continue
        value.pop("handle", None)
        value["elem"] = sorted(json.dumps(element) for element in value.get("elem", ()))
        key = (kind, *(value.get(part, "") for part in ("family", "table", "chain", "name")))
        found.setdefault(key, []).append(json.dumps(value, sort_keys=True))
    return found


def json_reports(ruleset: NftRuleset, namespace: Namespace) -> Iterator[str]:
    """Where our JSON is not what nft prints."""
    there = objects(namespace.run("nft", "-j", "list", "ruleset").stdout)
    made = objects(ruleset.json_text())
    for key in sorted(there.keys() | made.keys()):
        if there.get(key) != made.get(key):
            yield "\n".join([f"as JSON: {key}", *first_difference(there.get(key, []), made.get(key, []))])


def load_twice(case: Case) -> list[str]:
    """What goes wrong with both texts.

    The listing is not listed again: ``{ 80-91 }``, which nft makes of several ports, would come out as ``80-91``.
    """
    ruleset = compiled(case)
    listed, written = ruleset.text(), ruleset.text(restore=True)
    wrong: list[str] = []
    with fresh_namespace() as namespace:
        wrong += reports(written, listed, namespace)
        wrong += json_reports(ruleset, namespace)
    with fresh_namespace() as namespace:
        if (done := namespace.run("nft", "-f", "-", text=listed)).returncode:
            wrong.append(done.stderr.strip())
    return wrong


@pytest.mark.parametrize("area", WITH_NFTABLES)
def test_what_is_printed_loads_and_is_listed(area: str, kernel: None) -> None:
    with fresh_namespace() as namespace:
        version = namespace.run("nft", "--version").stdout
    if VERSION not in version:
        pytest.skip(f"the listing is that of nft {VERSION}x, not of {version.strip()}")
    with ThreadPoolExecutor(8) as pool:
        loads = {case: pool.submit(load_twice, case) for case in PROGRAMMED if case.area == area}
    wrong = [f"{case}: {report}" for case, future in loads.items() for report in future.result()]
    assert not wrong, "\n".join(wrong)


UNRECORDED = (*AREAS[len(WITH_NFTABLES) :], REFUSED)
"""Areas of which only the answers in iptables mode are recorded."""


def judge(case: Case) -> list[str]:
    """What goes wrong with a case whose answer in nftables mode nobody recorded: the kernel has to agree with us."""
    ruleset = compiled(case)
    if not ruleset.refused:
        return load_twice(case)
    with fresh_namespace() as namespace:
        return [] if fails(namespace, ruleset) else [f"loads although refused: {ruleset.refused}"]


def fails(namespace: Namespace, ruleset: NftRuleset) -> bool:
    """Whether the kernel does not take what is refused, or takes it and nft cannot list it."""
    done = namespace.run("nft", "-f", "-", text=ruleset.text(restore=True))
    return bool(done.returncode) or namespace.run("nft", "list", "ruleset").returncode == -SIGABRT


@pytest.mark.parametrize("area", UNRECORDED)
def test_what_is_refused_and_what_is_printed_elsewhere(area: str, kernel: None) -> None:
    with ThreadPoolExecutor(8) as pool:
        judged = {case: pool.submit(judge, case) for case in cases(area)}
    wrong = [f"{case}: {report}" for case, future in judged.items() for report in future.result()]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", NOT_PROGRAMMED, ids=str)
def test_what_felix_could_not_program_is_refused(case: Case, kernel: None) -> None:
    """Felix panics on long names before it asks nft; the kernel refuses these names, too."""
    with fresh_namespace() as namespace:
        assert namespace.run("nft", "-f", "-", text=compiled(case).text(restore=True)).returncode == 1


@pytest.mark.parametrize("case", refused.CASES.values(), ids=refused.CASES)
def test_every_class_of_what_is_refused_does_not_load(case: refused.Case, kernel: None) -> None:
    """The kernel refuses, too, the names on which Felix panics."""
    ruleset = refused.compiled(case)
    assert isinstance(ruleset, NftRuleset)
    with fresh_namespace() as namespace:
        assert namespace.run("nft", "-f", "-", text=ruleset.text(restore=True)).returncode == 1


LISTING = ("nft", "--json", "--terse", "list", "table", "ip", "calico")
"""As Felix reads its table."""


@pytest.mark.parametrize("case", refused.UNLISTABLE.values(), ids=refused.UNLISTABLE)
def test_what_nft_cannot_list_loads_nevertheless(case: refused.Case, kernel: None) -> None:
    """As nft 1.0.6 has it: another one may list it, which is what this test would tell."""
    ruleset = refused.compiled(case)
    assert isinstance(ruleset, NftRuleset)
    with fresh_namespace() as namespace:
        assert namespace.run("nft", "-f", "-", text=ruleset.text(restore=True)).returncode == 0
        done = namespace.run(*LISTING)
    assert done.returncode == -SIGABRT
    assert "payload_expr_complete: Assertion" in done.stderr


@pytest.mark.parametrize("things", refused.LISTABLE.values(), ids=map(str, refused.LISTABLE))
def test_what_nft_can_list_is_listed_as_printed(things: tuple[object, ...], kernel: None) -> None:
    ruleset = refused.compiled(refused.fine(things))
    assert isinstance(ruleset, NftRuleset)
    with fresh_namespace() as namespace:
        assert [*reports(ruleset.text(restore=True), ruleset.text(), namespace)] == []


def test_of_which_protocols_nft_knows_ports(netns: Namespace) -> None:
    """Every protocol, in the words that Felix uses."""
    head = (
        "add table ip calico\ndelete table ip calico\nadd table ip calico\nadd chain ip calico c\n"
        "add set ip calico s { type ipv4_addr . inet_proto . inet_service ; }\n"
    )
    listed = set()
    for number in range(256):
        rule = f"meta l4proto {number} ip daddr . meta l4proto . th dport @s counter accept"
        assert netns.run("nft", "-f", "-", text=f"{head}add rule ip calico c {rule}\n").returncode == 0
        if netns.run(*LISTING).returncode == 0:
            listed.add(number)
    assert listed == WITH_HEADER


@pytest.mark.parametrize("things", refused.FINE.values(), ids=refused.FINE)
def test_what_is_next_to_it_loads(things: tuple[object, ...], kernel: None) -> None:
    ruleset = refused.compiled(refused.fine(things))
    assert isinstance(ruleset, NftRuleset)
    with fresh_namespace() as namespace:
        assert namespace.run("nft", "-f", "-", text=ruleset.text(restore=True)).stderr == ""


def test_excluded_ports_are_joined_by_old_releases_only(netns: Namespace) -> None:
    """`felixpy.nftables.joining` says which: a comparison of four bytes is one of both ports."""
    text = "add table ip t\nadd chain ip t c\nadd rule ip t c tcp sport != 1000 ip ttl 5 tcp dport != 80 accept\n"
    done = netns.run("nft", "--debug=netlink", "-f", "-", text=text)
    release = tuple(map(int, re.findall(r"\d+", netns.run("nft", "--version").stdout)[:3]))
    assert ("payload load 4b @ transport header + 0" in done.stdout) is (release < (1, 1, 0))
    listing = netns.run("nft", "list", "ruleset").stdout
    assert ("tcp sport != 1000 tcp dport != 80 ip ttl 5 accept" in listing) is (release < (1, 1, 0))
