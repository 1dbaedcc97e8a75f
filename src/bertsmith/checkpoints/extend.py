"""The job: a model whose vocabulary lacks the words of a domain, to one that has them.

A new word's row of the word embeddings is the mean of the rows of the pieces that stood for it, so
the model begins with what it knew of them. The masked-word head is tied to the word embeddings and
gets the mean of their biases. Continued pre-training on text of the domain does the rest.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bertsmith.checkpoints.conversion.folders import (
    CARD,
    CONFIG,
    TOKENIZER_FILES,
    open_folder,
)
from bertsmith.checkpoints.conversion.source import Source
from bertsmith.checkpoints.folder import load_any
from bertsmith.checkpoints.headers import WEIGHTS
from bertsmith.checkpoints.sources import resolve
from bertsmith.checkpoints.tensors import save_tensors
from bertsmith.core.errors import UsageError
from bertsmith.core.job_folder import JobFolder
from bertsmith.core.storage import atomic_folder, write_bytes, write_json
from bertsmith.text import documents
from bertsmith.text.tokenizer.extend import AddedWord, Extension, extend
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.text.tokenizer.words import Progress, count_words


@dataclass(frozen=True)
class Extended:
    """A model folder with a larger vocabulary."""

    out: Path
    added: tuple[AddedWord, ...]
    """In order of their ids."""
    vocab_size: int
    words: int
    """Words of the text."""
    tokens_before: int
    """Tokens of the text with the old vocabulary."""
    tokens_after: int
    unknown_before: int
    """Of these, `[UNK]`."""
    unknown_after: int


def extend_tokenizer(
    model: str | Path,
    inputs: Sequence[str],
    *,
    out: Path,
    size: int = 1000,
    min_frequency: int = 5,
    text_field: str = "text",
    workers: int = 1,
    progress: Progress | None = None,
) -> Extended:
    """Adds the words of a text to a BERT's vocabulary and writes the larger model to `out`.

    Args:
        model: a BERT's folder or name, pre-trained or fine-tuned.
        inputs: files, folders, globs or URLs of text.
        out: a new folder.
        size: words to add; fewer where the text has no more. Those that save the most tokens.
        min_frequency: how often a word must occur in the text.
        text_field: field or column that holds the text.
        workers: processes that count words; the result does not depend on them.
        progress: told how far the counting is.

    Raises:
        UsageError: the model is not a BERT, a setting is out of range, there is nothing to add, or
            `out` holds something.
        FolderError: the model folder is damaged.
        DataError: text that cannot be read, or without a word.
        SystemFault: a path is missing, or `out` cannot be written.
    """
    JobFolder(out, "a model").check()
    documents.check_apart(out, inputs)
    names = documents.list_files(inputs)
    folder = resolve(model)
    source = open_folder(folder, None, allow_pickle=False)
    config = source.weights.config
    if not config.parameters.word_rows:
        raise UsageError(
            f"{model} is {config.title}; only the vocabulary of a BERT can be extended."
        )
    tokenizer = Tokenizer.load(folder)

    def texts() -> Iterator[str]:
        for name in names:
            for document in documents.read(name, text_field=text_field):
                yield document.text

    words = count_words(texts(), tokenizer.cleaning, workers=workers, progress=progress)
    found = extend(tokenizer, words, size=size, min_frequency=min_frequency)
    rows = max(config.vocab_size, len(found.tokenizer))
    with atomic_folder(out) as written:
        tensors = source.load()
        for name in config.parameters.word_rows:
            if name in tensors:
                tensors[name] = _with_rows(tensors[name], len(tokenizer), rows, found.added)
        save_tensors(written / WEIGHTS, tensors, {"format": "pt"})
        _copy_rest(source, written)
        found.tokenizer.save(written, model_max_length=config.max_position_embeddings)
        write_json(written / CONFIG, source.keys | {"vocab_size": rows, "dtype": "float32"})
        write_bytes(written / CARD, _card(str(model), found).encode())
        load_any(written)
    return Extended(
        out,
        found.added,
        rows,
        found.words,
        found.tokens_before,
        found.tokens_after,
        found.unknown_before,
        found.unknown_after,
    )


def _with_rows(tensor: Tensor, pieces: int, rows: int, added: Sequence[AddedWord]) -> Tensor:
    """The tensor [V, ...] with the rows of the new words behind the first `pieces`.

    A model may have rows behind its vocabulary, as padding; new words take these first.
    """
    larger = torch.cat([tensor, tensor.new_zeros(rows - len(tensor), *tensor.shape[1:])])
    for number, one in enumerate(added, pieces):
        larger[number] = tensor[list(one.replaces)].mean(0)
    return larger


def _copy_rest(source: Source, written: Path) -> None:
    """Copies what else belongs to the model: its task, or the modules of sentence-transformers."""
    for name, path in source.carried.items():
        if name not in (*TOKENIZER_FILES, CARD):
            (written / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, written / name)
    for name, data in source.written.items():
        write_bytes(written / name, data)


def _card(model: str, found: Extension) -> str:
    """The README.md of the new folder."""
    name = Path(model).name
    shown = ", ".join(f"`{one.word}`" for one in found.added[:20])
    return (
        f"# {name}, with {len(found.added):,} more words\n\n"
        f"[bertsmith](https://pypi.org/project/bertsmith/) added {len(found.added):,} words of a "
        f"text to the vocabulary of {name}: {shown}{' ...' if len(found.added) > 20 else ''}.\n\n"
        "Each new word starts as the mean of the pieces that it replaces. Continue pre-training on "
        "the text before you fine-tune.\n"
    )
