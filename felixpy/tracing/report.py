"""A trace as text and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from felixpy.errors import Place, spell
from felixpy.netfilter.numbers import ICMP, PROTOCOLS, WITH_PORTS, parse_address, protocol_number
from felixpy.topology.endpoints import Endpoint
from felixpy.tracing import Leg, Report, Trace
from felixpy.tracing.hits import Hit
from felixpy.tracing.reasons import FAILSAFE, Reason, hit_words, reason
from felixpy.walk import Packet, Step

ENDS = {"drop": "dropped", "reject": "rejected"}
REWRITING = frozenset({"DNAT", "REDIRECT", "SNAT", "MASQUERADE"})


def flow_words(trace: Trace) -> str:
    """``shop/web → shop/db tcp/5432``, with the connection's state if it is not the first packet, and "spoofed"."""
    packet, number = trace.packet, _number(trace.packet)
    family = parse_address(packet.source).family
    if number in WITH_PORTS:
        service = f"{PROTOCOLS[number]}/{packet.port}"
    elif number == ICMP[family] and packet.icmp:
        kind, code = packet.icmp
        service = f"{PROTOCOLS[number]} {'echo request' if kind in (8, 128) else f'type {kind} code {code}'}"
    else:
        service = PROTOCOLS.get(number, f"protocol {number}")
    odd = [*([] if packet.state == "new" else [packet.state]), *(["spoofed source"] if packet.spoofed else [])]
    state = f" ({', '.join(odd)})" if odd else ""
    dnat = f" rewritten to {packet.dnat[0]}{f':{packet.dnat[1]}' if packet.dnat[1] else ''}" if packet.dnat else ""
    return f"{trace.source.name} → {trace.destination.name} {service}{dnat}{state}"


def _number(packet: Packet) -> int:
    return protocol_number(packet.protocol)


# --- text


def text(trace: Trace, *, verbose: bool = False) -> Iterator[str]:
    """The verdict, then the reason, then the path; with `verbose` every rule that was evaluated."""
    yield f"{verdict_word(trace)}  {flow_words(trace)}"
    yield from body(trace, verbose=verbose)


def verdict_word(trace: Trace) -> str:
    """The verdict in words, also for unknown nodes."""
    if trace.undecided:
        passed = ", ".join(dict.fromkeys(leg.node.name for leg in trace.legs))
        return f"PASSES {passed}, UNDECIDED on {', '.join(trace.missing)}"
    return "ALLOWED" if trace.allowed else "DENIED"


def body(trace: Trace, *, verbose: bool = False) -> Iterator[str]:
    """The lines below the verdict."""
    decided = reason(trace)
    yield f"  by {decided.words}"
    if decided.place:
        says = f": {decided.hit.says}" if decided.hit and decided.hit.says else ""
        yield f"     {_place(decided.place, decided.path)}{says}"
    rule = decided.hit.matched if decided.hit else decided.step
    if rule and decided.leg:
        yield f"     node {decided.leg.node.name}, {_spot(rule)}: {_body(rule)}"
    yield from (f"  {line}" for line in _remarks(trace, decided))
    for leg in trace.legs:
        yield ""
        yield _heading(leg)
        if verbose:
            yield from _every_step(leg)
        else:
            yield from (line.text() for line in _steps(leg, decided))


def _place(place: Place, path: tuple[str | int, ...]) -> str:
    return f"{place}  {spell(path)}".rstrip()


def _spot(step: Step) -> str:
    return f"{step.table} {step.chain} {step.rule.number}"


def _body(step: Step) -> str:
    """The rule without its chain and hash."""
    text = step.rule.text.removeprefix(f"-A {step.chain}").strip()
    identity = f'-m comment --comment "cali:{step.rule.identity}"'
    return text.replace(identity, "").replace("  ", " ").strip() or "(no criteria)"


def _remarks(trace: Trace, decided: Reason) -> Iterator[str]:
    """Remarks: uncertainty, staged policies, assumptions."""
    for endpoint in (trace.source, trace.destination):
        if endpoint.note:
            yield f"note: {endpoint.note}"
    if any(leg.node.saved for leg in trace.legs):
        for leg in trace.legs:
            if not leg.node.saved:
                yield f"note: {leg.node.name} is compiled from the manifests: its rules were not given"
    for name in trace.missing:
        way = "comes from" if name == trace.source.node else "goes on to"
        yield f"note: it {way} {name}, whose rules are not known: give them, or the manifests"
    if trace.pending_allowed is not None and trace.pending_allowed != trace.allowed:
        ends = [report for report in trace.reports if report.pending != report.enforced and report.pending]
        by = f" by {hit_words(ends[-1].pending[-1], ends[-1].end)}" if ends else ""
        fate = "allowed" if trace.pending_allowed else "denied"
        yield f"staged: it would be {fate}{by} if staged policies were enforced"
    for leg in trace.legs:
        yield from _of_connection_status(leg)
    yield from _doubts(trace)
    for words in sorted({s.assumption for leg in trace.legs for s in leg.walk.steps if s.assumption}):
        yield f"assumed: {words}"


NOT_REWRITTEN = "ct status != dnat"
"""How nft asks whether the destination was not rewritten: it compares the whole status of the connection."""


def _of_connection_status(leg: Leg) -> Iterator[str]:
    """A remark where host endpoints' policies apply to other packets on nftables than on iptables."""
    for step in leg.walk.steps:
        if NOT_REWRITTEN not in step.rule.text or not leg.node.asks(step.table, step.rule):
            continue
        if not step.applied:
            yield (
                f"note: the packet has no connection, so '{NOT_REWRITTEN}' is not true of it, and no host endpoint is "
                f"asked [{_spot(step)}]; in iptables mode they are"
            )
        elif "destination" in leg.walk.rewritten:
            yield (
                f"note: '{NOT_REWRITTEN}' is true of rewritten packets, too, so host endpoints are asked here "
                f"[{_spot(step)}] and once more before it leaves; in iptables mode only then"
            )


def _doubts(trace: Trace) -> Iterator[str]:
    """Why the verdict is uncertain, and the rules that are not understood."""
    if trace.answered:
        whose = f"{trace.answered.address}, the address of {trace.answered.name}"
        yield f"UNCERTAIN: the source is rewritten to {whose}: the answers go there, so no connection comes of it"
    if not all(leg.walk.certain or leg.walk.order_matters for leg in trace.legs):
        yield "UNCERTAIN: rules that are not understood could change the verdict; they are taken as not met"
    for leg in trace.legs:
        if leg.walk.order_matters:
            yield (
                f"UNCERTAIN: on {leg.node.name} chains of iptables and of nftables have the same priority; their "
                "order is unknown, and the verdict depends on it"
            )
    yield from (f"UNCERTAIN: {words}" for words in not_programmed_words(trace))
    for leg in trace.legs:
        for step in leg.walk.unknown:
            yield f"not understood on {leg.node.name}: {step.unknown} in {_spot(step)}: {_body(step)}"


def not_programmed_words(trace: Trace) -> Iterator[str]:
    """A line for each node on the way that does not get the rules walked, with the first reason."""
    for name, problems in trace.not_programmed.items():
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        yield f"{name} does not get these rules: {problems[0].sentence}{more}"


def _heading(leg: Leg) -> str:
    way_in = f"in by {leg.walk.in_interface}" if leg.walk.in_interface else "sent by the node"
    way_out = f"out by {leg.walk.out_interface}" if leg.walk.out_interface else "for the node itself"
    if leg.walk.verdict != "accept":
        end = ENDS[leg.walk.verdict]
        way_out = f"{end} before it goes {way_out}" if leg.walk.out_interface else end
    return f"{leg.node.name}: {way_in}, {way_out}"


class ReportLine(NamedTuple):
    """A line about a relevant step. `depth` is 1 within an endpoint."""

    words: str
    step: Step
    depth: int = 0
    place: Place | None = None

    def text(self) -> str:
        place = f"  {self.place}" if self.place else ""
        return f"  {'  ' * self.depth}{self.words}{place}  [{_spot(self.step)}]"


def _steps(leg: Leg, decided: Reason) -> Iterator[ReportLine]:
    """The relevant steps: ends, tiers, hits of policies, NAT, and the deciding rule."""
    hits = {id(hit.step): (hit, end) for end in leg.ends for hit in end.hits}
    firsts = {id(end.first): end for end in leg.ends}
    for step in leg.walk.steps:
        if not step.applied and not step.unknown:
            continue
        if id(step) in firsts:
            end = firsts[id(step)]
            idle = "" if end.hits or end.decided else ": no policy about it"
            yield ReportLine(f"{end.direction} of {end.name}{idle}", step)
        if id(step) in hits:
            hit, end = hits[id(step)]
            yield ReportLine(f"{hit.action.lower()}: {hit_words(hit, end, brief=True)}", hit.matched, 1, hit.place)
            continue
        words = f"{step.outcome}: {decided.words}" if step is decided.step else _remarkable(step)
        if words:
            yield ReportLine(words, step)


def _remarkable(step: Step) -> str:
    """What a step did that is worth a line, "" for nothing."""
    target = step.rule.target
    if step.unknown:
        return f"not understood, taken as not met: {step.unknown}"
    if target in REWRITING:
        return f"{target}: {_body(step)}"
    if target in ("NOTRACK", "CT"):
        return "not tracked from here on"
    if target == "LOG":
        return f"logged: {_body(step)}"
    if step.outcome:
        words = next((text for text in step.rule.comments if not text.startswith("cali:")), "")
        kept_open = f"a failsafe port, {_body(step)}" if step.chain.startswith(FAILSAFE) else ""
        return f"{step.outcome}: {words or kept_open or _body(step)}"
    if not step.rule.identity:
        return f"not Felix's: {_body(step)}"
    return ""


def _every_step(leg: Leg) -> Iterator[str]:
    """Each rule that was evaluated: whether it matched, its text, and the mark if it changed."""
    mark = leg.packet.mark
    for step in leg.walk.steps:
        sign = "+" if step.applied else "-"
        changed = f"  [mark {step.mark:#x}]" if step.mark != mark else ""
        mark = step.mark
        yield f"  {sign} {'  ' * (step.depth - 1)}{_spot(step)}  {_body(step)}{changed}"


# --- JSON


def document(trace: Trace, *, verbose: bool = False) -> dict[str, Any]:
    """The JSON document (``apiVersion: felixpy/v1``), without unknown values.

    `enforced` and `pending` are those of the end that decided, `flows` has all ends.
    """
    decided, last = reason(trace), trace.deciding
    packet = trace.packet
    found: dict[str, Any] = {
        "apiVersion": "felixpy/v1",
        "kind": "Trace",
        "verdict": trace.verdict,
        **({"undecidedOn": list(trace.missing)} if trace.undecided else {}),
        "certain": trace.certain,
        "flow": flow_words(trace),
        "source": _endpoint(trace.source),
        "destination": _endpoint(trace.destination),
        "protocol": PROTOCOLS.get(_number(packet), str(packet.protocol)),
        **({"port": packet.port} if _number(packet) in WITH_PORTS else {}),
        **({"icmp": {"type": packet.icmp[0], "code": packet.icmp[1]}} if packet.icmp else {}),
        "state": packet.state,
        "reason": _reason(decided),
        **({"reporter": last.reporter} if last else {}),
        "enforced": _records(last.enforced if last else ()),
        "pending": _records(last.pending if last else ()),
        **({} if trace.pending_allowed is None else {"pendingVerdict": "allow" if trace.pending_allowed else "deny"}),
        "flows": [_flow(report) for report in trace.reports],
        "path": [_leg(leg, decided, verbose=verbose) for leg in trace.legs],
        "notes": list(_remarks(trace, decided)),
    }
    return found


def _endpoint(endpoint: Endpoint) -> dict[str, str]:
    found = {"kind": endpoint.kind, "name": endpoint.name, "address": endpoint.address, "node": endpoint.node}
    if endpoint.workload:
        found["interface"] = endpoint.workload.interface
    return {key: value for key, value in found.items() if value}


def _records(hits: Iterable[Hit]) -> list[dict[str, object]]:
    return [hit.record(index) for index, hit in enumerate(hits)]


def _flow(report: Report) -> dict[str, Any]:
    allowed = not report.enforced or report.enforced[-1].action != "Deny"
    return {
        "reporter": report.reporter,
        "endpoint": report.end.name,
        "direction": report.end.direction,
        "action": "Allow" if allowed else "Deny",
        "enforced": _records(report.enforced),
        "pending": _records(report.pending),
    }


def _reason(decided: Reason) -> dict[str, Any]:
    found: dict[str, Any] = {"words": decided.words}
    if decided.place:
        found |= {"file": decided.place.file, "line": decided.place.line, "path": spell(decided.path)}
    if decided.hit and decided.hit.says:
        found["says"] = decided.hit.says
    if decided.leg:
        found["node"] = decided.leg.node.name
    rule = decided.hit.matched if decided.hit else decided.step
    if rule:
        found["rule"] = {**_rule(rule), "text": rule.rule.text}
    return found


def _rule(step: Step) -> dict[str, Any]:
    return {"table": step.table, "chain": step.chain, "number": step.rule.number}


def _leg(leg: Leg, decided: Reason, *, verbose: bool) -> dict[str, Any]:
    walk = leg.walk
    found: dict[str, Any] = {
        "node": leg.node.name,
        "inInterface": walk.in_interface,
        "outInterface": walk.out_interface,
        "verdict": walk.verdict,
    }
    if walk.rewritten:
        found["rewritten"] = dict(walk.rewritten)
    if verbose:
        found["rules"] = [_step(step) for step in walk.steps]
    else:
        found["steps"] = [{"words": line.words, **_rule(line.step)} for line in _steps(leg, decided)]
    return found


def _step(step: Step) -> dict[str, Any]:
    found = {
        "hook": step.hook,
        "table": step.table,
        "chain": step.chain,
        "number": step.rule.number,
        "text": step.rule.text,
        "applied": step.applied,
        "mark": f"{step.mark:#x}",
        "outcome": step.outcome,
    }
    return {key: value for key, value in found.items() if value != ""}
