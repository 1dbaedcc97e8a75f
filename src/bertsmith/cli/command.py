"""What every command is: a dataclass whose fields are its flags and whose `run` does the job.

`run` imports the job it needs, so that `--help` answers at once.
"""

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from bertsmith.cli.options import Option, flag, options
from bertsmith.core.errors import UsageError
from bertsmith.core.mirror import fetched, written

MODEL = "Model folder, `tiny-en`, `tiny-zh`, `minilm`, or a Hugging Face hub name."
PRETRAINED = "Folder of a pre-trained model, `tiny-en`, `tiny-zh`, or a Hugging Face hub name."
TEXT_FILES = (
    "Files, folders, globs or URLs: .txt .jsonl .csv .tsv .parquet .arrow, also .gz and .zst."
)


@dataclass(frozen=True)
class Result:
    """What a command prints: `data` with `--json`, `text` without."""

    data: Any
    text: str


class Help(NamedTuple):
    """What the help of a command shows."""

    words: str
    """Words behind the command's name that the help is about, e.g. `classification`."""
    about: str
    options: list[Option]
    examples: tuple[str, ...]


@dataclass(kw_only=True)
class Command:
    """What every command has."""

    examples: ClassVar[tuple[str, ...]] = ()
    """Command lines that the help shows, without the program's name."""

    json: bool = flag("Print the result as JSON.", group="Output", default=False)

    def __post_init__(self) -> None:
        """Refuses names that a result could not repeat when all the work is done."""
        for path in vars(self).values():
            if isinstance(path, Path) and str(path).encode(errors="replace").decode() != str(path):
                raise UsageError(f"{str(path)!r} is not UTF-8; give another name.")

    @contextlib.contextmanager
    def with_remote_folders(self) -> Iterator[None]:
        """While the block runs, what is remote is a local copy, and what is written follows."""
        with contextlib.ExitStack() as stack:
            for name, path in list(vars(self).items()):
                if isinstance(path, Path):
                    is_out = name == "out"
                    path = stack.enter_context(written(path)) if is_out else fetched(path)
                    setattr(self, name, path)
            yield

    @classmethod
    def about(cls) -> str:
        """What the command does, for the help."""
        assert cls.__doc__
        return " ".join(cls.__doc__.split())

    @classmethod
    def options(cls) -> list[Option]:
        """Everything that the command takes."""
        return sorted(options(cls), key=lambda one: one.name == "json")

    @classmethod
    def help_for(cls, words: Sequence[str]) -> Help:
        """The help after these words of the command line."""
        return Help("", cls.about(), cls.options(), cls.examples)

    def run(self) -> Result | Iterator[Result]:
        """Does the job; results that come one after the other are printed as they come."""
        raise NotImplementedError


def with_next(text: Sequence[str], *following: Sequence[str]) -> str:
    """`text`, and below it the commands that go on from there, as a shell reads them."""
    shown = (f"  bertsmith {shlex.join(command)}" for command in following)
    return "\n".join([*text, "", "Next:", *shown])
