"""The recorded cases: where they are, what each holds, and what felixpy makes of them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

import felixpy

ROOT = Path(__file__).parents[2] / "fixtures" / "conformance"
AREAS = (
    "seeds", "k8s", "calico", "host", "config", "random",
    "rules", "policies", "services", "sets", "labels", "names", "dispatch", "pods", "hosts", "encap", "ipvs", "cnp",
    "felix",
)  # fmt: skip
"""Areas of complete recordings, in the order in which the parity table shows them."""

WITH_NFTABLES = AREAS[:6]
"""Areas whose cases were recorded in Felix's nftables mode, too."""

REFUSED = "refused-by-kernel"
"""The area of cases that Felix rendered but iptables-restore refused; the text of the attempt is recorded instead."""

NOT_STARTED = "felix-does-not-start"
"""The area of cases in which Felix exits, panics or never programs its node; its words are recorded instead."""

TOOLS = {4: "iptables", 6: "ip6tables"}


class Case:
    """One folder of an area: manifests, the host they meet, and Felix's answer."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.area, self.name = folder, folder.parent.name, folder.name

    def __str__(self) -> str:
        return f"{self.area}/{self.name}"

    @cached_property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = yaml.safe_load((self.folder / "case.yaml").read_text())
        return facts

    @property
    def node(self) -> str:
        return str(self.facts["node"])

    @property
    def families(self) -> tuple[int, ...]:
        """The families that Felix programmed: one that was switched off left no file."""
        kind = "restore" if self.area == REFUSED else "save"
        return tuple(family for family, tool in TOOLS.items() if (self.folder / f"expected/{tool}.{kind}").exists())

    def expected(self, family: int, kind: str = "save") -> str:
        return (self.folder / f"expected/{TOOLS[family]}.{kind}").read_text()

    def expected_sets(self) -> str:
        return (self.folder / "expected/ipset.save").read_text()

    def compile(self, dataplane: str | None = "iptables") -> felixpy.Ruleset:
        """The rules of the recorded node; a case that lists no interfaces ran on a host with loopback only."""
        return felixpy.compile(self.load(), node=self.node, host=self.host, dataplane=dataplane)

    @property
    def host(self) -> felixpy.Host:
        interfaces = {name: tuple(addresses) for name, addresses in self.facts.get("interfaces", {}).items()}
        return felixpy.Host(interfaces=interfaces)

    def load(self) -> felixpy.Cluster:
        return felixpy.load([self.folder / "manifests.yaml"], strict=False)


def cases(*areas: str) -> list[Case]:
    """All cases of the areas, sorted by name within each."""
    return [Case(folder) for area in areas for folder in sorted((ROOT / area).iterdir())]
