"""The smallest pieces of traffic and peers that rules distinguish, and sets of (traffic, peer) pairs."""
