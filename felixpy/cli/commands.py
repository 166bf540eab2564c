"""Every command's class: what holds for the options of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from felixpy.cli import invocation
from felixpy.errors import InputError, UsageError

REPEATS = "command", "arguments"
"""Words that are handed on to another program, where an empty one is a word like any other."""


Function = TypeVar("Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command that refuses empty words: ``--netns ""`` is a variable that was not set, not a missing option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual. Raises UsageError for an option or argument with an empty value."""
        if "" in args or any(word.endswith("=") for word in args):
            values, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            for parameter in self.get_params(ctx):
                given = values.get(parameter.name or "")
                words = given if isinstance(given, (list, tuple)) else [given]
                if "" in words and parameter.name not in REPEATS:
                    raise UsageError(f"{_spelt(parameter)}: the value is empty")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. With ``--quiet`` errors of the input are told without the warnings beside them."""
        try:
            return super().invoke(ctx)
        except InputError as wrong:
            if not ctx.params.get("quiet"):
                raise
            invocation.warn(wrong.errors, quiet=False)
            raise typer.Exit(wrong.exit_code) from wrong


class Commands(typer.Typer):
    """A group of commands, all of them of that class."""

    def command(self, name: str | None = None, **more: Any) -> Callable[[Function], Function]:
        """Declare a command."""
        return super().command(name, cls=Command, **more)


def _spelt(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name).strip("[].")
    return str(max(parameter.opts, key=len))
