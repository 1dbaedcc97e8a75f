"""Damaged sources of every layout: a model or one sentence, soon, and nothing half-written."""

import random
import time

import pytest
import torch
from safetensors.torch import load_file
from their_models import VOCAB, google_folder, their_folder, their_model, write_vocab
from transformers import BertForMaskedLM, BertForPreTraining, BertForSequenceClassification

from bertsmith.checkpoints import bilm
from bertsmith.checkpoints.convert import convert
from bertsmith.core.errors import BertsmithError
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import Elmo

JUNK = (b"9" * 12, b"-1", b'"', b"null", b"{}", b"\xff\x00\x80")


def google(folder):
    google_folder(folder, their_model(BertForPreTraining))


def npz(folder):
    google(folder.with_name("before"))
    convert(folder.with_name("before"), folder, to="tensorflow-npz")


def safetensors(folder):
    their_folder(folder, BertForSequenceClassification)


def pickled(folder):
    their_folder(folder, BertForMaskedLM)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def elmo(folder):
    config = ElmoConfig(
        vocab_size=len(VOCAB),
        characters=10,
        char_width=4,
        filters=((1, 4), (2, 4)),
        highways=1,
        projection=6,
        lstm_width=12,
        lstm_layers=1,
    )
    bilm.write_elmo(folder, Elmo(config, VOCAB))


def mutated(data, generator):
    data = bytearray(data)
    at = generator.randrange(len(data))
    match generator.randrange(4):
        case 0:
            data[at] ^= 1 << generator.randrange(8)
        case 1:
            data[at : at + 8] = generator.randbytes(8)
        case 2:
            del data[at:]
        case 3:
            data[at:at] = generator.choice(JUNK)
    return bytes(data)


def is_refused(source, out, tokenizer):
    try:
        convert(source, out, allow_pickle=True, tokenizer=tokenizer)
    except BertsmithError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return True
    return False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", [google, npz, safetensors, pickled, elmo])
def test_a_damaged_source_is_refused_or_converted(tmp_path, layout):
    source, generator, refused = tmp_path / "source", random.Random(0), 0
    layout(source)
    write_vocab(tmp_path / "tokenizer")
    tokenizer = tmp_path / "tokenizer" if layout is elmo else None
    files = sorted(path for path in source.iterdir() if path.suffix != ".meta")
    for number in range(30):
        path = files[number % len(files)]
        whole, out = path.read_bytes(), tmp_path / f"out-{number}"
        path.write_bytes(mutated(whole, generator))
        began = time.process_time()
        gone = is_refused(source, out, tokenizer)
        assert time.process_time() - began < 5
        assert out.exists() != gone
        refused += gone
        path.write_bytes(whole)
    assert refused >= 8
    assert not list(tmp_path.glob(".*"))
