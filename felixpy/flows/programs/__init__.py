"""Chains read once, and what they do to all packets at once, from the point of view of one endpoint or of one node."""
