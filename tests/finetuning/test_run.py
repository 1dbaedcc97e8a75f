"""A whole run: it learns, and however it is stopped and continued it comes to the same bytes."""

import importlib
import json
import multiprocessing
import os
import signal
import socket
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from by_kind import baseline, own_task
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from bertsmith.checkpoints.folder import load_task, save_model
from bertsmith.core.errors import FolderError, Stopped, UsageError
from bertsmith.core.runtime import World
from bertsmith.core.storage import read_json
from bertsmith.finetuning import best_epoch
from bertsmith.finetuning import data as finetune_data
from bertsmith.finetuning import model as modelling
from bertsmith.finetuning import run as running
from bertsmith.finetuning.best_epoch import read_predictions
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.data import Parts, TaskData
from bertsmith.finetuning.defaults import finetune_config
from bertsmith.finetuning.model import class_weights
from bertsmith.finetuning.origin import PretrainedModel
from bertsmith.finetuning.run import RunResult, run
from bertsmith.inference.batches import TaskBatches
from bertsmith.inference.predictor import Model
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.bert.tasks import FeatureBased
from bertsmith.tasks.examples import Answer, AnswerExample, Example, Limits, TagExample, TextExample
from bertsmith.tasks.kinds.classification import ClassAnswer
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.kinds.regression import NumberAnswer
from bertsmith.tasks.scoring import score
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer
from bertsmith.training import schedule
from bertsmith.training.parallel.place import Place, join
from bertsmith.training.progress import read_metrics

LETTERS = "abcdefghijklmnop"
VOCAB = (*SPECIAL, *LETTERS)
TOKENIZER = Tokenizer(VOCAB)
COLUMNS = Columns()
PLACE = Place(World(), torch.device("cpu"), "fp32")
SHAPE = BertConfig(
    vocab_size=len(VOCAB),
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=24,
    initializer_range=0.1,
)
FILES = [
    "README.md",
    "config.json",
    "model.safetensors",
    "task.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
]
# What two equal runs may differ in.
_CLOCKS = ("tokens_per_second", "elapsed", "seconds", "examples_per_second", "out")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained model of random weights."""
    torch.manual_seed(0)
    target = tmp_path_factory.mktemp("model")
    save_model(target, BertForPretraining(SHAPE), TOKENIZER, card="# A model\n")
    return target


def texts(count: int, seed: int) -> list[Example]:
    """Letters from the beginning of the alphabet, a third of the texts, or from its end."""
    draw = np.random.default_rng(seed)
    found: list[Example] = []
    for number in range(count):
        label = "late" if number % 3 else "early"
        letters = draw.choice(list(LETTERS[:8] if label == "early" else LETTERS[8:]), 5)
        found.append(TextExample(f"f:{number}", str(number), " ".join(letters), None, label))
    return found


def tagged(count: int, seed: int) -> list[Example]:
    """Every "a" and "b" is a name."""
    draw = np.random.default_rng(seed)
    found: list[Example] = []
    for number in range(count):
        words = tuple(draw.choice(list(LETTERS[:6]), draw.integers(2, 7)).tolist())
        tags = tuple("B-X" if word in "ab" else "O" for word in words)
        found.append(TagExample(f"f:{number}", str(number), words, tags, number))
    return found


def asked(count: int, seed: int) -> list[Example]:
    """Where "a b" is in the context; in every third question it is not."""
    draw = np.random.default_rng(seed)
    found: list[Example] = []
    for number in range(count):
        letters = draw.choice(list(LETTERS[2:]), 6).tolist()
        answers: tuple[Answer, ...] = ()
        if number % 3:
            place = int(draw.integers(5))
            letters[place : place + 2] = "a", "b"
            answers = (Answer("a b", 2 * place),)
        found.append(AnswerExample("", str(number), "c", " ".join(letters), answers))
    return found


def rated(count: int, seed: int) -> list[Example]:
    """The more letters, the higher."""
    draw = np.random.default_rng(seed)
    found: list[Example] = []
    for number in range(count):
        letters = draw.choice(list(LETTERS), draw.integers(2, 9))
        found.append(
            TextExample(f"f:{number}", str(number), " ".join(letters), None, 100.0 + len(letters))
        )
    return found


MAKERS = {
    "classification": texts,
    "token-classification": tagged,
    "question-answering": asked,
    "regression": rated,
}


def data_of(kind: str, *, train: int = 48, dev: int = 18) -> TaskData:
    first, second = MAKERS[kind](train, 1), MAKERS[kind](dev, 2)
    task = own_task(kind, columns=COLUMNS, train=first)
    parts = Parts(task, task.kind.classes(first), first, {"dev": second}, None, [])
    return finetune_data.featured(parts, TOKENIZER, Limits(24, 12, max_question_length=12), COLUMNS)


def config_of(folder: Path, kind: str = "classification", **flags: Any) -> FinetuneConfig:
    plain: dict[str, Any] = {
        "batch_size": 8,
        "epochs": 4,
        "learning_rate": 3e-3,
        "max_length": 24,
        "seed": 1,
        "precision": "fp32",
    }
    if kind not in ("classification", "regression"):
        plain["stride"] = 12
    return finetune_config(
        task=kind,
        kind=kind,
        model=str(folder),
        width=32,
        positions=24,
        examples=48,
        **(plain | flags),
    )


def go(config: FinetuneConfig, out: Path, data: TaskData | None = None, place: Place = PLACE):
    found = data or data_of(config.kind)
    origin = PretrainedModel.open(config.model)
    return run(config, found, out, origin=origin, place=place, title="test")


def records(out: Path, kind: str) -> list[dict[str, Any]]:
    """Of `metrics.jsonl`, without what the clock says."""
    return [
        {name: value for name, value in record.items() if name not in _CLOCKS}
        for record in read_metrics(out / "metrics.jsonl")
        if record["kind"] == kind
    ]


def losses(out: Path) -> list[float]:
    return [record["loss"] for record in records(out, "train")]


def without_clocks(result: RunResult) -> dict[str, Any]:
    found = msgspec.to_builtins(result)
    return {name: value for name, value in found.items() if name not in _CLOCKS}


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """A run that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, go(config_of(folder), out)


def test_a_run_learns_and_leaves_its_best_epoch(folder: Path, whole: tuple[Path, RunResult]):
    out, result = whole
    curve = losses(out)
    assert len(curve) == result.steps == 24
    assert np.mean(curve[-4:]) < 0.5 * np.mean(curve[:4])
    assert result.scores["dev"]["accuracy"] > 0.9
    assert data_of("classification").baseline["accuracy"] == pytest.approx(12 / 18)
    assert not result.degenerate
    assert (result.learning_rate, result.batch_size, result.epochs, result.seed) == (3e-3, 8, 4, 1)
    assert result.examples_per_second > 0
    assert read_json(out / "result.json", RunResult) == result
    assert sorted(path.name for path in (out / "best").iterdir()) == FILES
    assert read_json(out / "finetune.json", FinetuneConfig) == config_of(folder)
    assert not (out / "checkpoints").exists()

    evaluated = records(out, "evaluation")
    assert [record["step"] for record in evaluated] == [6, 12, 18, 24]
    mains = [(record["accuracy"] + record["macro_f1"]) / 2 for record in evaluated]
    # The first of the best epochs, and its score, recomputed from what was saved.
    assert result.best_epoch == 1 + mains.index(max(mains))
    assert result.main == pytest.approx(max(mains))
    dev = texts(18, 2)
    predictions = read_predictions(Path(result.out), kind_named("classification"))
    assert len(predictions) == len(dev)
    right = [
        isinstance(answer, ClassAnswer) and answer.label == example.label
        for answer, example in zip(predictions, dev, strict=True)
    ]
    assert np.mean(right) == result.scores["dev"]["accuracy"]
    again = Model(out / "best")
    assert again.task_config == TaskConfig(
        task="classification",
        kind="classification",
        labels=("early", "late"),
        limits=Limits(24, 6, max_question_length=12),
        columns=COLUMNS,
    )
    for one, other in zip(again.predict(dev), predictions, strict=True):
        assert one.label == other.label
    assert (
        f"| dev | accuracy | {result.scores['dev']['accuracy']:.4f} |"
        in (out / "best" / "README.md").read_text()
    )


def on_scale(scale: float, offset: float) -> TaskData:
    """The data of a regression whose labels are `scale * label + offset`."""

    def moved(examples: list[Example]) -> list[Example]:
        return [replace(one, label=scale * one.label + offset) for one in examples]

    first, second = moved(rated(48, 1)), moved(rated(18, 2))
    task = own_task("regression", columns=COLUMNS, train=first)
    parts = Parts(task, (), first, {"dev": second}, None, [])
    return finetune_data.featured(parts, TOKENIZER, Limits(24, 12, max_question_length=12), COLUMNS)


def test_a_regression_begins_at_the_mean_of_the_labels(folder, tmp_path):
    labels = [example.label for example in rated(48, 1)]
    go(config_of(folder, "regression", epochs=1, learning_rate=1e-6), tmp_path / "run")
    bias = load_file(tmp_path / "run" / "best" / "model.safetensors")["classifier.bias"]
    assert bias.item() == pytest.approx(np.mean(labels), abs=1e-2)
    assert losses(tmp_path / "run")[0] < 2


@pytest.fixture(scope="module")
def plain_regression(folder, tmp_path_factory) -> tuple[Path, RunResult]:
    out = tmp_path_factory.mktemp("regression") / "run"
    return out, go(config_of(folder, "regression"), out)


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(1000.0, 5000.0), (1e-3, 0.0), (1.0, 1e9), (1e25, -3e26), (1e-25, 0.0)],
)
def test_a_regression_does_not_depend_on_the_scale(
    folder, tmp_path, plain_regression, scale, offset
):
    plain = plain_regression[1].scores["dev"]
    found = go(config_of(folder, "regression"), tmp_path / "run", on_scale(scale, offset))
    assert not found.degenerate
    assert plain["pearson"] > 0.8
    for name in ("pearson", "spearman"):
        assert found.scores["dev"][name] == pytest.approx(plain[name], abs=1e-2)
    assert found.scores["dev"]["mae"] == pytest.approx(abs(scale) * plain["mae"], rel=0.05)
    # The folder gives the same numbers, though fp32 has no place for the differences of 1e9.
    again = Model(tmp_path / "run" / "best").predict(rated(18, 2))
    kept = [answer.value for answer in read_predictions(tmp_path / "run", kind_named("regression"))]
    assert [answer.value for answer in again] == pytest.approx(kept, rel=1e-4, abs=1e-3 * scale)
    assert np.corrcoef([answer.value for answer in again], kept)[0, 1] > 0.9999


def test_transformers_gives_the_numbers_of_a_regression(folder, tmp_path):
    go(config_of(folder, "regression", epochs=1), tmp_path / "run", on_scale(1000.0, 5000.0))
    best = tmp_path / "run" / "best"
    theirs = AutoModelForSequenceClassification.from_pretrained(best).eval()
    dev = rated(18, 2)
    with torch.inference_mode():
        given = [
            theirs(torch.tensor([[TOKENIZER.cls_id, *ids, TOKENIZER.sep_id]])).logits.item()
            for ids in (TOKENIZER.encode(example.a).ids for example in dev)
        ]
    ours = [answer.value for answer in Model(best).predict(dev)]
    assert given == pytest.approx(ours, rel=1e-5)
    assert 100_000 < np.mean(given) < 120_000


def test_a_regression_stopped_and_continued_comes_to_the_same_bytes(
    folder, plain_regression, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        Interruption([9, 12], terminate).install(patch)
        for _ in range(2):
            with pytest.raises(Stopped):
                go(config_of(folder, "regression"), tmp_path / "run")
    # A checkpoint has the layer as it is trained; it gives numbers of the labels all the same.
    [saved] = (tmp_path / "run" / "checkpoints").glob("step-*")
    values = [answer.value for answer in Model(saved).predict(rated(18, 2))]
    assert 100 < np.mean(values) < 112
    go(config_of(folder, "regression"), tmp_path / "run")
    same_run(plain_regression[0], tmp_path / "run")


def test_numbers_that_are_nearly_one_are_degenerate():
    task = own_task("regression", columns=COLUMNS, train=rated(48, 1))
    dev = rated(18, 2)
    near = [NumberAnswer(106 + 1e-3 * (one.label - 106)) for one in dev]
    assert score(task, dev, near, ())["pearson"] == pytest.approx(1)
    far = [106 + 0.1 * (one.label - 106) for one in dev]
    right = task.kind.references(dev, ())
    assert task.kind.is_constant(right, task.kind.predictions(near, ()))
    assert not task.kind.is_constant(right, far)


def test_words_that_are_not_in_the_training_part_stay_as_they_were(folder, whole):
    out, _ = whole
    name = "bert.embeddings.word_embeddings.weight"
    before_VD = load_file(folder / "model.safetensors")[name]
    after_VD = load_file(out / "best" / "model.safetensors")[name]
    moved = (before_VD != after_VD).any(1)
    assert [VOCAB[piece] for piece in moved.nonzero()[:, 0]] == ["[CLS]", "[SEP]", *LETTERS]


def test_a_run_that_is_over_is_not_done_again(
    folder: Path, whole: tuple[Path, RunResult], monkeypatch
):
    out, result = whole
    monkeypatch.setattr(TaskBatches, "at", None)
    assert go(config_of(folder), out) == result
    with pytest.raises(UsageError, match=r"epochs: 4 -> 5\); use the same settings"):
        go(config_of(folder, epochs=5), out)
    other = replace(data_of("classification"), fingerprint="of other examples")
    with pytest.raises(FolderError, match="examples or the model have changed since"):
        go(config_of(folder), out, other)


@dataclass
class Interruption:
    """Something that happens before some steps, and what the checkpoints held."""

    at: list[int]
    act: Any
    saved: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        step_of, save = TaskBatches.at, running.checkpoint.save

        def at(batches: TaskBatches, step: int, rank: int = 0, world: int = 1) -> Any:
            if self.at and step == self.at[0]:
                self.at.pop(0)
                self.act()
            return step_of(batches, step, rank, world)

        def saving(root: Path, state: Any, moments: Any, **rest: Any) -> Path:
            target = save(root, state, moments, **rest)
            weights, adam = (target / name for name in ("model.safetensors", "trainer.safetensors"))
            self.saved.append((state.step, weights.read_bytes(), adam.read_bytes()))
            return target

        patch.setattr(TaskBatches, "at", at)
        patch.setattr(running.checkpoint, "save", saving)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class PowerCut(Exception):
    """The end of the process, as far as a test can go."""


def cut_power() -> None:
    raise PowerCut


def same_run(one: Path, other: Path) -> None:
    for name in ("predictions.jsonl", *(f"best/{name}" for name in FILES)):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for kind in ("train", "evaluation"):
        assert records(one, kind) == records(other, kind)


def test_stopped_and_continued_comes_to_the_same_bytes(folder, whole, tmp_path, monkeypatch):
    untouched = Interruption([], None)
    with monkeypatch.context() as patch:
        untouched.install(patch)
        again = go(config_of(folder), tmp_path / "again")
    assert [step for step, *_ in untouched.saved] == [24]
    same_run(whole[0], tmp_path / "again")

    # In an epoch, at the end of one (before its evaluation), at once again, and at the very end.
    stopped = Interruption([3, 11, 12, 22], terminate)
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stopped.install(patch)
        for step in (4, 12, 13, 23):
            with pytest.raises(Stopped, match=f"Stopped by SIGTERM at step {step}; .*resume=True"):
                go(config_of(folder), out)
            assert [path.name for path in (out / "checkpoints").iterdir()] == [f"step-{step:08d}"]
            assert not (out / "result.json").exists()
        result = go(config_of(folder), out)
    assert [step for step, *_ in stopped.saved] == [4, 12, 13, 23, 24]
    assert stopped.saved[-1] == untouched.saved[-1]
    same_run(whole[0], out)
    assert without_clocks(result) == without_clocks(again) == without_clocks(whole[1])
    assert not (out / "checkpoints").exists()


def test_a_power_cut_costs_what_was_not_saved_and_nothing_else(
    folder, whole, tmp_path, monkeypatch
):
    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        Interruption([8, 8], cut_power).install(patch)
        for _ in range(2):
            with pytest.raises(PowerCut):
                go(config_of(folder), out)
        assert len(losses(out)) == 8
        assert (out / "best").is_dir()
        go(config_of(folder), out)
    same_run(whole[0], out)


def test_the_best_weights_and_what_is_said_of_them_are_of_one_epoch(folder, tmp_path, monkeypatch):
    """Where an epoch that was lost comes out otherwise when it is done again (as on a GPU)."""
    out = tmp_path / "run"
    mains = iter([0.5, 0.9, 0.4, 0.3])
    with monkeypatch.context() as patch:
        patch.setattr(best_epoch, "decisive", lambda task, scores: next(mains))
        # The checkpoint is of the first epoch's end; the second epoch, the best one, is lost.
        Interruption([7, 14], terminate).install(patch)
        with pytest.raises(Stopped, match="at step 8"):
            go(config_of(folder), out)
        patch.setattr(running.checkpoint, "save", lambda *_, **__: None)
        with pytest.raises(Stopped, match="at step 15"):
            go(config_of(folder), out)
    answers = (out / "best" / "predictions.jsonl").read_bytes()
    weights = (out / "best" / "model.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        for module in (best_epoch, running):
            patch.setattr(module, "decisive", lambda task, scores: next(mains, 0.9))
        result = go(config_of(folder, epochs=4), out)
    assert result.best_epoch == 2
    assert (out / "predictions.jsonl").read_bytes() == answers
    assert (out / "best" / "model.safetensors").read_bytes() == weights
    assert sorted(path.name for path in (out / "best").iterdir()) == FILES


def test_damage_of_a_stopped_run_is_named_when_it_is_continued(folder, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        Interruption([14], terminate).install(patch)
        with pytest.raises(Stopped, match="at step 15"):
            go(config_of(folder), out)
    [saved] = (out / "checkpoints").iterdir()
    paths = [out / "finetune.json", *sorted(saved.iterdir()), *sorted((out / "best").iterdir())]
    assert {"best.json", "predictions.jsonl", "trainer.json"} < {path.name for path in paths}
    for path in paths:
        whole = path.read_bytes()
        for damaged in (
            whole[: len(whole) // 2],
            whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:],
            None,
        ):
            if damaged is not None:
                path.write_bytes(damaged)
            elif path.name != "finetune.json":
                path.unlink()
            else:
                continue
            with pytest.raises(FolderError) as caught:
                go(config_of(folder), out)
            assert str(path) in str(caught.value)
        path.write_bytes(whole)
    assert go(config_of(folder), out).steps == 24


def test_a_kill_between_the_two_renames_loses_no_best_epoch(folder, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        Interruption([14], terminate).install(patch)
        with pytest.raises(Stopped):
            go(config_of(folder), out)
    (out / "best").rename(out / ".best.77.old.partial")
    (out / ".best.77.partial").mkdir()
    go(config_of(folder), out)
    same_run(whole[0], out)


def test_a_run_is_continued_with_its_own_settings_model_and_data(folder, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        Interruption([3], terminate).install(patch)
        with pytest.raises(Stopped):
            go(config_of(folder), out)
    with pytest.raises(UsageError, match=r"with other settings .*learning_rate"):
        go(config_of(folder, learning_rate=1e-3), out)
    with pytest.raises(FolderError, match=r"training data of .* has changed since"):
        go(config_of(folder), out, data_of("classification", train=47))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"holds other files .*no finetune\.json"):
        go(config_of(folder), tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]


def test_patience_ends_a_run_that_gets_no_better(folder, tmp_path):
    result = go(config_of(folder, epochs=20, patience=2), tmp_path)
    assert result.steps == 6 * (result.best_epoch + 2) < 120
    evaluated = records(tmp_path, "evaluation")
    assert len(evaluated) == result.best_epoch + 2
    assert max(record["accuracy"] for record in evaluated) == result.scores["dev"]["accuracy"]


def test_steps_and_the_clock_end_a_run_early(folder, tmp_path, monkeypatch):
    result = go(config_of(folder, steps=8, hours=1.0), tmp_path / "steps")
    assert (result.steps, len(records(tmp_path / "steps", "evaluation"))) == (8, 2)
    clock = SimpleNamespace(now=0.0)

    def later() -> float:
        clock.now += 0.5
        return clock.now

    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=later))
    out = tmp_path / "clock"
    result = go(config_of(folder, hours=10 / 3600), out)
    # Six steps are an epoch.
    assert 1 <= result.steps < 24
    assert records(out, "evaluation")[-1]["step"] == result.steps
    rates = [record["learning_rate"] for record in records(out, "train")]
    assert rates[-1] < 0.25 * max(rates)
    assert len((out / "schedule.jsonl").read_text().splitlines()) == result.steps + 1


def test_a_run_that_learns_nothing_is_called_degenerate(folder, tmp_path):
    result = go(config_of(folder, epochs=1, learning_rate=1e-12), tmp_path)
    assert result.degenerate
    assert result.main <= running.decisive(
        data_of("classification").task, data_of("classification").baseline
    )


def test_the_baseline_gives_what_is_most_frequent_where_it_is_scored():
    names = ("accuracy", "macro_f1")
    found = baseline("classification", names, np.array([1, 1, 0]))
    assert found == {"accuracy": pytest.approx(2 / 3), "macro_f1": pytest.approx(0.4)}
    assert baseline("multiple-choice", ("accuracy",), np.array([2, 0, 2, 1])) == {"accuracy": 0.5}
    assert baseline("regression", ("pearson",), np.array([1.0, 2.0])) == {"pearson": None}


def test_class_weights_have_the_mean_one(folder):
    data = data_of("classification")
    weights_C = class_weights(config_of(folder, class_weights="balanced"), data, PLACE)
    assert weights_C.tolist() == [1.5, 0.75]  # 16 early, 32 late
    assert float(weights_C[data.train.targets].mean()) == 1.0
    assert class_weights(config_of(folder), data, PLACE) is None


def test_class_weights_are_in_the_loss(folder, whole, tmp_path):
    go(config_of(folder, class_weights="balanced", epochs=1), tmp_path)
    assert losses(tmp_path)[0] != losses(whole[0])[0]


def test_features_are_trained_on_and_the_encoder_stays(folder, tmp_path, monkeypatch):
    # The paper's width takes its time.
    monkeypatch.setattr(modelling, "FeatureBased", partial(FeatureBased, width=32))
    result = go(
        config_of(
            folder,
            "token-classification",
            features=(-1, -2),
            combine="sum",
            learning_rate=1e-2,
            epochs=5,
        ),
        tmp_path,
    )
    assert result.scores["dev"]["entity_f1"] > max(
        0.9, data_of("token-classification").baseline["entity_f1"]
    )
    assert losses(tmp_path)[-1] < 0.5 * losses(tmp_path)[0]
    before, after = (
        load_file(folder / "model.safetensors"),
        load_file(tmp_path / "best" / "model.safetensors"),
    )
    encoder = [name for name in after if name.startswith("bert.")]
    assert len(encoder) == 5 + 2 * 16
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    mix = load_task(tmp_path / "best").features.mix
    assert mix.abs().min() > 0


def test_questions_without_an_answer_get_a_threshold_from_dev(folder, tmp_path):
    data = data_of("question-answering")
    assert data.task.may_be_impossible
    result = go(
        config_of(folder, "question-answering", epochs=2, learning_rate=1e-3), tmp_path, data
    )
    assert result.scores["dev"]["answer_f1"] > data.baseline["answer_f1"] == pytest.approx(1 / 3)
    task_config = json.loads((tmp_path / "best" / "task.json").read_text())
    assert task_config["thresholds"] == list(result.thresholds)
    answers = read_predictions(Path(result.out), kind_named("question-answering"))
    for answer in answers:
        assert (answer.text == "") == (answer.null_minus_best > result.thresholds[0])

    def f1_at(threshold: float) -> float:
        moved = [answer.decided(threshold) for answer in answers]
        return running.score(data.task, data.evaluated["dev"][0], moved, ())["answer_f1"]

    # No threshold would be better: neither all answered nor none, nor one between two of them.
    differences = sorted(answer.null_minus_best for answer in answers)
    reached = result.scores["dev"]["answer_f1"]
    assert max(f1_at(threshold) for threshold in (differences[0] - 1, *differences)) == reached
    # It is as far from the question above it as from the one below.
    edges = np.array([differences[0] - 1, *differences])
    below, above = edges[edges <= result.thresholds[0]], edges[edges > result.thresholds[0]]
    assert result.thresholds[0] == pytest.approx((below.max() + above.min()) / 2)
    assert f1_at(0.0) < reached - 0.1


def child(folder: Path, out: Path, environment: dict[str, str], shard: bool) -> None:
    """What a process of a run of two does."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    with join("fp32") as place:
        go(config_of(folder, dropout=0.0, epochs=2, shard=shard), out, place=place)


@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_come_to_the_weights_of_one(folder, tmp_path, monkeypatch, shard):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    target = importlib.import_module(Path(__file__).stem).child
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bertsmith.pretraining.run"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        context.Process(
            target=target,
            args=(
                folder,
                tmp_path / "two",
                address | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                shard,
            ),
        )
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    one = go(config_of(folder, dropout=0.0, epochs=2), tmp_path / "one")
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    two = read_json(tmp_path / "two" / "result.json", RunResult)
    # The weights differ in their last bits.
    assert one.checksums.keys() == two.checksums.keys()
    two = msgspec.structs.replace(two, checksums=one.checksums)
    assert without_clocks(two) == without_clocks(one)
    alone, shared = (
        load_file(tmp_path / name / "best" / "model.safetensors") for name in ("one", "two")
    )
    for name, tensor in alone.items():
        torch.testing.assert_close(shared[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
