"""The templates themselves: their form, and that every one of every Calico version draws what it should."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

from felixpy import render
from felixpy.calico_versions import CALICO_VERSIONS, V3_32
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.layouts import NFTABLES
from felixpy.model import Host, Qos, Rule, Side
from felixpy.plan.values import ChainPlan, Facts
from felixpy.render import Renderer, template_root
from felixpy.ruleset import FELIX_OWN, Ruleset
from tests.clusters import ALLOW, DENY, LOG, PASS, cluster, host_endpoint, node, pod, policy, pool

ROOT = template_root()
FILES = {file.relative_to(ROOT).as_posix(): file.read_text() for file in sorted(ROOT.rglob("*.j2"))}
LINE = re.compile(
    r"% |\{# .* #\}$|add rule \{\{ chain \}\} |-A (?:\{\{ chain \}\}|[A-Z]+)(?: |\{\{)|#\{\{ rule\.number \}\}$"
)

QUOTED = re.compile(r'"[^"]*"')
"""What stands in quotes may hold any number of blanks."""

NETS = ("10.0.0.0/8", "11.0.0.0/8", "fd00::/8", "fe00::/8")
RULES = (
    LOG,
    DENY,
    PASS,
    Rule(action="allow", source=Side(nets=NETS, not_nets=NETS), destination=Side(nets=NETS), annotations=(("a", "b"),)),
    ALLOW,
)
THINGS = (
    node(ipip_tunnel="10.0.0.1", vxlan_tunnel_v4="10.1.0.1", vxlan_tunnel_v6="fd00::1"),
    pool("10.0.0.0/16", ipip=True, nat_outgoing=True),
    pool("10.1.0.0/16", vxlan=True),
    pool("fd00::/48", vxlan=True, nat_outgoing=True),
    pod(
        "a",
        "10.0.0.2",
        "fd00::2",
        qos=Qos(ingress_packet_rate=1, ingress_packet_burst=5, egress_packet_rate=1, egress_packet_burst=5,
                ingress_connections=2, egress_connections=2),
        dscp=46,
        floating=(("10.0.0.2", "192.0.2.2"), ("fd00::2", "2001:db8::2")),
        spoofable=("10.9.0.0/24", "fd09::/64"),
    ),
    pod("b1", "10.0.0.3"),
    pod("b2", "10.0.0.4"),
    host_endpoint("one", "eth0"),
    host_endpoint("two", "eth1"),
    host_endpoint("all", "*"),
    *(policy(f"p{at}", order=float(at), inbound=RULES, outbound=RULES) for at in range(7)),
    policy("forwarded", order=8.0, apply_on_forward=True),
    policy("early", order=9.0, pre_dnat=True, inbound=RULES, ingress=[ALLOW]),
    policy("raw", order=10.0, do_not_track=True, inbound=RULES, outbound=RULES),
)  # fmt: skip
SWITCHES = {
    "WireguardEnabled": "true",
    "WireguardEnabledV6": "true",
    "WireguardHostEncryptionEnabled": "true",
    "ClusterType": "openstack",
    "IstioAmbientMode": "Enabled",
    "FloatingIPs": "Enabled",
    "WorkloadSourceSpoofing": "Any",
    "FlowLogsLocalReporter": "Enabled",
    "IptablesFilterAllowAction": "Return",
    "IptablesMangleAllowAction": "Return",
    "LogActionRateLimit": "5/minute",
}


@pytest.fixture(scope="module", params=list(CALICO_VERSIONS))
def calico_version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def everything(calico_version: str) -> list[Ruleset]:
    """A node with everything that a template can draw, with the switches on and off, with and without IPVS."""
    compiler = Compiler(cluster(*THINGS, service_cidrs=("10.96.0.0/12", "fd96::/112")), CALICO_VERSIONS[calico_version])
    eth = {"eth0": (), "eth1": ()}
    on = [Setting(name, value) for name, value in SWITCHES.items()]
    return [
        compiler.compile("node1", Host(interfaces={**eth, "kube-ipvs0": ()}), on),
        compiler.compile("node1", Host(interfaces=eth), [Setting("WorkloadSourceSpoofing", "Any")]),
    ]


def names(calico_version: str) -> set[str]:
    """Templates of a Calico version, without those that are only included."""
    files = (name.partition("/") for name in FILES)
    found = {
        rest.removesuffix(".j2") for folder, _, rest in files if folder in CALICO_VERSIONS[calico_version].templates
    }
    return {name for name in found if not name.rpartition("/")[2].startswith("_")}


@pytest.mark.parametrize("name", FILES)
def test_a_template_begins_with_what_it_is_for(name: str) -> None:
    assert re.match(r"\{# [A-Z].*[.:] ?#\}\n", FILES[name]), FILES[name].splitlines()[0]


@pytest.mark.parametrize("name", FILES)
def test_a_line_is_a_rule_or_control_flow(name: str) -> None:
    lines = FILES[name].splitlines()[1:]
    assert [line for line in lines if not LINE.match(line)] == []
    assert [line for line in lines if "  " in QUOTED.sub('""', line.removeprefix("%").lstrip())] == []
    assert FILES[name].endswith("\n")
    assert not FILES[name].endswith("\n\n")


def test_every_folder_belongs_to_a_version() -> None:
    used = {folder for calico_version in CALICO_VERSIONS.values() for folder in calico_version.templates}
    assert {name.partition("/")[0] for name in FILES} <= {*used, *NFTABLES.templates}


def test_no_version_repeats_what_its_neighbour_says() -> None:
    """An older Calico version keeps only files that differ."""
    for calico_version in CALICO_VERSIONS.values():
        for newer, older in zip(calico_version.templates[1:], calico_version.templates, strict=False):
            for name, text in FILES.items():
                folder, _, rest = name.partition("/")
                assert folder != older or text != FILES.get(f"{newer}/{rest}"), f"{name} is the same in {newer}"


def test_every_template_draws_a_chain(calico_version: str, everything: list[Ruleset]) -> None:
    """In the newest Calico version all of them; an older one has to reach at least those that it overrides."""
    drawn = {
        chain.template
        for ruleset in everything
        for table in ruleset.tables.values()
        for chain in table.all_chains()
        if chain.bodies
    }
    assert drawn <= names(calico_version)
    newest = next(iter(CALICO_VERSIONS))
    renderer = Renderer(CALICO_VERSIONS[calico_version])
    files = {name: renderer.files(name)[0] for name in names(calico_version) - drawn}
    missing = {file for file in files.values() if calico_version == newest or not file.startswith(newest)}
    assert {file for file in missing if "\n-A " in FILES[file]} == set()


def test_rules_are_single_spaced_outside_of_quotes(everything: list[Ruleset]) -> None:
    for ruleset in everything:
        for family in (4, 6):
            for line in ruleset.restore(family).splitlines():
                assert "  " not in QUOTED.sub('""', line), line
                assert line == line.strip(), line


def test_chains_hold_rules_of_their_own(everything: list[Ruleset]) -> None:
    """No chain name of another chain, no marker and no leftover of a template gets into the text."""
    for ruleset in everything:
        for family in (4, 6):
            text = ruleset.restore(family)
            assert not re.search(r"\{\{|\{%|#\}|None|Undefined", text)
            assert all(line[:3] in ("-A ", "COM") or line[0] in "*:" for line in text.splitlines())


def test_facts_that_are_missing_are_errors(calico_version: str) -> None:
    environment = render._environment(CALICO_VERSIONS[calico_version].templates)
    assert environment.undefined is jinja2.StrictUndefined
    with pytest.raises(jinja2.UndefinedError):
        environment.get_template("filter/cali-tw.j2").render(chain="cali-tw-x")


def test_an_error_names_the_partial_and_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partials are put into the templates that include them; people look for the line in the partial's own file."""
    folder = tmp_path / "v3.32"
    (folder / "filter").mkdir(parents=True)
    (folder / "_part.j2").write_text("{# A partial. #}\n-A {{ chain }} --jump {{ missing.fact }}\n")
    (folder / "filter" / "cali-x.j2").write_text('{# A chain. #}\n-A {{ chain }} --jump DROP\n% include "_part.j2"\n')
    (folder / "filter" / "cali-y.j2").write_text("{# A chain. #}\n% for rule in\n")
    monkeypatch.setattr(render, "template_root", lambda: tmp_path)
    render._environment.cache_clear()
    try:
        for name, place in (
            ("cali-x", "v3.32/_part.j2:2: 'missing' is undefined"),
            ("cali-y", "v3.32/filter/cali-y.j2:2"),
        ):
            plan = ChainPlan(name="cali-x", template=f"filter/{name}", facts=Facts(), origin=FELIX_OWN)
            with pytest.raises(render.TemplateFault, match=re.escape(place)):
                render.Renderer(V3_32).chain(plan)
    finally:
        render._environment.cache_clear()


def test_bytecode_that_others_may_write_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert render._bytecode_cache() is not None
    (tmp_path / "felixpy" / "templates").chmod(0o777)
    assert render._bytecode_cache() is None
