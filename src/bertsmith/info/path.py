"""Tells what a path holds: text, a tokenizer, a corpus, a model, a run or a comparison.

Nothing here imports torch. Only the headers of weight files are read, so large models are as quick
to describe as small ones.
"""

from pathlib import Path
from typing import Any

import msgspec

from bertsmith.checkpoints.headers import read_header
from bertsmith.checkpoints.sources import names_model, resolve
from bertsmith.core.errors import RESUME, DataError, FolderError
from bertsmith.core.storage import read_json
from bertsmith.corpus.manifest import MANIFEST, TOKENIZER, SplitName, read_manifest
from bertsmith.corpus.shards import Corpus
from bertsmith.info.model import (
    ModelInfo,
    TokenizerInfo,
    has_tokenizer,
    model_info,
    tokenizer_info,
)
from bertsmith.pretraining.config import PretrainConfig, read_settings
from bertsmith.text import documents
from bertsmith.text.sentences import detect_language
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.progress import read_metrics

_LANGUAGE_SAMPLE = 100_000


class TextInfo(msgspec.Struct, frozen=True, tag="text", tag_field="kind"):
    """Text files, read once from start to end."""

    path: str
    files: int
    bytes: int
    documents: int
    characters: int
    language: str


class SplitInfo(msgspec.Struct, frozen=True):
    """One split of a corpus."""

    documents: int
    sentences: int
    tokens: int
    shards: int


class CorpusInfo(msgspec.Struct, frozen=True, tag="corpus", tag_field="kind"):
    """A folder written by `prepare`."""

    path: str
    language: str
    sources: int
    documents_read: int
    documents_cut: int
    pieces_added: int
    """Extra documents made by cutting long ones: read + added - dropped = kept."""
    documents_kept: int
    dropped: dict[str, int]
    train: SplitInfo
    heldout: SplitInfo
    bytes: int
    unknown: float
    """Share of [UNK] among the training tokens."""
    tokenizer: TokenizerInfo
    tokenizer_matches: bool


class RunInfo(msgspec.Struct, frozen=True, tag="run", tag_field="kind"):
    """A folder written by `pretrain`."""

    path: str
    finished: bool
    step: int
    config: PretrainConfig
    checkpoints: list[str]
    last_training: dict[str, Any] | None
    last_evaluation: dict[str, Any] | None
    baseline: dict[str, Any] | None
    """Held-out numbers of the unigram baseline."""
    model: ModelInfo | None
    damage: list[str]
    """Unreadable files of the newest checkpoint or the finished model, each with a remedy."""


class ComparisonInfo(msgspec.Struct, frozen=True, tag="comparison", tag_field="kind"):
    """A folder written by `compare`."""

    path: str
    budget: str
    """Budget of each pre-training run."""
    tasks: list[str]
    pretrained: list[str]
    """Systems with a finished pre-training."""
    tuned: int
    """Number of finished fine-tunings."""
    scores: dict[str, dict[str, float]]
    """System -> task -> mean score over seeds; empty until the comparison is finished."""


Info = ComparisonInfo | TextInfo | TokenizerInfo | CorpusInfo | ModelInfo | RunInfo


def describe(path: str, *, text_field: str = "text") -> Info:
    """Tells what `path` holds: a bertsmith or `transformers` folder, or text (also globs, URLs).

    Args:
        path: a folder, a file or a model name.
        text_field: the key or column with the text, for files that have keys or columns.

    Raises:
        FolderError: the folder is damaged or holds nothing known.
        DataError: the text cannot be read.
        SystemFault: the path does not exist.
        UsageError: the file format is not supported.
    """
    folder = resolve(path) if names_model(path) else Path(path)
    if not folder.is_dir():
        return _text(path, text_field)
    if (folder / MANIFEST).is_file() or (folder / ".parts").is_dir():
        return _corpus(folder)
    if (folder / "pretrain.json").is_file():
        return _run(folder)
    if (folder / "config.json").is_file():
        return model_info(folder)
    if (folder / "plan.json").is_file():
        return _comparison(folder)
    if (folder / "job.json").is_file():
        done = len(list(folder.glob("runs/*/result.json")))
        raise FolderError(
            f"{path} is an unfinished fine-tuning ({done} run{'s' * (done != 1)} finished); "
            f"repeat its command with {RESUME}."
        )
    if has_tokenizer(folder):
        return tokenizer_info(folder, Tokenizer.load(folder))
    try:
        documents.list_files([path])
    except DataError as error:
        raise FolderError(
            f"{path} is not a corpus (manifest.json), run (pretrain.json), model (config.json) or "
            "tokenizer (vocab.txt), and holds no text files; check the path."
        ) from error
    return _text(path, text_field)


def _text(path: str, text_field: str) -> TextInfo:
    names = documents.list_files([path])
    count = characters = 0
    sample = ""
    for name in names:
        for document in documents.read(name, text_field=text_field):
            count += 1
            characters += len(document.text)
            if len(sample) < _LANGUAGE_SAMPLE:
                sample += document.text[: _LANGUAGE_SAMPLE - len(sample)]
    return TextInfo(
        path=path,
        files=len(names),
        bytes=sum(Path(name).stat().st_size for name in names if "://" not in name),
        documents=count,
        characters=characters,
        language=detect_language(sample),
    )


def _corpus(folder: Path) -> CorpusInfo:
    manifest = read_manifest(folder)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    # `Corpus.open` would refuse a replaced tokenizer; here it is only reported.
    corpus = Corpus(folder, manifest, tokenizer)
    # A slice, because a replaced tokenizer may have more pieces than the corpus counted.
    unknown_V = corpus.unigrams_V[tokenizer.unk_id : tokenizer.unk_id + 1]

    def split(name: SplitName) -> SplitInfo:
        corpus.split(name)  # Opens the files, which finds missing or truncated ones.
        return SplitInfo(
            documents=manifest.documents(name),
            sentences=manifest.sentences(name),
            tokens=manifest.tokens(name),
            shards=len(manifest.train if name == "train" else manifest.heldout),
        )

    return CorpusInfo(
        path=str(folder),
        language=manifest.language,
        sources=len(manifest.sources),
        documents_read=manifest.documents_read,
        documents_cut=manifest.documents_cut,
        pieces_added=manifest.pieces_added,
        documents_kept=manifest.documents_kept,
        dropped=manifest.dropped,
        train=split("train"),
        heldout=split("heldout"),
        bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        unknown=float(unknown_V.sum()) / max(int(corpus.unigrams_V.sum()), 1),
        tokenizer=tokenizer_info(folder / TOKENIZER, tokenizer),
        tokenizer_matches=tokenizer.fingerprint == manifest.tokenizer_fingerprint,
    )


class _TrainerState(msgspec.Struct):
    """The field of `trainer.json` that lists a checkpoint's files."""

    checksums: dict[str, str]


def _checkpoint(folder: Path) -> ModelInfo:
    for name in read_json(folder / "trainer.json", _TrainerState).checksums:
        if not (folder / name).is_file():
            raise FolderError(f"{folder / name} is missing; restore it from a good copy.")
        if name.endswith(".safetensors"):
            read_header(folder / name)
    return model_info(folder)


class _Plan(msgspec.Struct):
    """The fields of `plan.json` that are shown."""

    budget: str
    tasks: list[str]


class _Mean(msgspec.Struct):
    mean: float


class _System(msgspec.Struct):
    title: str
    scores: dict[str, _Mean]


class _Compared(msgspec.Struct):
    """The fields of `compare.json` that are shown."""

    systems: list[_System]


def _comparison(folder: Path) -> ComparisonInfo:
    plan = read_json(folder / "plan.json", _Plan)
    scores: dict[str, dict[str, float]] = {}
    if (folder / "compare.json").is_file():
        for system in read_json(folder / "compare.json", _Compared).systems:
            scores[system.title] = {task: found.mean for task, found in system.scores.items()}
    return ComparisonInfo(
        path=str(folder),
        budget=plan.budget,
        tasks=plan.tasks,
        pretrained=sorted(path.parent.name for path in folder.glob("pretraining/*/config.json")),
        tuned=len(list(folder.glob("tuning/*/*/results.json"))),
        scores=scores,
    )


def _run(folder: Path) -> RunInfo:
    config = read_settings(folder)
    metrics = folder / "metrics.jsonl"
    rows = read_metrics(metrics) if metrics.is_file() else []
    last = {row.pop("kind"): row for row in rows}
    finished = (folder / "config.json").is_file()
    checkpoints = sorted(found.name for found in folder.glob("checkpoints/step-*"))
    model = None
    damage = []

    def add_damage(error: FolderError, remedy: str) -> None:
        damage.append(f"{str(error).partition('; ')[0].rstrip('.')}; {remedy}")

    if checkpoints:
        newest = folder / "checkpoints" / checkpoints[-1]
        try:
            model = _checkpoint(newest)
        except FolderError as error:
            previous = "continue from the previous checkpoint"
            restart = previous if len(checkpoints) > 1 else "start over"
            add_damage(error, f"delete {newest} to {restart}")
    if finished:
        try:
            model = model_info(folder)
        except FolderError as error:
            add_damage(error, f"repeat the command with {RESUME} to write it again")
    return RunInfo(
        path=str(folder),
        finished=finished,
        step=max((row["step"] for row in rows), default=0),
        config=config,
        checkpoints=checkpoints,
        last_training=last.get("train"),
        last_evaluation=last.get("evaluation"),
        baseline=last.get("baseline"),
        model=model,
        damage=damage,
    )
