"""FelixConfigurations: their fields, what the API server accepts, and the texts that Calico passes to Felix.

All of it is derived from the parameters in `felixpy.config`. Calico passes every field to Felix as text, which Felix
parses like an annotation or an environment variable.
(libcalico-go/lib/backend/syncersv1/updateprocessors/felixconfigprocessor.go)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from felixpy.config import Parameter, parameters, spec_fields
from felixpy.errors import Path
from felixpy.manifests.objects.criteria import NODE_SELECTOR, cidr_or_address
from felixpy.manifests.validation.findings import Complaint, Finding, shown
from felixpy.manifests.validation.metadata import document
from felixpy.manifests.validation.shapes import (
    Anything,
    Clean,
    ListOf,
    MapOf,
    Object,
    Scalar,
    Shape,
    flag,
    integer,
    text,
)
from felixpy.model import Configuration, Source
from felixpy.other_parameters import FORMER_FIELDS
from felixpy.parameter_types import LAST_PORT, type_of
from felixpy.parameters import ConfigValueError

Data = Mapping[str, Any]

PREFIX = "config.projectcalico.org/"
"""Annotations with this prefix set parameters by their own name and beat the fields."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
CONTROL = "control characters are not supported here"

STOPS = "Felix exits on this value"

LEAST_MARK_BITS = 5
"""Fewer are too few for every release of Felix; how many more are needed depends on the release and on WireGuard."""


# --- what the API server takes


def _port(value: int | str) -> Complaint | None:
    if isinstance(value, int):
        return None if 0 <= value <= LAST_PORT else Complaint(f"{value}: ports go from 0 to {LAST_PORT}")
    found = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}))?", value, re.ASCII)
    if found:
        low, high = int(found[1]), int(found[2] or found[1])
        if low <= high <= LAST_PORT:
            return None
    elif re.fullmatch(r"[a-zA-Z0-9_.-]{1,128}", value):
        return None
    return Complaint(f"{shown(value)}: a port or a range such as 32768:65535 is expected")


def _numbered_port(value: int | str) -> Complaint | None:
    named = isinstance(value, str) and not value[:1].isdigit()
    return Complaint(f"{shown(value)}: a port or a range of ports is expected") if named else _port(value)


def _mask(value: int) -> Complaint | None:
    return None if 0 <= value < 1 << 32 else Complaint(f"{value}: a number of 32 bits is expected")


def _dscp(value: int | str) -> Complaint | None:
    if isinstance(value, str) or 0 <= value <= 255:
        return None
    return Complaint(f"{value}: no DSCP value", "a number from 0 to 63 or a name such as AF41")


def _protocol(given: str) -> Complaint | None:
    if given.upper() in ("TCP", "UDP", "SCTP"):
        return None
    return Complaint(f"{shown(given)}: protocol must be TCP, UDP or SCTP")


def _duration(given: str) -> Complaint | None:
    if re.fullmatch(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))*", given):
        return None
    return Complaint(f"{shown(given)}: a duration such as 90s or 1m30s is expected")


PORT = Scalar("a port or a range", (int, str), _port)
FAILSAFE_PORTS = ListOf(
    Object({
        "protocol": text(_protocol),
        "port": integer(0, LAST_PORT, "ports go"),
        "net": text(lambda given: cidr_or_address(given) if given else None),
    }, required=("port", "protocol")),
    "ports",
)  # fmt: skip

TABLES = Object({name: Scalar("a whole number", (int,)) for name in ("min", "max")}, required=("max", "min"))

SHAPES: Mapping[str, Callable[[], Shape]] = {
    "bool": flag,
    "*bool": flag,
    "int": lambda: Scalar("a whole number", (int,)),
    "mark-bitmask": lambda: Scalar("a whole number", (int,), _mask),
    "dscp": lambda: Scalar("a DSCP value", (int, str), _dscp),
    "seconds": lambda: text(_duration),
    "millis": lambda: text(_duration),
    "portrange": lambda: PORT,
    "portrange-list": lambda: ListOf(Scalar("a port or a range", (int, str), _numbered_port), "port ranges"),
    "port-list": lambda: FAILSAFE_PORTS,
    "cidr-list": lambda: ListOf(text(cidr_or_address), "CIDRs"),
    "iface-filter-slice": lambda: ListOf(text(), "interfaces"),
    "keydurationlist": lambda: ListOf(
        Object({"name": text(), "timeout": text(_duration)}, required=("name", "timeout")), "timeouts"
    ),
    "route-table-range": lambda: TABLES,
    "route-table-ranges": lambda: ListOf(TABLES, "ranges"),
}
"""The JSON types of fields by the parameter's type; all others are texts."""


def _shape(row: Parameter) -> Shape:
    if "mapping" in row.flags:
        return MapOf(text())
    made = SHAPES.get(row.kind.partition("(")[0])
    return made() if made else text()


# --- what Felix makes of it


def as_text(row: Parameter, value: Any) -> str:
    """The text that Felix gets for a field; "" if there is nothing to parse.

    >>> row = spec_fields()["failsafeInboundHostPorts"]
    >>> as_text(row, [{"protocol": "TCP", "port": 22}, {"protocol": "UDP", "port": 53, "net": "fd00::/8"}])
    'tcp:22,udp:[fd00::/8]:53'
    """
    kind = row.kind.partition("(")[0]
    if kind in ("seconds", "millis") or (isinstance(value, dict) and kind != "route-table-range"):
        return ""
    spelled = SPELLINGS.get(kind)
    if spelled:
        return spelled(value)
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _spelled_port(value: int | str) -> str:
    low, _, high = str(value).partition(":")
    if not low.isdigit():
        return str(value)
    return f"{int(low)}:{int(high)}" if high and int(high) != int(low) else str(int(low))


def _spelled_failsafe(value: list[Data]) -> str:
    items = []
    for entry in value:
        net = f"[{entry['net']}]" if ":" in entry.get("net", "") else entry.get("net", "")
        items.append(":".join([entry.get("protocol", "").lower(), *([net] if net else []), str(entry["port"])]))
    return ",".join(items) or "none"


def _spelled_dscp(value: int | str) -> str:
    given = str(value)
    return str(int(given)) if given.isascii() and given.isdigit() and len(given) < 20 and int(given) < 256 else given


def _spelled_tables(value: Data) -> str:
    return f"{value['min']}-{value['max']}"


SPELLINGS: Mapping[str, Callable[[Any], str]] = {
    "portrange": _spelled_port,
    "portrange-list": lambda value: f"[{' '.join(map(_spelled_port, value))}]",
    "port-list": _spelled_failsafe,
    "dscp": _spelled_dscp,
    "route-table-range": _spelled_tables,
    "route-table-ranges": lambda value: ",".join(map(_spelled_tables, value)),
    "keydurationlist": lambda value: "",
}
"""How Calico turns fields of these types into text; Felix cannot read what it makes of a list of port ranges."""


def doubt(row: Parameter, raw: str, path: Path) -> Finding | None:
    """A finding about the text of a parameter, None if Felix can parse it."""
    if row.effect and _CONTROL.search(raw):
        return Finding(path, f"{shown(raw)}: {CONTROL}")
    try:
        value = row.read(raw)
        if row.name == "IptablesMarkMask" and isinstance(value, int) and value.bit_count() < LEAST_MARK_BITS:
            return Finding(path, f"{value:#x}: {_few_bits(value.bit_count())}", STOPS)
    except ConfigValueError as wrong:
        if wrong.fatal:
            return Finding(path, f"{shown(raw)}: {wrong}", STOPS)
        return Finding(path, f"{shown(raw)}: {wrong}", f"Felix takes the default: {row.default or 'none'}", "warning")
    return None


def _few_bits(bits: int) -> str:
    have = ("no bit is", "only one bit is", "only two bits are", "only three bits are", "only four bits are")[bits]
    return f"{have} set and the rules need at least six (one more with WireGuard)"


def doubt_about(row: Parameter, raw: str) -> str:
    """Why a text is not a valid value of a parameter, "" if it is."""
    finding = doubt(row, raw, ())
    return finding.reason.removeprefix(f"{shown(raw)}: ") if finding else ""


class Field(Shape):
    """A field of a FelixConfiguration: its JSON type, the API server's validation, and whether Felix can parse it."""

    def __init__(self, row: Parameter) -> None:
        self.row, self.kind = row, _shape(row)

    def compiled(self) -> Clean:
        clean = self.kind.compiled()
        return lambda value: clean(value) and next(self._doubts(value, ()), None) is None

    def findings(self, value: Any, path: Path) -> Iterator[Finding]:
        found = list(self.kind.findings(value, path))
        yield from found
        if not any(finding.severity == "error" for finding in found):
            yield from self._doubts(value, path)

    def normal(self, value: Any) -> Any:
        return self.kind.normal(value)

    def _doubts(self, value: Any, path: Path) -> Iterator[Finding]:
        if isinstance(value, list) and self.row.kind.startswith(("port-list", "cidr-list")):
            for index, item in enumerate(value):
                if isinstance(item, dict) and item.get("protocol", "").upper() == "SCTP":
                    reason = f"{shown(item['protocol'])}: only TCP and UDP work here"
                    yield Finding((*path, index, "protocol"), reason, STOPS)
                else:
                    yield from self._doubts_about([item], (*path, index))
        else:
            yield from self._doubts_about(value, path)

    def _doubts_about(self, value: Any, path: Path) -> Iterator[Finding]:
        raw = as_text(self.row, value)
        demanded = self.row.api or (self.row.kind if self.row.kind.startswith("oneof") else "")
        if raw == "":
            return
        if demanded:
            found = type_of(demanded)
            try:
                read = str(found.read(raw))
            except ValueError as wrong:
                yield Finding(path, f"{shown(value[0] if isinstance(value, list) else value)}: {wrong}")
                return
            if "exact" in self.row.flags and raw not in (read, read.capitalize(), read.upper()):
                yield Finding(path, f"{shown(raw)}: upper and lower case matter here", f"write {read}")
                return
        finding = doubt(self.row, raw, path)
        if finding:
            yield finding


# --- annotations


def _annotated(annotations: Mapping[str, str], path: Path) -> Iterator[Finding]:
    """Findings for annotations with values that Felix cannot parse: it uses the default, or does not start."""
    for key, raw in annotations.items():
        row = parameters().get(key.removeprefix(PREFIX).lower()) if key.startswith(PREFIX) else None
        if row is not None and raw and "local" not in row.flags:
            finding = doubt(row, raw, (*path, key))
            if finding:
                yield finding


def _contradictions(data: Data, path: Path) -> Iterator[Finding]:
    """Findings for a parameter under two names that differ in case: Felix uses either, and restarts at each change."""
    values, paths = _values(data)
    known = sorted((name for name in values if name.lower() in parameters()), key=lambda name: (name.lower(), name))
    for lower, names in groupby(known, str.lower):
        row, listed = parameters()[lower], list(names)
        if len({_read(row, values[name]) for name in listed}) > 1:
            first, second = listed[0], listed[-1]
            reason = f"{first} and {second} are the same parameter with two values, and Felix restarts for ever"
            yield Finding((*path, *paths[second]), reason, "keep one of them")


def _read(row: Parameter, raw: str) -> object:
    try:
        return row.read(raw)
    except ValueError:
        return row.unset


def _meant_for_somebody(data: Data, path: Path) -> Iterator[Finding]:
    name = data["metadata"]["name"]
    if name != "default" and not name.startswith("node.") and not data.get("spec", {}).get("nodeSelector"):
        reason = f"{shown(name)}: without effect, as Felix reads default, node.<name> and those with a nodeSelector"
        yield Finding((*path, "metadata", "name"), reason, severity="warning")


FELIX_CONFIGURATION = document(
    Object(
        {"nodeSelector": NODE_SELECTOR}
        | {name: Anything() for name in FORMER_FIELDS}
        | {name: Field(row) for name, row in spec_fields().items()}
    ),
    annotated=(_annotated,),
    relations=(_meant_for_somebody, _contradictions),
)


def _values(data: Data) -> tuple[dict[str, str], dict[str, Path]]:
    """The texts that Felix gets, by parameter name, and their paths."""
    values: dict[str, str] = {}
    paths: dict[str, Path] = {}
    for field, value in data.get("spec", {}).items():
        row = spec_fields().get(field)
        raw = as_text(row, value) if row is not None and value is not None else ""
        if row is not None and raw:
            values[row.name], paths[row.name] = raw, ("spec", field)
    for key, raw in (data["metadata"].get("annotations") or {}).items():
        name = key.removeprefix(PREFIX)
        if key.startswith(PREFIX):
            values.pop(name, None)
            if raw:
                values[name], paths[name] = raw, ("metadata", "annotations", key)
    return values, paths


def felix_configuration(data: Data, source: Source) -> Configuration:
    """A FelixConfiguration as the texts that Felix gets; which one applies to a node is decided at resolution."""
    metadata = data["metadata"]
    values, paths = _values(data)
    return Configuration(
        name=metadata["name"],
        node_selector=data.get("spec", {}).get("nodeSelector", ""),
        created=str(metadata.get("creationTimestamp") or ""),
        values=values,
        paths=paths,
        source=source,
    )
