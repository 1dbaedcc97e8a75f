"""Models that `transformers` fine-tuned or saved, asked here: the same answers."""

import json

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForNextSentencePrediction,
    BertForSequenceClassification,
    OpenAIGPTConfig,
    OpenAIGPTForSequenceClassification,
    OpenAIGPTTokenizer,
)

from bertsmith.core.errors import FolderError, UsageError
from bertsmith.inference.predictor import Model
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

LETTERS = "abcdefghiklnoprstuwy"
MERGES = [("t", "h"), ("th", "e</w>"), ("k", "i"), ("n", "g</w>"), ("ki", "ng</w>")]
PIECES = [*LETTERS, *(f"{c}</w>" for c in f"{LETTERS},."), *(a + b for a, b in MERGES)]
TEXTS = ["the king", "a", "The kings sing, and the rest is a long story.", "thing the king"]


def write_gpt(folder, *, vocab_size: int, labels: int = 3, **changes):
    torch.manual_seed(0)
    config = OpenAIGPTConfig(
        vocab_size=vocab_size,
        n_positions=40,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.4,
        num_labels=labels,
        **changes,
    )
    theirs = OpenAIGPTForSequenceClassification(config).eval()
    theirs.save_pretrained(folder)
    return theirs


def check_answers(folder, theirs, texts=TEXTS):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answers = Model(folder).predict(texts)
    for text, answer in zip(texts, answers, strict=True):
        with torch.no_grad():
            logits = theirs(**tokenizer(text, return_tensors="pt")).logits[0]
        if len(logits) == 1:
            assert answer.value == pytest.approx(float(logits), abs=1e-5)
            continue
        expected = logits.softmax(-1).tolist()
        found = [answer.probabilities[f"LABEL_{number}"] for number in range(len(expected))]
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("labels", [3, 1])
@pytest.mark.parametrize("whole", [True, False])
def test_classification_by_a_gpt_of_transformers(tmp_path, labels, whole):
    """OpenAI's vocabulary has no special tokens: the model reads the text alone."""
    vocab = {piece: number for number, piece in enumerate(["<unk>", *PIECES])}
    theirs = write_gpt(tmp_path, vocab_size=len(vocab), labels=labels)
    OpenAIGPTTokenizer(vocab=vocab, merges=MERGES).save_pretrained(tmp_path)
    if not whole:
        (tmp_path / "tokenizer.json").unlink()
        (tmp_path / "vocab.json").write_text(json.dumps(vocab))
        rows = "".join(f"{a} {b}\n" for a, b in MERGES)
        (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{rows}")
    check_answers(tmp_path, theirs)
    with pytest.raises(UsageError, match="Give single texts"):
        Model(tmp_path).predict([("the king", "the thing")])


@pytest.mark.parametrize("frame", ["prompt", "extract", "text"])
def test_a_gpt_reads_what_its_tokenizer_puts_around_a_text(tmp_path, frame):
    tokenizer = Tokenizer([*SPECIAL, *PIECES], merges=MERGES)
    theirs = write_gpt(tmp_path, vocab_size=len(tokenizer))
    tokenizer.save(tmp_path, model_max_length=40, frame=frame)
    if frame == "text":
        config = json.loads((tmp_path / "tokenizer_config.json").read_text())
        config["model_input_names"] = ["input_ids", "attention_mask"]
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    check_answers(tmp_path, theirs)


def test_a_gpts_longest_text_is_read_whole(tmp_path):
    vocab = {piece: number for number, piece in enumerate(["<unk>", *PIECES])}
    theirs = write_gpt(tmp_path, vocab_size=len(vocab))
    OpenAIGPTTokenizer(vocab=vocab, merges=MERGES).save_pretrained(tmp_path)
    check_answers(tmp_path, theirs, [" ".join("abcde" * 8)])


def test_a_gpt_without_its_token_is_still_damaged(tmp_path):
    tokenizer = Tokenizer([*SPECIAL, *PIECES], merges=MERGES)
    write_gpt(tmp_path, vocab_size=len(tokenizer))
    tokenizer.save(tmp_path, frame="extract")
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"bertsmith_task": {"level": "text"}})
    )
    with pytest.raises(FolderError, match=r"extract_id.* is missing"):
        Model(tmp_path)


WORDS = ["the", "king", "sings", "a", "song", "."]


def write_bert(folder, kind, **changes):
    tokenizer = Tokenizer([*SPECIAL, *WORDS])
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
        **changes,
    )
    theirs = kind(config).eval()
    theirs.save_pretrained(folder)
    tokenizer.save(folder)
    return theirs


def test_next_sentence_of_a_folder_with_that_head_alone(tmp_path):
    theirs = write_bert(tmp_path, BertForNextSentencePrediction)
    a, b = "the king sings .", "a song ."
    inputs = AutoTokenizer.from_pretrained(tmp_path)(a, b, return_tensors="pt")
    with torch.no_grad():
        expected = float(theirs(**inputs).logits.softmax(-1)[0, 0])
    predictor = Model(tmp_path)
    assert predictor.next_sentence(a, b) == pytest.approx(expected, abs=1e-5)
    assert predictor.embed([a]).shape == (1, 16)
    with pytest.raises(UsageError, match="has no head that predicts words"):
        predictor.fill_mask("the [MASK] .")


def test_a_pair_needs_two_segments(tmp_path):
    theirs = write_bert(tmp_path / "a", BertForSequenceClassification, type_vocab_size=1)
    predictor = Model(tmp_path / "a")
    inputs = AutoTokenizer.from_pretrained(tmp_path / "a")("the king .", return_tensors="pt")
    with torch.no_grad():
        expected = float(theirs(**inputs).logits.softmax(-1)[0, 0])
    [answer] = predictor.predict(["the king ."])
    assert answer.probabilities["LABEL_0"] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(UsageError, match=r"has 1 segment .* a pair of texts needs 2"):
        predictor.predict([("the king .", "a song .")])
    write_bert(tmp_path / "b", BertForNextSentencePrediction, type_vocab_size=1)
    with pytest.raises(UsageError, match=f"{tmp_path / 'b'} has 1 segment"):
        Model(tmp_path / "b").next_sentence("the king .", "a song .")
