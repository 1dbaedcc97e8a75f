"""Fine-tuning without a pre-trained model: vocabulary, word vectors and weights from the labels."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import official_files
import pytest
import torch
from by_kind import build
from heads import head_of

from bertsmith.cli.main import main
from bertsmith.core.errors import FolderError, Stopped, UsageError
from bertsmith.core.runtime import World
from bertsmith.core.storage import read_json
from bertsmith.finetuning.data import Source
from bertsmith.finetuning.job import Job, finetune
from bertsmith.finetuning.origin import Untrained, UntrainedModel
from bertsmith.finetuning.result import FinetuneResult
from bertsmith.inference.batches import TaskBatches
from bertsmith.inference.evaluation import Evaluation, evaluate
from bertsmith.inference.predictor import Model
from bertsmith.models.bert.tasks import BertForTask
from bertsmith.models.family import build_for_task
from bertsmith.pretraining.initial_weights import Columns
from bertsmith.tasks import task_config
from bertsmith.tasks.examples import Limits, TextExample
from bertsmith.tasks.features import Features
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer
from bertsmith.training.parallel.place import Place

FAST = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "precision": "fp32"}
PLACE = Place(World(), torch.device("cpu"), "fp32")


@pytest.fixture
def size(tmp_path: Path) -> str:
    """A network of two layers of 64, narrower than any preset."""
    shape = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    (tmp_path / "small.json").write_text(json.dumps(shape))
    return str(tmp_path / "small.json")


def job(task: str, data: Path, size: str, *, seeds: int = 1, sweep: bool = False, **flags: Any):
    return Job(
        source=Source(task=task, data=str(data)),
        model=Untrained(size=size, **flags),
        seeds=seeds,
        sweep=sweep,
        settings=FAST,
    )


@pytest.mark.parametrize("name", ["sst-2", "mrpc", "sts-b", "swag", "conll2003", "squad2"])
def test_every_kind_of_task_trains_evaluates_and_reloads(
    name: str, tmp_path: Path, size: str
) -> None:
    official_files.WRITERS[name](tmp_path / "data" / name)
    told: list[str] = []
    result = finetune(job(name, tmp_path / "data", size), tmp_path / "out", show=told.append)
    assert result.config.initial_weights == "structured"
    assert result.model == size
    vocab = Tokenizer.load(tmp_path / "out").vocab
    assert vocab[:5] == SPECIAL
    assert told[0] == (
        f"model: a BERT ({size}) without pre-training, vocabulary of {len(vocab)} pieces (trained "
        "on the training texts)"
    )
    found = evaluate(Model(tmp_path / "out"), tmp_path / "data", columns=task_config.Columns())
    assert isinstance(found, Evaluation)
    for part, scores in result.best_run.scores.items():
        assert found.parts[part].scores == pytest.approx(scores, abs=1e-6)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# BERT trained from scratch with bertsmith: " in card
    assert "- no pre-training: " in card
    assert f"a vocabulary of {len(vocab)} pieces\n" in card
    page = (tmp_path / "out" / "report.html").read_text()
    assert "without pre-training" in page
    assert "fine-tuned to" not in page
    assert any("without pre-training" in line for line in result.summary_lines())
    assert read_json(tmp_path / "out" / "results.json", FinetuneResult) == result


def examples(*texts: str) -> list[TextExample]:
    return [TextExample("f:1", "0", text, None, "x") for text in texts]


def origin(size: str, *texts: str, **flags: Any) -> UntrainedModel:
    return UntrainedModel(Untrained(size=size, **flags), examples(*texts), PLACE)


# "tea" and "coffee" have the same neighbours.
TEXTS = ["we drink hot tea at home", "we drink hot coffee at home", "a red car is fast"] * 10


def features(tokenizer: Tokenizer) -> Features:
    return build("classification", examples(*TEXTS), tokenizer, Limits(64, 48), ("x",))


def drawn(source: UntrainedModel, seed: int) -> BertForTask:
    torch.manual_seed(seed)
    head = head_of("classification", labels=("a", "b"), extract_id=source.tokenizer.mask_id)
    model = build_for_task(source.model_config, head)
    assert source.fill(model, examples=features(source.tokenizer), seed=seed) == []
    assert isinstance(model, BertForTask)
    return model


def test_weights_are_drawn_for_each_seed_and_word_vectors_counted_once(
    size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = origin(size, *TEXTS)
    first, again = drawn(source, 0).state_dict(), drawn(source, 0).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    monkeypatch.setattr("bertsmith.finetuning.origin.word_vectors", None)
    other = drawn(source, 1).state_dict()
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])
    value = "bert.blocks.1.attention.qkv.weight"
    assert not torch.equal(first[value], other[value])
    # Vectors that the texts decide: those of the words that occur.
    words = Columns.of(64, pairs=True).words
    seen = np.unique(features(source.tokenizer).pieces_T)
    name = "bert.embeddings.word.weight"
    assert torch.equal(first[name][seen, :words], other[name][seen, :words])
    assert not torch.equal(first[name][:5, :words], other[name][:5, :words])
    [tea, coffee, car] = [source.tokenizer.vocab.index(word) for word in ("tea", "coffee", "car")]
    vectors = torch.nn.functional.normalize(first[name][:, :words], dim=1)
    assert vectors[tea] @ vectors[coffee] > vectors[tea] @ vectors[car] + 0.2


def test_the_papers_weights_are_those_drawn(size: str) -> None:
    source = origin(size, *TEXTS, initial_weights="paper")
    found = drawn(source, 3).state_dict()
    torch.manual_seed(3)
    head = head_of("classification", labels=("a", "b"), extract_id=4)
    expected = build_for_task(source.model_config, head).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert source.fingerprint != origin(size, *TEXTS).fingerprint


def test_the_vocabulary_is_of_the_training_texts_or_the_users(size: str, tmp_path: Path) -> None:
    source = origin(size, *TEXTS)
    assert {"drink", "coffee", "fast"} <= set(source.tokenizer.vocab)
    assert source.model_config.vocab_size == len(source.tokenizer)
    smaller = origin(size, *TEXTS, vocab_size=60)
    assert len(smaller.tokenizer) == 60
    Tokenizer([*SPECIAL, "we", "drink", "cold", "tea"]).save(tmp_path / "tokenizer")
    users = origin(size, *TEXTS, tokenizer=str(tmp_path / "tokenizer"))
    assert users.tokenizer.vocab[5:] == ("we", "drink", "cold", "tea")
    assert users.model_config.vocab_size == 9
    with pytest.raises(UsageError, match=r"A vocabulary of 20 pieces .* use at least \d+"):
        origin(size, *TEXTS, vocab_size=20)
    with pytest.raises(UsageError, match=r"nowhere: no such folder"):
        origin(size, *TEXTS, tokenizer=str(tmp_path / "nowhere"))
    shape = json.loads(Path(size).read_text()) | {"vocab_size": 99}
    Path(size).write_text(json.dumps(shape))
    with pytest.raises(UsageError, match=r"vocab_size is 99, but the tokenizer has 9 pieces"):
        origin(size, *TEXTS, tokenizer=str(tmp_path / "tokenizer"))


def test_dev_adds_nothing_to_the_vocabulary(size: str, tmp_path: Path) -> None:
    for name, word in (("train", "harbour"), ("dev", "lighthouse")):
        rows = "".join(f"{official_files.text(n)} {word},{n % 2}\n" for n in range(12))
        (tmp_path / f"{name}.csv").write_text("text,label\n" + rows)
    source = Source(
        task="classification", train=str(tmp_path / "train.csv"), dev=str(tmp_path / "dev.csv")
    )
    request = Job(source=source, model=Untrained(size=size), settings=FAST)
    finetune(request, tmp_path / "out", show=list)
    vocab = Tokenizer.load(tmp_path / "out").vocab
    assert "harbour" in vocab
    assert not {"lighthouse", "light", "##house"} & set(vocab)


def _files(out: Path) -> dict[str, bytes]:
    """All that no clock is in."""
    names = ["job.json", "identity.json", "model.safetensors", "vocab.txt", "README.md"]
    paths = [*(out / name for name in names), *out.glob("runs/*/predictions.jsonl")]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def test_seeds_differ_and_an_interrupted_job_comes_to_the_same_bytes(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finetune(job("rte", tmp_path, size, seeds=2), whole, show=list)
    # At step 1 of the first run, and again of the second one.
    stops, at = [1, 1], TaskBatches.at

    def interrupted(batches: TaskBatches, step: int, rank: int = 0, world: int = 1) -> Any:
        if stops and step == stops[0]:
            stops.pop()
            os.kill(os.getpid(), signal.SIGTERM)
        return at(batches, step, rank, world)

    monkeypatch.setattr(TaskBatches, "at", interrupted)
    for _ in range(2):
        with pytest.raises(Stopped):
            finetune(job("rte", tmp_path, size, seeds=2), stopped, resume=True, show=list)
    finetune(job("rte", tmp_path, size, seeds=2), stopped, resume=True, show=list)
    assert len(_files(whole)) == 7
    assert _files(whole) == _files(stopped)
    losses = [
        json.loads(path.read_text().splitlines()[0])["loss"]
        for path in sorted(whole.glob("runs/*/metrics.jsonl"))
    ]
    assert losses[0] != losses[1]


def test_another_size_vocabulary_or_start_is_another_job(tmp_path: Path) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    out = tmp_path / "out"
    finetune(job("rte", tmp_path, "tiny", vocab_size=60), out, show=list)

    def refused(error: type[Exception], message: str, size: str, **flags: Any) -> None:
        with pytest.raises(error, match=message):
            finetune(job("rte", tmp_path, size, **flags), out, resume=True, show=list)

    refused(UsageError, "model: 'tiny' -> 'mini'", "mini", vocab_size=60)
    start = "initial_weights: 'structured' -> 'paper'"
    refused(UsageError, start, "tiny", vocab_size=60, initial_weights="paper")
    refused(FolderError, "The model's tokenizer is not what", "tiny", vocab_size=50)


MISTAKES = {
    "neither": ([], "--model names a pre-trained model, --size a BERT without"),
    "both": (["--model", "m", "--size", "tiny"], "--model names a pre-trained model, --size a"),
    "a tokenizer for a model": (
        ["--model", "m", "--tokenizer", "t"],
        "--tokenizer is for --size, and --model m",
    ),
    "a vocabulary for a model": (
        ["--model", "m", "--vocab-size", 90],
        "--vocab-size is for --size",
    ),
    "weights for a model": (
        ["--model", "m", "--initial-weights", "paper"],
        "--initial-weights is for --size",
    ),
    "two vocabularies": (
        ["--size", "tiny", "--tokenizer", "t", "--vocab-size", 90],
        "--vocab-size is for a vocabulary that is trained here, but --tokenizer t has one",
    ),
    "an unknown size": (["--size", "tinny"], "not a preset (perhaps you meant 'tiny')"),
    "no pieces": (["--size", "tiny", "--vocab-size", 0], "A vocabulary of 0 pieces is too small"),
    "another architecture's layers": (
        ["--size", "tiny", "--frozen", "yes"],
        "--frozen applies only to ELMo",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_ends_in_a_sentence_and_leaves_nothing(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, message = MISTAKES[what]
    official_files.WRITERS["rte"](tmp_path / "rte")
    arguments = ["finetune", "rte", "--data", tmp_path, "--out", tmp_path / "out", *flags]
    assert main([str(argument) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert message in told
    assert not (tmp_path / "out").exists()


def test_the_command_and_its_json(
    size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official_files.WRITERS["rte"](tmp_path / "rte")
    arguments = ["finetune", "rte", "--data", tmp_path, "--out", tmp_path / "out", "--json"]
    arguments += ["--size", size, "--epochs", 1, "--initial-weights", "paper", "--sweep"]
    arguments += ["--batch-size", 4]
    assert main([str(argument) for argument in arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == size
    assert found["config"]["initial_weights"] == "paper"
    assert len(found["runs"]) == 4
