"""The model card of a pre-trained model: what it is, what it was trained on, how good it is."""

from bertsmith.config import PretrainConfig
from bertsmith.shapes import BertConfig
from bertsmith.train.checkpoint import TrainerState

_HEADER = """\
---
library_name: transformers
pipeline_tag: fill-mask
tags:
- bert
- pretraining
---
"""

_PAIR_TASKS = {
    "nsp": "next sentence (segment B follows A, or comes from another document)",
    "sop": "sentence order (segment B follows A, or precedes it)",
    "none": "none",
}

_ROWS = (
    ("mlm_loss", "masked tokens: loss (nats)", "{:.3f}"),
    ("mlm_accuracy", "masked tokens: right", "{:.1%}"),
    ("nsp_loss", "pairs: loss (nats)", "{:.3f}"),
    ("nsp_accuracy", "pairs: right", "{:.1%}"),
)


def pretraining_card(
    config: PretrainConfig,
    shape: BertConfig,
    state: TrainerState,
    *,
    parameters: int,
    documents: int,
    corpus_tokens: int,
    baseline: dict[str, float],
) -> str:
    """The README.md of a model folder, in Markdown.

    Args:
        config: the run's settings.
        shape: the model's shape.
        state: where the run stands; its evaluation is reported.
        parameters: numbers that training changes.
        documents: documents of the training split.
        corpus_tokens: tokens of the training split.
        baseline: the evaluation's numbers for guessing by frequency.
    """
    phases = ", then ".join(
        f"{phase.share:.0%} at {phase.length} tokens" for phase in config.phases
    )
    lines = [
        _HEADER,
        "# A BERT pre-trained by bertsmith",
        "",
        f"{shape.num_hidden_layers} layers, {shape.hidden_size} wide, "
        f"{shape.num_attention_heads} heads, {parameters:,} parameters, "
        f"{shape.vocab_size:,} WordPieces. An encoder in the format of BERT (Devlin et al., "
        "arXiv 1810.04805), with its pre-training heads.",
        "",
        "## Use",
        "",
        "```python",
        "from transformers import pipeline",
        'pipeline("fill-mask", "path/of/this/folder")("one sentence with a [MASK] in it")',
        "```",
        "",
        "## Training",
        "",
        f"- text: {documents:,} documents, {corpus_tokens:,} tokens",
        f"- {state.step:,} steps of {config.batch_size} sequences ({phases}), "
        f"{state.tokens:,} tokens in all",
        f"- recipe `{config.recipe}`: learning rate {config.learning_rate:g}, warm-up over "
        f"{config.warmup:.0%} of the run, dropout {config.dropout:g}, {config.mask_share:.0%} of "
        f"the tokens predicted ({config.masking} masking)",
        f"- pair task: {_PAIR_TASKS[config.pair_task]}",
        f"- seed {config.seed}",
    ]
    if state.evaluation:
        lines += [
            "",
            "## Evaluation",
            "",
            f"On held-out documents, 15% of the tokens masked, after step {state.evaluated_at:,}.",
            "",
            "| | this model | guessing by frequency |",
            "|---|---|---|",
        ]
        lines += [
            f"| {title} | {form.format(state.evaluation[key])} | {form.format(baseline[key])} |"
            for key, title, form in _ROWS
            if key in state.evaluation
        ]
    return "\n".join(lines) + "\n"
