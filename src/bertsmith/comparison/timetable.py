"""Plans a comparison within given hours: tokens of every pre-training, and times of all parts.

A pure function of measured speeds (`speed`); written as `timetable.json` beside the plan.
"""

import math
from collections.abc import Mapping

import msgspec

from bertsmith.comparison.plan import Plan
from bertsmith.core.errors import UsageError, option
from bertsmith.core.terminal import amount, duration
from bertsmith.training.loop import EVALUATION_SHARE, EVALUATIONS

FEWEST_TOKENS = 300_000
"""Below about this many, a model learns little more than word frequencies."""
_RESERVE = 0.1
_LEAST_RESERVE = 60.0
# Systems slower than the fastest by this factor are pointed out.
_SLOW = 2.0


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Measured costs of a pre-training on this machine."""

    tokens: float
    """Tokens per step, averaged over the phases."""
    step: float
    """Seconds per step, averaged over the phases."""
    evaluation: float
    """Seconds per held-out evaluation."""
    setup: float
    """Seconds before the first step."""

    @property
    def rate(self) -> float:
        """Training speed in tokens per second, without evaluations."""
        return self.tokens / self.step

    @property
    def fixed(self) -> float:
        """Seconds that do not depend on the number of tokens."""
        return self.setup + (EVALUATIONS + 1) * self.evaluation

    def seconds(self, tokens: float) -> float:
        """Seconds of a whole pre-training."""
        return self.fixed + tokens / self.rate


class Speeds(msgspec.Struct, frozen=True, kw_only=True):
    """All measured costs."""

    pretraining: dict[str, Speed]
    """System -> costs of its pre-training."""
    tuning: dict[str, dict[str, float]]
    """Task -> system -> seconds per fine-tuning."""
    pairs: dict[str, float] = {}
    """Pre-trained system -> seconds to score the minimal pairs."""
    measuring: float
    """Seconds spent on measuring."""


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """All parts of a comparison with their planned times."""

    hours: float | None
    """Hours it was planned for; None if each pre-training has its own budget."""
    tokens: dict[str, float]
    """System -> tokens of its pre-training."""
    rates: dict[str, float]
    """System -> training speed in tokens per second."""
    pretraining: dict[str, float]
    """System -> seconds."""
    tuning: dict[str, dict[str, float]]
    """Task -> system -> seconds of the fine-tunings with all seeds."""
    pairs: dict[str, float]
    """System -> seconds."""
    measuring: float
    """Seconds."""
    reserve: float
    """Seconds for loading, the page, and other work on the machine."""

    @property
    def seconds(self) -> float:
        """Seconds of the whole comparison."""
        tunings = sum(sum(row.values()) for row in self.tuning.values())
        parts = (sum(self.pretraining.values()), tunings, sum(self.pairs.values()))
        return sum(parts) + self.measuring + self.reserve


def tokens_within(hours: float, speeds: Speeds, *, seeds: int) -> float:
    """Tokens per pre-training that keep the whole comparison within `hours`.

    The same number for every system, rounded down to three digits.

    Raises:
        UsageError: the tokens are too few to learn anything.
    """
    rows = speeds.pretraining.values()
    reserve = _reserve(hours * 3600)
    tunings = seeds * sum(sum(row.values()) for row in speeds.tuning.values())
    fixed = sum(row.fixed for row in rows) + tunings + sum(speeds.pairs.values())
    fixed += speeds.measuring
    of_token = sum(1 / row.rate for row in rows)
    tokens = max(0.0, (hours * 3600 - reserve - fixed) / of_token)
    if tokens < FEWEST_TOKENS:
        needed = fixed + FEWEST_TOKENS * of_token
        needed = max(needed / (1 - _RESERVE), needed + _LEAST_RESERVE) / 3600
        raise UsageError(
            f"{option('hours', float(f'{hours:g}'))} leaves {tokens:,.0f} tokens for each of "
            f"{len(rows)} pre-trainings, after {duration(tunings)} of fine-tuning. With fewer "
            f"than {FEWEST_TOKENS:,}, a model learns little more than word frequencies. "
            f"Give at least {option('hours', math.ceil(20 * needed) / 20)}, or fewer "
            f"{option('seeds')}, {option('tasks')} or systems."
        )
    rounding = 10 ** (math.floor(math.log10(tokens)) - 2)
    return float(math.floor(tokens / rounding) * rounding)


def make_timetable(
    speeds: Speeds,
    *,
    seeds: int,
    hours: float | None = None,
    tokens: Mapping[str, float] | None = None,
    clock: float | None = None,
) -> Timetable:
    """The planned times of all parts.

    Args:
        speeds: measured costs.
        seeds: fine-tunings of each system on each task.
        hours: time for the whole comparison, if the budget was planned from it.
        tokens: system -> tokens of its pre-training; give this or `clock`.
        clock: seconds of each pre-training.
    """
    rows = speeds.pretraining
    if tokens is None:
        spans = dict.fromkeys(rows, clock or 0.0)
        trained = 1 - EVALUATION_SHARE
        tokens = {name: row.rate * trained * spans[name] for name, row in rows.items()}
    else:
        spans = {name: row.seconds(tokens[name]) for name, row in rows.items()}
    table = Timetable(
        hours=hours,
        tokens=dict(tokens),
        rates={name: row.rate for name, row in rows.items()},
        pretraining=spans,
        tuning={
            task: {name: seeds * seconds for name, seconds in row.items()}
            for task, row in speeds.tuning.items()
        },
        pairs=speeds.pairs,
        measuring=speeds.measuring,
        reserve=0.0,
    )
    whole = hours * 3600 if hours else table.seconds / (1 - _RESERVE)
    return msgspec.structs.replace(table, reserve=_reserve(whole))


def _reserve(seconds: float) -> float:
    return max(_RESERVE * seconds, _LEAST_RESERVE)


def timetable_lines(table: Timetable, plan: Plan, corpus_tokens: int) -> list[str]:
    """The timetable as text, in order of execution."""
    titles = {system.name: system.title for system in plan.systems}
    # A system may use the pre-training of another one that is not compared itself.
    titles = {name: titles.get(name, name) for name in (*table.pretraining, *titles)}
    width = max(map(len, titles.values()))

    def row(title: str, seconds: float, note: str = "") -> str:
        return f"    {title:{width}}  {duration(seconds):>13}  {note}".rstrip()

    fastest = max(table.rates, key=lambda name: table.rates[name])
    total = sum(table.pretraining.values())
    lines = ["Planned times, from speeds measured on this machine:", "  Pre-training"]
    for name, seconds in table.pretraining.items():
        tokens = table.tokens[name]
        note = f"{amount(tokens)} tokens at {table.rates[name]:,.0f} tokens/s"
        slower = table.rates[fastest] / table.rates[name]
        if slower >= _SLOW:
            note += f", {slower:.1f} times slower than {titles[fastest]}"
        lines.append(row(titles[name], seconds, note))
    lines += [
        row(titles[system.name], 0, "not trained")
        for system in plan.systems
        if not system.is_trained
    ]
    read = max(table.tokens.values()) / corpus_tokens
    lines.append(row("total", total, f"{_few_digits(read)} passes over the corpus each"))
    for task, seconds_of in table.tuning.items():
        lines.append(f"  Fine-tuning on {task}, {plan.seeds} seed{'s' * (plan.seeds > 1)}")
        lines += [row(titles[name], seconds) for name, seconds in seconds_of.items()]
        if len(table.tuning) > 1 or len(seconds_of) > 1:
            lines.append(row("total", sum(seconds_of.values())))
    if table.pairs:
        lines.append("  Minimal pairs")
        lines += [row(titles[name], seconds) for name, seconds in table.pairs.items()]
    lines += [
        "  Whole comparison",
        row("measuring (done)", table.measuring),
        row("reserve", table.reserve, "loading, the page, other work on the machine"),
        row("total", table.seconds),
    ]
    return lines


def _few_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
