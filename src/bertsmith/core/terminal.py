"""How far a long job is, on standard error: a bar on a terminal, now and then a line in a log."""

import sys
import time
import unicodedata
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from bertsmith.core.remote import in_urls

PLAIN_SECONDS = 15.0


def say(line: str) -> None:
    """Prints a line to the user: on standard error, at once, above a bar that is there."""
    print(in_urls(line), file=sys.stderr, flush=True)


class Bar:
    """Call it with the stage, how much is done and the total; use it as a context manager.

    A terminal gets a row for each stage, anything else a line every 15 seconds: logs stay short.
    """

    def __init__(self, *, at_once: bool = False, **unit: str) -> None:
        """Counts a `unit`, e.g. `characters`, by stage; others count pieces of no name.

        `at_once` prints the first line of a log at the beginning, not after 15 seconds.
        """
        self._unit = unit
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._rows: dict[str, TaskID] = {}
        self._begun: dict[str, tuple[float, float]] = {}
        self._last_line = -PLAIN_SECONDS if at_once else time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[shown]}"),
                console=self._console,
            )
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            for row in self._rows.values() if kind is None else ():
                self._bar.update(row, completed=1.0)
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """`done` of `total` (None: not known) in `stage`; a new stage gets a row of its own."""
        shown = amount(done) + (f" of {amount(total)}" if total else "")
        shown += f" {self._unit.get(stage, '')}".rstrip()
        self.show(stage, done / total if total else None, shown)

    def show(self, stage: str, share: float | None, numbers: str) -> None:
        """As a call, for a job whose progress is not a count.

        Args:
            stage: its name; empty for a job of one stage.
            share: part done, in [0, 1]; None: not known.
            numbers: shown behind it.
        """
        now = time.monotonic()
        if share is not None:
            numbers = f"{share:4.0%}  {numbers}  {self._left(stage, share, now)}"
        if self._bar is not None:
            if stage not in self._rows:
                total = None if share is None else 1.0
                self._rows[stage] = self._bar.add_task(stage, total=total, shown=numbers)
            self._bar.update(self._rows[stage], completed=share or 0.0, shown=numbers)
        elif now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            say(f"{stage}: {numbers}" if stage else numbers)

    def _left(self, stage: str, share: float, now: float) -> str:
        """Time left, from the pace since the first call of the stage."""
        first, began = self._begun.setdefault(stage, (share, now))
        if share <= first:
            return "ETA -"
        return f"ETA {clock((now - began) * (1 - share) / (share - first))}"


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


def duration(seconds: float, units: tuple[str, str, str] = ("h", "min", "s")) -> str:
    """`8 s`, `12 min 42 s`, `3 h 05 min`."""
    hours, minutes, rest = units
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} {hours} {whole // 60 % 60:02d} {minutes}"
    if whole >= 60:
        return f"{whole // 60} {minutes} {whole % 60:02d} {rest}"
    return f"{whole} {rest}"


def percent(probability: float) -> str:
    """A probability as percent; several blanks together soon have so little that 0.0% says none."""
    return f"{probability:6.1%}" if probability >= 0.001 else f"{100 * probability:5.0e}%"


def columns(text: str) -> int:
    """Columns of a terminal that a text takes: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
