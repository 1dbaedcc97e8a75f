"""What a path is: text, a tokenizer, a corpus, a model or a run, with its numbers.

Nothing here imports torch: a model is read from the headers of its files, so the answer comes at
once however large the weights are.
"""

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError, safe_open

from bertsmith.config import PretrainConfig
from bertsmith.corpus.shards import MANIFEST, TOKENIZER, Corpus, SplitName, read_manifest
from bertsmith.errors import DataError, FolderError
from bertsmith.files import read_json
from bertsmith.shapes import bert_config_from_keys
from bertsmith.tasks.taught import TAUGHT, Taught
from bertsmith.text import documents
from bertsmith.text.sentences import detect_language
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.train.progress import read_metrics

# fp32 weights, gradients and AdamW's two moments, in bytes for one parameter.
TRAINING_BYTES = 16
_LANGUAGE_SAMPLE = 100_000


class TextInfo(msgspec.Struct, frozen=True, tag="text", tag_field="kind"):
    """Text files, all read through once."""

    path: str
    files: int
    bytes: int
    documents: int
    characters: int
    language: str


class TokenizerInfo(msgspec.Struct, frozen=True, tag="tokenizer", tag_field="kind"):
    """A vocabulary and its cleaning rules."""

    path: str
    vocab_size: int
    lower_case: bool
    strip_accents: bool
    split_chinese: bool
    fingerprint: str


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


class PartScores(msgspec.Struct, frozen=True):
    """How well a fine-tuned model did on one part."""

    scores: dict[str, float | None]
    """Metric -> score; None: undefined."""
    intervals: dict[str, tuple[float, float]]
    """Metric -> 95% interval, of the part that decided."""
    baseline: dict[str, float | None]
    """Metric -> score of always giving the most frequent answer, of that part too."""


class ModelInfo(msgspec.Struct, frozen=True, tag="model", tag_field="kind"):
    """A model folder in the Hugging Face layout."""

    path: str
    layers: int
    width: int
    heads: int
    feed_forward: int
    positions: int
    vocab_size: int
    parameters: int
    parts: dict[str, int]
    """Parameters by part of the model."""
    weight_bytes: int
    training_bytes: int
    """Weights, gradients and optimizer state in fp32; activations come on top."""
    tokenizer: TokenizerInfo | None
    tokenizer_matches: bool | None
    """Whether there are as many pieces as rows of the embedding; None without a tokenizer."""
    taught: Taught | None = None
    """What a fine-tuned model was taught."""
    scores: dict[str, PartScores] = {}
    """Part -> how well the best run of a finished fine-tuning did."""


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


Info = TextInfo | TokenizerInfo | CorpusInfo | ModelInfo | RunInfo


def describe(path: str) -> Info:
    """Tells what `path` is: a folder of ours or of `transformers`, or text (also globs and URLs).

    Raises:
        FolderError: a damaged folder, or one that holds nothing known.
        DataError: text that cannot be read.
        SystemFault: no such path.
        UsageError: a file whose ending is not supported.
    """
    folder = Path(path)
    if not folder.is_dir():
        return _text(path)
    if (folder / MANIFEST).is_file() or (folder / ".parts").is_dir():
        return _corpus(folder)
    if (folder / "pretrain.json").is_file():
        return _run(folder)
    if (folder / "config.json").is_file():
        return _model(folder)
    if (folder / "job.json").is_file():
        done = len(list(folder.glob("runs/*/result.json")))
        raise FolderError(
            f"{path} is a fine-tuning that is not finished ({done} of its runs "
            f"{'is' if done == 1 else 'are'}): run its command again with --resume."
        )
    if _has_tokenizer(folder):
        return _tokenizer(folder, Tokenizer.load(folder))
    try:
        documents.list_files([path])
    except DataError as error:
        raise FolderError(
            f"{path} holds no corpus (manifest.json), run (pretrain.json), model (config.json), "
            "tokenizer (vocab.txt) or text files; check the path."
        ) from error
    return _text(path)


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("vocab.txt", "vocab.json", "tokenizer.json"))


def _text(path: str) -> TextInfo:
    names = documents.list_files([path])
    count = characters = 0
    sample = ""
    for name in names:
        for document in documents.read(name):
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


def _tokenizer(folder: Path, tokenizer: Tokenizer) -> TokenizerInfo:
    return TokenizerInfo(
        path=str(folder),
        vocab_size=len(tokenizer.vocab),
        lower_case=tokenizer.cleaning.lower_case,
        strip_accents=tokenizer.cleaning.strips_accents,
        split_chinese=tokenizer.cleaning.split_chinese,
        fingerprint=tokenizer.fingerprint,
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
        tokenizer=_tokenizer(folder / TOKENIZER, tokenizer),
        tokenizer_matches=tokenizer.fingerprint == manifest.tokenizer_fingerprint,
    )


# Which part of the model a tensor belongs to, by its name in `model.safetensors`; first match wins.
_PARTS = (
    ("word_embeddings", "word embeddings"),
    ("embeddings", "position and segment embeddings"),
    (".attention.", "attention"),
    ("encoder.layer", "feed-forward"),
    ("pooler", "pooler and next-sentence head"),
    ("seq_relationship", "pooler and next-sentence head"),
    ("cls.predictions", "masked-word head"),
)


def _model(folder: Path) -> ModelInfo:
    keys = read_json(folder / "config.json", dict[str, Any])
    config = bert_config_from_keys(keys, str(folder / "config.json"))
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise FolderError(f"{weights} is missing; the folder holds no model that can be read.")
    parts: Counter[str] = Counter()
    for name, count in _tensors(weights).items():
        # The decoder repeats the word embeddings; `transformers` may write it too.
        if not name.startswith("cls.predictions.decoder"):
            parts[next((part for key, part in _PARTS if key in name), "other heads")] += count
    tokenizer = _tokenizer(folder, Tokenizer.load(folder)) if _has_tokenizer(folder) else None
    return ModelInfo(
        path=str(folder),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        feed_forward=config.intermediate_size,
        positions=config.max_position_embeddings,
        vocab_size=config.vocab_size,
        parameters=parts.total(),
        parts=dict(parts),
        weight_bytes=weights.stat().st_size,
        training_bytes=TRAINING_BYTES * parts.total(),
        tokenizer=tokenizer,
        tokenizer_matches=None if tokenizer is None else tokenizer.vocab_size == config.vocab_size,
        taught=read_json(folder / TAUGHT, Taught) if (folder / TAUGHT).is_file() else None,
        scores=_scores(folder),
    )


class _Tuned(msgspec.Struct):
    """Of a run of a fine-tuning, how well it did."""

    scores: dict[str, dict[str, float | None]]


class _Results(msgspec.Struct):
    """Of `results.json`, what says how well the model does."""

    deciding: str
    baseline: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    runs: list[_Tuned]
    best: int


def _scores(folder: Path) -> dict[str, PartScores]:
    """Of the model in a folder of a fine-tuning; nothing for any other model."""
    if not (folder / "results.json").is_file():
        return {}
    found = read_json(folder / "results.json", _Results)
    return {
        part: PartScores(
            scores,
            found.intervals if part == found.deciding else {},
            found.baseline if part == found.deciding else {},
        )
        for part, scores in found.runs[found.best].scores.items()
    }


def _tensors(path: Path) -> dict[str, int]:
    """How many numbers each tensor of a file has; the header tells, and whether the file is cut."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {
                name: prod(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118 (not a mapping)
            }
    except (SafetensorError, OSError) as error:
        raise FolderError(
            f"{path} is damaged ({error}); restore it from a good copy or write it again."
        ) from error


class _TrainerState(msgspec.Struct):
    """Of `trainer.json`, what says which files a checkpoint has."""

    checksums: dict[str, str]


def _checkpoint(folder: Path) -> ModelInfo:
    for name in read_json(folder / "trainer.json", _TrainerState).checksums:
        if not (folder / name).is_file():
            raise FolderError(f"{folder / name} is missing; restore it from a good copy.")
        if name.endswith(".safetensors"):
            _tensors(folder / name)
    return _model(folder)


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
            model = _model(folder)
        except FolderError as error:
            add_damage(error, "run the same command with --resume to write it again")
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
