"""The lines that `bertsmith info` prints, and `prepare` at its end."""

from bertsmith.core.errors import RESUME
from bertsmith.info.model import ModelInfo, PartScores, TokenizerInfo
from bertsmith.info.path import ComparisonInfo, CorpusInfo, Info, RunInfo, TextInfo
from bertsmith.models.config_files import CONFIGS
from bertsmith.tasks.metrics import METRICS, score_line
from bertsmith.text.rows import LONGEST_DOCUMENT
from bertsmith.text.tokenizer.tokenizer import MANY_UNKNOWN


def lines(info: Info) -> list[str]:
    """One line per fact, values aligned."""
    match info:
        case TextInfo():
            rows = [
                ("text", f"{_count(info.files, 'file')}, {_bytes(info.bytes)}"),
                ("documents", f"{info.documents:,}"),
                ("characters", f"{info.characters:,}"),
                ("language", info.language),
            ]
        case TokenizerInfo():
            rows = [("tokenizer", info.path), *_tokenizer_rows(info)]
        case CorpusInfo():
            rows = _corpus_rows(info)
        case ModelInfo():
            rows = _model_rows(info)
        case RunInfo():
            rows = _run_rows(info)
        case ComparisonInfo():
            rows = _comparison_rows(info)
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _comparison_rows(info: ComparisonInfo) -> list[tuple[str, str]]:
    state = "finished" if info.scores else f"unfinished; continue with {RESUME}"
    rows = [
        ("comparison", f"{info.path}, {state}"),
        ("budget", f"{info.budget} per pre-training"),
        ("pre-trained", ", ".join(info.pretrained) or "none yet"),
        ("fine-tuned", f"{_count(info.tuned, 'run')} finished, on {', '.join(info.tasks)}"),
    ]
    for title, scores in info.scores.items():
        cells = ", ".join(f"{task} {100 * score:.1f}" for task, score in scores.items())
        rows.append((f"  {title}", cells))
    return rows


def _tokenizer_rows(info: TokenizerInfo) -> list[tuple[str, str]]:
    case = "lower-cased" if info.lower_case else "cased"
    accents = "stripped" if info.strip_accents else "kept"
    chinese = "split" if info.split_chinese else "not split"
    return [
        (
            "vocabulary",
            f"{info.vocab_size:,} pieces ({info.pieces}), {case}, accents {accents}, "
            f"Chinese {chinese}",
        ),
        ("fingerprint", info.fingerprint[:12]),
    ]


def _corpus_rows(info: CorpusInfo) -> list[tuple[str, str]]:
    rows = [
        ("corpus", f"{info.path}, {_bytes(info.bytes)}, language {info.language}"),
        ("documents", f"{info.documents_read:,} read from {_count(info.sources, 'file')}, "
                      f"{info.documents_kept:,} kept"),
    ]  # fmt: skip
    if info.documents_cut:
        rows.append(
            ("cut", f"{info.documents_cut:,} longer than {LONGEST_DOCUMENT:,} characters, into "
                    f"{info.pieces_added:,} extra documents")
        )  # fmt: skip
    dropped = [f"{count:,} {reason}" for reason, count in info.dropped.items() if count]
    rows.append(("dropped", ", ".join(dropped) or "none"))
    for name, split in (("train", info.train), ("held-out", info.heldout)):
        counts = (
            f"{_count(split.tokens, 'token')}, {_count(split.sentences, 'sentence')}, "
            f"{_count(split.documents, 'document')}, {_count(split.shards, 'shard')}"
        )
        rows.append((name, counts))
    rows.append(("unknown", f"{info.unknown:.2%} of the training tokens are [UNK]"))
    rows += _tokenizer_rows(info.tokenizer)
    if not info.tokenizer_matches:
        rows.append(("warning", "this corpus was made with another tokenizer"))
    if info.unknown >= MANY_UNKNOWN:
        misfit = f"the vocabulary does not fit this text ({info.unknown:.1%} [UNK])"
        rows.append(("warning", f"{misfit}; train one with `bertsmith tokenizer train`"))
    return rows


def _model_rows(info: ModelInfo) -> list[tuple[str, str]]:
    rows = [
        ("model", info.path),
        ("shape", _shape(info)),
        ("parameters", f"{info.parameters:,}"),
    ]  # fmt: skip
    rows += [(f"  {part}", f"{count:,}") for part, count in info.parts.items()]
    if info.task_config is not None:
        labels = ", ".join(info.task_config.labels)
        rows.append(("fine-tuned", f"{info.task_config.task} ({info.task_config.kind})"))
        rows += [("  labels", labels)] if labels else []
        rows.append(("  inputs", f"up to {info.task_config.limits.max_length} tokens"))
    for part, found in info.scores.items():
        rows += [(f"  {part}", _score(name, found)) for name in found.scores]
    rows.append(
        ("memory", f"weights {_bytes(info.weight_bytes)}; training {_bytes(info.training_bytes)} "
                   "plus activations")
    )  # fmt: skip
    if info.tokenizer is None:
        rows.append(("tokenizer", "none in this folder"))
    else:
        rows += _tokenizer_rows(info.tokenizer)
        if not info.tokenizer_matches:
            rows.append(
                ("warning", f"the model expects a vocabulary of {info.vocab_size:,} pieces")
            )
    return rows


def _shape(info: ModelInfo) -> str:
    config = CONFIGS[info.architecture]
    name = config.display_name
    if info.left_to_right and config.objective == "masked":
        name += ", left to right"
    numbers = ("layers", "width", "heads", "feed_forward", "positions")
    return config.summary.format(name=name, **{key: getattr(info, key) for key in numbers})


def _score(name: str, found: PartScores) -> str:
    """A metric with its confidence interval and baseline, if known."""
    interval, usual = found.intervals.get(name), found.baseline.get(name)
    words = score_line(found.scores[name], interval, usual)
    return f"{METRICS[name].title} {words}"


def _run_rows(info: RunInfo) -> list[tuple[str, str]]:
    config = info.config
    length = f" of {config.steps:,}" if config.steps else f", limit {config.hours} hours"
    begin = f"size {config.size}" if config.start is None else f"from {config.start}"
    state = "finished" if info.finished else f"unfinished; continue with {RESUME}"
    rows = [
        ("run", f"{info.path}, {state}"),
        ("progress", f"step {info.step:,}{length}"),
        ("recipe", f"{config.recipe}, {begin}, pair task {config.pair_task}, corpus "
                   f"{config.data}"),
        ("checkpoints", ", ".join(info.checkpoints) or "none"),
        *(("damaged", sentence) for sentence in info.damage),
    ]  # fmt: skip
    records = {
        "training": info.last_training,
        "held-out": info.last_evaluation,
        "baseline": info.baseline,
    }
    for name, row in records.items():
        if row:
            rows.append((name, ", ".join(f"{key} {_number(value)}" for key, value in row.items())))
    return rows + (_model_rows(info.model) if info.model else [])


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
