"""What is wrong with a command line, in one sentence."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import Positional

from bertsmith.cli.command import Command
from bertsmith.core.errors import UsageError, nearest

Commands = Mapping[str, type[Command]]
"""Every command by the words that name it, e.g. `tokenizer train`."""

_EXPECTED = {int: "a whole number", float: "a number"}


def listed(choices: Any, group: str = "") -> dict[str, type[Command]]:
    """The commands in what `tyro.cli` is given: a union of classes and of groups of them."""
    found: dict[str, type[Command]] = {}
    for choice in get_args(choices):
        kind, settings = get_args(choice)
        name = f"{group} {settings.name}".strip()
        found |= {name: kind} if isinstance(kind, type) else listed(kind, name)
    return found


def parameters(command: type[Command]) -> dict[str, set[Any]]:
    """What a command takes: its flags, and by their names in the help the words without a flag.

    Each comes with the types that its value may have, of which bool means that none follows.
    """
    hints = get_type_hints(command, include_extras=True)
    found = {}
    for field in fields(command):
        hint = hints[field.name]
        _, *notes = get_args(hint) if get_origin(hint) is Annotated else [hint]
        if Positional in notes:
            [name] = [note.metavar for note in notes if getattr(note, "metavar", None)]
        else:
            given = [note.name for note in notes if getattr(note, "name", None)]
            name = "--" + (given[0] if given else field.name.replace("_", "-"))
        found[name] = set(_types(hint))
    return found


@contextlib.contextmanager
def explained(commands: Commands, arguments: Sequence[str]) -> Iterator[None]:
    """Raises as `UsageError` what tyro refuses in the block.

    The hook is one that tyro (from 1.0.14) calls experimental, so nothing of it is taken for
    granted: what a release lacks or has renamed, tyro tells in its own words, with the same code.
    """
    line = _Line(commands, arguments)

    def explain(event: Any) -> None:
        sentence = None
        with contextlib.suppress(AttributeError):
            sentence = line.explain(event)
        if sentence is not None:
            raise UsageError(f"{sentence}; see `{line.program} --help`.")

    hook = getattr(getattr(tyro, "_errors", None), "on_parse_error", None)
    with contextlib.nullcontext() if hook is None else hook(explain):
        yield


class _Line:
    """A command line: the words that name a command, and the rest."""

    def __init__(self, commands: Commands, arguments: Sequence[str]) -> None:
        name: list[str] = []
        below = [known.split() for known in commands]
        for word in arguments:
            chosen = [known[1:] for known in below if known[:1] == [word]]
            if not chosen:
                break
            name.append(word)
            below = chosen
        self.rest = list(arguments[len(name) :])
        self.program = " ".join(["bertsmith", *name])
        self.choices = list(dict.fromkeys(known[0] for known in below if known))
        self.takes = {} if self.choices else parameters(commands[" ".join(name)])

    def explain(self, event: Any) -> str | None:
        """What an event of tyro's means, or None for one that is not known here."""
        if self.choices:
            return self._no_command()
        match type(event).__name__:
            case "UnrecognizedArgs":
                return self._left_over(event.tokens)
            case "MissingArgs" if event.unrecognized_tokens:
                return self._left_over(event.unrecognized_tokens)
            case "MissingArgs":
                missing = [_with_value(found.arg) for found in event.missing_arguments]
                return f"`{self.program}` needs {_enumerated(missing, 'and')}"
            case "BadValue" if event.argument.is_positional():
                # What looks like a flag stands where a word should.
                return self._left_over(self.rest)
            case "BadValue":
                found = self._found(event.argument)
                return f"{_name(event.argument)} needs a value, found {found}"
            case "InvalidChoice":
                known = sorted(set(event.choices) - {"None"})
                return (
                    f"{_name(event.argument)} is {event.value!r}; expected "
                    f"{_enumerated(known, 'or')}{nearest(event.value, known)}"
                )
            case "InstantiationFailure" if event.argument and not event.argument.is_positional():
                name = _name(event.argument)
                for kind, expected in _EXPECTED.items():
                    if kind in self.takes.get(name, ()):
                        wanted = str(event.argument.lowered.metavar)
                        if " " in wanted:
                            return f"{name} needs {wanted}, {expected} each"
                        return f"{name} is {self._found(event.argument)}; expected {expected}"
        return None

    def _no_command(self) -> str:
        known = _enumerated(self.choices, "or")
        if not self.rest:
            return f"`{self.program}` needs a command: {known}"
        word = self.rest[0]
        if word.startswith("-"):
            return f"{word} stands before the command; give {known} first, then its flags"
        near = nearest(word, self.choices)
        return f"{word!r} is no command of `{self.program}`{near}; give {known}"

    def _left_over(self, tokens: Iterable[str]) -> str:
        """Of words that have no place, the first flag that is not known or else the first."""
        words = list(tokens)
        flags = [name for name in self.takes if name.startswith("--")]
        for word in words:
            flag = word.partition("=")[0].replace("_", "-")
            if _like_a_flag(word) and flag not in flags:
                return f"{flag} is no flag of `{self.program}`{_near(flag, flags)}"
        before = self._before(words[0])
        if bool in self.takes.get(before, ()):
            return f"{before} takes no value, found {words[0]!r}"
        others = [name for name in self.takes if not name.startswith("--")]
        if not others:
            near = _near(words[0], flags)
            return f"{words[0]!r} stands alone, but `{self.program}` takes flags only{near}"
        quotes = ", the text in quotes" if "TEXT" in others else ""
        return f"{words[0]!r} is too much: `{self.program}` takes {' '.join(others)}{quotes}"

    def _before(self, word: str) -> str:
        """The flag to which a word was given, or whatever else stands before it."""
        for previous, current in zip(["", *self.rest], self.rest, strict=False):
            if current == word:
                return previous.replace("_", "-")
            if current.startswith("--") and current.endswith(f"={word}"):
                return current.partition("=")[0].replace("_", "-")
        return ""

    def _found(self, argument: Any) -> str:
        """What stands behind a flag."""
        found = "nothing"
        for word, following in zip(self.rest, [*self.rest[1:], None], strict=True):
            flag, equals, value = word.partition("=")
            if flag.replace("_", "-") == _name(argument):
                found = repr(value) if equals else repr(following) if following else "nothing"
        return found


def _types(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if not get_args(hint):
        yield hint
    for part in get_args(hint):
        yield from _types(part)


def _near(word: str, flags: Sequence[str]) -> str:
    # Without the dashes, which would make all flags alike.
    near = nearest(word.lstrip("-"), [flag.removeprefix("--") for flag in flags])
    return near.replace("'", "'--", 1)


def _like_a_flag(word: str) -> bool:
    return word.startswith("-") and word.lstrip("-")[:1].isalpha()


def _name(argument: Any) -> str:
    lowered = argument.lowered
    return str(lowered.metavar if argument.is_positional() else lowered.name_or_flags[0])


def _with_value(argument: Any) -> str:
    if argument.is_positional():
        return _name(argument)
    return f"{_name(argument)} {argument.lowered.metavar}"


def _enumerated(words: Sequence[str], last: str) -> str:
    *others, final = words
    return f"{', '.join(others)} {last} {final}" if others else final
