"""The two who fine-tune in `finetune.py`, each with its own tokenizer, batches and loop.

`our_turns` and `their_turns` build the inputs once a round, with a new tokenizer, which has no word
in its cache yet, and then train an epoch a round, and pause after each; `products_turns` computes
of an epoch only what nobody can leave out; `our_score` and `their_score` train once and give the
best epoch's scores on dev.
"""

import hashlib
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import transformers
from torch import Tensor

from bertsmith.core.runtime import derive_seed, share_cores
from bertsmith.finetuning import data as finetune_data
from bertsmith.finetuning import run as tuning
from bertsmith.finetuning.config import FinetuneConfig
from bertsmith.finetuning.data import Parts, Source
from bertsmith.finetuning.model import build_model
from bertsmith.finetuning.origin import PretrainedModel
from bertsmith.inference.batches import TaskBatches
from bertsmith.models.family import TaskModel
from bertsmith.models.modules.linear import TILE, Linear
from bertsmith.tasks.examples import Limits, TextExample
from bertsmith.tasks.features import Features
from bertsmith.tasks.task_config import TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.config import LoopConfig
from bertsmith.training.loop import train
from bertsmith.training.optimizer import adamw
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.parallel.place import join
from bertsmith.training.parallel.precision import choose_micro_tokens, has_native_bf16
from bertsmith.training.progress import Reporter
from bertsmith.training.schedule import Phase, Schedule

Pause = Callable[..., Any]


@dataclass(frozen=True)
class Job:
    """What a contender trains."""

    data: Path
    config: FinetuneConfig
    examples: int
    """Of the training part, chosen at random; 0 for all."""

    @property
    def limits(self) -> Limits:
        return Limits(max_length=self.config.max_length, stride=self.config.stride)

    def parts(self) -> Parts:
        source = Source(task=self.config.task, data=str(self.data / "glue"))
        parts = finetune_data.read(source, seed=0)
        if self.examples and self.examples < len(parts.train):
            chosen = np.random.default_rng(0).permutation(len(parts.train))[: self.examples]
            parts = replace(parts, train=[parts.train[number] for number in chosen])
        return parts


# --- in turn ------------------------------------------------------------------------------------


@contextmanager
def contender(
    action: Callable[..., None], *arguments: Any, ours: bool = False
) -> Iterator[Callable[[], Any]]:
    """A process that runs `action(pause, *arguments)` up to its next pause when it is called.

    A call gives the seconds from the last pause to the next, the processor's seconds in all threads
    (which other work on the machine stretches less), and what was told there. `ours` has the
    environment of the `bertsmith` command, the others that of their caller.
    """
    context = multiprocessing.get_context("spawn")
    link, other = context.Pipe()
    process = context.Process(target=serve, args=(other, action, *arguments), daemon=True)
    environment = dict(os.environ)
    if ours:
        share_cores()
    process.start()
    os.environ.clear()
    os.environ.update(environment)
    other.close()

    def turn() -> Any:
        link.send(None)
        return link.recv()

    try:
        turn()
        yield turn
    finally:
        process.kill()
        process.join()


def serve(link: Connection, action: Callable[..., None], *arguments: Any) -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    began = time.perf_counter(), time.process_time()

    def pause(told: Any = None, prepare: Callable[[], Any] = lambda: None) -> Any:
        """Ends a turn; in the next one `prepare` is not counted, and what it gives comes back."""
        nonlocal began
        link.send((time.perf_counter() - began[0], time.process_time() - began[1], told))
        link.recv()
        prepared = prepare()
        began = time.perf_counter(), time.process_time()
        return prepared

    link.recv()
    action(pause, *arguments)


# --- ours ---------------------------------------------------------------------------------------


def our_turns(pause: Pause, job: Job) -> None:
    """Builds the inputs once a round, then trains an epoch a round."""
    parts, told = job.parts(), None
    for number in range(job.config.epochs):
        tokenizer = pause(told, lambda: Tokenizer.load(job.config.model, backend="auto"))
        features = parts.task.kind.encode(parts.train, tokenizer, job.limits, parts.labels)
        told = fingerprint(features, tokenizer) if number == 0 else None  # In the warm-up alone.
    pause(told)
    train_ours(job, parts, tokenizer, after_epoch=pause)


def fingerprint(features: Features, tokenizer: Tokenizer) -> tuple[int, str]:
    ids_T, _, _ = features.joined(np.arange(len(features.rows)), tokenizer)
    return len(ids_T), hashlib.sha256(ids_T.astype(np.int64).tobytes()).hexdigest()


def train_ours(job: Job, parts: Parts, tokenizer: Tokenizer, *, after_epoch: Pause) -> None:
    """As `bertsmith.finetuning.run` does it, with a pause in the place of the evaluation."""
    config = job.config
    model, batches = our_parts(job, parts, tokenizer)
    optimizer = adamw(model, config.optimizer)

    def evaluate() -> dict[str, float]:
        after_epoch()
        return {}

    with (
        join("auto") as place,
        tempfile.TemporaryDirectory() as folder,
        Reporter(Path(folder)) as reporter,
        Parallel(model, place) as parallel,
    ):
        train(
            parallel,
            optimizer,
            [batches],
            schedule=Schedule(
                steps=config.epochs * batches.steps_per_epoch,
                hours=None,
                learning_rate=config.learning_rate,
                warmup_ratio=config.warmup_ratio,
                phases=(Phase(1.0, config.max_length),),
            ),
            state=TrainerState(evaluated_at=0),
            config=LoopConfig(
                seed=config.seed,
                max_grad_norm=config.max_grad_norm,
                evaluate_every=batches.steps_per_epoch,
                save_every=config.epochs * batches.steps_per_epoch + 1,
            ),
            reporter=reporter,
            evaluate=evaluate,
            save=lambda: None,
        )


def our_parts(job: Job, parts: Parts, tokenizer: Tokenizer) -> tuple[TaskModel, TaskBatches]:
    """The model that is trained, and its batches."""
    config, origin = job.config, PretrainedModel.open(job.config.model)
    data = finetune_data.featured(parts, tokenizer, job.limits, Source(task=config.task).columns)
    model, _ = build_model(config, data, origin)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    per_token = origin.model_config.bytes_per_token
    batches = TaskBatches(
        data.train,
        tokenizer,
        batch_size=config.batch_size,
        seed=derive_seed(config.seed, "batches"),
        micro_tokens=choose_micro_tokens(device, bytes_per_token=per_token),
    )
    return model, batches


def products_turns(pause: Pause, job: Job) -> None:
    """Computes of an epoch only the products of the linear layers, both ways, a round (on a CPU).

    Every layer has a weight, an input and a gradient of its own, in the products' precision. Their
    rows are those of our model in each batch: no padding, and of the last layer what its head sees.
    """
    model, batches = our_parts(job, job.parts(), Tokenizer.load(job.config.model, backend="auto"))
    is_half = has_native_bf16(torch.device("cpu"))
    tile = TILE if is_half else 1
    calls: list[tuple[Linear, int]] = []
    layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
    for layer in layers:
        layer.register_forward_pre_hook(lambda layer, seen: calls.append((layer, len(seen[0]))))
    steps = []
    for step in range(batches.steps_per_epoch):
        for batch in batches.at(step):
            calls.clear()
            with torch.no_grad():
                model.losses(batch)
            steps.append([(layer, -(-rows // tile) * tile) for layer, rows in calls])
    most = max(rows for step in steps for _, rows in step)
    dtype = torch.bfloat16 if is_half else torch.float32

    def random(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns).to(dtype)

    operands = {
        layer: (
            layer.weight.detach().to(dtype),
            random(most, layer.in_features),
            random(most, layer.out_features),
        )
        for layer in layers
    }
    for _ in range(job.config.epochs):
        pause()
        for step in steps:
            for layer, rows in step:
                weight, inputs, _ = operands[layer]
                inputs[:rows] @ weight.mT
            for layer, rows in reversed(step):
                weight, inputs, gradients = operands[layer]
                gradients[:rows] @ weight
                gradients[:rows].mT @ inputs[:rows]
    pause()


def our_score(job: Job, seed: int) -> dict[str, Any]:
    config = msgspec.structs.replace(job.config, seed=seed)
    parts, origin = job.parts(), PretrainedModel.open(config.model)
    columns = Source(task=config.task).columns
    data = finetune_data.featured(parts, origin.tokenizer, job.limits, columns)
    with join("auto") as place, tempfile.TemporaryDirectory() as folder:
        result = tuning.run(
            config,
            data,
            Path(folder) / "run",
            origin=origin,
            place=place,
            title=f"{config.task} {seed}",
        )
    return {
        "main": result.main,
        "scores": result.scores[data.deciding],
        "best_epoch": result.best_epoch,
    }


# --- theirs -------------------------------------------------------------------------------------


class AfterEpoch(transformers.TrainerCallback):
    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.action()


def their_turns(pause: Pause, job: Job, attention: str, compiled: bool) -> None:
    parts, told = job.parts(), None
    for number in range(job.config.epochs):
        tokenizer = pause(told, lambda: their_tokenizer(job))
        rows = their_rows(job, parts.train, parts, tokenizer)
        told = their_fingerprint(rows) if number == 0 else None
    pause(told)
    with tempfile.TemporaryDirectory() as folder:
        trainer = their_trainer(
            job, parts, rows, tokenizer, Path(folder), attention=attention, compiled=compiled
        )
        trainer.add_callback(AfterEpoch(pause))
        trainer.train()


def their_fingerprint(rows: list[dict[str, Any]]) -> tuple[int, str]:
    ids_T = np.concatenate([np.array(row["input_ids"], dtype=np.int64) for row in rows])
    return len(ids_T), hashlib.sha256(ids_T.tobytes()).hexdigest()


def their_tokenizer(job: Job) -> Any:
    return transformers.AutoTokenizer.from_pretrained(job.config.model)


def their_rows(
    job: Job, examples: list[TextExample], parts: Parts, tokenizer: Any
) -> list[dict[str, Any]]:
    """The training set as `Trainer` takes it. (A list is quicker to index than an Arrow table.)"""
    texts = [[example.a for example in examples]]
    if examples[0].b is not None:
        texts.append([example.b for example in examples])
    encoded = tokenizer(*texts, truncation=True, max_length=job.config.max_length)
    number = {name: place for place, name in enumerate(parts.labels)}
    return [
        {"input_ids": ids, "token_type_ids": kinds, "attention_mask": mask}
        | {"label": number[example.label] if parts.labels else example.label}
        for ids, kinds, mask, example in zip(
            encoded["input_ids"],
            encoded["token_type_ids"],
            encoded["attention_mask"],
            examples,
            strict=True,
        )
    ]


def their_model(job: Job, parts: Parts, attention: str = "sdpa") -> transformers.PreTrainedModel:
    transformers.set_seed(job.config.seed)
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        job.config.model,
        num_labels=max(len(parts.labels), 1),
        hidden_dropout_prob=job.config.dropout,
        attention_probs_dropout_prob=job.config.dropout,
        attn_implementation=attention,
        dtype=torch.float32,
    )


def their_trainer(
    job: Job,
    parts: Parts,
    rows: list[dict[str, Any]],
    tokenizer: Any,
    folder: Path,
    *,
    attention: str = "sdpa",
    compiled: bool = False,
) -> transformers.Trainer:
    config = job.config
    cpu = not torch.cuda.is_available()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        adam_beta1=config.beta1,
        adam_beta2=config.beta2,
        adam_epsilon=config.epsilon,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        bf16=has_native_bf16(torch.device("cpu" if cpu else "cuda")),
        torch_compile=compiled,
        use_cpu=cpu,
        dataloader_pin_memory=not cpu,
        seed=config.seed,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    trainer = transformers.Trainer(
        model=their_model(job, parts, attention),
        args=arguments,
        train_dataset=rows,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def their_score(job: Job, seed: int) -> dict[str, Any]:
    """As `our_score`: the best epoch on dev, by our metrics on their outputs."""
    job = replace(job, config=msgspec.structs.replace(job.config, seed=seed))
    parts, tokenizer = job.parts(), their_tokenizer(job)
    dev = next(iter(parts.evaluated.values()))
    rows = their_rows(job, dev, parts, tokenizer)
    ours = Tokenizer.load(job.config.model, backend="auto")
    features = parts.task.kind.encode(dev, ours, job.limits, parts.labels)
    task_config = TaskConfig(
        task=parts.task.name,
        kind=parts.task.kind.name,
        labels=parts.labels,
        limits=job.limits,
        bounds=parts.task.bounds,
    )
    found: list[dict[str, float | None]] = []
    # A copy, because the Trainer's own computes in bf16, which would round the outputs.
    judged = their_model(job, parts).eval()

    def evaluate() -> None:
        judged.load_state_dict(trainer.model.state_dict())
        outputs = their_outputs(judged.to(trainer.model.device), trainer.data_collator, rows)
        said = parts.task.kind.decode(features, outputs, dev, task_config)
        found.append(tuning.score(parts.task, dev, said, parts.labels))

    with tempfile.TemporaryDirectory() as folder:
        train_rows = their_rows(job, parts.train, parts, tokenizer)
        trainer = their_trainer(job, parts, train_rows, tokenizer, Path(folder))
        trainer.add_callback(AfterEpoch(evaluate))
        trainer.train()
    mains = [tuning.decisive(parts.task, scores) for scores in found]
    best = mains.index(max(mains))
    return {"main": mains[best], "scores": found[best], "best_epoch": best + 1.0}


def their_outputs(model: Any, collate: Any, rows: list[dict[str, Any]]) -> np.ndarray:
    """The logits of every row, in order."""
    outputs = []
    for first in range(0, len(rows), 64):
        batch = collate([dict(row) for row in rows[first : first + 64]]).to(model.device)
        with torch.inference_mode():
            outputs.append(model(**batch).logits.cpu())
    return torch.cat(outputs).numpy()
