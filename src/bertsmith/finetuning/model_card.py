"""The model card of a fine-tuned model."""

from collections.abc import Mapping

from bertsmith.core.command_line import command
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.models.config_files import config_keys
from bertsmith.models.family import TaskModel, is_known_to_transformers
from bertsmith.pretraining.config import InitialWeights
from bertsmith.tasks.metric import score_text
from bertsmith.tasks.metrics import METRICS
from bertsmith.tasks.task import Task

STARTS: dict[InitialWeights, str] = {
    "paper": "random weights",
    "structured": "structured initial weights (word vectors counted in the training texts, "
    "attention heads that look at neighbours)",
}
"""Initial weights of a run without pre-training."""


def task_card(
    config: FinetuneConfig,
    task: Task,
    model: TaskModel,
    scores: Mapping[str, Mapping[str, float | None]],
    *,
    offset: float = 0.0,
) -> str:
    """The README.md of a fine-tuned model's folder, in Markdown.

    Args:
        config: settings of the run.
        task: the task it was fine-tuned on.
        model: the model saved beside the card.
        scores: split -> metric -> score.
        offset: added to the outputs of a regression whose output layer has no bias.
    """
    name = model.config.title
    is_known = is_known_to_transformers(model.config_keys | config_keys(model.config))
    most = "at most " if config.steps or config.hours else ""
    layer, less = model.number_layer, ""
    if layer is not None and layer.bias is None:
        less = f", except that {offset:.9g}, the mean of the training labels, is not added"
    kept = ""
    if config.features:
        kept = f", on layers {list(config.features)} of a frozen encoder"
    elif config.bilstm:
        kept = ", with a BiLSTM before the output layer"
    elif config.frozen:
        kept = f", on a frozen {model.config.display_name}"
    how, origin = "fine-tuned", []
    if config.initial_weights is not None:
        how = "trained from scratch"
        origin = [
            f"- no pre-training: started from {STARTS[config.initial_weights]}, with a vocabulary "
            f"of {model.config.vocab_size:,} pieces"
        ]
    lines = [
        "---",
        f"library_name: {'transformers' if is_known else 'bertsmith'}",
        f"pipeline_tag: {task.kind.pipeline}",
        "tags:",
        f"- {model.config.model_type}",
        "---",
        "",
        f"# {name} {how} with bertsmith: {task.title}",
        "",
        "## Use",
        "",
        "```",
        command("predict", "path/of/this/folder", "INPUT", out="answers.jsonl"),
        "```",
        "",
        f"`transformers` loads this model unchanged and gives the same outputs{less}."
        if is_known
        else "Only bertsmith loads this model: `transformers` has none with the same outputs.",
        "",
        "## Training",
        "",
        *origin,
        f"- kind of task: {task.kind.name}{kept}",
        f"- {most}{config.epochs} epochs, batch size {config.batch_size}, learning rate "
        f"{config.learning_rate:g} with warm-up over {config.warmup_ratio:.0%} of the steps and "
        f"linear decay, dropout {config.dropout:g}",
        f"- inputs of up to {config.max_length} tokens",
        f"- seed {config.seed}",
    ]
    if scores:
        lines += ["", "## Evaluation", "", "| split | metric | score |", "|---|---|---|"]
        lines += [
            f"| {part} | {METRICS[name].title} | {score_text(value)} |"
            for part, values in scores.items()
            for name, value in values.items()
        ]
    return "\n".join(lines) + "\n"
