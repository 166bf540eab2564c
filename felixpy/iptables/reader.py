"""Parse a rule: sort its words into matches, target and arguments, and look up their meaning in the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from felixpy.errors import InputError, Place, Problem, UsageError
from felixpy.iptables.fields import OptionField, protocol
from felixpy.iptables.matches import CORE, MATCHES, MatchRow
from felixpy.iptables.targets import TARGETS
from felixpy.iptables.words import felix_words, identity, split_words, without_hash
from felixpy.netfilter.actions import NOTHING, Action, Unclear
from felixpy.netfilter.criteria import ALWAYS, NEVER, NotUnderstood, Test
from felixpy.netfilter.numbers import PROTOCOLS
from felixpy.netfilter.rules import Body, Chain, Match, Meaning, Option, Rule
from felixpy.remembered import remembered

MOST_KNOWN = 1 << 17
"""So many bodies are remembered; the rules of a dump share theirs."""

WRONG = (ValueError, IndexError, KeyError, UsageError)


class RuleContent(NamedTuple):
    """The content of a rule regardless of spelling, each option as (name, value, negated).

    Releases of iptables differ in printing protocols by name or number (by number without /etc/protocols), units, the
    order of lists, and defaults.
    """

    core: frozenset[tuple[object, ...]]
    matches: tuple[tuple[str, frozenset[tuple[object, ...]]], ...]
    target: str
    goto: bool
    arguments: frozenset[tuple[object, ...]]


@remembered(MOST_KNOWN)
def read_body(text: str, family: int) -> Body:
    """Parse the text after ``-A chain``, without Felix's hash. Raises IndexError if it is incomplete.

    >>> read_body("! -i lo -p tcp -m tcp --dport 22 -j DROP", 4).matches[2]
    Match(module='tcp', options=(Option(name='--dport', values=('22',), negated=False),))
    """
    return _body(text, split_words(text), family)


def read_felix(text: str, family: int) -> Body:
    """As `read_body`, for a rule in Felix's spelling. Raises IndexError."""
    return _body(text, felix_words(text), family)


def _body(text: str, words: Sequence[str], family: int) -> Body:
    reader = _Reader(words)
    reader.read()
    return Body(text, family, tuple(reader.matches), reader.target, reader.goto, tuple(reader.arguments), _meaning)


def read_rule(
    text: str,
    family: int = 4,
    *,
    number: int = 0,
    line: int = 0,
    file: str = "",
    counters: tuple[int, int] | None = None,
) -> Rule:
    """Parse a rule from its ``-A chain …`` line. Raises InputError.

    >>> read_rule('-A INPUT -m comment --comment "cali:wUHhoiAYhphO9Mso" -j DROP').identity
    'wUHhoiAYhphO9Mso'
    """
    bare = text.partition(" ")[2].partition(" ")[2]
    hashed = identity(bare)
    try:
        body = read_body(without_hash(bare) if hashed else bare.strip(), family)
    except IndexError:
        raise _broken(text, line, file) from None
    return Rule(number, line, text, hashed, body, counters)


def read_chain(chain: Chain) -> tuple[Rule, ...]:
    """Parse the rules of a chain. Raises InputError."""
    return tuple(
        read_rule(text, chain.family, number=number, line=line, file=chain.file, counters=counters)
        for number, (line, text, counters) in enumerate(chain.lines, start=1)
    )


def _broken(text: str, line: int, file: str) -> InputError:
    reason = f"the rule ends where a value should follow: {text}"
    return InputError([Problem(place=Place(file, line), reason=reason)])


class _Reader:
    """Sorts the words of one rule into matches, target and arguments."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words, self.position = words, 0
        self.matches: list[Match] = []
        self.target, self.goto = "", False
        self.arguments: list[Option] = []
        self.module = ""
        self.row: MatchRow | None = None
        self.options: list[Option] = []

    def read(self) -> None:
        negated = False
        while self.position < len(self.words):
            word = self._next()
            if word == "!":
                negated = True
                continue
            if word in ("-m", "--match"):
                self._close()
                self.module = self._next()
                self.row = MATCHES.get(self.module)
            elif word in ("-j", "--jump", "-g", "--goto"):
                self._close()
                self.target, self.goto = self._next(), word in ("-g", "--goto")
            else:
                self._option(word, negated=negated)
            negated = False
        self._close()

    def _option(self, word: str, *, negated: bool) -> None:
        field = self._field(word)
        core = CORE.get(word)
        # An unknown module may have long options with the names of core options.
        if core and field is None and not (word.startswith("--") and self._is_strange()):
            self._close()
            values, negated = self._values(core, negated=negated)
            self.matches.append(Match(core.name, (Option(core.name, values, negated),)))
            return
        values, negated = self._values(field, negated=negated)
        self._add(Option(field.name if field else word, values, negated))

    def _field(self, word: str) -> OptionField | None:
        if self.module:
            return self.row.options.get(word) if self.row else None
        if self.target:
            row = TARGETS.get(self.target)
            return row.options.get(word) if row else None
        implied = MATCHES.get(self._protocol())
        return implied.options.get(word) if implied else None

    def _is_strange(self) -> bool:
        return self.row is None if self.module else bool(self.target) and self.target not in TARGETS

    def _next(self) -> str:
        word = self.words[self.position]
        self.position += 1
        return word

    def _values(self, field: OptionField | None, *, negated: bool) -> tuple[tuple[str, ...], bool]:
        """The values of an option, and whether it is negated; an unknown option has all words up to the next one.

        Old releases print the ``!`` after the name.
        """
        if field and field.words and self.words[self.position : self.position + 1] == ["!"]:
            self.position, negated = self.position + 1, True
        if field:
            return tuple(self._next() for _ in range(field.words)), negated
        return tuple(self._rest()), negated

    def _rest(self) -> Iterator[str]:
        while self.position < len(self.words):
            word = self.words[self.position]
            if word == "!" or word.startswith("-"):
                return
            yield self._next()

    def _protocol(self) -> str:
        """The module that the rule's protocol loads implicitly."""
        names = [match.options[0].values[0] for match in self.matches if match.module == "-p"]
        return (
            PROTOCOLS.get(int(names[-1]), names[-1]) if names and names[-1].isdecimal() else names[-1] if names else ""
        )

    def _add(self, option: Option) -> None:
        """Add an option to the module or target before it; right after ``-p`` it loads the protocol's module."""
        if not self.module and self.target:
            self.arguments.append(option)
            return
        if not self.module:
            self.module = self._protocol() or "unknown"
            self.row = MATCHES.get(self.module)
        self.options.append(option)

    def _close(self) -> None:
        if self.module:
            self.matches.append(Match(self.module, tuple(self.options)))
        self.module, self.row, self.options = "", None, []


# --- meaning


def _meaning(body: Body) -> Meaning:
    tests = tuple(test for match in body.matches for test in _tests(match, body.family) if test != Test(ALWAYS))
    return Meaning(tests, _action(body), _content(body))


def _tests(match: Match, family: int) -> list[Test]:
    row = MATCHES.get(match.module)
    if row is None:
        return [_strange(f"-m {match.module}", match)]
    if row.tests:
        return row.tests(match, family)
    return [_test(option, match, row, family) for option in match.options]


def _test(option: Option, match: Match, row: MatchRow, family: int) -> Test:
    field = row.options.get(option.name)
    if field is None or field.criterion is None:
        return _strange(f"-m {match.module} {option.name}", match)
    try:
        criterion = field.criterion(option.values, family)
    except WRONG as wrong:
        return _strange(f"{match.module}: {wrong}", match)
    if criterion == ALWAYS and option.negated:
        return Test(NEVER)
    return Test(criterion, option.negated)


def _strange(reason: str, match: Match) -> Test:
    words = [word for option in match.options for word in ("!" * option.negated, option.name, *option.values)]
    return Test(NotUnderstood(" ".join(filter(None, ["-m", match.module, *words])), reason))


def _action(body: Body) -> Action:
    if not body.target:
        return NOTHING
    row = TARGETS.get(body.target)
    if row is None:
        return Unclear(f"-j {body.target}")
    try:
        return row.act({option.name: " ".join(option.values) for option in body.arguments}, body.family)
    except WRONG as wrong:
        return Unclear(f"-j {body.target}: {wrong}")


# --- content


def _content(body: Body) -> object:
    """The value by which a rule is compared; for one that cannot be parsed, its text."""
    try:
        rows = [(MATCHES.get(match.module), match) for match in body.matches]
        core = frozenset(
            found for row, match in rows if match.module in CORE for found in _compared(row, match.options, body)
        )
        return RuleContent(core, tuple(_modules(rows, body)), body.target, body.goto, frozenset(_argument_values(body)))
    except WRONG:
        return body.text


def _modules(
    rows: Sequence[tuple[MatchRow | None, Match]], body: Body
) -> Iterator[tuple[str, frozenset[tuple[object, ...]]]]:
    """Modules in their order, with their options to compare; ``-m tcp`` without options adds nothing to ``-p tcp``."""
    protocols = {protocol(match.options[0].values, body.family) for _, match in rows if match.module == "-p"}
    implied = {PROTOCOLS.get(number, "") for number in protocols}
    for row, match in rows:
        if match.module in CORE or (match.module in implied and not match.options):
            continue
        name = SAME.get(match.module, row.name if row else match.module)
        yield name, frozenset(_compared(row, match.options, body))


SAME = {"state": "conntrack"}
"""A module that another one has replaced."""

RENAMED = {"--set-mark": "--set-xmark", "--state": "--ctstate"}

EVERYTHING: dict[str, tuple[object, ...]] = {
    "-s": (frozenset({"0.0.0.0/0"}), frozenset({"::/0"})),
    "-d": (frozenset({"0.0.0.0/0"}), frozenset({"::/0"})),
    "-p": (0,),
}
"""Values with which a criterion holds for every packet."""


def _compared(row: MatchRow | None, options: Sequence[Option], body: Body) -> Iterator[tuple[object, ...]]:
    for option in options:
        field = row.options.get(option.name) if row else None
        yield from _compare(field, option, body.family)


def _argument_values(body: Body) -> Iterator[tuple[object, ...]]:
    row = TARGETS.get(body.target)
    for option in body.arguments:
        yield from _compare(row.options.get(option.name) if row else None, option, body.family)


def _compare(field: OptionField | None, option: Option, family: int) -> Iterator[tuple[object, ...]]:
    """The value by which an option is compared; nothing for one that has no effect."""
    if field is None:
        yield option.name, option.values, option.negated
        return
    if field.idle or option.values in field.hidden:
        return
    value = field.value(option.values, family)
    if option.negated or value not in EVERYTHING.get(field.name, ()):
        yield RENAMED.get(field.name, field.name), value, option.negated
