"""Examples to model inputs: stretches of one flat row of pieces, never a list of tokens each.

A text is encoded once, however many inputs it is in (a context with its questions and windows, a
beginning with its choices). An input, a *row* of the table, names a stretch for segment A and, in a
paired task, one for segment B; `[CLS]` and `[SEP]` come when a batch is joined. Memory is that of
the pieces: a few bytes each.

Nothing is cut in silence. `answer` and `tag` slide windows over what is too long, and every piece
counts in the window that gives it most context; `classify` and `regress` do so where asked to (over
the longer text of a pair), and otherwise count what they cut, as `choose` does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bertsmith.core.errors import UsageError
from bertsmith.models.head_config import Kind
from bertsmith.tasks.pool import Integers, Pool, gather
from bertsmith.tasks.task import (
    AnswerExample,
    ChoiceExample,
    Example,
    Limits,
    TagExample,
    TextExample,
)
from bertsmith.text.tokenizer.encode import (
    best_windows,
    fit_pair,
    join_flat,
    room_for_text,
    window_spans,
)
from bertsmith.text.tokenizer.tokenizer import Tokenizer

ROW = np.dtype(
    [
        ("example", np.int64),
        ("a_start", np.int64),
        ("a_length", np.int64),
        ("b_start", np.int64),
        ("b_length", np.int64),
    ]
)
"""One input. Without a segment B the last two are 0."""
WORD = np.dtype([("row", np.int64), ("place", np.int64), ("end", np.int64), ("target", np.int64)])
"""A word to tag: its input, the places of its first and last piece there, and the number of its tag
(-1). A window may end within a word."""


@dataclass(frozen=True)
class Features:
    """The inputs of a list of examples, in order, and what is to be said of them."""

    kind: Kind
    pieces_T: Integers
    """Every text's pieces, laid end to end."""
    rows: NDArray[np.void]
    """`ROW` [R]; the rows of an example follow each other."""
    paired: bool
    """Whether rows have a segment B."""
    whole: Integers
    """Tokens that each example (`choose`: choice, `tag`: document) would have as one input of any
    length, specials counted."""
    group: int = 1
    """Rows that are answered together: the choices of an example."""
    targets: Integers | NDArray[np.float32] | None = None
    """None if unlabelled. `classify`: class of each row, [R]; `regress`: float32 [R]; `choose`:
    right choice [R / group]; `answer`: places of the first and last piece in the input, [R, 2],
    both 0 (`[CLS]`) where the row does not hold the answer; `tag`: in `words`."""
    words: NDArray[np.void] | None = None
    """`WORD`, in the order of the examples' words, each once; of `tag` only."""
    places_T2: NDArray[np.int32] | None = None
    """Characters `(start, end)` in their text of `pieces_T`; of `answer` only."""
    cut: int = 0
    """Examples that lost pieces to the limit."""

    @property
    def specials(self) -> int:
        """`[CLS]` and `[SEP]`s of a row."""
        return 3 if self.paired else 2

    @property
    def lengths(self) -> Integers:
        """Tokens of each row, specials counted, [R]."""
        lengths: Integers = self.rows["a_length"] + self.rows["b_length"] + self.specials
        return lengths

    @cached_property
    def item_lengths(self) -> Integers:
        """Tokens of each item, all its rows together, [items]."""
        lengths: Integers = self.lengths.reshape(-1, self.group).sum(1)
        return lengths

    @property
    def items(self) -> int:
        """How many groups of rows there are: what a batch counts."""
        return len(self.rows) // self.group

    @property
    def windowed(self) -> int:
        """Examples that take more than one row because they are long."""
        counts = np.bincount(self.rows["example"], minlength=1)
        return int((counts > self.group).sum())

    @cached_property
    def word_edges(self) -> Integers:
        """Where the words of each row begin in `words`, [R + 1]: they are in the rows' order."""
        assert self.words is not None
        edges: Integers = np.searchsorted(self.words["row"], np.arange(len(self.rows) + 1))
        return edges

    def joined(
        self, rows: Integers, tokenizer: Tokenizer
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """ids_T, segments_T and lengths [B] of the given rows, specials put in."""
        chosen = self.rows[rows]
        a_T = gather(self.pieces_T, chosen["a_start"], chosen["a_length"])
        b_T = gather(self.pieces_T, chosen["b_start"], chosen["b_length"])
        return join_flat(
            a_T,
            chosen["a_length"],
            b_T if self.paired else None,
            chosen["b_length"] if self.paired else None,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
        )


def build(
    kind: Kind,
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    limits: Limits,
    labels: Sequence[str] = (),
    *,
    asked: bool = False,
) -> Features:
    """The inputs of `examples`, and their targets where every one of them is labelled.

    Args:
        kind: of the task; the examples are of its class.
        examples: at least one; `choose`: with equally many choices each; `classify`: in pairs all
            or none.
        tokenizer: the model's.
        limits: how long inputs may be.
        labels: the classes or tags, in the order of the model's outputs.
        asked: whether only answers are wanted: targets are left out, whatever the labels say.

    Raises:
        UsageError: the limits leave no room for text, or some inputs are single texts and some
            pairs.
    """
    if asked:
        examples = [_without_label(example) for example in examples]
    return _BUILDERS[kind](examples, tokenizer, limits, {name: i for i, name in enumerate(labels)})


def _without_label(example: Example) -> Example:
    match example:
        case TagExample():
            return replace(example, tags=None)
        case AnswerExample():
            return replace(example, answers=None)
        case _:
            return replace(example, label=None)


def _texts(
    examples: Sequence[TextExample], tokenizer: Tokenizer, limits: Limits, labels: dict[str, int]
) -> Features:
    paired = examples[0].b is not None
    for example in examples:
        if (example.b is not None) != paired:
            raise UsageError(
                f"{example.where}: this is a {'single text' if paired else 'pair of texts'}, "
                f"unlike {examples[0].where}; give one sort at a time."
            )
    pool = Pool(tokenizer)
    rows = np.zeros(len(examples), dtype=ROW)
    rows["example"] = np.arange(len(examples))
    rows["a_start"], rows["a_length"] = pool.add([example.a for example in examples])
    if paired:
        rows["b_start"], rows["b_length"] = pool.add([example.b or "" for example in examples])
    specials = 3 if paired else 2
    room = room_for_text(limits.longest, specials=specials)
    text = rows["a_length"] + rows["b_length"]
    too_long = cut = text > room
    if limits.long == "windows" and too_long.any():
        # Windows go over one text only.
        cut = too_long & (np.minimum(rows["a_length"], rows["b_length"]) > room // 2)
        rows = np.concatenate(
            [
                _slide(row, room, limits.stride, paired=paired) if long else np.array([row])
                for row, long in zip(rows, too_long, strict=True)
            ]
        )
    rows["a_length"], rows["b_length"] = fit_pair(rows["a_length"], rows["b_length"], room)
    targets: Integers | NDArray[np.float32] | None = None
    given = [example.label for example in examples]
    if None not in given:
        numbers: Integers | NDArray[np.float32]
        if labels:
            numbers = np.array([labels[str(label)] for label in given])
        else:
            numbers = np.array(given, dtype=np.float32)
        targets = numbers[rows["example"]]
    return Features(
        "classify" if labels else "regress",
        pool.pieces_T,
        rows,
        paired,
        whole=text + specials,
        targets=targets,
        cut=int(cut.sum()),
    )


def _slide(row: np.void, room: int, stride: int, *, paired: bool) -> NDArray[np.void]:
    """Windows over the longer text; of a pair, beside at most half the room of the shorter one."""
    over, beside = ("b", "a") if paired and row["b_length"] > row["a_length"] else ("a", "b")
    kept = min(int(row[f"{beside}_length"]), room // 2)
    spans = window_spans(int(row[f"{over}_length"]), room=room - kept, stride=stride)
    rows = np.repeat(np.array([row]), len(spans))
    rows[f"{beside}_length"] = kept
    rows[f"{over}_start"] += spans[:, 0]
    rows[f"{over}_length"] = spans[:, 1] - spans[:, 0]
    return rows


def _choices(
    examples: Sequence[ChoiceExample], tokenizer: Tokenizer, limits: Limits, labels: dict[str, int]
) -> Features:
    group = len(examples[0].choices)
    pool = Pool(tokenizer)
    rows = np.zeros(len(examples) * group, dtype=ROW)
    rows["example"] = np.repeat(np.arange(len(examples)), group)
    a_starts, a_lengths = pool.add([example.a for example in examples])
    rows["a_start"], rows["a_length"] = np.repeat(a_starts, group), np.repeat(a_lengths, group)
    rows["b_start"], rows["b_length"] = pool.add(
        [choice for example in examples for choice in example.choices]
    )
    room = room_for_text(limits.longest, specials=3)
    text = rows["a_length"] + rows["b_length"]
    rows["a_length"], rows["b_length"] = fit_pair(rows["a_length"], rows["b_length"], room)
    right = [example.label for example in examples]
    return Features(
        "choose",
        pool.pieces_T,
        rows,
        paired=True,
        whole=text + 3,
        group=group,
        targets=None if None in right else np.array(right, dtype=np.int64),
        cut=len(np.unique(rows["example"][text > room])),
    )


def _tags(
    examples: Sequence[TagExample], tokenizer: Tokenizer, limits: Limits, labels: dict[str, int]
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
    labelled = all(example.tags is not None for example in examples)
    if labelled:
        table["target"] = [labels[tag] for example in examples for tag in example.tags or ()]
    room = room_for_text(limits.longest, specials=2)
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
        "tag",
        pool.pieces_T,
        np.concatenate(found),
        paired=False,
        whole=np.array(sizes) + 2,
        words=table,
    )


def _answers(
    examples: Sequence[AnswerExample], tokenizer: Tokenizer, limits: Limits, labels: dict[str, int]
) -> Features:
    pool = Pool(tokenizer, placed=True)
    contexts = list(dict.fromkeys(example.context for example in examples))
    questions = list(dict.fromkeys(example.question for example in examples))
    c_starts, c_lengths = pool.add(contexts)
    q_starts, q_lengths = pool.add(questions)
    context_of = {text: number for number, text in enumerate(contexts)}
    question_of = {text: number for number, text in enumerate(questions)}
    cut = 0
    tables, targets, whole = [], [], []
    for number, example in enumerate(examples):
        question, context = question_of[example.question], context_of[example.context]
        a_length = min(int(q_lengths[question]), limits.longest_question)
        cut += int(a_length < q_lengths[question])
        whole.append(int(q_lengths[question] + c_lengths[context]) + 3)
        room = room_for_text(limits.longest, specials=3 + a_length)
        spans = window_spans(int(c_lengths[context]), room=room, stride=limits.stride)
        rows = np.zeros(len(spans), dtype=ROW)
        rows["example"] = number
        rows["a_start"], rows["a_length"] = q_starts[question], a_length
        rows["b_start"] = c_starts[context] + spans[:, 0]
        rows["b_length"] = spans[:, 1] - spans[:, 0]
        tables.append(rows)
        if example.answers is not None:
            begin = int(c_starts[context])
            places_T2 = pool.places_T2(begin, int(c_lengths[context]))
            targets.append(_answer_places(example, places_T2, spans, before=a_length + 2))
    return Features(
        "answer",
        pool.pieces_T,
        np.concatenate(tables),
        paired=True,
        whole=np.array(whole),
        targets=np.concatenate(targets) if len(targets) == len(examples) else None,
        places_T2=pool.places_T2(0, len(pool.pieces_T)),
        cut=cut,
    )


def _answer_places(
    example: AnswerExample, places_T2: NDArray[np.int32], spans: Integers, *, before: int
) -> Integers:
    """First and last piece of the first answer in each window, [W, 2]; (0, 0) if not whole there.

    A window that cuts the answer teaches, as Google's script does, that there is none in it.
    """
    places = np.zeros((len(spans), 2), dtype=np.int64)
    if example.answers:
        answer = example.answers[0]
        end = answer.start + len(answer.text)
        first = int(np.searchsorted(places_T2[:, 1], answer.start, side="right"))
        last = int(np.searchsorted(places_T2[:, 0], end, side="left")) - 1
        if first <= last:
            whole = (spans[:, 0] <= first) & (last < spans[:, 1])
            places[whole] = np.array([first, last]) - spans[whole, :1] + before
    return places


_Builder = Callable[..., Features]
_BUILDERS: dict[Kind, _Builder] = {
    "classify": _texts,
    "regress": _texts,
    "choose": _choices,
    "tag": _tags,
    "answer": _answers,
}
