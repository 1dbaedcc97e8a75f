"""`bertsmith quickstart`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from bertsmith.cli.command import Command, Result


@dataclass(kw_only=True)
class Quickstart(Command):
    """Real text to a small BERT, pre-trained and fine-tuned, and a report, offline."""

    out: Path = Path("quickstart")
    """Folder for everything that is made; a rerun continues there."""
    minutes: Annotated[float, arg(metavar="M")] = 9.0
    """Time for the whole, set-up not counted."""
    language: Literal["en", "zh"] = "en"
    """Language of the text and of the vocabulary."""

    def run(self) -> Result:
        """Runs the quickstart's stages."""
        from bertsmith.quickstart.stages import quickstart

        done = quickstart(self.out, minutes=self.minutes, language=self.language)
        return Result(done, "\n".join(done.summary()))
