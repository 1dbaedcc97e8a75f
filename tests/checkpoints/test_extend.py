"""A model with a larger vocabulary: what its new rows are, and that the rest is as before."""

import json

import pytest
import torch
from safetensors.torch import load_file
from their_models import VOCAB, their_folder
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
)

from bertsmith.checkpoints.extend import extend_tokenizer
from bertsmith.checkpoints.folder import load_any
from bertsmith.cli.main import main
from bertsmith.core.errors import SystemFault, UsageError

WORD = "w1t"  # w1 and ##t
TEXT = f"w3 {WORD} w5 w1s. " * 6


@pytest.fixture
def text(tmp_path):
    (tmp_path / "domain.txt").write_text(TEXT)
    return str(tmp_path / "domain.txt")


@pytest.mark.parametrize(
    "kind", [BertModel, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification]
)
def test_new_rows_are_the_mean_of_the_pieces_and_old_outputs_stay(tmp_path, text, kind):
    their_folder(tmp_path / "model", kind)
    done = extend_tokenizer(tmp_path / "model", [text], out=tmp_path / "out", size=1)
    [added] = done.added
    assert added.word == "w1s"  # Both save as much, so the first by name.
    assert done.vocab_size == len(VOCAB) + 1
    before = load_file(tmp_path / "model" / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in after.items():
        old = next(before[other] for other in (name, name.removeprefix("bert.")) if other in before)
        torch.testing.assert_close(tensor[: len(old)], old, rtol=0, atol=0)
        if name.endswith(("word_embeddings.weight", "predictions.bias")):
            mean = old[list(added.replaces)].mean(0)
            torch.testing.assert_close(tensor[len(old) :], mean[None])
        else:
            assert tensor.shape == old.shape
    model = kind.from_pretrained(tmp_path / "out").eval()
    assert model.config.vocab_size == len(VOCAB) + 1
    ids = torch.tensor([[2, 7, 9, 11, 3]])
    with torch.inference_mode():
        ours = model(ids)[0]
        theirs = kind.from_pretrained(tmp_path / "model").eval()(ids)[0]
    torch.testing.assert_close(ours[..., : theirs.shape[-1]], theirs)
    load_any(tmp_path / "out")


def test_transformers_reads_the_new_word_as_one_piece(tmp_path, text):
    their_folder(tmp_path / "model", BertForMaskedLM)
    extend_tokenizer(tmp_path / "model", [text], out=tmp_path / "out", size=2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert sorted(tokenizer.tokenize("w1t w1s w1")) == ["w1", "w1s", "w1t"]


def test_rows_that_pad_the_vocabulary_are_used_first(tmp_path, text):
    their_folder(tmp_path / "model", BertForMaskedLM, vocab_size=40)
    done = extend_tokenizer(tmp_path / "model", [text], out=tmp_path / "out", size=2)
    assert done.vocab_size == 40
    words = load_file(tmp_path / "out" / "model.safetensors")[
        "bert.embeddings.word_embeddings.weight"
    ]
    old = load_file(tmp_path / "model" / "model.safetensors")[
        "bert.embeddings.word_embeddings.weight"
    ]
    torch.testing.assert_close(words[33], old[list(done.added[0].replaces)].mean(0))
    torch.testing.assert_close(words[35:], old[35:], rtol=0, atol=0)


def test_what_belongs_to_a_fine_tuned_model_comes_along(tmp_path, text):
    their_folder(tmp_path / "model", BertForSequenceClassification)
    (tmp_path / "model" / "task.json").write_text('{"kept": true}')
    extend_tokenizer(tmp_path / "model", [text], out=tmp_path / "out", size=1)
    assert json.loads((tmp_path / "out" / "task.json").read_text()) == {"kept": True}


def test_the_command_reports_the_savings(tmp_path, text, capsys):
    their_folder(tmp_path / "model", BertForMaskedLM)
    command = ["tokenizer", "extend", str(tmp_path / "model"), text, "--out", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(found["added"]) == ["w1s", "w1t"]
    # Five words a sentence with its full stop, of which two had two pieces.
    assert found["tokens_per_word"] == {"before": pytest.approx(7 / 5), "after": 1.0}


def test_bad_input_leaves_nothing_behind(tmp_path, text, capsys):
    their_folder(tmp_path / "model", BertForMaskedLM)
    out = tmp_path / "out"
    with pytest.raises(SystemFault, match=r"gone\.txt"):
        extend_tokenizer(tmp_path / "model", [str(tmp_path / "gone.txt")], out=out)
    with pytest.raises(UsageError, match="nothing to add"):
        extend_tokenizer(tmp_path / "model", [text], out=out, min_frequency=100)
    assert not out.exists()
    assert main(["tokenizer", "extend", str(tmp_path / "model"), text, "--out", text]) == 2
    assert "--out" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["domain.txt", "model"]
