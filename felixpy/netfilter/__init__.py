"""Packet filter rules as values, independent of iptables and nftables, from both of which they are parsed.

    numbers   protocols, ports, addresses, states of connections
    criteria  the conditions of rules on packets
    actions   what rules do to packets
    hooks     the chains at each hook, in the order in which packets pass them
    rules     rules, chains, tables and sets
    together  tables of two kinds on one node

The set of criteria is closed: `felixpy.walk` evaluates them for one packet, `felixpy.flows` for sets of packets. A
match without a criterion becomes `NotUnderstood`, which keeps its text.
"""
