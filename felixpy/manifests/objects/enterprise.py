"""Fields of a FelixConfiguration that only Calico Enterprise has: valid, but without effect on rules here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from felixpy.errors import Path
from felixpy.manifests.validation.findings import Finding

FIELDS = re.compile(
    r"(flowLogs|dnsLogs|l7Logs|wafEventLogs|capture|dnsCache|dnsPolicy|dnsTrusted|dnsExtra|dnsPackets|egressIP|"
    r"externalNetwork|tproxy|ipsec|windows|statsDump|debugDNS|prometheusReporter|awsSecondaryIP|awsRequest|"
    r"deletedMetricsRetention|nfNetlink|bpfDNS|kubernetesService|kmemAllow)\w*"
)
"""The first words of their names."""

DROP_ACTION = "dropActionOverride"
"""The one that would change what dropped packets meet, on nodes of Calico Enterprise."""


def split(spec: Any, known: Mapping[str, object]) -> tuple[Any, list[str]]:
    """A FelixConfiguration's spec without the fields of Calico Enterprise, and their names."""
    if not isinstance(spec, dict):
        return spec, []
    theirs = [key for key in spec if key not in known and (FIELDS.fullmatch(str(key)) or key == DROP_ACTION)]
    return {key: value for key, value in spec.items() if key not in theirs}, theirs


def told(names: list[str]) -> Iterator[Finding]:
    """A remark on all of these fields, and a separate one on the field that would change rules."""
    path: Path = ("spec",)
    if DROP_ACTION in names:
        reason = "Calico Enterprise would not drop as the rules shown here do"
        yield Finding((*path, DROP_ACTION), reason, severity="warning")
    others = [name for name in names if name != DROP_ACTION]
    if others:
        shown = ", ".join([*others[:3], *([f"{len(others) - 3} more"] if len(others) > 3 else [])])
        reason = f"fields of Calico Enterprise, without effect on rules: {shown}"
        yield Finding(path, reason, severity="warning")
