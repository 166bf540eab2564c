"""Each check says what its page says, and nothing where nothing is wrong."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from felixpy.errors import UsageError
from felixpy.linting import CHECKS, LintOptions, choose, limits, lint, page
from felixpy.linting.typos import near
from felixpy.manifests import load
from tests.lint import PODS, codes, findings, guard, policy
from tools import document_lint

ROOT = Path(__file__).parents[2]

WITHOUT_EXAMPLE = {"FX164"}


@pytest.mark.parametrize("code", sorted(set(CHECKS) - WITHOUT_EXAMPLE))
def test_the_example_of_a_page_is_found_and_the_correction_is_not(code: str) -> None:
    example, instead = document_lint.read(code)
    assert {result.name for result in document_lint.check(code, example).failures} == {code}
    assert document_lint.check(code, instead).failures == []


def test_pages_are_up_to_date() -> None:
    command = [sys.executable, "tools/document_lint.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), f"run make docs\n{done.stdout}{done.stderr}"


def test_every_check_has_a_page_and_every_page_a_check() -> None:
    assert {file.stem for file in (ROOT / "docs" / "lint").glob("FX*.md")} == set(CHECKS)
    for code, check in CHECKS.items():
        assert page(code).startswith(f"# {code}: {check.name}\n\n{check.summary} ({check.level}")


# --- which checks run


def test_optional_checks_run_on_request() -> None:
    assert {check.code for check in choose()} == {code for code, check in CHECKS.items() if not check.optional}
    assert [check.code for check in choose(["FX11"], ignore=["fx111,FX113"])] == ["FX110", "FX112", "FX114"]
    assert "FX112" in [check.code for check in choose(extend=["FX112"])]
    assert len(choose(["ALL"])) == len(CHECKS)


def test_unknown_codes_are_refused() -> None:
    with pytest.raises(UsageError, match="--ignore FX999: there is no such check"):
        choose(ignore=["FX999"])


# --- FX101, FX102: what the input lacks is not missed


def test_nothing_is_said_about_pods_that_the_input_lacks() -> None:
    web = policy("podSelector: {matchLabels: {app: nothing}}")
    assert codes(web, pods="") == []
    assert codes(policy("podSelector: {matchLabels: {app: x}}", namespace="elsewhere"), select="FX101") == []


def test_peers_elsewhere_are_not_missed() -> None:
    for peer in (
        "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress}}",
        "namespaceSelector: {matchLabels: {name: kube-system}}",
        "podSelector: {}",
    ):
        assert codes(policy(f"podSelector: {{}}\ningress:\n- from:\n  - {peer}"), select="FX102") == []


def test_a_misspelt_namespace_is_a_finding_even_by_name() -> None:
    peer = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: othre}}"
    (found,) = findings(policy(f"podSelector: {{}}\ningress:\n- from:\n  - {peer}"), select="FX102")
    assert found.hint == "did you mean kubernetes.io/metadata.name=other?"


def test_in_a_whole_cluster_every_peer_counts() -> None:
    system = """
    apiVersion: v1
    kind: Pod
    metadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
    spec: {nodeName: n1, containers: [{name: c, image: i}]}
    status: {podIP: 10.65.9.2, phase: Running}
    """
    wrong = policy("podSelector: {}\ningress:\n- from:\n  - namespaceSelector: {matchLabels: {zone: far}}")
    assert codes(wrong, system, select="FX102") == ["FX102"]


def test_a_global_selector_for_hosts_is_information() -> None:
    (found,) = findings(guard("selector: role == 'router'"), select="FX101")
    assert found.level == "info"


def test_a_misspelt_label_is_named() -> None:
    pods = PODS.replace("app: web", "apps: web")
    (found,) = findings(policy("podSelector: {matchLabels: {app: web}}"), select="FX101", pods=pods)
    assert found.hint == "did you mean the label apps?"


@pytest.mark.parametrize(
    "name, known, likely",
    [("wbe", ["web", "db"], ["web"]), ("monitorng", ["monitoring"], ["monitoring"]), ("web-1", ["web-2"], []),
     ("db", ["dc"], []), ("x", ["y"], []), ("prod", ["dev", "test"], [])],
)  # fmt: skip
def test_what_was_probably_meant(name: str, known: list[str], likely: list[str]) -> None:
    assert near(name, known) == likely


# --- ports


def test_ports_are_only_missed_where_all_pods_declare_theirs() -> None:
    rule = "ingress:\n- ports: [{port: 9999}]"
    assert codes(policy(f"podSelector: {{}}\n{rule}", namespace="other"), select="FX104") == []
    assert codes(policy(f"podSelector: {{matchLabels: {{app: web}}}}\n{rule}"), select="FX104") == ["FX104"]


# --- FX109


def test_alternatives_that_make_sense_are_none_of_our_business() -> None:
    peers = "- namespaceSelector: {matchLabels: {team: blue}}\n  - podSelector: {matchLabels: {app: web}}"
    assert (
        codes(policy(f"podSelector: {{matchLabels: {{app: db}}}}\ningress:\n- from:\n  {peers}"), select="FX109") == []
    )


def test_pods_of_the_other_namespaces_show_that_one_peer_was_meant() -> None:
    peers = "- namespaceSelector: {matchLabels: {team: blue}}\n  - podSelector: {matchLabels: {app: job}}"
    found = findings(policy(f"podSelector: {{matchLabels: {{app: db}}}}\ningress:\n- from:\n  {peers}"), select="FX109")
    assert [result.path for result in found] == [("spec", "ingress", 0, "from", 1)]


# --- FX126


@pytest.mark.parametrize(
    "own, found",
    [
        ("selector: app == 'web'", True),
        ("selector: app == 'db'", False),
        ("notSelector: app == 'db'", True),
        ("notSelector: app == 'web'", False),
        ("nets: [10.65.0.2/32]", True),
        ("nets: [10.65.0.0/30]", False),
        ("notNets: [10.65.0.0/16]", True),
        ("notNets: [10.66.0.0/16]", False),
        ("selector: app == 'db', nets: [10.96.0.0/12]", True),
        ("ports: [80]", False),
    ],
)
@pytest.mark.parametrize("direction, side", [("ingress", "destination"), ("egress", "source")])
def test_a_rule_whose_own_side_is_somebody_else(own: str, found: bool, direction: str, side: str) -> None:
    rules = f"- {{action: Deny, protocol: TCP, {side}: {{{own}}}}}\n- {{action: Allow}}"
    spec = f"selector: app == 'db'\n{direction}:\n{rules}"
    shown = findings(guard(spec), select="FX126")
    expected = [("spec", direction, 0, side)] if found else []
    assert [result.path for result in shown] == expected


def test_policies_of_host_endpoints_may_be_about_others() -> None:
    """With applyOnForward they see what the host sends on; FX142 is about those without."""
    host = """
        apiVersion: projectcalico.org/v3
        kind: HostEndpoint
        metadata: {name: n1-eth0, labels: {role: node}}
        spec: {node: n1, interfaceName: eth0, expectedIPs: [192.0.2.1]}
    """
    rule = "- {action: Deny, destination: {selector: app == 'db'}}"
    spec = f"selector: role == 'node'\napplyOnForward: true\ningress:\n{rule}"
    assert codes(guard(spec), host, select="FX126") == []


# --- FX144


@pytest.mark.parametrize(
    "rule, found",
    [
        ("{action: Deny, protocol: TCP, destination: {ports: [22]}}", "TCP 22"),
        ("{action: Deny, protocol: TCP, destination: {ports: [9100, 22, 179]}}", "TCP 22 and 179"),
        ("{action: Deny, protocol: UDP, destination: {ports: [22]}}", ""),
        ("{action: Deny, protocol: UDP, destination: {ports: [68]}}", "UDP 68"),
        ("{action: Deny, protocol: TCP, destination: {ports: ['1:1024']}}", ""),
        ("{action: Allow, protocol: TCP, destination: {ports: [22]}}", ""),
        ("{action: Deny}", ""),
    ],
)
def test_denials_of_failsafe_ports(rule: str, found: str) -> None:
    host = """
        apiVersion: projectcalico.org/v3
        kind: HostEndpoint
        metadata: {name: n1-eth0, labels: {role: node}}
        spec: {node: n1, interfaceName: eth0, expectedIPs: [192.0.2.1]}
    """
    shown = findings(guard(f"selector: role == 'node'\ningress:\n- {rule}"), host, select="FX144")
    assert [result.message.partition(" stays open on n1")[0] for result in shown] == ([found] if found else [])


# --- FX110, FX111


def test_plain_words_for_everyone_are_no_finding() -> None:
    for rule in ("- {}", "- ports: [{port: 8080}]", "- from: [{namespaceSelector: {}}]\n  ports: [{port: 8080}]"):
        assert codes(policy(f"podSelector: {{matchLabels: {{app: web}}}}\ningress:\n{rule}"), select="FX110") == []
    everyone = policy("podSelector: {matchLabels: {app: web}}\ningress:\n- from: [{namespaceSelector: {}}]")
    assert codes(everyone, select="FX110") == ["FX110"]


@pytest.mark.parametrize(
    "rule, found",
    [
        ("- to: [{namespaceSelector: {}}]", []),
        ("- ports: [{protocol: UDP, port: 53}]", []),
        ("- to: [{ipBlock: {cidr: 10.0.0.0/8}}]", []),
        ("- to: [{ipBlock: {cidr: 8.8.8.8/32}}]\n  ports: [{protocol: UDP, port: 53}]", []),
        ("- to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]", []),
        ("- to: [{podSelector: {matchLabels: {app: db}}}]", ["FX111"]),
        ("- to: [{ipBlock: {cidr: 203.0.113.0/24}}]", ["FX111"]),
        ("- ports: [{protocol: TCP, port: 443}]", ["FX111"]),
    ],
)
def test_what_may_be_for_dns(rule: str, found: list[str]) -> None:
    spec = f"podSelector: {{matchLabels: {{app: web}}}}\npolicyTypes: [Egress]\negress:\n{rule}"
    assert codes(policy(spec), select="FX111") == found


def test_closed_pods_need_no_dns() -> None:
    assert codes(policy("podSelector: {}\npolicyTypes: [Egress]"), select="FX111") == []


# --- what decides nothing


def test_denials_that_close_the_door_behind_a_policy_are_not_redundant() -> None:
    closing = guard(
        "selector: app == 'web'\ntypes: [Ingress]\ningress:\n"
        "- {action: Allow, source: {selector: app == 'db'}}\n- {action: Deny}"
    )
    assert codes(closing) == []


def test_a_default_deny_beside_other_policies_is_not_redundant() -> None:
    allow = policy(
        "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]"
    )
    assert codes(policy("podSelector: {}", name="deny-all"), allow) == []


def test_of_two_that_say_the_same_one_is_redundant() -> None:
    spec = "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]"
    found = findings(policy(spec, name="a"), policy(spec, name="b"), select="FX12")
    assert [(result.name, result.subject) for result in found] == [("FX121", "KubernetesNetworkPolicy shop/b")]
    assert [related.message for related in found[0].related] == [
        "KubernetesNetworkPolicy shop/a: spec.ingress[0].from[0] allows"
    ]


def test_a_rule_that_matters_to_one_of_its_pods_is_not_redundant() -> None:
    wide = policy("podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]", name="wide")
    narrow = policy(
        "podSelector: {matchLabels: {app: db}}\ningress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]", name="a"
    )
    found = findings(wide, narrow, select="FX12")
    assert {result.subject for result in found} <= {"KubernetesNetworkPolicy shop/a"}


def test_staged_policies_decide_nothing_and_are_not_told_so() -> None:
    staged = guard("selector: all()\ningress: [{action: Allow}]").replace("Global", "StagedGlobal")
    assert codes(staged, select="FX12") == []


def test_split_rules_of_three_lists_are_not_judged() -> None:
    lists = "nets: [10.0.0.0/8, 192.0.2.0/24]"
    rule = f"{{action: Allow, protocol: TCP, source: {{{lists}}}, destination: {{{lists}, ports: [1, 'http']}}}}"
    assert codes(guard(f"selector: all()\ntypes: [Ingress]\ningress: [{rule}, {rule}]"), select="FX12") == ["FX120"]


# --- limits


def test_many_chains_on_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MANY_CHAINS", 1)
    both = "podSelector: {}\npolicyTypes: [Ingress, Egress]"
    (found,) = findings(policy(both), select="FX164")
    assert (found.subject, found.message) == ("Node n1", "policies take 2 chains on this node")


# --- public ports


def test_ports_that_may_be_public() -> None:
    rule = policy("podSelector: {matchLabels: {app: web}}\ningress:\n- ports: [{port: 8080}, {port: 443}]")
    (found,) = findings(rule, select="FX113", options=LintOptions(public_ports=(443,)))
    assert found.message == "the internet reaches 1 endpoint on TCP 8080; public may be 443"
    assert findings(rule, select="FX113", options=LintOptions(public_ports=(443, 8080))) == []


# --- comments

WRONG = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  egress:
  - to: [{podSelector: {}}]
"""


@pytest.mark.parametrize(
    "comment, before, silent",
    [
        ("# felixpy: ignore[FX108]", "apiVersion", True),
        ("# felixpy: ignore", "apiVersion", True),
        ("# felixpy: ignore[FX10]", "  egress", True),
        ("#felixpy:ignore[FX101, FX108]", "spec", True),
        ("# felixpy: ignore[FX108]", "  podSelector", False),
        ("# felixpy: ignore[FX101]", "apiVersion", False),
        ("# felixpy: ignored", "apiVersion", False),
    ],
)
def test_comments_silence_what_follows(comment: str, before: str, silent: bool) -> None:
    text = WRONG.replace(f"\n{before}", f"\n{comment}\n{before}")
    assert (codes(text, select="FX108") == []) is silent


def test_comments_at_the_end_of_a_line_are_about_that_line() -> None:
    assert codes(WRONG.replace("egress:", "egress:  # felixpy: ignore[FX108]"), select="FX108") == []


def test_comments_without_effect_are_told() -> None:
    idle = WRONG.replace("  podSelector", "  # felixpy: ignore[FX108]\n  podSelector")
    found = [result for result in findings(idle) if result.name == "FX100"]
    assert [result.message for result in found] == ["this comment switches nothing off"]
    unknown = WRONG.replace("  egress", "  # felixpy: ignore[FX108, XY]\n  egress")
    assert [result.message for result in findings(unknown) if result.name == "FX100"] == ["there is no check XY"]


# --- the demonstration of this repository, and policies as other projects publish them


def test_of_the_demonstration_only_the_mistake_is_found() -> None:
    """The pull request has a dash too many, which lets everybody into the database."""
    assert lint(load([ROOT / "fixtures" / "demo" / "shop"])).failures == []
    found = lint(load([ROOT / "fixtures" / "demo" / "pull-request"])).failures
    assert {result.subject for result in found} == {"KubernetesNetworkPolicy shop/db"}
    assert [(result.name, result.level) for result in found] == [("FX123", "info"), ("FX109", "warning")]


def test_json_has_no_comments_and_is_linted_all_the_same() -> None:
    text = (
        '{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "x", "namespace": "s"}, '
    )
    text += '"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}]}}'
    run = lint(load(["-"], stdin=StringIO(text)))
    assert [result.name for result in run.failures] == ["FX108"]
