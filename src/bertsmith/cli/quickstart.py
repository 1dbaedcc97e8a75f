"""`bertsmith quickstart`."""

from dataclasses import dataclass
from pathlib import Path

from bertsmith.cli.command import Command, Result
from bertsmith.cli.options import flag
from bertsmith.core.runtime import PageLanguage


@dataclass(kw_only=True)
class Quickstart(Command):
    """Pre-train and fine-tune a small BERT on sample text, offline, and write a report."""

    minutes: float = flag(
        "Total time, set-up not counted.", group="Length", default=9.0, metavar="M"
    )
    language: PageLanguage | None = flag(
        "Language of the text and of the pages.",
        group="Data",
        default=None,
        shown="that of the locale",
    )
    out: Path = flag(
        "Folder for all results; a rerun continues there.",
        group="Output",
        default=Path("quickstart"),
        metavar="DIR",
    )

    def run(self) -> Result:
        """Runs the quickstart's stages."""
        from bertsmith.quickstart.stages import quickstart

        done = quickstart(self.out, minutes=self.minutes, language=self.language)
        return Result(done, "\n".join(done.summary()))
