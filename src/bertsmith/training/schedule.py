"""What each step of a run is: its learning rate and phase, by count, by the clock, or by both.

A run of `--steps` is a function of the step alone. A run of `--hours` reads the clock, so what it
realised is written to a log, one line a step *before* the step is done; the log then decides those
steps again after a kill, or in a replay: the same numbers, whatever the clock says then.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from bertsmith.core.errors import FolderError, UsageError, explain_os_error, option
from bertsmith.core.storage import atomic_file, read_json_lines


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of pre-training at one sequence length (paper, appendix A.2)."""

    share: float
    """Part of the steps (or of the hours), in (0, 1]; the shares of a run add up to 1."""
    length: int
    """Maximum input length in tokens, including `[CLS]` and `[SEP]`."""


class Moment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the schedule."""

    step: int
    """Steps done before this one."""
    progress: float
    """Part of the run done before this step, in [0, 1]."""
    learning_rate: float
    phase: int
    """Index of the phase, from 0."""
    length: int
    """Maximum input length in tokens."""
    elapsed: float
    """Seconds on the run's clock when the step began."""
    over: bool = False
    """The run ends here; no step follows."""


def linear(progress: float, warmup_ratio: float) -> float:
    """Factor on the learning rate: a linear rise from 0, then a linear fall to 0 (appendix A.2).

    Args:
        progress: part of the run already done, in [0, 1].
        warmup_ratio: part of the run over which it rises, in [0, 1).
    """
    if progress < warmup_ratio:
        return progress / warmup_ratio
    return max(0.0, (1.0 - progress) / (1.0 - warmup_ratio))


class Schedule:
    """Answers what step `n` is; by count, by the clock, or by the log of a clock run."""

    def __init__(
        self,
        *,
        steps: int | None,
        hours: float | None,
        learning_rate: float,
        warmup_ratio: float,
        phases: Sequence[Phase],
        log: Path | None = None,
    ) -> None:
        """By `steps`, by `hours`, or by both: then the run ends with whichever is over first.

        A run with `hours` continues its `log` where it has one.

        Raises:
            FolderError: the log is damaged before its last line (a line cut short at the very end
                is what a kill leaves, and is dropped).
        """
        if steps is None and hours is None:
            raise ValueError("give steps, hours or both")
        self.steps = steps
        self.budget = None if hours is None else hours * 3600
        self.learning_rate = learning_rate
        self.warmup_ratio = warmup_ratio
        self.phases = tuple(phases)
        self._ends = [
            # Rounded, so that 0.3 + 0.6 ends where 0.9 does.
            round(sum(phase.share for phase in self.phases[: index + 1]), 9)
            for index in range(len(self.phases))
        ]
        self._started = time.monotonic()
        self.realised: list[Moment] = []
        self._file: IO[bytes] | None = None
        if hours is not None and log is not None:
            self.realised = read_log(log, self.phases) if log.exists() else []
            # Written anew, so that nothing follows a line that a kill cut short.
            write_log(log, self.realised)
            self._file = _append_to(log)

    @property
    def elapsed(self) -> float:
        """Seconds on the run's clock."""
        return time.monotonic() - self._started

    def set_clock(self, elapsed: float) -> None:
        """Makes the clock read `elapsed` now (after a resume: what it read at the checkpoint)."""
        self._started = time.monotonic() - elapsed

    def at(self, step: int) -> Moment:
        """What step `step` (from 0) is; to be asked in order, once per step."""
        if step < len(self.realised):
            moment = self.realised[step]
            self.set_clock(moment.elapsed)
            return moment
        counted = 0.0 if self.steps is None else min(step / self.steps, 1.0)
        if self.budget is None:
            return self._moment(step, counted)
        if step > len(self.realised):
            raise FolderError(
                f"The log of the schedule holds {len(self.realised)} steps, but the checkpoint was "
                f"taken at step {step}; restore schedule.jsonl, or start again in another folder."
            )
        moment = self._moment(step, max(counted, min(self.elapsed / self.budget, 1.0)))
        self.realised.append(moment)
        if self._file is not None:
            self._file.write(msgspec.json.encode(moment) + b"\n")
            self._file.flush()
        return moment

    def sync(self) -> None:
        """Makes the log durable; called before a checkpoint that relies on it."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def checksum(self, steps: int) -> str:
        """SHA-256 of the log's first `steps` steps; empty where there is no log."""
        if self.budget is None:
            return ""
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in self.realised[:steps])
        return hashlib.sha256(lines).hexdigest()

    def close(self) -> None:
        """Closes the log."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _moment(self, step: int, progress: float) -> Moment:
        phase = next((i for i, end in enumerate(self._ends) if progress < end), len(self._ends) - 1)
        rate = self.learning_rate * linear(progress, self.warmup_ratio)
        return Moment(
            step,
            progress,
            rate,
            phase,
            self.phases[phase].length,
            self.elapsed,
            over=progress >= 1.0,
        )


def read_log(path: Path, phases: Sequence[Phase]) -> list[Moment]:
    """The steps of a log; a last line that was cut short is left out.

    Raises:
        FolderError: a line before the last is not a step of a schedule, steps are missing, or a
            step's phase is not one of `phases`.
    """
    what = f"a step of a schedule; give the schedule.jsonl that a run with {option('hours')} wrote"
    moments: list[Moment] = []
    for number, moment in enumerate(read_json_lines(path, Moment, what), 1):
        if moment.step != len(moments) or (moments and moments[-1].over):
            raise FolderError(
                f"{path} line {number} is step {moment.step}, expected "
                f"{'no more steps' if moments and moments[-1].over else f'step {len(moments)}'}; "
                "restore the file from a good copy."
            )
        known = 0 <= moment.phase < len(phases)
        if not known or phases[moment.phase].length != moment.length:
            raise FolderError(
                f"{path} line {number} belongs to phase {moment.phase} of length {moment.length}, "
                "which is not in this run's settings; use the settings of the run that wrote it."
            )
        moments.append(moment)
    return moments


def write_log(path: Path, moments: Sequence[Moment]) -> None:
    """Writes a whole log."""
    with atomic_file(path) as file:
        file.writelines(msgspec.json.encode(moment) + b"\n" for moment in moments)


def read_replay(source: Path, phases: Sequence[Phase]) -> list[Moment]:
    """The schedule that a run realised, its end included, for another run to follow.

    Raises:
        UsageError: there is no such file, or it holds no step.
        FolderError: it is not a log of a schedule or does not fit `phases`.
    """
    if not source.is_file():
        raise UsageError(
            f"{option('replay', source)}: no such file; give the schedule.jsonl of a run with "
            f"{option('hours')}."
        )
    moments = read_log(source, phases)
    if not moments:
        raise UsageError(
            f"{option('replay', source)} contains no steps; give the log of a run that trained."
        )
    if not moments[-1].over:
        last = moments[-1]
        moments.append(msgspec.structs.replace(last, step=last.step + 1, over=True))
    return moments


def _append_to(path: Path) -> IO[bytes]:
    try:
        return path.open("ab")
    except OSError as error:
        raise explain_os_error(error, "write", path) from error
