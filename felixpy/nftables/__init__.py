"""The nftables data plane: the same rules as one table a family, spelt for nft. (felix/nftables)"""

from __future__ import annotations

from felixpy.nftables.ruleset import NftRuleset

__all__ = ["NftRuleset"]
