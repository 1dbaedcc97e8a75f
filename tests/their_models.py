"""Random BERTs of `transformers` and the same as Google's checkpoints, for tests of conversion."""

import json

import numpy as np
import tensorflow_files as files
import torch
from transformers import (
    BertConfig,
    BertForMultipleChoice,
)

from bertsmith.text.tokenizer.tokenizer import SPECIAL

IDS = [2, 7, 9, 11, 3, 20, 21, 3]
SEGMENTS = [0, 0, 0, 0, 0, 1, 1, 1]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
VOCAB = [*SPECIAL, *(f"w{number}" for number in range(26)), "##s", "##t"]
SHAPE = {
    "vocab_size": 33,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
}


def their_model(kind, **changes):
    """A random model of `transformers`, biases included."""
    torch.manual_seed(0)
    model = kind(BertConfig(**(SHAPE | {"initializer_range": 0.3} | changes))).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def their_folder(folder, kind, **changes):
    model = their_model(kind, **changes)
    model.save_pretrained(folder)
    write_vocab(folder)
    return model


def write_vocab(folder, vocab=VOCAB):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocab))


@torch.no_grad()
def outputs(model):
    inputs = {
        "input_ids": torch.tensor([IDS]),
        "token_type_ids": torch.tensor([SEGMENTS]),
    }
    if isinstance(model, BertForMultipleChoice):
        inputs = {name: value[None] for name, value in inputs.items()}
    found = model(**inputs)
    return [value for value in found.to_tuple() if isinstance(value, torch.Tensor)]


def check_outputs(folder, model):
    """`transformers` loads the folder by its own class, and nothing is new in it."""
    again, report = type(model).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    for ours, theirs in zip(outputs(again.eval()), outputs(model), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def google_arrays(model):
    """The variables of Google's script for a model of `transformers`, written by hand.

    From google-research/bert: kernels are [in, out], and heads are named by each script.
    """
    made = {}
    for name, value in model.state_dict().items():
        array = value.numpy()
        if "position_ids" in name or name.startswith("cls.predictions.decoder."):
            continue
        linear = name.endswith(".weight") and "embeddings" not in name and "LayerNorm" not in name
        name = name.replace(".", "/").replace("layer/", "layer_")
        name = name.replace("LayerNorm/weight", "LayerNorm/gamma")
        name = name.replace("LayerNorm/bias", "LayerNorm/beta")
        name = name.replace("embeddings/weight", "embeddings")
        name = name.replace("cls/predictions/bias", "cls/predictions/output_bias")
        for theirs, ours in (
            ("cls/seq_relationship/", "cls/seq_relationship/"),
            ("", "classifier/"),
            ("cls/squad/", "qa_outputs/"),
        ):
            if name.startswith(ours):
                name = f"{theirs}output_{name.removeprefix(ours).replace('weight', 'weights')}"
                linear = False
        if linear:
            name, array = name.replace("/weight", "/kernel"), array.T
        made[name] = np.ascontiguousarray(array)
    return made


def google_folder(folder, model, *, prefix="bert_model.ckpt", more=(), **options):
    made = google_arrays(model) | dict(more)
    made["global_step"] = np.array(100, np.int64)
    made["bert/pooler/dense/bias/adam_m"] = np.zeros(24, np.float32)
    made["bert/pooler/dense/bias/adam_v"] = np.zeros(24, np.float32)
    files.write_checkpoint(folder / prefix, made, **options)
    config = SHAPE | {"hidden_act": "gelu", "directionality": "bidi", "pooler_type": "x"}
    (folder / "bert_config.json").write_text(json.dumps(config))
    write_vocab(folder)
    return folder
