"""Commands of bertsmith as text, for pages and messages."""

import shlex

# Parameters whose flag has another name, because Python reserves the word.
_FLAG_NAMES = {"start": "from"}


def flag(parameter: str) -> str:
    """The flag that sets a parameter of that name: `--batch-size` sets `batch_size`."""
    return f"--{_FLAG_NAMES.get(parameter, parameter).replace('_', '-')}"


def command(*words: str, **settings: object) -> str:
    """`bertsmith` with these words and flags, quoted for a shell."""
    flags = [part for name, value in settings.items() for part in (flag(name), str(value))]
    return shlex.join(["bertsmith", *words, *flags])
