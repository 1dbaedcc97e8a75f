"""The model card of a fine-tuned model: what it says of its input, and how well."""

from collections.abc import Mapping

from bertsmith.core.command_line import command
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.models.config_files import config_keys
from bertsmith.models.family import TaskModel, is_known_to_transformers
from bertsmith.pretraining.config import InitialWeights
from bertsmith.tasks.metric import told
from bertsmith.tasks.metrics import METRICS
from bertsmith.tasks.task import Task

STARTS: dict[InitialWeights, str] = {
    "paper": "drawn weights",
    "structured": "structured initial weights (word vectors counted in the training texts, heads "
    "that see the neighbours)",
}
"""What a run without pre-training starts from."""


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
        config: the run's settings.
        task: what it was fine-tuned on.
        model: what is saved beside the card.
        scores: part -> metric -> score.
        offset: what is to be added to the outputs of a regression whose layer has no bias.
    """
    name = model.config.title
    alike = is_known_to_transformers(model.config_keys | config_keys(model.config))
    most = "at most " if config.steps or config.hours else ""
    layer, less = model.number_layer, ""
    if layer is not None and layer.bias is None:
        less = f" less {offset:.9g}, the mean of the training labels"
    kept = ""
    if config.features:
        kept = f", on layers {list(config.features)} of a frozen encoder"
    elif config.bilstm:
        kept = ", with a BiLSTM before the output layer"
    elif config.frozen:
        kept = f", above an {model.config.display_name} that stayed as it was"
    how, origin = "fine-tuned", []
    if config.initial_weights is not None:
        how = "trained from scratch"
        origin = [
            f"- no pre-trained model: training started from {STARTS[config.initial_weights]} and a "
            f"vocabulary of {model.config.vocab_size:,} pieces"
        ]
    lines = [
        "---",
        f"library_name: {'transformers' if alike else 'bertsmith'}",
        f"pipeline_tag: {task.kind.pipeline}",
        "tags:",
        f"- {model.config.model_type}",
        "---",
        "",
        f"# {'An' if name[0] in 'AEIOU' else 'A'} {name} {how} by bertsmith: {task.title}",
        "",
        "## Use",
        "",
        "```",
        command("predict", "path/of/this/folder", "INPUT", out="answers.jsonl"),
        "```",
        "",
        f"`transformers` loads it unchanged and gives the same outputs{less}."
        if alike
        else "Only bertsmith loads it: `transformers` has no model that gives its outputs.",
        "",
        "## Training",
        "",
        *origin,
        f"- kind of task: {task.kind.name}{kept}",
        f"- {most}{config.epochs} epochs of batches of {config.batch_size}, learning rate "
        f"{config.learning_rate:g}, warm-up over {config.warmup:.0%} of the steps, linear decay, "
        f"dropout {config.dropout:g}",
        f"- inputs of at most {config.max_length} tokens",
        f"- seed {config.seed}",
    ]
    if scores:
        lines += ["", "## Evaluation", "", "| part | metric | score |", "|---|---|---|"]
        lines += [
            f"| {part} | {METRICS[name].title} | {told(value)} |"
            for part, values in scores.items()
            for name, value in values.items()
        ]
    return "\n".join(lines) + "\n"
