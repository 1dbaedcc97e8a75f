"""The help of a command and of all commands, for a terminal of 80 columns."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence

from bertsmith.cli.command import Help
from bertsmith.cli.options import GROUPS, Option

_COLUMN = 26
"""Where explanations begin."""
_WIDEST = 100


def command_help(program: str, shown: Help) -> str:
    """The help of one command; `program` is what calls it, e.g. `bertsmith info`."""
    options = shown.options
    words = [one for one in options if one.is_word]
    needed = [one.usage for one in options if not one.is_word and one.required]
    names = [f"[{one.shown}]" if not one.required else one.shown for one in words]
    rest = any(not one.is_word and not one.required for one in options)
    usage = " ".join(["usage:", program, *names, *needed, *(["[flags]"] if rest else [])])
    lines = [*_wrapped(usage, indent=7), "", *_wrapped(shown.about)]
    if words:
        lines.append("")
    for one in words:
        lines += _row(one.shown, _explained(one))
    for group in GROUPS:
        inside = [one for one in options if one.group == group]
        if inside:
            lines += ["", f"{group}:"]
        for one in sorted(inside, key=lambda one: not one.required):
            lines += _row(one.usage, _explained(one))
    if "Output" not in {one.group for one in options}:
        lines.append("")
    lines += _row("--help", "Show this help.")
    if shown.examples:
        lines += ["", "Examples:"]
    for example in shown.examples:
        # As a shell takes it on several lines.
        parts = _wrapped(f"bertsmith {example}", width=_width() - 4, indent=4)
        lines.append("  " + " \\\n  ".join(parts))
    return "\n".join(lines)


def group_help(
    program: str,
    about: str,
    sections: Mapping[str, Sequence[tuple[str, str]]],
    flags: Sequence[tuple[str, str]] = (),
) -> str:
    """The help of a group of commands: under headings, names and what they do."""
    lines = [f"usage: {program} COMMAND ...", "", *_wrapped(about)]
    for heading, commands in sections.items():
        lines += ["", f"{heading}:"]
        for name, does in commands:
            lines += _row(name, does)
    lines.append("")
    for name, does in [*flags, ("--help", "Show this help.")]:
        lines += _row(name, does)
    return "\n".join([*lines, "", f"`{program} COMMAND --help` explains a command."])


def _explained(option: Option) -> str:
    if option.required or not option.default:
        return option.help
    return f"{option.help} (default: {option.default})"


def _row(name: str, text: str) -> list[str]:
    lines = _wrapped(text, width=_width() - _COLUMN)
    left = f"  {name}"
    if len(left) <= _COLUMN - 2:
        lines[0] = f"{left:<{_COLUMN}}{lines[0]}"
        rest = lines[1:]
        return [lines[0], *(" " * _COLUMN + line for line in rest)]
    return [left, *(" " * _COLUMN + line for line in lines)]


def _wrapped(text: str, *, width: int = 0, indent: int = 0) -> list[str]:
    """Lines of whole words."""
    return textwrap.wrap(
        text,
        width or _width(),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST) - 1
