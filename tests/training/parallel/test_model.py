"""Compiled blocks, as a GPU would run them."""

import random
from typing import Any

import pytest
import torch
from torch import nn

from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.model import Bert
from bertsmith.models.modules.packed import pack
from bertsmith.training.parallel.model import compile_blocks


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # Dynamo looks at it.
def test_other_shapes_compile_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """On `meta`, which takes the way of a device other than a CPU and computes nothing."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_ = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda module, **how: compile_(module, backend=backend, **how)
    )
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    model = Bert(config).to("meta").train()
    compile_blocks(model)
    chance = random.Random(0)
    counts = []
    for _ in range(6):
        rows = [[2] * chance.randint(3, 60) for _ in range(chance.randint(2, 9))]
        predicted = torch.zeros(chance.randint(2, 20), dtype=torch.int64, device="meta")
        hidden_RD = model(pack(rows).to(torch.device("meta")), predicted)
        assert hidden_RD.shape == (len(predicted), 32)
        hidden_RD.sum().backward()
        counts.append(len(graphs))
    # One for the last block, which computes some rows only, and one for all the others.
    assert counts == [2] * 6
