"""Endpoints, addresses and nodes for tracing packets.

addresses  the addresses of nodes
outside    an address that nothing in the cluster mentions, used for the internet
endpoints  endpoints by the names that users give
nodes      the rules and interfaces of nodes
question   the packet to trace
"""
