"""Every single-rule deletion of recorded clusters, and other damage, judged by walking packets.

The exact engine (`felixpy.flows.programs.change`) says which packets are treated otherwise. Walks, which share nothing
with it but the meaning of rules, say the same about packets drawn from all that the node may see, and about packets of
the difference.
"""
