"""`bertsmith embed`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bertsmith.cli.command import MODEL, Command, Result
from bertsmith.cli.options import flag, word


@dataclass(kw_only=True)
class Embed(Command):
    """Embed every row of a file as a vector."""

    examples = ("embed minilm new-reviews.txt --out vectors.npy",)

    model: str = word(MODEL, metavar="MODEL")
    input: str = word(".txt (a text a line) .csv .tsv .jsonl .parquet.", metavar="INPUT")
    text: str = flag("Column of the text.", group="Columns", default="text", metavar="COL")
    pooling: Literal["mean", "cls"] = flag(
        "mean: over all tokens, for similarity and search; cls: the first token, only where a "
        "model was trained for that.",
        group="Model",
        default="mean",
    )
    layers: tuple[int, ...] = flag(
        "Layers to average: 0 the embeddings, 1 the first layer, -1 the last.",
        group="Model",
        default=(-1,),
        metavar="L,...",
    )
    out: Path = flag(
        "File to write, not there yet: .npy (the vectors), or .parquet (the same columns, then "
        "`embedding`).",
        group="Output",
        metavar="FILE",
    )

    def run(self) -> Result:
        """Embeds."""
        from bertsmith.core.terminal import Bar
        from bertsmith.inference.files import embed_file
        from bertsmith.inference.predictor import Predictor

        predictor = Predictor(self.model)
        with Bar(embed="rows") as bar:
            done = embed_file(
                predictor,
                self.input,
                self.out,
                text=self.text,
                pooling=self.pooling,
                layers=self.layers,
                progress=lambda count: bar("embed", count, None),
            )
        return Result(done, f"{done.counted} as vectors: {done.out}")
