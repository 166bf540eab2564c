"""``felixpy verify``: has a node what the manifests give?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from felixpy.cli import invocation
from felixpy.cli.dumps import Dumps, SetDump, likely_node, one_place, read_saved
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.render import Output
from felixpy.cli.target import Backend, BackendName, Netns, OnHost, live_place
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.model import Host
    from felixpy.verify import Observed


@takes_manifests("live")
def verify(
    given: Given,
    netns: Netns = None,
    host: OnHost = False,
    backend: BackendName = Backend.auto,
    rules: Dumps = None,
    ipsets: SetDump = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every finding, and whole lists.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text or JSON.")] = Output.text,
) -> None:
    """Compare a live kernel, or what was saved on a node, with the manifests: every difference and what it means.

    Exit status 0 if all is equal, 1 if not. Findings that let traffic through come first. Rules of others are only
    told if they come before Felix's. Counters do not matter.

    \b
    Examples:
      sudo felixpy verify shop/ --netns test
      sudo felixpy verify shop/ --host --node n1
      felixpy verify shop/ --rules iptables.save --rules ip6tables.save --ipsets ipset.save
      ssh n1 sudo iptables-save | felixpy verify shop/ --node n1 --rules -
    """
    from felixpy.verify import Node
    from felixpy.verify import verify as compare
    from felixpy.verify.report import document, text

    if not one_place(netns, host=host, rules=rules, ipsets=ipsets):
        raise UsageError(
            "compare with what? --netns NAME is a network namespace, --host this machine, "
            "--rules FILE what iptables-save printed on a node"
        )
    compiler = given.compiler
    with _saved(rules, ipsets) if rules else _live(netns, backend) as (observed, seen):
        name = given.node or likely_node(observed.dump, given.cluster)
        described = seen if given.host.interfaces is None else given.host
        found = compare(observed, Node(name=name, compiler=compiler, host=described, settings=given.settings))
    invocation.warn(found.warnings, quiet=given.quiet)
    if output is Output.json:
        invocation.emit_json(document(found))
    else:
        from felixpy.cli.screen import page

        invocation.emit(page(text(found, verbose=verbose)))
    if not found.equal:
        raise typer.Exit(1)


@contextmanager
def _saved(rules: list[str], ipsets: str | None) -> Iterator[tuple[Observed, Host]]:
    """Dumps; of the machine they tell nothing."""
    from felixpy.model import Host
    from felixpy.verify import observe_saved

    saved = read_saved(rules, ipsets, both=True)
    words = ", ".join("stdin" if name == "-" else name for name in rules)
    yield observe_saved(saved.rules, saved.sets, words, comments=saved.comments, others=saved.others), Host()


@contextmanager
def _live(netns: str | None, backend: Backend) -> Iterator[tuple[Observed, Host]]:
    """The namespace, and its interfaces."""
    from felixpy.machine import read_host
    from felixpy.verify import observe_live

    place = live_place(netns)
    with place.machine() as machine:
        chosen = "" if backend is Backend.auto else backend.value
        yield observe_live(machine, chosen, place.words), machine.inside(read_host)
