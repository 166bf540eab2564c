"""What is there and what should be where Felix programs nftables: all of it stands in a table of its own.

observed      what a listing holds, as far as verify compares it
content       what the compiled tables hold
baseline      the node with everything right among the tables of others, and with one thing wrong
comparison    chains, rules, verdict maps, sets, and where base chains are attached
"""
