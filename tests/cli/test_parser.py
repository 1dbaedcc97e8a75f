"""A wrong command line is one line that names the flag, the value and the nearest known word."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from bertsmith.cli.command import Command
from bertsmith.cli.main import main
from bertsmith.cli.options import flag, word
from bertsmith.cli.parser import parse, recognise
from bertsmith.core.errors import UsageError


@dataclass(kw_only=True)
class Example(Command):
    """Take one of each."""

    model: str = word("Model.", metavar="MODEL")
    texts: tuple[str, ...] = word("Texts.", metavar="TEXT...", default=())
    steps: int | None = flag("Steps.", group="Length", default=None)
    rate: float = flag("Rate.", group="Training", default=0.5)
    recipe: Literal["paper", "modern"] = flag("Recipe.", group="Training", default="modern")
    mix: tuple[float, float] | None = flag("Mix.", group="Training", default=None, metavar="A B")
    layers: tuple[int, ...] = flag("Layers.", group="Model", default=(-1,))
    start: str | None = flag("Start.", group="Model", default=None, name="from")
    show: int | None = flag("Show.", group="Output", default=None, bare=4)
    out: Path = flag("Folder.", group="Output")


def parsed(*tokens: str) -> Command:
    return parse(recognise({"example": Example, "two words": Example}, ["example", *tokens]))


def told(capsys: pytest.CaptureFixture[str], line: str) -> str:
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    return shown.err.removeprefix("error: ").removesuffix("\n")


def test_what_is_left_out_has_its_default() -> None:
    assert parsed("m", "--out", "o") == Example(model="m", out=Path("o"))


def test_each_type_of_option() -> None:
    found = parsed(
        "m", "a text", "--steps", "3", "--rate=1e-3", "--recipe", "paper", "--mix", "1", "-2",
        "-b is a text", "--layers", "-4,-3", "--from", "x", "--show", "--json", "--out=o=p",
        "--", "--steps",
    )  # fmt: skip
    assert found == Example(
        model="m",
        texts=("a text", "-b is a text", "--steps"),
        steps=3,
        rate=1e-3,
        recipe="paper",
        mix=(1.0, -2.0),
        layers=(-4, -3),
        start="x",
        show=4,
        json=True,
        out=Path("o=p"),
    )


def test_the_last_of_a_flag_counts() -> None:
    found = parsed("--out", "a", "m", "--show", "2", "--out", "b")
    assert found == Example(model="m", show=2, out=Path("b"))


@pytest.mark.parametrize(
    ("tokens", "facts"),
    [
        (["--out", "o"], ["`bertsmith example` needs MODEL."]),
        (["m"], ["needs --out PATH."]),
        (["m", "--out", "o", "--mix", "1"], ["--mix needs 2 numbers: A B."]),
        (["m", "--out", "o", "--mix", "1", "x"], ["--mix: expected a number, found 'x'."]),
        (["m", "--out", "o", "--layers", "1,x"], ["--layers: expected a whole number, found 'x'"]),
        (["m", "--out", "o", "--json=1"], ["--json takes no value, found '1'."]),
        (["m", "--out", "o", "--form", "x"], ["Unknown flag --form", "'--from'"]),
        (["m", "--out", "o", "--start", "x"], ["Unknown flag --start"]),
        (["m", "--out", "--"], ["--out PATH needs a value."]),
    ],
)
def test_what_does_not_fit_is_refused(tokens: list[str], facts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*tokens)
    assert all(fact in str(caught.value) for fact in facts), caught.value
    assert str(caught.value).endswith(" See `bertsmith example --help`.")


@pytest.mark.parametrize(
    ("line", "program", "facts"),
    [
        ("", "", ["needs a command: quickstart, info, ", " finetune, "]),
        ("fil model text", "", ["'fil'", "'fill'", "Expected quickstart, "]),
        ("tokenizer", "tokenizer", ["needs a command: train, extend or show."]),
        ("tokenizer trai x", "tokenizer", ["'trai'", "'train'", "Expected train, extend or show."]),
        ("tokenizer --json train", "tokenizer", ["--json", "before the command"]),
        ("pretrain --data a --out b --learning-rat 1", "pretrain", ["'--learning-rate'"]),
        # The wrong flag is told, not the one that is missing for it.
        ("pretrain --dat=a --out b", "pretrain", ["Unknown flag --dat ", "'--data'"]),
        ("info --version", "info", ["Unknown flag --version."]),
        ("info x -j", "info", ["Unknown flag -j."]),
        ("tokenizer train x", "tokenizer train", ["needs --vocab-size N and --out DIR."]),
        ("fill model", "fill", ["needs TEXT."]),
        ("fill model the [MASK] rose", "fill", ["'[MASK]'", "takes MODEL TEXT.", "in quotes"]),
        ("info a b", "info", ["'b'", "takes PATH."]),
        ("pretrain out b --data a", "pretrain", ["'out'", "'--out'", "takes flags only"]),
        ("fill model text --joint yes", "fill", ["--joint takes no value, found 'yes'."]),
        ("prepare x --tokenizer t --out", "prepare", ["--out DIR needs a value."]),
        ("tokenizer train x --out --cased", "tokenizer train", ["--out DIR needs a value."]),
        ("pretrain --data a --out b --recipe papr", "pretrain", ["--recipe", "'papr'", "'paper'"]),
        ("pretrain --data a --out b --pair-task n", "pretrain", ["Expected nsp, sop or none."]),
        ("pretrain --data a --out b --steps many", "pretrain", ["--steps: expected a whole numb"]),
        ("pretrain --data a --out b --show-batch x", "pretrain", ["--show-batch: expected a wh"]),
        ("prepare x --tokenizer t --out o --held-out=x", "prepare", ["--held-out: expected a n"]),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line(
    line: str, program: str, facts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = told(capsys, line)
    assert all(fact in sentence for fact in facts), sentence
    assert sentence.endswith(f" See `{f'bertsmith {program}'.strip()} --help`.")


def test_empty_paths_and_numbers_beyond_the_machine_are_named() -> None:
    with pytest.raises(UsageError, match=r"--out: expected a path, found an empty text"):
        parsed("model", "--out", "")
    with pytest.raises(UsageError, match=r"--steps: 100000000000000000000 is too large"):
        parsed("model", "--out", "a", "--steps", "1" + "0" * 20)
    with pytest.raises(UsageError, match=r"--steps: expected a whole number, found '1e20'"):
        parsed("model", "--out", "a", "--steps", "1e20")
