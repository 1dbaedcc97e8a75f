"""How far a long job is, on standard error: a bar on a terminal, now and then a line in a log."""

import sys
import time
import unicodedata
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_SECONDS = 15.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{amount(speed)}/s" if speed else "")


class Bar:
    """Call it with the stage, how much is done and the total; use it as a context manager.

    Args:
        unit: what is counted, e.g. `characters`, by stage; a stage that is not there counts pieces
            of no name.
    """

    def __init__(self, **unit: str) -> None:
        self._unit = unit
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._tasks: dict[str, tuple[TaskID, float]] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[shown]}"),
                _Rate(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """`done` of `total` (None: not known) in `stage`; a new stage gets a row of its own."""
        shown = amount(done) + (f" of {amount(total)}" if total else "")
        shown += f" {self._unit.get(stage, '')}".rstrip()
        now = time.monotonic()
        if self._bar is not None:
            if stage not in self._tasks:
                self._tasks[stage] = (self._bar.add_task(stage, total=total, shown=shown), now)
            self._bar.update(self._tasks[stage][0], completed=done, total=total, shown=shown)
        else:
            _, began = self._tasks.setdefault(stage, (TaskID(0), now))
            if now - self._last_line >= PLAIN_SECONDS:
                self._last_line = now
                left = (
                    f", ETA {clock((now - began) * (total - done) / done)}"
                    if total and done
                    else ""
                )
                print(f"{stage}: {shown}{left}", file=sys.stderr, flush=True)


def amount(count: float) -> str:
    """`1,234`, `12.3k`, `4.56M`: short numbers."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            return f"{count / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{count:,.0f}"


def clock(seconds: float) -> str:
    """`0:01:23`."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def duration(seconds: float) -> str:
    """`8 s`, `12 min 42 s`, `3 h 05 min`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole // 60 % 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def percent(probability: float) -> str:
    """A probability as percent; several blanks together soon have so little that 0.0% says none."""
    return f"{probability:6.1%}" if probability >= 0.001 else f"{100 * probability:5.0e}%"


def columns(text: str) -> int:
    """Columns of a terminal that a text takes: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
