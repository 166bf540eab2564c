"""The nftables data plane: the same rules in nft's syntax, one table for each family. (felix/nftables)"""

from __future__ import annotations

from felixpy.nftables.ruleset import NftRuleset

__all__ = ["NftRuleset"]
