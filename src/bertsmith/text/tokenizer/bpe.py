"""GPT's byte pairs: pieces of which those that end a word end with "</w>" (Radford et al. 2018).

Words are cleaned and cut as BERT's are, then spelled in characters, and the merges are applied in
the order in which they were learned (Sennrich et al. 2016). The pairs are of characters, in spite
of their name: one that the vocabulary lacks is unknown. Chinese goes the same way; as every
ideograph is a word of its own there, nothing is merged and its pieces are single characters.

OpenAI's vocabulary has no special token but `<unk>`; its fine-tuning puts start, delimiter and
extract, freshly drawn, behind the 40,478 pieces. `with_special` does that here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertsmith.text.tokenizer import bpe_files
from bertsmith.text.tokenizer.added_tokens import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL,
    Added,
    identity,
    outside,
)
from bertsmith.text.tokenizer.bpe_files import END, Merges
from bertsmith.text.tokenizer.files import Cleaning, Frame

ADDED = (PAD, CLS, SEP, MASK)
"""Special tokens that fine-tuning needs and OpenAI's vocabulary lacks."""


@dataclass(frozen=True)
class BytePairs:
    """A vocabulary of byte pairs and its merges.

    Raises:
        FolderError: there is no unknown piece, a piece is there twice, or a merge is of or makes a
            piece that is not there.
    """

    vocab: tuple[str, ...]
    cleaning: Cleaning
    merges: Merges
    added: tuple[Added, ...] = ()

    def __post_init__(self) -> None:
        bpe_files.check_vocab(self.vocab, "the vocabulary")
        bpe_files.check_merges(self.own, self.merges, "the merges, number")

    @property
    def own(self) -> tuple[str, ...]:
        """The model's own pieces."""
        return self.vocab[: len(self.vocab) - len(outside(self.added))]

    @cached_property
    def unknown(self) -> str:
        """OpenAI's where it is there, as `[UNK]` is in the vocabularies that are trained here."""
        return bpe_files.unknown_of(self.vocab)

    @cached_property
    def special(self) -> frozenset[str]:
        """As `Pieces.special`."""
        theirs = {token.content for token in self.added if token.special}
        return frozenset(({*SPECIAL, self.unknown} | theirs) & set(self.vocab))

    @cached_property
    def _whole(self) -> frozenset[str]:
        """Pieces that are words, whatever they are called."""
        return self.special | {token.content for token in self.added}

    @property
    def identity(self) -> list[Any]:
        """As `Pieces.identity`."""
        rules = self.cleaning
        flags = [rules.lower_case, rules.strips_accents, rules.split_chinese]
        return [self.vocab, flags, self.merges, *identity(self.added)]

    @cached_property
    def bare(self) -> tuple[str, ...]:
        """As `Pieces.bare`."""
        return tuple(piece.removesuffix(END) or piece for piece in self.vocab)

    def library(self, *, recognise_special: bool) -> dict[str, Any]:
        """As `Pieces.library`."""
        return self._library(recognise_special=recognise_special, frame="text")

    def _library(self, *, recognise_special: bool, frame: Frame) -> dict[str, Any]:
        return bpe_files.tokenizer_json(
            self.vocab,
            self.cleaning,
            self.merges,
            special=self.special & {*SPECIAL, self.unknown} if recognise_special else (),
            frame=frame,
            added_tokens=self.added,
        )

    def write(self, folder: Path, *, model_max_length: int, frame: Frame) -> None:
        """`vocab.json`, `merges.txt`, `tokenizer.json` and `tokenizer_config.json`."""
        bpe_files.write_folder(
            folder,
            self.own,
            self.cleaning,
            self.merges,
            whole=self._library(recognise_special=True, frame=frame),
            model_max_length=model_max_length,
            frame=frame,
        )

    @cached_property
    def _ends_V(self) -> npt.NDArray[np.bool_]:
        return np.array([piece.endswith(END) or piece in self._whole for piece in self.vocab])

    @cached_property
    def _added_V(self) -> npt.NDArray[np.bool_]:
        tokens = {token.content for token in self.added}
        return np.array([piece in tokens for piece in self.vocab])

    def word_starts(self, ids_T: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """As `Pieces.word_starts`: where the piece before ends a word, as every text's last does.

        An unknown character counts as the end of one; that it was not cannot be known from ids.
        """
        starts_T = np.ones(len(ids_T), dtype=np.bool_)
        starts_T[1:] = self._ends_V[ids_T[:-1]] | self._added_V[ids_T[1:]]
        return starts_T

    def words(self, pieces: list[str]) -> list[str]:
        """As `Pieces.words`."""
        words: list[str] = []
        goes_on = False
        for piece in pieces:
            if piece in self._whole:
                words.append(piece)
                goes_on = False
                continue
            text = piece.removesuffix(END) or piece
            if goes_on:
                words[-1] += text
            else:
                words.append(text)
            goes_on = not piece.endswith(END)
        return words


def with_special(vocab: Sequence[str]) -> tuple[str, ...]:
    """The vocabulary with what it lacks of `ADDED` in the end."""
    return (*vocab, *(piece for piece in ADDED if piece not in vocab))
