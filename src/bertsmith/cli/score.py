"""`bertsmith score`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bertsmith.cli.command import PRETRAINED, Result
from bertsmith.cli.inputs import INPUTS, file_of, text_blocks
from bertsmith.cli.model_options import ModelOptions
from bertsmith.cli.options import flag, word

if TYPE_CHECKING:
    from bertsmith.inference.predictor import Model


@dataclass(kw_only=True)
class Score(ModelOptions):
    """Log-likelihood of texts by a pre-trained model, token by token."""

    examples = (
        'score tiny-en "Paris is in France." "France is in Paris."',
        "score tiny-en sentences.txt --out scores.csv",
    )

    model: str = word(PRETRAINED, metavar="MODEL")
    inputs: tuple[str, ...] = word(f"{INPUTS}.", metavar="INPUT...")
    text: str = flag("Column of the text.", group="Columns", default="text", metavar="COL")
    out: Path | None = flag(
        "File to write: .jsonl .csv .tsv .parquet.",
        group="Output",
        default=None,
        metavar="FILE",
        shown="standard output",
    )
    overwrite: bool = flag("Replace the file of --out.", group="Output", default=False)

    def run(self) -> Result | Iterator[Result]:
        """Scores."""
        from bertsmith.inference.likelihood import table

        source = file_of(self.inputs, self.out)
        predictor = self.open_model(self.model)
        if source is not None and self.out is not None:
            return self._to_file(predictor, source, self.out)
        if source is not None or self.inputs == ("-",):
            return self._to_lines(predictor, source)
        found = predictor.log_likelihood(self.inputs)
        return Result(found, table(found))

    def _to_lines(self, predictor: "Model", source: str | None) -> Iterator[Result]:
        from bertsmith.inference.likelihood import summary

        for texts in text_blocks(self.inputs, source=source, column=self.text):
            for found in predictor.log_likelihood(texts):
                numbers = "\t".join(f"{value:.4f}" for value in summary(found).values())
                yield Result(msgspec.to_builtins(found), f"{numbers}\t{found.text}")

    def _to_file(self, predictor: "Model", source: str, out: Path) -> Result:
        from bertsmith.core.terminal import Bar
        from bertsmith.inference.files import score_file

        with Bar(score="rows") as bar:
            done = score_file(
                predictor,
                source,
                out,
                text=self.text,
                overwrite=self.overwrite,
                progress=lambda count: bar("score", count, None),
            )
        return Result(done, f"{done.counted} with their log-likelihoods: {done.out}")
