"""A wrong command line is one sentence; what the sentence knows is what the help shows."""

import re
from dataclasses import dataclass

import pytest
import tyro

from bertsmith.cli import main as cli
from bertsmith.cli.errors import listed, parameters
from bertsmith.cli.main import main

COMMANDS = listed(cli._Commands)
GROUPS = list(dict.fromkeys(name.split()[0] for name in COMMANDS))
CHOICES = f"{', '.join(GROUPS[:-1])} or {GROUPS[-1]}"


def told(capsys: pytest.CaptureFixture[str], line: str) -> str:
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    return shown.err.removeprefix("error: ").removesuffix("\n")


def test_commands_are_those_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(COMMANDS)[:3] == ["quickstart", "tokenizer train", "tokenizer show"]
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert f"{{{','.join(GROUPS)}}}" in "".join(shown.split())
    assert "--version" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_parameters_are_those_of_the_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    takes = parameters(COMMANDS[name])
    flags = {flag for flag in takes if flag.startswith("--")}
    assert set(re.findall(r"^. (?:-h, )?(--[a-z0-9-]+)", shown, re.MULTILINE)) == flags | {"--help"}
    for word in takes.keys() - flags:
        assert re.search(rf"^. {re.escape(word)} ", shown, re.MULTILINE)
    for flag in flags:
        takes_none = re.search(rf"^. {flag}(  |$)", shown.replace(" │", ""), re.MULTILINE)
        assert (bool in takes[flag]) == bool(takes_none), flag


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", f"`bertsmith` needs a command: {CHOICES}; see `bertsmith --help`."),
        (
            "fil model text",
            f"'fil' is no command of `bertsmith` (perhaps you meant 'fill'); give {CHOICES}; see "
            "`bertsmith --help`.",
        ),
        (
            "tokenizer",
            "`bertsmith tokenizer` needs a command: train or show; see `bertsmith tokenizer "
            "--help`.",
        ),
        (
            "tokenizer trai x",
            "'trai' is no command of `bertsmith tokenizer` (perhaps you meant 'train'); give train "
            "or show; see `bertsmith tokenizer --help`.",
        ),
        (
            "tokenizer --json train",
            "--json stands before the command; give train or show first, then its flags; see "
            "`bertsmith tokenizer --help`.",
        ),
        (
            "pretrain --data a --out b --learning-rat 1",
            "--learning-rat is no flag of `bertsmith pretrain` (perhaps you meant "
            "'--learning-rate'); see `bertsmith pretrain --help`.",
        ),
        # The flag that is wrong is told, and not the one that is missing for it.
        (
            "pretrain --dat=a --out b",
            "--dat is no flag of `bertsmith pretrain` (perhaps you meant '--data'); see `bertsmith "
            "pretrain --help`.",
        ),
        (
            "info --version",
            "--version is no flag of `bertsmith info`; see `bertsmith info --help`.",
        ),
        ("info x -j", "-j is no flag of `bertsmith info`; see `bertsmith info --help`."),
        (
            "tokenizer train x",
            "`bertsmith tokenizer train` needs --out PATH and --vocab-size N; see `bertsmith "
            "tokenizer train --help`.",
        ),
        ("fill model", "`bertsmith fill` needs TEXT; see `bertsmith fill --help`."),
        (
            "fill model the [MASK] rose",
            "'[MASK]' is too much: `bertsmith fill` takes MODEL TEXT, the text in quotes; see "
            "`bertsmith fill --help`.",
        ),
        ("info a b", "'b' is too much: `bertsmith info` takes PATH; see `bertsmith info --help`."),
        (
            "pretrain out b --data a",
            "'out' stands alone, but `bertsmith pretrain` takes flags only (perhaps you meant "
            "'--out'); see `bertsmith pretrain --help`.",
        ),
        (
            "fill model text --joint yes",
            "--joint takes no value, found 'yes'; see `bertsmith fill --help`.",
        ),
        (
            "fill model text --joint=yes",
            "--joint takes no value, found 'yes'; see `bertsmith fill --help`.",
        ),
        (
            "prepare x --tokenizer t --out",
            "--out needs a value, found nothing; see `bertsmith prepare --help`.",
        ),
        (
            "tokenizer train x --out --cased",
            "--out needs a value, found '--cased'; see `bertsmith tokenizer train --help`.",
        ),
        (
            "pretrain --data a --out b --recipe papr",
            "--recipe is 'papr'; expected modern or paper (perhaps you meant 'paper'); see "
            "`bertsmith pretrain --help`.",
        ),
        (
            "pretrain --data a --out b --pair-task nps",
            "--pair-task is 'nps'; expected none, nsp or sop (perhaps you meant 'nsp'); see "
            "`bertsmith pretrain --help`.",
        ),
        (
            "pretrain --data a --out b --steps many",
            "--steps is 'many'; expected a whole number; see `bertsmith pretrain --help`.",
        ),
        (
            "pretrain --data a --out b --show-batch x",
            "--show-batch is 'x'; expected a whole number; see `bertsmith pretrain --help`.",
        ),
        (
            "prepare x --tokenizer t --out o --workers 2 --held_out=x",
            "--held-out is 'x'; expected a number; see `bertsmith prepare --help`.",
        ),
        (
            "pretrain --data a --out b --mask-mix 1 0",
            "--mask-mix needs M R K, a number each; see `bertsmith pretrain --help`.",
        ),
    ],
)
def test_each_mistake_is_one_sentence(
    line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, line) == sentence


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "bertsmith 0.1.0\n"


def test_a_tyro_without_the_hook_tells_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(tyro, "_errors")
    with pytest.raises(SystemExit) as stop:
        main(["fill", "model"])
    assert stop.value.code == 2
    assert "TEXT" in capsys.readouterr().err


@dataclass
class Renamed:
    """An event of a later tyro, which has other fields."""


def test_an_event_that_is_not_known_is_left_to_tyro(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tyro._errors, "UnrecognizedArgs", lambda **_: Renamed())
    with pytest.raises(SystemExit) as stop:
        main(["info", "a", "b"])
    assert stop.value.code == 2
    assert "Unrecognized options" in capsys.readouterr().err
