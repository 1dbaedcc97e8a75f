"""Divides the minutes of a quickstart among its stages.

Pre-training and the first fine-tuning each get a share of the remaining time when they start, and
stop on time. The second fine-tuning does as many steps as the first. It may take all remaining time
except the report's, because the machine may have become slower; the first therefore gets less than
half of the time for both.
"""

from dataclasses import dataclass

FEWEST_EXAMPLES = 128
# Seconds to fill the blanks and draw the report on a slow machine.
_REPORT = 25.0
# Estimated seconds for loading, the last evaluation and writing. On a slow machine: a multiple of
# the time of the stages before the pre-training, up to a share of the total.
_OVERHEAD, _OVERHEAD_BY_STAGES, _OVERHEAD_SHARE = 5.0, 3.0, 0.15
# For both fine-tunings: a share of the total, up to so many seconds.
_TUNING_SHARE, _TUNING = 0.3, 135.0
_OF_FIRST = 0.38
# Share of a fine-tuning's time that its planned steps should need.
_PLANNED = 0.8
_SHORTEST = 3.0
# A forward pass costs a third of a training step.
_READING = 3


@dataclass(frozen=True)
class Budget:
    """The budget of a quickstart of `minutes`; all other times are in seconds."""

    minutes: float

    @property
    def tuning(self) -> float:
        """Minimum for both fine-tunings together, with all overhead."""
        return min(_TUNING_SHARE * 60 * self.minutes, _TUNING)

    def pretraining(self, left: float) -> float:
        """Time limit of the pre-training, with `left` seconds until the end of the quickstart."""
        total = 60 * self.minutes
        overhead = min(_OVERHEAD_BY_STAGES * (total - left), _OVERHEAD_SHARE * total)
        return max(left - _REPORT - self.tuning - max(overhead, _OVERHEAD), _SHORTEST)

    def first_tuning(self, left: float, overhead: float) -> float:
        """Time limit of the first fine-tuning.

        Args:
            left: seconds until the end of the quickstart.
            overhead: seconds that pre-training took beyond its limit.
        """
        return max(_OF_FIRST * (left - _REPORT) - max(overhead, _OVERHEAD), _SHORTEST)

    def second_tuning(self, left: float, overhead: float) -> float:
        """Time limit of the second fine-tuning, which does as many steps as the first.

        Args:
            left: seconds until the end of the quickstart.
            overhead: seconds that the first fine-tuning took beyond its limit.
        """
        overhead = max(overhead, _OVERHEAD)
        return max(left - max(_REPORT, 0.5 * overhead) - overhead, _SHORTEST)


def affordable_examples(
    seconds: float, tokens_per_second: float, *, epochs: int, dev: int, tokens: int
) -> int:
    """The number of training examples that fit into a fine-tuning's time, at least a few.

    Args:
        seconds: time limit of the fine-tuning.
        tokens_per_second: speed of the pre-training; fine-tuning is about as fast.
        epochs: passes over the examples, each followed by an evaluation.
        dev: number of dev examples.
        tokens: approximate tokens per example.
    """
    found = _PLANNED * seconds * tokens_per_second / (epochs * tokens) - dev / _READING
    return max(int(found), FEWEST_EXAMPLES)
