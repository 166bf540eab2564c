"""What packet filter rules ask and do, whatever they are spelt in: iptables today, nftables as a second spelling.

    numbers   protocols, ports, addresses, states of connections
    criteria  what a rule asks of a packet
    actions   what a rule does to it
    rules     rules, chains, tables and sets as values

The alphabet is closed: `felixpy.walk` evaluates it for one packet, `felixpy.flows` for sets of packets. What a spelling
has no criterion for is `NotUnderstood`, which keeps its text.
"""
