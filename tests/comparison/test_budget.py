"""Budgets are read as written and pay for as many steps as they should."""

import pytest

from bertsmith.comparison.budget import Budget, steps_of
from bertsmith.comparison.matching import count_parameters, matched_configs
from bertsmith.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [("tokens=5e6", "tokens", 5e6), ("flops=1e14", "flops", 1e14), (" hours = 0.1", "hours", 0.1)],
)
def test_budgets_are_read(text, unit, amount):
    assert Budget.parse(text) == Budget(unit, amount)


@pytest.mark.parametrize("text", ["", "5e6", "tokens=", "tokens=-1", "hours=nan", "tokens=inf"])
def test_other_budgets_are_refused(text):
    with pytest.raises(UsageError, match="such as tokens=5e6"):
        Budget.parse(text)


def test_steps_that_a_budget_pays_for():
    assert steps_of(Budget("tokens", 1000), tokens=100, flops=50, least=500) == 10
    assert steps_of(Budget("flops", 1000), tokens=100, flops=50, least=500) == 20
    with pytest.raises(UsageError, match=r"2 steps.*tokens=6\.2e\+02"):
        steps_of(Budget("tokens", 200), tokens=103, flops=50, least=616)
    assert steps_of(Budget("tokens", 6.2e2), tokens=103, flops=50, least=616) == 6


@pytest.mark.parametrize("size", ["tiny", "mini", "small", "base"])
@pytest.mark.parametrize("vocab_size", [4000, 8000, 30000])
def test_the_three_are_of_one_size(size, vocab_size):
    shapes = matched_configs(size, vocab_size=vocab_size)
    bert, gpt, elmo = (count_parameters(shapes[name]) for name in ("bert", "gpt", "elmo"))
    assert abs(gpt - bert) < 0.05 * bert
    assert abs(elmo - bert) < 0.01 * bert
    assert shapes["elmo"].hidden_size == shapes["bert"].hidden_size
