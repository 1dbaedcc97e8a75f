"""A plan is a pure function of measured speeds."""

import pytest

from bertsmith.comparison.plan import Plan
from bertsmith.comparison.timetable import (
    FEWEST_TOKENS,
    Speed,
    Speeds,
    make_timetable,
    timetable_lines,
    tokens_within,
)
from bertsmith.core.errors import UsageError

# 1,000 tokens a step: 10,000 and 2,000 tokens a second; 21 evaluations and the setup: 50 s, 160 s.
FAST = Speed(tokens=1000, step=0.1, evaluation=2, setup=8)
SLOW = Speed(tokens=1000, step=0.5, evaluation=5, setup=55)
SPEEDS = Speeds(
    pretraining={"bert": FAST, "elmo": SLOW},
    tuning={"rte": {"bert": 40, "elmo": 50}, "sst-2": {"bert": 100, "elmo": 110}},
    pairs={"bert": 30, "elmo": 60},
    measuring=20,
)
PLAN = Plan(corpus="c", tasks=("rte", "sst-2"), data="d", models=("bert", "elmo"), hours=1.0)


def test_all_systems_get_the_tokens_that_fit():
    # 3600 less 360 in reserve, 20 for measuring, 90 for pairs, 900 for fine-tunings, 210 fixed:
    # 2,020 seconds at 0.0006 seconds for a token of both.
    tokens = tokens_within(1.0, SPEEDS, seeds=3)
    assert tokens == 3_360_000
    assert 2_020 / 0.0006 - 10_000 < tokens <= 2_020 / 0.0006
    table = make_timetable(
        SPEEDS, seeds=3, hours=1.0, tokens=dict.fromkeys(("bert", "elmo"), tokens)
    )
    assert table.pretraining == pytest.approx({"bert": 50 + 336, "elmo": 160 + 1680})
    assert table.tuning == {
        "rte": {"bert": 120, "elmo": 150},
        "sst-2": {"bert": 300, "elmo": 330},
    }
    assert table.reserve == 360
    assert table.seconds == pytest.approx(386 + 1840 + 900 + 90 + 20 + 360)
    assert 3590 < table.seconds <= 3600


def test_more_seeds_leave_fewer_tokens():
    # Each further seed is 300 seconds.
    more, fewer = (tokens_within(1.0, SPEEDS, seeds=seeds) for seeds in (2, 4))
    assert more - fewer == pytest.approx(600 / 0.0006, rel=0.01)


def test_hours_too_few_to_learn_anything_are_refused():
    with pytest.raises(UsageError) as caught:
        tokens_within(0.4, SPEEDS, seeds=3)
    # 1,220 seconds fixed, 180 for the fewest tokens; a tenth more in reserve: 1,556 s.
    assert "hours=0.4 leaves 126,667 tokens for each of 2 pre-trainings" in str(caught.value)
    assert "after 15 min 00 s of fine-tuning" in str(caught.value)
    assert "at least hours=0.45" in str(caught.value)
    assert tokens_within(0.45, SPEEDS, seeds=3) >= FEWEST_TOKENS
    with pytest.raises(UsageError, match="leaves 0 tokens"):
        tokens_within(0.1, SPEEDS, seeds=3)


def test_pretrainings_on_the_clock_have_their_times():
    table = make_timetable(SPEEDS, seeds=1, clock=100.0)
    assert table.pretraining == {"bert": 100, "elmo": 100}
    assert table.tokens == pytest.approx({"bert": 1e6 * 29 / 30, "elmo": 2e5 * 29 / 30})
    assert table.hours is None
    assert table.reserve == pytest.approx(0.1 * table.seconds)


def test_the_plan_is_shown_step_by_step():
    tokens = dict.fromkeys(("bert", "elmo"), 3_360_000.0)
    table = make_timetable(SPEEDS, seeds=3, hours=1.0, tokens=tokens)
    lines = timetable_lines(table, PLAN, corpus_tokens=6_720_000)
    text = "\n".join(lines)
    [bert] = [line for line in lines if "10,000 tokens/s" in line]
    assert bert.split()[:6] == ["BERT", "6", "min", "26", "s", "3.36M"]
    [elmo] = [line for line in lines if "2,000 tokens/s" in line]
    assert elmo.endswith("5.0 times slower than BERT")
    assert "0.5 passes over the corpus each" in text
    assert [line.strip() for line in lines if line.startswith("  ") and line[2] != " "] == [
        "Pre-training",
        "Fine-tuning on rte, 3 seeds",
        "Fine-tuning on sst-2, 3 seeds",
        "Minimal pairs",
        "Whole comparison",
    ]
    assert lines[-1].split() == ["total", "59", "min", "56", "s"]
