"""How the minutes of a quickstart are shared out, from how much of them is left.

Pre-training and the first fine-tuning each get a share when they begin, and their clocks hold them
to it. The second fine-tuning does the steps of the first and may take all that is left but for the
report, in case the machine has become slower: the first gets less than half of what both have.
"""

from dataclasses import dataclass

FEWEST_EXAMPLES = 128
# What filling the blanks and drawing the report takes on a slow machine.
_REPORT = 25.0
# Loading, the last evaluation and writing, before it has been measured; and, as a multiple of the
# time of the stages before the pre-training, on a slow machine, to a share of the whole.
_OVERHEAD, _OVERHEAD_BY_STAGES, _OVERHEAD_SHARE = 5.0, 3.0, 0.15
# Both fine-tunings together.
_TUNING_SHARE, _TUNING = 0.3, 135.0
_OF_FIRST = 0.38
# Of the time of a fine-tuning, what is planned to be needed.
_PLANNED = 0.8
_SHORTEST = 3.0
# Reading an example costs a third of training on it: no gradients.
_READING = 3


@dataclass(frozen=True)
class Budget:
    """Shares of a quickstart of so many minutes; everything else is in seconds."""

    minutes: float

    @property
    def tuning(self) -> float:
        """What both fine-tunings together get at least, everything counted."""
        return min(_TUNING_SHARE * 60 * self.minutes, _TUNING)

    def pretraining(self, left: float) -> float:
        """On the clock of the pre-training.

        Args:
            left: until the quickstart should be over.
        """
        total = 60 * self.minutes
        overhead = min(_OVERHEAD_BY_STAGES * (total - left), _OVERHEAD_SHARE * total)
        return max(left - _REPORT - self.tuning - max(overhead, _OVERHEAD), _SHORTEST)

    def first_tuning(self, left: float, overhead: float) -> float:
        """On the clock of the first fine-tuning.

        Args:
            left: until the quickstart should be over.
            overhead: of the pre-training: what its stage took beyond its clock.
        """
        return max(_OF_FIRST * (left - _REPORT) - max(overhead, _OVERHEAD), _SHORTEST)

    def second_tuning(self, left: float, overhead: float) -> float:
        """The most on the clock of the second fine-tuning, which does the steps of the first.

        Args:
            left: until the quickstart should be over.
            overhead: of the first: what it took beyond its clock.
        """
        overhead = max(overhead, _OVERHEAD)
        return max(left - max(_REPORT, 0.5 * overhead) - overhead, _SHORTEST)


def affordable_examples(
    seconds: float, tokens_per_second: float, *, epochs: int, dev: int, tokens: int
) -> int:
    """How many training examples a fine-tuning should get through in time, at least a few.

    Args:
        seconds: on its clock.
        tokens_per_second: of the pre-training, which trains about as fast.
        epochs: passes over the examples, each with an evaluation.
        dev: examples of an evaluation.
        tokens: of an example, about.
    """
    found = _PLANNED * seconds * tokens_per_second / (epochs * tokens) - dev / _READING
    return max(int(found), FEWEST_EXAMPLES)
