"""The objects that chains, rules and sets belong to, and the endpoints for which they are evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from felixpy.calico_versions import CalicoVersion
from felixpy.decode import Decoder
from felixpy.decode.legend import CHAIN_KINDS, STATIC, Legend, chain_prefix
from felixpy.decode.rules import RuleIndex
from felixpy.errors import spell
from felixpy.model import Cluster, HostEndpoint, Workload
from felixpy.names import split_layer
from felixpy.nftables.wording import identity
from felixpy.ruleset import TABLES, Ruleset
from felixpy.verification.finding import Finding

MOST_NAMED = 3

Endpoint = Workload | HostEndpoint


class Naming:
    """Adds subjects to findings, for one compiled node."""

    def __init__(self, cluster: Cluster, ruleset: Ruleset, calico_version: CalicoVersion) -> None:
        self.cluster, self.ruleset = cluster, ruleset
        self.decoder = Decoder(cluster, [ruleset], calico_version=calico_version)
        self.legend: Legend = self.decoder.legend
        self.index: RuleIndex = next(self.decoder.indices())

    def named(self, finding: Finding) -> Finding:
        """The finding with its subject and the place of that."""
        if finding.set:
            return self._about_set(finding)
        if finding.map:
            return self._about_map(finding)
        if finding.chain:
            return self._about_chain(finding)
        return finding

    def _about_chain(self, finding: Finding) -> Finding:
        own = STATIC.get(f"cali-{finding.chain}") if finding.chain in TABLES.get(finding.table, ()) else ""
        meaning = None if own else self.decoder.chain(finding.chain, finding.table, full=False)
        subject = own or (meaning.words if meaning else "a chain of others")
        rule = self.index.rules.get(identity(finding.wanted))
        found = rule if rule and rule.chain.name == finding.chain else None
        place = (found.place(self.cluster) if found else None) or (meaning.place if meaning else None)
        path = found.path if found else ()
        details = list(finding.details)
        asked = "" if own else self._asked_for(finding.chain)
        if path:
            subject += f", {spell(path)}"
        if asked:
            details.insert(0, f"asked about {asked}")
        if meaning and not meaning.known and meaning.hint:
            details.append(meaning.hint)
        return replace(finding, subject=subject, place=place, path=path, details=tuple(details))

    def _about_set(self, finding: Finding) -> Finding:
        meaning = self.decoder.set(finding.set, full=False)
        if meaning is None:
            return finding
        uses = list(self._uses(finding.set))
        used = [f"used by {use}" for use in uses[:MOST_NAMED]] or ["no rule uses it"]
        details = [*used, *self._members(finding.details)]
        if len(uses) > MOST_NAMED:
            details.insert(MOST_NAMED, f"and by {len(uses) - MOST_NAMED} more")
        if not meaning.known and meaning.hint:
            details.append(meaning.hint)
        return replace(finding, subject=meaning.words, place=meaning.place, details=tuple(details))

    def _about_map(self, finding: Finding) -> Finding:
        """A finding about a verdict map, with the endpoints whose interfaces are in it."""
        owners = {pod.interface: f"pod {pod.namespace}/{pod.name}" for pod in self.cluster.workloads
                  if pod.node == self.ruleset.node}  # fmt: skip
        names = [detail.partition('"')[2].partition('"')[0] for detail in finding.details]
        told = (f"{detail} ({owners[name]})" if name in owners else detail
                for detail, name in zip(finding.details, names, strict=True))  # fmt: skip
        meaning = self.decoder.chain(split_layer(finding.map)[1], full=False)
        return replace(finding, subject=meaning.words if meaning else "", details=tuple(told))

    def _members(self, members: Iterable[str]) -> Iterator[str]:
        owners = self.legend.addresses
        for member in members:
            address = member.partition(",")[0].partition(" ")[0]
            yield f"{member} ({owners[address]})" if address in owners else member

    def _uses(self, name: str) -> Iterator[str]:
        """The rules that use a set, in words, each once."""
        told: dict[str, None] = {}
        for user in self.index.users.get(name, ()):
            for spot in self.index.chains.get(user, ()):
                for body, number in zip(spot.chain.bodies, spot.chain.numbers, strict=True):
                    if f" {name} " in f"{body} ":
                        path = spot.chain.origin.path(number)
                        words = spot.chain.origin.words if path else self._chain_words(user)
                        told[f"{words}{f', {spell(path)}' if path else ''}"] = None
        yield from told

    def _chain_words(self, chain: str) -> str:
        meaning = self.decoder.chain(chain, full=False)
        return f"{chain} ({meaning.words})" if meaning else chain

    # --- endpoints

    def _asked_for(self, chain: str) -> str:
        """The endpoints for which a chain of a policy, profile or group is evaluated, the first ones by name."""
        kind = CHAIN_KINDS.get(chain_prefix(chain))
        if kind is None or kind.owner not in ("policy", "profile", "group"):
            return ""
        endpoints = self._endpoints([chain])
        names = [_name(endpoint) for endpoint in endpoints]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        way = "packets to" if kind.direction == "ingress" else "packets from"
        return f"{way} {', '.join(names[:MOST_NAMED])}{more}" if names else "no endpoint"

    def _endpoints(self, chains: Sequence[str]) -> list[Endpoint]:
        """The endpoints whose chains jump, directly or through other chains, to one of these."""
        found: dict[str, Endpoint] = {}
        seen: set[str] = set()
        open_chains = list(chains)
        while open_chains:
            chain = open_chains.pop(0)
            if chain in seen:
                continue
            seen.add(chain)
            subject = self.legend.chain(chain, self.ruleset.node)
            owner = (subject.workload or subject.host) if subject else None
            if owner:
                found.setdefault(chain, owner)
            else:
                open_chains.extend(self.index.users.get(chain, ()))
        return list({id(owner): owner for owner in found.values()}.values())


def _name(endpoint: Endpoint) -> str:
    if isinstance(endpoint, Workload):
        return f"{endpoint.namespace}/{endpoint.name}"
    return f"HostEndpoint {endpoint.name}"
