"""Structured initial weights: where the heads look, what arrives, and that the format is BERT's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bertsmith.checkpoints.folder import save_model
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.config import ModelConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.modules.packed import pack
from bertsmith.pretraining import initial_weights
from bertsmith.pretraining.initial_weights import Columns, structure, word_columns
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

VOCABULARY = 200
SPECIAL_IDS = CLS, SEP = 2, 3


def bert(**keys: object) -> BertConfig:
    usual = {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "max_position_embeddings": 512,
    }
    return BertConfig(**(usual | keys))  # type: ignore[arg-type]


def made(
    shape: ModelConfig, *, seed: int = 0, vectors: np.ndarray | None = None
) -> torch.nn.Module:
    torch.manual_seed(seed)
    pieces = [f"w{number}" for number in range(shape.vocab_size)]
    model = build(shape, pieces=pieces, pair_task=isinstance(shape, BertConfig))
    unigrams_V = torch.arange(shape.vocab_size)
    structure(model, unigrams_V=unigrams_V, vectors_VR=vectors, special_ids=SPECIAL_IDS, seed=seed)
    return model.eval()


def attention(model: torch.nn.Module, ids: list[int], segments: list[int] | None = None) -> Tensor:
    """Of the first layer, [N, L, L]."""
    encoder = model.gpt if hasattr(model, "gpt") else model.bert
    packed = pack([ids], None if segments is None else [segments])
    with torch.no_grad():
        return encoder.attention_weights(packed)[0]


@pytest.mark.parametrize("width", [64, 128, 768, 1024])
def test_two_heads_look_at_the_neighbours(width: int) -> None:
    heads = max(4, width // 64)
    model = made(bert(hidden_size=width, num_attention_heads=heads))
    ids = torch.randint(5, VOCABULARY, (128,), generator=torch.Generator().manual_seed(1)).tolist()
    weights_NLL = attention(model, ids)
    assert weights_NLL[0].diagonal(-1).min() > 0.6
    assert weights_NLL[1].diagonal(1).min() > 0.6
    # The others look about them as drawn weights do: nowhere in particular.
    assert weights_NLL[3].max() < 0.5


@pytest.mark.parametrize("width", [128, 256, 768])
def test_a_head_looks_for_the_same_word_in_the_other_segment(width: int) -> None:
    model = made(bert(hidden_size=width, num_attention_heads=4))
    first, second = list(range(10, 40)), list(range(100, 130))
    second[20] = first[3]
    first[7] = first[3]  # The same word in the same segment does not count.
    ids = [CLS, *first, SEP, *second, SEP]
    weights_LL = attention(model, ids, [0] * 32 + [1] * 31)[2]
    place = 32 + 20
    assert weights_LL[4, place] > 0.8
    assert weights_LL[8, place] > 0.8
    assert weights_LL[place, [4, 8]].sum() > 0.8
    # A word that the other segment lacks looks at a special token there.
    others = [row for row in range(1, 31) if row not in (4, 8)]
    assert weights_LL[others, -1].mean() > 0.6


def test_a_column_says_which_words_the_other_segment_lacks() -> None:
    model = made(bert(hidden_size=256))
    assert isinstance(model, BertForPretraining)
    first = list(range(10, 40))
    column = Columns.of(256, pairs=True).words
    found = []
    for shared in (0, 15, 30):
        second = first[:shared] + list(range(100, 130 - shared))
        packed = pack([[CLS, *first, SEP, *second, SEP]], [[0] * 32 + [1] * 31])
        with torch.no_grad():
            found.append(float(list(model.bert.layers(packed))[1][1:31, column].mean()))
    assert found[0] > found[1] + 0.2 > found[2] + 0.4


@pytest.mark.parametrize("paired", [True, False])
def test_of_two_heads_the_one_for_pairs_comes_first_where_there_are_pairs(paired: bool) -> None:
    torch.manual_seed(0)
    model = build(bert(num_attention_heads=2), pieces=[], pair_task=paired).eval()
    structure(
        model,
        unigrams_V=torch.ones(VOCABULARY, dtype=torch.int64),
        vectors_VR=None,
        special_ids=SPECIAL_IDS,
        seed=0,
    )
    first, second = list(range(10, 40)), list(range(100, 130))
    second[20] = first[3]
    weights_NLL = attention(model, [CLS, *first, SEP, *second, SEP], [0] * 32 + [1] * 31)
    if paired:
        assert weights_NLL[0, 4].argmax() == 52
        assert weights_NLL[1].diagonal(-1).min() > 0.6
    else:
        assert weights_NLL[0].diagonal(-1).min() > 0.6
        assert weights_NLL[1].diagonal(1).min() > 0.6


def test_heads_narrower_than_the_positions_still_look_beside() -> None:
    model = made(bert(hidden_size=64, num_attention_heads=8))
    ids = list(range(5, 69))
    weights_NLL = attention(model, ids)
    assert weights_NLL[0].diagonal(-1).mean() > 0.4
    assert weights_NLL[1].diagonal(1).mean() > 0.4


@pytest.mark.parametrize(
    "shape",
    [
        bert(is_decoder=True),
        GptConfig(vocab_size=VOCABULARY, n_embd=128, n_head=4, n_layer=2, n_positions=512),
    ],
    ids=["left to right", "gpt"],
)
def test_a_causal_model_looks_back(shape: ModelConfig) -> None:
    weights_NLL = attention(made(shape), list(range(10, 110)))
    assert weights_NLL[0].diagonal(-1).min() > 0.6
    assert weights_NLL.triu(1).max() == 0


def test_the_bias_is_the_logarithm_of_the_frequency() -> None:
    model = made(bert())
    assert isinstance(model, BertForPretraining)
    shares_V = model.mlm.bias_V.softmax(0)
    counts_V = torch.arange(VOCABULARY) + 0.5
    torch.testing.assert_close(shares_V, counts_V / counts_V.sum())


def test_elmo_starts_from_the_frequencies_too() -> None:
    shape = ElmoConfig(vocab_size=20, characters=8, lstm_width=8, projection=4, highways=1)
    model = made(shape)
    assert model.bias_V.argmax() == 19
    assert model.bias_V.argmin() == 0


def test_words_start_from_the_vectors_as_long_as_drawn_ones() -> None:
    shape = bert()
    torch.manual_seed(0)
    model = build(shape, pieces=[], pair_task=True)
    assert isinstance(model, BertForPretraining)
    words = word_columns(model.bert)
    assert words == 128 - initial_weights.POSITION_COLUMNS - 3
    vectors = np.random.default_rng(0).normal(size=(VOCABULARY, words)).astype(np.float32)
    vectors[7] = 0
    model = made(shape, vectors=vectors)
    assert isinstance(model, BertForPretraining)
    word_VD = model.bert.embeddings.word.weight.detach()
    found, expected = word_VD[8, :words], torch.from_numpy(vectors[8])
    assert torch.cosine_similarity(found, expected, dim=0) > 0.9999
    assert found.norm() == pytest.approx(0.02 * words**0.5, rel=1e-4)
    assert word_VD[7, :words].norm() > 0.1, "a piece without a vector keeps its drawn row"
    assert word_VD[:, words:].nonzero().tolist() == [[special, 0] for special in SPECIAL_IDS]


def test_a_hidden_word_is_expected_among_words_like_its_neighbours() -> None:
    """Before any training: the sum of the neighbours' vectors is at the hidden place (CBOW)."""
    shape = bert()
    rng = np.random.default_rng(0)
    words = 128 - initial_weights.POSITION_COLUMNS - 3
    topics = rng.normal(size=(2, words))
    vectors = topics[np.arange(VOCABULARY) % 2] + 0.5 * rng.normal(size=(VOCABULARY, words))
    # Strongest direction first, as singular vectors come.
    turned = np.linalg.svd(vectors, full_matrices=False)[2].T
    model = made(shape, vectors=(vectors @ turned).astype(np.float32))
    assert isinstance(model, BertForPretraining)
    with torch.no_grad():
        model.mlm.bias_V.zero_()
        right = []
        for topic in (0, 1):
            ids = [10 + topic + 2 * number for number in range(20)]
            ids[10] = 4
            hidden_PD = model.hidden(pack([ids]), torch.tensor([10]))[1]
            logits_V = model.logits(hidden_PD)[0]
            like = torch.arange(VOCABULARY) % 2 == topic
            right.append(float(logits_V[like].mean() - logits_V[~like].mean()))
    assert min(right) > 0.1


def test_weights_are_a_function_of_the_seed() -> None:
    states = [made(bert(), seed=seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    queries = "bert.blocks.0.attention.qkv.weight"
    assert not torch.equal(states[0][queries], states[2][queries])


def test_a_model_without_room_keeps_its_drawn_weights_but_for_the_bias() -> None:
    shape = bert(hidden_size=16, num_attention_heads=2, intermediate_size=32)
    torch.manual_seed(0)
    drawn = build(shape, pieces=[], pair_task=True).state_dict()
    state = made(shape).state_dict()
    assert [name for name in drawn if not torch.equal(drawn[name], state[name])] == ["mlm.bias_V"]


@pytest.mark.parametrize("layers", [1, 2, 12])
def test_every_parameter_gets_a_finite_gradient(layers: int) -> None:
    model = made(bert(num_hidden_layers=layers)).train()
    assert isinstance(model, BertForPretraining)
    packed = pack([list(range(10, 40)), list(range(20, 80))])
    first_BD, hidden_PD = model.hidden(packed, torch.tensor([3, 50]))
    (model.logits(hidden_PD).sum() + model.pair_logits(first_BD).square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_transformers_computes_the_same(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = made(bert())
    assert isinstance(model, BertForPretraining)
    pieces = [*SPECIAL, *(f"w{number}" for number in range(VOCABULARY - len(SPECIAL)))]
    save_model(tmp_path, model, Tokenizer(pieces), card="")
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path).eval()
    ids, segments = list(range(5, 65)), [0] * 30 + [1] * 30
    with torch.no_grad():
        out = theirs(torch.tensor([ids]), token_type_ids=torch.tensor([segments]))
        first_BD, hidden_PD = model.hidden(pack([ids], [segments]), torch.arange(60))
        torch.testing.assert_close(
            model.logits(hidden_PD), out.prediction_logits[0], atol=1e-5, rtol=0
        )
        torch.testing.assert_close(
            model.pair_logits(first_BD), out.seq_relationship_logits, atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("heads", [1, 16, 32])
def test_heads_of_any_width_give_finite_states(heads: int) -> None:
    model = made(bert(hidden_size=32, num_attention_heads=heads, intermediate_size=64))
    assert isinstance(model, BertForPretraining)
    with torch.no_grad():
        assert torch.isfinite(model.bert(pack([list(range(5, 40))]))).all()


@pytest.mark.parametrize("types", [1, 2, 3])
def test_segments_that_there_are_differ(types: int) -> None:
    model = made(bert(type_vocab_size=types))
    assert isinstance(model, BertForPretraining)
    segments = {tuple(row.tolist()) for row in model.bert.embeddings.segment.weight}
    assert len(segments) == types
