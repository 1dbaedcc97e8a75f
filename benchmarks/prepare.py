"""Data preparation speed: bertsmith beside `datasets.map` and Google's recipe, interleaved.

    python benchmarks/prepare.py --data DIR [--megabytes 16] [--repeats 3] [--memory 100 1000]

DIR holds English text in any format that bertsmith reads. Every contender starts from the same
text on disk, with the same vocabulary, in a fresh process pinned to one core, and ends with the
result on disk: read, split into sentences, tokenise, write. The clock starts after the imports. In
each round every contender runs once, in turn; a ratio is taken inside a round, and medians with the
smallest and the largest round are printed.

- `datasets + tokenizers`: `load_dataset("json")`, then one batched `map` with
  `Tokenizer.encode_batch_fast` (no offsets, no special tokens), int32 ids, written as Arrow by the
  library; sentences by the same splitter. A second row leaves the sentences out (whole documents
  are tokenised), which does less than the job.
- Google's recipe: what `create_pretraining_data.py` and `tokenization.py` of google-research/bert
  do, in plain Python as there: basic tokenizer, greedy WordPiece on every word, then instances with
  masks, padded and written (packed integers, cheaper than the original's protocol buffers). It gets
  its sentences ready-made, one a line, on a part of the text (`--google-megabytes`), and makes five
  copies of the corpus with different masks, as the command in its README; its default is ten. A
  second row makes one copy.

Peak memory is the sum of resident sizes over the parent and all its workers, sampled every 20 ms,
while preparing texts of the sizes asked for with one worker per core. The text is repeated to
those sizes with a different first line for each copy of a document, so that none is a duplicate.
"""

import argparse
import collections
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from bertsmith.core.runtime import core_count
from bertsmith.corpus.prepare import prepare
from bertsmith.text import documents, sentences
from bertsmith.text.tokenizer import vocabulary
from bertsmith.text.tokenizer.tokenizer import Tokenizer

OURS, FAST = "bertsmith", "bertsmith, extra fast"
ALL_CORES = "bertsmith, extra fast, all cores"
DATASETS, DOCUMENTS = "datasets + tokenizers", "datasets + tokenizers, no sentences"
GOOGLE, ONE_COPY = "Google's recipe", "Google's recipe, one copy"
# Ours, peer, least ratio that is wanted.
TARGETS = ((OURS, DATASETS, 1.5), (FAST, DATASETS, 8.0), (OURS, GOOGLE, 20.0), (FAST, GOOGLE, 20.0))
EXTRA = tuple((ours, peer, None) for peer in (DOCUMENTS, ONE_COPY) for ours in (OURS, FAST))
MEMORY_BOUND = 1 << 30


# The contenders. Each turns `work` into a result under `work/out` and returns its tokens.


def bertsmith(work: Path, backend: str, workers: int) -> int:
    manifest = prepare(
        [str(work / "text.jsonl")],
        tokenizer=work / "tokenizer",
        out=work / "out",
        workers=workers,
        language="en",
        backend=backend,  # type: ignore[arg-type]
    )
    return manifest.tokens("train") + manifest.tokens("heldout")


def with_datasets(work: Path, *, split: bool) -> int:
    import datasets
    import tokenizers

    datasets.disable_progress_bars()
    tokenizer = tokenizers.Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))

    def tokenize_sentences(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        rows = [sentences.split(text, "en") for text in batch["text"]]
        found = iter(
            tokenizer.encode_batch_fast(
                [row for document in rows for row in document], add_special_tokens=False
            )
        )
        return {"ids": [[next(found).ids for _ in document] for document in rows]}

    def tokenize_documents(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        found = tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)
        return {"ids": [encoding.ids for encoding in found]}

    ids = datasets.List(datasets.Value("int32"))
    table = datasets.load_dataset(
        "json", data_files=str(work / "text.jsonl"), split="train", cache_dir=str(work / "out")
    )
    table = table.map(
        tokenize_sentences if split else tokenize_documents,
        batched=True,
        batch_size=100,  # of whole articles: measured a quarter faster than the default of 1000
        remove_columns=table.column_names,
        features=datasets.Features({"ids": datasets.List(ids) if split else ids}),
    )
    column = table.data.column("ids")
    flat = column.combine_chunks().flatten()
    return len(flat.flatten()) if split else len(flat)


class GoogleTokenizer:
    """`FullTokenizer` of tokenization.py: `BasicTokenizer`, then `WordpieceTokenizer`."""

    def __init__(self, vocab: list[str]) -> None:
        self.vocab = {piece: number for number, piece in enumerate(vocab)}

    def tokenize(self, text: str) -> list[str]:
        pieces = []
        for word in self.basic(text):
            pieces.extend(self.wordpiece(word))
        return pieces

    def basic(self, text: str) -> list[str]:
        text = self.space_chinese(self.clean(text))
        words = []
        for word in text.strip().split():
            word = self.strip_accents(word.lower())
            words.extend(self.split_punctuation(word))
        return " ".join(words).strip().split()

    def clean(self, text: str) -> str:
        output = []
        for char in text:
            code = ord(char)
            if code in (0, 0xFFFD) or self.is_control(char):
                continue
            output.append(" " if self.is_whitespace(char) else char)
        return "".join(output)

    def space_chinese(self, text: str) -> str:
        output: list[str] = []
        for char in text:
            if self.is_chinese(ord(char)):
                output.extend((" ", char, " "))
            else:
                output.append(char)
        return "".join(output)

    def strip_accents(self, text: str) -> str:
        output = []
        for char in unicodedata.normalize("NFD", text):
            if unicodedata.category(char) == "Mn":
                continue
            output.append(char)
        return "".join(output)

    def split_punctuation(self, text: str) -> list[str]:
        output: list[list[str]] = []
        start_new = True
        for char in text:
            if self.is_punctuation(char):
                output.append([char])
                start_new = True
            else:
                if start_new:
                    output.append([])
                start_new = False
                output[-1].append(char)
        return ["".join(word) for word in output]

    def wordpiece(self, word: str) -> list[str]:
        if len(word) > 200:
            return ["[UNK]"]
        start = 0
        pieces = []
        while start < len(word):
            end = len(word)
            found = None
            while start < end:
                piece = word[start:end]
                if start > 0:
                    piece = "##" + piece
                if piece in self.vocab:
                    found = piece
                    break
                end -= 1
            if found is None:
                return ["[UNK]"]
            pieces.append(found)
            start = end
        return pieces

    @staticmethod
    def is_whitespace(char: str) -> bool:
        return char in (" ", "\t", "\n", "\r") or unicodedata.category(char) == "Zs"

    @staticmethod
    def is_control(char: str) -> bool:
        if char in ("\t", "\n", "\r"):
            return False
        return unicodedata.category(char) in ("Cc", "Cf")

    @staticmethod
    def is_punctuation(char: str) -> bool:
        code = ord(char)
        if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
            return True
        return unicodedata.category(char).startswith("P")

    @staticmethod
    def is_chinese(code: int) -> bool:
        return (
            0x4E00 <= code <= 0x9FFF
            or 0x3400 <= code <= 0x4DBF
            or 0x20000 <= code <= 0x2A6DF
            or 0x2A700 <= code <= 0x2B73F
            or 0x2B740 <= code <= 0x2B81F
            or 0x2B820 <= code <= 0x2CEAF
            or 0xF900 <= code <= 0xFAFF
            or 0x2F800 <= code <= 0x2FA1F
        )


LENGTH, SHORT_SHARE, MASK_SHARE, MOST_MASKED = 128, 0.1, 0.15, 20


def google(work: Path, *, copies: int) -> int:
    vocab = (work / "tokenizer" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = GoogleTokenizer(vocab)
    corpus: list[list[list[str]]] = [[]]
    with (work / "sentences.txt").open(encoding="utf-8") as file:
        for line in file:
            line = line.strip()
            if not line:
                corpus.append([])
            tokens = tokenizer.tokenize(line)
            if tokens:
                corpus[-1].append(tokens)
    corpus = [document for document in corpus if document]
    draw = random.Random(12345)
    draw.shuffle(corpus)
    instances = []
    for _ in range(copies):
        for index in range(len(corpus)):
            instances.extend(google_instances(corpus, index, vocab, draw))
    draw.shuffle(instances)
    (work / "out").mkdir()
    with (work / "out" / "records").open("wb") as out:
        for instance in instances:
            out.write(google_record(instance, tokenizer.vocab))
    return sum(len(tokens) for document in corpus for tokens in document)


def google_instances(
    corpus: list[list[list[str]]], index: int, vocab: list[str], draw: random.Random
) -> list[dict[str, Any]]:
    """`create_instances_from_document`."""
    document = corpus[index]
    most = LENGTH - 3
    target = draw.randint(2, most) if draw.random() < SHORT_SHARE else most
    instances = []
    chunk: list[list[str]] = []
    length = 0
    i = 0
    while i < len(document):
        chunk.append(document[i])
        length += len(document[i])
        if i == len(document) - 1 or length >= target:
            if chunk:
                a_end = draw.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                a = [token for tokens in chunk[:a_end] for token in tokens]
                b: list[str] = []
                is_random = len(chunk) == 1 or draw.random() < 0.5
                if is_random:
                    wanted = target - len(a)
                    for _ in range(10):
                        other = draw.randint(0, len(corpus) - 1)
                        if other != index:
                            break
                    start = draw.randint(0, len(corpus[other]) - 1)
                    for j in range(start, len(corpus[other])):
                        b.extend(corpus[other][j])
                        if len(b) >= wanted:
                            break
                    i -= len(chunk) - a_end
                else:
                    for tokens in chunk[a_end:]:
                        b.extend(tokens)
                while len(a) + len(b) > most:
                    longer = a if len(a) > len(b) else b
                    if draw.random() < 0.5:
                        del longer[0]
                    else:
                        longer.pop()
                tokens = ["[CLS]", *a, "[SEP]", *b, "[SEP]"]
                segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
                instances.append(google_masks(tokens, segments, is_random, vocab, draw))
            chunk, length = [], 0
        i += 1
    return instances


Masked = collections.namedtuple("Masked", ["index", "label"])


def google_masks(
    tokens: list[str], segments: list[int], is_random: bool, vocab: list[str], draw: random.Random
) -> dict[str, Any]:
    """`create_masked_lm_predictions`."""
    candidates = [i for i, token in enumerate(tokens) if token not in ("[CLS]", "[SEP]")]
    draw.shuffle(candidates)
    output = list(tokens)
    wanted = min(MOST_MASKED, max(1, round(len(tokens) * MASK_SHARE)))
    masked: list[Masked] = []
    covered = set()
    for index in candidates:
        if len(masked) >= wanted:
            break
        if index in covered:
            continue
        covered.add(index)
        if draw.random() < 0.8:
            output[index] = "[MASK]"
        elif draw.random() >= 0.5:
            output[index] = vocab[draw.randint(0, len(vocab) - 1)]
        masked.append(Masked(index, tokens[index]))
    masked.sort(key=lambda entry: entry.index)
    return {"tokens": output, "segments": segments, "random": is_random, "masked": masked}


def google_record(instance: dict[str, Any], ids: dict[str, int]) -> bytes:
    """`write_instance_to_example_files`, without TensorFlow's cost of encoding an Example."""
    import array

    input_ids = [ids[token] for token in instance["tokens"]]
    mask = [1] * len(input_ids)
    segments = list(instance["segments"])
    while len(input_ids) < LENGTH:
        input_ids.append(0)
        mask.append(0)
        segments.append(0)
    places = [entry.index for entry in instance["masked"]]
    labels = [ids[entry.label] for entry in instance["masked"]]
    weights = [1] * len(places)
    while len(places) < MOST_MASKED:
        places.append(0)
        labels.append(0)
        weights.append(0)
    row = [*input_ids, *mask, *segments, *places, *labels, *weights, int(instance["random"])]
    return array.array("i", row).tobytes()


CONTENDERS: dict[str, Callable[[Path], int]] = {
    OURS: lambda work: bertsmith(work, "tokenizers", 1),
    FAST: lambda work: bertsmith(work, "nanotoken", 1),
    DATASETS: lambda work: with_datasets(work, split=True),
    DOCUMENTS: lambda work: with_datasets(work, split=False),
    GOOGLE: lambda work: google(work, copies=5),
    ONE_COPY: lambda work: google(work, copies=1),
    ALL_CORES: lambda work: bertsmith(work, "nanotoken", core_count()),
}


def contend(name: str, work: Path) -> None:
    """Runs one contender in this process and prints its numbers."""
    if name != ALL_CORES:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cores = core_count()
    if name in (DATASETS, DOCUMENTS):
        import datasets  # noqa: F401
        import tokenizers  # noqa: F401
    cpu = sum(os.times()[:4])
    began = time.perf_counter()
    tokens = CONTENDERS[name](work)
    seconds = time.perf_counter() - began
    rate = tokens / seconds / cores
    cpu = sum(os.times()[:4]) - cpu
    print(json.dumps({"tokens": tokens, "seconds": seconds, "cpu_seconds": cpu, "rate": rate}))


# The measuring side.


def run_contender(name: str, work: Path) -> dict[str, Any]:
    shutil.rmtree(work / "out", ignore_errors=True)
    os.sync()
    run = subprocess.run(
        [sys.executable, __file__, "--contender", name, "--work", str(work)],
        stdout=subprocess.PIPE,
        env=os.environ | {"HF_DATASETS_OFFLINE": "1", "HF_HOME": str(work / "home")},
        check=True,
    )
    shutil.rmtree(work / "out", ignore_errors=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def measure_speed(work: Path, repeats: int) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for repeat in range(repeats):
        names = list(CONTENDERS)
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            runs[name].append(run_contender(name, work))
            print(f"  round {repeat + 1}  {name:36} {runs[name][-1]['rate']:>12,.0f} tokens/s/core")
    same = {runs[name][0]["tokens"] for name in (OURS, FAST, ALL_CORES)}
    assert len(same) == 1, "the backends differ"
    # The peer keeps the few documents that are dropped here for being too short.
    assert abs(runs[DATASETS][0]["tokens"] / same.pop() - 1) < 1e-3, "the peer did another job"
    return runs


def measure_memory(work: Path, megabytes: int, source: Path) -> dict[str, Any]:
    """Prepares a text of that size and samples the memory of the whole process tree."""
    big = work / "big"
    shutil.rmtree(big, ignore_errors=True)
    big.mkdir()
    repeat_text(source, big / "text.jsonl", megabytes * 1_000_000)
    shutil.copytree(work / "tokenizer", big / "tokenizer")
    began = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, __file__, "--contender", ALL_CORES, "--work", str(big)],
        stdout=subprocess.PIPE,
    )
    peak = processes = 0
    while process.poll() is None:
        sizes = list(resident(process))
        peak, processes = max(peak, sum(sizes)), max(processes, len(sizes))
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    assert process.stdout is not None
    tokens = json.loads(process.stdout.read().splitlines()[-1])["tokens"]
    assert process.returncode == 0
    shutil.rmtree(big)
    return {
        "megabytes": megabytes,
        "tokens": tokens,
        "peak_bytes": peak,
        "processes": processes,
        "seconds": seconds,
    }


def resident(process: psutil.Process) -> Iterator[int]:
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            yield member.memory_info().rss
        except psutil.NoSuchProcess:
            continue


# The text.


def take_text(data: str, megabytes: float, out: Path) -> None:
    """The first documents of the data, up to that many MB, as plain JSON lines."""
    left = megabytes * 1e6
    with out.open("w", encoding="utf-8") as file:
        for path in documents.list_files([data]):
            for document in documents.read(path):
                row = json.dumps({"text": document.text}, ensure_ascii=False) + "\n"
                file.write(row)
                left -= len(row)
                if left < 0:
                    return


def repeat_text(source: Path, out: Path, size: int) -> None:
    written = copy = 0
    with out.open("w", encoding="utf-8") as file:
        while written < size:
            for number, document in enumerate(documents.read(str(source))):
                text = f"This is copy {copy} of article {number}.\n{document.text}"
                written += file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                if written >= size:
                    break
            copy += 1


def split_text(source: Path, megabytes: float, out: Path) -> None:
    """Google's input: a sentence a line, a blank line between documents."""
    left = megabytes * 1e6
    with out.open("w", encoding="utf-8") as file:
        for document in documents.read(str(source)):
            left -= file.write("\n".join(sentences.split(document.text, "en")) + "\n\n")
            if left < 0:
                return


def make_tokenizer(source: Path, size: int, out: Path) -> None:
    texts = (document.text for document in documents.read(str(source)))
    Tokenizer(vocabulary.train(texts, size=size, workers=core_count())).save(out)


# The report.


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def report(speeds: dict[str, list[dict[str, Any]]], memory: list[dict[str, Any]]) -> dict[str, Any]:
    rates = {name: [run["rate"] for run in runs] for name, runs in speeds.items()}
    print(f"\n{'tokens per second per core':36} {'median':>12} {'least':>12} {'most':>12}")
    for name, values in rates.items():
        found = spread(values)
        print(f"{name:36} " + " ".join(f"{found[key]:>12,.0f}" for key in found))
    ratios = []
    print(f"\n{'ratio, round by round':50} {'median':>8} {'least':>8} {'most':>8} {'target':>8}")
    for ours, peer, target in (*TARGETS, *EXTRA):
        found = spread([a / b for a, b in zip(rates[ours], rates[peer], strict=True)])
        missed = "" if target is None or found["median"] >= target else "  missed"
        shown = "" if target is None else f"{target:g}x"
        print(
            f"{f'{ours} / {peer}':58} "
            + " ".join(f"{found[key]:>7.2f}x" for key in found)
            + f" {shown:>7}{missed}"
        )
        ratios.append({"ours": ours, "peer": peer, "target": target, **found})
    print(f"\n{'text':>8} {'tokens':>14} {'peak memory':>14} {'processes':>10} {'seconds':>8}")
    for row in memory:
        missed = "  missed" if row["peak_bytes"] > MEMORY_BOUND else ""
        print(
            f"{row['megabytes']:>5} MB {row['tokens']:>14,} {row['peak_bytes'] / 2**20:>10,.0f} MiB"
            f" {row['processes']:>10} {row['seconds']:>8.1f}{missed}"
        )
    return {
        "machine": {
            "cores": core_count(),
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
        },
        "speed": {name: spread(values) | {"runs": speeds[name]} for name, values in rates.items()},
        "ratios": ratios,
        "memory": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder, file or glob of English text")
    parser.add_argument("--megabytes", type=float, default=16, help="text for the speed rounds")
    parser.add_argument("--google-megabytes", type=float, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=30_000)
    parser.add_argument("--memory", type=int, nargs="*", default=[100, 1000], metavar="MB")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.contender:
        contend(flags.contender, flags.work)
        return
    if not flags.data:
        parser.error("--data is needed: a folder of English text")
    with tempfile.TemporaryDirectory(dir=flags.work) as name:
        work = Path(name)
        text = work / "text.jsonl"
        take_text(flags.data, flags.megabytes, text)
        split_text(text, flags.google_megabytes, work / "sentences.txt")
        make_tokenizer(text, flags.vocab_size, work / "tokenizer")
        print(f"{text.stat().st_size / 1e6:.1f} MB of text, {flags.repeats} rounds")
        speeds = measure_speed(work, flags.repeats)
        memory = [measure_memory(work, size, text) for size in flags.memory]
        found = report(speeds, memory)
    if flags.out:
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        flags.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
