"""The ways in which `transformers` builds SQuAD's inputs; `squad_features.py` says which they are.

Each is a function of labelled questions that gives the number of inputs and what holds them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import datasets
import transformers

from bertsmith.checkpoints.sources import MINILM, resolve
from bertsmith.tasks.examples import AnswerExample

LONGEST, STRIDE, MAX_QUESTION_LENGTH = 384, 128, 64

Built = tuple[int, Any]
"""How many inputs, and what holds them."""
Build = Callable[[list[Any]], Built]


@dataclass(frozen=True)
class Words:
    """A question as the builders word by word want it."""

    key: str
    question: str
    context: str
    words: list[str]
    first: int
    """Number of the answer's first word."""
    last: int
    answer: str
    start: int


def in_words(example: AnswerExample) -> Words:
    assert example.answers
    answer = example.answers[0]
    places = [match.span() for match in re.finditer(r"\S+", example.context)]
    end = answer.start + len(answer.text)
    inside = [number for number, (a, b) in enumerate(places) if a < end and b > answer.start]
    return Words(
        example.key,
        example.question,
        example.context,
        [example.context[a:b] for a, b in places],
        inside[0],
        inside[-1],
        answer.text,
        answer.start,
    )


def word_by_word(tokenizer: Any) -> Build:
    """See `squad_features.py`."""

    def make(examples: list[Words]) -> Built:
        inputs = [each for example in examples for each in spans_of(example, tokenizer)]
        return len(inputs), inputs

    return make


def spans_of(example: Words, tokenizer: Any) -> list[dict[str, Any]]:
    """The inputs of one question: a span of the context's pieces each."""
    pieces: list[str] = []
    word_of: list[int] = []
    first_piece: list[int] = []
    for number, word in enumerate(example.words):
        first_piece.append(len(pieces))
        found = tokenizer.tokenize(word)
        pieces += found
        word_of += [number] * len(found)
    first_piece.append(len(pieces))
    start, end = tightened(
        pieces,
        first_piece[example.first],
        first_piece[example.last + 1] - 1,
        tokenizer.tokenize(example.answer),
    )
    question = tokenizer.tokenize(example.question)[:MAX_QUESTION_LENGTH]
    room = LONGEST - len(question) - 3
    spans: list[Any] = []
    while True:
        begin = len(spans) * (room - STRIDE)
        spans.append((begin, min(room, len(pieces) - begin)))
        if begin + room >= len(pieces):
            break
    before = len(question) + 2
    inputs = []
    for number, (begin, length) in enumerate(spans):
        tokens = ["[CLS]", *question, "[SEP]", *pieces[begin : begin + length], "[SEP]"]
        padding = [0] * (LONGEST - len(tokens))
        inside = begin <= start and end < begin + length
        inputs.append(
            {
                "key": example.key,
                "tokens": tokens,
                "input_ids": tokenizer.convert_tokens_to_ids(tokens) + padding,
                "attention_mask": [1] * len(tokens) + padding,
                "token_type_ids": [0] * before + [1] * (length + 1) + padding,
                "word_of": {before + i: word_of[begin + i] for i in range(length)},
                "has_best_context": {
                    before + i: best_span(spans, begin + i) == number for i in range(length)
                },
                "start": start - begin + before if inside else 0,
                "end": end - begin + before if inside else 0,
            }
        )
    return inputs


def tightened(pieces: list[str], start: int, end: int, answer: list[str]) -> tuple[int, int]:
    """The stretch inside the answer's words that is the answer's own pieces, if there is one."""
    wanted = " ".join(answer)
    for first in range(start, end + 1):
        for last in range(end, first - 1, -1):
            if " ".join(pieces[first : last + 1]) == wanted:
                return first, last
    return start, end


def best_span(spans: list[tuple[int, int]], place: int) -> int:
    """The span in which the piece at `place` has most context on its poorer side."""
    best, best_score = -1, -1.0
    for number, (begin, length) in enumerate(spans):
        if begin <= place < begin + length:
            score = min(place - begin, begin + length - 1 - place) + 0.01 * length
            if score > best_score:
                best, best_score = number, score
    return best


def python_tokenizer() -> Any:
    """Google's algorithm in Python: `BertTokenizer` up to `transformers` 4."""
    try:
        from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy as Slow
    except ImportError:
        from transformers import BertTokenizer as Slow
    return Slow.from_pretrained(resolve(MINILM))


def fast_tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(resolve(MINILM))


def original() -> Build:
    """`squad_convert_examples_to_features`. Raises ImportError where `transformers` lacks it."""
    from transformers.data.processors.squad import (
        SquadExample,
        squad_convert_examples_to_features,
    )

    tokenizer = python_tokenizer()

    def make(examples: list[Words]) -> Built:
        features = squad_convert_examples_to_features(
            [
                SquadExample(
                    qas_id=example.key,
                    question_text=example.question,
                    context_text=example.context,
                    answer_text=example.answer,
                    start_position_character=example.start,
                    title="",
                )
                for example in examples
            ],
            tokenizer,
            max_seq_length=LONGEST,
            doc_stride=STRIDE,
            max_query_length=MAX_QUESTION_LENGTH,
            is_training=True,
            threads=1,
            tqdm_enabled=False,
        )
        return len(features), features

    return make


def mapped() -> Build:
    """See `squad_features.py`."""
    tokenizer = fast_tokenizer()
    datasets.disable_progress_bars()
    turn = 0

    def prepare(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = tokenizer(
            rows["question"],
            rows["context"],
            truncation="only_second",
            max_length=LONGEST,
            stride=STRIDE,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding="max_length",
        )
        offsets, owners = encoded.pop("offset_mapping"), encoded.pop("overflow_to_sample_mapping")
        places = [
            answer_of(
                row,
                encoded.sequence_ids(number),
                rows["start"][owner],
                rows["start"][owner] + len(rows["answer"][owner]),
            )
            for number, (row, owner) in enumerate(zip(offsets, owners, strict=True))
        ]
        encoded["start_positions"] = [start for start, _ in places]
        encoded["end_positions"] = [end for _, end in places]
        return encoded

    def make(examples: list[Words]) -> Built:
        nonlocal turn
        turn += 1
        names = ("question", "context", "answer", "start")
        table = datasets.Dataset.from_dict(
            {name: [getattr(example, name) for example in examples] for name in names}
        )
        # A given name spares `map` the hashing of the tokenizer.
        features = table.map(
            prepare, batched=True, remove_columns=list(names), new_fingerprint=f"turn-{turn}"
        )
        return len(features), features

    return make


def answer_of(
    offsets: list[tuple[int, int]], sequence: list[int | None], start: int, end: int
) -> tuple[int, int]:
    """First and last token of the answer, or (0, 0) where the window does not hold all of it."""
    first = sequence.index(1)
    last = len(sequence) - 1
    while sequence[last] != 1:
        last -= 1
    if offsets[first][0] > start or offsets[last][1] < end:
        return 0, 0
    while first <= last and offsets[first][0] <= start:
        first += 1
    while offsets[last][1] >= end:
        last -= 1
    return first - 1, last + 1
