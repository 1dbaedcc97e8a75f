"""The model card of a fine-tuned model: what it says of its input, and how well."""

from collections.abc import Mapping

from bertsmith.config import Kind
from bertsmith.finetune_config import FinetuneConfig
from bertsmith.tasks.metrics import METRICS
from bertsmith.tasks.task import Task

_PIPELINES: dict[Kind, str] = {
    "classify": "text-classification",
    "regress": "text-classification",
    "choose": "multiple-choice",
    "tag": "token-classification",
    "answer": "question-answering",
}


def task_card(
    config: FinetuneConfig, task: Task, scores: Mapping[str, Mapping[str, float | None]]
) -> str:
    """The README.md of a fine-tuned model's folder, in Markdown.

    Args:
        config: the run's settings.
        task: what it was fine-tuned on.
        scores: part -> metric -> score.
    """
    frozen = f", on layers {list(config.features)} of a frozen encoder" if config.features else ""
    lines = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {_PIPELINES[task.kind]}",
        "tags:",
        "- bert",
        "---",
        "",
        f"# A BERT fine-tuned by bertsmith: {task.title}",
        "",
        "## Use",
        "",
        "```",
        "bertsmith predict path/of/this/folder INPUT --out answers.jsonl",
        "```",
        "",
        "## Training",
        "",
        f"- kind of task: {task.kind}{frozen}",
        f"- {config.epochs} epochs of batches of {config.batch_size}, learning rate "
        f"{config.learning_rate:g}, warm-up over {config.warmup:.0%} of the steps, linear decay, "
        f"dropout {config.dropout:g}",
        f"- inputs of at most {config.longest} tokens",
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


def told(score: float | None) -> str:
    """A score in words."""
    return "undefined" if score is None else f"{score:.4f}"
