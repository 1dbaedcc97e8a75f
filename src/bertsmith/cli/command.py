"""What every command is: a dataclass whose fields are its flags and whose `run` does the job.

`run` imports the job it needs, so that `--help` answers at once.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from bertsmith.core.errors import UsageError

RECIPE = "(default: the recipe's)"
"""Said of a flag that the recipe decides where it is left out."""
OPTIONAL = "(optional)"
"""Said of a flag that may be left out and then means nothing."""

Count = Annotated[int | None, arg(metavar="N", help_behavior_hint=RECIPE)]
Number = Annotated[float | None, arg(metavar="X", help_behavior_hint=RECIPE)]
Model = Positional[Annotated[str, arg(metavar="MODEL")]]
"""A model: its folder or any name that `checkpoints.sources.resolve` takes."""
Inputs = Positional[
    Annotated[
        tuple[str, ...], arg(name="input", metavar="INPUT...", help_behavior_hint="(one or more)")
    ]
]


@dataclass(frozen=True)
class Result:
    """What a command has to say: `data` with `--json`, `text` without."""

    data: Any
    text: str


@dataclass(kw_only=True)
class Command:
    """What every command has."""

    json: bool = False
    """Print the result as one JSON object."""

    def __post_init__(self) -> None:
        """Refuses names that a result could not repeat when all the work is done."""
        for path in vars(self).values():
            if isinstance(path, Path) and str(path).encode(errors="replace").decode() != str(path):
                raise UsageError(f"{str(path)!r} is not UTF-8; give another name.")

    def run(self) -> Result:
        """Does the job."""
        raise NotImplementedError


def with_next(text: Sequence[str], *following: Sequence[str]) -> str:
    """`text`, and below it the commands that go on from there, as a shell reads them."""
    shown = (f"  bertsmith {shlex.join(command)}" for command in following)
    return "\n".join([*text, "", "Next:", *shown])
