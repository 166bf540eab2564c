"""The input of a lab, kept between commands: manifests that are read again, policies that were added or removed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from felixpy.cli.confirmation import interruptible
from felixpy.cli.given import Given
from felixpy.cli.target import say
from felixpy.errors import UsageError
from felixpy.revisions import is_revision

if TYPE_CHECKING:
    from felixpy.lab import Lab
    from felixpy.lab.state import Inputs
    from felixpy.model import Cluster, PolicyKey


def inputs_of(given: Given) -> Inputs:
    """The options of a command that the lab keeps for later commands."""
    from felixpy.lab.state import Inputs

    return Inputs(
        paths=tuple(map(absolute, given.files or ["."])),
        node=given.node or "",
        calico_version=given.calico_version,
        dataplane=given.dataplane or "",
        settings=tuple(given.set_ or ()),
        interfaces=tuple(given.interface or ()),
        host_file=absolute(str(given.host_file)) if given.host_file else "",
        no_expand=given.no_expand,
        strict=given.strict,
    )


def given_of(inputs: Inputs, *, quiet: bool) -> Given:
    """The reverse of `inputs_of`. Raises UsageError for input that can be read only once, such as standard input."""
    for path in inputs.paths:
        if not is_revision(path) and not Path(path).is_file() and not Path(path).is_dir():
            what = "standard input" if path == "-" else path
            raise UsageError(f"the lab was made from {what}, which cannot be read again; run felixpy lab up again")
    return Given(
        paths=inputs.paths,
        node=inputs.node or None,
        calico_version=inputs.calico_version,
        dataplane=inputs.dataplane or None,
        set_=inputs.settings,
        interface=inputs.interfaces,
        host_file=Path(inputs.host_file) if inputs.host_file else None,
        no_expand=inputs.no_expand,
        strict=inputs.strict,
        quiet=quiet,
    )


def absolute(path: str) -> str:
    """A path made absolute, so that later commands find it from any folder; other inputs unchanged."""
    return path if path == "-" or is_revision(path) else str(Path(path).absolute())


def bring(name: str, given: Given, inputs: Inputs, backend: str, wait: int, *, unasked: bool = False) -> Lab:
    """Start or update a lab and print what was done; with `unasked` nothing is printed if nothing was done.

    `given` are the options that `inputs` were made from.
    """
    from felixpy.lab import Lab, LabOptions
    from felixpy.lab.report import brought

    cluster = without(given.cluster, inputs.removed)
    hosts = {given.home: given.host} if given.host.interfaces is not None else None
    options = LabOptions(
        node=inputs.node,
        backend=backend,
        calico_version=given.version,
        settings=given.settings,
        hosts=hosts,
        inputs=inputs,
        dataplane=given.chosen_data_plane(),
        wait=wait,
    )
    with interruptible():
        lab = Lab.up(cluster, name, options)
    assert lab.report
    for sentence in () if unasked and lab.report.empty else brought(lab, lab.report):
        say(sentence)
    return lab


def without(cluster: Cluster, keys: Collection[PolicyKey]) -> Cluster:
    """A cluster without some of its policies."""
    if not keys:
        return cluster
    return replace(cluster, policies=tuple(policy for policy in cluster.policies if policy.key not in keys))


def policies_in(files: Sequence[str], others: Sequence[str]) -> list[PolicyKey]:
    """The policies in files; they are read together with `others`, which may define their tiers. Raises InputError."""
    from felixpy.manifests import load
    from felixpy.manifests.reading.files import gather

    names = {file.name for file in gather(files)[0]}
    return [policy.key for policy in load([*files, *others]).policies if policy.source and policy.source.file in names]


def with_more(inputs: Inputs, files: Sequence[str]) -> Inputs:
    """The inputs with more files; removed policies that these files hold are restored."""
    paths = tuple(dict.fromkeys([*inputs.paths, *map(absolute, files)]))
    back = policies_in(files, inputs.paths) if inputs.removed else []
    return replace(inputs, paths=paths, removed=tuple(key for key in inputs.removed if key not in back))


def with_less(inputs: Inputs, files: Sequence[str], in_force: Collection[str]) -> Inputs:
    """The inputs without some files. Policies of files inside a folder that is still read are removed one by one."""
    gone = set(map(absolute, files))
    paths = tuple(path for path in inputs.paths if path not in gone)
    if not paths:
        raise UsageError("nothing would be left of the lab; felixpy lab down removes it")
    keys = [key for key in policies_in(files, inputs.paths) if str(key) in in_force]
    if paths == inputs.paths and not keys:
        raise UsageError(f"{' '.join(files)}: no policy of the lab is in there")
    return replace(inputs, paths=paths, removed=tuple(dict.fromkeys([*inputs.removed, *keys])))
