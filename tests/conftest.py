"""Fixtures that more than one room's tests need."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bertsmith.checkpoints.folder import save_model
from bertsmith.core.runtime import core_count
from bertsmith.core.storage import checksum, write_sealed
from bertsmith.corpus.manifest import VERSION, Manifest, ShardInfo
from bertsmith.corpus.shard_writer import write_shard
from bertsmith.corpus.shards import Split
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer
from bertsmith.training.parallel import precision

pytest.register_assert_rewrite("pages")

# Tests are many small operations, on which two threads lose time waiting for each other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def signals_that_are_not_ignored() -> Iterator[None]:
    """Under `nohup` the suite, and what it starts, would ignore SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True, scope="session")
def pages_in_english() -> Iterator[None]:
    """Pages are asserted in English, whatever the locale of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "C.UTF-8")
        yield


@pytest.fixture(autouse=True, scope="session")
def hardware_without_bf16() -> Iterator[None]:
    """Numbers are asserted for fp32, so `--precision auto` means that here on any CPU."""
    native = precision.has_native_bf16
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            precision, "has_native_bf16", lambda device: device.type != "cpu" and native(device)
        )
        yield


PEAK_KILOBYTES = (
    "int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
)
"""An expression for a program of its own: its peak. `getrusage` counts that of its parent too."""

_RAY = """
import sys

import ray

ray.init(address="local", num_cpus=int(sys.argv[1]), include_dashboard=False)
print("at", ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """The address of a Ray of this machine's cores: the tests share one, because it starts slowly.

    Ray waits half a minute for its own processes and gives up, which a busy machine may need more
    than once. It ends with the process that started it, and that one when its input is closed.
    """
    changes = {
        "RAY_AUTH_MODE": "disabled",  # or other processes could not use it
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_server_port_wait_time_s": "300",
    }
    address = None
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", _RAY, str(core_count())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | changes,
        )
        assert process.stdout is not None
        lines = (line.split() for line in process.stdout)
        address = next((line[1] for line in lines if line[:1] == ["at"]), None)
        if address:
            break
    assert address, "Ray did not start"
    yield address
    process.communicate()


TOY_VOCAB = (*SPECIAL, *(f"w{number}" for number in range(40)), *(f"##p{n}" for n in range(5)))


def write_toy_corpus(
    folder: Path, *, seed: int = 0, documents: int = 60, unused: Sequence[str] = ()
) -> Path:
    """A corpus of `documents` train and 12 held-out documents over 50 pieces.

    A document keeps to five words, so that masked words and next sentences can be learned. The
    vocabulary has the `unused` pieces besides.
    """
    generator = np.random.default_rng(seed)
    tokenizer = Tokenizer([*TOY_VOCAB, *unused])
    tokenizer.save(folder / "tokenizer")
    counts_V = np.zeros(len(tokenizer), dtype=np.int64)

    def split(name: str, size: int) -> ShardInfo:
        with write_shard(folder / f"{name}-00000", vocab_size=len(tokenizer)) as writer:
            for _ in range(size):
                words = generator.choice(np.arange(5, len(TOY_VOCAB)), 5, replace=False)
                lengths = generator.integers(3, 12, generator.integers(4, 9))
                ids_T = generator.choice(words, lengths.sum())
                if name == "train":
                    np.add.at(counts_V, ids_T, 1)
                writer.append(
                    ids_T,
                    ids_T < 45,
                    sentence_lengths=lengths,
                    document_sentences=np.array([len(lengths)]),
                )
        return writer.info

    train, heldout = split("train", documents), split("heldout", 12)
    np.save(folder / "unigrams.npy", counts_V)
    manifest = Manifest(
        version=VERSION,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=len(tokenizer),
        language="en",
        segmenter="none",
        text_field="text",
        held_out=0.1,
        sources=[],
        documents_read=documents + 12,
        documents_cut=0,
        documents_kept=documents + 12,
        dropped={},
        train=[train],
        heldout=[heldout],
        unigrams_checksum=checksum(folder / "unigrams.npy"),
    )
    write_sealed(folder / "manifest.json", manifest)
    return folder


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus that takes milliseconds to make; see `write_toy_corpus`."""
    return write_toy_corpus(tmp_path_factory.mktemp("toy") / "corpus")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained model's folder with random weights, two layers of 32, that knows some words."""
    words = "red green blue old new big small warm cold kind the a ? . , - ##s".split()
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("small") / "model"
    tokenizer = Tokenizer([*SPECIAL, *words])
    save_model(folder, BertForPretraining(config), tokenizer, card="")
    return folder


Documents = Sequence[Sequence[Sequence[int]]]
MakeSplit = Callable[..., Split]


@pytest.fixture
def make_split(tmp_path: Path) -> MakeSplit:
    """Writes documents (lists of sentences of ids) as shards and maps them.

    `word_start` says by id whether a token begins a word; `shards` how many shards to write.
    """

    def make(
        documents: Documents,
        *,
        vocab_size: int,
        shards: int = 1,
        word_start: Callable[[np.ndarray], np.ndarray] = np.ones_like,
    ) -> Split:
        infos = []
        for number, part in enumerate(np.array_split(np.arange(len(documents)), shards)):
            with write_shard(tmp_path / f"train-{number:05}", vocab_size=vocab_size) as writer:
                for document in (documents[i] for i in part):
                    ids = np.array([token for sentence in document for token in sentence])
                    writer.append(
                        ids,
                        word_start(ids).astype(bool),
                        sentence_lengths=np.array([len(sentence) for sentence in document]),
                        document_sentences=np.array([len(document)]),
                    )
            infos.append(writer.info)
        return Split(tmp_path, infos if documents else [], vocab_size)

    return make


@pytest.fixture
def document_bounds() -> Callable[[Split], np.ndarray]:
    """Gives the token offset of every document of a split, and of the end."""

    def bounds(split: Split) -> np.ndarray:
        first, _ = split.sentence_ranges(np.arange(split.document_count))
        return np.append(split.sentence_starts(first), split.token_count)

    return bounds
