"""`bertsmith glue-submit`."""

from dataclasses import dataclass
from pathlib import Path

from bertsmith.cli.command import Command, Result
from bertsmith.cli.options import flag, word


@dataclass(kw_only=True)
class GlueSubmit(Command):
    """Predict GLUE's test sets and write the zip for its server."""

    examples = ("glue-submit my-cola my-sst2 --out submission.zip",)

    runs: tuple[Path, ...] = word(
        "Folders of `bertsmith finetune`, one for each task.", metavar="RUN..."
    )
    data: Path | None = flag(
        "Folder of the official files.",
        group="Data",
        default=None,
        metavar="DIR",
        shown="each run's own",
    )
    partial: bool = flag(
        "Write the zip although files of some tasks are missing.", group="Output", default=False
    )
    out: Path = flag(
        "Zip file to write.", group="Output", default=Path("submission.zip"), metavar="FILE"
    )

    def run(self) -> Result:
        """Predicts and packs."""
        from bertsmith.core.terminal import say
        from bertsmith.finetuning.glue_submission import glue_submit

        done = glue_submit(
            self.runs,
            self.out,
            data=self.data,
            partial=self.partial,
            show=say,
        )
        text = [f"{name}: {count:,} rows" for name, count in done.rows.items()]
        if done.missing:
            text.append(f"Not in it: {', '.join(done.missing)}; the server wants every file.")
        return Result(done, "\n".join([*text, f"The submission is {done.out}."]))
