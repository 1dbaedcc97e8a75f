"""The table of a GPT's parameters: their names here and in `transformers`.

Their linear layers are `Conv1D`, whose weight is the transpose of ours.
"""

import re

from bertsmith.models.parameter_table import ParameterTable, Row, with_bias

_LAYER = "transformer.h.{n_layer}"
_OURS = "gpt.blocks.{n_layer}"

PARAMETERS = ParameterTable(
    rows=(
        Row("gpt.embeddings.word.weight", ("transformer.tokens_embed.weight",)),
        Row("gpt.embeddings.position.weight", ("transformer.positions_embed.weight",)),
        *with_bias(f"{_OURS}.attention.qkv", f"{_LAYER}.attn.c_attn", transposed=True),
        *with_bias(f"{_OURS}.attention.output", f"{_LAYER}.attn.c_proj", transposed=True),
        *with_bias(f"{_OURS}.attention_norm", f"{_LAYER}.ln_1"),
        *with_bias(f"{_OURS}.feed_forward.inner", f"{_LAYER}.mlp.c_fc", transposed=True),
        *with_bias(f"{_OURS}.feed_forward.output", f"{_LAYER}.mlp.c_proj", transposed=True),
        *with_bias(f"{_OURS}.feed_forward_norm", f"{_LAYER}.ln_2"),
        Row("classifier.weight", ("score.weight",)),
        # `transformers` has no such head on this model; the name is that of its other models.
        *with_bias("span", "qa_outputs"),
    ),
    encoder="gpt.",
    their_encoder="transformer.",
    their_heads=("lm_head.", "score.", "qa_outputs.", "classifier.", "multiple_choice_head."),
    # The output weights are the word embeddings, so an encoder alone predicts words too.
    word_head="transformer.tokens_embed.weight",
    anchor=re.compile(r"(.*?)(?:transformer\.)?tokens_embed\.weight"),
    bare=("tokens_embed.", "positions_embed.", "h."),
    repeated={"lm_head.weight": "transformer.tokens_embed.weight"},
    buffers=(".attn.bias", "position_ids"),
    parts=(
        ("tokens_embed", "word embeddings"),
        ("positions_embed", "position embeddings"),
        (".attn.", "attention"),
        ("transformer.h.", "feed-forward"),
        ("classifier", "output layer"),
        ("qa_outputs", "output layer"),
    ),
)
