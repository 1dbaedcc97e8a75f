"""The model card of a pre-trained model."""

from bertsmith.models.config import ModelConfig, Objective
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.training.checkpoint import TrainerState

_HEADER = """\
---
library_name: {library}
pipeline_tag: {pipeline}
tags:
- {tag}
- pretraining
---
"""

_FILL = """\
```python
from transformers import pipeline
pipeline("fill-mask", "path/of/this/folder")("one sentence with a [MASK] in it")
```"""
_WRITE = """\
```python
from transformers import pipeline
pipeline("text-generation", "path/of/this/folder")("the start of a text")
```"""
_OURS = """\
```python
import bertsmith
bertsmith.load("path/of/this/folder").log_likelihood(["a text"])
```"""

# Pipeline tag and example.
_USES: dict[Objective, tuple[str, str]] = {
    "masked": ("fill-mask", _FILL),
    "forward": ("text-generation", _WRITE),
    "both": ("feature-extraction", _OURS),
}

_PAIR_TASKS = {
    "nsp": "next sentence (segment B follows A or comes from another document)",
    "sop": "sentence order (segment B follows or precedes A)",
    "none": "none",
}

_ROWS = (
    ("mlm_loss", "masked tokens: loss (nats)", "{:.3f}"),
    ("mlm_accuracy", "masked tokens: accuracy", "{:.1%}"),
    ("nsp_loss", "pairs: loss (nats)", "{:.3f}"),
    ("nsp_accuracy", "pairs: accuracy", "{:.1%}"),
    ("forward_loss", "next token: loss (nats)", "{:.3f}"),
    ("forward_accuracy", "next token: accuracy", "{:.1%}"),
    ("backward_loss", "previous token: loss (nats)", "{:.3f}"),
    ("backward_accuracy", "previous token: accuracy", "{:.1%}"),
)


def pretraining_card(
    config: PretrainConfig,
    model_config: ModelConfig,
    state: TrainerState,
    *,
    parameters: int,
    documents: int,
    corpus_tokens: int,
    baseline: dict[str, float],
) -> str:
    """The README.md of a model folder, in Markdown.

    Args:
        config: settings of the run.
        model_config: config of the model.
        state: progress of the run, with its last evaluation.
        parameters: number of parameters.
        documents: documents of the training split.
        corpus_tokens: tokens of the training split.
        baseline: held-out numbers of the baseline.
    """
    phases = ", then ".join(
        f"{phase.share:.0%} at {phase.length} tokens" for phase in config.phases
    )
    objective = (
        f"{config.mlm_probability:.0%} of the tokens predicted"
        f"{', whole words' if config.whole_word_masking else ''}"
        if config.objective == "masked"
        else "every token predicted"
    )
    lines = [
        *_about(config, model_config, parameters),
        "",
        "## Training",
        "",
        f"- text: {documents:,} documents, {corpus_tokens:,} tokens",
        f"- {state.step:,} steps of {config.batch_size} sequences ({phases}), "
        f"{state.tokens:,} tokens in total",
        *([] if config.start is None else [f"- started from the weights of `{config.start}`"]),
        f"- recipe `{config.recipe}`: learning rate {config.learning_rate:g}, warm-up over "
        f"{config.warmup_ratio:.0%} of the run, dropout {config.dropout:g}, {objective}",
        f"- pair task: {_PAIR_TASKS[config.pair_task]}",
        f"- seed {config.seed}",
    ]
    if state.evaluation:
        lines += [
            "",
            "## Evaluation",
            "",
            "On held-out documents"
            + (", 15% of the tokens masked" if config.objective == "masked" else "")
            + f", after step {state.evaluated_at:,}.",
            "",
            "| | this model | baseline |",
            "|---|---|---|",
        ]
        lines += [
            f"| {title} | {form.format(state.evaluation[key])} | {form.format(baseline[key])} |"
            for key, title, form in _ROWS
            if key in state.evaluation
        ]
    return "\n".join(lines) + "\n"


def _about(config: PretrainConfig, model_config: ModelConfig, parameters: int) -> list[str]:
    """Header, description and usage."""
    pieces = f"{parameters:,} parameters, vocabulary of {model_config.vocab_size:,}"
    pipeline, use = _USES[config.objective]
    header = _HEADER.format(
        library=model_config.library, pipeline=pipeline, tag=model_config.model_type
    )
    return [
        header,
        f"# {model_config.title} pre-trained with bertsmith",
        "",
        f"{model_config.description}, {pieces}. {model_config.origin}",
        "",
        "## Use",
        "",
        use,
    ]
