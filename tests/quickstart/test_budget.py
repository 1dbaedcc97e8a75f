"""The shares of the time, on machines of every speed, without a clock."""

import pytest

from bertsmith.quickstart.budget import FEWEST_EXAMPLES, Budget, affordable_examples

EPOCHS, DEV, TOKENS, BATCH = 3, 600, 45, 16
MOST = 6000


class Machine:
    """Does everything of a quickstart so many times slower than a quiet one, by a clock of ours."""

    def __init__(self, minutes: float) -> None:
        self.budget, self.total = Budget(minutes), 60 * minutes
        self.now = 0.0
        self.steps: list[int] = []

    @property
    def left(self) -> float:
        return self.total - self.now

    def run(self, slower: float, *, in_tuning: float = 1.0, second: float = 1.0) -> None:
        """`in_tuning`: slower still in fine-tuning; `second`: and in the second fine-tuning."""
        self.now += 6 * slower  # text, vocabulary, corpus
        training = self.budget.pretraining(self.left)
        self.now += training + 3 * slower
        seconds = self.budget.first_tuning(self.left, 3 * slower)
        examples = min(
            MOST,
            affordable_examples(seconds, 12_000 / slower, epochs=EPOCHS, dev=DEV, tokens=TOKENS),
        )
        most, overhead = EPOCHS * -(-examples // BATCH), 3 * slower * in_tuning
        self._tune(seconds, most, slower * in_tuning, overhead)
        seconds = self.budget.second_tuning(self.left, overhead)
        slower *= in_tuning * second
        self._tune(seconds, self.steps[0], slower, 3 * slower)
        self.now += 2 * slower

    def _tune(self, seconds: float, most: int, slower: float, overhead: float) -> None:
        step = BATCH * TOKENS / 12_000 * slower
        steps = min(most, max(int(seconds / step), 1))
        self.steps.append(steps)
        self.now += steps * step + overhead


@pytest.mark.parametrize("minutes", [9.0, 60.0])
@pytest.mark.parametrize("slower", [0.25, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("in_tuning", [1.0, 2.0, 4.0])
def test_it_ends_in_time_and_trains_both_models_for_as_many_steps(minutes, slower, in_tuning):
    machine = Machine(minutes)
    machine.run(slower, in_tuning=in_tuning)
    # Where all is 16 times slower, loading and reporting alone take minutes.
    assert machine.now <= machine.total + (60 if slower * in_tuning > 8 else 0)
    if slower * in_tuning <= 8:
        assert machine.steps[0] == machine.steps[1]
    if in_tuning == 1:
        assert machine.now > 0.75 * machine.total


@pytest.mark.parametrize("second", [1.2, 1.5, 3.0, 6.0])
def test_a_machine_that_becomes_slower_at_the_end_cuts_the_second_fine_tuning(second):
    machine = Machine(9.0)
    machine.run(2.0, second=second)
    assert machine.now <= machine.total + (60 if second > 3 else 0)
    assert (machine.steps[0] == machine.steps[1]) == (second <= 1.5)


def test_what_two_fine_tunings_get():
    budget = Budget(9.0)
    assert budget.tuning == 135
    assert Budget(2.0).tuning == pytest.approx(36)
    # 540 seconds less 25 for the report, 135 for fine-tuning and 5 for loading.
    assert budget.pretraining(540.0) == pytest.approx(375)
    # On a slow machine, three times the time of the stages before for loading and the like.
    assert budget.pretraining(520.0) == pytest.approx(300)
    assert budget.pretraining(400.0) == pytest.approx(159)
    assert budget.first_tuning(160.0, 10.0) == pytest.approx(0.38 * 135 - 10)
    assert budget.second_tuning(100.0, 10.0) == pytest.approx(65)
    # Late, everything is as short as can be.
    late = (budget.pretraining(0), budget.first_tuning(-9, 0), budget.second_tuning(-9, 0))
    assert late == (3, 3, 3)


def test_as_many_examples_as_the_time_allows():
    # 60 s at 12,000 tokens a second: 720,000, of which four fifths are planned with.
    found = affordable_examples(60.0, 12_000.0, epochs=3, dev=600, tokens=40)
    assert found == 4800 - 200
    few = affordable_examples(3.0, 200.0, epochs=3, dev=600, tokens=40)
    assert few == FEWEST_EXAMPLES == 128
