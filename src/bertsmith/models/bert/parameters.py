"""The table of a BERT's parameters: their names here and in `transformers`.

Queries, keys and values come from one product here.
"""

import re

from bertsmith.models.parameter_table import ParameterTable, Row, with_bias

LSTM_LAYERS = 2
_LSTM_NAMES = [
    f"lstm.{kind}_l{layer}{way}"
    for layer in range(LSTM_LAYERS)
    for way in ("", "_reverse")
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
]

_LAYER = "bert.encoder.layer.{num_hidden_layers}"
_OURS = "bert.blocks.{num_hidden_layers}"

_ENCODER: list[Row] = [
    Row("bert.embeddings.word.weight", ("bert.embeddings.word_embeddings.weight",)),
    Row("bert.embeddings.position.weight", ("bert.embeddings.position_embeddings.weight",)),
    Row("bert.embeddings.segment.weight", ("bert.embeddings.token_type_embeddings.weight",)),
    *with_bias("bert.embeddings.norm", "bert.embeddings.LayerNorm"),
    *with_bias(
        f"{_OURS}.attention.qkv",
        *(f"{_LAYER}.attention.self.{name}" for name in ("query", "key", "value")),
    ),
    *with_bias(f"{_OURS}.attention.output", f"{_LAYER}.attention.output.dense"),
    *with_bias(f"{_OURS}.attention_norm", f"{_LAYER}.attention.output.LayerNorm"),
    *with_bias(f"{_OURS}.feed_forward.inner", f"{_LAYER}.intermediate.dense"),
    *with_bias(f"{_OURS}.feed_forward.output", f"{_LAYER}.output.dense"),
    *with_bias(f"{_OURS}.feed_forward_norm", f"{_LAYER}.output.LayerNorm"),
]
_POOLER: list[Row] = with_bias("pooler.dense", "bert.pooler.dense")
_MLM: list[Row] = [
    *with_bias("mlm.dense", "cls.predictions.transform.dense"),
    *with_bias("mlm.norm", "cls.predictions.transform.LayerNorm"),
    Row("mlm.bias_V", ("cls.predictions.bias",)),
]
_NEXT_SENTENCE: list[Row] = with_bias("next_sentence", "cls.seq_relationship")

_TASK: list[Row] = [
    *with_bias("classifier", "classifier"),
    *with_bias("span", "qa_outputs"),
    # The heads with an LSTM are ours alone, and so are their names.
    *(Row(f"features.{name}", (f"features.{name}",)) for name in _LSTM_NAMES),
    Row("features.mix", ("features.mix",)),
    *(Row(f"bilstm.{name}", (f"bilstm.{name}",)) for name in _LSTM_NAMES if "_l0" in name),
]

PARAMETERS = ParameterTable(
    rows=(*_ENCODER, *_POOLER, *_MLM, *_NEXT_SENTENCE, *_TASK),
    encoder="bert.",
    their_encoder="bert.",
    their_heads=("bert.pooler.", "cls.", "classifier.", "qa_outputs.", "features.", "bilstm."),
    strict_heads=("cls.",),
    word_head="cls.predictions.transform.dense.weight",
    pair_head="cls.seq_relationship.weight",
    word_rows=("bert.embeddings.word_embeddings.weight", "cls.predictions.bias"),
    anchor=re.compile(r"(.*?)(?:bert\.)?embeddings\.word_embeddings\.weight"),
    bare=("embeddings.", "encoder.", "pooler."),
    old_endings={
        "LayerNorm.gamma": "LayerNorm.weight",
        "LayerNorm.beta": "LayerNorm.bias",
    },
    # Written by some versions beside the parameters they repeat, or instead of them.
    repeated={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    buffers=("position_ids", "token_type_ids"),
    parts=(
        ("word_embeddings", "word embeddings"),
        ("embeddings", "position and segment embeddings"),
        (".attention.", "attention"),
        ("encoder.layer", "feed-forward"),
        ("pooler", "pooler"),
        ("seq_relationship", "next-sentence head"),
        ("cls.predictions", "masked-word head"),
        ("classifier", "output layer"),
        ("qa_outputs", "output layer"),
    ),
)
