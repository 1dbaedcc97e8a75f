"""Rows of a file that cannot be used: all of them are named at once, or left out if that is asked.

A complaint begins with its place, `file:line`; complaints that differ in their values only are of
one kind.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bertsmith.core.errors import DataError, option

_SHOWN = 10
"""Most places that an error names."""
_KINDS = 5
"""Most kinds of fault that an error names."""
# The place, and values; the names of columns are what the user has to look at.
_PLACE = re.compile(r"^.*?: ?(\d+|(?:row|question) [^:]+): ")
_VALUE = re.compile(r"(?<!column )'[^']*'|\d+")


@dataclass
class _Fault:
    """Rows that are bad in one way."""

    first: str
    """What is wrong with the first, without its place."""
    count: int = 0
    last: str = ""
    """Place of the last one, with its file."""
    places: list[str] = field(default_factory=list)
    """Of the first ones."""


class BadRows:
    """Collects them over all files of a job."""

    def __init__(self, *, skip: bool = False) -> None:
        """`skip`: leave them out instead of refusing the file."""
        self.skip = skip
        self._faults: dict[str, _Fault] = {}
        self._first = ""

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(fault.count for fault in self._faults.values())

    @contextlib.contextmanager
    def row(self) -> Iterator[None]:
        """Reads a row in the block: a complaint about it is collected instead of raised."""
        try:
            yield
        except DataError as error:
            self.add(error.message)

    def add(self, complaint: str) -> None:
        """One more, which begins with its place."""
        self._first = self._first or complaint
        found = _PLACE.match(complaint)
        place, what = ("", complaint) if found is None else (found[1], complaint[found.end() :])
        fault = self._faults.setdefault(_VALUE.sub("'...'", what), _Fault(what))
        if fault.last == complaint[: len(complaint) - len(what)] != "":
            return  # Several answers of one question.
        fault.last = complaint[: len(complaint) - len(what)]
        fault.count += 1
        if len(fault.places) < _SHOWN:
            fault.places.append(place)

    def lines(self) -> list[str]:
        """The kinds of fault, the most frequent first: how many rows, what is wrong, and where."""
        faults = sorted(self._faults.values(), key=lambda fault: -fault.count)
        lines = []
        shown = _SHOWN
        for fault in faults[:_KINDS]:
            places = fault.places[: max(1, shown)]
            shown -= len(places)
            where = ", ".join(places) + (", ..." if fault.count > len(places) else "")
            rows = f"{fault.count:,} row{'s' * (fault.count > 1)}"
            lines.append(f"{rows} ({where}): {fault.first.rstrip('.')}")
        if len(faults) > _KINDS:
            rest = sum(fault.count for fault in faults[_KINDS:])
            lines.append(f"{rest:,} rows with {len(faults) - _KINDS} other faults")
        return lines

    def judge(self, path: object) -> None:
        """Refuses the file that was read, if rows in it are bad and none are to be left out.

        Raises:
            DataError: so it is.
        """
        if self.skip or not self.count:
            return
        if self.count == 1:
            ending = "" if self._first.endswith(".") else "."
            raise DataError(
                f"{self._first}{ending} {option('skip_bad', True)} leaves such rows out."
            )
        raise DataError(
            f"{path}: {self.count:,} rows cannot be used. {'. '.join(self.lines())}. "
            f"Correct them, or leave them out with {option('skip_bad', True)}."
        )
