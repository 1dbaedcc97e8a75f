"""The ONNX graph of a BERT with any head gives what torch gives, in both runtimes."""

import numpy as np
import pytest
import torch
from torch import nn

from bertsmith.core.errors import UsageError
from bertsmith.core.runtime import World
from bertsmith.inference.backends.opening import open_model
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForNextSentence, BertForPretraining
from bertsmith.models.bert.model import Bert
from bertsmith.models.bert.tasks import BertForTask, TaskBatch
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build, onnx_graph
from bertsmith.models.head_config import FeatureBased, HeadConfig
from bertsmith.models.modules.packed import Packed, pack
from bertsmith.training.parallel.place import Place

PLACE = Place(World(), torch.device("cpu"), "fp32")
LENGTHS = [5, 1, 64, 17]
HEADS = {
    "text": HeadConfig(level="text", labels=("a", "b", "c")),
    "labels": HeadConfig(level="text", labels=("a", "b"), loss="binary-cross-entropy"),
    "number": HeadConfig(level="text", loss="squared-error"),
    "choice": HeadConfig(level="choice"),
    "words": HeadConfig(level="token", labels=("a", "b")),
    "span": HeadConfig(level="span"),
    "text, bilstm": HeadConfig(level="text", labels=("a", "b"), bilstm=True),
    "words, bilstm": HeadConfig(level="token", labels=("a", "b"), bilstm=True),
    "concat": HeadConfig(
        level="token", labels=("a", "b"), features=FeatureBased(layers=(-1, -2), width=16)
    ),
    "sum": HeadConfig(
        level="token",
        labels=("a", "b"),
        features=FeatureBased(layers=(0, -1), width=16, combine="sum"),
    ),
}


def config(**settings) -> BertConfig:
    return BertConfig(
        **{
            "vocab_size": 100,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
        }
        | settings
    )


def random_weights(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def packed() -> Packed:
    draw = np.random.default_rng(0)
    rows = [draw.integers(0, 100, length).tolist() for length in LENGTHS]
    segments = [[0] * (length // 2) + [1] * (length - length // 2) for length in LENGTHS]
    return pack(rows, segments)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("left_to_right", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_tasks(name, left_to_right, runtime, packed):
    model = random_weights(BertForTask(config(is_decoder=left_to_right), HEADS[name]))
    batch = TaskBatch(packed, None, words_P=torch.tensor([0, 4, 5, 6, 69, 70, 86]))
    expected = open_model("torch", model, PLACE).task_scores(batch)
    found = open_model(runtime, model, PLACE).task_scores(batch)
    assert found.shape == expected.shape
    assert float(expected.std(0).max()) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("left_to_right", [False, True])
@pytest.mark.parametrize("pair_task", [False, True])
def test_heads_of_pretraining(pair_task, left_to_right, runtime, packed):
    model = random_weights(
        BertForPretraining(config(is_decoder=left_to_right), pair_task=pair_task)
    )
    torch_backend, backend = (open_model(name, model, PLACE) for name in ("torch", runtime))
    places_P = torch.tensor([1, 4, 69, 70, 86])
    expected = torch_backend.word_log_probabilities(packed, places_P)
    assert expected.shape == (5, 100)
    np.testing.assert_allclose(
        backend.word_log_probabilities(packed, places_P), expected, atol=2e-5
    )
    assert backend.judges_pairs == pair_task
    if pair_task:
        found = backend.pair_scores(packed)
        np.testing.assert_allclose(found, torch_backend.pair_scores(packed), atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_next_sentence_alone(runtime, packed):
    model = random_weights(BertForNextSentence(config()))
    expected = open_model("torch", model, PLACE).pair_scores(packed)
    np.testing.assert_allclose(
        open_model(runtime, model, PLACE).pair_scores(packed), expected, atol=1e-5
    )


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("layers", [(3,), (0, 3, 2)])
@pytest.mark.parametrize("build", [Bert, BertForPretraining])
def test_states(build, layers, runtime, packed):
    model = random_weights(build(config()))
    expected = open_model("torch", model, PLACE).states(packed, layers)
    assert expected.shape == (sum(LENGTHS), 32)
    found = open_model(runtime, model, PLACE).states(packed, layers)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize(
    "activation", ["gelu", "gelu_new", "relu", "silu", "tanh", "gelu_pytorch_tanh"]
)
def test_activations(activation, runtime, packed):
    model = random_weights(Bert(config(hidden_act=activation)))
    expected = open_model("torch", model, PLACE).states(packed, (3,))
    found = open_model(runtime, model, PLACE).states(packed, (3,))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_family_without_a_graph_is_refused():
    elmo = ElmoConfig(vocab_size=6, characters=12, filters=((1, 4),), projection=8, lstm_width=8)
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a")
    with pytest.raises(UsageError, match="ELMo"):
        onnx_graph(build(elmo, pieces=pieces, pair_task=False))
