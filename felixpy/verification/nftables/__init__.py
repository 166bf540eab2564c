"""Verification for the nftables data plane, in which Felix has its own tables.

observed      the contents of a listing
content       the contents of the compiled tables
baseline      the node without differences among foreign tables, and with one of them
comparison    differences in chains, rules, verdict maps, sets and hooks of base chains
arp           differences in the ARP table
"""
