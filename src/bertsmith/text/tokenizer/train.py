"""Text files to a tokenizer folder: the job behind `bertsmith tokenizer train`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bertsmith.core.errors import explain_os_error, option
from bertsmith.core.job_folder import JobFolder
from bertsmith.text import documents
from bertsmith.text.tokenizer import accents
from bertsmith.text.tokenizer.tokenizer import Backend, Cleaning, Tokenizer
from bertsmith.text.tokenizer.trainer import Kind, merge
from bertsmith.text.tokenizer.words import Progress, count_both

# A vocabulary's files by its kind, beside those that both have.
_VOCABULARY: dict[Kind, tuple[str, ...]] = {
    "wordpiece": ("vocab.txt",),
    "bpe": ("vocab.json", "merges.txt"),
}
_FILES = {"tokenizer.json", "tokenizer_config.json"}.union(*_VOCABULARY.values())


def train_tokenizer(
    inputs: Sequence[str],
    *,
    out: Path,
    size: int,
    kind: Kind = "wordpiece",
    lower_case: bool = True,
    strip_accents: bool | None = None,
    min_frequency: int = 2,
    text_field: str = "text",
    workers: int = 1,
    progress: Progress | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> Tokenizer:
    """Trains a vocabulary and writes it to `out`; the result depends on the text alone.

    Args:
        inputs: files, folders, globs or URLs of text.
        out: folder to write.
        size: pieces wanted, the five special ones counted; fewer if the text gives no more.
        kind: of pieces.
        lower_case: lower-case the text, now and in every later use.
        strip_accents: also strip accents. None: with `lower_case`, unless the text is in a script
            that cannot be read without its marks (`accents.NEEDED_FROM`).
        min_frequency: how often a pair must occur to be merged.
        text_field: field or column that holds the text.
        workers: processes.
        progress: told how far the work is.
        note: told which words stripping accents merges, and what was chosen.

    Raises:
        DataError: text that cannot be read, or without any word.
        UsageError: `size` is smaller than the alphabet; `out` is a file, lies inside an input
            folder, or holds something else than a tokenizer.
        SystemFault: a path is missing, or `out` cannot be written.
    """
    folder = JobFolder(out, "a tokenizer", own=_FILES)
    folder.check()
    documents.check_apart(out, inputs)
    names = documents.list_files(inputs)

    def texts() -> Iterator[str]:
        for name in names:
            for document in documents.read(name, text_field=text_field):
                yield document.text

    tokenizer = learn_tokenizer(
        texts(),
        size=size,
        kind=kind,
        lower_case=lower_case,
        strip_accents=strip_accents,
        min_frequency=min_frequency,
        workers=workers,
        progress=progress,
        note=note,
    )
    with folder.enter():
        _remove_other(out, kind)
        tokenizer.save(out)
    return tokenizer


def learn_tokenizer(
    texts: Iterable[str],
    *,
    size: int,
    kind: Kind = "wordpiece",
    lower_case: bool = True,
    strip_accents: bool | None = None,
    min_frequency: int = 2,
    workers: int = 1,
    progress: Progress | None = None,
    note: Callable[[str], object] = lambda text: None,
    backend: Backend = "tokenizers",
) -> Tokenizer:
    """As `train_tokenizer`, of texts in memory, and nothing is written.

    Raises:
        DataError: the texts hold no word.
        UsageError: `size` is smaller than the alphabet.
    """
    cleaning = Cleaning(lower_case=lower_case, strip_accents=strip_accents)
    words, rewritten = count_both(texts, cleaning, workers=workers, progress=progress)
    found = accents.merged(words, rewritten)
    if strip_accents is None and found.needed >= accents.NEEDED_FROM:
        cleaning = Cleaning(lower_case=lower_case, strip_accents=False)
        words = accents.kept(words, rewritten)
        share = (
            f"{100 * found.needed:.0f}% of the words have marks that carry meaning in their script"
        )
        told = f" {found.told}" if found.merged else ""
        note(f"Accents are kept: {share} ({option('strip_accents', True)} strips them).{told}")
    elif found.merged:
        advice = (
            f" Pass {option('strip_accents', False)} to keep them apart."
            if strip_accents is None
            else ""
        )
        note(found.told + advice)
    made = merge(words, kind, size=size, min_frequency=min_frequency, progress=progress)
    merges = made.merges if kind == "bpe" else None
    return Tokenizer(made.vocab, cleaning, merges=merges, backend=backend)


def _remove_other(out: Path, kind: Kind) -> None:
    """Removes the vocabulary of another kind, which would no longer fit `tokenizer.json`."""
    for other, names in _VOCABULARY.items():
        if other != kind:
            for name in names:
                try:
                    (out / name).unlink(missing_ok=True)
                except OSError as error:
                    raise explain_os_error(error, "write", out / name) from error
