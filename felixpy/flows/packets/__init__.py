"""The smallest pieces of traffic and peers that any rule tells apart, and sets of (traffic, peer) pairs."""
