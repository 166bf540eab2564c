"""What commands do before and after the main work: gather the input, write messages and output."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from felixpy.cli import progress, screen
from felixpy.errors import Place, Problem, UsageError, many
from felixpy.escape import json_text, terminal, visible

if TYPE_CHECKING:
    from felixpy.calico_versions import CalicoVersion
    from felixpy.config import Setting
    from felixpy.manifests.loading import Options
    from felixpy.manifests.reading.objects import KindObjects
    from felixpy.model import Cluster, DataPlane, Host
    from felixpy.netfilter.rules import Dump

ENVIRONMENT_PREFIX = "FELIX_"


def warn(problems: Iterable[Problem], *, quiet: bool) -> None:
    """Print warnings to stderr."""
    if not quiet:
        for problem in problems:
            tell(str(problem))


def load_cluster(given: Sequence[str | KindObjects], options: Options, *, quiet: bool) -> Cluster:
    """Read the manifests and print their warnings. Raises InputError with all problems."""
    from felixpy.manifests.loading import load_cluster as load

    def step(name: str, number: int) -> None:
        progress.say(f"reading {visible(name)[-60:]}, {number >> 20} MiB")

    with progress.shown("reading"):
        cluster = load(given, options, progress=step if progress.is_shown() else None)
    warn(cluster.warnings, quiet=quiet)
    return cluster


def default_version() -> CalicoVersion:
    """The Calico version of input that does not state one."""
    from felixpy.calico_versions import V3_32

    return V3_32


def stated_version(cluster: Cluster) -> CalicoVersion | None:
    """The Calico version that the input states; None if it states none, or an unknown one."""
    from felixpy.calico_versions import CALICO_VERSIONS

    stated = cluster.calico_version
    found = re.match(r"v?(\d+\.\d+)(?:\.\d+)?(?![\d.])", stated.value) if stated else None
    return CALICO_VERSIONS.get(f"v{found[1]}") if found else None


def tell_version(cluster: Cluster, calico_version: CalicoVersion, *, asked: bool) -> None:
    """Print which release's rules are shown if the input states a release; a warning if the two differ.

    `asked`: whether an option chose the Calico version.
    """
    stated = cluster.calico_version
    if stated is None or not re.match(r"v?\d+\.\d+", stated.value):
        return
    found = stated_version(cluster)
    place = cluster.where(stated.source, stated.path)
    if found is not calico_version:
        shows = f"--calico-version {found.name} shows its rules" if found else "felixpy does not know that release"
        reason = f"Calico {stated.value} runs there, the rules shown are those of {calico_version.release}"
        problem = Problem(
            place=place, subject=stated.by, path=stated.path, reason=reason, hint=shows, severity="warning"
        )
        warn([problem], quiet=False)
    elif not asked and calico_version is not default_version():
        tell(f"felixpy: rules of Calico {calico_version.release}: {stated.by} says {stated.value} ({place})")


DEFAULT_DATA_PLANE = "iptables"
DATA_PLANES = (DEFAULT_DATA_PLANE, "nftables")
"""Those whose rules are known."""


def check_data_plane(name: str | None, option: str = "--dataplane") -> None:
    """Raises UsageError for a data plane whose rules are not known."""
    if name is not None and name not in DATA_PLANES:
        raise UsageError(f"{option} {name}: unknown here; there is {', '.join(DATA_PLANES)}")


def tell_chosen_data_plane(name: str, *, quiet: bool) -> None:
    """Print that an option chose a data plane other than the default."""
    if name != DEFAULT_DATA_PLANE and not quiet:
        tell(f"felixpy: {NAMES[name]} data plane: --dataplane {name}")


def tell_remarks(dumps: Mapping[str, Dump]) -> None:
    """Print what is unusual about dumps."""
    for node, dump in dumps.items():
        for words in dump.remarks:
            tell(f"felixpy: {f'{node}: ' if node else ''}{words}")


def tell_left_open(dumps: Mapping[str, Dump]) -> None:
    """Print what dumps leave out, what of them is not evaluated, and what is unusual about them."""
    for node, dump in dumps.items():
        for words in dump.open:
            tell(f"felixpy: {f'{node}: ' if node else ''}{words}")
    tell_remarks(dumps)


def tell_data_planes(cluster: Cluster, nodes: Sequence[str], settings: Sequence[Setting], *, quiet: bool) -> None:
    """Print which data plane Felix uses, and why, if not iptables; a warning if its rules are not supported."""
    from felixpy.effective import data_plane

    found: dict[DataPlane | str, tuple[DataPlane, list[str]]] = {}
    for node in nodes or [""]:
        plane = data_plane(cluster, node, settings)
        # Every Windows node has its own place for this; one is enough.
        found.setdefault(plane.kind if plane.kind == "windows" else plane, (plane, []))[1].append(node)
    for plane, names in found.values():
        where = (
            "every node" if len(names) == len(nodes or [""]) else f"{names[0]} and {many(len(names) - 1, 'more node')}"
        )
        where = names[0] if len(names) == 1 and names[0] else where
        if plane.kind not in DATA_PLANES:
            warn([_unknown_plane(plane, where)], quiet=quiet)
        elif plane.kind != DEFAULT_DATA_PLANE and not quiet:
            source = ", ".join(str(part) for part in (plane.by, plane.place) if part)
            because = f"{plane.reason} ({source})" if source else plane.reason
            tell(f"felixpy: {NAMES[plane.kind]} data plane on {where}: {because}")


def _unknown_plane(plane: DataPlane, where: str) -> Problem:
    told = f"{plane.by}: {plane.reason}" if plane.place is None and plane.by else plane.reason
    return Problem(
        place=plane.place or Place("command line"),
        subject=plane.by if plane.place else "",
        reason=f"{told}, so Felix uses its {NAMES[plane.kind]} data plane on {where}; "
        "the iptables rules that felixpy shows are not what such a node runs",
        hint="--dataplane iptables shows them without this warning",
        severity="warning",
    )


NAMES = {"bpf": "eBPF", "nftables": "nftables", "windows": "Windows"}


def tell(text: str) -> None:
    """Write a message to stderr. Text that it quotes is escaped, so that it cannot start a line of its own."""
    first, *more = text.split("\n")
    lines = [first, *(line if line.startswith(" ") or not line else f"    {line}" for line in more)]
    with progress.aside():
        print(screen.talk("\n".join(map(terminal, lines))), file=sys.stderr, flush=True)


def emit_lines(lines: Iterable[str]) -> None:
    """Write lines for people to stdout; quoted text is escaped, so that each stays on one line."""
    emit("".join(f"{terminal(line)}\n" for line in lines))


def emit(text: str) -> None:
    """Write data to stdout in one piece and flush it, so that a closed pipe raises here."""
    with progress.aside():
        sys.stdout.write(text)
        sys.stdout.flush()


def emit_json(document: object) -> None:
    """Write a document to stdout as JSON."""
    emit(spelt_json(document))


def spelt_json(document: object, *, one_line: bool = False) -> str:
    """A document as JSON, with a newline at its end."""
    import json

    return json_text(json.dumps(document, indent=None if one_line else 2, ensure_ascii=False)) + "\n"


def find_calico_version(name: str) -> CalicoVersion:
    """The Calico version of that name, with or without a patch number (v3.32.1 is v3.32). Raises UsageError."""
    from felixpy.calico_versions import CALICO_VERSIONS

    for calico_version in CALICO_VERSIONS.values():
        if name.removeprefix("v") in (calico_version.name.removeprefix("v"), calico_version.release.removeprefix("v")):
            return calico_version
    raise UsageError(f"--calico-version {name}: unknown; there are {', '.join(CALICO_VERSIONS)}")


def gather_settings(options: Sequence[str], environment: dict[str, str]) -> list[Setting]:
    """``--set`` options, then FELIX_* variables, strongest first. Raises UsageError for bad ones."""
    from felixpy.config import Setting

    settings = []
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"--set {option}: write NAME=VALUE")
        settings.append(_checked(Setting(name.strip(), value), f"--set {option}"))
    for variable, value in sorted(environment.items()):
        if variable.upper().startswith(ENVIRONMENT_PREFIX):
            settings.append(_checked(Setting(variable[len(ENVIRONMENT_PREFIX) :], value), f"{variable}={value}"))
    return settings


def _checked(setting: Setting, spelt: str) -> Setting:
    from felixpy.config import parameters, suggestion
    from felixpy.manifests.objects.felix_configuration import doubt_about

    row = parameters().get(setting.name.lower())
    if row is None:
        close = suggestion(setting.name)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"{spelt}: Felix has no such parameter{hint}")
    reason = doubt_about(row, setting.value) if setting.value else ""
    if reason:
        raise UsageError(f"{spelt}: {reason}")
    return setting


def gather_host(interfaces: Sequence[str], host_file: Path | None, *, live: bool) -> Host:
    """The interfaces of the machine, from the option that describes it. Raises UsageError for several, or a bad one."""
    from felixpy.model import Host

    given = [name for name, used in (("--interface", interfaces), ("--host-file", host_file), ("--live", live)) if used]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other")
    if live:
        from felixpy.machine import read_host

        return read_host()
    if host_file:
        from felixpy.manifests import load_host

        return load_host(host_file)
    if not interfaces:
        return Host()
    described: dict[str, tuple[str, ...]] = {}
    for option in interfaces:
        name, _, addresses = option.partition("=")
        described[name] = tuple(_cidr(address, option) for address in addresses.split(",") if address)
    return Host(interfaces=described)


def _cidr(text: str, option: str) -> str:
    from ipaddress import ip_interface

    try:
        return str(ip_interface(text))
    except ValueError as wrong:
        raise UsageError(f"--interface {option}: {wrong}") from wrong


def felix_environment() -> dict[str, str]:
    """The FELIX_* variables of this process, which a Felix started here would read."""
    return dict(os.environ)
