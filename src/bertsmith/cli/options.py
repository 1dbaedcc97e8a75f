"""What a command takes: its flags and positional words, declared on the fields of a dataclass.

`flag` and `word` declare a field, `options` reads the declarations, `Option.convert` turns what a
user wrote into the field's type.
"""

import dataclasses
import re
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bertsmith.core.errors import UsageError, nearest
from bertsmith.core.mirror import local_path

GROUPS = (
    "Data",
    "Columns",
    "Model",
    "Length",
    "Objective",
    "Training",
    "Runs",
    "Sampling",
    "Serving",
    "Evaluation and checkpoints",
    "Output",
)
"""Headings of a command's help, in order."""

_NONE: Any = object()
_DIGITS = re.compile(r"[+-]?\d{1,4000}")
_EXPECTED = {int: "a whole number", float: "a number"}
_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


@dataclass(frozen=True, kw_only=True)
class Option:
    """A flag or a positional word of a command."""

    name: str
    """The dataclass field."""
    shown: str
    """`--max-length`, or `MODEL` for a positional word."""
    metavar: str
    """Placeholder of the value; empty: there is none."""
    help: str
    group: str
    """A row of `GROUPS`; empty for a positional word."""
    kind: type
    """Of each value: int, float, str, Path or bool."""
    choices: tuple[str, ...] = ()
    count: int = 1
    """Number of values that follow."""
    listed: bool = False
    """Whether the value is a list: separated by commas, or the rest of the positional words."""
    bare: Any = None
    """Value of the flag where none follows; None: one must follow."""
    required: bool = False
    default: str = ""
    """The default as a user would write it; empty: nothing to say."""

    @property
    def is_word(self) -> bool:
        """Whether it is a positional word."""
        return not self.group

    @property
    def usage(self) -> str:
        """The option with its value, e.g. `--steps N`."""
        return self.shown if self.is_word else f"{self.shown} {self.metavar}".rstrip()

    def convert(self, values: Sequence[str]) -> Any:
        """What the user wrote, in the type of the field.

        Raises:
            UsageError: a value is not of the type, or not one of the choices.
        """
        if self.count > 1:
            return tuple(self._convert_one(value) for value in values)
        if self.listed:
            given = values if self.is_word else [part.strip() for part in values[0].split(",")]
            return tuple(self._convert_one(value) for value in given if value or self.is_word)
        return self._convert_one(values[0])

    def _convert_one(self, value: str) -> Any:
        if self.choices and value not in self.choices:
            raise UsageError(
                f"{self.shown}: unknown value {value!r}{nearest(value, self.choices)}. "
                f"Expected {enumerated(self.choices, 'or')}."
            )
        if self.kind is Path and not value:
            raise UsageError(f"{self.shown}: expected a path, found an empty text.")
        if self.kind is int and _DIGITS.fullmatch(value) and abs(int(value)) >= 1 << 63:
            raise UsageError(f"{self.shown}: {value} is too large; expected less than 2^63.")
        try:
            return local_path(value) if self.kind is Path else self.kind(value)
        except ValueError as error:
            expected = _EXPECTED[self.kind]
            raise UsageError(f"{self.shown}: expected {expected}, found {value!r}.") from error


def flag(
    help: str,
    *,
    group: str,
    default: Any = _NONE,
    default_factory: Callable[[], Any] | None = None,
    metavar: str = "",
    name: str = "",
    bare: Any = None,
    shown: str = "",
) -> Any:
    """Declares a field that is a flag.

    Args:
        help: a noun phrase or an imperative, with a full stop.
        group: heading of the help; a row of `GROUPS`.
        default: of the field; left out: the flag is required.
        default_factory: makes the default.
        metavar: placeholder of the value; empty: by type.
        name: of the flag without dashes, if it is not that of the field.
        bare: value of the flag where none follows.
        shown: the default in words, for a field whose default is None.
    """
    assert group in GROUPS, group
    about = {"help": help, "group": group, "metavar": metavar, "flag": name, "bare": bare}
    return _field(default, default_factory, about | {"shown": shown})


def word(help: str, *, metavar: str, default: Any = _NONE) -> Any:
    """Declares a field that is a positional word; one of a tuple type takes all that remain."""
    return _field(default, None, {"help": help, "group": "", "metavar": metavar})


def _field(default: Any, factory: Callable[[], Any] | None, about: dict[str, Any]) -> Any:
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=about)
    if default is _NONE:
        return dataclasses.field(metadata=about)
    return dataclasses.field(default=default, metadata=about)


def options(command: type) -> list[Option]:
    """The options of a command: words and flags in the order of its fields."""
    hints = get_type_hints(command)
    return [_option(field, hints[field.name]) for field in dataclasses.fields(command)]


def _option(field: "dataclasses.Field[Any]", hint: Any) -> Option:
    about = field.metadata
    kind, choices, count, listed = _taken_apart(hint)
    metavar = about["metavar"]
    if not metavar and kind is not bool:
        metavar = f"{{{','.join(choices)}}}" if choices else _METAVARS[kind]
    bare = about.get("bare")
    shown = metavar if not about["group"] else f"--{about['flag'] or field.name}".replace("_", "-")
    default = _default_of(field)
    return Option(
        name=field.name,
        shown=shown,
        metavar=f"[{metavar}]" if bare is not None else metavar,
        help=about["help"],
        group=about["group"],
        kind=kind,
        choices=choices,
        count=0 if kind is bool else count,
        listed=listed,
        bare=bare,
        required=default is _NONE,
        default=about.get("shown") or _written(default),
    )


def _taken_apart(hint: Any) -> tuple[type, tuple[str, ...], int, bool]:
    """Type of a value, its choices, the number of values, and whether it is a list."""
    if get_origin(hint) in (Union, types.UnionType):
        [hint] = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        listed = parts[-1] is Ellipsis
        return parts[0], (), 1 if listed else len(parts), listed
    if get_origin(hint) is Literal:
        return str, get_args(hint), 1, False
    return hint, (), 1, False


def _default_of(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _NONE if field.default is dataclasses.MISSING else field.default


def _written(default: Any) -> str:
    if default is _NONE or default is None or isinstance(default, bool):
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def page_language_flag() -> Any:
    """`--language` of the commands that write a page."""
    return flag("Language of the page.", group="Output", default=None, shown="that of the locale")


def enumerated(words: Sequence[str], last: str) -> str:
    """`a, b or c`."""
    *others, final = words
    return f"{', '.join(others)} {last} {final}" if others else final
