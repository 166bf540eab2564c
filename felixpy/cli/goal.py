"""The wanted state of a kernel: the rules of one node, compiled again whenever the manifests change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from felixpy.cli import invocation
from felixpy.cli.given import Given
from felixpy.errors import InputError

if TYPE_CHECKING:
    from felixpy.cli.footprints import Footprint
    from felixpy.cli.kept import Kept
    from felixpy.compiler import Compiler
    from felixpy.config import Config
    from felixpy.dataplane.enforcer import WantedRules as Wanted
    from felixpy.kernel import Machine
    from felixpy.manifests.followed_files import FollowedFiles
    from felixpy.model import Host
    from felixpy.ruleset import Ruleset


class Goal:
    """The wanted rules of a node. Its interfaces are those of the target namespace unless options give them."""

    def __init__(self, given: Given) -> None:
        self.given = given

    @property
    def paths(self) -> Sequence[str]:
        return self.given.files

    def read(self) -> Compiler:
        """Read the manifests, again on each call. Raises InputError with all problems."""
        return replace(self.given).compiler

    def compiled(self, compiler: Compiler, host: Host) -> Wanted:
        """Compile the node. Raises InputError for rules that no kernel accepts, UsageError if the node is ambiguous."""
        from felixpy.compiler import only_node

        name = self.given.node or only_node(compiler.cluster)
        return self.wanted(
            compiler.compile(name, host, self.given.settings), compiler.config(name, self.given.settings)
        )

    def wanted(self, ruleset: Ruleset, config: Config) -> Wanted:
        """The wanted state for a node's rules. Raises InputError for rules that no kernel accepts."""
        from felixpy.dataplane.backends import goal_of

        if ruleset.refused:
            raise InputError(ruleset.errors)
        invocation.warn(ruleset.findings, quiet=self.given.quiet)
        return goal_of(ruleset, append=config.chain_insert_mode == "append")

    def interfaces(self, machine: Machine) -> Host:
        """The interfaces to compile for."""
        from felixpy.machine import read_host

        return machine.inside(read_host) if self.given.host.interfaces is None else self.given.host


@dataclass(slots=True)
class _Standing:
    """The state of a `LiveGoal` once its manifests have been read."""

    files: FollowedFiles
    kept: Kept
    seen: Footprint
    host: Host | None = None


class LiveGoal(Goal):
    """The wanted rules of a node, updated as files change: only changed files are read again."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self._standing: _Standing | None = None

    def follow(self) -> None:
        """Read the files that changed since the last call, all of them at the first. Raises InputError."""
        from felixpy.cli.footprints import differing, footprint

        now = footprint(self.paths)
        known = self._standing
        if known is None:
            self._standing = self._begin(now)
            return
        before, known.seen = known.seen, now
        step = known.files.step(differing(before, now))
        invocation.warn(step.problems, quiet=self.given.quiet)
        if step.changes is None:
            self.given.tell_about(step.cluster)
        known.kept.take(step)

    def _begin(self, seen: Footprint) -> _Standing:
        from felixpy.cli.kept import Kept
        from felixpy.manifests.followed_files import FollowedFiles

        self.given.check_options()
        files = FollowedFiles(self.paths, self.given.options(self.paths))
        invocation.warn(files.cluster.warnings, quiet=self.given.quiet)
        self.given.tell_about(files.cluster)
        return _Standing(files, Kept(self.given, files.cluster), seen)

    def now(self, host: Host) -> Wanted:
        """The wanted state for a machine's interfaces. Raises what `compiled` raises."""
        from felixpy.compiler import only_node

        assert self._standing
        live, known = self._standing.kept.live, self._standing.host
        name = self.given.node or only_node(live.cluster)
        for other in [each for each in live.nodes if each != name]:
            live.drop(other)
        if name in live.failed:
            raise live.failed[name]
        if name not in live.nodes or known != host:
            live.add(name, host)
            self._standing.host = host
        return self.wanted(live.ruleset(name), live.config(name))
