"""An empty value is a variable that was not set: no command takes it for a missing option."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from felixpy.cli import app
from felixpy.cli.commands import REPEATS, Command
from tests.commands import caller


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from leaves(below, (*words, name))
    else:
        yield words, command


COMMANDS = dict(leaves(get_command(app.complete())))
OPTIONS = [
    (words, max(parameter.opts, key=len))
    for words, command in COMMANDS.items()
    for parameter in command.params
    if parameter.param_type_name == "option" and not parameter.is_flag and parameter.name not in REPEATS
]


def test_every_command_is_one_of_ours() -> None:
    assert len(COMMANDS) > 20
    assert [words for words, command in COMMANDS.items() if not isinstance(command, Command)] == []


@pytest.mark.parametrize("form", ["{} ", "{}="])
@pytest.mark.parametrize("words, option", OPTIONS, ids=[" ".join((*words, option)) for words, option in OPTIONS])
def test_empty_values_are_refused(words, option, form, capsys, monkeypatch) -> None:
    # A short option takes its value in the next word or in the same one, where "=" would be part of it.
    given = [option, ""] if form == "{} " or not option.startswith("--") else [f"{option}="]
    answer = caller(capsys, monkeypatch)(*words, *given)
    assert (answer.status, answer.out, answer.err) == (2, "", f"felixpy: {option}: the value is empty\n")


def test_empty_arguments_are_refused_too(capsys, monkeypatch) -> None:
    call = caller(capsys, monkeypatch)
    for words in (("render", ""), ("decode", ""), ("explain", "pod", "")):
        assert call(*words).status == 2


@pytest.mark.parametrize("blank", [" ", "\t", "\n"])
def test_blanks_are_no_value_either(blank, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (("--output-dir", blank), (f"--output-dir={blank}",)):
        answer = caller(capsys, monkeypatch)("render", *words)
        assert (answer.status, answer.err) == (2, "felixpy: --output-dir: the value is empty\n")
    assert list(tmp_path.iterdir()) == []
