"""`bertsmith predict`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith.cli.columns import AS_TRAINED, ColumnOptions, model_columns
from bertsmith.cli.command import MODEL, Result
from bertsmith.cli.inputs import INPUTS, file_of, text_blocks
from bertsmith.cli.model_options import BackendOptions
from bertsmith.cli.options import flag, word
from bertsmith.core.errors import UsageError

if TYPE_CHECKING:
    from bertsmith.inference.predictor import Model


@dataclass(kw_only=True)
class Predict(ColumnOptions, BackendOptions):
    """Predict with a fine-tuned model: texts, standard input, or every row of a file."""

    examples = (
        'predict my-classifier "What a film!"',
        "predict my-classifier new-reviews.txt --out answers.csv",
    )
    column_defaults = AS_TRAINED

    model: str = word(MODEL, metavar="MODEL")
    inputs: tuple[str, ...] = word(
        f"{INPUTS}, CoNLL columns, SQuAD's .json, or an official file of the model's task. Texts "
        "for a model of pairs come two by two (on a line: with a tab between), question first; of "
        "a multiple-choice model the choices follow their text.",
        metavar="INPUT...",
    )
    out: Path | None = flag(
        "File to write, the same columns, then the answer's: .jsonl .csv .tsv .parquet.",
        group="Output",
        default=None,
        metavar="FILE",
        shown="standard output",
    )
    skip_bad: bool = flag(
        "Leave out rows that the model cannot be asked about, and count them.",
        group="Data",
        default=False,
    )
    overwrite: bool = flag("Replace the file of --out.", group="Output", default=False)

    def run(self) -> Result | Iterator[Result]:
        """Predicts."""
        source = file_of(self.inputs, self.out)
        predictor = self.open_model(self.model)
        if source is None:
            return self._texts(predictor)
        if self.out is None:
            return self._rows(predictor, source)
        return self._to_file(predictor, source, self.out)

    def _texts(self, predictor: "Model") -> Iterator[Result]:

        for name in self.given_columns():
            flag_name = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag_name} names a column of a file; texts have none.")
        for texts in text_blocks(self.inputs):
            parts = [text.split("\t") for text in texts] if self.inputs == ("-",) else [texts]
            items = [item for part in parts for item in _items(predictor, part)]
            found = predictor.predict([example for _, example in items])
            for (shown, _), prediction in zip(items, found, strict=True):
                yield _answered({"input": shown}, prediction.columns)

    def _rows(self, predictor: "Model", source: str) -> Iterator[Result]:
        from bertsmith.core.terminal import say
        from bertsmith.inference.files import predicted_rows

        columns = model_columns(predictor, self.given_columns(), labelled=False)
        found, bad = predicted_rows(predictor, source, columns=columns, skip_bad=self.skip_bad)
        for line in bad.lines():
            say(f"left out: {line}")
        for rows, _ in found:
            for values, answer in rows:
                yield _answered(values, answer)

    def _to_file(self, predictor: "Model", source: str, out: Path) -> Result:
        from bertsmith.core.terminal import Bar
        from bertsmith.inference.files import predict_file

        with Bar(predict="rows") as bar:
            done = predict_file(
                predictor,
                source,
                out,
                columns=model_columns(predictor, self.given_columns(), labelled=False),
                skip_bad=self.skip_bad,
                overwrite=self.overwrite,
                progress=lambda count: bar("predict", count, None),
            )
        text = [f"{done.counted} with the model's answers: {done.out}"]
        text += [f"left out: {line}" for line in done.skipped]
        return Result(done, "\n".join([*text, *filter(None, [done.told])]))


_Item = tuple[list[str], str | tuple[str, ...]]
"""The texts of an input, and the input as the model takes it."""


def _items(predictor: "Model", texts: Sequence[str]) -> list[_Item]:
    """Texts one by one, in pairs, or a text and its choices, as the model's task has it."""
    from bertsmith.tasks.datasets import reading
    from bertsmith.tasks.kinds.registry import kind_named

    task_config = predictor.task_config
    official = reading.official(task_config.task)
    pairs = (
        official.pair if official else bool(task_config.columns and task_config.columns.text_pair)
    )
    found = kind_named(task_config.kind).grouped(texts, pairs=pairs)
    return [(list(group), group if len(group) > 1 else group[0]) for group in found]


def _answered(values: Mapping[str, Any], answer: Mapping[str, Any]) -> Result:
    """A line for each input: what is predicted, how surely, and the input."""
    if "predicted_tags" in answer:
        pairs = zip(answer["predicted_words"], answer["predicted_tags"], strict=True)
        return Result({**values, **answer}, " ".join(f"{word}/{tag}" for word, tag in pairs))
    predicted = answer.get("predicted_text", answer["predicted"])
    cells = [f"{predicted:.4f}" if isinstance(predicted, float) else str(predicted)]
    if "probability" in answer:
        cells.append(f"{answer['probability']:.4f}")
    return Result({**values, **answer}, "\t".join([*cells, *values.get("input", [])]))
