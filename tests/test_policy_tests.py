"""`felixpy test` and the fixtures for pytest, on the sample project and on small ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml

from felixpy.errors import InputError
from felixpy.policytests import Runner, read_tests
from felixpy.policytests.coverage import coverage
from felixpy.policytests.files import PodChoice
from tests.clusters import ALLOW, cluster, pod, policy
from tests.commands import caller

SAMPLE = Path(__file__).parents[1] / "fixtures" / "sample-project"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(SAMPLE, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def felixpy(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    return caller(capsys, monkeypatch)


def write(project: Path, text: str, name: str = "more.felixtest.yaml") -> Path:
    path = project / name
    path.write_text(textwrap.dedent(text))
    return path


def test_the_sample_passes(felixpy) -> None:
    answer = felixpy("test")
    assert answer.status == 0, answer.out
    assert "3 passed, 0 failed" in answer.err


NO_FORM = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: no-such-icmp}
spec: {selector: app == 'db', order: 9999, ingress: [{action: Deny, protocol: ICMP, icmp: {type: 3, code: 4}}]}
"""


NFTABLES_MODE = """
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {nftablesMode: Enabled}
"""


def test_nothing_passes_that_depends_on_rules_which_a_node_does_not_get(project: Path, felixpy) -> None:
    """nft has no form for an ICMP type with a code as Felix writes it, iptables does."""
    (project / "shop" / "more.yaml").write_text(NO_FORM)
    path = write(project, """
        manifests: [shop]
        expectations:
        - {from: internet, to: shop/db, ports: [5432], expect: deny}
    """)  # fmt: skip
    assert felixpy("test", path).status == 0
    answer = felixpy("test", path, "--dataplane", "nftables")
    assert answer.status == 1
    assert "expected deny, but the verdict is uncertain" in answer.out
    assert "does not get these rules: " in answer.out
    assert "GlobalNetworkPolicy no-such-icmp: spec.ingress[0]: cannot be programmed in nftables mode" in answer.out


def test_a_table_holds_only_if_nodes_get_the_rules(project: Path, felixpy) -> None:
    (project / "shop" / "more.yaml").write_text(NO_FORM)
    path = project / "table.felixtest.yaml"
    assert felixpy("test", "--init", "-f", project / "shop", path).status == 0
    assert felixpy("test", path).status == 0
    answer = felixpy("test", path, "--dataplane", "nftables")
    assert answer.status == 1
    assert "nodes do not get these rules" in answer.out


def test_the_data_plane_is_that_of_the_manifests(project: Path, felixpy) -> None:
    (project / "shop" / "more.yaml").write_text(NFTABLES_MODE)
    answer = felixpy("test")
    assert answer.status == 0
    assert "felixpy: nftables data plane on" in answer.err
    answer = felixpy("exposure", "shop")
    assert answer.status == 0
    assert "felixpy: nftables data plane on" in answer.err
    assert "warning" not in answer.err


def test_a_failure_says_what_decided_and_where(project: Path, felixpy) -> None:
    path = write(project, """
        manifests: [shop]
        expectations:
        - {from: internet, to: shop/db, ports: [5432], expect: allow, note: not so}
    """)  # fmt: skip
    answer = felixpy("test", path)
    assert answer.status == 1
    assert "more.felixtest.yaml:4:3" in answer.out
    assert "expected allow, found deny" in answer.out
    assert "end of tier default" in answer.out
    assert "shop/shop.yaml:17:1: the policy to change: KubernetesNetworkPolicy shop/db" in answer.out


@pytest.mark.parametrize(
    ("expectation", "passes"),
    [
        ("{from: shop/web, to: shop/db, ports: [5432], expect: allow, by: db}", True),
        ("{from: shop/web, to: shop/db, ports: [5432], expect: allow, by: KubernetesNetworkPolicy shop/db}", True),
        ("{from: shop/web, to: shop/db, ports: [5432], expect: allow, by: other}", False),
        ("{from: shop/web, to: shop/db, ports: [80], expect: deny, by: tier default}", True),
        ("{from: shop/web, to: shop/db, ports: [5432, 80], expect: allow}", False),
        ("{from: shop/web, to: shop/db, ports: [5432, 80], expect: allow, some: true}", True),
        ("{from: {namespace: shop}, to: {namespace: shop}, ports: [5432], expect: allow}", True),
        ("{from: {selector: \"app in {'web'}\"}, to: shop/db, ports: [5432/tcp], expect: allow}", True),
        ("{from: [internet, 10.0.0.0/8, host], to: shop/web, ports: [80], expect: allow}", True),
        ("{from: 198.51.100.0/24, to: shop/db, ports: [5432], expect: deny}", True),
        ("{from: shop/nobody, to: shop/db, expect: deny}", False),
        ("{from: {namespace: nowhere}, to: shop/db, expect: deny}", False),
    ],
)
def test_expectations(project: Path, felixpy, expectation: str, passes: bool) -> None:
    path = write(project, f"manifests: [shop]\nexpectations:\n- {expectation}\n")
    assert felixpy("test", path).status == (0 if passes else 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("expectations: [{from: a, to: b}]", "expect"),
        ("expectations: [{from: a, to: b, expect: maybe}]", "allow or deny"),
        ("expectations: [{from: [], to: b, expect: deny}]", "at least one end"),
        ("expectations: [{from: 7, to: b, expect: deny}]", "a name, an address"),
        ("expectations: [{from: {selector: '=='}, to: b, expect: deny}]", "not a valid selector"),
        ("expectations: [{from: a, to: b, expect: deny, ports: [99999]}]", "65535"),
        ("expectation: []", "unknown field"),
        ("a: [", "line"),
        ("- a", "expected"),
    ],
)
def test_mistakes_have_a_place(project: Path, felixpy, text: str, reason: str) -> None:
    path = write(project, text)
    answer = felixpy("test", path)
    assert answer.status == 2
    assert f"{path}:1" in answer.err
    assert reason in answer.err or "felixtest" in answer.err


def test_every_mistake_is_told_at_once(project: Path) -> None:
    path = write(project, "expectations:\n- {from: a, to: b}\n- {from: 7, to: b, expect: deny}\n")
    with pytest.raises(InputError) as wrong:
        read_tests([str(path)])
    assert [problem.place.line for problem in wrong.value.problems] == [2, 3]


def test_a_changed_table_fails_and_update_takes_it_over(project: Path, felixpy) -> None:
    manifests = project / "shop" / "shop.yaml"
    manifests.write_text(manifests.read_text().replace("port: 5432", "port: 5433"))
    answer = felixpy("test", "-k", "matrix")
    assert answer.status == 1
    assert "- shop/web => shop/db : TCP 5432" in answer.out
    assert "+ shop/web => shop/db : TCP 5433" in answer.out
    assert felixpy("test", "--update").status == 0
    assert felixpy("test", "-k", "matrix").status == 0
    assert "expectations:" in (project / "shop.felixtest.yaml").read_text()


def test_a_first_file_passes_at_once(project: Path, felixpy) -> None:
    assert felixpy("test", "--init", "-f", "shop", "new.felixtest.yaml").status == 0
    assert felixpy("test", "new.felixtest.yaml").status == 0
    assert felixpy("test", "--init", "-f", "shop", "new.felixtest.yaml").status == 2


def test_unchanged_since_a_revision(project: Path, felixpy) -> None:
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run([*git, *command], check=True)
    path = write(project, "manifests: [shop]\nunchanged-since: HEAD\n")
    assert felixpy("test", path).status == 0
    manifests = project / "shop" / "shop.yaml"
    manifests.write_text(manifests.read_text().replace("port: 5432", "port: 5433"))
    answer = felixpy("test", path)
    assert answer.status == 1
    assert "2 flows opened or closed" in answer.out
    flows = [line.strip() for line in answer.out.splitlines() if line.strip()[:2] in ("+ ", "- ")]
    path.write_text(path.read_text() + "changes:\n" + "".join(f"- '{flow}'\n" for flow in flows))
    assert felixpy("test", path).status == 0


def test_choosing_by_words(felixpy) -> None:
    assert "1 passed" in felixpy("test", "-k", "internet").err
    assert "2 passed" in felixpy("test", "-k", "matrix or internet").err
    assert "1 passed" in felixpy("test", "-k", "not matrix and not internet").err
    assert felixpy("test", "-k", "nothing").status == 2


def test_formats(project: Path, felixpy) -> None:
    write(project, "manifests: [shop]\nexpectations: [{from: internet, to: shop/db, expect: allow}]\n")
    answer = felixpy("test", "-o", "json", "--junit", "results.xml")
    document = json.loads(answer.out)
    assert document["kind"] == "TestRun"
    cases = ET.parse(project / "results.xml").getroot().findall(".//testcase")
    assert len(cases) == 4
    assert len([case for case in cases if case.find("failure") is not None]) == 1
    assert "not ok" in felixpy("test", "-o", "tap").out
    assert felixpy("test", "-o", "github").out.startswith("::error file=more.felixtest.yaml,line=2")
    assert json.loads(felixpy("test", "-o", "sarif").out)["version"] == "2.1.0"
    assert "0 passed, 1 failed" in felixpy("test", "--fail-fast").err


def test_coverage_names_rules_that_nothing_reached(project: Path, felixpy) -> None:
    assert "1 of 1 policy rule reached" in felixpy("test", "--coverage").err
    answer = felixpy("test", "--coverage", "-k", "internet")
    assert "not reached: KubernetesNetworkPolicy shop/db: spec.ingress[0]" in answer.err


def test_coverage_counts_rules_in_force_only() -> None:
    found = cluster(
        pod("web", "10.65.0.1"),
        policy("one", ingress=[ALLOW, ALLOW]),
        policy("two", kind="StagedGlobalNetworkPolicy", ingress=[ALLOW]),
    )
    assert len(list(coverage(found, set()))) == 2


def test_pods_are_chosen_by_labels_of_namespaces_too() -> None:
    runner = Runner(cluster(pod("web", "10.65.0.1", labels={"app": "web"}), pod("db", "10.65.0.2")))
    assert runner.named(PodChoice("default", 'app == "web"')) == ["default/web"]
    assert runner.named(PodChoice("", "")) == ["default/db", "default/web"]


# --- pytest


def run_pytest(project: Path, *arguments: str, python: str | Path = sys.executable, **environment: str) -> str:
    """Run the project's own tests in a process of their own, as somebody who has the plugin installed."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "FELIX"))}
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, check=False, env={**kept, **environment}
    )
    return done.stdout + done.stderr


def test_fixtures(project: Path) -> None:
    assert "2 passed" in run_pytest(project, "-k", "not packets")


def test_an_assertion_that_fails_explains_itself(project: Path) -> None:
    test = "def test_it(policy):\n    assert policy.allows('internet', 'shop/db', 5432)\n"
    (project / "tests" / "test_wrong.py").write_text(test)
    answer = run_pytest(project, "tests/test_wrong.py")
    assert "1 failed" in answer
    assert "DENIED  internet → shop/db tcp/5432" in answer
    assert "end of tier default" in answer


def test_nothing_happens_unless_asked_for(project: Path) -> None:
    (project / "tests" / "test_plain.py").write_text(
        "import sys\n\n\ndef test_it():\n    assert 'felixpy.manifests' not in sys.modules\n"
    )
    assert "1 passed" in run_pytest(project, "tests/test_plain.py")


@pytest.mark.netns
@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_real_packets(project: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    folders = {"FELIXPY_LAB_DIR": str(tmp_path / "labs"), "FELIXPY_LOCKFILE": str(tmp_path / "lock")}
    answer = run_pytest(project, "-k", "packets", *arguments, **folders)
    assert "2 passed" in answer
    labs = tmp_path / "labs"
    assert not labs.exists() or not [path for path in labs.iterdir() if path.suffix == ".json"]


@pytest.mark.netns
def test_real_packets_meet_the_data_plane_of_the_manifests(project: Path, tmp_path: Path) -> None:
    (project / "shop" / "more.yaml").write_text(NFTABLES_MODE)
    (project / "tests" / "test_plane.py").write_text(
        "def test_packets(felix_lab):\n"
        "    assert felix_lab.connects('shop/web', 'shop/db', 5432)\n"
        "    assert not felix_lab.connects('shop/web', 'shop/db', 80)\n"
        "    assert {row.backend for row in felix_lab.lab.state.enforced} == {'nftables'}\n"
    )
    folders = {"FELIXPY_LAB_DIR": str(tmp_path / "labs"), "FELIXPY_LOCKFILE": str(tmp_path / "lock")}
    assert "3 passed" in run_pytest(project, "-k", "packets", **folders)


@pytest.mark.parametrize(
    "written, met",
    [("sh*/*.yaml", True), ("**/shop.yaml", True), ("{here}/sho?", True), ("{here}/odd*[1].yaml", True),
     ("{here}/x*", False), ("**x", False)],
)  # fmt: skip
def test_manifests_may_be_patterns_from_anywhere(written: str, met: bool, project: Path, felixpy) -> None:
    shutil.copy(project / "shop" / "shop.yaml", project / "odd*[1].yaml")
    wanted = {"from": "shop/web", "to": "shop/db", "ports": [5432], "expect": "allow"}
    document = {"manifests": [written.format(here=project)], "expectations": [wanted]}
    answer = felixpy("test", write(project, yaml.safe_dump(document)))
    assert (answer.status, "nothing matches" in answer.err) == ((0, False) if met else (2, True)), answer


# --- the schema


def test_the_schema_knows_the_same_fields() -> None:
    from felixpy.policytests.files import _EXPECTATION, TEST

    schema = json.loads((SAMPLE.parents[1] / "docs" / "schemas" / "felixtest.json").read_text())
    assert set(schema["properties"]) == set(TEST.fields)
    assert set(schema["$defs"]["expectation"]["properties"]) == set(_EXPECTATION.fields)


def test_the_sample_is_valid() -> None:
    schema = json.loads((SAMPLE.parents[1] / "docs" / "schemas" / "felixtest.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((SAMPLE / "shop.felixtest.yaml").read_text()), schema)
