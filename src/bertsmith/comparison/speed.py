"""Measures the speed of this machine: a few steps of every pre-training and fine-tuning.

The steps run in the real training loop. Only a temporary folder is written.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.checkpoints.folder import save_model
from bertsmith.comparison.pairs import scored
from bertsmith.comparison.plan import POSITIONS, Plan
from bertsmith.comparison.runs import Pretraining, Say, model_folder, write_model_configs
from bertsmith.comparison.systems import System
from bertsmith.comparison.timetable import Speed, Speeds
from bertsmith.core.errors import Stopped
from bertsmith.core.runtime import core_count, derive_seed
from bertsmith.core.terminal import duration
from bertsmith.corpus.shards import Corpus
from bertsmith.finetuning import data as finetune_data
from bertsmith.finetuning import model as tuning_model
from bertsmith.finetuning.config import limits_of
from bertsmith.finetuning.data import Parts
from bertsmith.finetuning.defaults import finetune_config
from bertsmith.finetuning.origin import PretrainedModel
from bertsmith.inference.backends.torch_backend import TorchBackend
from bertsmith.inference.batches import TaskBatches
from bertsmith.inference.engine import Scorer
from bertsmith.inference.minimal_pairs import minimal_pairs, read_pairs
from bertsmith.inference.predictor import Model
from bertsmith.models.config import FamilyName, ModelConfig
from bertsmith.pretraining import setup as pretrain_setup
from bertsmith.pretraining.config import ENDLESS_STEPS
from bertsmith.pretraining.evaluation import evaluate
from bertsmith.tasks.examples import Example
from bertsmith.tasks.task_config import Columns
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.config import LoopConfig, OptimizerConfig
from bertsmith.training.loop import Batches, train
from bertsmith.training.optimizer import adamw
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.parallel.place import join
from bertsmith.training.parallel.precision import choose_micro_tokens, explaining_memory
from bertsmith.training.progress import Reporter
from bertsmith.training.schedule import Phase, Schedule

# The first steps are slower because kernels for new shapes are compiled.
_WARM_STEPS, _WARM_SECONDS = 3, 1.0
_FEWEST_STEPS, _SECONDS = 2, 1.5
# Examples sampled from a split: enough for a mean step, and quick to tokenize.
_EXAMPLES = 1000
# Minimal pairs of each paradigm.
_PAIRS = 3


def measure(
    plan: Plan,
    todo: Sequence[Pretraining],
    model_configs: Mapping[FamilyName, ModelConfig],
    corpus: Corpus,
    parts: Mapping[str, Parts],
    pairs: int,
    say: Say,
) -> Speeds:
    """Times every pre-training, and every kind of fine-tuning on every task.

    Args:
        plan: settings of the comparison.
        todo: the pre-trainings; their lengths do not matter.
        model_configs: family -> config.
        corpus: the training corpus.
        parts: task -> its examples.
        pairs: number of minimal pairs to score.
        say: called with a line for each system.

    Raises:
        DataError: the corpus is too small for one example.
        Stopped: SIGINT or SIGTERM was received.
        SystemFault: memory ran out, ...
    """
    began = time.monotonic()
    pretraining: dict[str, Speed] = {}
    tunings: dict[str, dict[str, float]] = {task: {} for task in parts}
    known: dict[tuple[str, str], float] = {}
    scoring: dict[str, float] = {}
    try:
        for one in todo:
            say(f"measuring the speed of {one.system.title}")
            with tempfile.TemporaryDirectory(prefix="bertsmith-") as name:
                folder = Path(name)
                write_model_configs(folder, model_configs)
                found = measure_pretraining(one, plan.phases, corpus, folder)
                if one.system.is_trained:
                    pretraining[one.system.name] = found
                model = model_folder(folder, one.system)
                if pairs and one.system in scored(plan.systems):
                    scoring[one.system.name] = measure_pairs(plan, model, pairs)
                for system in plan.systems:
                    if system.pretrained != one.system.name:
                        continue
                    for task, examples in parts.items():
                        # Systems of one kind differ only in their weights.
                        key = (_kind(plan, system, one), task)
                        if key not in known:
                            known[key] = measure_tuning(plan, system, model, examples)
                        tunings[task][system.name] = known[key]
    except Stopped as stopped:
        raise Stopped(
            stopped.number, "while measuring speeds", again="", kept="nothing had to be"
        ) from None
    order = [system.name for system in plan.systems]
    speeds = Speeds(
        pretraining=pretraining,
        tuning={task: {name: row[name] for name in order} for task, row in tunings.items()},
        pairs=scoring,
        measuring=time.monotonic() - began,
    )
    say(f"measured in {duration(speeds.measuring)}{_busy()}")
    return speeds


def _busy() -> str:
    load, cores = os.getloadavg()[0], core_count()
    if load < cores + 1:
        return ""
    return (
        f" beside other work (load {load:.0f} on {cores} core{'s' * (cores > 1)}); planned times "
        "assume that it continues"
    )


def _kind(plan: Plan, system: System, one: Pretraining) -> str:
    config = one.config
    return f"{config.model} {config.left_to_right} {sorted(plan.tuning(system).items())}"


def measure_pretraining(
    todo: Pretraining, phases: Sequence[Phase], corpus: Corpus, out: Path
) -> Speed:
    """Trains a few steps of each phase, evaluates once, and saves the model as a run would.

    Args:
        todo: the pre-training to measure.
        phases: phases of the plan.
        corpus: the training corpus.
        out: a folder with the configs.
    """
    began = time.monotonic()
    folder = model_folder(out, todo.system)
    config = todo.with_shape(out).config
    with join(config.precision) as place, ExitStack() as stack:
        model_config = pretrain_setup.resolve_model_config(config, corpus)
        micro = choose_micro_tokens(place.device, bytes_per_token=model_config.bytes_per_token)
        stack.enter_context(explaining_memory(place.device, micro))
        model, _ = pretrain_setup.build_model(config, model_config, corpus, None)
        setup = time.monotonic() - began
        if not todo.system.is_trained:
            save_model(folder, model, corpus.tokenizer, card="")
            return Speed(tokens=0.0, step=1.0, evaluation=0.0, setup=setup)
        evaluated = pretrain_setup.evaluation_batches(
            config, corpus.split("heldout"), corpus.tokenizer, micro
        )
        batches = [
            stack.enter_context(one)
            for one in pretrain_setup.training_batches(config, corpus, micro, [])
        ]
        setup = time.monotonic() - began
        parallel = stack.enter_context(Parallel(model, place))
        seconds = [time_steps(parallel, one) for one in batches]
        began = time.monotonic()
        evaluate(model, evaluated, place)
        evaluation = time.monotonic() - began
        save_model(folder, model, corpus.tokenizer, card="")
    shares = [phase.share for phase in phases]
    tokens = [todo.steps[phase.length].tokens for phase in phases]
    return Speed(
        tokens=float(np.dot(shares, tokens)),
        step=float(np.dot(shares, seconds)),
        evaluation=evaluation,
        setup=setup,
    )


def measure_tuning(plan: Plan, system: System, model: Path, parts: Parts) -> float:
    """Seconds of one fine-tuning, estimated from a few steps and part of the evaluation."""
    draw = np.random.default_rng(derive_seed(plan.seed, "speed"))
    few = replace(
        parts,
        train=_some(parts.train, draw),
        evaluated={part: _some(rows, draw) for part, rows in parts.evaluated.items()},
    )
    whole = len(parts.train) / len(few.train)
    began = time.monotonic()
    origin = PretrainedModel.open(str(model))
    model_config, tokenizer = origin.model_config, origin.tokenizer
    config = finetune_config(
        task=parts.task.name,
        kind=parts.task.kind.name,
        model=str(model),
        width=model_config.hidden_size,
        positions=model_config.max_position_embeddings,
        frozen_encoder=model_config.frozen_in_tasks,
        examples=len(parts.train),
        **plan.tuning(system),
    )
    data = finetune_data.featured(few, tokenizer, limits_of(config), Columns())
    steps = config.epochs * whole * data.train.items / config.batch_size
    with join(config.precision) as place:
        micro = choose_micro_tokens(place.device, bytes_per_token=model_config.bytes_per_token)
        with explaining_memory(place.device, micro):
            tuned, _ = tuning_model.build_model(config, data, origin)
            batches = TaskBatches(
                data.train,
                tokenizer,
                batch_size=config.batch_size,
                seed=derive_seed(config.seed, "batches"),
                micro_tokens=micro,
            )
            setup = time.monotonic() - began
            with Parallel(tuned, place) as parallel:
                step = time_steps(parallel, batches)
            scorer = Scorer(TorchBackend(tuned, place), tokenizer)
            evaluations = 0.0
            for part, (rows, features) in data.evaluated.items():
                began = time.monotonic()
                scorer.outputs(features)
                spent = (time.monotonic() - began) * len(parts.evaluated[part]) / len(rows)
                # The other splits are scored only once, by the best epoch.
                evaluations += spent * (config.epochs if part == data.deciding else 1)
    return setup + steps * step + evaluations


def measure_pairs(plan: Plan, model: Path, pairs: int) -> float:
    """Seconds to score `pairs` minimal pairs, estimated from a few of each paradigm."""
    assert plan.minimal_pairs is not None
    predictor = Model(model)
    began = time.monotonic()
    read_pairs(plan.minimal_pairs, plan.limit, predictor.tokenizer, max_length=POSITIONS)
    reading = time.monotonic() - began
    began = time.monotonic()
    limit = min(_PAIRS, plan.limit or _PAIRS)
    found = minimal_pairs(predictor, plan.minimal_pairs, limit=limit)
    computing = max(time.monotonic() - began - reading, 0.0)
    return reading + computing * pairs / found.overall.pairs


def _some(rows: list[Example], draw: np.random.Generator) -> list[Example]:
    if len(rows) <= _EXAMPLES:
        return rows
    return [rows[place] for place in sorted(draw.permutation(len(rows))[:_EXAMPLES])]


def time_steps(parallel: Parallel[Any], batches: Batches) -> float:
    """Seconds per training step after warming up; the weights of the model hardly change."""
    watch = _Watch()
    train(
        parallel,
        adamw(
            parallel.model, OptimizerConfig(weight_decay=0.01, beta1=0.9, beta2=0.98, epsilon=1e-6)
        ),
        [batches],
        # With such a long warm-up the learning rate stays close to 0.
        schedule=Schedule(
            steps=ENDLESS_STEPS,
            hours=None,
            learning_rate=1e-4,
            warmup_ratio=0.9,
            phases=(Phase(1, 8),),
        ),
        state=TrainerState(),
        config=LoopConfig(
            seed=0, max_grad_norm=1.0, evaluate_every=ENDLESS_STEPS, save_every=ENDLESS_STEPS
        ),
        reporter=Reporter(None),
        evaluate=dict,
        save=lambda: None,
        enough=watch,
    )
    return watch.seconds


@dataclass
class _Watch:
    """Called before every step; returns whether there were enough steps."""

    now: Callable[[], float] = time.monotonic
    _times: list[float] = field(default_factory=list)
    _warm: int = 0

    def __call__(self) -> bool:
        self._times.append(self.now())
        times = self._times
        steps = len(times) - 1
        if not self._warm:
            if steps and (steps >= _WARM_STEPS or times[-1] - times[0] >= _WARM_SECONDS):
                self._warm = steps
            return False
        return steps - self._warm >= _FEWEST_STEPS and times[-1] - times[self._warm] >= _SECONDS

    @property
    def seconds(self) -> float:
        """Mean seconds per step after warming up."""
        return (self._times[-1] - self._times[self._warm]) / (len(self._times) - 1 - self._warm)
