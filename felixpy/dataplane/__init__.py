"""The kernel's tables and sets: what is there, what should be there, and the way from the one to the other.

current and wanted say what there is and what there should be; transaction and setsync, which are pure, turn the two
into restore inputs; program has all inputs in the order that is safe. tools knows the commands and what their failures
mean, and enforcer reads, writes, tries again, and puts everything back when it cannot go on.
"""
