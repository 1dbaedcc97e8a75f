"""`bertsmith predict`."""

from dataclasses import dataclass
from pathlib import Path

from bertsmith.cli.columns import AS_TRAINED, ColumnOptions, model_columns
from bertsmith.cli.command import MODEL, Result
from bertsmith.cli.options import flag, word


@dataclass(kw_only=True)
class Predict(ColumnOptions):
    """Predict every row of a file: the same columns, then the answer's."""

    examples = ("predict my-classifier new-reviews.txt --out answers.csv",)
    column_defaults = AS_TRAINED

    model: str = word(MODEL, metavar="MODEL")
    input: str = word(
        ".txt (a text a line) .csv .tsv .jsonl .parquet, CoNLL columns, SQuAD's .json, or an "
        "official file of the model's task.",
        metavar="INPUT",
    )
    out: Path = flag(
        "File to write, not there yet: .jsonl .csv .tsv .parquet.", group="Output", metavar="FILE"
    )

    def run(self) -> Result:
        """Predicts."""
        from bertsmith.core.terminal import Bar
        from bertsmith.inference.files import predict_file
        from bertsmith.inference.predictor import Predictor

        predictor = Predictor(self.model)
        with Bar(predict="rows") as bar:
            done = predict_file(
                predictor,
                self.input,
                self.out,
                columns=model_columns(predictor, self.given_columns(), labelled=False),
                progress=lambda count: bar("predict", count, None),
            )
        text = [f"{done.counted} with the model's answers: {done.out}"]
        return Result(done, "\n".join([*text, *filter(None, [done.told])]))
