"""Comments above chains, rules and sets: right places, and nothing else changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from felixpy.annotate import Notes, annotated_rules, annotated_sets
from felixpy.compiler import Compiler
from felixpy.errors import Path, Place
from felixpy.model import Cluster, Rule, ServiceName, Side, Source
from felixpy.ruleset import Ruleset
from tests.clusters import ALLOW, cluster, host_endpoint, pod, policy, pool, profile


def place(source: Source, path: Path) -> Place:
    """A made-up spot for each path, so that a wrong path shows."""
    return Place(source.file, source.line + len(path), 3)


RULES = (
    Rule(
        action="allow", source=Side(selector="has(app)", nets=("10.0.0.0/8", "11.0.0.0/8")), path=("spec", "ingress", 0)
    ),
    Rule(action="deny", ip_version=6, path=("spec", "ingress", 1)),
    Rule(action="allow", source=Side(service=ServiceName("shop", "db")), path=("spec", "ingress", 2)),
)
CLUSTER: Cluster = replace(
    cluster(
        pod("a", dscp=46, profiles=("kns.default", "gone")),
        policy("p", ingress=RULES, source=Source("policies.yaml", 10)),
        policy("q", order=1.0, ingress=[ALLOW], source=Source("", 0)),
        host_endpoint("h", "eth0", source=Source("hosts.yaml", 5)),
        pool("10.65.0.0/16"),
        profile("unused"),
    ),
    where=place,
)


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    return Compiler(CLUSTER)


@pytest.fixture(scope="module")
def ruleset(compiler: Compiler) -> Ruleset:
    return compiler.compile("node1")


def stripped(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#"))


def above(text: str, start: str) -> list[str]:
    """The comment lines right above the first line that begins so."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(start))
    found: list[str] = []
    while lines[at - 1].startswith("#"):
        at -= 1
        found.insert(0, lines[at])
    return found


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("restore", [True, False])
def test_without_the_comments_the_text_is_the_plain_one(
    compiler: Compiler, ruleset: Ruleset, family: int, restore: bool
) -> None:
    text = annotated_rules(ruleset, family, Notes(CLUSTER, compiler.purpose), restore=restore)
    assert stripped(text) == (ruleset.restore(family) if restore else ruleset.save(family))
    assert text != stripped(text)


@pytest.mark.parametrize("families", [(4, 6), (4,), (6,)])
def test_without_the_comments_the_sets_are_the_plain_ones(ruleset: Ruleset, families: tuple[int, ...]) -> None:
    assert stripped(annotated_sets(ruleset, Notes(CLUSTER, str), families)) == ruleset.ipset_save(families)


def test_each_rule_of_a_policy_is_announced_once_with_its_place(compiler: Compiler, ruleset: Ruleset) -> None:
    text = annotated_rules(ruleset, 4, Notes(CLUSTER, compiler.purpose), restore=False)
    announced = [line for line in text.splitlines() if "spec.ingress" in line]
    assert announced == ["#   spec.ingress[0] (policies.yaml:13:3)", "#   spec.ingress[2] (policies.yaml:13:3)"]
    assert above(text, "-A cali-pi-gnp/p ") == [
        "# cali-pi-gnp/p: GlobalNetworkPolicy p, tier default, ingress (policies.yaml:10:3)",
        announced[0],
    ]


@pytest.mark.parametrize(
    "start, words",
    [
        ("-A cali-pi-gnp/q ", "# cali-pi-gnp/q: GlobalNetworkPolicy q, tier default, ingress"),
        ("-A cali-tw-calia ", "# cali-tw-calia: packets to pod default/a (interface calia) (cluster.yaml:1:3)"),
        ("-A cali-fh-eth0 ", "# cali-fh-eth0: the host's own packets from HostEndpoint h (hosts.yaml:5:3)"),
        ("-A cali-pri-gone ", "# cali-pri-gone: Profile gone, ingress (does not exist: denies)"),
        ("-A cali-from-wl-dispatch ", "# cali-from-wl-dispatch: interfaces of local pods, for packets from them"),
        (":cali-rpf-skip ", "# cali-rpf-skip: allowedSourcePrefixes of local pods"),
    ],
)
def test_a_chain_says_what_it_came_from(compiler: Compiler, ruleset: Ruleset, start: str, words: str) -> None:
    text = annotated_rules(ruleset, 4, Notes(CLUSTER, compiler.purpose), restore=True)
    assert above(text, start)[0] == words


def test_felixs_own_chains_say_what_they_are_for(compiler: Compiler, ruleset: Ruleset) -> None:
    text = annotated_rules(ruleset, 4, Notes(CLUSTER, compiler.purpose), restore=True)
    assert above(text, "-A cali-wl-to-host ") == [f"# cali-wl-to-host: {compiler.purpose('filter/cali-wl-to-host')}"]
    endpoint = above(text, "-A cali-tw-calia ")
    assert endpoint[1:] == [f"#   {compiler.purpose('filter/cali-tw')}"]


def test_every_comment_is_one_line(compiler: Compiler, ruleset: Ruleset) -> None:
    for family in (4, 6):
        text = annotated_rules(ruleset, family, Notes(CLUSTER, compiler.purpose), restore=True)
        assert all(line[0] in "#*:-C" for line in text.splitlines())
        assert all(len(line) > 3 for line in text.splitlines() if line.startswith("#"))


def test_a_set_says_what_it_holds_and_who_asked(ruleset: Ruleset) -> None:
    text = annotated_sets(ruleset, Notes(CLUSTER, str), (4,))
    (selected,) = [ipset for ipset in ruleset.sets if "has(app)" in ipset.words and ipset.family == 4]
    assert above(text, f"create {selected.name} ") == [
        "# addresses of endpoints and network sets with has(app)",
        "#   first used by GlobalNetworkPolicy p, spec.ingress[0] (policies.yaml:13:3)",
    ]
    assert above(text, "create cali40network-ip-pools ") == ["# every IP pool used by workloads"]
