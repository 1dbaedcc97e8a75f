"""Building SQuAD's inputs: ours beside the ways of `transformers`, on one core, in turn.

`python benchmarks/finetune.py squad` runs it. Every contender turns labelled questions with their
contexts (384 tokens at most, a window every 128, questions of 64 at most) into inputs with the
places of their answers:

- *bertsmith*: `tasks.features.build`, and then every input joined as a batch has it;
- *word by word*: Google's `run_squad.py` and its heir `squad_convert_examples_to_features`: words
  parted at white space, each cut into pieces, spans over the pieces, for every piece whether it has
  its best context in a span, padding to 384. Written here from that description, because
  `transformers` 5 has dropped its own; once with the tokenizer in Python, once with the fast one;
- *squad_convert_examples_to_features* itself, where an older `transformers` is installed;
- *map*: `run_qa.py`: the fast tokenizer over whole texts in `datasets.map`, answers found through
  the offsets, padding to 384. (Its windows overlap by 128, so there are fewer of them.)

Files are read and words parted before the clock starts. In each round every contender builds the
same `--chunk` of questions, and a ratio is taken inside a round; the first round is warm-up. Memory
is the growth of a fresh process's resident size at its peak, once with 2,000 and once with 10,000
questions.
"""

import argparse
import gc
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import transformers
from pretrain import summary

from bertsmith.models.sources import MINILM, resolve
from bertsmith.tasks import squad
from bertsmith.tasks.features import Limits, build
from bertsmith.tasks.task import AnswerExample
from bertsmith.text.tokenizer import Tokenizer

LONGEST, STRIDE, LONGEST_QUESTION = 384, 128, 64
LIMITS = Limits(longest=LONGEST, stride=STRIDE, longest_question=LONGEST_QUESTION)
OURS = "bertsmith"
QUESTIONS = (2_000, 10_000)
"""Of the two measurements of memory."""

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


# --- the contenders -----------------------------------------------------------------------------


def ours() -> Build:
    tokenizer = Tokenizer.load(resolve(MINILM), backend="auto")

    def make(examples: list[AnswerExample]) -> Built:
        features = build("answer", examples, tokenizer, LIMITS)
        count = len(features.rows)
        for first in range(0, count, 32):
            features.joined(np.arange(first, min(first + 32, count)), tokenizer)
        return count, features

    return make


def word_by_word(tokenizer: Any) -> Build:
    """See the top of the file."""

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
    question = tokenizer.tokenize(example.question)[:LONGEST_QUESTION]
    room = LONGEST - len(question) - 3
    spans = []
    while True:
        begin = len(spans) * STRIDE
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
            max_query_length=LONGEST_QUESTION,
            is_training=True,
            threads=1,
            tqdm_enabled=False,
        )
        return len(features), features

    return make


def mapped() -> Build:
    """See the top of the file."""
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


def contenders() -> dict[str, Callable[[], Build]]:
    """By name; each is made when it is called, the one to beat second."""
    found: dict[str, Callable[[], Build]] = {
        OURS: ours,
        "word by word, Python": lambda: word_by_word(python_tokenizer()),
        "word by word, fast": lambda: word_by_word(fast_tokenizer()),
        "map, fast": mapped,
    }
    try:
        original()
    except ImportError:
        return found
    return found | {"squad_convert": original}


# --- measuring ----------------------------------------------------------------------------------


def read(data: Path) -> list[AnswerExample]:
    """The training part, then dev."""
    folder = data / "squad"
    paths = [path for part in ("train", "dev") for path in sorted(folder.glob(f"{part}*.json"))]
    return [each for path in paths for each in squad.read(path, may_be_impossible=False)]


def prepared(name: str, examples: list[AnswerExample]) -> list[Any]:
    return list(examples) if name == OURS else [in_words(example) for example in examples]


def one_core() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def resident(name: str) -> float:
    """`VmRSS` or, since `forget_peak`, `VmHWM`; MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s*(\d+) kB", status)[1]) / 1000


def forget_peak() -> None:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def growth(name: str, data: Path, questions: int) -> dict[str, float]:
    """MB by which building the inputs of so many questions makes this process grow."""
    one_core()
    make = contenders()[name]()
    examples = prepared(name, read(data)[:questions])
    make(examples[:10])
    forget_peak()
    before = resident("VmRSS")
    built = make(examples)
    peak = resident("VmHWM") - before
    gc.collect()
    held = resident("VmRSS") - before
    return {"inputs": built[0], "peak_mb": peak, "held_mb": held}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Speed in turn, then the memory of each contender in processes of their own."""
    one_core()
    transformers.logging.set_verbosity_error()
    examples = read(arguments.data)
    makers = {name: maker() for name, maker in contenders().items()}
    chunks = [
        examples[turn * arguments.chunk : (turn + 1) * arguments.chunk]
        for turn in range(arguments.rounds + 1)
    ]
    if len(chunks[-1]) < arguments.chunk:
        raise SystemExit(f"{len(examples):,} questions are too few for so many rounds.")
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    inputs = dict.fromkeys(makers, 0)
    for turn, chunk in enumerate(chunks):
        for name, make in makers.items():
            rows = prepared(name, chunk)
            began = time.perf_counter()
            built = make(rows)
            took = time.perf_counter() - began
            if turn:
                seconds[name].append(took)
                inputs[name] += built[0]
            del built
    memory: dict[str, dict[int, dict[str, float]]] = {name: {} for name in makers}
    for name in makers:
        for questions in QUESTIONS:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found = pool.submit(growth, name, arguments.data, questions)
                memory[name][questions] = found.result()
    return report(arguments, seconds, inputs, memory)


def report(
    arguments: argparse.Namespace,
    seconds: dict[str, list[float]],
    inputs: dict[str, int],
    memory: dict[str, dict[int, dict[str, float]]],
) -> dict[str, Any]:
    questions = arguments.chunk * arguments.rounds
    print(f"\nSQuAD, {questions:,} questions in {arguments.rounds} rounds, one core")
    print(
        f"  {'':24}{'questions/s':>12}{'inputs':>9}  {'ours is faster by (lowest..highest)':38}"
        + "".join(f"{f'MB, {count:,}':>12}" for count in QUESTIONS)
    )
    results = {}
    for name, found in seconds.items():
        pairs = zip(found, seconds[OURS], strict=True)
        ratio = summary([theirs / ours for theirs, ours in pairs])
        speed = summary([arguments.chunk / each for each in found])
        told = f"{ratio['median']:.1f}x ({ratio['lowest']:.1f}..{ratio['highest']:.1f})"
        peaks = [memory[name][count]["peak_mb"] for count in QUESTIONS]
        print(
            f"  {name:24}{speed['median']:>12,.0f}{inputs[name]:>9,}  "
            f"{told if name != OURS else '':38}" + "".join(f"{peak:>12,.0f}" for peak in peaks)
        )
        results[name] = {
            "questions_per_second": speed,
            "inputs": inputs[name],
            "bertsmith_is_faster_by": ratio,
            "memory": memory[name],
        }
    return {
        "questions": questions,
        "rounds": arguments.rounds,
        "cores": 1,
        "contenders": results,
    }
