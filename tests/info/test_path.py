"""What is reported of a folder with damaged or missing files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from heads import head_of
from safetensors.torch import load_file, save_file

from bertsmith.checkpoints.folder import load_config, save_model
from bertsmith.cli.main import main
from bertsmith.core.errors import RESUME, DataError, FolderError
from bertsmith.core.storage import write_json
from bertsmith.info.model import ModelInfo
from bertsmith.info.path import RunInfo, TextInfo, describe
from bertsmith.info.words import lines
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.bert.tasks import BertForTask
from bertsmith.models.family import TaskModel
from bertsmith.pretraining import run as pretrain
from bertsmith.pretraining.config import pretrain_config
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.schedule import Phase

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def finished(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps with checkpoints of the steps 2 and 4."""
    root = tmp_path_factory.mktemp("info")
    write_json(root / "shape.json", SHAPE)
    config = pretrain_config(
        "modern",
        data=str(toy_corpus),
        size=str(root / "shape.json"),
        steps=4,
        batch_size=8,
        phases=(Phase(1.0, 32),),
        evaluate_sequences=8,
        save_every=2,
        precision="fp32",
    )
    pretrain.run(config, root / "out")
    return root / "out"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """An unfinished copy."""
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "config.json").unlink()
    return out


def described(folder: Path) -> RunInfo:
    found = describe(str(folder))
    assert isinstance(found, RunInfo)
    shown = [line.removeprefix("damaged").strip() for line in lines(found) if "damaged " in line]
    assert shown == found.damage
    return found


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def test_a_whole_run_has_no_damage(run: Path, finished: Path) -> None:
    assert described(run).damage == []
    assert described(finished).damage == []
    assert lines(described(run))[-1].startswith("fingerprint")


@pytest.mark.parametrize(
    ("name", "harm", "what"),
    [
        ("model.safetensors", cut, "is damaged ("),
        ("trainer.safetensors", cut, "is damaged ("),
        ("trainer.json", cut, "is not valid JSON ("),
        ("config.json", cut, "is not valid JSON ("),
        ("vocab.txt", Path.unlink, "is missing"),
        ("trainer.safetensors", Path.unlink, "is missing"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_run_described(
    run: Path, name: str, harm: object, what: str
) -> None:
    newest = run / "checkpoints" / "step-00000004"
    harm(newest / name)  # type: ignore[operator]
    found = described(run)
    assert (found.step, found.checkpoints) == (4, ["step-00000002", "step-00000004"])
    assert found.last_training is not None
    assert found.model is None
    [sentence] = found.damage
    assert sentence.startswith(f"{newest / name} {what}")
    assert sentence.endswith(f"; delete {newest} to continue from the previous checkpoint")
    # The only checkpoint has no previous one.
    shutil.rmtree(run / "checkpoints" / "step-00000002")
    [sentence] = described(run).damage
    assert sentence.endswith(f"; delete {newest} to start over")


def test_a_damaged_model_of_a_finished_run_is_named(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    cut(out / "model.safetensors")
    found = described(out)
    assert found.finished
    assert found.model is not None
    assert found.model.path == str(out / "checkpoints" / "step-00000004")
    [sentence] = found.damage
    assert sentence.startswith(f"{out / 'model.safetensors'} is damaged (")
    assert sentence.endswith(f"{RESUME} to write it again")


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_shard_that_is_missing_or_cut_is_named(
    toy_corpus: Path, tmp_path: Path, split: str
) -> None:
    out = tmp_path / "corpus"
    shutil.copytree(toy_corpus, out)
    tokens = out / f"{split}-00000" / "tokens.npy"
    cut(tokens)
    with pytest.raises(FolderError, match=f"^{tokens} "):
        describe(str(out))
    shutil.rmtree(tokens.parent)
    with pytest.raises(FolderError, match=f"^{tokens} is missing; "):
        describe(str(out))


def test_a_fine_tuning_that_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "job.json").write_text("{}")
    with pytest.raises(FolderError, match=r"unfinished .*\(0 runs finished\)"):
        describe(str(tmp_path))
    (tmp_path / "runs" / "one" / "result.json").write_text("{}")
    with pytest.raises(FolderError, match=r"unfinished .*\(1 run finished\)"):
        describe(str(tmp_path))
    with pytest.raises(FolderError, match=r"holds no config\.json; the fine-tuning in it has not"):
        load_config(tmp_path)


def test_the_text_of_a_table_is_in_a_column_that_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review,mark\none,1\nthree,2\n")
    with pytest.raises(DataError, match=r"no column 'text'; found 'review', 'mark': .*text_field"):
        describe(str(path))
    found = describe(str(path), text_field="review")
    assert isinstance(found, TextInfo)
    assert (found.documents, found.characters) == (2, 8)


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("classification", {"pooler": 32 * 33, "output layer": 2 * 33}),
        ("question-answering", {"output layer": 2 * 33}),
        (None, {"pooler": 32 * 33, "next-sentence head": 2 * 33, "masked-word head": 32 * 35 + 5}),
    ],
)
def test_heads_are_called_what_they_are(tmp_path: Path, kind: str | None, head: dict[str, int]):
    config = BertConfig(vocab_size=5, **SHAPE)
    model: TaskModel | BertForPretraining = BertForPretraining(config)
    if kind is not None:
        model = BertForTask(config, head_of(kind, labels=("no", "yes")))
    save_model(tmp_path, model, Tokenizer(SPECIAL), card="")
    found = describe(str(tmp_path))
    assert isinstance(found, ModelInfo)
    encoder = {"word embeddings", "position and segment embeddings", "attention", "feed-forward"}
    assert {name: found.parts[name] for name in found.parts if name not in encoder} == head


def test_what_is_written_beside_the_parameters_is_not_counted(tmp_path: Path) -> None:
    model = BertForPretraining(BertConfig(vocab_size=5, **SHAPE))
    save_model(tmp_path, model, Tokenizer(SPECIAL), card="")
    found = describe(str(tmp_path))
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["bert.embeddings.position_ids"] = torch.arange(64)[None]
    tensors["cls.predictions.decoder.weight"] = (
        tensors["bert.embeddings.word_embeddings.weight"] + 0
    )
    save_file(tensors, tmp_path / "model.safetensors")
    again = describe(str(tmp_path))
    assert isinstance(found, ModelInfo)
    assert isinstance(again, ModelInfo)
    assert again.parts == found.parts
    assert again.parameters == found.parameters == sum(p.numel() for p in model.parameters())


def test_weights_in_shards_are_counted_and_unknown_keys_named(tmp_path: Path, capsys: Any) -> None:
    model = BertForPretraining(BertConfig(vocab_size=5, **SHAPE))
    save_model(tmp_path, model, Tokenizer(SPECIAL), card="")
    whole = describe(str(tmp_path))
    tensors = load_file(tmp_path / "model.safetensors")
    files = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in files if files[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    found = describe(str(tmp_path))
    assert isinstance(found, ModelInfo)
    assert isinstance(whole, ModelInfo)
    assert (found.parameters, found.parts) == (whole.parameters, whole.parts)
    assert found.weight_bytes > 4 * found.parameters

    keys = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(keys | {"license": "mit"}))
    assert main(["info", str(tmp_path)]) == 0
    warning = f"warning: {tmp_path / 'config.json'}: unknown keys are ignored: license.\n"
    assert capsys.readouterr().err == warning
