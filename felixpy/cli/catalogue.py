"""Commands that list what is built in: versions, parameters, templates, completion."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from felixpy import CALICO_VERSION, __version__
from felixpy.cli import invocation


class Shell(StrEnum):
    """Shells with completion."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


class ListingFormat(StrEnum):
    """A table for people or JSON for programs."""

    text = "text"
    json = "json"


def version(
    output: Annotated[ListingFormat, typer.Option("--output", "-o", help="Text or JSON.")] = ListingFormat.text,
) -> None:
    """Print the versions of felixpy and of Felix.

    \b
    Examples:
      felixpy version
      felixpy version -o json
    """
    if output is ListingFormat.json:
        import json

        shown = {"apiVersion": "felixpy/v1", "kind": "Version", "version": __version__, "calico": CALICO_VERSION}
        print(json.dumps(shown, indent=2))
    else:
        print(f"felixpy {__version__} (Felix of Calico {CALICO_VERSION}, Python {sys.version.split()[0]})")


def completion(shell: Annotated[Shell, typer.Argument(help="The shell to complete in.")]) -> None:
    """Print a completion script for a shell.

    \b
    Examples:
      source <(felixpy completion bash)
      felixpy completion fish > ~/.config/fish/completions/felixpy.fish
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # as typer's manual does

    print(get_completion_script(prog_name="felixpy", complete_var="_FELIXPY_COMPLETE", shell=shell.value))


def settings(
    output: Annotated[ListingFormat, typer.Option("--output", "-o", help="Text or JSON.")] = ListingFormat.text,
) -> None:
    """List the Felix parameters that change rules.

    \b
    Examples:
      felixpy settings
      felixpy render --set IptablesFilterAllowAction=Return
    """
    from felixpy.settings import described

    rows = list(described())
    if output is ListingFormat.json:
        import json

        keys = ("name", "field", "default", "effect")
        items = [dict(zip(keys, row, strict=True)) for row in rows]
        print(json.dumps({"apiVersion": "felixpy/v1", "kind": "SettingList", "items": items}, indent=2))
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{row.name:{width}}  {row.effect} (default: {row.default})")


def templates(
    calico_version: Annotated[
        str, typer.Option("--calico-version", "--dialect", metavar="VERSION", help="The Calico version.")
    ] = "v3.32",
) -> None:
    """List the templates of a Calico version and their chains.

    \b
    Examples:
      felixpy templates
      felixpy templates --calico-version v3.8
    """
    from felixpy.render import Renderer, purposes

    chosen = invocation.find_calico_version(calico_version)
    renderer = Renderer(chosen)
    rows = [(renderer.files(name)[0], purpose) for name, purpose in purposes(chosen, renderer).items()]
    width = max(len(file) for file, _ in rows)
    for file, purpose in rows:
        print(f"{file:{width}}  {purpose}")
