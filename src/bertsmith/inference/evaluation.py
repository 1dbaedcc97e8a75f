"""The job: a model folder and labelled data, or a corpus, to scores."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bertsmith.core.command_line import command
from bertsmith.core.errors import DataError, FolderError, UsageError, nearest, option
from bertsmith.corpus.manifest import MANIFEST
from bertsmith.corpus.shards import Corpus
from bertsmith.inference.backends.torch_backend import TOKENS_AT_ONCE
from bertsmith.inference.predictor import Model
from bertsmith.models.family import Pretrained, check_segments, next_sentence_model
from bertsmith.pretraining import evaluation
from bertsmith.pretraining.batches import heldout_batches
from bertsmith.pretraining.config import SETTINGS, PairTask, PretrainConfig, read_settings
from bertsmith.tasks import metrics
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.checks import unknown_label
from bertsmith.tasks.datasets import reading, registry
from bertsmith.tasks.examples import Example
from bertsmith.tasks.kind import Prediction
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.metric import UNDEFINED, Row
from bertsmith.tasks.metrics import METRICS, score_line
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.scoring import Scores, baseline
from bertsmith.tasks.task_config import Columns
from bertsmith.training.start import CHECKPOINTS

_SEQUENCES = 2048
_LENGTH = 128


class PartScores(msgspec.Struct, frozen=True):
    """One part, or one file, scored."""

    examples: int
    scores: Scores
    """Metric -> score; None: undefined."""
    baseline: Scores
    """The same of always giving the answer that is the most frequent here."""
    intervals: dict[str, tuple[float, float]]
    """Metric -> 95% bootstrap interval over examples."""
    rows: list[Row]
    """A row for each class or type of entity; empty for other kinds."""
    truncated: int = 0
    """Examples longer than the model reads."""


class Evaluation(msgspec.Struct, frozen=True):
    """What an evaluation found."""

    model: str
    task: str
    parts: dict[str, PartScores]
    skipped: list[str]
    """What is wrong with rows that were left out, a line for each kind of fault."""
    notes: list[str] = []
    """What was decided by a rule while the file was read, a line each."""

    def lines(self) -> list[str]:
        """The same in words."""
        lines = []
        for part, found in self.parts.items():
            truncated = f", {found.truncated:,} of which are truncated" if found.truncated else ""
            lines.append(f"{part}: {found.examples:,} examples{truncated}")
            for name, value in found.scores.items():
                words = score_line(value, found.intervals.get(name), found.baseline[name])
                lines.append(f"  {METRICS[name].title}: {words}")
            if None in found.scores.values():
                lines.append(f"  {UNDEFINED}")
            width = max((len(row.name) for row in found.rows), default=0)
            lines += [
                f"  {row.name:<{width}}  precision {row.precision:.4f}  recall {row.recall:.4f}  "
                f"F1 {row.f1:.4f}  of {row.support:,}"
                for row in found.rows
            ]
        lines += self.notes
        lines += [f"left out: {line}" for line in self.skipped]
        return lines


class CorpusScores(msgspec.Struct, frozen=True):
    """What a pre-trained model predicts on the held-out part of a corpus.

    `mlm` of a BERT, and `nsp` where it judges pairs; `forward` of what reads from left to right;
    `forward` and `backward` of an ELMo. `_loss` is in nats.
    """

    model: str
    scores: dict[str, float]
    baseline: dict[str, float]
    """The same for guessing by frequency."""
    length: int
    """Tokens of the longest sequences that it was scored on."""
    pair_task: PairTask
    """How the pairs are labelled."""
    note: str = ""
    """What is to be known of these labels."""

    def lines(self) -> list[str]:
        """The same in words."""
        lines = [
            f"{name.replace('_', ' ')}: {value:.4f} (baseline {self.baseline[name]:.4f})"
            for name, value in self.scores.items()
        ]
        lines.append(f"on sequences of up to {self.length} tokens")
        return [*lines, self.note] if self.note else lines


def evaluate(
    predictor: Model,
    data: Path | str,
    *,
    columns: Columns | None = None,
    skip_bad: bool = False,
) -> Evaluation | CorpusScores:
    """Scores a model.

    Args:
        predictor: of a fine-tuned model; of a pre-trained one where `data` is a corpus.
        data: folder of the official files (every dev part is scored), or one labelled file; or a
            corpus of `bertsmith prepare`.
        columns: what the columns of the user's own file are called; None: as in fine-tuning.
        skip_bad: leave out rows that cannot be used, instead of refusing the file.

    Raises:
        UsageError: a model and data that do not go together.
        DataError: the file has no labels, or one that the model does not know.
        FolderError: the corpus is damaged or was made by another tokenizer.
    """
    if (Path(data) / MANIFEST).is_file():
        return _evaluate_corpus(predictor, Path(data))
    task_config = predictor.task_config
    kind = kind_named(task_config.kind)
    if skip_bad:
        reading.refuse_skipping(registry.TASKS.get(task_config.task))
    bad, notes = BadRows(skip=skip_bad), Notes()
    parts = reading.labelled(
        task_config,
        data,
        columns=columns or task_config.columns or Columns(),
        bad=bad,
        notes=notes,
    )
    official = registry.TASKS.get(task_config.task)
    names = official.metrics if official else kind.metrics_of(task_config.labels)
    found = {}
    for part, examples in parts.items():
        if not examples:
            raise DataError(f"{data}: all rows are left out ({'. '.join(bad.lines())}).")
        examples = kind.unified_like(examples, task_config.labels, notes)
        _check_labels(examples, task_config.labels, kind.known_labels(task_config.labels))
        features = predictor.scorer.features(examples, task_config)
        answers = predictor.scorer.predict(examples, task_config, features)
        found[part] = _scored(predictor, names, examples, answers, truncated=features.truncated)
    return Evaluation(str(predictor.folder), task_config.task, found, bad.lines(), notes.lines())


def _scored(
    predictor: Model,
    names: Sequence[str],
    examples: Sequence[Example],
    answers: Sequence[Prediction],
    *,
    truncated: int,
) -> PartScores:
    task_config = predictor.task_config
    kind = kind_named(task_config.kind)
    right = kind.references(examples, task_config.labels)
    given = kind.predictions(answers, task_config.labels)
    scores = metrics.score(names, right, given)
    intervals = {name: metrics.interval(name, right, given) for name in names}
    rows = kind.table(right, given, task_config.labels)
    known = {name: found for name, found in intervals.items() if found is not None}
    usual = baseline(kind, names, right)
    return PartScores(len(examples), scores, usual, known, rows, truncated)


def _check_labels(examples: Sequence[Example], labels: Sequence[str], known: set[str]) -> None:
    found = unknown_label(examples, known)
    if found is not None:
        where, name = found
        raise DataError(
            f"{where}: the model does not know the label '{name}'{nearest(name, labels)}; its "
            f"labels are {', '.join(labels)}. Correct the label, or fine-tune on examples of it."
        )


def _evaluate_corpus(predictor: Model, data: Path) -> CorpusScores:
    model = predictor.model
    if not isinstance(model, Pretrained):
        raise UsageError(
            f"{option('data', data)} is a corpus, which scores models that predict words, and "
            f"{predictor.name} has no head for that; give labelled data, or pre-train it further: "
            f"`{command('pretrain', start=predictor.name)}`."
        )
    corpus = Corpus.open(data)
    if corpus.manifest.tokenizer_fingerprint != predictor.tokenizer.fingerprint:
        raise FolderError(
            f"The corpus {data} was prepared with another tokenizer than that of "
            f"{predictor.name}; prepare it again with {option('tokenizer', predictor.name)}."
        )
    settings = _run_settings(predictor.folder.resolve())
    pair_task, note = _pair_task(model, settings)
    # As the run evaluated, so that its numbers come again.
    length = min(_LENGTH, model.config.max_position_embeddings)
    if settings is not None:
        length = settings.phases[-1].length
    batches = heldout_batches(
        corpus.split("heldout"),
        corpus.tokenizer,
        sequences=_SEQUENCES,
        length=length,
        objective=model.objective,
        pair_task=pair_task,
        whole_word_masking=settings is not None and settings.whole_word_masking,
        micro_tokens=TOKENS_AT_ONCE[predictor.place.device.type],
    )
    return CorpusScores(
        str(predictor.folder),
        evaluation.evaluate(model, batches, predictor.place),
        evaluation.baseline(batches, corpus.unigrams_V, corpus.tokenizer),
        length,
        pair_task,
        note,
    )


def _run_settings(folder: Path) -> PretrainConfig | None:
    """Of the run that made a model, where its folder has them; a checkpoint is two floors below."""
    run = folder.parent.parent if folder.parent.name == CHECKPOINTS else folder
    return read_settings(run) if (run / SETTINGS).is_file() else None


def _pair_task(model: Pretrained, settings: PretrainConfig | None) -> tuple[PairTask, str]:
    """What the model was pre-trained to say of pairs, and how that is known."""
    if next_sentence_model(model) is None:
        return "none", ""
    check_segments("The model", model.config)
    if settings is not None and settings.pair_task == "sop":
        return "sop", "nsp: the pairs are labelled by sentence order (sop), as in training."
    if settings is not None and settings.pair_task == "nsp":
        return "nsp", ""
    return "nsp", (
        "nsp: the pairs are labelled as next sentences; the folder does not say which pair task "
        f"the model was trained on ({SETTINGS} is not there)."
    )
