"""What is given damaged files: every reader of users' files, and every file of a corpus and a run.

A target is a folder of whole files and a function that opens one of them, or the folder, as the
product does. `CHECKED` names those files whose damage has to be noticed, because the folder holds
their checksums.
"""

import fnmatch
from collections.abc import Callable
from pathlib import Path

from bertsmith.core import errors
from bertsmith.tasks.datasets import conll, minimal_pairs, squad
from bertsmith.text import documents
from bertsmith.text.formats import columnar
from bertsmith.text.formats.registry import read_rows

Open = Callable[[Path, Path], object]
"""(folder, the damaged file in it) -> whatever."""


def _reader(folder: Path, file: Path) -> None:
    """A user's file, by everything that may be given it."""
    readers: list[Callable[[Path], object]] = [
        lambda path: list(documents.read(str(path))),
        lambda path: list(read_rows(path)),
    ]
    if file.suffix == ".conll":
        readers = [conll.read, lambda path: conll.read(path, labelled=None)]
        readers.append(lambda path: conll.has_tags(path, ()))
    if file.name.startswith("squad"):
        readers.append(lambda path: squad.read(path, may_be_impossible=True))
        readers.append(lambda path: squad.read(path, may_be_impossible=True, labelled=False))
    if file.name.startswith("pairs"):
        readers.append(lambda path: list(minimal_pairs.read(path)))
    readers.append(columnar.class_names)
    complaint: errors.BertsmithError | None = None
    for read in readers:
        try:
            read(file)
        except errors.BertsmithError as error:
            _is_for_people(error)
            complaint = error
    if complaint:
        raise complaint


def _corpus(folder: Path, file: Path) -> None:
    from bertsmith.corpus.shards import Corpus

    corpus = Corpus.open(folder)
    for name in ("train", "heldout"):
        split = corpus.split(name)
        for _ in split.spread(1000):
            pass


def _tokenizer(folder: Path, file: Path) -> None:
    from bertsmith.text.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder)
    tokenizer.encode_flat(["Some words, w1 w2 and Ünïcödé 北京.", ""])


def _folder(folder: Path, file: Path) -> None:
    from bertsmith.info.path import describe

    describe(str(folder))


def _model(folder: Path, file: Path) -> None:
    from bertsmith.checkpoints.folder import load_any

    load_any(folder)
    _tokenizer(folder, file)
    _folder(folder, file)


def _pretraining(folder: Path, file: Path) -> None:
    """All that `pretrain --resume` reads of a run."""
    from bertsmith.pretraining.config import PretrainConfig
    from bertsmith.pretraining.run import run_folder
    from bertsmith.training import checkpoint

    run_folder(folder).read(PretrainConfig)
    for step in checkpoint.steps(folder / "checkpoints"):
        checkpoint.load(checkpoint.folder_of(folder / "checkpoints", step))
    _folder(folder, file)


def _finetuning(folder: Path, file: Path) -> None:
    """All that `finetune --resume` reads of a job with a finished run and a stopped one."""
    from bertsmith.core.storage import read_json, verify
    from bertsmith.finetuning.best_epoch import read_best, read_predictions
    from bertsmith.finetuning.config import FinetuneConfig
    from bertsmith.finetuning.fingerprint import IDENTITY, Identity
    from bertsmith.finetuning.job import Job, job_folder
    from bertsmith.finetuning.run import RESULT, RunResult, _run_folder
    from bertsmith.tasks.kinds.registry import kind_named
    from bertsmith.training import checkpoint

    job_folder(folder).read(Job)
    kind = kind_named(read_json(folder / IDENTITY, Identity, sealed=True).settings.kind)
    for run in sorted((folder / "runs").iterdir()):
        _run_folder(run).read(FinetuneConfig)
        if (run / RESULT).is_file():
            verify(run, read_json(run / RESULT, RunResult, sealed=True).checksums, remedy="restore")
            read_predictions(run, kind)
            continue
        [newest] = checkpoint.steps(run / "checkpoints")
        checkpoint.load(checkpoint.folder_of(run / "checkpoints", newest))
        read_best(run)
    _folder(folder, file)


def _comparison(folder: Path, file: Path) -> None:
    """All that `compare --resume` reads beside the runs, and what `info` reads."""
    from bertsmith.comparison.job import RESULT, job_folder
    from bertsmith.comparison.plan import Plan
    from bertsmith.comparison.result import Compared
    from bertsmith.core.storage import read_json

    job_folder(folder).read(Plan)
    read_json(folder / RESULT, Compared, sealed=True)
    if "tuning" in file.parts:
        _finetuning(next(path for path in file.parents if (path / "job.json").is_file()), file)
    if "pretraining" in file.parts and "checkpoints" in file.parts:
        _pretraining(file.parents[2], file)
    _folder(folder, file)


def _is_for_people(error: errors.BertsmithError) -> None:
    message = str(error)
    assert message, repr(error)
    assert "\n" not in message, message


_FINETUNING = (
    "identity.json",
    "job.json",
    "runs/*/finetune.json",
    "runs/*/result.json",
    "runs/*/predictions.jsonl",
    "runs/*/best/*",
    "runs/*/checkpoints/*",
)

TARGETS: dict[str, tuple[Open, tuple[str, ...]]] = {
    "reader": (_reader, ()),
    "corpus": (_corpus, ("train-*/*.npy", "heldout-*/*.npy", "unigrams.npy")),
    "tokenizer": (_tokenizer, ()),
    "bpe": (_tokenizer, ()),
    "model": (_model, ()),
    "run": (_pretraining, ("pretrain.json", "checkpoints/step-*/*")),
    "finetuning": (_finetuning, _FINETUNING),
    "comparison": (
        _comparison,
        ("plan.json", "compare.json", *(f"tuning/*/*/{name}" for name in _FINETUNING)),
    ),
}
"""Target -> how it is opened, and patterns of files whose damage must be noticed."""


def is_checked(target: str, name: str) -> bool:
    """Whether damage of the file must be noticed."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in TARGETS[target][1])
