"""Trains a WordPiece vocabulary on any stream of texts: count words, then merge pairs of pieces.

The merging is that of `merging`, as the published trainers of BERT vocabularies do it.
"""

from collections import Counter
from collections.abc import Iterable

from bertsmith.text.tokenizer import trainer
from bertsmith.text.tokenizer.files import Cleaning
from bertsmith.text.tokenizer.trainer import ALPHABET_LIMIT
from bertsmith.text.tokenizer.words import Progress, count_words


def train(
    texts: Iterable[str],
    *,
    size: int,
    lower_case: bool = True,
    strip_accents: bool | None = None,
    min_frequency: int = 2,
    alphabet_limit: int = ALPHABET_LIMIT,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[str]:
    """Trains a vocabulary on any stream of texts; memory grows with the distinct words only.

    Args:
        texts: documents, paragraphs or lines; read once.
        size: how many pieces, the five special tokens included.
        lower_case: whether text is lower-cased first.
        strip_accents: whether accents are dropped; None follows `lower_case`.
        min_frequency: a pair that occurs less often is not merged.
        alphabet_limit: most characters to keep, the commonest first.
        workers: processes that count words.
        progress: told how far the work is.

    Returns:
        Special tokens (ids 0 to 4), the alphabet in order of code points, then pieces in the order
        of their making. Shorter than `size` when the text has no more pairs that occur
        `min_frequency` times; see `shortfall`.

    Raises:
        UsageError: `size` is smaller than the alphabet; the message says the smallest possible.
        DataError: the texts hold no words at all.
        SystemFault: a worker was killed.
    """
    cleaning = Cleaning(lower_case=lower_case, strip_accents=strip_accents)
    words = count_words(texts, cleaning, workers=workers, progress=progress)
    return merge(
        words,
        size=size,
        min_frequency=min_frequency,
        alphabet_limit=alphabet_limit,
        progress=progress,
    )


def merge(
    words: Counter[str],
    *,
    size: int,
    min_frequency: int = 2,
    alphabet_limit: int = ALPHABET_LIMIT,
    progress: Progress | None = None,
) -> list[str]:
    """Makes a vocabulary from word counts; arguments, result and errors as for `train`."""
    return trainer.merge(
        words,
        "wordpiece",
        size=size,
        min_frequency=min_frequency,
        alphabet_limit=alphabet_limit,
        progress=progress,
    ).vocab


def shortfall(vocab: list[str], *, size: int) -> str | None:
    """What to tell the user when a vocabulary came out smaller than asked, or None."""
    if len(vocab) >= size:
        return None
    return (
        f"The vocabulary has {len(vocab):,} pieces instead of {size:,}: no other pair occurs "
        "often enough. Give more text for a larger vocabulary."
    )
