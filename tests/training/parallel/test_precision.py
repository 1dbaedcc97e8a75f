"""Precision and micro-batch size by hardware."""

import numpy as np
import pytest
import torch

from bertsmith.core.errors import SystemFault, UsageError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import ElmoForPretraining
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.modules.packed import pack
from bertsmith.training.parallel import precision
from bertsmith.training.parallel.precision import (
    bf16_is_faster,
    choose_micro_tokens,
    choose_precision,
    explaining_memory,
    has_native_bf16,
    matrix_rate,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("avx512", "amx", "native"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_bf16_only_where_the_hardware_has_it(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, native: bool
) -> None:
    # The names are private in torch: this test fails where a release drops them.
    assert isinstance(torch.cpu._is_avx512_bf16_supported(), bool)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(precision, "has_native_bf16", has_native_bf16)  # Not that of the fixture.
    assert has_native_bf16(CPU) is native
    assert choose_precision("fp32", CPU) == "fp32"
    if native:
        assert choose_precision("bf16", CPU) == "bf16"
    else:
        with pytest.raises(UsageError, match="precision='bf16': this cpu has no bf16"):
            choose_precision("bf16", CPU)


@pytest.mark.parametrize(("native", "fast"), [(False, True), (True, False), (True, True)])
def test_auto_is_the_faster_precision(
    monkeypatch: pytest.MonkeyPatch, native: bool, fast: bool
) -> None:
    """A clock that runs twice as fast while bf16 is multiplied, or half as fast."""
    moments = iter(np.cumsum([0, 2, 0, 1 if fast else 4] * 6).tolist())
    monkeypatch.setattr(precision, "has_native_bf16", lambda device: native)
    monkeypatch.setattr(precision, "perf_counter", lambda: next(moments))
    bf16_is_faster.cache_clear()
    assert choose_precision("auto", CPU) == ("bf16" if native and fast else "fp32")
    bf16_is_faster.cache_clear()


def test_the_matrix_rate_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(np.cumsum([0, 5, 0, 4, 0, 2, 0, 3, 0, 4, 0, 5]).tolist())
    matrix_rate.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(precision, "perf_counter", lambda: next(moments))
        assert matrix_rate(CPU, "fp32") == 2 * 512**3 / 2
    matrix_rate.cache_clear()
    state = torch.get_rng_state()
    assert 1e8 < matrix_rate(CPU, "fp32") < 1e14
    assert torch.equal(torch.get_rng_state(), state)


def test_micro_batches_fill_a_third_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    base = BertConfig(vocab_size=9).bytes_per_token
    assert choose_micro_tokens(CPU, bytes_per_token=base) == 4096
    free = {"bytes": 140 * 2**30}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["bytes"], 0))
    cuda = torch.device("cuda")
    assert choose_micro_tokens(cuda, bytes_per_token=base) == 65536
    assert GptConfig(vocab_size=9).bytes_per_token == base == 24 * 2 * 768 * 12
    # A token of the published ELMo takes as much memory as two of BERT Base.
    assert choose_micro_tokens(cuda, bytes_per_token=ElmoConfig(vocab_size=9).bytes_per_token) == (
        32768
    )
    free["bytes"] = 14 * 2**30
    assert choose_micro_tokens(cuda, bytes_per_token=base) == 8192
    assert choose_micro_tokens(cuda, bytes_per_token=20 * base) == 4096
    free["bytes"] = 0
    assert choose_micro_tokens(cuda, bytes_per_token=base) == 4096


def test_an_elmo_keeps_about_what_its_shape_says() -> None:
    config = ElmoConfig(
        vocab_size=405,
        characters=24,
        filters=((1, 32), (2, 32), (3, 64)),
        projection=32,
        lstm_width=128,
        dropout=0.1,
    )
    # Long words, none of which is there twice.
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"{n:022}" for n in range(400))]
    model = ElmoForPretraining(config, pieces).train()
    packed = pack([list(range(5 + 20 * number, 25 + 20 * number)) for number in range(20)])
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = list(model.elmo.layers(packed))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    bytes_per_token = sum(size for place, size in kept.items() if place not in weights) / 400
    assert len(states) == 3
    assert 0.8 * config.bytes_per_token < bytes_per_token <= config.bytes_per_token


def test_the_end_of_memory_is_explained() -> None:
    expected = r"Memory ran out on cpu with 4,096 tokens .*resume=True .*micro_tokens=2048"
    with pytest.raises(SystemFault, match=expected), explaining_memory(CPU, 4096):
        torch.empty(1 << 55, dtype=torch.uint8)
    with pytest.raises(SystemFault, match=expected), explaining_memory(CPU, 4096):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(RuntimeError, match="must match"), explaining_memory(CPU, 4096):
        torch.ones(2) + torch.ones(3)
