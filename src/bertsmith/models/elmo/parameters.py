"""The table of an ELMo's parameters; `transformers` has no ELMo, so a folder has our names."""

import re

from bertsmith.models.parameter_table import ParameterTable, Row

_LSTM_NAMES = [
    f"lstm.{kind}_l0{way}"
    for way in ("", "_reverse")
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
]

_ENCODER = (
    "elmo.encoder.embedding.weight",
    *(f"elmo.encoder.convolutions.{{filters}}.{part}" for part in ("weight", "bias")),
    *(
        f"elmo.encoder.highways.{{highways}}.{layer}.{part}"
        for layer in ("carry", "transform")
        for part in ("weight", "bias")
    ),
    *(f"elmo.encoder.projection.{part}" for part in ("weight", "bias")),
    *(
        f"elmo.{direction}_lstms.{{lstm_layers}}.{part}"
        for direction in ("forward", "backward")
        for part in ("input_weight", "state_weight", "bias", "projection")
    ),
)
_SOFTMAX = ("word_VP", "bias_V")
_TASK = (
    *("mix.weights", "mix.gamma"),
    *(f"reader.{name}" for name in _LSTM_NAMES),
    *("pair.compare.weight", "pair.compare.bias", "question.similarity.weight"),
    *(f"spans.{name}" for name in _LSTM_NAMES),
    *("hidden.weight", "hidden.bias", "output.weight", "output.bias"),
)

PARAMETERS = ParameterTable(
    rows=tuple(Row(name, (name,)) for name in (*_ENCODER, *_SOFTMAX, *_TASK)),
    encoder="elmo.",
    their_encoder="elmo.",
    their_heads=(
        *("word_VP", "bias_V", "classifier.", "span.", "mix.", "reader.", "pair.", "question."),
        *("spans.", "hidden.", "output."),
    ),
    word_head="word_VP",
    anchor=re.compile(r"(.*?)elmo\.encoder\.embedding\.weight"),
    parts=(
        ("elmo.encoder", "characters"),
        ("_lstms.", "LSTMs"),
        ("word_VP", "output words"),
        ("bias_V", "output words"),
    ),
)
