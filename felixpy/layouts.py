"""Layouts: the differences between the chains that Felix programs in iptables and in nftables.

Rules themselves are the same in both; `felixpy.nftables` writes them for nft.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from msgspec import Struct

from felixpy.config import Config
from felixpy.names import MAX_CHAIN


class Layout(Struct, frozen=True, kw_only=True):
    """How chains are laid out in one data plane. `name` is what ``--dataplane`` takes.

    `templates` are folders searched before those of the Calico version. `settings` maps fields of `Config` to the
    fields that replace them in nftablesMode Enabled. (felix/nftables, felix/dataplane/linux: int_dataplane.go)
    """

    name: str
    templates: tuple[str, ...] = ()
    max_chain: int | None
    """Bytes of the longest chain name; longer ones are hashed. None: names stay as they are."""
    verdict_maps: bool
    """Whether a map leads from a pod's interface to its chain, and not a tree of chains."""
    filters_arp: bool
    """Whether ARP has a table."""
    programs_everywhere: bool
    """Whether the hint AssumeNeededOnEveryNode brings a policy's chains to every node."""
    settings: Mapping[str, str]

    def configured(self, config: Config) -> Config:
        """The parameters with those replaced that this data plane reads under another name (see `settings`)."""
        if config.nftables_mode != "Enabled":
            return config
        return replace(config, **{name: getattr(config, other) for name, other in self.settings.items()})


IPTABLES = Layout(
    name="iptables",
    max_chain=MAX_CHAIN,
    verdict_maps=False,
    filters_arp=False,
    programs_everywhere=True,
    settings={},
)

NFTABLES = Layout(
    name="nftables",
    templates=("nftables",),
    max_chain=None,
    verdict_maps=True,
    filters_arp=True,
    programs_everywhere=False,
    settings={
        "mark_mask": "nftables_mark_mask",
        "filter_allow_action": "nftables_filter_allow_action",
        "mangle_allow_action": "nftables_mangle_allow_action",
        "filter_deny_action": "nftables_filter_deny_action",
    },
)

LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in (IPTABLES, NFTABLES)}
