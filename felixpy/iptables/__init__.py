"""iptables as a spelling of `felixpy.netfilter`: one table of matches and targets, and everything that is read with it.

words     the words of a line, and how values are quoted
fields    one option: how it is written, printed, compared
matches   a row for each match
targets   a row for each target
reader    a line as a rule
printer   a rule as iptables-save prints it
saved     what iptables-save and iptables -S print
listing   what iptables -L prints
sets      what ipset prints
forms     which of these forms a text has, and several in one file
"""
