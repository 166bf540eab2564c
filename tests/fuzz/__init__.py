"""Mutated manifests, dumps and command lines through every command: no traceback, no hang, no gigabyte.

    corpus      what is mutated: recorded manifests and dumps, and calls that suit them
    mutations   how: trees of manifests, lines and words of dumps, bytes of either
    runner      one call in this process, under limits, and what is wrong with how it ended

``python -m tests.fuzz --help`` runs it. An input is made of the seed and its number alone, so that
each can be made again.
"""
