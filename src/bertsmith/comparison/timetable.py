"""A comparison of so many hours: what every pre-training gets, and when each part is done.

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
"""Below about this many a model knows little more than how often each word occurs."""
_RESERVE = 0.1
_LEAST_RESERVE = 60.0
# A system that takes so many times as long as the fastest is named.
_SLOW = 2.0


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """What a pre-training costs on this machine."""

    tokens: float
    """Of a step, the mean over the phases."""
    step: float
    """Seconds of a step, the mean over the phases."""
    evaluation: float
    """Seconds of a held-out evaluation."""
    setup: float
    """Seconds before the first step."""

    @property
    def rate(self) -> float:
        """Tokens per second of the training steps."""
        return self.tokens / self.step

    @property
    def fixed(self) -> float:
        """Seconds that do not depend on the tokens."""
        return self.setup + (EVALUATIONS + 1) * self.evaluation

    def seconds(self, tokens: float) -> float:
        """Of a whole pre-training."""
        return self.fixed + tokens / self.rate


class Speeds(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    pretraining: dict[str, Speed]
    """By system, of those that are trained."""
    tuning: dict[str, dict[str, float]]
    """Task -> system -> seconds of one fine-tuning."""
    pairs: dict[str, float] = {}
    """Seconds of scoring the minimal pairs, by pre-trained system."""
    measuring: float
    """Seconds that measuring took."""


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """What is done, and how long each part should take."""

    hours: float | None
    """What it was made for; None: the budget is each pre-training's."""
    tokens: dict[str, float]
    """Of each pre-training."""
    rates: dict[str, float]
    """Tokens per second of each pre-training's steps."""
    pretraining: dict[str, float]
    """Seconds, by system."""
    tuning: dict[str, dict[str, float]]
    """Task -> system -> seconds of the fine-tunings with all seeds."""
    pairs: dict[str, float]
    """Seconds, by system."""
    measuring: float
    """Seconds."""
    reserve: float
    """Seconds for loading, the page, and other work on the machine."""

    @property
    def seconds(self) -> float:
        """Of everything."""
        tunings = sum(sum(row.values()) for row in self.tuning.values())
        parts = (sum(self.pretraining.values()), tunings, sum(self.pairs.values()))
        return sum(parts) + self.measuring + self.reserve


def tokens_within(hours: float, speeds: Speeds, *, seeds: int) -> float:
    """Tokens of each pre-training with which everything is done in so many hours.

    The same number for every system, rounded down to three digits.

    Raises:
        UsageError: no model would learn anything from so few.
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
            f"{len(rows)} pre-trainings, after {duration(tunings)} of fine-tuning; with fewer "
            f"than {FEWEST_TOKENS:,} a model learns little more than how often each word occurs. "
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
    """When each part is done.

    Args:
        speeds: as measured.
        seeds: fine-tunings of each system on each task.
        hours: of everything, where the budget was made for them.
        tokens: of each pre-training; exclusive with `clock`.
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


def told(table: Timetable, plan: Plan, corpus_tokens: int) -> list[str]:
    """The timetable for people, in the order in which things are done."""
    titles = {system.name: system.title for system in plan.systems}
    # A system that uses another's pre-training may be there without that other.
    titles = {name: titles.get(name, name) for name in (*table.pretraining, *titles)}
    width = max(map(len, titles.values()))

    def row(title: str, seconds: float, note: str = "") -> str:
        return f"    {title:{width}}  {duration(seconds):>13}  {note}".rstrip()

    fastest = max(table.rates, key=lambda name: table.rates[name])
    total = sum(table.pretraining.values())
    lines = ["Plan, from speeds measured on this machine:", "  Pre-training"]
    for name, seconds in table.pretraining.items():
        tokens = table.tokens[name]
        note = f"{amount(tokens)} tokens at {table.rates[name]:,.0f} tokens/s"
        slower = table.rates[fastest] / table.rates[name]
        if slower >= _SLOW:
            note += f", {slower:.1f} times as slow as {titles[fastest]}"
        lines.append(row(titles[name], seconds, note))
    lines += [
        row(titles[system.name], 0, "initial weights only")
        for system in plan.systems
        if not system.is_trained
    ]
    read = max(table.tokens.values()) / corpus_tokens
    lines.append(row("together", total, f"{_few_digits(read)} times the corpus each"))
    for task, seconds_of in table.tuning.items():
        lines.append(f"  Fine-tuning on {task}, {plan.seeds} seed{'s' * (plan.seeds > 1)}")
        lines += [row(titles[name], seconds) for name, seconds in seconds_of.items()]
        if len(table.tuning) > 1 or len(seconds_of) > 1:
            lines.append(row("together", sum(seconds_of.values())))
    if table.pairs:
        lines.append("  Minimal pairs")
        lines += [row(titles[name], seconds) for name, seconds in table.pairs.items()]
    lines += [
        "  Everything",
        row("measuring, done", table.measuring),
        row("reserve", table.reserve, "loading, the page, other work on the machine"),
        row("in all", table.seconds),
    ]
    return lines


def _few_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
