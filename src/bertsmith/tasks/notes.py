"""What was decided by a rule while files were read, counted."""


class Notes:
    """Decisions by what they are: how many, and the place of the first."""

    def __init__(self) -> None:
        """None so far."""
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str) -> None:
        """One more of a kind, at `file:line`."""
        count, first = self._found.get(what, (0, where))
        self._found[what] = count + 1, first

    def say(self, line: str) -> None:
        """Something that is not counted."""
        self._found[line] = 0, ""

    def lines(self) -> list[str]:
        """A line for each kind, in the order in which they were met."""
        return [
            f"{what}: {count:,}, for instance {where}" if count else what
            for what, (count, where) in self._found.items()
        ]
