"""Speeds are measured by the real loop, and time is taken where it should be."""

import pytest
from conftest import write_toy_corpus
from official_files import sts_b

from bertsmith.comparison.job import foresee
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.speed import _Watch
from bertsmith.core.terminal import duration
from bertsmith.training.schedule import Phase

# Much is trained here, perhaps beside other work.
pytestmark = pytest.mark.timeout(1500)


@pytest.mark.parametrize(
    ("spans", "steps", "mean"),
    [
        # Three to warm up, then as many as make a second and a half.
        ([0.3, 0.2, 0.2, *[0.4] * 9], 3 + 4, 0.4),
        ([0.1, 0.1, 0.1, *[0.6] * 9], 3 + 3, 0.6),
        # Long steps: one to warm up, two that count.
        ([30, 20, 22, 20], 1 + 2, 21),
    ],
)
def test_a_few_steps_are_timed_after_a_few_to_warm_up(spans, steps, mean):
    times = [0.0]
    watch = _Watch(now=lambda: times[-1])
    done = 0
    while not watch():
        times.append(times[-1] + spans[done])
        done += 1
    assert watch.seconds == pytest.approx(mean)
    assert done == steps


def test_every_run_is_measured_and_nothing_is_written(tmp_path):
    write_toy_corpus(tmp_path / "corpus", unused=[f"x{number}" for number in range(3000)])
    sts_b(tmp_path / "data" / "STS-B")
    pair = '{"sentence_good": "w1 w1 w2", "sentence_bad": "w1 w2 w9"}\n'
    (tmp_path / "pairs.jsonl").write_text(pair * 10)
    plan = Plan(
        corpus=str(tmp_path / "corpus"),
        tasks=("sts-b",),
        data=str(tmp_path / "data"),
        models=("bert",),
        ablations=("untrained", "left-to-right+bilstm"),
        budget="tokens=20000",
        minimal_pairs=str(tmp_path / "pairs.jsonl"),
        seeds=2,
        size="tiny",
        batch_size=16,
        phases=(Phase(1.0, 32),),
        epochs=1,
    )
    before = sorted(tmp_path.rglob("*"))
    table, lines = foresee(plan, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before
    assert list(table.pretraining) == ["bert", "left-to-right"]
    assert list(table.tuning["sts-b"]) == ["bert", "untrained", "left-to-right+bilstm"]
    # The same network, so it was not measured twice.
    assert table.tuning["sts-b"]["bert"] == table.tuning["sts-b"]["untrained"]
    # Of the systems that are compared, those with a pre-trained model of their own.
    assert list(table.pairs) == ["bert", "untrained"]
    assert min(table.pairs.values()) > 0
    assert min(table.rates.values()) > 0
    assert table.tokens["bert"] == pytest.approx(20_000, rel=0.05)
    for name, seconds in table.pretraining.items():
        assert seconds > table.tokens[name] / table.rates[name]
    assert 0 < table.measuring < table.seconds
    assert f"in all{duration(table.seconds):>20}".split()[-1] == lines[-1].split()[-1]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(7.6, "8 s"), (59.6, "1 min 00 s"), (762, "12 min 42 s"), (11_100, "3 h 05 min")],
)
def test_durations_are_told_as_people_say_them(seconds, shown):
    assert duration(seconds) == shown
