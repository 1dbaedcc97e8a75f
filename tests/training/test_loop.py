"""The loop on a stand-in model: exact accumulation, bit-exact resume, divergence, signals."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bertsmith.core import stop
from bertsmith.core.errors import DivergedError, Stopped, UsageError
from bertsmith.core.runtime import World
from bertsmith.core.stop import stop_signal
from bertsmith.training import loop
from bertsmith.training.checkpoint import TrainerState
from bertsmith.training.config import LoopConfig, OptimizerConfig
from bertsmith.training.loop import evaluation_due, train
from bertsmith.training.optimizer import FORGET_EVERY, adamw, load_state_by_name, state_by_name
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.parallel.place import Place
from bertsmith.training.progress import Reporter, read_metrics
from bertsmith.training.schedule import Moment, Phase, Schedule

PLACE = Place(World(), torch.device("cpu"), "fp32")
SETTINGS = LoopConfig(seed=3, max_grad_norm=1.0, evaluate_every=100, save_every=100)


@dataclass(frozen=True)
class ToyBatch:
    x_TD: Tensor
    y_T: Tensor
    rare: bool

    @property
    def counts(self) -> dict[str, int]:
        return {"square": len(self.y_T), "rare": int(self.rare) * 2}

    @property
    def tokens(self) -> int:
        return len(self.y_T)

    def to(self, device: torch.device) -> "ToyBatch":
        return replace(self, x_TD=self.x_TD.to(device))


class ToyModel(nn.Module):
    """A regression with two objectives, one of which only some batches ask for."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(dropout), nn.Linear(8, 1))
        self.calls = 0
        self.poison_at = -1

    def losses(self, batch: ToyBatch) -> dict[str, Tensor]:
        assert self.training
        self.calls += 1
        guess_T = self.layers(batch.x_TD).squeeze(-1)
        loss = (guess_T - batch.y_T).square().sum()
        if self.calls == self.poison_at:
            loss = loss * torch.nan
        return {"square": loss, "rare": guess_T[:2].abs().sum() * batch.rare}


class ToyBatches:
    """24 rows a step, cut into `pieces` micro-batches of unequal length."""

    def __init__(self, cuts: Sequence[int] = (), salt: int = 0) -> None:
        self.cuts = (0, *cuts, 24)
        self.salt = salt
        self.asked: list[int] = []

    def at(self, step: int, rank: int, world: int) -> list[ToyBatch]:
        self.asked.append(step)
        generator = torch.Generator().manual_seed(1000 * self.salt + step)
        x_TD = torch.randn(24, 4, generator=generator)
        y_T = x_TD.sum(1)
        rows = [slice(a, b) for a, b in zip(self.cuts, self.cuts[1:], strict=False)]
        return [ToyBatch(x_TD[row], y_T[row], rare=row.start == 0) for row in rows]


@dataclass
class Run:
    """A model with what trains it."""

    model: ToyModel
    state: TrainerState
    optimizer: torch.optim.AdamW
    evaluations: int = 0
    saves: int = 0

    @property
    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.model.parameters()]


def start(dropout: float = 0.0) -> Run:
    model = ToyModel(dropout)
    optimizer = adamw(
        model, OptimizerConfig(weight_decay=0.01, beta1=0.9, beta2=0.98, epsilon=1e-6)
    )
    return Run(model, TrainerState(), optimizer)


def go(
    run: Run,
    phases: Sequence[ToyBatches],
    *,
    steps: int = 12,
    out: Path | None = None,
    settings: LoopConfig = SETTINGS,
    saved: Any = None,
) -> Run:
    shares = tuple(Phase(1 / len(phases), 8 + index) for index in range(len(phases)))
    schedule = Schedule(
        steps=steps, hours=None, learning_rate=0.05, warmup_ratio=0.1, phases=shares
    )

    def evaluate() -> dict[str, float]:
        run.model.eval()
        run.evaluations += 1
        return {"loss": 1.0}

    def save() -> None:
        run.saves += 1
        if saved is not None:
            saved()

    with Reporter(out) as reporter:
        train(
            Parallel(run.model, PLACE),
            run.optimizer,
            phases,
            schedule=schedule,
            state=run.state,
            config=settings,
            reporter=reporter,
            evaluate=evaluate,
            save=save,
        )
    return run


def test_faint_moments_are_forgotten_by_the_number_of_the_step(monkeypatch) -> None:
    run, forgotten = start(), []
    monkeypatch.setattr(loop, "forget_faint", lambda optimizer: forgotten.append(run.state.step))
    go(run, [ToyBatches(())], steps=2 * FORGET_EVERY + 1)
    assert forgotten == [FORGET_EVERY, 2 * FORGET_EVERY]


def test_micro_batches_equal_one_batch(tmp_path: Path) -> None:
    curves = []
    for index, cuts in enumerate([(), (5,), (2, 3, 19)]):
        go(start(), [ToyBatches(cuts)], out=tmp_path / str(index))
        records = read_metrics(tmp_path / str(index) / "metrics.jsonl")
        curves.append([r["loss"] for r in records if r["kind"] == "train"])
    assert len(curves[0]) == 12
    assert curves[0][-1] < 0.5 * curves[0][0]
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    assert curves[2] == pytest.approx(curves[0], rel=1e-5)


def test_the_first_loss_is_each_sum_over_its_own_count(tmp_path: Path) -> None:
    run = start()
    [batch] = ToyBatches().at(0, 0, 1)
    with torch.no_grad():
        sums = run.model.losses(batch)
    go(run, [ToyBatches((5,))], steps=1, out=tmp_path)
    record = read_metrics(tmp_path / "metrics.jsonl")[1]
    assert record["square"] == pytest.approx(float(sums["square"]) / 24)
    assert record["rare"] == pytest.approx(float(sums["rare"]) / 2)
    assert record["loss"] == pytest.approx(record["square"] + record["rare"])
    assert (record["step"], record["tokens"]) == (1, 24)
    assert record["tokens_per_second"] > 0


def test_dropout_follows_the_step_so_that_a_resume_is_exact() -> None:
    whole = go(start(dropout=0.5), [ToyBatches((9,))])
    other = go(start(dropout=0.0), [ToyBatches((9,))])
    assert not torch.equal(whole.weights[0], other.weights[0])
    first = start(dropout=0.5)
    kept: dict[str, Any] = {}

    def keep() -> None:
        if first.state.step == 5:
            kept["weights"] = {k: v.clone() for k, v in first.model.state_dict().items()}
            kept["state"] = TrainerState(step=5, phase_starts=[0])
            moments = state_by_name(first.model, first.optimizer)
            kept["moments"] = {name: value.clone() for name, value in moments.items()}

    go(first, [ToyBatches((9,))], settings=replace(SETTINGS, save_every=5), saved=keep)
    second = start(dropout=0.5)
    second.model.load_state_dict(kept["weights"])
    second.state = kept["state"]
    load_state_by_name(second.model, second.optimizer, kept["moments"], source="memory")
    torch.manual_seed(999)
    go(second, [ToyBatches((9,))])
    assert all(torch.equal(a, b) for a, b in zip(whole.weights, second.weights, strict=True))
    assert (first.saves, second.saves) == (3, 1)


def test_each_phase_counts_its_own_steps() -> None:
    phases = [ToyBatches(salt=1), ToyBatches(salt=2)]
    run = go(start(), phases, steps=6)
    assert [batches.asked for batches in phases] == [[0, 1, 2], [0, 1, 2]]
    assert run.state.phase_starts == [0, 3]
    again = [ToyBatches(salt=1), ToyBatches(salt=2)]
    resumed = start()
    resumed.state = TrainerState(step=5, phase_starts=[0, 3])
    go(resumed, again, steps=6)
    assert [batches.asked for batches in again] == [[], [2]]


def test_evaluations_and_saves_come_when_due_and_once() -> None:
    run = go(start(), [ToyBatches()], settings=replace(SETTINGS, evaluate_every=6, save_every=6))
    assert (run.evaluations, run.saves) == (3, 2)
    assert (run.state.evaluated_at, run.state.evaluation) == (12, {"loss": 1.0})
    go(run, [ToyBatches()])
    assert (run.evaluations, run.saves) == (3, 2)


def test_without_a_number_evaluations_come_at_every_twentieth_of_the_run(tmp_path: Path) -> None:
    by_progress = replace(SETTINGS, evaluate_every=0)
    go(start(), [ToyBatches()], steps=50, out=tmp_path / "whole", settings=by_progress)
    records = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    evaluated = [record["step"] for record in records if record["kind"] == "evaluation"]
    assert evaluated == [-(-50 * twentieth // 20) for twentieth in range(21)]
    # A run of few steps has no more evaluations than steps, and the one at the end.
    assert go(start(), [ToyBatches()], steps=3, settings=by_progress).evaluations == 4
    # A resume evaluates where the run would have.
    resumed = start()
    resumed.state = TrainerState(
        step=28, phase_starts=[0], evaluated_at=28, evaluated_progress=28 / 50
    )
    go(resumed, [ToyBatches()], steps=50, out=tmp_path / "resumed", settings=by_progress)
    records = read_metrics(tmp_path / "resumed" / "metrics.jsonl")
    assert [r["step"] for r in records if r["kind"] == "evaluation"] == [
        step for step in evaluated if step > 28
    ]


def test_without_a_number_checkpoints_come_every_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 4 minutes between looks at the clock; a step looks twice.
    monkeypatch.setattr(Schedule, "elapsed", property(lambda self: next(minutes) * 60.0))
    minutes = iter(range(0, 10_000, 4))
    run, saved = start(), []
    go(
        run,
        [ToyBatches()],
        settings=replace(SETTINGS, save_every=0),
        saved=lambda: saved.append(run.state.step),
    )
    assert saved == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("call", [1, 6])
def test_divergence_stops_before_the_weights_change(call: int) -> None:
    run = start()
    healthy = go(start(), [ToyBatches((9,))], steps=12)
    run.model.poison_at = call
    reached: list[list[Tensor]] = [run.weights]
    settings = replace(SETTINGS, save_every=1)
    with pytest.raises(DivergedError, match=r"diverged at step .*square nan.*gradient norm nan"):
        go(
            run,
            [ToyBatches((9,))],
            settings=settings,
            saved=lambda: reached.append(run.weights),
        )
    # two micro-batches a step: the 6th call is in step 3
    assert run.state.step == (call - 1) // 2
    assert all(torch.equal(a, b) for a, b in zip(run.weights, reached[-1], strict=True))
    assert not torch.equal(run.weights[0], healthy.weights[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_finishes_the_step_saves_and_stops(number: signal.Signals) -> None:
    run = start()
    before = signal.getsignal(number)

    class Killing(ToyBatches):
        def at(self, step: int, rank: int, world: int) -> list[ToyBatch]:
            if step == 4:
                os.kill(os.getpid(), number)
            return super().at(step, rank, world)

    with pytest.raises(Stopped, match=rf"Stopped by {number.name} at step 5.*resume=T") as caught:
        go(run, [Killing()])
    assert caught.value.exit_code == 128 + number
    assert (run.state.step, run.saves) == (5, 1)
    assert signal.getsignal(number) is before


def test_a_second_signal_at_once_is_a_slip_and_a_later_one_ends_it(monkeypatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(stop.time, "monotonic", lambda: clock[0])
    # Whatever the suite was started from, which may ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_signal() as stopping:
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            assert stopping.number == signal.SIGINT
            clock[0] += 2
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_step_without_work_is_an_error() -> None:
    class Empty(ToyBatches):
        def at(self, step: int, rank: int, world: int) -> list[ToyBatch]:
            return []

    with pytest.raises(UsageError, match="1 of 1 processes have no work"):
        go(start(), [Empty()])


def test_evaluations_by_the_clock_take_a_thirtieth_of_it() -> None:
    state = TrainerState(
        step=7, evaluated_at=6, evaluated_progress=0.2, evaluation_seconds=30, evaluation_ended=100
    )

    def due(elapsed: float, *, by_clock: bool, over: bool = False) -> bool:
        moment = Moment(7, 0.9, 1e-3, 0, 32, elapsed, over)
        return evaluation_due(state, moment, 0, by_clock=by_clock)

    assert due(100 + 869, by_clock=False)
    assert not due(100 + 869, by_clock=True)
    assert due(100 + 870, by_clock=True)
    assert due(101, by_clock=True, over=True), "the end is always evaluated"
