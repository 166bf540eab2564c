"""Instruments for tests, which no part of the product uses.

verdict   what the policies say about a packet, straight from the model: an independent implementation
readback  the legacy tables as python-iptables reads them: an independent witness
kernels   kernels that write down what they are asked to do, or fail
"""
