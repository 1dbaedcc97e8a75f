"""Texts as words, from standard input and from files; the probability of a given word."""

import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads import head_of

from bertsmith.checkpoints.folder import load_config, save_model
from bertsmith.cli.main import main
from bertsmith.core.storage import write_json
from bertsmith.inference.predictor import Model
from bertsmith.models.bert.tasks import BertForTask
from bertsmith.tasks.examples import Limits
from bertsmith.tasks.task_config import TASK_CONFIG, TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer

LABELS = ("entailment", "not_entailment")


def save_classifier(small_model: Path, folder: Path, task: str) -> Path:
    torch.manual_seed(2)
    model = BertForTask(load_config(small_model), head_of("classification", labels=LABELS))
    save_model(folder, model, Tokenizer.load(small_model), card="")
    limits = Limits(max_length=64, stride=32)
    write_json(
        folder / TASK_CONFIG,
        TaskConfig(task=task, kind="classification", labels=LABELS, limits=limits),
    )
    return folder


@pytest.fixture
def own(small_model: Path, tmp_path: Path) -> Path:
    return save_classifier(small_model, tmp_path / "own", "classification")


class Shell:
    """Runs the command with what is typed into it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def lines(self, *arguments: object, typed: bytes = b"", code: int = 0) -> list[str]:
        """What it prints, or for another code what it says on standard error."""
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        assert main([str(argument) for argument in arguments]) == code
        shown = self.capsys.readouterr()
        return (shown.err if code else shown.out).splitlines()

    def objects(self, *arguments: object, typed: bytes = b"") -> list[Any]:
        """The JSON that it prints, a line each."""
        return [json.loads(line) for line in self.lines(*arguments, "--json", typed=typed)]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_texts_are_predicted_the_same_from_everywhere(
    own: Path, shell: Shell, tmp_path: Path
) -> None:
    texts = ["the red kind", "- a new one"]
    (tmp_path / "in.txt").write_text("\n".join(texts), encoding="utf-8")
    given = shell.objects("predict", own, *texts)
    typed = shell.objects("predict", own, "-", typed="\r\n".join(texts).encode())
    assert [one["input"] for one in given] == [[text] for text in texts]
    expected = [one.probabilities for one in Model(own).predict(texts)]
    for found in (given, typed, shell.objects("predict", own, tmp_path / "in.txt")):
        assert len(found) == 2
        for one, probabilities in zip(found, expected, strict=True):
            assert one["probabilities"] == pytest.approx(probabilities, abs=1e-6)
    [line, _] = shell.lines("predict", own, *texts)
    label, probability, text = line.split("\t")
    assert (label, text) == (given[0]["predicted"], texts[0])
    assert float(probability) == pytest.approx(given[0]["probability"], abs=1e-4)


def test_pairs_come_two_by_two(small_model: Path, shell: Shell, tmp_path: Path) -> None:
    model = save_classifier(small_model, tmp_path / "rte", "rte")
    pairs = [("the red kind", "a new one"), ("red", "blue")]
    given = shell.objects("predict", model, *pairs[0], *pairs[1])
    typed = shell.objects("predict", model, "-", typed="\n".join(map("\t".join, pairs)).encode())
    expected = [one.probabilities for one in Model(model).predict(pairs)]
    for found in (given, typed):
        assert [tuple(one["input"]) for one in found] == pairs
        for one, probabilities in zip(found, expected, strict=True):
            assert one["probabilities"] == pytest.approx(probabilities, abs=1e-6)
    [error] = shell.lines("predict", model, "alone", code=2)
    assert "two texts, found 1" in error


@pytest.mark.parametrize(
    ("arguments", "typed", "fact"),
    [
        (["-"], b"red\n\nblue\n", "line 2: blank"),
        (["-"], b"red\n\xff\n", "line 2: not UTF-8"),
        (["-"], b"", "Standard input is empty"),
        (["-", "red"], b"", "`-` reads standard input"),
        (["red", "--text", "line"], b"", "--text names a column"),
        (["red", "--out", "o.csv"], b"", "--out o.csv is for a file"),
        # A misspelt name is no text.
        (["nowhere.csv"], b"", "nowhere.csv"),
        (["nowhere.csv", "red"], b"", "nowhere.csv is a file"),
    ],
)
def test_what_is_no_input(
    own: Path, shell: Shell, arguments: list[str], typed: bytes, fact: str
) -> None:
    [error] = shell.lines("predict", own, *arguments, typed=typed, code=2)
    assert fact in error


def test_a_file_is_replaced_only_with_overwrite(own: Path, shell: Shell, tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.csv"
    source.write_text("red\n", encoding="utf-8")
    shell.lines("predict", own, source, "--out", out)
    first = out.read_bytes()
    source.write_text("red\nblue\n", encoding="utf-8")
    [error] = shell.lines("predict", own, source, "--out", out, code=2)
    assert "--overwrite" in error
    assert out.read_bytes() == first
    shell.lines("predict", own, source, "--out", out, "--overwrite")
    assert len(out.read_text().splitlines()) == 3
    [error] = shell.lines("predict", own, out, "--out", out, "--overwrite", code=2)
    assert "is the input itself" in error


def test_vectors_of_texts(small_model: Path, shell: Shell, tmp_path: Path) -> None:
    texts = ["the red kind", "a new one"]
    expected = Model(small_model).embed(texts)
    found = shell.objects("embed", small_model, "-", typed="\n".join(texts).encode())
    assert [one["text"] for one in found] == texts
    np.testing.assert_allclose([one["embedding"] for one in found], expected, atol=1e-6)
    lines = shell.lines("embed", small_model, *texts)
    numbers = [[float(number) for number in line.split("\t")] for line in lines]
    np.testing.assert_allclose(numbers, expected, atol=1e-4)


def test_log_likelihoods_of_a_file(small_model: Path, shell: Shell, tmp_path: Path) -> None:
    texts = ["the red kind", "a new one"]
    (tmp_path / "in.csv").write_text("\n".join(["n,line", *(f"1,{text}" for text in texts)]))
    scores = Model(small_model).log_likelihood(texts)
    out = tmp_path / "out.jsonl"
    shell.lines("score", small_model, tmp_path / "in.csv", "--text", "line", "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["n"], row["line"]) for row in rows] == [("1", text) for text in texts]
    for row, score in zip(rows, scores, strict=True):
        assert row["pseudo_log_likelihood"] == pytest.approx(score.totals["masked"], abs=1e-4)
        mean = row["pseudo_log_likelihood_per_token"]
        assert mean == pytest.approx(score.means["masked"], abs=1e-5)
    lines = shell.lines("score", small_model, "-", typed="\n".join(texts).encode())
    assert [line.split("\t")[-1] for line in lines] == texts
    assert float(lines[0].split("\t")[0]) == pytest.approx(scores[0].totals["masked"], abs=1e-3)


def test_the_probability_of_a_word(small_model: Path, shell: Shell) -> None:
    tokenizer = Tokenizer.load(small_model)
    predictor = Model(small_model)
    [blank] = predictor.fill_mask("the [MASK]", top_k=len(tokenizer)).blanks
    likely = {one.token: one.probability for one in blank.candidates}
    found = shell.objects("fill", small_model, "the [MASK]", "--word", "red,kind")[0]
    assert [one["word"] for one in found] == ["red", "kind"]
    assert [one["probability"] for one in found] == pytest.approx([likely["red"], likely["kind"]])
    # Of two pieces: the chain rule over two masks.
    filled = predictor.fill_mask("the [MASK] [MASK]", top_k=len(tokenizer), joint=True).joint
    joint = next(one for one in filled if all(token.isalpha() for token in one.tokens))
    word = " ".join(joint.tokens)
    [several] = shell.objects("fill", small_model, "the [MASK]", "--word", word)[0]
    assert several["pieces"] == joint.tokens
    assert math.isclose(several["probability"], joint.probability, rel_tol=1e-4)
    [error] = shell.lines("fill", small_model, "[MASK] [MASK]", "--word", "red", code=2)
    assert "2 [MASK]" in error
    [error] = shell.lines("fill", small_model, "[MASK]", "--word", "я", code=2)
    assert "--word" in error


def test_a_blank_text_among_others_is_refused(capsys):
    assert main(["predict", "tiny-en", "", "a b"]) == 2
    assert main(["embed", "tiny-en", "a", " "]) == 2
    said = capsys.readouterr().err
    assert "Text 2 is blank" in said
