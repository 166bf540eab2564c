"""``felixpy test``: expectations about connections, compared with the policies."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Optional

import typer

from felixpy.cli import invocation
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.running import is_cluster
from felixpy.errors import UsageError, many
from felixpy.revisions import is_revision
from felixpy.writing import write_file

if TYPE_CHECKING:
    from felixpy.policytests import ExpectationOutcome, PolicyTest, Runner
    from felixpy.reports import Result


class Format(StrEnum):
    """How outcomes are printed."""

    text = "text"
    tap = "tap"
    json = "json"
    github = "github"
    sarif = "sarif"
    junit = "junit"


Files = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads it at run time
    typer.Argument(metavar="[PATH]...", help="Test files (*.felixtest.yaml) or folders. Default: this folder."),
]
Manifests = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--filename", "-f", metavar="PATH", help="Manifests for tests that name none; repeatable."),
]


@takes_manifests("live", "interface", "host_file", paths=Files, filename=Manifests)
def run_tests(
    given: Given,
    expression: Annotated[
        str, typer.Option("-k", metavar="EXPR", help="Run only tests whose names match: words with and, or, not.")
    ] = "",
    output: Annotated[Format, typer.Option("--output", "-o", help="The format of the report.")] = Format.text,
    junit: Annotated[str, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML to a file.")] = "",
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Rewrite matrix: tables with the current connections.")
    ] = False,
    init: Annotated[bool, typer.Option("--init", help="Write a test file from the current connections.")] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="List policy rules that no expectation reached.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also list what passed.")] = False,
) -> None:
    """Compare what policies do with what test files expect. Exit status 1 if anything is not as expected.

    \b
    Examples:
      felixpy test --init -f shop/ shop.felixtest.yaml     write a first test file
      felixpy test                                         all *.felixtest.yaml below this folder
      felixpy test tests/ -k "shop and not internet"
      felixpy test --coverage
      felixpy test -o github --junit results.xml           in CI
    """
    from felixpy.policytests import read_tests
    from felixpy.policytests.files import find

    if init:
        _init(given)
        return
    tests = read_tests(find(list(given.paths or ())))
    chosen = _Expression(expression)
    session = _Session(given, fail_fast=fail_fast, covers=coverage)
    if update:
        _update(session, tests)
        return
    results = list(session.results(tests, chosen))
    _print(results, output, junit, verbose=verbose)
    if coverage:
        _print_coverage(session)
    failed = [result for result in results if result.status == "failed"]
    if not given.quiet and output is Format.text:
        invocation.tell(f"felixpy test: {len(results) - len(failed)} passed, {len(failed)} failed")
    if failed:
        raise typer.Exit(1)
    if not results:
        raise UsageError(f"-k {expression}: no test matches" if expression else "the test files expect nothing")


class _Session:
    """Runs tests; those that read the same manifests share a cluster."""

    def __init__(self, given: Given, *, fail_fast: bool, covers: bool) -> None:
        self._given, self._fail_fast, self._covers = given, fail_fast, covers
        self._runners: dict[tuple[object, ...], Runner] = {}

    @property
    def runners(self) -> list[Runner]:
        return list(self._runners.values())

    def results(self, tests: Sequence[PolicyTest], chosen: _Expression) -> Iterator[Result]:
        for test in tests:
            for outcome in self._outcomes(test, chosen):
                yield _result(test, outcome)
                if not outcome.passed and self._fail_fast:
                    return

    def _outcomes(self, test: PolicyTest, chosen: _Expression) -> Iterator[ExpectationOutcome]:
        head = f"{test.file} {test.name}"
        for expectation in test.expectations:
            if chosen.matches(f"{head} {expectation.title} {expectation.note}"):
                yield self.runner(test).expectation(expectation)
        if test.matrix is not None and chosen.matches(f"{head} matrix"):
            yield self.runner(test).table(test)
        if test.unchanged_since and chosen.matches(f"{head} unchanged since {test.unchanged_since}"):
            before = self._given.read(self._before(test))
            yield self.runner(test).unchanged(test, before)

    def runner(self, test: PolicyTest) -> Runner:
        """The runner for a test's manifests. Raises InputError for manifests that cannot be read."""
        from felixpy.cli.invocation import find_calico_version, gather_settings
        from felixpy.policytests import Runner

        paths = tuple(self.manifests(test))
        key = (paths, test.node, test.calico_version, test.settings)
        if key not in self._runners:
            own = gather_settings([f"{name}={value}" for name, value in test.settings], {})
            cluster = self._given.read(paths)
            self._runners[key] = Runner(
                cluster=cluster,
                node=test.node or self._given.node or "",
                calico_version=find_calico_version(test.calico_version)
                if test.calico_version
                else self._given.version_of(cluster),
                settings=[*self._given.settings, *own],
                dataplane=self._given.chosen_data_plane(),
                covers=self._covers,
            )
        return self._runners[key]

    def manifests(self, test: PolicyTest) -> list[str]:
        """The paths of a test's manifests: those that it names, else those of -f, else its repository."""
        folder = Path(test.file).parent
        if test.manifests:
            return [path for written in test.manifests for path in _expanded(folder, written)]
        if self._given.filename:
            return list(self._given.filename)
        return [str(_repository(folder))]

    def _before(self, test: PolicyTest) -> list[str]:
        """The paths of a test's manifests in the git revision that it compares with."""
        top = _repository(Path(test.file).parent).resolve()
        found = []
        for path in self.manifests(test):
            if is_revision(path) or is_cluster(path):
                continue
            resolved = Path(path).resolve()
            if not resolved.is_relative_to(top):
                raise UsageError(f"{test.unchanged_place}: {path} is not in the git repository of the test")
            found.append(f"git:{test.unchanged_since}:{resolved.relative_to(top).as_posix()}")
        return found


def _expanded(folder: Path, written: str) -> list[str]:
    """The files that a path or shell pattern in a test file names, relative to the test file's folder."""
    if is_revision(written) or is_cluster(written):
        return [written]
    if not glob.has_magic(written) or os.path.lexists(folder / written):
        return [str(folder / written)]
    # Path.glob takes no pattern that begins at the root.
    names = glob.glob(written, root_dir=folder, recursive=True)  # noqa: PTH207
    found = sorted(str(folder / name) for name in names)
    if not found:
        raise UsageError(f"{written}: nothing matches in {folder}")
    return found


def _repository(folder: Path) -> Path:
    """The top of the git repository around a folder, the folder itself without a repository."""
    for above in (folder, *folder.resolve().parents):
        if (above / ".git").exists():
            return above
    return folder


def _result(test: PolicyTest, outcome: ExpectationOutcome) -> Result:
    from felixpy.reports import Related, Result

    return Result(
        name=test.name,
        subject=outcome.title,
        message=outcome.problem,
        status="passed" if outcome.passed else "failed",
        place=outcome.place,
        details=outcome.details,
        related=tuple(Related(place, words) for place, words in outcome.related),
    )


def _print(results: Sequence[Result], output: Format, junit: str, *, verbose: bool) -> None:
    from felixpy import __version__
    from felixpy.reports import Run, write

    run = Run(kind="TestRun", suite="felixpy test", version=__version__, results=results)
    if junit:
        write_file(Path(junit), write(run, "junit"))
    if output is not Format.text:
        invocation.emit(write(run, output.value))
        return
    if verbose:
        passed = (result for result in results if result.status == "passed")
        invocation.emit("".join(f"{result.place}: passed: {result.name}: {result.subject}\n" for result in passed))
    if run.failures:
        invocation.emit(write(run, output.value))


class _Word(NamedTuple):
    text: str
    wanted: bool


class _Expression:
    """``a and not b or c``: a text matches if all words of one of the alternatives fit, whatever their case."""

    def __init__(self, text: str) -> None:
        self._alternatives = [
            [_word(term) for term in alternative.split(" and ")] for alternative in text.lower().split(" or ")
        ]

    def matches(self, text: str) -> bool:
        lower = text.lower()
        return any(all((word.text in lower) == word.wanted for word in words) for words in self._alternatives)


def _word(term: str) -> _Word:
    term = term.strip()
    return _Word(term.removeprefix("not ").strip(), not term.startswith("not "))


def _print_coverage(session: _Session) -> None:
    """Print the rules that no expectation reached, then the number of those reached."""
    from felixpy.policytests.coverage import coverage

    reached: dict[tuple[str, str, object], bool] = {}
    for runner in session.runners:
        for rule in coverage(runner.cluster, runner.reached):
            key = (rule.policy, rule.path, rule.place)
            reached[key] = reached.get(key, False) or rule.reached
    for (policy, path, place), hit in reached.items():
        if not hit:
            invocation.tell(f"not reached: {policy}: {path} ({place})")
    invocation.tell(f"felixpy: {sum(reached.values())} of {many(len(reached), 'policy rule')} reached")


def _init(given: Given) -> None:
    from felixpy.policytests import Runner
    from felixpy.policytests.files import SUFFIX
    from felixpy.policytests.writing import first_file

    if len(given.paths or ()) > 1:
        raise UsageError("--init writes one file; name just one")
    target = Path((given.paths or [f"policies{SUFFIX}"])[0])
    if not target.name.endswith(SUFFIX):
        raise UsageError(f"{target}: names of test files end with {SUFFIX}")
    manifests = list(given.filename or ())
    cluster = given.read(manifests)
    calico_version = given.version_of(cluster)
    runner = Runner(
        cluster=cluster,
        node=given.node or "",
        calico_version=calico_version,
        settings=given.settings,
        dataplane=given.chosen_data_plane(),
    )
    text = first_file(target.name.removesuffix(SUFFIX), manifests, runner.matrix())
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{target} is there already") from None
    except OSError as wrong:
        raise UsageError(f"{target}: {wrong.strerror}") from wrong
    if not given.quiet:
        invocation.tell(f"felixpy: {target} written")


def _update(session: _Session, tests: Sequence[PolicyTest]) -> None:
    from felixpy.policytests.writing import renewed
    from felixpy.reading import UnreadableFile, read_text

    for test in tests:
        if test.matrix is None:
            continue
        path = Path(test.file)
        try:
            write_file(path, renewed(read_text(path), test, session.runner(test).matrix()))
        except UnreadableFile as wrong:
            raise UsageError(f"{test.file}: {wrong}") from wrong
        except ValueError as wrong:
            raise UsageError(f"{test.matrix_place}: {wrong}") from wrong
        invocation.tell(f"felixpy: {test.file}: table renewed")
