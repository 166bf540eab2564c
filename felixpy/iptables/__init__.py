"""Reading and printing iptables rules, as values of `felixpy.netfilter`, with one table of matches and targets.

words     splitting a line into words, quoting values
fields    one option: how it is parsed, printed, compared
matches   a row for each match
targets   a row for each target
refused   rules that no kernel accepts
reader    from a line to a rule
printer   from a rule to the line that iptables-save prints
saved     output of iptables-save
listing   output of iptables -L
sets      output of ipset
forms     recognising these forms, also several in one file
"""
