"""The nftables data plane in a kernel: Felix's tables are listed, compared, and changed in one atomic transaction.

content is what tables hold, present or wanted; transaction, which is pure, turns the two into lines for ``nft -f -``;
tool runs nft, spelling finds out how nft lists a rule, netlink reads from the kernel what need not be listed, memory
caches the contents of tables for the next run, and enforcer reads, writes and retries.

Changes go through the nft command, as in Felix: a transaction that has begun completes even if felixpy is killed.
Listings come from nft's library, which takes half the time; see `felixpy.libnftables`.
"""
