"""``felixpy annotate``: a saved dump with comments."""

from __future__ import annotations

import sys

from felixpy.cli import invocation
from felixpy.cli.decode import decoder_for, manifests
from felixpy.cli.options import DialectName, Filenames, NodeName, NoExpand, Paths, Quiet, Settings, Strict


def annotate(
    paths: Paths = None,
    filename: Filenames = None,
    node: NodeName = None,
    dialect: DialectName = "v3.32",
    set_: Settings = None,
    no_expand: NoExpand = False,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Copy a dump from stdin and say above each line what the names of Felix in it mean.

    The comments begin with "#", so the result can still be restored. Without --node the node whose pods appear in the
    dump is taken.

    \b
    Examples:
      iptables-save | felixpy annotate shop/ | less
      ipset save | felixpy annotate shop/ --node n1
    """
    from felixpy.decode.comments import commented, likely_nodes

    settings = invocation.gather_settings(set_ or (), invocation.felix_environment())
    given = [*(paths or ()), *(filename or ())]
    cluster = manifests(given, settings, node, no_expand=no_expand, strict=strict, quiet=quiet)
    text = sys.stdin.read()
    names = [node] if node else likely_nodes(text, cluster)
    decoder = decoder_for(cluster, invocation.find_dialect(dialect), settings, names)
    invocation.emit("".join(f"{line}\n" for line in commented(text.splitlines(), decoder)))
