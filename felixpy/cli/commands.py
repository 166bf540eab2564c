"""The classes of commands and command groups: checks for the options of all commands, and building them lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from importlib import import_module
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info, get_group_from_info, solve_typer_info_defaults

from felixpy.cli import invocation
from felixpy.errors import InputError, UsageError

REPEATS = "command", "arguments"
"""Words that are handed on to another program, where an empty one is a word like any other."""


Function = TypeVar("Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command that refuses empty values: ``--netns ""`` is an unset shell variable, not a missing option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual. Raises UsageError for an option or argument whose value is empty or blank."""
        if any(not word.strip() or word.rstrip().endswith("=") for word in args):
            values, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            for parameter in self.get_params(ctx):
                given = values.get(parameter.name or "")
                words = given if isinstance(given, (list, tuple)) else [given]
                if any(isinstance(word, str) and not word.strip() for word in words) and parameter.name not in REPEATS:
                    raise UsageError(f"{_spelt(parameter)}: the value is empty")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. With ``--quiet``, input errors are printed without warnings."""
        try:
            return super().invoke(ctx)
        except InputError as wrong:
            if not ctx.params.get("quiet"):
                raise
            invocation.warn(wrong.errors, quiet=False)
            raise typer.Exit(wrong.exit_code) from wrong


class Built(Mapping[str, Any]):
    """Commands by name, each built on first access: a call needs one of them."""

    def __init__(self, builders: Mapping[str, Callable[[], Any]]) -> None:
        self._builders = builders
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            self._built[name] = self._builders[name]()
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._builders)

    def __len__(self) -> int:
        return len(self._builders)


class CommandGroup(TyperGroup):
    """A group whose help lists its commands without building them."""

    summaries: Mapping[str, str]
    """The help of each command, by its name."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        listed: dict[str, Any] = {name: TyperCommand(name, help=text) for name, text in self.summaries.items()}
        TyperGroup(commands=listed, rich_markup_mode=None).format_commands(ctx, formatter)


class Commands(typer.Typer):
    """A group whose commands are of class `Command` and are imported on demand.

    ``typer.main.get_command`` builds a whole group. A call of one whose commands are declared by their modules
    (`declare`) builds the one command that it needs, once in a process.
    """

    def command(self, name: str | None = None, **more: Any) -> Callable[[Function], Function]:
        """Declare a command."""
        return super().command(name, cls=Command, **more)

    def __call__(self, *words: Any, **more: Any) -> Any:
        """Run the declared command that the words name."""
        return self._group(*words, **more)

    @cached_property
    def _elsewhere(self) -> dict[str, tuple[str, str]]:
        return {}

    def declare(self, name: str, place: str, summary: str) -> None:
        """Declare a command, or a group of them, whose module is imported when it is called.

        `place` is ``module:name``, below `felixpy.cli`; `summary` is the first sentence of its help.
        """
        self._elsewhere[name] = place, summary

    def imported(self, name: str) -> Any:
        """The function or the group that was declared under a name."""
        module, _, attribute = self._elsewhere[name][0].partition(":")
        return getattr(import_module(f"felixpy.cli.{module}"), attribute)

    def complete(self) -> typer.Typer:
        """The same group with all modules imported, for listing every option."""
        whole = typer.Typer()
        whole.info = self.info
        for name in self._elsewhere:
            found = self.imported(name)
            if isinstance(found, typer.Typer):
                whole.add_typer(found, name=name)
            else:
                whole.command(name, cls=Command)(found)
        return whole

    def _declared(self, name: str, settings: dict[str, Any]) -> Any:
        found = self.imported(name)
        if isinstance(found, Commands):
            return get_group_from_info(typer.models.TyperInfo(found, name=name), suggest_commands=True, **settings)
        return get_command_from_info(typer.models.CommandInfo(name=name, cls=Command, callback=found), **settings)

    @cached_property
    def _group(self) -> CommandGroup:
        settings: dict[str, Any] = {"pretty_exceptions_short": False, "rich_markup_mode": None}
        builders: dict[str, Callable[[], Any]] = {}
        summaries: dict[str, str] = {}
        for name, (_, summary) in self._elsewhere.items():
            builders[name], summaries[name] = partial(self._declared, name, settings), summary
        mine = solve_typer_info_defaults(typer.models.TyperInfo(self))
        made = CommandGroup(
            name=mine.name,
            commands=Built(builders),  # type: ignore[arg-type]  # nothing is ever added to it
            help=mine.help,
            no_args_is_help=mine.no_args_is_help,
            context_settings=mine.context_settings,
            rich_markup_mode=None,
        )
        made.summaries = summaries
        return made


def _spelt(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name).strip("[].")
    return str(max(parameter.opts, key=len))
