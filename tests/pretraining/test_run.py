"""The pre-training job on a toy corpus: it learns, resumes to the bit, and survives kills."""

import importlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import socket
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from bertsmith.checkpoints.folder import load_pretraining, save_model
from bertsmith.core.errors import FolderError, Stopped, SystemFault, UsageError
from bertsmith.core.storage import read_json, write_json, write_sealed
from bertsmith.corpus.shards import Corpus
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.config import FamilyName, ModelConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build
from bertsmith.models.gpt.config import GptConfig
from bertsmith.pretraining import run as pretrain
from bertsmith.pretraining.config import PretrainConfig, pretrain_config
from bertsmith.pretraining.continuing import start_from
from bertsmith.pretraining.initial_weights import POSITION_COLUMNS
from bertsmith.pretraining.setup import build_model, resolve_model_config, show_batch
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer
from bertsmith.training import checkpoint
from bertsmith.training.progress import read_metrics
from bertsmith.training.schedule import Phase

SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def settings(corpus: Path, **flags: Any) -> PretrainConfig:
    shape = corpus.parent / "shape.json"
    write_json(shape, SHAPE)
    usual = {
        "data": str(corpus),
        "size": str(shape),
        "steps": 12,
        "batch_size": 8,
        "phases": (Phase(0.75, 32), Phase(0.25, 48)),
        "dropout": 0.1,
        "micro_tokens": 100,
        "precision": "fp32",
        "evaluate_every": 6,
        "evaluate_sequences": 16,
        "save_every": 3,
    }
    if "hours" in flags:
        del usual["steps"]
    if "start" in flags:
        del usual["size"]
    return pretrain_config("modern", **(usual | flags))


def losses(out: Path) -> list[float]:
    records = read_metrics(out / "metrics.jsonl")
    return [record["loss"] for record in records if record["kind"] == "train"]


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 steps that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    pretrain.run(settings(toy_corpus), out)
    return out


def test_a_run_leaves_a_model_its_settings_and_every_number(whole: Path, toy_corpus: Path) -> None:
    assert sorted(path.name for path in whole.iterdir() if path.name != "tensorboard") == [
        "README.md",
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "pretrain.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == [
        "step-00000009",
        "step-00000012",
    ]
    kinds = [record["kind"] for record in read_metrics(whole / "metrics.jsonl")]
    assert kinds == ["baseline", *(["evaluation", *["train"] * 6] * 2), "evaluation"]
    lengths = [r["length"] for r in read_metrics(whole / "metrics.jsonl") if r["kind"] == "train"]
    assert lengths == [32] * 9 + [48] * 3
    model, fresh = load_pretraining(whole)
    assert fresh == []
    assert model.config.hidden_dropout_prob == 0.1
    card = (whole / "README.md").read_text()
    assert "12 steps of 8 sequences (75% at 32 tokens, then 25% at 48 tokens)" in card
    assert str(toy_corpus) not in card


def test_it_learns_more_than_frequencies(toy_corpus: Path, tmp_path: Path) -> None:
    config = settings(
        toy_corpus,
        steps=150,
        batch_size=32,
        learning_rate=0.01,
        dropout=0.0,
        micro_tokens=4000,
        phases=(Phase(1.0, 32),),
        evaluate_every=1000,
        evaluate_sequences=64,
        save_every=1000,
    )
    result = pretrain.run(config, tmp_path / "out")
    # 45 pieces nearly equally often; five in a document
    assert result.baseline["mlm_loss"] == pytest.approx(math.log(45), abs=0.4)
    assert result.metrics["mlm_loss"] < result.baseline["mlm_loss"] - 0.25
    assert result.metrics["mlm_accuracy"] > result.baseline["mlm_accuracy"] + 0.05
    assert result.step == 150
    assert result.tokens_per_second > 100
    assert 0 < read_metrics(tmp_path / "out" / "metrics.jsonl")[-2]["mfu"] < 1
    assert result.tokens == read_metrics(tmp_path / "out" / "metrics.jsonl")[-2]["tokens"]


def test_the_initial_weights_are_the_recipe_s_or_the_paper_s(toy_corpus: Path) -> None:
    corpus = Corpus.open(toy_corpus)

    def words(weights: str) -> torch.Tensor:
        config = settings(toy_corpus, initial_weights=weights)
        model, _ = build_model(config, resolve_model_config(config, corpus), corpus, None)
        assert isinstance(model, BertForPretraining)
        return model.bert.embeddings.word.weight.detach()

    assert settings(toy_corpus).initial_weights == "structured"
    drawn, structured = words("paper"), words("structured")
    assert torch.equal(words("structured"), structured)
    assert drawn[:, -POSITION_COLUMNS:].abs().min() > 0
    assert not structured[:, -POSITION_COLUMNS:].any()
    # Two words of one document are neighbours more often than two others.
    ids_T = corpus.split("train").gather(np.array([0]), np.array([20]))
    first = structured[np.unique(ids_T)].numpy()
    assert np.corrcoef(first).mean() > np.corrcoef(structured[5:].numpy()).mean() + 0.1


def test_the_same_run_gives_the_same_bytes_and_another_seed_does_not(
    whole: Path, toy_corpus: Path, tmp_path: Path
) -> None:
    pretrain.run(settings(toy_corpus), tmp_path / "same")
    pretrain.run(settings(toy_corpus, seed=1), tmp_path / "other")
    assert weights(tmp_path / "same") == weights(whole)
    assert losses(tmp_path / "same") == losses(whole)
    assert weights(tmp_path / "other") != weights(whole)


def test_a_finished_run_resumes_to_itself(toy_corpus: Path, tmp_path: Path) -> None:
    first = pretrain.run(settings(toy_corpus), tmp_path / "out")
    before = {path: path.read_bytes() for path in tmp_path.glob("out/*.*")}
    again = pretrain.run(settings(toy_corpus), tmp_path / "out", resume=True)
    assert again.metrics == first.metrics
    assert again.step == 12
    assert {path: path.read_bytes() for path in tmp_path.glob("out/*.*")} == before


def test_a_resume_in_another_precision_is_told(
    toy_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain.run(settings(toy_corpus), tmp_path / "out")
    capsys.readouterr()
    state = max(tmp_path.glob("out/checkpoints/step-*/trainer.json"))
    kept = read_json(state, checkpoint.TrainerState, sealed=True)
    assert kept.computed == "cpu in fp32"
    write_sealed(state, msgspec.structs.replace(kept, computed="cpu in bf16"))
    pretrain.run(settings(toy_corpus), tmp_path / "out", resume=True)
    told = capsys.readouterr().err
    assert "Steps up to 12 ran on cpu in bf16; later ones run on cpu in fp32, so" in told


def test_a_signal_saves_and_a_resume_continues_to_the_bit(
    whole: Path, toy_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    tell = pretrain.Reporter.train

    def tell_and_kill(self: Any, step: int, progress: float, values: dict[str, float]) -> None:
        tell(self, step, progress, values)
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.Reporter, "train", tell_and_kill)
        with pytest.raises(Stopped, match="Stopped by SIGTERM at step 4"):
            pretrain.run(settings(toy_corpus), out)
    assert (out / "checkpoints" / "step-00000004").is_dir()
    assert not (out / "config.json").exists()
    pretrain.run(settings(toy_corpus), out, resume=True)
    assert weights(out) == weights(whole)
    assert losses(out) == losses(whole)


def test_a_checkpoint_before_the_newest_will_do(
    whole: Path, toy_corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    config = settings(toy_corpus)
    pretrain.run(config, out)
    newest = out / "checkpoints" / "step-00000012"
    (newest / "model.safetensors").write_bytes(weights(out)[:100])
    with pytest.raises(FolderError, match=r"model\.safetensors \(100 bytes\).*delete "):
        pretrain.run(config, out, resume=True)
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    pretrain.run(config, out, resume=True)
    assert weights(out) == weights(whole)
    assert losses(out) == losses(whole)


def test_a_run_on_the_clock_is_replayed_exactly(toy_corpus: Path, tmp_path: Path) -> None:
    config = settings(toy_corpus, hours=1.5 / 3600, save_every=10)
    first = pretrain.run(config, tmp_path / "first")
    assert first.step > 5
    assert 1.5 <= first.seconds < 6
    pretrain.run(config, tmp_path / "second", replay=tmp_path / "first")
    assert weights(tmp_path / "second") == weights(tmp_path / "first")
    with pytest.raises(UsageError, match="replay needs hours"):
        pretrain.run(settings(toy_corpus), tmp_path / "third", replay=tmp_path / "first")


def test_a_run_on_the_clock_resumes_from_its_log(toy_corpus: Path, tmp_path: Path) -> None:
    config = settings(toy_corpus, hours=1.5 / 3600, save_every=10)
    first = tmp_path / "first"
    end = pretrain.run(config, first).step
    # As a kill during the last step would leave it: checkpoint far behind, log nearly complete.
    killed = tmp_path / "killed"
    pretrain.run(config, killed, replay=first)
    for folder in sorted((killed / "checkpoints").iterdir())[1:]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    lines = (first / "schedule.jsonl").read_bytes().splitlines(keepends=True)
    (killed / "schedule.jsonl").write_bytes(b"".join(lines[:end]) + lines[end][:30])
    pretrain.run(config, killed, resume=True)
    resumed = (killed / "schedule.jsonl").read_bytes().splitlines(keepends=True)
    assert resumed[:end] == lines[:end]
    count = min(end, len(losses(killed)))
    assert losses(killed)[:count] == losses(first)[:count]
    assert json.loads(resumed[-1])["over"] is True
    log = killed / "schedule.jsonl"
    log.write_text(log.read_text().replace('"learning_rate":', '"learning_rate":1', 1))
    with pytest.raises(FolderError, match=r"schedule\.jsonl is damaged or was replaced"):
        pretrain.run(config, killed, resume=True)


def test_pretraining_goes_on_from_a_model_folder(
    whole: Path, toy_corpus: Path, tmp_path: Path
) -> None:
    config = settings(toy_corpus, steps=2, dropout=0.0, start=start_from(whole))
    result = pretrain.run(config, tmp_path / "out")
    before = read_metrics(whole / "metrics.jsonl")[-1]["mlm_loss"]
    after = read_metrics(tmp_path / "out" / "metrics.jsonl")[1]["mlm_loss"]
    assert after == pytest.approx(before, rel=1e-6)
    assert result.step == 2
    model, _ = load_pretraining(tmp_path / "out")
    assert model.config.hidden_dropout_prob == 0.0


def test_the_tokenizer_of_the_model_must_be_the_corpus(
    whole: Path, toy_corpus: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in whole.glob("*.*"):
        (other / path.name).write_bytes(path.read_bytes())
    vocab = Tokenizer.load(other).vocab
    Tokenizer((*SPECIAL, *vocab[6:], "new")).save(other)
    with pytest.raises(FolderError, match=r"prepared with another tokenizer than"):
        pretrain.run(settings(toy_corpus, start=start_from(other)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "name", "model"),
    [
        (GptConfig(vocab_size=50, n_positions=64, n_embd=16, n_layer=1, n_head=2), "GPT", "gpt"),
        (ElmoConfig(vocab_size=50, filters=((1, 4),), projection=8, lstm_width=8), "ELMo", "elmo"),
    ],
)
def test_weights_of_another_architecture_say_what_to_give(
    toy_corpus: Path, tmp_path: Path, shape: ModelConfig, name: str, model: FamilyName
) -> None:
    tokenizer = Tokenizer.load(toy_corpus / "tokenizer")
    built = build(shape, pieces=tokenizer.vocab, pair_task=False)
    save_model(tmp_path / "old", built, tokenizer, card="")
    start = start_from(tmp_path / "old")
    with pytest.raises(UsageError) as caught:
        pretrain.run(settings(toy_corpus, start=start), tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(f"start='{tmp_path / 'old'}' has {name} weights")
    assert message.endswith(f"give model='{model}'.")
    assert not (tmp_path / "out").exists()
    given = settings(toy_corpus, model=model, steps=1, start=start)
    assert pretrain.run(given, tmp_path / "out").step == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"phases": (Phase(1.0, 128),)}, "128 tokens, but the model has only 64 positions"),
        ({"size": "gigantic"}, "size='gigantic': not a preset"),
        ({"data": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"precision": "bf16"}, "precision='bf16'"),
    ],
)
def test_wrong_settings_leave_nothing_behind(
    toy_corpus: Path,
    tmp_path: Path,
    flags: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises((UsageError, FolderError), match=message):
        pretrain.run(settings(toy_corpus, **flags), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_pair_task_needs_two_segments(toy_corpus: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", SHAPE | {"type_vocab_size": 1})
    config = settings(toy_corpus, size=str(tmp_path / "one.json"), steps=1)
    with pytest.raises(UsageError, match=r"type_vocab_size 1, but pair_task='nsp' needs 2"):
        pretrain.run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    config = msgspec.structs.replace(config, pair_task="none")
    assert pretrain.run(config, tmp_path / "out").step == 1


def test_heads_that_a_folder_lacks_are_named(
    whole: Path, toy_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = tmp_path / "without"
    config = settings(toy_corpus, steps=1, pair_task="none", start=start_from(whole))
    pretrain.run(config, without)
    assert "has no weights" not in capsys.readouterr().err
    start = start_from(without)
    assert settings(toy_corpus, start=start).pair_task == "none"
    pretrain.run(settings(toy_corpus, steps=1, start=start, pair_task="nsp"), tmp_path / "out")
    note = f"{without} has no weights for next_sentence, pooler"
    assert note in capsys.readouterr().err


def test_a_damaged_corpus_is_neither_trained_on_nor_shown(toy_corpus: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "corpus"
    shutil.copytree(toy_corpus, damaged)
    tokens = damaged / "train-00000" / "tokens.npy"
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    config = settings(toy_corpus, data=str(damaged))
    with pytest.raises(FolderError, match=r"tokens\.npy .*is damaged"):
        pretrain.run(config, tmp_path / "out")
    with pytest.raises(FolderError, match=r"tokens\.npy .*is damaged"):
        show_batch(config, 1)


def test_a_shard_that_changes_while_training_is_named(
    toy_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    shutil.copytree(toy_corpus, corpus)
    config = settings(toy_corpus, data=str(corpus))
    tokens = corpus / "train-00000" / "tokens.npy"
    whole, tell = tokens.read_bytes(), pretrain.Reporter.train

    def tell_and_change(self: Any, step: int, progress: float, values: dict[str, float]) -> None:
        tell(self, step, progress, values)
        if step == 4:
            tokens.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.Reporter, "train", tell_and_change)
        with pytest.raises(FolderError, match=r"tokens\.npy .* changed during training"):
            pretrain.run(config, out)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000003"]
    assert not (out / "config.json").exists()
    tokens.write_bytes(whole)
    assert pretrain.run(config, out, resume=True).step == 12


def test_a_run_that_met_the_end_of_memory_goes_on_with_smaller_micro_batches(
    toy_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(toy_corpus)
    losses_of = BertForPretraining.losses

    def short_of_memory(model: Any, batch: Any) -> Any:
        if batch.packed.longest > 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return losses_of(model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(BertForPretraining, "losses", short_of_memory)
        with pytest.raises(SystemFault, match=r"micro_tokens=50"):
            pretrain.run(config, tmp_path / "out")
    smaller = msgspec.structs.replace(config, micro_tokens=50)
    assert pretrain.run(smaller, tmp_path / "out", resume=True).step == 12
    state = json.loads((tmp_path / "out/checkpoints/step-00000012/trainer.json").read_text())
    assert state["micro_tokens"] == 50
    assert len(losses(tmp_path / "out")) == 12


def test_show_batch_prints_examples(toy_corpus: Path) -> None:
    text = show_batch(settings(toy_corpus), 2)
    first, _ = text.split("\n", 1)
    assert first == (
        "Recipe modern: 30% of the tokens are predicted (the paper: 15%), single pieces."
    )
    words = settings(toy_corpus, mlm_probability=0.15, whole_word_masking=True)
    first, _ = show_batch(words, 1).split("\n", 1)
    assert first == "Recipe modern: 15% of the tokens are predicted, whole words."
    assert text.count("[CLS]") == 2
    assert text.count("[SEP]") == 4
    assert "Example 2:" in text
    assert "[MASK](" in text


@pytest.fixture
def _children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def _context() -> ForkServerContext:
    """Children that start in milliseconds: their parent has imported torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bertsmith.pretraining.run"])
    return context


def _start(
    config: PretrainConfig, out: Path, environment: dict[str, str] | None = None
) -> ForkServerProcess:
    child = importlib.import_module("pretrain_child")
    process = _context().Process(target=child.run, args=(config, out, environment or {}))
    process.start()
    return process


def _finish(process: ForkServerProcess) -> None:
    process.join(120)
    assert process.exitcode == 0


@pytest.mark.usefixtures("_children")
def test_two_processes_equal_one(toy_corpus: Path, tmp_path: Path) -> None:
    config = settings(toy_corpus, dropout=0.0, save_every=6)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    ranks = [
        _start(config, tmp_path / "two", address | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    one = _start(config, tmp_path / "one")
    for process in [*ranks, one]:
        _finish(process)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    assert len(losses(tmp_path / "two")) == 12
    evaluations = [
        [r for r in read_metrics(tmp_path / name / "metrics.jsonl") if r["kind"] == "evaluation"]
        for name in ("one", "two")
    ]
    for single, double in zip(*evaluations, strict=True):
        assert double["mlm_loss"] == pytest.approx(single["mlm_loss"], rel=1e-5)
        assert double["mlm_accuracy"] == single["mlm_accuracy"]
    # A run of two processes goes on as one.
    state = json.loads((tmp_path / "two/checkpoints/step-00000012/trainer.json").read_text())
    assert state["step"] == 12


@pytest.mark.usefixtures("_children")
def test_twenty_kills_change_no_byte(toy_corpus: Path, tmp_path: Path) -> None:
    config = msgspec.structs.replace(settings(toy_corpus, steps=30), evaluate_every=10)
    _finish(_start(config, tmp_path / "warm"))
    began = time.monotonic()
    _finish(_start(config, tmp_path / "never killed"))
    seconds = time.monotonic() - began
    chance = random.Random(20)
    kills = runs = 0
    reached = set()
    while kills < 20:
        out = tmp_path / f"killed {runs}"
        runs += 1
        for _ in range(6):
            process = _start(config, out)
            process.join(chance.uniform(0, 0.4) * seconds)
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
            reached.add(max(checkpoint.steps(out / "checkpoints"), default=0))
        _finish(_start(config, out))
        assert weights(out) == weights(tmp_path / "never killed")
        assert losses(out) == losses(tmp_path / "never killed")
        steps = [(r["kind"], r["step"]) for r in read_metrics(out / "metrics.jsonl")]
        assert len(steps) == len(set(steps)) == 1 + 4 + 30
        assert not list(out.rglob("*.partial"))
    assert kills >= 20
    assert runs <= 12
    # The moments were spread over the run.
    assert len(reached) >= 4
