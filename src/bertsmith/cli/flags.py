"""Messages of the package in the words of the command line."""

import ast
import re

from bertsmith.core.command_line import flag
from bertsmith.core.errors import OPTION_END, OPTION_START

_OPTION = re.compile(f"{OPTION_START}(\\w+)(?:=([^{OPTION_END}]*))?{OPTION_END}")
_OPPOSITES = {"strip_accents": "keep_accents"}
"""Switches that are on or off in Python and have a flag for either."""


def in_flags(text: str) -> str:
    """A text whose parameters `core.errors.option` named, with flags in their place."""
    return _OPTION.sub(_as_flag, text)


def _as_flag(found: re.Match[str]) -> str:
    name, shown = found.groups()
    value = True if shown is None else ast.literal_eval(shown)
    if value is False:
        name, value = _OPPOSITES[name], True
    if value is True:
        return flag(name)
    return f"{flag(name)} {','.join(map(str, value)) if isinstance(value, tuple) else value}"
