"""Schedules by step, by a clock that the test moves, and by log."""

from pathlib import Path

import pytest

from bertsmith.core.errors import FolderError, UsageError
from bertsmith.training import schedule
from bertsmith.training.schedule import Moment, Phase, Schedule, read_log, read_replay

PHASES = (Phase(0.9, 128), Phase(0.1, 512))


class Clock:
    """Stands in for `time`; moves only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(schedule, "time", clock)
    return clock


def by_clock(log: Path | None, *, hours: float = 0.01) -> Schedule:
    return Schedule(
        steps=None, hours=hours, learning_rate=2.0, warmup_ratio=0.5, phases=PHASES, log=log
    )


def realise(log: Path, clock: Clock, seconds: list[float]) -> list[Moment]:
    plan = by_clock(log)
    moments = []
    for step, spent in enumerate(seconds):
        moments.append(plan.at(step))
        clock.now += spent
    moments.append(plan.at(len(seconds)))
    plan.close()
    return moments


def test_steps_decide_rate_phase_and_end() -> None:
    plan = Schedule(steps=100, hours=None, learning_rate=2.0, warmup_ratio=0.1, phases=PHASES)
    moments = [plan.at(step) for step in range(101)]
    assert [moments[step].learning_rate for step in (0, 5, 10, 55)] == pytest.approx([0, 1, 2, 1])
    assert [moments[step].length for step in (0, 89, 90, 99)] == [128, 128, 512, 512]
    assert [moment.over for moment in moments] == [False] * 100 + [True]


def test_what_is_over_first_ends_a_run_of_steps_and_hours(tmp_path: Path, clock: Clock) -> None:
    def moments(seconds: float) -> list[Moment]:
        log = tmp_path / f"{seconds}.jsonl"
        plan = Schedule(
            steps=4, hours=0.01, learning_rate=2.0, warmup_ratio=0.0, phases=PHASES[:1], log=log
        )
        found = [plan.at(0)]
        while not found[-1].over:
            clock.now += seconds
            found.append(plan.at(len(found)))
        plan.close()
        assert read_log(log, PHASES[:1]) == found
        return found

    # 36 seconds: with steps of 3 seconds the count ends it, with steps of 12 the clock.
    assert [moment.progress for moment in moments(3.0)] == [0, 0.25, 0.5, 0.75, 1]
    slow = moments(12.0)
    assert [moment.progress for moment in slow] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert [moment.learning_rate for moment in slow] == pytest.approx([2, 4 / 3, 2 / 3, 0])


def test_shares_that_do_not_add_up_in_binary_end_where_they_should() -> None:
    phases = tuple(Phase(0.1, 16 + index) for index in range(10))
    plan = Schedule(steps=10, hours=None, learning_rate=1.0, warmup_ratio=0.0, phases=phases)
    assert [plan.at(step).phase for step in range(10)] == list(range(10))


def test_the_clock_decides_and_the_log_repeats(tmp_path: Path, clock: Clock) -> None:
    log = tmp_path / "schedule.jsonl"
    # 36 seconds in all: warm-up until 18, the second phase from 32.4
    moments = realise(log, clock, [9.0, 9.0, 15.0, 4.0])
    assert [moment.learning_rate for moment in moments[:4]] == pytest.approx([0, 1, 2, 1 / 3])
    assert [moment.length for moment in moments[:4]] == [128, 128, 128, 512]
    assert [moment.elapsed for moment in moments] == [0, 9, 18, 33, 37]
    assert moments[4].over
    assert read_log(log, PHASES) == moments
    clock.now += 500
    again = by_clock(log)
    assert [again.at(step) for step in range(5)] == moments
    assert again.elapsed == 37
    again.close()


def test_after_the_log_the_clock_goes_on_from_it(tmp_path: Path, clock: Clock) -> None:
    log = tmp_path / "schedule.jsonl"
    moments = realise(log, clock, [9.0, 9.0])
    with log.open("ab") as file:
        file.write(b'{"step":3,"progr')
    clock.now += 500
    plan = by_clock(log)
    plan.set_clock(9.0)
    assert plan.at(2) == moments[2]
    clock.now += 6
    assert (plan.at(3).elapsed, plan.at(3).progress) == (24.0, pytest.approx(24 / 36))
    plan.close()
    assert [moment.step for moment in read_log(log, PHASES)] == [0, 1, 2, 3]


def test_a_log_that_ends_before_the_checkpoint_is_named(tmp_path: Path, clock: Clock) -> None:
    realise(tmp_path / "s.jsonl", clock, [1.0])
    plan = by_clock(tmp_path / "s.jsonl")
    with pytest.raises(FolderError, match=r"holds 2 steps.*taken at step 7"):
        plan.at(7)
    plan.close()


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (b'"step":1', b'"stop":1', "line 2 is not a step of a schedule"),
        (b'"step":1', b'"step":5', "line 2 is step 5, expected step 1"),
        (b'"length":128', b'"length":64', "line 1 belongs to phase 0 of length 64"),
    ],
)
def test_damage_in_a_log_is_named(
    tmp_path: Path, clock: Clock, old: bytes, new: bytes, found: str
) -> None:
    log = tmp_path / "s.jsonl"
    realise(log, clock, [1.0, 1.0])
    log.write_bytes(log.read_bytes().replace(old, new, 1))
    with pytest.raises(FolderError, match=found):
        read_log(log, PHASES)


def test_a_replay_ends_where_the_log_does(tmp_path: Path, clock: Clock) -> None:
    realise(tmp_path / "s.jsonl", clock, [1.0, 1.0])
    moments = read_replay(tmp_path / "s.jsonl", PHASES)
    assert [(moment.step, moment.over) for moment in moments] == [
        (0, False),
        (1, False),
        (2, False),
        (3, True),
    ]
    with pytest.raises(UsageError, match="no such file"):
        read_replay(tmp_path / "none", PHASES)
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError, match="contains no steps"):
        read_replay(tmp_path / "empty", PHASES)
