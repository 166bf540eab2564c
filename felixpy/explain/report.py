"""Explanations as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from felixpy.errors import Place, spell
from felixpy.explain.values import (
    EndpointExplanation,
    EndpointStage,
    Mention,
    PolicyExplanation,
    PolicyLine,
    PolicySide,
    RuleLine,
    TierExplanation,
    Who,
)

Explanation = EndpointExplanation | PolicyExplanation | TierExplanation

MOST_NAMED = 3
"""The most items of a list that are named; `verbose` names all."""

MOST_POLICIES = 8
"""The number of other policies that are listed."""

KINDS: Mapping[type, str] = {
    EndpointExplanation: "EndpointExplanation",
    PolicyExplanation: "PolicyExplanation",
    TierExplanation: "TierExplanation",
}


def text(found: Explanation, *, verbose: bool = False) -> Iterator[str]:
    """Text for a terminal; with `verbose` whole lists."""
    writer = _Writer(None if verbose else MOST_NAMED)
    if isinstance(found, EndpointExplanation):
        yield from writer.endpoint(found)
    elif isinstance(found, PolicyExplanation):
        yield from writer.policy(found)
    else:
        yield from writer.tier(found)


def order_words(order: float | None) -> str:
    """The order of a policy or tier in words.

    >>> order_words(1e6), order_words(2.5), order_words(None)
    ('order 1000000', 'order 2.5', 'no order, so last')
    """
    return "no order, so last" if order is None else f"order {order:.15g}"


class _Writer:
    """Writes explanations as lines; lists are cut after `most` names, None for all."""

    def __init__(self, most: int | None) -> None:
        self.most = most

    def who(self, who: Who) -> str:
        """How many things there are, and the first names."""
        kinds = (("pod", who.pods), ("host endpoint", who.host_endpoints), ("network set", who.network_sets))
        counted = ((f"{len(names)} {noun}{'s' if len(names) > 1 else ''}", names) for noun, names in kinds if names)
        return "; ".join(f"{count}: {self.list(names)}" for count, names in counted) or "no endpoint"

    def list(self, names: Sequence[str]) -> str:
        shown = names if self.most is None else names[: self.most]
        more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
        return f"{', '.join(shown)}{more}"

    # --- pods and host endpoints

    def endpoint(self, found: EndpointExplanation) -> Iterator[str]:
        yield f"{found.endpoint_type} {found.name}{_at(found.place)}"
        where = [f"node {found.node}"]
        where += [f"interface {found.interface}"] if found.interface else []
        yield f"  {', '.join([*where, *found.addresses])}"
        if found.labels:
            yield f"  labels {', '.join(f'{key}={value}' for key, value in found.labels.items())}"
        if found.profiles:
            yield f"  profiles {', '.join(found.profiles)}"
        if found.ports:
            yield f"  named ports {', '.join(found.ports)}"
        for direction, ports in found.failsafes.items():
            told = f"always pass, whatever policies say: {', '.join(ports)}" if ports else "none: policies can lock out"
            yield f"  failsafe ports, {direction}: {told}"
        yield from (f"  note: {remark}" for remark in found.remarks)
        for stage in found.stages:
            yield ""
            yield from self._stage(stage)
        if found.mentions:
            yield ""
            yield from self._mentions(found)

    def _stage(self, stage: EndpointStage) -> Iterator[str]:
        yield f"{stage.direction.upper()}  {stage.title}  [{stage.table} {stage.chain}]"
        if not stage.tiers:
            yield "  no policy applies"
        for tier in stage.tiers:
            yield f"  tier {tier.name}{'' if tier.reached else '  (never reached)'}"
            for policy in tier.policies:
                yield from self._policy_line(policy)
            yield f"    then: {tier.end}"
        if not stage.profiles_reached:
            yield "  profiles are not asked: nothing is left undecided"
            return
        for profile in stage.profiles:
            yield f"  {profile.name}{_at(profile.place)}{'' if profile.reached else '  (never reached)'}"
            if not profile.exists:
                yield "    there is no such profile: everything is dropped"
            elif not profile.rules:
                yield "    no rules"
            yield from self._rules(profile.rules, 4)
        if stage.end:
            yield f"  then: {stage.end}"

    def _policy_line(self, policy: PolicyLine) -> Iterator[str]:
        staged = "staged, " if policy.staged else ""
        yield f"    {policy.name} ({staged}{order_words(policy.order)}){_at(policy.place)}"
        if not policy.rules:
            yield "      no rules"
        yield from self._rules(policy.rules, 6)

    def _rules(self, rules: Sequence[RuleLine], indent: int) -> Iterator[str]:
        for rule in rules:
            yield f"{' ' * indent}{rule.number}. {rule.words}{_line(rule.place)}"
            yield from (f"{' ' * indent}   ! {remark}" for remark in rule.remarks)

    def _mentions(self, found: EndpointExplanation) -> Iterator[str]:
        yield f"NAMED BY POLICIES OF OTHERS  rules that mean this {found.endpoint_type}"
        groups: dict[tuple[str, str], list[Mention]] = {}
        for mention in found.mentions:
            groups.setdefault((mention.policy, mention.direction), []).append(mention)
        told = list(groups.items()) if self.most is None else list(groups.items())[:MOST_POLICIES]
        for (policy, direction), mentions in told:
            staged = " (staged)" if mentions[0].staged else ""
            way = "packets from it to" if direction == "ingress" else "packets to it from"
            yield f"  {policy}{staged}, {way} {self.who(mentions[0].selects)}"
            for mention in mentions:
                yield f"    {mention.number}. {mention.words}{_line(mention.place)}  [{', '.join(mention.sets)}]"
        if len(told) < len(groups):
            yield f"  … and {len(groups) - len(told)} more, which -v names"

    # --- policies

    def policy(self, found: PolicyExplanation) -> Iterator[str]:
        yield f"{found.name}{_at(found.place)}"
        staged = "staged, " if found.staged else ""
        types = " and ".join(side.direction for side in found.sides if side.applies) or "no direction"
        yield f"  {staged}tier {found.tier}, {order_words(found.order)}, for {types}"
        yield from (f"  {kind}" for kind in found.kinds)
        yield f"  for {found.words}"
        yield f"  that is {self.who(found.selects)}"
        if len(found.by_node) > 1:
            yield f"  on {self.list([f'{node} {number}' for node, number in found.by_node.items()])}"
        elif found.by_node:
            yield f"  on {next(iter(found.by_node))}"
        for side in found.sides:
            if side.applies or side.rules:
                yield ""
                yield from self._side(side, found.end)
        if found.remarks:
            yield ""
            yield "REMARKS"
            yield from (f"  {remark}" for remark in found.remarks)

    def _side(self, side: PolicySide, end: str) -> Iterator[str]:
        where = ""
        if side.chain:
            own = side.chain.partition("-")[0]
            told = [table for table in side.tables if table not in ("filter", own)]
            tables = f" in {', '.join(side.tables)}" if told else ""
            where = f"  [{side.chain}{tables}, last hash {side.hash}]"
        yield f"{side.direction.upper()}{where}{'' if side.applies else '  without effect'}"
        if not side.rules:
            yield "  no rules"
        for rule in side.rules:
            yield f"  {rule.number}. {rule.words}{_line(rule.place)}"
            if rule.peers is not None and len(rule.peers):
                yield f"     today {self.who(rule.peers)}"
            if rule.sets:
                yield f"     in set{'s' if len(rule.sets) > 1 else ''} {', '.join(rule.sets)}"
            yield from (f"     ! {remark}" for remark in rule.remarks)
        if side.applies and end:
            yield f"  then: {end}"

    # --- tiers

    def tier(self, found: TierExplanation) -> Iterator[str]:
        yield f"tier {found.name}{'' if found.exists else ', which is not in the input'}"
        neighbours = [f"after {found.before}" if found.before else "", f"before {found.after}" if found.after else ""]
        among = " and ".join(filter(None, neighbours))
        order = "after all others" if found.order == float("inf") else order_words(found.order)
        yield f"  {', '.join(filter(None, [order, among]))}"
        for number, policy in enumerate(found.policies, start=1):
            staged = "staged, " if policy.staged else ""
            ways = " and ".join(policy.directions) or "no direction"
            yield f"  {number}. {policy.name} ({staged}{order_words(policy.order)}, {ways}){_at(policy.place)}"
            yield f"     for {policy.words}, that is {self.who(policy.selects)}"
        if not found.policies:
            yield "  no policies"
        yield f"  then: {found.end}"


def _at(place: Place | None) -> str:
    return f"  {place.file}:{place.line}" if place else ""


def _line(place: Place | None) -> str:
    """The line of a rule's place; its file is that of its policy."""
    return f"  :{place.line}" if place else ""


# --- JSON


def document(found: Explanation) -> dict[str, Any]:
    """The JSON document (``apiVersion: felixpy/v1``), without unknown and empty values."""
    return {"apiVersion": "felixpy/v1", "kind": KINDS[type(found)], **_json(found)}


def _json(value: Any) -> Any:
    if isinstance(value, Place):
        return {key: shown for key, shown in value._asdict().items() if shown}
    if isinstance(value, Who):
        return {"count": len(value), **{_camel(key): list(names) for key, names in value._asdict().items() if names}}
    if is_dataclass(value):
        shown = {_camel(field.name): _field(field.name, getattr(value, field.name)) for field in fields(value)}
        return {key: inner for key, inner in shown.items() if inner not in (None, "", [], {})}
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _field(name: str, value: Any) -> Any:
    return spell(value) if name == "path" else _json(value)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
