"""Tools for tests, which no other package imports.

verdict   the verdict of policies on a packet, computed from the model: an independent implementation
readback  the legacy tables as python-iptables reads them: an independent check
kernels   kernels that record commands, or fail
"""
