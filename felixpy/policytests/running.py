"""Compare expectations with the compiled rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, product
from typing import NamedTuple

from felixpy.calico_versions import V3_32, CalicoVersion
from felixpy.compiler import Compiler
from felixpy.config import Setting
from felixpy.errors import Place, UsageError, many
from felixpy.exposure import route_flows
from felixpy.flows import Connectivity, compare, survey
from felixpy.flows.presentation.report import change_lines, lines
from felixpy.model import Cluster
from felixpy.policytests.ends import Ends
from felixpy.policytests.files import End, Expectation, PodChoice, PolicyTest
from felixpy.topology.question import question_of
from felixpy.tracing import Nodes, Trace, Tracer
from felixpy.tracing.reasons import reason
from felixpy.tracing.report import flow_words, not_programmed_words, verdict_word
from felixpy.tracing.service_report import ServiceTrace
from felixpy.tracing.services import ServiceTracer

MOST_CONNECTIONS = 1_000_000
"""Of one expectation: the number of sources times that of destinations times that of ports."""

MOST_TOLD = 5
"""The number of connections listed for one expectation; the rest is counted."""

Answer = Trace | ServiceTrace


class DecidedBy(NamedTuple):
    """The place of a deciding rule or policy, and its description."""

    place: Place
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectationOutcome:
    """The outcome of one expectation, table or comparison. `problem` is "" if it is met.

    `details` list each connection that is not as expected and what decided; `related` are the deciding policy rules.
    """

    title: str
    place: Place
    problem: str = ""
    details: tuple[str, ...] = ()
    related: tuple[DecidedBy, ...] = ()
    connections: int = 0

    @property
    def passed(self) -> bool:
        return not self.problem


class ReachedRule(NamedTuple):
    """A policy rule that decided a connection: the policy's name, the direction, and the number from 0."""

    policy: str
    direction: str
    rule: int


@dataclass
class Runner:
    """Runs tests of one cluster; its nodes are compiled once, on first use."""

    cluster: Cluster
    node: str = ""
    calico_version: CalicoVersion = V3_32
    settings: Sequence[Setting] = ()
    dataplane: str | None = None
    """That of all nodes; None if the input decides on each."""
    covers: bool = False
    """Whether to note which rules of policies are reached; verdicts alone are found more quickly."""
    reached: set[ReachedRule] = field(default_factory=set)
    """Rules of policies that expectations have reached so far."""

    @cached_property
    def nodes(self) -> Nodes:
        return Nodes(Compiler(self.cluster, self.calico_version, self.dataplane), settings=self.settings)

    @cached_property
    def _tracer(self) -> ServiceTracer:
        return ServiceTracer(Tracer(self.nodes, node=self.node))

    @cached_property
    def _brief(self) -> ServiceTracer:
        """A tracer that returns verdicts without steps."""
        return ServiceTracer(Tracer(self.nodes, node=self.node, brief=True))

    @cached_property
    def _ends(self) -> Ends:
        return Ends(self.cluster, self._tracer.endpoints)

    # --- expectations

    def named(self, end: End) -> list[str]:
        """The names and addresses to try for an end. Raises UsageError for an unknown end."""
        return self._ends.named(end)

    def expectation(self, wanted: Expectation) -> ExpectationOutcome:
        """The outcome of an expectation, from all its connections; with `some` one as expected is enough."""
        try:
            answers = list(self._answers(wanted))
        except UsageError as wrong:
            return ExpectationOutcome(title=wanted.title, place=wanted.place, problem=str(wrong))
        if not answers:
            return ExpectationOutcome(title=wanted.title, place=wanted.place, problem="it includes no connection")
        failing = [(answer, said) for answer in answers if (said := _objection(wanted, answer))]
        if not failing or (wanted.some and len(failing) < len(answers)):
            return ExpectationOutcome(title=wanted.title, place=wanted.place, connections=len(answers))
        first, objection = failing[0]
        if len(answers) > 1:
            objection = f"{len(failing)} of {many(len(answers), 'connection')} {_are(len(failing))} not as expected"
        details = [line for answer, said in failing[:MOST_TOLD] for line in self._told(answer, said)]
        if len(failing) > MOST_TOLD:
            details.append(f"… and {len(failing) - MOST_TOLD} more")
        return ExpectationOutcome(
            title=wanted.title,
            place=wanted.place,
            problem=objection,
            details=tuple(details),
            related=tuple(dict.fromkeys(self._related(first))),
            connections=len(answers),
        )

    def answer(self, source: str, destination: str, port: str = "", *, brief: bool = False) -> Answer:
        """The trace of one connection; ends as in `felixpy trace`. A `brief` one has no steps. Raises UsageError."""
        ipv6 = ":" in destination and not destination.startswith(("host:", "["))
        called = f"[{destination}]" if ipv6 and destination.count(":") > 1 else destination
        question = question_of(source, f"{called}:{port}" if port else destination)
        found = (self._brief if brief else self._tracer).trace(question)
        if self.covers:
            self._note(found)
        return found

    def _answers(self, wanted: Expectation) -> Iterator[Answer]:
        sources = [name for end in wanted.sources for name in self.named(end)]
        destinations = [name for end in wanted.destinations for name in self.named(end)]
        ports = wanted.ports or ("",)
        count = len(sources) * len(destinations) * len(ports)
        if count > MOST_CONNECTIONS:
            raise UsageError(f"it includes {count:,} connections, more than the limit of {MOST_CONNECTIONS:,}")
        chosen = any(isinstance(end, PodChoice) for end in (*wanted.sources, *wanted.destinations)) or len(sources) > 1
        for source, destination, port in product(sources, destinations, ports):
            if chosen and source == destination:  # a pod always reaches itself
                continue
            answer = self.answer(source, destination, port, brief=not (self.covers or wanted.by))
            yield self.answer(source, destination, port) if _objection(wanted, answer) else answer

    def _note(self, answer: Answer) -> None:
        for trace in _traces(answer):
            for report in trace.reports:
                for hit in report.enforced:
                    if hit.rule is not None and hit.rule >= 0:
                        self.reached.add(ReachedRule(str(hit.owner), report.end.direction, hit.rule))

    def _told(self, answer: Answer, objection: str) -> Iterator[str]:
        """Lines about a connection, what decided it, and the place of that."""
        if isinstance(answer, ServiceTrace):
            yield f"{answer.verdict.upper()}  {answer.source.name} → {answer.words}"
            for trace in _traces(answer):
                yield from (f"  {line}" for line in self._told(trace, ""))
            return
        yield f"{verdict_word(answer)}  {flow_words(answer)}"
        decided = reason(answer)
        yield f"  by {decided.words}"
        if decided.place:
            yield f"     {decided.place}"
        yield from (f"  {words}" for words in not_programmed_words(answer))
        if "by " in objection:
            yield f"  {objection}"

    def _related(self, answer: Answer) -> Iterator[DecidedBy]:
        """The deciding rule; for the end of a tier its last policy, which could be changed."""
        for trace in _traces(answer):
            decided = reason(trace)
            if decided.place:
                yield DecidedBy(decided.place, f"decided by {decided.words}")
            elif decided.hit and decided.hit.trigger and (place := self._places.get(str(decided.hit.trigger))):
                yield DecidedBy(place, f"the policy to change: {decided.hit.trigger}")

    @cached_property
    def _places(self) -> dict[str, Place]:
        return {str(policy.key): self.cluster.where(policy.source, ()) for policy in self.cluster.policies}

    # --- tables and comparisons

    def matrix(self) -> list[str]:
        """The lines that ``felixpy matrix`` prints."""
        return self._matrix(survey(self.nodes))

    def _matrix(self, found: Connectivity) -> list[str]:
        pairs = found.pairs(fold=True)
        routes = route_flows(self.nodes, [unit.peer for unit in pairs.units])
        return list(lines(chain(pairs.flows(), routes.flows)))

    def table(self, test: PolicyTest) -> ExpectationOutcome:
        """The outcome of comparing a test's table with the current connections, in any order of lines."""
        assert test.matrix is not None
        assert test.matrix_place
        wanted = [line.strip() for line in test.matrix.splitlines() if line.strip()]
        connections = survey(self.nodes)
        found = self._matrix(connections)
        missing = [f"- {line}" for line in wanted if line not in set(found)]
        more = [f"+ {line}" for line in found if line not in set(wanted)]
        problem = f"{len(missing)} of its lines do not hold, {len(more)} are not in it" if missing or more else ""
        refused = [problem.sentence for problem in connections.side.refused]
        if refused and not problem:
            problem = "nodes do not get these rules"
        return ExpectationOutcome(
            title="matrix",
            place=test.matrix_place,
            problem=problem,
            details=(*missing, *more, *refused),
            connections=len(found),
        )

    def unchanged(self, test: PolicyTest, before: Cluster) -> ExpectationOutcome:
        """The outcome of comparing with `before`: no flow has opened or closed except those that the test lists."""
        assert test.unchanged_place
        earlier = Nodes(Compiler(before, self.calico_version, self.dataplane), settings=self.settings)
        allowed = {" ".join(line.split()) for line in test.changes}
        changed = [" ".join(line.split()) for line in change_lines(compare(earlier, self.nodes), verbose=True)]
        flows = [line for line in changed if line[:2] in ("+ ", "- ")]
        unexpected = [line for line in flows if line not in allowed]
        absent = [f"expected, but it did not happen: {line}" for line in sorted(allowed - set(flows))]
        problem = f"{many(len(unexpected), 'flow')} opened or closed" if unexpected else ""
        if absent and not problem:
            problem = "changes that are listed did not happen"
        title = f"unchanged since {test.unchanged_since}"
        return ExpectationOutcome(
            title=title, place=test.unchanged_place, problem=problem, details=(*unexpected, *absent)
        )


def _traces(answer: Answer) -> list[Trace]:
    if isinstance(answer, ServiceTrace):
        return [row.trace for row in answer.rows if row.trace]
    return [answer]


def _objection(wanted: Expectation, answer: Answer) -> str:
    """Why an answer is not as expected, "" if it is."""
    if not answer.certain:
        return f"expected {wanted.expect}, but the verdict is uncertain"
    if answer.verdict != wanted.expect:
        return f"expected {wanted.expect}, found {answer.verdict}"
    if wanted.by:
        for trace in _traces(answer):
            said = reason(trace).words
            if not _is_by(wanted.by, trace, said):
                return f"expected the last word by {wanted.by}, but it was by {said}"
    return ""


def _is_by(name: str, trace: Trace, said: str) -> bool:
    """Whether a policy, tier or profile, given by name, NAMESPACE/NAME or KIND/NAMESPACE/NAME, decided."""
    hit = reason(trace).hit
    if hit is None:
        return name in said
    owner = hit.owner
    full = f"{owner.namespace}/{owner.name}" if owner.namespace else owner.name
    if hit.rule == -1:
        return name in (f"tier {hit.tier}", f"end of tier {hit.tier}")
    return name in (owner.name, full, str(owner), f"{owner.kind}/{full}")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
