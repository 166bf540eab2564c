"""The cluster as packets see it, for everything that asks about packets.

addresses  which node has which address
outside    an address that nothing in the cluster mentions, which stands for the internet
endpoints    who sends and receives, as people name them
nodes      the rules and interfaces of nodes
question   what is asked of a trace
"""
