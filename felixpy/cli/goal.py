"""What a kernel shall hold, as the options of a command describe it: manifests, a node, and how to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from felixpy.cli import invocation
from felixpy.errors import InputError

if TYPE_CHECKING:
    from felixpy.compiler import Compiler
    from felixpy.config import Setting
    from felixpy.dataplane.wanted import Wanted
    from felixpy.kernel import Machine
    from felixpy.model import Host


class Goal(NamedTuple):
    """A node's rules. `host` is None when its interfaces are those of the namespace that the rules are for."""

    paths: Sequence[str]
    node: str | None
    settings: Sequence[Setting]
    dialect: str
    host: Host | None
    no_expand: bool
    strict: bool
    quiet: bool

    def read(self) -> Compiler:
        """Read the manifests. Raises InputError with all that is wrong in them."""
        from felixpy.compiler import Compiler

        cluster = invocation.load_cluster(
            self.paths,
            settings=self.settings,
            node=self.node,
            no_expand=self.no_expand,
            strict=self.strict,
            quiet=self.quiet,
        )
        return Compiler(cluster, invocation.find_dialect(self.dialect))

    def compiled(self, compiler: Compiler, host: Host) -> Wanted:
        """The rules. Raises InputError for those that no kernel takes, UsageError where the node is not clear."""
        from felixpy.compiler import configure, only_node
        from felixpy.dataplane.wanted import Wanted

        name = self.node or only_node(compiler.cluster)
        ruleset = compiler.compile(name, host, self.settings)
        if ruleset.refused:
            raise InputError([replace(problem, severity="error") for problem in ruleset.refused])
        invocation.warn(ruleset.findings, quiet=self.quiet)
        mode = configure(compiler.cluster, name, self.settings).chain_insert_mode
        return Wanted.of(ruleset, append=mode == "append")

    def interfaces(self, machine: Machine) -> Host:
        """The interfaces to compile for."""
        from felixpy.machine import read_host

        return self.host or machine.inside(read_host)
