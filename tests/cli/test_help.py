"""The help shows every command and every option, fits 80 columns and breaks no word."""

import re

import pytest

from bertsmith.cli.main import COMMANDS, GROUPS, main
from bertsmith.cli.options import GROUPS as HEADINGS
from bertsmith.tasks.kinds.registry import KINDS


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments, "--help"]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_all_commands_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys)
    found = re.findall(r"^  ([a-z-]+(?: [a-z-]+)?)  ", text, re.MULTILINE)
    assert found == [*COMMANDS, "--version", "--help"]
    assert max(map(len, text.splitlines())) <= 80
    for group in GROUPS:
        text = shown(capsys, group)
        inside = [name.split()[1] for name in COMMANDS if name.startswith(f"{group} ")]
        assert re.findall(r"^  ([a-z]+)  ", text, re.MULTILINE) == inside


@pytest.mark.parametrize("name", [*COMMANDS, "finetune classification", "finetune squad2"])
def test_the_help_of_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, *name.split())
    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(text.split()).startswith(f"usage: bertsmith {name} ")
    headings = re.findall(r"^(\w.*):$", text, re.MULTILINE)
    assert headings == [one for one in [*HEADINGS, "Examples"] if one in headings]
    if name not in COMMANDS:
        return
    flags = {one.shown for one in COMMANDS[name].options() if not one.is_word}
    assert set(re.findall(r"^  (--[a-z0-9-]+)", text, re.MULTILINE)) == flags | {"--help"}
    special = (
        {one for kind in KINDS.values() for one in kind.settings} if name == "finetune" else ()
    )
    for option in COMMANDS[name].options():
        assert re.search(rf"^  {re.escape(option.usage)}(  |$)", text, re.MULTILINE)
        assert option.help[0].isupper() or option.help[0] in ".`" or ":" in option.help
        assert option.help.endswith((".", ")."))
        words = f"{option.help} (default: {option.default})" if option.default else option.help
        # Without a task the help says which kinds look at it.
        assert (words in " ".join(text.split())) == (option.name not in special)


def test_a_kind_has_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "finetune", "classification")
    assert "--train FILE" in text
    assert "--text COL" in text
    assert "(default: label)" in text
    for flag in ("--data", "--choices", "--words", "--context", "--features", "--strict-tags"):
        assert flag not in text
    text = shown(capsys, "finetune", "token-classification")
    assert "--words COL" in text
    assert "--features L,..." in text
    assert "--text COL" not in text
    assert "--label COL" not in text


def test_an_official_task_has_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "finetune", "squad2")
    assert "--data DIR" in text
    assert "--skip-bad" in text
    for flag in ("--train", "--dev", "--question", "--strict-tags", "--class-weights"):
        assert flag not in text


def test_defaults_of_both_recipes_are_values(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(shown(capsys, "pretrain").split())
    assert "(default: 32; paper: 256)" in text
    assert "(default: 128:1; paper: 128:0.9,512:0.1)" in text


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "bertsmith 0.1.0\n"
