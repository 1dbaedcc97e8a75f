"""Small files in the official layout of every task, for tests."""

import json
from collections.abc import Callable
from pathlib import Path

WORDS = "red green blue old new big small warm cold kind"
NO_YES, ENTAILMENT = ("0", "1"), ("entailment", "not_entailment")


def text(number: int) -> str:
    """Two sentences of different numbers differ."""
    words = WORDS.split()
    return " ".join(words[(number * step + step) % len(words)] for step in (1, 3, 7))


def tsv(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *rows] if header else rows
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")


def pairs(
    folder: Path, names: tuple[str, str, str], labels: tuple[str, ...], sizes: dict[str, int]
) -> None:
    a, b, label = names
    for part, size in sizes.items():
        rows = [(n, text(n), text(n + 1), labels[n % len(labels)]) for n in range(size)]
        if part.startswith("test"):
            tsv(folder / f"{part}.tsv", ("index", a, b), [row[:3] for row in rows])
        else:
            tsv(folder / f"{part}.tsv", ("index", a, b, label), rows)


SIZES = {"train": 12, "dev": 6, "test": 5}


def mnli(folder: Path) -> None:
    sizes = {"train": 12, "dev_matched": 6, "dev_mismatched": 7}
    sizes |= {"test_matched": 5, "test_mismatched": 4}
    labels = ("contradiction", "entailment", "neutral")
    pairs(folder, ("sentence1", "sentence2", "gold_label"), labels, sizes)


def single(folder: Path) -> None:
    for part, size in SIZES.items():
        rows = [(text(n), n % 2) for n in range(size)]
        if part == "test":
            tsv(folder / "test.tsv", ("index", "sentence"), [(n, text(n)) for n in range(size)])
        else:
            tsv(folder / f"{part}.tsv", ("sentence", "label"), rows)


def cola(folder: Path) -> None:
    for part in ("train", "dev"):
        rows = [("gj04", n % 2, "", text(n)) for n in range(SIZES[part])]
        tsv(folder / f"{part}.tsv", (), rows)
    tsv(folder / "test.tsv", ("index", "sentence"), [(n, text(n)) for n in range(SIZES["test"])])


def mrpc(folder: Path) -> None:
    header = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")
    for part, size in SIZES.items():
        name = "index" if part == "test" else "Quality"
        rows = [(n % 2, n, n, text(n), f'{text(n + 1)} "') for n in range(size)]
        tsv(folder / f"{part}.tsv", ("\ufeff" * (part == "train") + name, *header[1:]), rows)


def sts_b(folder: Path) -> None:
    for part, size in SIZES.items():
        rows = [(n, text(n), text(n + 1), (n % 6) * 1.0) for n in range(size)]
        header = ("index", "sentence1", "sentence2", "score")
        cut = len(header) - (part == "test")
        tsv(folder / f"{part}.tsv", header[:cut], [row[:cut] for row in rows])


def swag(folder: Path) -> None:
    folder.mkdir(parents=True)
    names = "video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3"
    for part, name in (("train", "train"), ("dev", "val"), ("test", "test")):
        lines = [f",{names}" + ",label" * (part != "test")]
        for n in range(SIZES[part]):
            endings = ",".join(text(n + step) for step in range(4))
            line = f"{n},v,1,{text(n)} the,{text(n)},the,gold,{endings}"
            lines.append(line + f",{n % 4}" * (part != "test"))
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def squad(folder: Path, *, version: str = "v1.1") -> None:
    folder.mkdir(parents=True)
    for part in ("train", "dev"):
        questions = []
        for n in range(SIZES[part]):
            context = f"{text(n)} , {text(n + 3)} ."
            answer = {"text": context.split()[4], "answer_start": context.index(" , ") + 3}
            question = {"id": f"q{n}", "question": f"{text(n)} ?", "answers": [answer]}
            if version == "v2.0":
                question["is_impossible"] = bool(n % 3 == 0)
                if n % 3 == 0:
                    question["answers"] = []
            questions.append({"context": context, "qas": [question]})
        data = {"version": version, "data": [{"title": "t", "paragraphs": questions}]}
        (folder / f"{part}-{version}.json").write_text(json.dumps(data))


def conll2003(folder: Path) -> None:
    folder.mkdir(parents=True)
    for part, name in (("train", "train"), ("dev", "valid"), ("test", "test")):
        lines = ["-DOCSTART- -X- -X- O", ""]
        for n in range(SIZES[part]):
            words = text(n).split()
            tags = ("I-PER", "I-PER", "O") if n % 2 else ("O", "I-LOC", "O")
            lines += [f"{word} NN I-NP {tag}" for word, tag in zip(words, tags, strict=True)]
            lines.append("")
        (folder / f"{name}.txt").write_text("\n".join(lines))


WRITERS: dict[str, Callable[[Path], None]] = {
    "mnli": mnli,
    "qqp": lambda folder: _qqp(folder),
    "qnli": lambda folder: pairs(folder, ("question", "sentence", "label"), ENTAILMENT, SIZES),
    "sst-2": single,
    "cola": cola,
    "sts-b": sts_b,
    "mrpc": mrpc,
    "rte": lambda folder: pairs(folder, ("sentence1", "sentence2", "label"), ENTAILMENT, SIZES),
    "wnli": lambda folder: pairs(folder, ("sentence1", "sentence2", "label"), NO_YES, SIZES),
    "squad": squad,
    "squad2": lambda folder: squad(folder, version="v2.0"),
    "swag": swag,
    "conll2003": conll2003,
}


def _qqp(folder: Path) -> None:
    header = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")
    for part in ("train", "dev"):
        rows = [(n, n, n, text(n), text(n + 1), n % 2) for n in range(SIZES[part])]
        tsv(folder / f"{part}.tsv", header, rows)
    rows = [(n, text(n), text(n + 1)) for n in range(SIZES["test"])]
    tsv(folder / "test.tsv", ("id", "question1", "question2"), rows)
