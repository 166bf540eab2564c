"""``felixpy decode``: what a name in a node's rules means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from felixpy.cli import invocation
from felixpy.cli.given import MACHINE, Given, takes_manifests
from felixpy.cli.render import Output
from felixpy.errors import InputError
from felixpy.names import plain_set_name, split_layer

if TYPE_CHECKING:
    from felixpy.calico_versions import CalicoVersion
    from felixpy.compiler import Compiler
    from felixpy.config import Setting
    from felixpy.decode import Decoder
    from felixpy.model import Cluster
    from felixpy.ruleset import Ruleset


@takes_manifests("paths", *MACHINE)
def decode(
    given: Given,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Chains, sets, interfaces, rule hashes, marks, log prefixes.")
    ],
    output: Annotated[Output, typer.Option("--output", "-o", help="Text or JSON.")] = Output.text,
) -> None:
    """Explain names in rules and sets: the policy, endpoint or selector that each belongs to.

    Exit status 1 if nothing in the manifests has one of the names.

    \b
    Examples:
      felixpy decode cali-pi-_DGlcbEzkd1cvh5X1F7M -f shop/
      felixpy decode cali40s:5y5I3VdRZfDU01O--xXAPx2 cali12d4a09f50c 0x10000/0x30000
      felixpy decode cali:wUHhoiAYhphO9Mso --calico-version v3.8
      felixpy decode filter-cali-pi-knp/shop/db cali40s-5y5I3VdRZfDU01O--xXAPx2    as nft lists them
    """
    cluster = given.cluster_if_any
    nodes = [given.node] if given.node else cluster.node_names()
    listed = any(
        split_layer(name)[0] or plain_set_name(name) != name or name.rstrip("\"'").endswith(";") for name in names
    )
    planes: list[str | None] = [given.dataplane]
    if not given.dataplane:
        planes = ["nftables"] if listed else [None, *_others(given, cluster)]
    decoder = decoder_for(cluster, given.version, given.settings, nodes, planes)
    meanings = [decoder.decode(name) for name in names]
    if output is Output.json:
        items = [meaning.json() for meaning in meanings]
        shown = {"apiVersion": "felixpy/v1", "kind": "MeaningList", "items": items}
        invocation.emit_json(shown)
    else:
        from felixpy.cli.screen import page

        invocation.emit("\n".join(page(meaning.text().splitlines()) for meaning in meanings))
    if not all(meaning.known for meaning in meanings):
        raise typer.Exit(1)


def _others(given: Given, cluster: Cluster) -> list[str]:
    """The data planes that the input does not select for all nodes."""
    selected = {plane.kind for plane in given.selected_data_planes(cluster)}
    return [plane for plane in ("nftables", "iptables") if selected != {plane}]


def decoder_for(
    cluster: Cluster,
    calico_version: CalicoVersion,
    settings: list[Setting],
    names: list[str],
    planes: Sequence[str | None],
) -> Decoder:
    """A decoder that compiles nodes, for this and other Calico versions, as far as the names require it.

    `planes` are the data planes to compile them for, in the order in which names are looked up; None is what the input
    selects.
    """
    from felixpy.calico_versions import CALICO_VERSIONS
    from felixpy.compiler import Compiler
    from felixpy.decode import Decoder
    from felixpy.effective import configure
    from felixpy.plan.facts import RuleContext

    def compiled(compiler: Compiler) -> Iterator[Ruleset]:
        return (compiler.compile(name, settings=settings) for name in names)

    def elsewhere() -> Iterator[Ruleset]:
        for other in CALICO_VERSIONS.values():
            try:
                if other is not calico_version:
                    yield from compiled(Compiler(cluster, other))
            except InputError:
                continue

    config = configure(cluster, names[0] if names else "", (*calico_version.parameters, *settings))
    try:
        marks = RuleContext(config, calico_version).marks
    except ValueError:  # too few bits, which compiling reports with the place
        marks = None
    nodes = (ruleset for plane in planes for ruleset in compiled(Compiler(cluster, calico_version, plane)))
    return Decoder(cluster, nodes, calico_version=calico_version, marks=marks, elsewhere=elsewhere())
