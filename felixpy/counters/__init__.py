"""Hits of policy rules: the packet and byte counters of a kernel or of ``iptables-save -c``.

counts   counters as values, each with the policy rule, tier end or endpoint that it belongs to
report   counters as a table, JSON, CSV and Prometheus' text exposition
"""

from __future__ import annotations

from felixpy.counters.counts import Count, Names, counted, since, summed

__all__ = ["Count", "Names", "counted", "since", "summed"]
