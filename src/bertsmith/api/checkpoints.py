"""Models between programs and domains: `convert`, `extend_tokenizer`.

Thin functions with typed keywords; jobs are imported when they are called.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bertsmith.api.arguments import StrPath, paths_of

if TYPE_CHECKING:
    from bertsmith.checkpoints.convert import Conversion
    from bertsmith.checkpoints.extend import Extended


def convert(
    source: StrPath,
    dest: StrPath,
    *,
    to: Literal["transformers", "tensorflow-npz", "elmo"] = "transformers",
    dtype: Literal["fp32", "fp16", "bf16"] = "fp32",
    tokenizer: StrPath | None = None,
    allow_pickle: bool = False,
    dry_run: bool = False,
) -> "Conversion":
    """Converts a checkpoint of another program to a model folder, or a model folder to theirs.

    Args:
        source: a folder of Google's BERT (TensorFlow 1 or `.npz`), `transformers`,
            sentence-transformers, a published ELMo or OpenAI's GPT; or a model's name.
        dest: a new folder.
        to: the layout to write.
        dtype: of the stored weights.
        tokenizer: a tokenizer's folder, for a source that has none.
        allow_pickle: read `pytorch_model.bin`, through torch's weights-only loader.
        dry_run: only report what maps to what.

    Raises:
        UsageError: `dest` exists, or the source is of no known layout.
        FolderError: the source is damaged, or `dtype` is too small for the weights.

    Example::

        done = bertsmith.convert("tiny-en", "my-npz", to="tensorflow-npz")
        print(done.files)
    """
    from bertsmith.checkpoints.convert import convert as convert_checkpoint

    return convert_checkpoint(
        os.fspath(source),
        os.fspath(dest),
        to=to,
        dtype=dtype,
        tokenizer=None if tokenizer is None else os.fspath(tokenizer),
        allow_pickle=allow_pickle,
        dry_run=dry_run,
    )


def extend_tokenizer(
    model: StrPath,
    inputs: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    size: int = 1000,
    min_frequency: int = 5,
    text_field: str = "text",
    workers: int = 1,
) -> "Extended":
    """Adds the words of a domain to a BERT's vocabulary; writes the larger model to `out`.

    Each new word starts as the mean of the pieces that stood for it; continue pre-training on the
    same text.

    Args:
        model: a BERT's folder or name.
        inputs: files, folders, globs or URLs of text.
        out: a new folder.
        size: words to add at most: those that save the most tokens.
        min_frequency: how often a word must occur.
        text_field: field or column that holds the text, in formats that have some.
        workers: processes; the result does not depend on them.

    Raises:
        DataError: text that cannot be read.
        UsageError: not a BERT, a setting out of range, or nothing to add.

    Example::

        done = bertsmith.extend_tokenizer("tiny-en", "my-text/", "my-larger-model", size=20)
        print(done.tokens_before, done.tokens_after)
    """
    from bertsmith.checkpoints.extend import extend_tokenizer as extend

    return extend(
        os.fspath(model),
        paths_of(inputs),
        out=Path(out),
        size=size,
        min_frequency=min_frequency,
        text_field=text_field,
        workers=workers,
    )
