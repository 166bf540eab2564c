"""Every single-rule deletion of recorded clusters, and other damage, judged by walking packets.

The exact engine (`felixpy.flows.change`) says which packets fare otherwise. Walks, which share nothing with it but the
meaning of rules, say the same about packets drawn from all that the node may see, and about packets of the difference.
"""
