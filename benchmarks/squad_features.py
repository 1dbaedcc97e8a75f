"""Building SQuAD's inputs: ours beside the ways of `transformers`, on one core, in turn.

`python benchmarks/finetune.py squad` runs it. Every contender turns labelled questions with their
contexts (at most 384 tokens, windows that overlap by 128, questions of at most 64) into inputs with
the places of their answers:

- *bertsmith*: `tasks.features.build`, and then every input joined as a batch has it;
- *word by word*: Google's `run_squad.py` and its heir `squad_convert_examples_to_features`: words
  parted at white space, each cut into pieces, spans over the pieces, for every piece whether it has
  its best context in a span, padding to 384. Written here from that description, because
  `transformers` 5 has dropped its own; once with the tokenizer in Python, once with the fast one;
- *squad_convert_examples_to_features* itself, where an older `transformers` is installed (its
  windows begin every 128 pieces, so there are more of them);
- *map*: `run_qa.py`: the fast tokenizer over whole texts in `datasets.map`, answers found through
  the offsets, padding to 384.

Files are read and words parted before the clock starts (`squad_convert` parts its own). In each
round every contender builds the same `--chunk` of questions, and a ratio is taken inside a round;
the first round is warm-up. Memory is the growth of a fresh process's resident size at its peak
(Linux), once with 2,000 and once with 10,000 questions.
"""

import argparse
import gc
import os
import re
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from pretrain import summary
from squad_peers import (
    LONGEST,
    MAX_QUESTION_LENGTH,
    STRIDE,
    Build,
    Built,
    fast_tokenizer,
    in_words,
    mapped,
    original,
    python_tokenizer,
    word_by_word,
)

from bertsmith.checkpoints.sources import MINILM, resolve
from bertsmith.core.runtime import return_freed_memory
from bertsmith.tasks.datasets import squad
from bertsmith.tasks.examples import AnswerExample, Limits
from bertsmith.tasks.kinds.question_answering import QUESTION_ANSWERING
from bertsmith.text.tokenizer.tokenizer import Tokenizer

LIMITS = Limits(max_length=LONGEST, stride=STRIDE, max_question_length=MAX_QUESTION_LENGTH)
OURS = "bertsmith"
QUESTIONS = (2_000, 10_000)
"""Of the two measurements of memory."""


def ours() -> Build:
    tokenizer = Tokenizer.load(resolve(MINILM), backend="auto")

    def make(examples: list[AnswerExample]) -> Built:
        features = QUESTION_ANSWERING.encode(examples, tokenizer, LIMITS)
        count = len(features.rows)
        for first in range(0, count, 32):
            features.joined(np.arange(first, min(first + 32, count)), tokenizer)
        return count, features

    return make


def contenders() -> dict[str, Callable[[], Build]]:
    """By name; each is made when it is called."""
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
    [found] = re.findall(rf"{name}:\s*(\d+) kB", status)
    return int(found) / 1000


def forget_peak() -> None:
    gc.collect()
    return_freed_memory()
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
    cpu_seconds: dict[str, list[float]] = {name: [] for name in makers}
    inputs = dict.fromkeys(makers, 0)
    for turn, chunk in enumerate(chunks):
        for name, make in makers.items():
            rows = prepared(name, chunk)
            began = time.perf_counter(), processor_time()
            built = make(rows)
            if turn:
                seconds[name].append(time.perf_counter() - began[0])
                cpu_seconds[name].append(processor_time() - began[1])
                inputs[name] += built[0]
            del built
    memory: dict[str, dict[int, dict[str, float]]] = {name: {} for name in makers}
    for name in makers:
        for questions in QUESTIONS:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found = pool.submit(growth, name, arguments.data, questions)
                memory[name][questions] = found.result()
    return report(arguments, seconds, cpu_seconds, inputs, memory)


def processor_time() -> float:
    """Seconds of this process and of those it waited for; other work stretches them less."""
    whom = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(who) for who in whom]
    return sum(each.ru_utime + each.ru_stime for each in used)


def report(
    arguments: argparse.Namespace,
    seconds: dict[str, list[float]],
    cpu_seconds: dict[str, list[float]],
    inputs: dict[str, int],
    memory: dict[str, dict[int, dict[str, float]]],
) -> dict[str, Any]:
    questions = arguments.chunk * arguments.rounds
    print(f"\nSQuAD, {questions:,} questions in {arguments.rounds} rounds, one core")
    print(
        f"  {'':22}{'questions/s':>12}{'inputs':>9}  {'ours is faster by (lowest..highest)':37}"
        f"{'in processor time':23}" + "".join(f"{f'MB, {count:,}':>11}" for count in QUESTIONS)
    )
    results = {}
    for name, found in seconds.items():
        ratio, cpu_ratio = ratios(seconds, name), ratios(cpu_seconds, name)
        speed = summary([arguments.chunk / each for each in found])
        told = ("", "") if name == OURS else (shown(ratio), shown(cpu_ratio))
        peaks = [memory[name][count]["peak_mb"] for count in QUESTIONS]
        print(
            f"  {name:22}{speed['median']:>12,.0f}{inputs[name]:>9,}  {told[0]:37}{told[1]:23}"
            + "".join(f"{peak:>11,.0f}" for peak in peaks)
        )
        results[name] = {
            "questions_per_second": speed,
            "inputs": inputs[name],
            "bertsmith_is_faster_by": ratio,
            "in_cpu_time": cpu_ratio,
            "memory": memory[name],
        }
    return {
        "questions": questions,
        "rounds": arguments.rounds,
        "cores": 1,
        "contenders": results,
    }


def ratios(seconds: dict[str, list[float]], name: str) -> dict[str, float]:
    """What `name` took over what ours took, round by round."""
    pairs = zip(seconds[name], seconds[OURS], strict=True)
    return summary([theirs / ours for theirs, ours in pairs])


def shown(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f}x ({ratio['lowest']:.2f}..{ratio['highest']:.2f})"
