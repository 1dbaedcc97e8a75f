"""Two texts on the command line: `next-sentence`, and `tokenizer show` of a pair."""

import json
from pathlib import Path

import pytest

from bertsmith.cli.main import main
from bertsmith.inference.predictor import Model


def test_next_sentence(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["next-sentence", str(small_model), "the red kind", "a new one"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = Model(small_model).next_sentence("the red kind", "a new one")
    assert found == {"a": "the red kind", "b": "a new one", "probability": expected}
    assert main(command) == 0
    assert f"{expected:.1%}" in capsys.readouterr().out


def test_the_input_for_a_pair(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tokenizer", "show", str(small_model), "the red", "kind"]
    assert main([*command, "--json"]) == 0
    pieces = json.loads(capsys.readouterr().out)["pieces"]
    assert [one["piece"] for one in pieces] == ["[CLS]", "the", "red", "[SEP]", "kind", "[SEP]"]
    assert [one["segment"] for one in pieces] == [0, 0, 0, 0, 1, 1]
    assert [one["position"] for one in pieces] == [0, 1, 2, 3, 4, 5]
    assert main(command) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["piece", "id", "segment", "position"]
    assert rows[5] == ["kind", str(pieces[4]["id"]), "1", "4"]
    assert rows[-1] == ["6", "pieces"]
