"""`bertsmith evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass

from bertsmith.cli.columns import AS_TRAINED, COLUMNS, ColumnOptions, model_columns
from bertsmith.cli.command import MODEL, Result
from bertsmith.cli.model_options import BackendOptions
from bertsmith.cli.options import flag, word
from bertsmith.core.errors import UsageError


@dataclass(kw_only=True)
class Evaluate(ColumnOptions, BackendOptions):
    """Score a fine-tuned model on labelled data, or a pre-trained one on text or minimal pairs."""

    examples = ("evaluate my-classifier --data other-reviews.csv",)
    column_defaults = AS_TRAINED

    model: str = word(MODEL, metavar="MODEL")
    data: str | None = flag(
        "Folder of a task's official files, a labelled file, or a corpus.",
        group="Data",
        default=None,
        metavar="PATH",
    )
    minimal_pairs: str | None = flag(
        "Instead of --data: pairs of a grammatical and an ungrammatical sentence, a .jsonl file "
        "or a folder of them, as in BLiMP and ZhoBLiMP.",
        group="Data",
        default=None,
        metavar="PATH",
    )
    limit: int | None = flag(
        "Of minimal pairs: only the first N of each paradigm.",
        group="Data",
        default=None,
        shown="all",
    )
    skip_bad: bool = flag(
        "Leave out rows that cannot be used (empty texts, bad labels, answers that are not in "
        "their context), and count them.",
        group="Data",
        default=False,
    )

    def run(self) -> Result:
        """Scores."""
        from bertsmith.inference.evaluation import evaluate

        if self.data is None:
            return self._run_pairs()
        if self.minimal_pairs is not None:
            raise UsageError(
                "--data and --minimal-pairs cannot be combined. Give only one of them."
            )
        self._refuse(["limit"], fits="--minimal-pairs")
        predictor = self.open_model(self.model)
        found = evaluate(
            predictor,
            self.data,
            columns=model_columns(predictor, self.given_columns(), labelled=True),
            skip_bad=self.skip_bad,
        )
        return Result(found, "\n".join(found.lines()))

    def _run_pairs(self) -> Result:
        from bertsmith.core.terminal import Bar
        from bertsmith.inference.minimal_pairs import minimal_pairs
        from bertsmith.inference.predictor import Model

        if self.minimal_pairs is None:
            raise UsageError(
                "There is nothing to score on. Give --data (labelled data or a corpus) or "
                "--minimal-pairs (BLiMP's files)."
            )
        self._refuse([*COLUMNS, "skip_bad", "backend"], fits="--data")
        predictor = Model(self.model, device=self.device)
        with Bar(score="tokens") as bar:
            found = minimal_pairs(
                predictor,
                self.minimal_pairs,
                limit=self.limit,
                precision="fp32" if self.precision == "auto" else self.precision,
                progress=lambda done, total: bar("score", done, total),
            )
        return Result(found, "\n".join(found.lines()))

    def _refuse(self, names: Sequence[str], *, fits: str) -> None:
        """Refuses flags that would do nothing."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value is not False:
                raise UsageError(f"--{name.replace('_', '-')} works only with {fits}. Remove it.")
