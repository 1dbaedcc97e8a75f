"""The tables of parameter names: each is complete, and reads what it wrote."""

import pytest
import torch

from bertsmith.core.errors import FolderError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.config import ModelConfig
from bertsmith.models.config_files import CONFIGS
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.parameters import to_ours, to_theirs

SMALL: list[ModelConfig] = [
    BertConfig(
        vocab_size=9,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=8,
    ),
    GptConfig(vocab_size=9, n_positions=8, n_embd=8, n_layer=2, n_head=2),
    ElmoConfig(vocab_size=9, characters=8, filters=((1, 3), (2, 4)), projection=8, lstm_width=4),
]


def state_of(config: ModelConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build(config, pieces=[f"p{number}" for number in range(9)], pair_task=True).state_dict()


def test_every_family_is_tried():
    assert [config.family for config in SMALL] == list(CONFIGS)


@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.family)
def test_a_state_comes_back_from_the_names_of_a_folder(config):
    ours = state_of(config)
    theirs = to_theirs(config, ours)
    assert {name.split(".")[0] for name in ours} >= {config.parameters.encoder.rstrip(".")}
    assert any(name.startswith(config.parameters.their_encoder) for name in theirs)
    assert config.parameters.word_head in theirs
    # Also with what a wrapper puts before every name.
    for names in (theirs, {f"module.{name}": tensor for name, tensor in theirs.items()}):
        back = to_ours(config, names, source="x")
        assert back.keys() == ours.keys()
        assert all(torch.equal(back[name], tensor) for name, tensor in ours.items())


@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.family)
def test_a_tensor_without_a_row_is_refused(config):
    with pytest.raises(KeyError, match="strange"):
        to_theirs(config, state_of(config) | {"strange": torch.zeros(1)})
    theirs = to_theirs(config, state_of(config)) | {"strange": torch.zeros(1)}
    with pytest.raises(FolderError, match=f"x: 1 tensors .* {config.display_name} .* strange"):
        to_ours(config, theirs, source="x")


@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.family)
def test_rows_name_the_field_that_counts_their_parts(config):
    theirs = to_theirs(config, state_of(config))
    for field, pattern in config.parameters.numbered.items():
        value = getattr(config, field)
        found = {int(match[1]) for name in theirs if (match := pattern.match(name))}
        assert found == set(range(value if isinstance(value, int) else len(value))), field
