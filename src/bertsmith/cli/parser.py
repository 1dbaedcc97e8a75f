"""A command line to a command: which one is called, with which values.

Only long flags, each with its value behind it (`--steps 100` or `--steps=100`); `--` ends the
flags. What cannot be understood is a `UsageError` of one line that names the nearest known word.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bertsmith.cli.command import Command
from bertsmith.cli.options import Option, enumerated
from bertsmith.core.errors import UsageError, nearest

Commands = Mapping[str, type[Command]]
"""Every command by the words that call it, e.g. `tokenizer train`."""

HELP = ("--help", "-h")


class Call(NamedTuple):
    """A command line, its command recognised."""

    name: str
    """Words that call the command or, with `command` None, the group of commands."""
    command: type[Command] | None
    """None: the help of a group of commands is wanted."""
    rest: list[str]
    """What follows the command's name."""

    @property
    def program(self) -> str:
        """What the user typed, e.g. `bertsmith tokenizer train`."""
        return f"bertsmith {self.name}".rstrip()

    @property
    def wants_help(self) -> bool:
        """Whether `--help` is among the flags."""
        before = self.rest[: self.rest.index("--")] if "--" in self.rest else self.rest
        return any(token in HELP for token in before)


def recognise(commands: Commands, tokens: Sequence[str]) -> Call:
    """Which command a command line calls.

    Raises:
        UsageError: there is no such command.
    """
    name: list[str] = []
    while True:
        below = [known.split() for known in commands if known.split()[: len(name)] == name]
        if below == [name]:
            return Call(" ".join(name), commands[" ".join(name)], list(tokens[len(name) :]))
        rest = list(tokens[len(name) :])
        choices = list(dict.fromkeys(known[len(name)] for known in below))
        if rest and rest[0] in choices:
            name.append(rest[0])
            continue
        group = Call(" ".join(name), None, rest)
        if rest and rest[0] in HELP:
            return group
        raise _error(group.program, _no_command(rest, choices, group.program))


def _no_command(rest: Sequence[str], choices: Sequence[str], program: str) -> str:
    known = enumerated(choices, "or")
    if not rest:
        return f"`{program}` needs a command: {known}."
    if rest[0].startswith("-"):
        return f"{rest[0]} comes before the command. Give the command first: {known}."
    return f"Unknown command {rest[0]!r}{nearest(rest[0], choices)}. Expected {known}."


def parse(call: Call) -> Command:
    """The command with the values of its options.

    Raises:
        UsageError: an option is unknown or missing, or a value does not fit.
    """
    assert call.command is not None
    try:
        return call.command(**_Line(call).values())
    except _Misread as error:
        raise _error(call.program, str(error)) from error


class _Misread(UsageError):
    """A command line that does not fit the command's options."""


def _error(program: str, sentence: str) -> UsageError:
    return UsageError(f"{sentence} See `{program} --help`.")


class _Line:
    """What follows a command's name, read from left to right."""

    def __init__(self, call: Call) -> None:
        assert call.command is not None
        self.program = call.program
        self.options = call.command.options()
        self.flags = {one.shown: one for one in self.options if not one.is_word}
        self.places = [one for one in self.options if one.is_word]
        self.tokens = call.rest

    def values(self) -> dict[str, Any]:
        """The value of every field that the user gave."""
        values: dict[str, Any] = {}
        words: list[str] = []
        switch = ""
        position = 0
        while position < len(self.tokens):
            token = self.tokens[position]
            position += 1
            if token == "--":
                words += self.tokens[position:]
                break
            if not _like_a_flag(token):
                self._check_room(token, len(words), switch)
                words.append(token)
                continue
            found, equals, attached = token.partition("=")
            option = self._flag(found)
            given = [attached] if equals else self._following(option, position)
            values[option.name] = self._convert(option, given, equals=bool(equals))
            position += 0 if equals else len(given)
            switch = option.shown if option.kind is bool else ""
        values |= self._words(words)
        self._check_missing(values)
        return values

    def _flag(self, found: str) -> Option:
        if found not in self.flags:
            # Without the dashes, which would make all flags similar.
            near = nearest(found.lstrip("-"), [known[2:] for known in self.flags])
            raise _Misread(f"Unknown flag {found}{near.replace(chr(39), chr(39) + '--', 1)}.")
        return self.flags[found]

    def _following(self, option: Option, position: int) -> list[str]:
        """The tokens behind a flag that are its values."""
        given: list[str] = []
        for token in self.tokens[position : position + option.count]:
            if _like_a_flag(token) or token == "--":
                break
            given.append(token)
        return given

    def _convert(self, option: Option, given: Sequence[str], *, equals: bool) -> Any:
        if option.kind is bool:
            if equals:
                raise _Misread(f"{option.shown} takes no value, found {given[0]!r}.")
            return True
        if not given and option.bare is not None:
            return option.bare
        if len(given) < option.count:
            if option.count > 1:
                raise _Misread(f"{option.shown} needs {option.count} numbers: {option.metavar}.")
            raise _Misread(f"{option.usage} needs a value.")
        try:
            return option.convert(given)
        except UsageError as error:
            raise _Misread(str(error)) from error

    def _check_room(self, token: str, words: int, switch: str) -> None:
        """Refuses a word for which there is no place."""
        if words < len(self.places) or (self.places and self.places[-1].listed):
            return
        if switch:
            raise _Misread(f"{switch} takes no value, found {token!r}.")
        takes = " ".join(one.shown for one in self.places)
        if not takes:
            near = nearest(token, [known[2:] for known in self.flags])
            near = near.replace(chr(39), chr(39) + "--", 1)
            raise _Misread(f"Unexpected {token!r}{near}. `{self.program}` takes flags only.")
        quotes = " Put the text in quotes." if "TEXT" in takes else ""
        raise _Misread(f"Unexpected {token!r}. `{self.program}` takes {takes}.{quotes}")

    def _words(self, words: Sequence[str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for number, option in enumerate(self.places):
            given = words[number:] if option.listed else words[number : number + 1]
            if given:
                try:
                    values[option.name] = option.convert(given)
                except UsageError as error:
                    raise _Misread(str(error)) from error
        return values

    def _check_missing(self, values: Mapping[str, Any]) -> None:
        missing = [one.usage for one in self.options if one.required and one.name not in values]
        if missing:
            needed = enumerated([usage.removesuffix("...") for usage in missing], "and")
            raise _Misread(f"`{self.program}` needs {needed}.")


def _like_a_flag(token: str) -> bool:
    """Whether a token is a flag: a text that begins with a dash has spaces, a number digits."""
    name = token.partition("=")[0]
    return name.startswith("-") and name.lstrip("-")[:1].isalpha() and " " not in name
