"""The tasks of the paper (section 4, appendix B.1), a row each, and where their files lie.

A new task is a row here and, if its files have a layout of their own, a reader beside this file.
"""

from pathlib import Path

from bertsmith.core.errors import DataError, UsageError, explain_os_error, nearest, option
from bertsmith.core.mirror import fetched
from bertsmith.tasks.datasets import conll, glue, squad, swag
from bertsmith.tasks.datasets.glue import Layout
from bertsmith.tasks.examples import Example
from bertsmith.tasks.kinds.classification import CLASSIFICATION
from bertsmith.tasks.kinds.multi_label import MULTI_LABEL
from bertsmith.tasks.kinds.multiple_choice import MULTIPLE_CHOICE
from bertsmith.tasks.kinds.question_answering import QUESTION_ANSWERING
from bertsmith.tasks.kinds.registry import KINDS
from bertsmith.tasks.kinds.token_classification import TOKEN_CLASSIFICATION
from bertsmith.tasks.task import Task
from bertsmith.text import rows, streams

_ENTAILMENT = ("entailment", "not_entailment")
_NO_YES = ("0", "1")

_ROWS = (
    glue.task(
        "mnli",
        "Multi-Genre Natural Language Inference",
        glue.MNLI,
        metrics=("accuracy",),
        files={
            "train": ("train.tsv",),
            "dev": ("dev_matched.tsv",),
            "dev-mismatched": ("dev_mismatched.tsv",),
            "test": ("test_matched.tsv",),
            "test-mismatched": ("test_mismatched.tsv",),
        },
    ),
    glue.task(
        "qqp",
        "Quora Question Pairs",
        Layout(
            a="question1",
            b="question2",
            label="is_duplicate",
            labels=_NO_YES,
            has_broken=True,
            symmetric=True,
        ),
        metrics=("f1", "accuracy"),
    ),
    glue.task(
        "qnli",
        "Question Natural Language Inference",
        Layout(a="question", b="sentence", labels=_ENTAILMENT),
        metrics=("accuracy",),
    ),
    glue.task(
        "sst-2",
        "Stanford Sentiment Treebank, two classes",
        Layout(a="sentence", labels=_NO_YES),
        metrics=("accuracy",),
    ),
    glue.task(
        "cola",
        "Corpus of Linguistic Acceptability",
        Layout(a="sentence", labels=_NO_YES, header=("source", "label", "mark", "sentence")),
        metrics=("matthews",),
    ),
    glue.task(
        "sts-b",
        "Semantic Textual Similarity Benchmark",
        Layout(a="sentence1", b="sentence2", label="score", bounds=(0.0, 5.0), symmetric=True),
        metrics=("pearson", "spearman", "mae"),
        deciding=("pearson", "spearman"),
    ),
    glue.task(
        "mrpc",
        "Microsoft Research Paraphrase Corpus",
        Layout(a="#1 String", b="#2 String", label="Quality", labels=_NO_YES, symmetric=True),
        metrics=("f1", "accuracy"),
        files={
            "train": ("train.tsv", "msr_paraphrase_train.txt"),
            "dev": ("dev.tsv", "msr_paraphrase_train.txt"),
            "test": ("test.tsv", "msr_paraphrase_test.txt"),
        },
    ),
    glue.task(
        "rte",
        "Recognizing Textual Entailment",
        Layout(a="sentence1", b="sentence2", labels=_ENTAILMENT),
        metrics=("accuracy",),
    ),
    glue.task(
        "wnli",
        "Winograd Natural Language Inference",
        Layout(a="sentence1", b="sentence2", labels=_NO_YES),
        metrics=("accuracy",),
    ),
    Task(
        name="squad",
        title="Stanford Question Answering Dataset 1.1",
        kind=QUESTION_ANSWERING,
        metrics=("exact_match", "answer_f1"),
        files={
            "train": ("train-v1.1.json", "train.json"),
            "dev": ("dev-v1.1.json", "dev.json"),
            "test": ("test-v1.1.json", "test.json"),
        },
        read=squad.reader(may_be_impossible=False),
    ),
    Task(
        name="squad2",
        title="Stanford Question Answering Dataset 2.0",
        kind=QUESTION_ANSWERING,
        metrics=("exact_match", "answer_f1"),
        files={
            "train": ("train-v2.0.json", "train.json"),
            "dev": ("dev-v2.0.json", "dev.json"),
            "test": ("test-v2.0.json", "test.json"),
        },
        read=squad.reader(may_be_impossible=True),
        may_be_impossible=True,
    ),
    Task(
        name="swag",
        title="Situations With Adversarial Generations",
        kind=MULTIPLE_CHOICE,
        metrics=("accuracy",),
        files={"train": ("train.csv",), "dev": ("val.csv", "dev.csv"), "test": ("test.csv",)},
        read=swag.read,
    ),
    Task(
        name="conll2003",
        title="CoNLL-2003 named entity recognition, English",
        kind=TOKEN_CLASSIFICATION,
        metrics=("entity_precision", "entity_recall", "entity_f1"),
        deciding=("entity_f1",),
        files={
            "train": ("train.txt", "eng.train", "train.conll"),
            "dev": ("valid.txt", "eng.testa", "valid.conll", "dev.txt", "dev.conll"),
            "test": ("test.txt", "eng.testb", "test.conll"),
        },
        read=conll.read_part,
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ROWS}
"""By name; `glue.AX` is not among them, because it can only be predicted."""

GLUE = ("cola", "sst-2", "mrpc", "sts-b", "qqp", "mnli", "qnli", "rte", "wnli")
"""Tasks whose runs `glue-submit` takes, in the order of GLUE's table."""

_OTHER_NAMES = {
    "text-classification": CLASSIFICATION.name,
    "sequence-classification": CLASSIFICATION.name,
    "sentiment-analysis": CLASSIFICATION.name,
    "multi-label-classification": MULTI_LABEL.name,
    "ner": TOKEN_CLASSIFICATION.name,
    "tagging": TOKEN_CLASSIFICATION.name,
    "qa": QUESTION_ANSWERING.name,
}
"""What other programs call a kind of task."""


def get(name: str) -> Task:
    """The task of that name.

    Raises:
        UsageError: there is none; the nearest is suggested.
    """
    if name not in TASKS:
        own = list(KINDS)
        likely = _OTHER_NAMES.get(name.lower())
        hint = f" (perhaps you meant '{likely}')" if likely else nearest(name, [*TASKS, *own])
        raise UsageError(
            f"Unknown task '{name}'{hint}; expected one of "
            f"{', '.join(TASKS)}, or, for files of your own, {', '.join(own[:-1])} or {own[-1]}."
        )
    return TASKS[name]


def find(folder: Path, task: Task, part: str) -> Path | None:
    """The file of a part, plain or packed, or None; so if the task has no such part.

    Args:
        folder: that of the task, or one that holds it under a name like the task's: `sst-2`,
            `SST-2` and `SST2` are alike, and so are `squad2` and `SQuAD`.
        task: whose file it is.
        part: one of `task.files`.

    Raises:
        SystemFault: the folder cannot be read.
    """
    for place in _places(folder, task.name):
        for name in task.files.get(part, ()):
            for packing in ("", *streams.PACKED):
                path = place / (name + packing)
                if path.is_file():
                    return path
    return None


def load(folder: Path, task: Task, part: str) -> list[Example]:
    """The examples of a part, in the order of its file.

    Raises:
        UsageError: the task has no such part.
        DataError: there is no such file, it holds no example, or as the task's reader.
        SystemFault: the file cannot be read.
    """
    if part not in task.files:
        raise UsageError(
            f"The task {task.name} has no part '{part}'{nearest(part, task.files)}; expected one "
            f"of {', '.join(task.files)}."
        )
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise DataError(
            f"{folder} {state}; expected a folder with the files of {task.name}: check "
            f"{option('data')}."
        )
    path = find(folder, task, part)
    if path is None:
        there = sorted(entry.name for entry in folder.iterdir())
        more = f" and {len(there) - 20} more" if len(there) > 20 else ""
        raise DataError(
            f"{folder} holds no {part} file of {task.name}; expected "
            f"{' or '.join(task.files[part])} in it or in a folder {task.name} inside, found "
            f"{', '.join(there[:20]) or 'nothing'}{more}: check {option('data')}."
        )
    return read(path, task, part)


def read(path: Path | str, task: Task, part: str) -> list[Example]:
    """The examples of a file that holds a part, whatever its name.

    Raises:
        UsageError: the path is a folder or a URL.
        DataError: it holds no example, or as the task's reader.
        SystemFault: it cannot be read.
    """
    rows.refuse_folder(path)
    assert task.read is not None
    examples = task.read(fetched(path), part)
    if not examples:
        raise DataError(f"{path} is empty; give another file.")
    return examples


def _places(folder: Path, name: str) -> list[Path]:
    """Folders inside that are called like the task, the nearest name first, then `folder`."""
    wanted = _plain(name), _plain(name).rstrip("0123456789")
    try:
        inside = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise explain_os_error(error, "read", folder) from error
    found = [entry for like in wanted for entry in inside if _plain(entry.name) == like]
    return [*dict.fromkeys(found), folder]


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()
