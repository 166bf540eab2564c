"""The kernel's tables and sets: current state, wanted state, and the changes that lead from one to the other.

current and wanted are the two states; transaction and setsync, which are pure, turn them into restore inputs; program
holds all inputs in a safe order. tools runs the commands and interprets their failures, and enforcer reads, writes,
retries, and restores the earlier state if it fails.
"""
