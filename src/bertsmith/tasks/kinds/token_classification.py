"""Token classification: every word gets a tag, and tags spell entities where they are of such."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bertsmith.core.errors import DataError, UsageError
from bertsmith.reports.language import t
from bertsmith.reports.page import Card, Report
from bertsmith.tasks import tagging
from bertsmith.tasks.bad_rows import BadRows
from bertsmith.tasks.datasets import conll
from bertsmith.tasks.datasets.fields import list_of, name_of, text_of
from bertsmith.tasks.datasets.own_rows import is_lines
from bertsmith.tasks.decode import Outputs, softmax
from bertsmith.tasks.entities import MARKS, Entity, entities, is_entity_tag
from bertsmith.tasks.examples import Example, Limits, TagExample
from bertsmith.tasks.features import ROW, WORD, Features
from bertsmith.tasks.kind import Answered, Prediction, TaskKind, Usual
from bertsmith.tasks.kinds import sections, tag_report
from bertsmith.tasks.kinds.entity_scores import TAG_METRICS, TagAnswer, TaggedSpan, per_type
from bertsmith.tasks.metric import Floats, Metric, Row
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.pool import Pool
from bertsmith.tasks.spellings import in_order
from bertsmith.tasks.task_config import Columns, TaskConfig
from bertsmith.text import rows, segmentation, streams
from bertsmith.text.formats import columnar
from bertsmith.text.formats.registry import is_supported
from bertsmith.text.rows import Row as FileRow
from bertsmith.text.tokenizer.encode import best_windows, room_for_text, window_spans
from bertsmith.text.tokenizer.tokenizer import Tokenizer

# Formats whose rows can hold lists of words.
_LISTS = (".jsonl", ".json", ".parquet", ".arrow")


class TokenClassification(TaskKind):
    """A tag for every word."""

    name = "token-classification"
    level = "token"
    prediction = TagAnswer
    settings = frozenset(("stride", "merge_labels", "strict_tags", "features", "combine"))
    usual = Usual(8, 256, 128)
    metrics: ClassVar[Mapping[str, Metric]] = TAG_METRICS
    deciding = ("entity_f1",)
    columns = ("words", "tags")
    asked = "a text"
    pipeline = "token-classification"
    baseline_name = "most frequent tag"
    counted = "tag"
    unit = "word"
    inputs = "documents"
    wrong = "Sentences with a wrong tag"

    def columns_read(self, *, labelled: bool) -> tuple[str, ...]:
        """A tagger is also asked about a text."""
        return self.columns if labelled else (*self.columns, "text")

    def needed(self, columns: Columns, *, labelled: bool) -> dict[str, str]:
        """Without labels a row may have a text instead of words."""
        return super().needed(columns, labelled=True) if labelled else {}

    def parse(self, row: FileRow, key: str, columns: Columns, *, labelled: bool) -> Example:
        """A list of words, with a list of tags; or a text, which is cut into words."""
        if not labelled and columns.words not in row.values:
            found = running_text(
                row.where, key, text_of(row, columns.text, "text"), document=int(key)
            )
            if not found.words:
                raise DataError(
                    f"{row.where}: the text in column '{columns.text}' has no visible character; "
                    "remove the row."
                )
            return found
        words = list_of(row, columns.words, "words")
        for word in words:
            if not isinstance(word, str) or not word.strip():
                raise DataError(
                    f"{row.where}: the list in column '{columns.words}' holds {word!r}, expected "
                    "words."
                )
        if not labelled:
            return TagExample(row.where, key, tuple(words), None, int(key))
        tags = list_of(row, columns.tags, "tags")
        if len(tags) != len(words):
            raise DataError(
                f"{row.where}: found {len(words)} words and {len(tags)} tags, expected as many "
                "tags as words; correct the row."
            )
        names = tuple(name_of(tag, row, columns.tags, "tag") for tag in tags)
        return TagExample(row.where, key, tuple(words), names, int(key))

    def read(
        self,
        path: Path | str,
        columns: Columns,
        *,
        bad: BadRows | None = None,
        notes: Notes | None = None,
    ) -> Iterator[Example]:
        """Columns as in CoNLL's files, unless the rows of the format can hold lists."""
        rows.refuse_folder(path)
        if streams.endings(str(path))[0] not in _LISTS:
            words, tags = _chosen(columns)
            yield from conll.read(path, words=words, tags=tags, notes=notes)
            return
        names = columnar.class_names(path).get(columns.tags)
        for example in super().read(path, columns, bad=bad, notes=notes):
            yield _named(example, names, columns.tags) if names else example

    def read_unlabelled(
        self,
        path: Path | str,
        columns: Columns,
        *,
        labels: Collection[str] = (),
        bad: BadRows | None = None,
    ) -> Iterator[tuple[dict[str, Any], Example]]:
        """Columns if the lines of a file end in tags; else rows with lists, or running text."""
        rows.refuse_folder(path)
        ending = streams.endings(str(path))[0]
        has_columns = not is_supported(str(path)) or conll.has_tags(path, labels)
        if ending in _LISTS or not has_columns:
            yield from super().read_unlabelled(path, columns, labels=labels, bad=bad)
            return
        for example in conll.read(path, labelled=None, words=_chosen(columns)[0]):
            yield {"id": example.key}, example

    def columns_in(self, path: Path | str, columns: Columns) -> Columns:
        """A line is a text; none holds a list of words."""
        return replace(columns, text=rows.TEXT, words="") if is_lines(path) else columns

    def example(self, item: str | tuple[Any, ...], where: str, number: int) -> Example | None:
        """A text, cut into words."""
        if not isinstance(item, str):
            return None
        found = running_text(where, str(number), item, document=number)
        if not found.words:
            raise UsageError(f"{where} holds no word; remove it.")
        return found

    def classes(self, examples: Sequence[Example]) -> tuple[str, ...]:
        """The tags that occur; if one type of entity has an `I-`, every type has.

        That no long name of a type happens to be in a file does not make it impossible.
        """
        names = set(super().classes(examples))
        tags = names - {"O"}
        if all(map(is_entity_tag, tags)):
            pairs = [tag.partition("-") for tag in tags]
            names |= {f"{mark}-{kind}" for mark, _, _ in pairs for _, _, kind in pairs}
        return in_order(names)

    def metrics_of(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Those of entities, or of other tags, such as parts of speech."""
        if not tagging.name_entities(labels):
            return ("tag_accuracy",)
        return ("entity_precision", "entity_recall", "entity_f1")

    def unified(
        self,
        train: list[Example],
        evaluated: dict[str, list[Example]],
        *,
        strict: bool,
        notes: Notes,
    ) -> tuple[list[Example], dict[str, list[Example]]]:
        """Tags of all parts in the scheme that training goes by."""
        scheme = tagging.taught_scheme(train)
        unify = partial(tagging.in_scheme, scheme=scheme, strict=strict, notes=notes)
        return unify(train), {part: unify(examples) for part, examples in evaluated.items()}

    def unified_like(
        self, examples: list[Example], labels: Sequence[str], notes: Notes
    ) -> list[Example]:
        """In the scheme of a model's tags."""
        return tagging.in_scheme(examples, tagging.known_scheme(labels), notes=notes)

    def known_labels(self, labels: Sequence[str]) -> set[str]:
        """Entities are compared, whatever scheme their tags are written in."""
        if not tagging.name_entities(labels):
            return set(labels)
        types = {name.partition("-")[2] for name in labels if name != "O"}
        return {*labels, *(f"{mark}-{kind}" for mark in MARKS for kind in types)}

    def notes_on(self, labels: Sequence[str], *, official: bool) -> list[str]:
        """Whether the tags are of entities."""
        scheme = tagging.known_scheme(labels)
        if scheme is None and all(label.isdecimal() for label in labels):
            return [
                "tags: numbers, one for each word alone; if they stand for names (0 for O, 1 for "
                "B-PER), write the names, or entities are not scored"
            ]
        if scheme is None:
            return ["tags: one for each word alone (tags of entities would be O, B-TYPE, I-TYPE)"]
        types = sorted({label.partition("-")[2] for label in labels if label != "O"})
        more = f" and {len(types) - 8} more" if len(types) > 8 else ""
        return [f"tags: entities ({', '.join(types[:8])}{more}), scheme {scheme}"]

    def encode(
        self,
        examples: Sequence[TagExample],
        tokenizer: Tokenizer,
        limits: Limits,
        labels: Sequence[str] = (),
    ) -> Features:
        """Windows over whole documents: the maximal document context (paper, section 5.3)."""
        words = [word for example in examples for word in example.words]
        pool = Pool(tokenizer)
        starts, lengths = pool.add(words, at_least_one=True)
        counts = np.array([len(example.words) for example in examples])
        document_of = np.repeat([example.document for example in examples], counts)
        sentence_of = np.repeat(np.arange(len(examples)), counts)
        table = np.zeros(len(words), dtype=WORD)
        table["target"] = -1
        number_of = {name: number for number, name in enumerate(labels)}
        labelled = all(example.tags is not None for example in examples)
        if labelled:
            table["target"] = [number_of[tag] for example in examples for tag in example.tags or ()]
        room = room_for_text(limits.max_length, specials=2)
        found: list[NDArray[np.void]] = []
        sizes = []
        count = 0
        edges = np.flatnonzero(np.diff(document_of, prepend=np.nan, append=np.nan) != 0)
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            begin, size = starts[first], int(starts[last - 1] + lengths[last - 1] - starts[first])
            sizes.append(size)
            spans = window_spans(size, room=room, stride=limits.stride)
            pieces = starts[first:last] - begin
            window = best_windows(spans, size)[pieces]
            table["row"][first:last] = count + window
            count += len(spans)
            table["place"][first:last] = 1 + pieces - spans[window, 0]
            after = np.minimum(pieces + lengths[first:last], spans[window, 1])
            table["end"][first:last] = after - spans[window, 0]
            rows = np.zeros(len(spans), dtype=ROW)
            rows["example"] = sentence_of[first]
            rows["a_start"], rows["a_length"] = begin + spans[:, 0], spans[:, 1] - spans[:, 0]
            found.append(rows)
        return Features(
            pool.pieces_T,
            np.concatenate(found),
            paired=False,
            whole=np.array(sizes) + 2,
            words=table,
        )

    def decode(
        self, features: Features, outputs: Outputs, examples: Sequence[Any], task_config: TaskConfig
    ) -> list[Prediction]:
        """The most probable tag of each word."""
        shares = softmax(outputs.astype(np.float64))
        best = shares.argmax(1)
        sure = shares[np.arange(len(best)), best]
        answers: list[Prediction] = []
        place = 0
        for example in examples:
            here = slice(place, place + len(example.words))
            tags = [task_config.labels[number] for number in best[here]]
            spans = [_tagged_span(example, found) for found in entities(tags)]
            answers.append(TagAnswer(list(example.words), tags, sure[here].tolist(), spans))
            place = here.stop
        return answers

    def references(self, examples: Sequence[Any], labels: Sequence[str]) -> list[tuple[str, ...]]:
        """The tags of each sentence."""
        return [example.tags for example in examples]

    def predictions(self, answers: Sequence[Any], labels: Sequence[str]) -> list[list[str]]:
        """The tags of each sentence."""
        return [answer.tags for answer in answers]

    def baseline(self, references: Any) -> Any:
        """The most frequent tag."""
        [(tag, _)] = Counter(tag for row in references for tag in row).most_common(1)
        return [[tag] * len(row) for row in references]

    def table(self, references: Any, predictions: Any, labels: Sequence[str]) -> list[Row]:
        """A row for each type of entity."""
        return per_type(references, predictions)

    def goes_on(self, one: Example, other: Example) -> bool:
        """Sentences of one document are context for one another."""
        assert isinstance(one, TagExample)
        assert isinstance(other, TagExample)
        return one.document == other.document

    def goal(self, labels: Sequence[str], example: Example) -> str:
        """To tag."""
        return t("tag the words of a sentence")

    def transformers_code(self, folder: str, example: Example) -> list[str]:
        """A pipeline that joins the pieces of words."""
        code = sections.pipeline_code(self.pipeline, folder, ', aggregation_strategy="first"')
        return [*code, 'model("SENTENCE")']

    def write_answers(self, page: Report, found: Answered) -> None:
        """Writes scores by entity type, errors by their cause, and calibration."""
        tag_report.write_answers(page, self.references(found.examples, ()), found.predictions)

    def badness(self, examples: Sequence[Any], answers: Sequence[Any]) -> Floats:
        """Confidence in the most confident wrong tag."""
        return tag_report.badness(examples, answers)

    def about_errors(self, count: int, total: int, most: int) -> str:
        """With a legend of the colours."""
        colours = t("Green entities are the same in both, orange ones differ.")
        return super().about_errors(count, total, most) + t(" ") + colours

    def card(self, example: TagExample, answer: TagAnswer) -> Card:
        """The sentence twice, with the true and the predicted entities."""
        return tag_report.card(example, answer)


def running_text(where: str, key: str, text: str, *, document: int) -> TagExample:
    """A text cut into words, which a tagger is asked about; see `segmentation` for the rules.

    Raises:
        DataError: the text holds characters that are not Unicode text (lone surrogates).
    """
    places = segmentation.words(text)
    words = tuple(text[start:end] for start, end in places)
    return TagExample(where, key, words, document=document, text=text, places=tuple(places))


def _chosen(columns: Columns) -> tuple[str | None, str | None]:
    """The columns of words and tags that were chosen, as `conll.read` takes them."""
    usual = Columns()
    words = None if columns.words in (usual.words, "") else columns.words
    return words, None if columns.tags == usual.tags else columns.tags


def _named(example: Example, names: Sequence[str], column: str) -> Example:
    """A sentence whose tags are numbers, with the names that the file has for them."""
    assert isinstance(example, TagExample)
    tags = []
    for tag in example.tags or ():
        if not tag.isdecimal() or int(tag) >= len(names):
            raise DataError(
                f"{example.where}: the tag '{tag}' in column '{column}' is not a number from 0 to "
                f"{len(names) - 1}, for which the file has names; correct it."
            )
        tags.append(names[int(tag)])
    return replace(example, tags=tuple(tags))


def _tagged_span(example: TagExample, found: Entity) -> TaggedSpan:
    text, places = example.placed
    start, end = places[found.start][0], places[found.end - 1][1]
    return TaggedSpan(found.type, start, end, text[start:end], found.start, found.end)


TOKEN_CLASSIFICATION = TokenClassification()
