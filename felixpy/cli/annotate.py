"""``felixpy annotate``: a saved dump with comments."""

from __future__ import annotations

import re
from pathlib import Path

from felixpy.cli import invocation
from felixpy.cli.decode import decoder_for
from felixpy.cli.given import MACHINE, Given, takes_manifests
from felixpy.cli.kernels import NodeRules, Ssh, chosen_nodes, of_nodes, over_ssh, saved_of
from felixpy.cli.saved_files import read
from felixpy.errors import UsageError

_SAVED = re.compile(r"^(?:\*\w|:\S+ |(?:\[\d+:\d+\] )?-[AI] |create |add |Name: |table |Chain )", re.MULTILINE)
"""How lines of dumps begin."""

_HEAD = 1 << 16
"""The number of bytes at the start of a file in which a dump is recognised: manifests may have gigabytes."""


@takes_manifests(*MACHINE)
def annotate(given: Given, node_rules: NodeRules = False, ssh: Ssh = "") -> None:
    """Add comments that explain Felix's names to a dump from stdin or from a node.

    The comments begin with "#", so the result can still be restored. Without --node the node whose pods appear in the
    dump is taken.

    \b
    Examples:
      iptables-save | felixpy annotate shop/ | less
      ipset save | felixpy annotate shop/ --node n1
      nft list ruleset | felixpy annotate shop/               JSON (nft -j) becomes the same text
      felixpy annotate --cluster --node n1 --node-rules | less
    """
    from felixpy.decode.comments import commented, likely_nodes
    from felixpy.nftables.fromjson import as_text, looks_like_json
    from felixpy.nftables.reading import looks_listed

    for path in given.files:
        if path != "-" and _is_dump(Path(path)):
            others = " ".join(other for other in given.files if other != path)
            raise UsageError(
                f"{path}: a dump is read from stdin: felixpy annotate {f'{others} ' if others else ''}< {path}"
            )
    cluster = given.cluster_if_any
    text = _there(given, ssh, node_rules=node_rules)
    if looks_like_json(text):
        text = as_text(text, "stdin")
    if text.strip() and not _SAVED.search(text):
        raise UsageError(
            "stdin: neither rules nor sets; give what iptables-save, nft list ruleset, ipset save or ipset list prints"
        )
    names = [given.node] if given.node else likely_nodes(text, cluster)
    dataplane = "nftables" if looks_listed(text) else "iptables"
    decoder = decoder_for(cluster, given.version, given.settings, names, [dataplane])
    invocation.emit("".join(f"{line}\n" for line in commented(text.removesuffix("\n").split("\n"), decoder)))


def _is_dump(path: Path) -> bool:
    """Whether a file that was given as manifests is a dump. False for one that cannot be read: loading reports it."""
    from felixpy.nftables.fromjson import looks_like_json

    if not path.is_file():  # opening a pipe would wait for its writer
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    text = head.decode("utf-8", "replace")
    return bool(_SAVED.search(text)) or looks_like_json(text)


def _there(given: Given, ssh: str, *, node_rules: bool) -> str:
    """The dump as text, from a node or from stdin. Raises Refused where a node cannot be read."""
    from felixpy.kubectl.client import RequestRefused

    if ssh and node_rules:
        raise UsageError("--ssh and --node-rules exclude each other")
    if ssh:
        return over_ssh(ssh, given).text
    if not node_rules:
        return read("-")
    names = chosen_nodes(given)
    if len(names) != 1:
        raise UsageError("--node-rules: which node's? say --node NAME")
    (kernel,) = of_nodes(given, names)
    if kernel.failure:
        raise RequestRefused(f"{kernel.node}: {kernel.failure}")
    return saved_of(kernel).text
