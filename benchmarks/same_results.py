"""Proves that a change of the code changes no result.

    python benchmarks/same_results.py record FILE [--work DIR]
    python benchmarks/same_results.py compare FILE [--work DIR]

Runs the command line on text that it makes itself, one thread a process: tokenizers, corpora, short
pre-training runs of the three families by both recipes, a stopped and resumed one, fine-tuning of
the five kinds, and every command that uses a model. `record` writes the SHA-256 of each result.
`compare` does the same with the code beside it, names the results that differ, are missing or are
new, and exits with 1 if any differ or are missing.

A result is named by what it is, not by its file: "pretrain bert-modern: tensors". Times, rates and
model cards do not count. DIR/content has what was hashed, a file a result: `diff -r` of two such
folders shows how they differ. Records compare on one machine, with the same torch and numpy.
"""

import argparse
import hashlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

# --- What a renaming changes: commands, flags, files, keys. Folders are named by their key. ---

PROGRAM = (sys.executable, "-m", "bertsmith")
# These have no --precision: with a CPU that seems to lack bf16 they compute in fp32.
IN_FP32 = {"evaluate", "predict", "embed", "fill", "generate", "score"}
PROGRAM_IN_FP32 = (
    *(sys.executable, "-c"),
    "import runpy, torch.cpu as cpu;"
    "cpu._is_avx512_bf16_supported = cpu._is_amx_tile_supported = lambda: False;"
    "runpy.run_module('bertsmith', run_name='__main__', alter_sys=True)",
)

TOKENIZERS = {
    "uncased": "tokenizer train text.txt more.jsonl --workers 1 --vocab-size 500",
    "cased": "tokenizer train text.txt more.jsonl --workers 1 --vocab-size 500 --cased",
    "bpe": "tokenizer train text.txt more.jsonl --workers 1 --vocab-size 500 --kind bpe",
}
PREPARE = "prepare text.txt more.jsonl --held-out 0.1"
CORPORA = {
    "uncased": f"{PREPARE} --tokenizer tokenizer-uncased --workers 1",
    "uncased-by-two": f"{PREPARE} --tokenizer tokenizer-uncased --workers 2",
    "cased": f"{PREPARE} --tokenizer tokenizer-cased --workers 1",
    "bpe": f"{PREPARE} --tokenizer tokenizer-bpe --workers 1",
}
STEPS = "--steps 24 --batch-size 8 --evaluate-sequences 16 --seed 3 --precision fp32"
BERT = "pretrain --data corpus-uncased --size tiny"
PRETRAINING = {
    "bert-modern": f"{BERT} --recipe modern --phases 48:1",
    "bert-paper": f"{BERT} --recipe paper --phases 32:0.75,64:0.25",
    "bert-words": f"{BERT} --whole-word-masking --pair-task sop --phases 48:1",
    "bert-continued": "pretrain --data corpus-uncased --from pretrain-bert-modern --phases 48:1",
    "left-to-right": f"{BERT} --left-to-right --recipe paper --phases 48:1",
    "gpt": "pretrain --data corpus-bpe --model gpt --size tiny --dropout 0.1 --phases 48:1",
    "elmo": "pretrain --data corpus-cased --model elmo --size tiny --dropout 0.1 --phases 48:1",
}
STOPPED = "bert-modern"
SAVE_OFTEN, RESUME, HALFWAY = "--save-every 1", "--resume", "checkpoints/step-*12"

RUN = "--epochs 2 --batch-size 8 --learning-rate 1e-3 --seed 5 --precision fp32"
CLASSIFY = "finetune classification --train classes-train.csv --dev classes-dev.csv"
TAG = "finetune token-classification --train tags-train.conll --dev tags-dev.conll"
ANSWER = "finetune squad2 --data squad2 --max-length 48 --stride 16"
FINETUNING = {
    "classification": f"{CLASSIFY} --model pretrain-bert-modern",
    "classification-gpt": f"{CLASSIFY} --model pretrain-gpt",
    "classification-elmo": f"{CLASSIFY} --model pretrain-elmo",
    "regression": "finetune sts-b --data sts-b --model pretrain-bert-modern",
    "multiple-choice": "finetune swag --data swag --model pretrain-bert-modern",
    "token-classification": f"{TAG} --model pretrain-bert-paper",
    "question-answering": f"{ANSWER} --model pretrain-bert-paper",
}
EVALUATED = {  # What a model is evaluated on, and the file that it predicts.
    "classification": ("classes-dev.csv", "classes-dev.csv"),
    "regression": ("sts-b", "sts-b/dev.tsv"),
    "multiple-choice": ("swag", "swag/val.csv"),
    "token-classification": ("tags-dev.conll", "tags-dev.conll"),
    "question-answering": ("squad2", "squad2/dev-v2.0.json"),
}
EVALUATE, PREDICT = "evaluate {model} --data {data} --json", "predict {model} {data} --out {out}"

TEXT, ORDERS = "'Zoë paid 1,250€ in Łódź; 我们在城里。 🙂'", "'Anna saw him.' 'him saw Anna.'"
PRINTED = {
    "tokenizer uncased: pieces": f"tokenizer show tokenizer-uncased {TEXT} --json",
    "tokenizer bpe: pieces": f"tokenizer show tokenizer-bpe {TEXT} --json",
    "examples": "pretrain --data corpus-uncased --out none --size tiny --show-batch 8 --json",
    "fill": "fill pretrain-bert-modern 'Anna [MASK] the old [MASK].' --joint --json",
    "generate": "generate pretrain-gpt 'Anna saw' --max-new-tokens 20 --top-k 20 --seed 7 --json",
    "score bert": f"score pretrain-bert-modern {ORDERS} --json",
    "score gpt": f"score pretrain-gpt {ORDERS} --json",
    "score elmo": f"score pretrain-elmo {ORDERS} --json",
    "minimal pairs": "evaluate pretrain-gpt --minimal-pairs pairs.jsonl --json",
    "held-out loss": "evaluate pretrain-bert-modern --data corpus-uncased --json",
}
EMBED = "embed pretrain-bert-modern classes-dev.csv --out embedding.npy --layers 1,-1"

MODEL_FILES = {  # What is compared of a folder; a file that is not there is no result.
    "tensors": "model.safetensors",
    "config": "config.json",
    "task": "task.json",
    "settings": "pretrain.json",
    "losses": "metrics.jsonl",
    "fine-tuning losses": "runs/*/metrics.jsonl",
    "dev predictions": "runs/*/predictions.jsonl",
}
TOKENIZER_FILES = "vocab.txt vocab.json merges.txt tokenizer.json tokenizer_config.json".split()
SCORES = ("labels", "inspection", "lengths", "baseline", "summary", "intervals", "degenerate")
SETTINGS = "config"  # This and the scores are compared of what `finetune --json` prints.
EQUAL = {
    "corpus uncased: shards": "corpus uncased-by-two: shards",
    "corpus uncased: manifest": "corpus uncased-by-two: manifest",
    f"pretrain {STOPPED}: tensors": "pretrain resumed: tensors",
    f"pretrain {STOPPED}: losses": "pretrain resumed: losses",
}
IGNORED = {"seconds", "examples_per_second", "tokens_per_second", "mfu", "elapsed"}
RENAMED: dict[str, str] = {}
"""A key or a whole string in today's JSON -> what it was when the record was made."""

# --- The data ---

PEOPLE = "Anna Boris Chloé Dmitri Elena Farid Grace Hiro Inés Jonas Kofi Lucía".split()
PLACES = "Paris Lima Oslo Kyoto Cairo Dakar Quito Zürich Perth Hanoi".split()
THINGS = "house garden letter river lamp boat teacher market window song story bridge".split()
GOOD = "kind bright warm lovely clever gentle".split()
BAD = "cruel dull cold ugly clumsy noisy".split()
VERBS = "saw painted carried found followed praised sold remembered".split()
OBJECTS = "苹果 电影 房子 音乐 老师 城市".split()


def sentence(draw: random.Random, person: str, place: str) -> str:
    adjective, verb = draw.choice(GOOD + BAD), draw.choice(VERBS)
    one, two = draw.sample(THINGS, 2)
    return draw.choice(
        (
            f"{person} {verb} the {adjective} {one} near the {two}.",
            f'"Was the {one} in {place} {adjective}?" {person} asked the {two}.',
            f"In {place}, {draw.randint(2, 1999):,} people {verb} a {one} and its {two}!",
            f"The {one} wasn't {adjective}, but {person} {verb} it.",
            f"Later that year {person} left {place} without the {adjective} {two}.",
        )
    )


def document(draw: random.Random, number: int) -> str:
    """A document about a person and a place; one of eight is Chinese."""
    person, place, length = draw.choice(PEOPLE), draw.choice(PLACES), draw.randint(5, 11)
    if number % 8 == 7:
        pairs = (draw.sample(OBJECTS, 2) for _ in range(length))
        return "".join(f"我喜欢{one}和{two}。他们在{two}里看见了{one}！" for one, two in pairs)
    return " ".join(sentence(draw, person, place) for _ in range(length))


def write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_rows(path: Path, header: str, rows: Iterable[Iterable[object]]) -> None:
    mark = "\t" if path.suffix == ".tsv" else ","
    write(path, [header.replace(",", mark), *(mark.join(map(str, row)) for row in rows)])


def write_texts(work: Path, draw: random.Random) -> None:
    texts = [document(draw, number) for number in range(160)]
    write(work / "text.txt", (f"{text}\n" for text in texts[:120]))
    write(work / "more.jsonl", (json.dumps({"text": text}) for text in texts[120:]))
    pairs = [
        {"sentence_good": f"He saw the {thing}.", "sentence_bad": f"He the saw {thing}."}
        for thing in THINGS
    ]
    write(work / "pairs.jsonl", map(json.dumps, pairs))


def write_tasks(work: Path, draw: random.Random, part: str, size: int) -> None:
    """Labelled data of the five kinds: a user's files of two, the official layout of three."""
    facts = [(draw.choice(PEOPLE), draw.choice(PLACES), draw.choice(THINGS)) for _ in range(size)]
    texts = [f"{person}'s {thing} in {place} was" for person, place, thing in facts]

    rows = [(f"{text} {draw.choice((BAD, GOOD)[n % 2])}.", n % 2) for n, text in enumerate(texts)]
    write_rows(work / f"classes-{part}.csv", "text,label", rows)
    kept = [" ".join(text.split()[: n % 6]) for n, text in enumerate(texts)]
    rows = [(n, text, f"{kept[n]} again", n % 6) for n, text in enumerate(texts)]
    write_rows(work / "sts-b" / f"{part}.tsv", "index,sentence1,sentence2,score", rows)

    rows, header = [], ",video-id,fold-ind,startphrase,sent1,sent2,gold-source"
    header += ",ending0,ending1,ending2,ending3,label"
    for n, (person, place, _) in enumerate(facts):
        endings = [f"{draw.choice(VERBS)} the {thing}." for thing in draw.sample(THINGS, 4)]
        endings[n % 4] = f"stayed in {place}."
        first = f"{person} lives in {place}."
        rows.append((n, "v", 1, f"{first} {person}", first, person, "gold", *endings, n % 4))
    write_rows(work / "swag" / f"{'val' if part == 'dev' else part}.csv", header, rows)

    tagged = "{0} B-PER\nleft O\nthe O\n{2} O\nfor O\n{1} B-LOC\n. O\n"
    write(work / f"tags-{part}.conll", (tagged.format(*fact) for fact in facts))

    paragraphs = []
    for n, (person, place, _) in enumerate(facts):
        before, after = (sentence(draw, draw.choice(PEOPLE), draw.choice(PLACES)) for _ in "ab")
        beginning = f"{before} {person} lives in "
        question: dict[str, Any] = {"id": f"{part}{n}", "is_impossible": n % 4 == 3, "answers": []}
        if n % 4 < 3:
            question["answers"].append({"text": place, "answer_start": len(beginning)})
        question["question"] = f"Where does {person if n % 4 < 3 else 'nobody'} live?"
        paragraphs.append({"context": f"{beginning}{place}. {after}", "qas": [question]})
    squad = {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}
    write(work / "squad2" / f"{part}-v2.0.json", [json.dumps(squad)])


# --- The results, each as a text ---


def arrays_text(arrays: dict[str, np.ndarray]) -> str:
    """A line for each array: name, type, shape and the SHA-256 of its bytes."""
    lines = (
        f"{name} {array.dtype} {list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()}"
        for name, array in sorted(arrays.items())
    )
    return "\n".join(lines)


def tokenizer_text(folder: Path) -> str:
    """A line for each file: name and SHA-256."""
    paths = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    return "\n".join(f"{p.name} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in paths)


def as_recorded(value: Any) -> Any:
    """JSON without what is ignored, and with the names that the record has."""
    if isinstance(value, dict):
        kept = {RENAMED.get(key, key): as_recorded(of) for key, of in value.items()}
        return {key: of for key, of in kept.items() if key not in IGNORED}
    if isinstance(value, list):
        return [as_recorded(of) for of in value]
    return RENAMED.get(value, value) if isinstance(value, str) else value


def json_text(value: Any, *, indent: int | None = 1) -> str:
    return json.dumps(as_recorded(value), indent=indent, sort_keys=True, ensure_ascii=False)


def file_text(path: Path) -> str:
    match path.suffix:
        case ".safetensors":
            return arrays_text(load_file(path))
        case ".npy":
            return arrays_text({path.name: np.load(path)})
        case ".jsonl":
            lines = path.read_text("utf-8").splitlines()
            return "\n".join(json_text(json.loads(line), indent=None) for line in lines)
        case _:
            return json_text(json.loads(path.read_text("utf-8")))


class Runs:
    """Does everything in `work`; `texts` has each result by its name."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.texts: dict[str, str] = {}
        self._environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src"),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }

    def run(self, command: str, *, stop_at: str | None = None) -> str:
        """Runs a command; returns what it printed. SIGTERM stops it once `stop_at` matches."""
        began, words = time.monotonic(), shlex.split(command)
        process = subprocess.Popen(
            [*(PROGRAM_IN_FP32 if words[0] in IN_FP32 else PROGRAM), *words],
            cwd=self.work,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        while stop_at and process.poll() is None:
            if any(self.work.glob(stop_at)):
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.002)
        out, errors = process.communicate()
        if process.returncode != (128 + signal.SIGTERM if stop_at else 0):
            sys.exit(f"{command}\nended with {process.returncode}:\n{errors}")
        print(f"{time.monotonic() - began:5.1f} s  {command}", file=sys.stderr, flush=True)
        return out

    def add_model(self, name: str, folder: Path) -> None:
        self.texts[f"{name}: tokenizer"] = tokenizer_text(folder)
        for what, pattern in MODEL_FILES.items():
            for path in folder.glob(pattern):
                self.texts[f"{name}: {what}"] = file_text(path)

    def tokenizers_and_corpora(self) -> None:
        for name, command in TOKENIZERS.items():
            folder = self.work / f"tokenizer-{name}"
            self.run(f"{command} --out {folder.name}")
            self.texts[f"tokenizer {name}"] = tokenizer_text(folder)
        for name, command in CORPORA.items():
            folder = self.work / f"corpus-{name}"
            self.run(f"{command} --out {folder.name}")
            self.texts[f"corpus {name}: manifest"] = file_text(folder / "manifest.json")
            arrays = {str(p.relative_to(folder)): np.load(p) for p in folder.rglob("*.npy")}
            self.texts[f"corpus {name}: shards"] = arrays_text(arrays)

    def pretraining(self) -> None:
        for name, command in PRETRAINING.items():
            self.run(f"{command} {STEPS} --out pretrain-{name}")
            self.add_model(f"pretrain {name}", self.work / f"pretrain-{name}")
        again = f"{PRETRAINING[STOPPED]} {STEPS} {SAVE_OFTEN} --out pretrain-resumed"
        self.run(again, stop_at=f"pretrain-resumed/{HALFWAY}")
        self.run(f"{again} {RESUME}")
        self.add_model("pretrain resumed", self.work / "pretrain-resumed")

    def finetuning(self) -> None:
        for name, command in FINETUNING.items():
            data, asked = EVALUATED.get(name, EVALUATED["classification"])
            model, out = f"finetune-{name}", f"predict-{name}.jsonl"
            result = json.loads(self.run(f"{command} {RUN} --out {model} --json"))
            self.texts[f"finetune {name}: scores"] = json_text({key: result[key] for key in SCORES})
            self.texts[f"finetune {name}: settings"] = json_text(result[SETTINGS])
            self.add_model(f"finetune {name}", self.work / model)
            evaluation = json.loads(self.run(EVALUATE.format(model=model, data=data)))
            self.texts[f"evaluate {name}"] = json_text(evaluation)
            self.run(PREDICT.format(model=model, data=asked, out=out))
            self.texts[f"predict {name}"] = file_text(self.work / out)

    def printed(self) -> None:
        for name, command in PRINTED.items():
            self.texts[name] = json_text(json.loads(self.run(command)))
        self.run(EMBED)
        self.texts["embed"] = file_text(self.work / "embedding.npy")


def record(work: Path) -> dict[str, str]:
    """All results in order, each with its SHA-256; their texts are put into `work`/content."""
    draw = random.Random(2018)
    write_texts(work, draw)
    for part, size in (("train", 64), ("dev", 24)):
        write_tasks(work, draw, part, size)
    runs = Runs(work)
    runs.tokenizers_and_corpora()
    runs.pretraining()
    runs.finetuning()
    runs.printed()
    (work / "content").mkdir()
    for name, text in runs.texts.items():
        (work / "content" / f"{name}.txt").write_text(f"{text}\n", encoding="utf-8")
    for one, other in EQUAL.items():
        if runs.texts[one] != runs.texts[other]:
            sys.exit(f"{one} and {other} are not equal.")
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in runs.texts.items()}


def compare(expected: dict[str, str], found: dict[str, str]) -> bool:
    """Prints what is not equal; returns whether all that was recorded is."""
    for name in expected | found:
        if name not in found or name not in expected:
            print(f"{'new' if name in found else 'missing'}: {name}")
        elif found[name] != expected[name]:
            print(f"differs: {name}")
    equal = len(expected.items() & found.items())
    print(f"{equal} of {len(expected)} results are equal.")
    return equal == len(expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=Path, help="the record, a JSON object: result -> SHA-256")
    parser.add_argument("--work", type=Path, help="new folder for all files, which stay there")
    arguments = parser.parse_args()
    expected = json.loads(arguments.file.read_text()) if arguments.what == "compare" else {}
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary) / "work"
        work.mkdir(parents=True)
        found = record(work)
    if arguments.what == "compare":
        sys.exit(not compare(expected, found))
    arguments.file.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(found)} results are in {arguments.file}.")


if __name__ == "__main__":
    main()
