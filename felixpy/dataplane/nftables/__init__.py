"""The nftables data plane in a kernel: Felix's tables are listed, compared, and changed in a transaction that the
kernel takes or leaves as a whole.

content has what tables hold, present or wanted; transaction, which is pure, turns the two into lines for ``nft -f -``;
tool runs nft, spelling asks it how it lists a rule, netlink asks the kernel what need not be listed, memory keeps
for the next run what tables hold, and enforcer reads, writes and tries again.

What changes tables is handed to the command nft, as by Felix: a transaction that has begun ends even if felixpy is
killed. Listings are printed by nft's library in half the time; see `felixpy.libnftables`.
"""
