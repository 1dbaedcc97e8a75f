"""`bertsmith embed`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith.checkpoints.sentence_modules import Pooling
from bertsmith.cli.command import MODEL, Result
from bertsmith.cli.inputs import INPUTS, file_of, text_blocks
from bertsmith.cli.model_options import BackendOptions
from bertsmith.cli.options import flag, word

if TYPE_CHECKING:
    from bertsmith.inference.predictor import Model


@dataclass(kw_only=True)
class Embed(BackendOptions):
    """Embed texts as vectors."""

    examples = (
        "embed minilm new-reviews.txt --out vectors.npy",
        'embed minilm "A text." --json',
    )

    model: str = word(MODEL, metavar="MODEL")
    inputs: tuple[str, ...] = word(f"{INPUTS}.", metavar="INPUT...")
    text: str = flag("Column of the text.", group="Columns", default="text", metavar="COL")
    pooling: Pooling | None = flag(
        "How the states of a text's tokens become its vector. mean: for similarity and search; "
        "cls: the first token, only for a model that was trained for it.",
        group="Model",
        default=None,
        shown="as a sentence-transformers model says, else mean",
    )
    layers: tuple[int, ...] | None = flag(
        "Layers to average: 0 the embeddings, 1 the first layer, -1 the last.",
        group="Model",
        default=None,
        metavar="L,...",
        shown="-1",
    )
    prompt: str | None = flag(
        "Name of a prompt of a sentence-transformers model, such as query; '' for none.",
        group="Model",
        default=None,
        metavar="NAME",
        shown="the model's default",
    )
    normalize: bool = flag("Scale each vector to length 1.", group="Model", default=False)
    out: Path | None = flag(
        "File to write: .npy (the vectors), or .parquet (the same columns, then `embedding`).",
        group="Output",
        default=None,
        metavar="FILE",
        shown="standard output",
    )
    overwrite: bool = flag("Replace the file of --out.", group="Output", default=False)

    def run(self) -> Result | Iterator[Result]:
        """Embeds."""
        source = file_of(self.inputs, self.out)
        predictor = self.open_model(self.model)
        if source is not None and self.out is not None:
            return self._to_file(predictor, source, self.out)
        return self._to_lines(predictor, source)

    @property
    def _how(self) -> dict[str, Any]:
        return {
            "pooling": self.pooling,
            "layers": self.layers,
            "prompt": self.prompt,
        }

    def _to_lines(self, predictor: "Model", source: str | None) -> Iterator[Result]:
        from bertsmith.core.terminal import say

        say(f"{self.model}: {predictor.embedding(**self._how)}")
        for texts in text_blocks(self.inputs, source=source, column=self.text):
            vectors = predictor.embed(texts, **self._how, normalize=self.normalize)
            for text, vector in zip(texts, vectors.tolist(), strict=True):
                numbers = "\t".join(f"{value:.6g}" for value in vector)
                yield Result({"text": text, "embedding": vector}, numbers)

    def _to_file(self, predictor: "Model", source: str, out: Path) -> Result:
        from bertsmith.core.terminal import Bar
        from bertsmith.inference.files import embed_file

        with Bar(embed="rows") as bar:
            done = embed_file(
                predictor,
                source,
                out,
                text=self.text,
                overwrite=self.overwrite,
                progress=lambda count: bar("embed", count, None),
                **self._how,
                normalize=self.normalize,
            )
        return Result(done, f"{done.counted} as vectors: {done.out}\n{done.embedding}")
