"""What a kind of vocabulary has to say for itself, and WordPiece, which is BERT's.

`Tokenizer` is built from one of these; all that differs between the kinds is here and in `bpe`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bertsmith.text.tokenizer.added_tokens import SPECIAL, UNK, Added, identity
from bertsmith.text.tokenizer.files import (
    Cleaning,
    Frame,
    check_vocab,
    tokenizer_json,
    write_folder,
)


class Pieces(Protocol):
    """A vocabulary, the cleaning rules that belong to it, and how its pieces make up words."""

    @property
    def vocab(self) -> tuple[str, ...]:
        """The pieces, in order of their ids."""
        ...

    @property
    def cleaning(self) -> Cleaning:
        """What is done to text first."""
        ...

    @property
    def added(self) -> tuple[Added, ...]:
        """The user's tokens beside the vocabulary, in order of their ids."""
        ...

    @property
    def unknown(self) -> str:
        """The piece that stands for what cannot be spelled."""
        ...

    @property
    def special(self) -> frozenset[str]:
        """The pieces that no text gives rise to, and the unknown one."""
        ...

    @property
    def identity(self) -> list[Any]:
        """What decides about ids, as JSON has it."""
        ...

    @property
    def bare(self) -> tuple[str, ...]:
        """The pieces without the marks that say where in a word they stand."""
        ...

    def library(self, *, recognise_special: bool) -> dict[str, Any]:
        """The contents of `tokenizer.json`; arguments as for `tokenizer_files.tokenizer_json`."""
        ...

    def write(self, folder: Path, *, model_max_length: int, frame: Frame) -> None:
        """Writes the files of a tokenizer's folder."""
        ...

    def word_starts(self, ids_T: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Whether each of the pieces of a row of whole texts begins a word; bool [T]."""
        ...

    def words(self, pieces: list[str]) -> list[str]:
        """The words that pieces make up, special ones on their own."""
        ...


@dataclass(frozen=True)
class WordPiece:
    """Pieces of which those that go on with a word begin with "##".

    Raises:
        FolderError: the vocabulary lacks a special token or holds a piece twice.
    """

    vocab: tuple[str, ...]
    cleaning: Cleaning
    unknown = UNK
    added: tuple[Added, ...] = ()

    def __post_init__(self) -> None:
        check_vocab(self.vocab, "the vocabulary")

    @property
    def identity(self) -> list[Any]:
        """As `Pieces.identity`."""
        rules = self.cleaning
        flags = [rules.lower_case, rules.strips_accents, rules.split_chinese]
        return [self.vocab, flags, *identity(self.added)]

    @cached_property
    def special(self) -> frozenset[str]:
        """As `Pieces.special`."""
        return frozenset({*SPECIAL, *(token.content for token in self.added if token.special)})

    @cached_property
    def _whole(self) -> frozenset[str]:
        """Pieces that are words, whatever they are called."""
        return self.special | {token.content for token in self.added}

    @cached_property
    def bare(self) -> tuple[str, ...]:
        """As `Pieces.bare`."""
        return tuple(piece[2:] if _goes_on(piece) else piece for piece in self.vocab)

    def library(self, *, recognise_special: bool) -> dict[str, Any]:
        """As `Pieces.library`."""
        return tokenizer_json(
            self.vocab,
            self.cleaning,
            recognise_special=recognise_special,
            added_tokens=self.added,
        )

    def write(self, folder: Path, *, model_max_length: int, frame: Frame) -> None:
        """`vocab.txt`, `tokenizer.json` and `tokenizer_config.json`."""
        write_folder(
            folder,
            self.vocab,
            self.cleaning,
            model_max_length=model_max_length,
            frame=frame,
            added_tokens=self.added,
        )

    @cached_property
    def continuation_V(self) -> npt.NDArray[np.bool_]:
        """Whether each piece goes on with a word; bool [V]."""
        return np.array([_goes_on(piece) and piece not in self._whole for piece in self.vocab])

    def word_starts(self, ids_T: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """As `Pieces.word_starts`; each piece says it itself."""
        starts_T: npt.NDArray[np.bool_] = ~self.continuation_V[ids_T]
        return starts_T

    def words(self, pieces: list[str]) -> list[str]:
        """As `Pieces.words`."""
        words: list[str] = []
        for piece in pieces:
            after_word = bool(words) and words[-1] not in self._whole
            if _goes_on(piece) and piece not in self._whole and after_word:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        return words


def _goes_on(piece: str) -> bool:
    return piece.startswith("##") and len(piece) > 2
