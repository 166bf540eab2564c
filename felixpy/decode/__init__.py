"""Explain names that Felix writes into the kernel.

    legend    the kernel names of a cluster's objects
    phrases   selectors, sets and rules in words
    rules     a compiled node, by name
    strange   possible explanations of unknown names
    meaning   the result
    comments  a whole dump with comments

A name is looked up in the compiled nodes first, then among all objects of the cluster; an unknown one gets a general
explanation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from felixpy.calico_versions import V3_32, CalicoVersion
from felixpy.decode.legend import (
    CHAIN_KINDS,
    DEVICES,
    DISPATCH,
    FIXED_SETS,
    SET_NAME,
    STATIC,
    Legend,
    chain_prefix,
)
from felixpy.decode.meaning import NameMeaning
from felixpy.decode.phrases import rule_words, selector_words, set_words
from felixpy.decode.rules import Found, RuleIndex, Spot
from felixpy.decode.strange import strange_chain, strange_interface, strange_rule, strange_set
from felixpy.errors import Place, few, spell
from felixpy.ipsets import IPSet
from felixpy.marks import Marks
from felixpy.model import Cluster, Source, Workload
from felixpy.names import plain_set_name, split_layer
from felixpy.ruleset import TABLES, Ruleset

__all__ = ["Decoder", "NameMeaning"]

KERNEL = frozenset(hook for hooks in TABLES.values() for hook in hooks)

HASH = re.compile(r"(?:cali:)?([\w-]{16})", re.ASCII)
MARK = re.compile(r"0x[0-9a-fA-F]+(?:/0x[0-9a-fA-F]+)?")
NFLOG = re.compile(r"([ADP])([PR])([IE])(\d*)(?:\|(.*))?")
NFLOG_ACTIONS = {"A": "allowed", "D": "denied", "P": "passed"}
NFLOG_WAYS = {"I": "ingress", "E": "egress"}


class Decoder:
    """Explains names, for one cluster and Calico version.

    `nodes` are compiled nodes, `elsewhere` the same in other Calico versions; they are compiled one after the other,
    until a name is found.
    """

    def __init__(
        self,
        cluster: Cluster,
        nodes: Iterable[Ruleset] = (),
        *,
        calico_version: CalicoVersion = V3_32,
        marks: Marks | None = None,
        elsewhere: Iterable[Ruleset] = (),
    ) -> None:
        self.cluster, self.calico_version, self.marks = cluster, calico_version, marks
        self._elsewhere = iter(elsewhere)
        self._other: list[RuleIndex] = []
        self.legend = Legend(cluster, calico_version)
        self._nodes = iter(nodes)
        self._known: list[RuleIndex] = []

    def indices(self) -> Iterator[RuleIndex]:
        """The compiled nodes, each compiled on first use."""
        return _indices(self._known, self._nodes)

    def decode(self, name: str) -> NameMeaning:
        """Explain a name: chain, set, interface, rule hash, mark or log prefix."""
        asked = name.strip().strip("\"'").removesuffix(";")
        layer, plain = split_layer(plain_set_name(asked))
        if layer:
            found_chain = self.chain(plain, layer)
            return replace(found_chain, name=asked) if found_chain else strange_interface(asked, self.legend)
        asked = plain
        for form, read in FORMS:
            found = form.fullmatch(asked)
            if found:
                meaning = read(self, asked)
                if meaning:
                    return meaning
        return strange_interface(asked, self.legend)

    # --- chains

    def chain(self, name: str, table: str = "", *, full: bool = True) -> NameMeaning | None:
        """Explain a chain of Felix or of the kernel; None for others. Without `full` only the description."""
        for index in self.indices():
            spots = index.spots(name, table)
            if spots:
                return self._compiled_chain(name, index, spots, full=full)
        subject = self.legend.chain(name)
        if subject:
            hint = self._why_absent(index.node for index in self.indices())
            return NameMeaning(
                name=name, kind="chain", words=subject.words, place=self._place(subject.source), hint=hint
            )
        if name in STATIC:
            return NameMeaning(name=name, kind="chain", words=STATIC[name])
        if name in KERNEL:
            return NameMeaning(name=name, kind="chain", words="a chain of the kernel")
        for index in _indices(self._other, self._elsewhere):
            spots = index.spots(name, table)
            if spots:
                meaning = self._compiled_chain(name, index, spots, full=full)
                return replace(meaning, known=False, hint=_other_version(index))
        return strange_chain(name, self.legend)

    def _why_absent(self, nodes: Iterator[str]) -> str:
        names = few({*nodes})
        return f"no rule leads to it on {names}" if names else ""

    def _compiled_chain(self, name: str, index: RuleIndex, spots: Sequence[Spot], *, full: bool) -> NameMeaning:
        origin, dispatch = spots[0].chain.origin, DISPATCH.fullmatch(name)
        subject = self.legend.chain(name, index.node)
        words = STATIC.get(name) or (subject.words if subject else "") or origin.words
        if name in KERNEL:
            words = f"Felix's rules in the kernel's chain {name}"
        elif dispatch:
            words = f"{STATIC.get(dispatch[1], origin.words)}: interfaces whose names go on with {dispatch[2]!r}"
        facts = self._chain_facts(name, index, spots) if full else []
        place = self._place(origin.source) if full else _first_line(origin.source)
        return NameMeaning(name=name, kind="chain", words=words, place=place, facts=tuple(facts))

    def _chain_facts(self, name: str, index: RuleIndex, spots: Sequence[Spot]) -> list[tuple[str, list[str]]]:
        facts = [
            ("node", [index.node]),
            ("tables", [f"{table} (IPv{' and IPv'.join(map(str, found))})" for table, found in _by_table(spots)]),
        ]
        if name in index.users:
            facts.append(("reached from", list(index.users[name])))
        subject = self.legend.chain(name, index.node)
        policy = subject.policy if subject else None
        if policy:
            facts.append(("applies to", [selector_words(policy.selector, sets=False)]))
            facts.append(("selector", [policy.selector or "all()"]))
            order = "none, so last" if policy.order is None else f"{policy.order:g}"
            facts.append(("tier", [f"{policy.tier}, order {order}"]))
        if subject and subject.workload:
            facts.extend(_pod_facts(subject.workload))
        facts.append(("rules", list(self._rules(spots[0], index.ruleset))))
        return facts

    def _rules(self, spot: Spot, ruleset: Ruleset) -> Iterator[str]:
        """The rules as the kernel prints them, with the place of each policy rule above its rules."""
        chain, drawn = spot.chain, -1
        table = ruleset.tables[spot.families[0], spot.table]
        for number, lines in zip(chain.numbers, ruleset.rule_lines(table, chain), strict=True):
            path = chain.origin.path(number)
            if path and number != drawn:
                place = self._place(chain.origin.source, path)
                says = rule_words(chain.origin.rules[number], CHAIN_KINDS[chain_prefix(chain.name)].direction)
                yield f"# {spell(path)}: {says}{f' ({place})' if place else ''}"
            drawn = number
            yield from lines

    def _place(self, source: Source | None, path: tuple[str | int, ...] = ()) -> Place | None:
        return self.cluster.where(source, path) if source and source.file else None

    # --- sets

    def set(self, name: str, *, full: bool = True) -> NameMeaning | None:
        for index in self.indices():
            if name in index.sets:
                return self._compiled_set(index.sets[name], index, full=full)
        fixed = FIXED_SETS.get(name[6:])
        if fixed:
            return NameMeaning(name=name, kind="set", words=fixed)
        use = self.legend.sets.get(name)
        if use:
            hint = f"needed by {use.user}, but by no rule of the compiled nodes" if self._known else ""
            place = self._place(use.source)
            return NameMeaning(name=name, kind="set", words=set_words(use.spec.words()), place=place, hint=hint)
        return strange_set(name, self.legend)

    def _compiled_set(self, ipset: IPSet, index: RuleIndex, *, full: bool) -> NameMeaning:
        place, facts = None, self._set_facts(ipset, index) if full else []
        if ipset.origin:
            source, path = ipset.origin.source, ipset.origin.path
            place = self._place(source, path) if full else _first_line(source)
        return NameMeaning(name=ipset.name, kind="set", words=set_words(ipset.words), place=place, facts=tuple(facts))

    def _set_facts(self, ipset: IPSet, index: RuleIndex) -> list[tuple[str, list[str]]]:
        facts = [("node", [index.node]), ("set type", [f"{ipset.type}, IPv{ipset.family}"])]
        if ipset.origin:
            facts.append(("first asked for by", [f"{ipset.origin.subject}, {spell(ipset.origin.path)}"]))
        if ipset.name in index.users:
            facts.append(("used in", list(index.users[ipset.name])))
        owners = self.legend.addresses
        members = [
            f"{member} ({owners[address]})" if (address := member.partition(",")[0]) in owners else member
            for member in ipset.members
        ]
        facts.append(("members", members or ["none"]))
        return facts

    # --- rules, interfaces, marks, log prefixes

    def rule(self, name: str) -> NameMeaning | None:
        found = HASH.fullmatch(name)
        identity = found[1] if found else name
        for index in self.indices():
            if identity in index.rules:
                return self._compiled_rule(name, index, index.rules[identity])
        if not name.startswith("cali:"):
            return None
        for index in _indices(self._other, self._elsewhere):
            if identity in index.rules:
                meaning = self._compiled_rule(name, index, index.rules[identity])
                return replace(meaning, known=False, hint=_other_version(index))
        return strange_rule(name)

    def _compiled_rule(self, name: str, index: RuleIndex, rule: Found) -> NameMeaning:
        chain = self.chain(rule.chain.name, full=False)
        number = f", {spell(rule.path)}" if rule.path else ""
        table = next(table for table in index.ruleset.tables.values() if table.name == rule.table)
        text = index.ruleset.written_rules(table, rule.chain)[rule.position] or "(no criteria, no target)"
        words = f"rule {rule.position + 1} of {rule.chain.name}: {chain.words if chain else ''}{number}"
        facts = (("node", [index.node]), ("table", [rule.table]), ("rule", [text]))
        return NameMeaning(name=name, kind="rule", words=words, place=rule.place(self.cluster), facts=facts)

    def interface(self, name: str, *, full: bool = True) -> NameMeaning | None:
        pod = self.legend.interfaces.get(name)
        if pod:
            words = f"the node's end of pod {pod.namespace}/{pod.name}"
            facts = (*_pod_facts(pod), ("chains", [f"cali-fw-{name}", f"cali-tw-{name}"]))
            place = self._place(pod.source) if full else _first_line(pod.source)
            return NameMeaning(name=name, kind="interface", words=words, place=place, facts=facts)
        hosts = [host for host in self.cluster.host_endpoints if host.interface == name]
        if hosts:
            words = ", ".join(f"HostEndpoint {host.name} on {host.node}" for host in hosts)
            return NameMeaning(name=name, kind="interface", words=words, place=self._place(hosts[0].source))
        if name in DEVICES:
            return NameMeaning(name=name, kind="interface", words=DEVICES[name])
        return None

    def mark(self, text: str) -> NameMeaning | None:
        """Explain a mark, by the bits that Felix allocates; None for a text that is not a mark."""
        if self.marks is None:
            return None
        value, _, mask = text.partition("/")
        number, wanted = int(value, 16), int(mask or value, 16)

        def state(bits: int) -> str:
            if not mask:
                return ""
            return " clear" if not number & bits else " set" if number & bits == bits else f" {number & bits:#x}"

        names = [f"{name} ({bit:#x}){state(bit)}" for name, bit in self.marks.bits if bit & wanted]
        rest = wanted & ~sum(bit for _, bit in self.marks.bits)
        for words, bits in (("endpoint", rest & self.marks.endpoint), ("not Felix's", rest & ~self.marks.endpoint)):
            if bits:
                names.append(f"{words} ({bits:#x}){state(bits)}")
        return NameMeaning(name=text, kind="mark", words=", ".join(names) or "no bit at all")

    def log_prefix(self, text: str) -> NameMeaning | None:
        found = NFLOG.fullmatch(text)
        if not found:
            return None
        action, owner, way, number, name = found.groups()
        what = f"{NFLOG_WAYS[way]} {NFLOG_ACTIONS[action]}"
        if number and name:
            by = "profile" if owner == "R" else "policy"
            words = f"{what} by rule {number} (counted from 0) of {by} {name}"
            return NameMeaning(name=text, kind="log prefix", words=words)
        if name:
            return NameMeaning(name=text, kind="log prefix", words=f"{what} at the end of tier {name}")
        return (
            NameMeaning(name=text, kind="log prefix", words=f"{what} as no profile matched") if owner == "R" else None
        )


def _by_table(spots: Sequence[Spot]) -> Iterator[tuple[str, list[int]]]:
    """(table, families that have the chain in it); the chain's rules may differ between families."""
    tables: dict[str, set[int]] = {}
    for spot in spots:
        tables.setdefault(spot.table, set()).update(spot.families)
    yield from ((table, sorted(families)) for table, families in tables.items())


def _indices(known: list[RuleIndex], more: Iterator[Ruleset]) -> Iterator[RuleIndex]:
    """The known indices, then further ones, compiled on demand and added to the known ones."""
    yield from known
    for ruleset in more:
        known.append(RuleIndex(ruleset))
        yield known[-1]


def _first_line(source: Source | None) -> Place | None:
    """The place of an object's first line, which needs no access to the file."""
    return Place(source.file, source.line) if source and source.file else None


def _other_version(index: RuleIndex) -> str:
    return f"a name of Felix {index.ruleset.calico_version}, not of the requested version"


def _pod_facts(pod: Workload) -> list[tuple[str, list[str]]]:
    return [("runs on", [pod.node]), ("addresses", list(pod.addresses)), ("profiles", list(pod.profiles))]


FORMS: tuple[tuple[re.Pattern[str], Callable[[Decoder, str], NameMeaning | None]], ...] = (
    (MARK, Decoder.mark),
    (re.compile(r"cali:.*"), Decoder.rule),
    (SET_NAME, Decoder.set),
    (re.compile(r"[ADP][PR][IE](?:\d*\|.*)?"), Decoder.log_prefix),
    (re.compile(r"cali-.*|[A-Z]+"), Decoder.chain),
    (re.compile(r".*"), Decoder.interface),
    (HASH, Decoder.rule),
)
"""Patterns of names with their readers; the first one with an answer wins."""
