"""The job: a pre-trained model and minimal pairs to how often it prefers the grammatical sentence.

Chance is a half; a tie is wrong. The score of a sentence is

- BERT: the pseudo-log-likelihood in which the rest of a word is hidden with each of its pieces
  (PLL-word-l2r, Kauf and Ivanova 2023; `token_scores.Hiding`),
- GPT, and a left-to-right BERT: its log-likelihood,
- ELMo: the sum of the log-likelihoods of its two directions, which is what it was trained on
  (Peters et al. 2018, section 3.1).

A score is of the whole sentence, not by token, as BLiMP's own.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bertsmith.core.errors import DataError, FolderError, UsageError, option
from bertsmith.core.runtime import Precision, World
from bertsmith.inference.pair_scores import (
    AGREEMENT,
    CHANCE,
    MinimalPairsResult,
    ParadigmScore,
    mean_interval,
    mean_score,
)
from bertsmith.inference.predictor import Model
from bertsmith.inference.token_scores import Integers, Sentences, token_scores, work
from bertsmith.models.config import Objective
from bertsmith.models.family import Pretrained
from bertsmith.tasks.datasets import minimal_pairs as pair_files
from bertsmith.tasks.datasets.minimal_pairs import BAD, GOOD, Pair
from bertsmith.text.tokenizer import encode
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.parallel.place import Place
from bertsmith.training.parallel.precision import choose_precision

MEASURES: dict[Objective, str] = {
    "masked": "pseudo-log-likelihood, the rest of a word hidden too (PLL-word-l2r)",
    "forward": "log-likelihood from the left",
    "both": "log-likelihood, the sum of both directions",
}

# Pairs that are tokenised at once.
_PAIRS = 4096


def minimal_pairs(
    predictor: Model,
    data: Path | str,
    *,
    limit: int | None = None,
    precision: Precision = "fp32",
    progress: Callable[[int, int], object] | None = None,
) -> MinimalPairsResult:
    """How often a model prefers the grammatical sentence, by paradigm.

    All files are read and checked before anything is computed. Memory holds the pieces of each
    distinct sentence, some 200 bytes a pair, and one batch.

    Args:
        predictor: of a pre-trained model; computed on the GPU, if there is one.
        data: a `.jsonl` file or a folder of them; see `tasks.datasets.minimal_pairs`.
        limit: take the first so many pairs of each paradigm. Not a draw, because every model then
            sees the same pairs; those of BLiMP come in random order.
        precision: bf16 takes half the time where the hardware has it and moves a sentence's score
            by some hundredths of a nat, so that pairs of nearly equal scores may turn.
        progress: told the tokens done and their number.

    Raises:
        UsageError: the model is not pre-trained, `limit` is below 1, or bf16 is asked of hardware
            without it.
        DataError: as `datasets.minimal_pairs.read`, or a sentence has more tokens than the model
            has positions.
        FolderError: the model's scores are not finite numbers.
    """
    model = predictor.pretrained("score minimal pairs")
    if limit is not None and limit < 1:
        raise UsageError(f"{option('limit')} is {limit}; it must be at least 1.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = Place(World(), device, choose_precision(precision, device))
    max_length = model.config.max_position_embeddings
    read = read_pairs(data, limit, predictor.tokenizer, max_length=max_length)
    totals_S = totals(model, predictor.tokenizer, read.sentences(), place, progress)
    scored = _scored(read, totals_S)
    phenomena = list(dict.fromkeys(one.phenomenon for one in scored if one.phenomenon))
    agreement = [one for one in scored if one.phenomenon in AGREEMENT]
    return MinimalPairsResult(
        model=predictor.name,
        data=str(data),
        measure=MEASURES[model.objective],
        precision=place.precision,
        limit=limit,
        fingerprint=read.fingerprint,
        chance=CHANCE,
        overall=mean_score("all", scored),
        agreement=mean_score("agreement", agreement) if agreement else None,
        phenomena=[
            mean_score(name, [one for one in scored if one.phenomenon == name])
            for name in phenomena
        ],
        paradigms=sorted(scored, key=lambda one: [*phenomena, ""].index(one.phenomenon)),
    )


def read_pairs(
    data: Path | str, limit: int | None, tokenizer: Tokenizer, *, max_length: int
) -> "PairsInPieces":
    """All pairs that are scored, read, checked and in pieces.

    Args:
        data: a `.jsonl` file or a folder of them.
        limit: the first so many pairs of each paradigm; None: all.
        tokenizer: of the model.
        max_length: tokens that it reads.

    Raises:
        DataError, UsageError: as `datasets.minimal_pairs.read`, or a sentence is empty or too long.
    """
    return _in_pieces(_first(pair_files.read(data), limit), tokenizer, max_length=max_length)


def _scored(read: "PairsInPieces", totals_S: NDArray[np.float64]) -> list[ParadigmScore]:
    good_M, bad_M = totals_S[np.array(read.good)], totals_S[np.array(read.bad)]
    scored = []
    for (phenomenon, name), number in read.paradigms.items():
        here_M = np.array(read.paradigm) == number
        pairs = int(here_M.sum())
        right = int((good_M > bad_M)[here_M].sum())
        scored.append(
            ParadigmScore(
                name=name,
                phenomenon=phenomenon,
                pairs=pairs,
                right=right,
                ties=int((good_M == bad_M)[here_M].sum()),
                score=right / pairs,
                interval=mean_interval([(right, pairs)]),
            )
        )
    return scored


@dataclass
class PairsInPieces:
    """Pairs in pieces; a sentence that occurs again is the same one."""

    numbers: dict[bytes, int] = field(default_factory=dict)
    """The ids of each distinct sentence, framed (int32) -> its number."""
    good: list[int] = field(default_factory=list)
    """By pair: number of the sentence."""
    bad: list[int] = field(default_factory=list)
    paradigm: list[int] = field(default_factory=list)
    """By pair: number of the paradigm."""
    paradigms: dict[tuple[str, str], int] = field(default_factory=dict)
    """(phenomenon, paradigm) -> its number."""

    @property
    def fingerprint(self) -> str:
        """Tells other pairs, or the same ones in another order, apart."""
        content = hashlib.blake2b(b"\n".join(self.numbers), digest_size=16)
        content.update(repr((self.good, self.bad, self.paradigm, list(self.paradigms))).encode())
        return content.hexdigest()

    def sentences(self) -> Sentences:
        """All sentences by their numbers."""
        ids_T = np.frombuffer(b"".join(self.numbers), dtype=np.int32).astype(np.int64)
        sizes_S = np.fromiter(map(len, self.numbers), np.int64, len(self.numbers))
        return Sentences(ids_T, sizes_S // np.dtype(np.int32).itemsize)


def _in_pieces(pairs: Iterator[Pair], tokenizer: Tokenizer, *, max_length: int) -> PairsInPieces:
    read = PairsInPieces()
    while some := list(islice(pairs, _PAIRS)):
        ids_T, lengths_S = _framed(
            tokenizer, [text for one in some for text in (one.good, one.bad)]
        )
        numbers = []
        for place, (end, length) in enumerate(zip(np.cumsum(lengths_S), lengths_S, strict=True)):
            _check_length(
                some[place // 2], place % 2, int(length), tokenizer, max_length=max_length
            )
            key = ids_T[end - length : end].tobytes()
            numbers.append(read.numbers.setdefault(key, len(read.numbers)))
        read.good.extend(numbers[::2])
        read.bad.extend(numbers[1::2])
        for pair in some:
            paradigm = pair.phenomenon, pair.paradigm
            read.paradigm.append(read.paradigms.setdefault(paradigm, len(read.paradigms)))
    return read


def _first(pairs: Iterator[Pair], limit: int | None) -> Iterator[Pair]:
    """The first `limit` pairs of each paradigm; the others are only read and checked."""
    taken = Counter[tuple[str, str]]()
    for pair in pairs:
        taken[pair.phenomenon, pair.paradigm] += 1
        if limit is None or taken[pair.phenomenon, pair.paradigm] <= limit:
            yield pair


def _framed(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[NDArray[np.int32], Integers]:
    """Texts with what begins and ends them, laid end to end [T], and their lengths [S]."""
    ids_T, lengths_S = tokenizer.encode_flat(texts)
    if tokenizer.has_special:
        cls_id, sep_id = tokenizer.cls_id, tokenizer.sep_id
        framed_T, _, lengths_S = encode.join_flat(
            ids_T, lengths_S, None, None, cls_id=cls_id, sep_id=sep_id
        )
        return framed_T.astype(np.int32), lengths_S
    return ids_T.astype(np.int32), lengths_S


def _check_length(
    pair: Pair, which: int, length: int, tokenizer: Tokenizer, *, max_length: int
) -> None:
    special = len(tokenizer.start_ids) + len(tokenizer.end_ids)
    if max(special + 1, 2) <= length <= max_length:
        return
    where = f"{pair.where}: the sentence in '{(GOOD, BAD)[which]}'"
    if length > max_length:
        raise DataError(
            f"{where} has {length:,} tokens, its beginning and end counted, and this model reads "
            f"{max_length:,}. Shorten it or remove the line."
        )
    if length > special:
        raise DataError(
            f"{where} is a single token, and the vocabulary has no [CLS] that would predict it. "
            "Remove the line."
        )
    raise DataError(f"{where} is empty: no character of it is text. Add it or remove the line.")


def totals(
    model: Pretrained,
    tokenizer: Tokenizer,
    sentences: Sentences,
    place: Place,
    progress: Callable[[int, int], object] | None = None,
) -> NDArray[np.float64]:
    """The score of each sentence in nats, float64 [S]: all its tokens' log-probabilities, summed.

    Raises:
        FolderError: one is not a finite number.
    """
    totals_S = np.zeros(len(sentences.lengths_S))
    sentence_T = np.repeat(np.arange(len(totals_S)), sentences.lengths_S)
    done, whole = 0, work(model, sentences)
    model.to(place.device)
    with place.autocast():
        for tokens, sides in token_scores(model, tokenizer, sentences, hiding="rest of word"):
            for places_R, nats_R in sides.values():
                np.add.at(totals_S, sentence_T[places_R], nats_R.numpy())
            done += tokens
            if progress is not None:
                progress(done, whole)
    model.to("cpu")  # Where the predictor's other methods compute.
    if not np.isfinite(totals_S).all():
        raise FolderError(
            "The model's scores are not finite numbers: its weights are damaged or diverged. "
            "Restore them from a good copy, or train again with a lower learning rate."
        )
    return totals_S
