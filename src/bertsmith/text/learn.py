"""Text files to a tokenizer folder: the job behind `bertsmith tokenizer train`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bertsmith.errors import UsageError, explain_os_error
from bertsmith.text import documents, vocabulary
from bertsmith.text.tokenizer import Cleaning, Tokenizer

_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json")


def train_tokenizer(
    inputs: Sequence[str],
    *,
    out: Path,
    size: int,
    lower_case: bool = True,
    min_frequency: int = 2,
    text_field: str = "text",
    workers: int = 1,
    progress: vocabulary.Progress | None = None,
) -> Tokenizer:
    """Trains a WordPiece vocabulary and writes it to `out`; the result depends on the text alone.

    Args:
        inputs: files, folders, globs or URLs of text.
        out: folder to write.
        size: pieces wanted, the five special ones counted; fewer if the text gives no more.
        lower_case: lower-case the text and strip accents, now and in every later use.
        min_frequency: how often a pair must occur to be merged.
        text_field: field or column that holds the text.
        workers: processes.
        progress: told how far the work is.

    Raises:
        DataError: text that cannot be read, or without any word.
        UsageError: `size` is smaller than the alphabet; `out` is a file, lies inside an input
            folder, or holds something else than a tokenizer.
        SystemFault: a path is missing, or `out` cannot be written.
    """
    _check_place(out, inputs)
    names = documents.list_files(inputs)

    def texts() -> Iterator[str]:
        for name in names:
            for document in documents.read(name, text_field=text_field):
                yield document.text

    vocab = vocabulary.train(
        texts(),
        size=size,
        lower_case=lower_case,
        min_frequency=min_frequency,
        workers=workers,
        progress=progress,
    )
    tokenizer = Tokenizer(vocab, Cleaning(lower_case=lower_case))
    tokenizer.save(out)
    return tokenizer


def _check_place(out: Path, inputs: Sequence[str]) -> None:
    """Checks that `out` can be written without harm to a model, a corpus or the text itself."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder.")
    documents.check_apart(out, inputs)
    try:
        names = sorted(path.name for path in out.iterdir()) if out.exists() else []
    except OSError as error:
        raise explain_os_error(error, "write", out) from error
    other = [name for name in names if name not in _FILES and not name.startswith(".")]
    if other:
        raise UsageError(
            f"--out {out} holds something else than a tokenizer ({other[0]}); choose another "
            "folder or empty it."
        )
