"""Precision and micro-batch size by hardware; a launcher's restart under gloo."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bertsmith.core.errors import SystemFault, UsageError
from bertsmith.core.runtime import World
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import ElmoForPretraining
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.modules.packed import pack
from bertsmith.training import parallel
from bertsmith.training.parallel import (
    Place,
    bf16_is_faster,
    choose_micro_tokens,
    choose_precision,
    explaining_memory,
    has_native_bf16,
    join,
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
    monkeypatch.setattr(parallel, "has_native_bf16", has_native_bf16)  # Not that of the fixture.
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
    monkeypatch.setattr(parallel, "has_native_bf16", lambda device: native)
    monkeypatch.setattr(parallel, "perf_counter", lambda: next(moments))
    bf16_is_faster.cache_clear()
    assert choose_precision("auto", CPU) == ("bf16" if native and fast else "fp32")
    bf16_is_faster.cache_clear()


def test_autocast_is_what_the_precision_says() -> None:
    product = {}
    for precision in ("fp32", "bf16"):
        with Place(World(), CPU, precision).autocast():  # type: ignore[arg-type]
            product[precision] = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    assert product == {"fp32": torch.float32, "bf16": torch.bfloat16}


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


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    # The one that would have a GPU says so too: the others may not speak.
    with (
        pytest.raises(UsageError, match=r"2 processes .* has 1 GPU.* --nproc-per-node 1"),
        join("fp32"),
    ):
        pass


def test_the_end_of_memory_is_explained() -> None:
    expected = r"Memory ran out on cpu with 4,096 tokens .*resume=True .*micro_tokens=2048"
    with pytest.raises(SystemFault, match=expected), explaining_memory(CPU, 4096):
        torch.empty(1 << 55, dtype=torch.uint8)
    with pytest.raises(SystemFault, match=expected), explaining_memory(CPU, 4096):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(RuntimeError, match="must match"), explaining_memory(CPU, 4096):
        torch.ones(2) + torch.ones(3)


def test_seeding_needs_no_stack_trace_and_decides_the_draws() -> None:
    place = Place(World(), CPU, "fp32")
    place.seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(3))


_WORKER = """
import os, signal, sys, time
import torch
from bertsmith.training.parallel import join
with join("fp32") as place:
    total = place.total([1.0, float(place.world.rank)])
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        if place.world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        place.total([0.0])
    answer = place.first_decides(lambda: {"from": place.world.rank})
    open(sys.argv[1] + str(place.world.rank), "w").write(f"{total} {answer}")
"""


def test_a_killed_worker_is_restarted_under_gloo(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(_WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, "--max-restarts=1", str(script), str(tmp_path / "out")],
        check=True,
        timeout=120,
        env=environment,
        capture_output=True,
    )
    assert (tmp_path / "out0").read_text() == "[2.0, 1.0] {'from': 0}"
    assert (tmp_path / "out1").read_text() == "[2.0, 1.0] {'from': 0}"
