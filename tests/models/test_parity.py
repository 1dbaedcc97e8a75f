"""Equality with `transformers` on random tiny models: outputs, losses, gradients, round trips."""

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertForPreTraining,
    BertModel,
)
from transformers import BertConfig as TheirConfig

from bertsmith.checkpoints.folder import load_pretraining, save_model
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.modules.packed import PretrainBatch, pack
from bertsmith.models.parameters import to_theirs
from bertsmith.text.tokenizer.tokenizer import Tokenizer

VOCAB = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "##a", "##b")


def small_config(**changes) -> BertConfig:
    shape = {
        "vocab_size": len(VOCAB),
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 96,
        "max_position_embeddings": 320,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.2,
    }
    return BertConfig(**(shape | changes))


def random_batch(seed: int, lengths: list[int], *, segments: bool = True) -> PretrainBatch:
    draw = np.random.default_rng(seed)
    ids = [draw.integers(5, len(VOCAB), length).tolist() for length in lengths]
    kinds = [
        (np.arange(length) >= draw.integers(1, length + 1)).astype(int).tolist()
        if segments
        else [0] * length
        for length in lengths
    ]
    packed = pack(ids, kinds)
    masked_P = torch.from_numpy(
        np.sort(draw.choice(sum(lengths), max(1, sum(lengths) // 6), replace=False))
    )
    labels_P = torch.from_numpy(draw.integers(0, len(VOCAB), len(masked_P)))
    next_B = torch.from_numpy(draw.integers(0, 2, len(lengths)))
    return PretrainBatch(packed, masked_P, labels_P, next_B)


def padded_inputs(batch: PretrainBatch) -> tuple[dict[str, Tensor], Tensor]:
    """The batch as `transformers` wants it, and which cells are real tokens."""
    lengths = batch.packed.lengths
    shape = (len(lengths), max(lengths))
    real_BL = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    inputs = {}
    for name, values_T in (
        ("input_ids", batch.packed.ids_T),
        ("token_type_ids", batch.packed.segments_T),
    ):
        inputs[name] = torch.zeros(shape, dtype=torch.int64)
        inputs[name][real_BL] = values_T
    inputs["attention_mask"] = real_BL.long()
    return inputs, real_BL


def their_twin(model: BertForPretraining) -> BertForPreTraining:
    config = TheirConfig(**msgspec.structs.asdict(model.config))
    theirs = BertForPreTraining(config).eval()
    state = to_theirs(model.config, model.state_dict())
    report = theirs.load_state_dict(state, strict=False)
    assert not report.unexpected_keys
    assert set(report.missing_keys) <= {
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
    }
    return theirs


LENGTHS = {
    "one": [1],
    "ragged": [5, 17, 1, 9, 30, 2],
    "equal": [24] * 6,
    "runs": [32, 32, 32, 20, 20, 7],
    "beyond the dense limit": [300, 300, 270, 40],
}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_outputs_losses_and_gradients_equal(lengths, segments, activation):
    torch.manual_seed(3)
    ours = BertForPretraining(small_config(hidden_act=activation)).train()
    theirs = their_twin(ours).train()
    batch = random_batch(7, lengths, segments=segments)
    inputs, real_BL = padded_inputs(batch)
    output = theirs(**inputs)
    hidden_TD = ours.bert(batch.packed)
    torch.testing.assert_close(
        ours.logits(hidden_TD), output.prediction_logits[real_BL], atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        ours.pair_logits(hidden_TD[batch.packed.firsts_B]),
        output.seq_relationship_logits,
        atol=1e-5,
        rtol=1e-5,
    )
    logits_PV = output.prediction_logits[real_BL][batch.masked_P]
    their_mlm = torch.nn.functional.cross_entropy(logits_PV, batch.labels_P, reduction="sum")
    their_nsp = torch.nn.functional.cross_entropy(
        output.seq_relationship_logits, batch.next_B, reduction="sum"
    )
    losses = ours.losses(batch)
    torch.testing.assert_close(losses["mlm"], their_mlm, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(losses["nsp"], their_nsp, rtol=1e-6, atol=1e-5)

    (losses["mlm"] / len(batch.masked_P) + losses["nsp"] / len(lengths)).backward()
    (their_mlm / len(batch.masked_P) + their_nsp / len(lengths)).backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    mapped = to_theirs(ours.config, gradients)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(mapped[name], parameter.grad, atol=2e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("pair_task", [True, False])
def test_folder_loads_in_transformers_and_comes_back_identical(tmp_path, pair_task):
    torch.manual_seed(1)
    ours = BertForPretraining(small_config(), pair_task=pair_task).eval()
    save_model(tmp_path / "a", ours, Tokenizer(VOCAB), card="# A model\n")
    kind = BertForPreTraining if pair_task else BertForMaskedLM
    theirs, report = kind.from_pretrained(tmp_path / "a", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    batch = random_batch(2, [12, 31, 4])
    inputs, real_BL = padded_inputs(batch)
    with torch.no_grad():
        output = theirs.eval()(**inputs)
        hidden_TD = ours.bert(batch.packed)
        logits = output.prediction_logits if pair_task else output.logits
        torch.testing.assert_close(
            ours.logits(hidden_TD),
            logits[real_BL],
            atol=1e-5,
            rtol=1e-5,
        )
    assert AutoTokenizer.from_pretrained(tmp_path / "a")("ab c")["input_ids"] == [2, 5, 32, 7, 3]

    theirs.save_pretrained(tmp_path / "b")
    written, rewritten = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert set(written) == set(rewritten)
    for name, tensor in written.items():
        assert torch.equal(tensor, rewritten[name]), name
    back, fresh = load_pretraining(tmp_path / "b")
    assert fresh == []
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name


def test_bare_encoder_of_transformers_loads_with_fresh_heads(tmp_path):
    theirs = BertModel(TheirConfig(**msgspec.structs.asdict(small_config()))).eval()
    theirs.save_pretrained(tmp_path)
    ours, fresh = load_pretraining(tmp_path, pair_task=True, fresh_heads=True)
    assert fresh == ["mlm", "next_sentence"]
    batch = random_batch(5, [8, 3])
    inputs, real_BL = padded_inputs(batch)
    with torch.no_grad():
        output = theirs(**inputs)
        hidden_TD = ours.bert(batch.packed)
        torch.testing.assert_close(
            hidden_TD, output.last_hidden_state[real_BL], atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            ours.pooler(hidden_TD[batch.packed.firsts_B]),
            output.pooler_output,
            atol=1e-5,
            rtol=1e-5,
        )
