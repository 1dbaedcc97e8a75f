"""Small models with random weights for tests of the service: each family, each kind of task."""

import json
from pathlib import Path
from typing import Any

import torch
from heads import head_of

from bertsmith.checkpoints.folder import load_config, save_model
from bertsmith.checkpoints.sources import resolve
from bertsmith.core.storage import write_json
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.family import build, build_for_task
from bertsmith.models.gpt.config import GptConfig
from bertsmith.tasks.examples import Limits
from bertsmith.tasks.task_config import TASK_CONFIG, TaskConfig
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

WORDS = (*SPECIAL, *"he likes apples . the old man 我 喜 欢 苹 果 。".split())
FAMILIES = {
    "gpt": GptConfig(vocab_size=len(WORDS), n_positions=64, n_embd=16, n_layer=1, n_head=2),
    "elmo": ElmoConfig(
        vocab_size=len(WORDS), characters=12, filters=((1, 4), (2, 4)), projection=8, lstm_width=16
    ),
}
KINDS = {
    "reviews": ("classification", ("bad", "good", "so-so")),
    "topics": ("multi-label", ("food", "travel")),
    "stars": ("regression", ()),
    "endings": ("multiple-choice", ()),
    "names": ("token-classification", ("O", "B-PER", "I-PER")),
    "places": ("question-answering", ()),
}
"""Of each fine-tuned model its kind and labels."""


def write_models(root: Path) -> list[str]:
    """The starter models and one of everything else below `root`, as `serve` takes them."""
    for name, config in FAMILIES.items():
        torch.manual_seed(0)
        model = build(config, pieces=WORDS, pair_task=False)
        save_model(root / name, model, Tokenizer(list(WORDS)), card="")
    starter = resolve("tiny-en")
    for name, (kind, labels) in KINDS.items():
        torch.manual_seed(1)
        tuned = build_for_task(load_config(starter), head_of(kind, labels=labels))
        save_model(root / name, tuned, Tokenizer.load(starter), card="")
        limits = Limits(max_length=64, stride=32)
        write_json(
            root / name / TASK_CONFIG,
            TaskConfig(task=kind, kind=kind, labels=labels, limits=limits),
        )
    return ["tiny-en", "tiny-zh", *(str(root / name) for name in (*FAMILIES, *KINDS))]


def write_run(folder: Path, *, finished: bool) -> None:
    """The records of a short training."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = [{"kind": "baseline", "step": 0, "mlm_loss": 6.0}]
    rows += [{"kind": "train", "step": n, "loss": 8.0 / n} for n in range(1, 6)]
    rows += [{"kind": "evaluation", "step": n, "mlm_loss": 7.5 - n} for n in (0, 5)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    if finished:
        (folder / "config.json").write_text("{}")
