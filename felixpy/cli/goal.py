"""What a kernel shall hold: the rules of one node, as often as the manifests are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from felixpy.cli import invocation
from felixpy.cli.given import Given
from felixpy.errors import InputError

if TYPE_CHECKING:
    from felixpy.compiler import Compiler
    from felixpy.dataplane.wanted import Wanted
    from felixpy.kernel import Machine
    from felixpy.model import Host


@dataclass(frozen=True, slots=True)
class Goal:
    """A node's rules. Its interfaces are those of the namespace that the rules are for, unless they were given."""

    given: Given

    @property
    def paths(self) -> Sequence[str]:
        return self.given.files

    def read(self) -> Compiler:
        """Read the manifests, anew each time. Raises InputError with all that is wrong in them."""
        return replace(self.given).compiler

    def compiled(self, compiler: Compiler, host: Host) -> Wanted:
        """The rules. Raises InputError for those that no kernel takes, UsageError where the node is not clear."""
        from felixpy.compiler import only_node
        from felixpy.dataplane.wanted import Wanted

        name = self.given.node or only_node(compiler.cluster)
        ruleset = compiler.compile(name, host, self.given.settings)
        if ruleset.refused:
            raise InputError(ruleset.errors)
        invocation.warn(ruleset.findings, quiet=self.given.quiet)
        mode = compiler.config(name, self.given.settings).chain_insert_mode
        return Wanted.of(ruleset, append=mode == "append")

    def interfaces(self, machine: Machine) -> Host:
        """The interfaces to compile for."""
        from felixpy.machine import read_host

        return machine.inside(read_host) if self.given.host.interfaces is None else self.given.host
