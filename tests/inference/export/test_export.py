"""Exports: equal to the model, complete without bertsmith, refused in a sentence."""

import contextlib
import io
import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from heads import head_of
from safetensors.torch import load_file, save_file

import bertsmith
from bertsmith.checkpoints.folder import load_config, save_model
from bertsmith.cli.main import main
from bertsmith.core.errors import FolderError, UsageError
from bertsmith.core.storage import write_json
from bertsmith.inference.export import job
from bertsmith.inference.export.differences import difference
from bertsmith.inference.predictor import Model
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.bert.tasks import BertForTask, TaskBatch
from bertsmith.models.modules.packed import pack
from bertsmith.tasks.examples import Limits
from bertsmith.tasks.task_config import TASK_CONFIG, TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer

WORDS = "red green blue old new big small warm cold kind".split()
TEXTS = [" ".join(WORDS[(3 * n + k * k) % 10] for k in range(1 + n % 40)) for n in range(60)]
KINDS = {
    "classification": ("no", "yes"),
    "multi-label": ("a", "b", "c"),
    "regression": (),
    "token-classification": ("O", "B-X", "I-X"),
    "multiple-choice": (),
    "question-answering": (),
}
INPUTS = {
    "multiple-choice": [("the red kind", "a new one", "old"), ("big", "small", "warm cold")],
    "question-answering": [("the red kind?", "a new one, old big small"), ("big?", "warm cold")],
}
FORMATS = ["onnx", "openvino"]


def fine_tuned(small_model: Path, folder: Path, kind: str) -> Path:
    """A folder of a model with random weights that differ enough for its answers to do so."""
    torch.manual_seed(1)
    model = BertForTask(load_config(small_model), head_of(kind, labels=KINDS[kind]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if kind == "classification":
        # Either class is the answer to half of the texts.
        ids = Tokenizer.load(small_model)
        packed = pack([[ids.cls_id, *ids.encode(text).ids, ids.sep_id] for text in TEXTS])
        with torch.no_grad():
            model.classifier.bias -= model.eval().outputs(TaskBatch(packed, None)).median(0).values
    save_model(folder, model, Tokenizer.load(small_model), card="")
    limits = Limits(max_length=64, stride=32)
    task = TaskConfig(task=kind, kind=kind, labels=KINDS[kind], limits=limits)
    write_json(folder / TASK_CONFIG, task)
    return folder


@pytest.fixture(scope="module")
def classifier(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fine_tuned(small_model, tmp_path_factory.mktemp("tuned") / "model", "classification")


@pytest.fixture
def labelled(classifier: Path, tmp_path: Path) -> Path:
    """Rows that the model itself labelled, so that it is always right."""
    rows = [
        {"text": text, "label": answer.label}
        for text, answer in zip(TEXTS, Model(classifier).predict(TEXTS), strict=True)
    ]
    path = tmp_path / "labelled.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert len({row["label"] for row in rows}) == 2
    return path


def numbers(answers) -> list[float]:
    """Every number in some answers."""
    return [
        float(number)
        for answer in answers
        for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", str(answer))
    ]


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_export_of_a_fine_tuned_model_answers_like_it(kind, to, small_model, tmp_path):
    folder = fine_tuned(small_model, tmp_path / "model", kind)
    done = bertsmith.export(folder, tmp_path / "out", to=to)
    assert done.largest_difference < 1e-5
    inputs = INPUTS.get(kind, TEXTS)
    expected, found = (bertsmith.load(path).predict(inputs) for path in (folder, tmp_path / "out"))
    assert [type(one) for one in found] == [type(one) for one in expected]
    assert len(numbers(expected)) >= len(inputs)
    np.testing.assert_allclose(numbers(found), numbers(expected), atol=1e-5)


@pytest.mark.parametrize("to", FORMATS)
def test_the_export_of_a_pretrained_model_fills_and_judges_pairs(to, small_model, tmp_path):
    bertsmith.export(small_model, tmp_path / "out", to=to)
    expected, found = bertsmith.load(small_model), bertsmith.load(tmp_path / "out")
    text = "the [MASK] old [MASK] one"
    for one, other in zip(
        found.fill_mask(text).blanks, expected.fill_mask(text).blanks, strict=True
    ):
        assert one.start == other.start
        np.testing.assert_allclose(
            [candidate.probability for candidate in one.candidates],
            [candidate.probability for candidate in other.candidates],
            atol=1e-6,
        )
    pair = ("the red kind", "a new one")
    assert found.next_sentence(*pair) == pytest.approx(expected.next_sentence(*pair), abs=1e-6)
    with pytest.raises(UsageError, match="head='embedding'"):
        found.embed(["red"])
    with pytest.raises(UsageError, match="exported"):
        found.log_likelihood(["red green"])


@pytest.mark.parametrize("to", FORMATS)
def test_the_export_of_vectors(to, small_model, tmp_path):
    bertsmith.export(small_model, tmp_path / "out", to=to, head="embedding", layers=(-1, 0))
    expected = bertsmith.load(small_model).embed(TEXTS, layers=(-1, 0))
    found = bertsmith.load(tmp_path / "out")
    np.testing.assert_allclose(found.embed(TEXTS), expected, atol=1e-5)
    with pytest.raises(UsageError, match=r"layers \(2, 0\), not \(2,\)"):
        found.embed(TEXTS, layers=(-1,))
    with pytest.raises(UsageError, match="not been fine-tuned"):
        found.predict("red")


def run_card(folder: Path, monkeypatch) -> str:
    """What the program on an exported folder's card prints."""
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert "bertsmith" not in code
    (folder / "card.py").write_text(code)
    monkeypatch.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(folder / "card.py"))
    return printed.getvalue()


@pytest.mark.parametrize("to", FORMATS)
def test_the_lines_on_the_card_run(to, classifier, small_model, tmp_path, monkeypatch):
    bertsmith.export(classifier, tmp_path / "out", to=to)
    printed = numbers([run_card(tmp_path / "out", monkeypatch)])
    answers = bertsmith.load(classifier).predict(["A text.", "Another text."])
    logits = np.array(printed).reshape(2, 2)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = [[one.probabilities[label] for label in ("no", "yes")] for one in answers]
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    for number, settings in enumerate([{}, {"head": "embedding"}]):
        out = tmp_path / f"more-{number}"
        bertsmith.export(small_model, out, to=to, **settings)
        assert numbers([run_card(out, monkeypatch)])


@pytest.mark.parametrize("to", FORMATS)
def test_int8_is_smaller_close_and_scored(to, classifier, labelled, tmp_path, capsys):
    calibration = tmp_path / "texts.txt"
    calibration.write_text("\n".join(TEXTS))
    command = ["export", str(classifier), "--out", str(tmp_path / "out"), "--to", to, "--int8"]
    command += ["--calibration-data", str(calibration), "--dev", str(labelled)]
    assert main([*command, "--max-loss", "30", "--json"]) == 0
    output = capsys.readouterr()
    done = json.loads(output.out)
    assert output.err == ""
    assert done["precision"] == "int8"
    assert done["score_before"] == 100
    assert 70 <= done["score"] <= 100
    assert 0 < done["typical_difference"] < 0.5
    found = bertsmith.load(tmp_path / "out").predict(TEXTS)
    assert len(found) == len(TEXTS)


def test_layers_are_left_in_fp32_where_int8_costs_too_much(
    classifier, labelled, tmp_path, monkeypatch
):
    tried = []

    def score(self, model):
        tried.append(model.backend.name)
        return {1: 90.0, 2: 80.0, 3: 89.8}[len(tried)]

    monkeypatch.setattr(job._Job, "_score", score)
    lines: list[str] = []
    done = bertsmith.export(
        classifier,
        tmp_path / "out",
        int8=True,
        calibration_data=[{"text": text} for text in TEXTS],
        dev=labelled,
        show=lines.append,
    )
    assert tried == ["torch", "onnx", "onnx"]
    assert (done.score_before, done.score) == (90.0, 89.8)
    assert len(done.fp32_layers) == 1
    assert "10.00 points" in lines[0]
    stored = json.loads((tmp_path / "out" / "export.json").read_text())
    assert stored["fp32_layers"] == list(done.fp32_layers)


def test_an_export_that_loses_too_much_fails_and_leaves_nothing(
    classifier, labelled, tmp_path, monkeypatch
):
    scores = iter([90.0, 80.0, 81.0])
    monkeypatch.setattr(job._Job, "_score", lambda self, model: next(scores))
    with pytest.raises(UsageError, match=r"9\.00 points.*90\.00 to 81\.00.*max_loss"):
        bertsmith.export(
            classifier,
            tmp_path / "out",
            int8=True,
            calibration_data=[{"text": text} for text in TEXTS],
            dev=labelled,
            show=lambda line: None,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labelled.jsonl"]


REFUSED = {
    "int8 without text": (["--int8"], "--calibration-data"),
    "text without int8": (["--calibration-data", "x.txt"], "--int8"),
    "a pre-trained model on labels": (["--dev", "x.csv"], "fine-tuned"),
    "a layer that is not there": (["--head", "embedding", "--layers", "3"], "layers 0"),
    "a loss below 0": (["--max-loss", "-1"], "--max-loss"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, small_model, tmp_path, capsys):
    flags, said = REFUSED[case]
    assert main(["export", str(small_model), "--out", str(tmp_path / "out"), *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_or_cannot_be_written(small_model, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    (tmp_path / "file").touch()
    for out in ("out", "file/out", "/proc/out"):
        assert main(["export", str(small_model), "--out", str(tmp_path / out)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("module", ["onnx", "openvino"])
def test_a_missing_package_names_the_extra(module, small_model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    command = ["export", str(small_model), "--out", str(tmp_path / "out"), "--to", module]
    assert main(command) == 2
    assert f"pip install 'bertsmith[{module}]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_damaged_folders_are_named(small_model, classifier, tmp_path, capsys):
    shutil.copytree(small_model, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert main(["export", str(tmp_path / "damaged"), "--out", str(tmp_path / "out")]) == 2
    assert "model.safetensors" in capsys.readouterr().err
    for to, name in (("onnx", "model.onnx"), ("openvino", "openvino_model.bin")):
        out = tmp_path / to
        bertsmith.export(classifier, out, to=to)
        (out / name).write_bytes((out / name).read_bytes()[:1000])
        with pytest.raises(FolderError, match=str(out)):
            bertsmith.load(out).predict("red")
        (out / name).unlink()
        with pytest.raises(FolderError, match=f"{name} is missing"):
            bertsmith.load(out)


def test_an_export_is_not_trained(classifier, tmp_path, capsys):
    out = tmp_path / "out"
    bertsmith.export(classifier, out)
    assert main(["export", str(out), "--out", str(tmp_path / "again")]) == 2
    assert "exported" in capsys.readouterr().err
    with pytest.raises(UsageError, match="backend"):
        bertsmith.load(out, backend="torch")
    assert bertsmith.load(out, backend="openvino").predict("red").label in ("no", "yes")


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("kind", [*KINDS, "pre-trained", "next sentence", "embedding"])
def test_exports_agree_for_every_batch_size_and_length(kind, to, small_model, tmp_path):
    """Batches of 1 to 33 inputs of 1 to 512 tokens, within 1e-4 of the largest output."""
    torch.manual_seed(0)
    config = msgspec.structs.replace(load_config(small_model), max_position_embeddings=512)
    if kind in KINDS:
        model = BertForTask(config, head_of(kind, labels=KINDS[kind]))
    else:
        model = BertForPretraining(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_model(tmp_path / "model", model, Tokenizer.load(small_model), card="")
    if kind == "next sentence":
        weights = tmp_path / "model" / "model.safetensors"
        state = load_file(weights)
        save_file({name: state[name] for name in state if "predictions" not in name}, weights)
    head = "embedding" if kind == "embedding" else "own"
    bertsmith.export(tmp_path / "model", tmp_path / "out", to=to, head=head)
    draw = np.random.default_rng(0)
    batches = []
    for batch in range(1, 34):
        for longest in (1, 2, 15, 16, 17, 100, 512):
            lengths = [longest, *draw.integers(1, longest + 1, batch - 1).tolist()]
            rows = [draw.integers(0, config.vocab_size, length).tolist() for length in lengths]
            segments = [draw.integers(0, 2, length).tolist() for length in lengths]
            batches.append(pack(rows, segments))
    layers = (2,) if kind == "embedding" else None
    expected, found = (Model(tmp_path / name).backend for name in ("model", "out"))
    assert difference(expected, found, batches, layers).largest < 1e-4
