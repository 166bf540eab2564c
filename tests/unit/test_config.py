"""Felix's parameters: how their values are written, where they come from, and what is derived from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from felixpy.config import Config, Parameter, Setting, build, find, parameters, spec_fields, suggestion
from felixpy.parameter_types import type_of
from felixpy.parameters import ConfigValueError
from felixpy.settings import described

TABLE: dict[str, Any] = json.loads((Path(__file__).parents[2] / "fixtures" / "parameters.json").read_text())
"""Felix's parameters with default and flags, and what its readers make of thousands of texts, one of each type."""

READ = [(name, raw, value) for name, rows in TABLE["values"].items() for raw, value in rows["read"].items()]
REFUSED = [(name, raw) for name, rows in TABLE["values"].items() for raw in rows["refused"]]


def as_recorded(kind: str, value: Any) -> object:
    """A value in the form in which Felix's was taken down."""
    match kind.partition("(")[0]:
        case "portrange":
            return [*(value or (0, 0)), ""]
        case "portrange-list":
            return [[*item, ""] for item in value]
        case "keyvaluelist":
            return dict(value)
        case "iface-list":
            return ",".join(value)
        case "iface-list-regexp":
            return [item[1:-1] if item.startswith("/") else f"^{item}$" for item in value]
        case "route-table-range":
            return {"Min": value[0], "Max": value[1]}
        case "route-table-ranges":
            return [{"Min": low, "Max": high} for low, high in value]
        case "port-list":
            return [list(item) for item in value]
    return list(value) if isinstance(value, tuple) else value


def test_the_parameters_are_those_of_felix() -> None:
    felix = TABLE["parameters"]
    known = ("non-zero", "die-on-fail", "local")
    ours = {row.name: [flag for flag in known if flag in row.flags] for row in parameters().values()}
    assert ours == {name: flags for name, (_, *flags) in felix.items()}
    assert {row.name: row.default for row in parameters().values() if row.effect} == {
        row.name: felix[row.name][0] for row in parameters().values() if row.effect
    }


def test_every_type_of_a_parameter_that_matters_is_in_the_table() -> None:
    kinds = {rows["type"] for rows in TABLE["values"].values()}
    assert {row.kind for row in parameters().values() if row.effect} <= kinds
    assert len(READ) + len(REFUSED) > 7000


@pytest.mark.parametrize("name", TABLE["values"])
def test_texts_are_read_as_felix_reads_them(name: str) -> None:
    row = parameters()[name.lower()]
    assert row.kind == TABLE["values"][name]["type"]
    found = type_of(row.kind)
    wanted = {raw: value for other, raw, value in READ if other == name}
    if row.kind == "portrange":
        # A range that ends at 0 is none to Felix's rules.
        wanted = {raw: value if value[1] else [0, 0, ""] for raw, value in wanted.items()}
    assert {raw: as_recorded(row.kind, found.read(raw)) for raw in wanted} == wanted
    for raw in (raw for other, raw in REFUSED if other == name):
        with pytest.raises(ValueError, match=r"\w+"):
            found.read(raw)


@pytest.mark.parametrize("row", [row for row in parameters().values() if row.effect], ids=lambda row: row.name)
def test_a_text_that_felix_cannot_read_leaves_the_default_and_says_if_felix_exits(row: Parameter) -> None:
    raw = "\n" if row.kind == "string" else "?!"
    with pytest.raises(ConfigValueError) as caught:
        row.read(raw)
    assert caught.value.fatal is row.fatal
    assert build([Setting(row.name, raw)]) == Config()


@pytest.mark.parametrize("row", [row for row in parameters().values() if row.effect], ids=lambda row: row.name)
def test_none_is_the_zero_value_or_keeps_felix_from_starting(row: Parameter) -> None:
    field = find(Setting(row.name, "none"))
    assert field
    if "non-zero" in row.flags:
        with pytest.raises(ConfigValueError) as caught:
            row.read("None")
        assert caught.value.fatal
    else:
        assert row.read("none") == type_of(row.kind).zero == getattr(build([Setting(row.name, "NONE")]), field)


@pytest.mark.parametrize(
    "settings, port",
    [
        ([], 4789),
        ([Setting("VXLANPort", "1"), Setting("VXLANPort", "2")], 1),
        ([Setting("vxlanport", "1")], 1),
        ([Setting("VXLANPort", ""), Setting("VXLANPort", "2")], 2),
        ([Setting("VXLANPort", "wrong"), Setting("VXLANPort", "2")], 4789),
        ([Setting("VXLANPort", "none"), Setting("VXLANPort", "2")], 0),
        ([Setting("VXLANPort", " 1")], 4789),
        ([Setting("VXLANPort", "0x10")], 16),
        ([Setting("NoSuchThing", "1")], 4789),
    ],
)
def test_the_strongest_setting_counts_and_an_unreadable_one_is_the_default(settings: list[Setting], port: int) -> None:
    assert build(settings).vxlan_port == port


def test_parameters_are_found_by_name_in_any_case_and_fields_by_their_own() -> None:
    assert find(Setting("IPTABLESMARKMASK", "1")) == "mark_mask"
    assert find(Setting("", "1")) is None
    assert find(Setting("LogSeverityScreen", "Info")) is None
    assert spec_fields()["nftablesMode"].name == "NFTablesMode"
    assert suggestion("VxlanPrt") == "VXLANPort"
    assert suggestion("nothing like it") == ""


@pytest.mark.parametrize("field", ["ipv4VXLANTunnelAddr", "clusterType", "ipInIpEnabled", "etcdAddr", ""])
def test_what_a_resource_cannot_set(field: str) -> None:
    assert field not in spec_fields()


@pytest.mark.parametrize(
    "config, expected",
    [
        (Config(), False),
        (Config(goldmane_server="goldmane:7443"), True),
        (Config(local_flow_reporter="Enabled"), True),
    ],
)
def test_flow_logs(config: Config, expected: bool) -> None:
    assert config.flow_logs is expected


@pytest.mark.parametrize(
    "config, interface, expected",
    [
        (Config(), "cali123", True),
        (Config(), "calix", True),
        (Config(), "eth0", False),
        (Config(), "kube-ipvs0", True),
        (Config(interface_prefixes=("eni", "tap")), "tap0", True),
        (Config(interface_prefixes=("eni", "tap")), "cali0", False),
        (Config(interface_exclude=("eth0",)), "eth0", True),
        (Config(interface_exclude=("eth0",)), "eth01", False),
        (Config(interface_exclude=("/eth/",)), "xeth0", True),
        (Config(interface_exclude=("/^eth[01]$/",)), "eth1", True),
        (Config(interface_exclude=("/^eth[01]$/",)), "eth2", False),
        (Config(interface_exclude=()), "kube-ipvs0", False),
    ],
)
def test_interfaces_that_are_none_of_felixs_business(config: Config, interface: str, expected: bool) -> None:
    assert bool(config.excludes(interface)) is expected


@pytest.mark.parametrize(
    "overrides, expected",
    [
        ("", True), ("NFLogSize=true", True), ("NFLogSize=false", False), ("Other=false", True), ("NFLogSize=0", False)
    ],
)  # fmt: skip
def test_features_are_there_unless_overridden(overrides: str, expected: bool) -> None:
    assert build([Setting("FeatureDetectOverride", overrides)]).feature("NFLogSize") is expected


def test_only_ruling_nftables_out_keeps_covered_members() -> None:
    suppressed = {mode: Config(nftables_mode=mode).suppresses_overlaps for mode in ("Auto", "Enabled", "Disabled")}
    assert suppressed == {"Auto": True, "Enabled": True, "Disabled": False}


def test_configurations_are_values() -> None:
    """Planners are shared between nodes with equal parameters."""
    one, other = build([Setting("VXLANPort", "1")]), build([Setting("vxlanport", "01")])
    assert one == other
    assert hash(one) == hash(other)


def test_defaults_can_be_written_as_values() -> None:
    """What is shown as a parameter's default means just that when it is given."""
    unset: dict[str, Any] = {row.name: row.default for row in described() if row.default != "none"}
    assert build(Setting(name, value) for name, value in unset.items()) == Config()
    assert all(row.effect for row in described())
