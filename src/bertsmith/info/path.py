"""What a path is: text, a tokenizer, a corpus, a model or a run, with its numbers.

Nothing here imports torch: a model is read from the headers of its files, so the answer comes at
once however large the weights are.
"""

from pathlib import Path
from typing import Any

import msgspec

from bertsmith.checkpoints.headers import read_header
from bertsmith.checkpoints.sources import names_model, resolve
from bertsmith.core.errors import RESUME, DataError, FolderError
from bertsmith.core.storage import read_json
from bertsmith.corpus.shards import MANIFEST, TOKENIZER, Corpus, SplitName, read_manifest
from bertsmith.info.model import (
    ModelInfo,
    TokenizerInfo,
    has_tokenizer,
    model_info,
    tokenizer_info,
)
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.text import documents
from bertsmith.text.sentences import detect_language
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.progress import read_metrics

_LANGUAGE_SAMPLE = 100_000


class TextInfo(msgspec.Struct, frozen=True, tag="text", tag_field="kind"):
    """Text files, all read through once."""

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
    """A folder that `prepare` wrote."""

    path: str
    language: str
    sources: int
    documents_read: int
    documents_cut: int
    pieces_added: int
    """By cutting: documents read + pieces added - dropped = documents kept."""
    documents_kept: int
    dropped: dict[str, int]
    train: SplitInfo
    heldout: SplitInfo
    bytes: int
    unknown: float
    """Share of the train tokens that are [UNK]."""
    tokenizer: TokenizerInfo
    tokenizer_matches: bool


class RunInfo(msgspec.Struct, frozen=True, tag="run", tag_field="kind"):
    """A folder that `pretrain` writes."""

    path: str
    finished: bool
    step: int
    config: PretrainConfig
    checkpoints: list[str]
    last_training: dict[str, Any] | None
    last_evaluation: dict[str, Any] | None
    baseline: dict[str, Any] | None
    """The evaluation's numbers for guessing by frequency."""
    model: ModelInfo | None
    damage: list[str]
    """What of the newest checkpoint and of the finished model cannot be read, and what to do."""


class ComparisonInfo(msgspec.Struct, frozen=True, tag="comparison", tag_field="kind"):
    """A folder that `compare` writes."""

    path: str
    budget: str
    """Of each pre-training."""
    tasks: list[str]
    pretrained: list[str]
    """Systems whose pre-training is done."""
    tuned: int
    """Fine-tunings that are done."""
    scores: dict[str, dict[str, float]]
    """Of a finished comparison: system -> task -> mean score over its seeds."""


Info = ComparisonInfo | TextInfo | TokenizerInfo | CorpusInfo | ModelInfo | RunInfo


def describe(path: str, *, text_field: str = "text") -> Info:
    """Tells what `path` is: a folder of ours or of `transformers`, or text (also globs and URLs).

    Args:
        path: the folder or file, or a model's name.
        text_field: the key or column that holds the text, of files that have such.

    Raises:
        FolderError: a damaged folder, or one that holds nothing known.
        DataError: text that cannot be read.
        SystemFault: no such path.
        UsageError: a file whose ending is not supported.
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
            f"{path} is a fine-tuning that is not finished ({done} of its runs "
            f"{'is' if done == 1 else 'are'}): run its command again with {RESUME}."
        )
    if has_tokenizer(folder):
        return tokenizer_info(folder, Tokenizer.load(folder))
    try:
        documents.list_files([path])
    except DataError as error:
        raise FolderError(
            f"{path} holds no corpus (manifest.json), run (pretrain.json), model (config.json), "
            "tokenizer (vocab.txt) or text files; check the path."
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
    # A tokenizer that was exchanged is told and no error, as it would be to `Corpus.open`.
    corpus = Corpus(folder, manifest, tokenizer)
    # A slice, because it may have more pieces.
    unknown_V = corpus.unigrams_V[tokenizer.unk_id : tokenizer.unk_id + 1]

    def split(name: SplitName) -> SplitInfo:
        corpus.split(name)  # finds what is missing or cut, at the cost of opening the files
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
    """Of `trainer.json`, what says which files a checkpoint has."""

    checksums: dict[str, str]


def _checkpoint(folder: Path) -> ModelInfo:
    for name in read_json(folder / "trainer.json", _TrainerState).checksums:
        if not (folder / name).is_file():
            raise FolderError(f"{folder / name} is missing; restore it from a good copy.")
        if name.endswith(".safetensors"):
            read_header(folder / name)
    return model_info(folder)


class _Plan(msgspec.Struct):
    """Of `plan.json`, what is told."""

    budget: str
    tasks: list[str]


class _Mean(msgspec.Struct):
    mean: float


class _System(msgspec.Struct):
    title: str
    scores: dict[str, _Mean]


class _Compared(msgspec.Struct):
    """Of `compare.json`, what is told."""

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
    config = read_json(folder / "pretrain.json", PretrainConfig)
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
            earlier = "continue from the checkpoint before it"
            again = earlier if len(checkpoints) > 1 else "begin the run again"
            add_damage(error, f"delete {newest} to {again}")
    if finished:
        try:
            model = model_info(folder)
        except FolderError as error:
            add_damage(error, "resume it to write it again")
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
