"""Cuts documents into examples: sentence pairs by the rules of Google's data script.

The paper's section 3.1 and appendix A.2 define a pair; `create_pretraining_data.py` of
google-research/bert defines how to cut pairs from a document. All its rules hold here:

- sentences of a document are collected up to a target length or the end of the document;
- the target is the maximum length or, for a share of the documents, a random shorter one;
- a random number of the collected sentences becomes segment A;
- half of the time, and whenever only one sentence was collected, segment B comes from another
  document, starting at a random sentence, and the unused sentences are put back;
- a pair that is too long loses tokens of its longer segment, each from the front or the back.

All code works on token offsets, never on tokens, because both segments stay contiguous ranges. An
example depends only on its first sentence (its random numbers are a hash of key, document and
sentence). So the candidates of all sentences are computed at once, and the documents are then
walked from example to example.

Unlike Google's script, the other document is never the same one (the script gives up after ten
tries and may pair a document with itself), and there are two more pair tasks: sentence order
(`sop`) and none.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bertsmith.pretraining.config import PairTask
from bertsmith.pretraining.rng import Integers, Keys, below, draw, heads, uniform

EXAMPLE = np.dtype(
    [
        ("a_start", np.int64),  # first token of segment A, as an offset into the split
        ("a_length", np.int64),  # tokens, at least 1
        ("b_start", np.int64),
        ("b_length", np.int64),  # at least 1; 0 without a pair task
        ("label", np.int64),  # nsp: 1 if B is random; sop: 1 if swapped; otherwise 0
        ("key", np.uint64),  # random key of the example, for its masks
    ]
)
"""An example: five integers and its key."""

# Special tokens of [CLS] A [SEP] B [SEP], or of [CLS] A [SEP].
SPECIALS: dict[PairTask, int] = {"nsp": 3, "sop": 3, "none": 2}

# Counters in the random streams of a document and of a sentence.
_IS_SHORT, _SHORT_TARGET, _SENTENCES = range(3)
_A_END, _COIN, _OTHER_DOCUMENT, _OTHER_SENTENCE, _CUT_A, _CUT_B, _MASKS = range(7)


class Sentences(Protocol):
    """The documents and sentences of a split; none of them is empty."""

    @property
    def document_count(self) -> int:
        """Number of documents."""

    def sentence_ranges(self, documents: Integers) -> tuple[Integers, Integers]:
        """Indices of the first sentence of every document and of the one after its last."""

    def sentence_starts(self, sentences: Integers) -> Integers:
        """Token offset of each sentence; the index after the last one gives the end."""


def cut_examples(
    split: Sentences,
    documents: Integers,
    *,
    length: int,
    pair_task: PairTask,
    short_seq_prob: float,
    key: int,
) -> NDArray[np.void]:
    """All examples of some documents, in the order of the documents.

    Args:
        split: the split with the documents.
        documents: indices of the documents [D].
        length: maximum tokens per example, including special ones.
        pair_task: the pair task.
        short_seq_prob: share of the documents with a random shorter target length.
        key: random key of seed and epoch; the same key and document give the same examples.

    Returns:
        An array of `EXAMPLE`.
    """
    longest = length - SPECIALS[pair_task]
    document_keys = draw(key, documents)
    is_short = uniform(draw(document_keys, _IS_SHORT)) < short_seq_prob
    short_targets = 2 + below(draw(document_keys, _SHORT_TARGET), longest - 1)
    targets_D = np.where(is_short, short_targets, longest)

    # S sentences of all the documents, one document after the other.
    first_D, stop_D = split.sentence_ranges(documents)
    counts_D = stop_D - first_D
    last_D = np.cumsum(counts_D)  # where each document ends in S
    row_S = np.repeat(np.arange(len(documents)), counts_D)
    place_S = np.arange(len(row_S)) - (last_D - counts_D)[row_S]
    number_S = first_D[row_S] + place_S
    start_S = split.sentence_starts(number_S)
    ends_S = np.zeros(len(row_S) + 1, dtype=np.int64)  # tokens before each sentence, in S
    np.cumsum(split.sentence_starts(number_S + 1) - start_S, out=ends_S[1:])
    index_S = np.arange(len(row_S))
    stop_S = last_D[row_S]
    keys_S = draw(draw(document_keys, _SENTENCES)[row_S], place_S)
    wanted_S = ends_S[:-1] + targets_D[row_S]

    if pair_task == "none":
        # As many whole sentences as fit; only a single sentence that is too long is truncated.
        full_S = np.searchsorted(ends_S, wanted_S, side="right") - 1
        chosen = _walk(np.clip(full_S, index_S + 1, stop_S))
        end = np.clip(full_S[chosen], chosen + 1, stop_S[chosen])
        keys = keys_S[chosen]
        sizes = ends_S[end] - ends_S[chosen]
        excess = np.maximum(sizes - longest, 0)
        front = heads(draw(keys, _CUT_A), excess)
        nothing = np.zeros_like(sizes)
        return _table(start_S[chosen] + front, sizes - excess, nothing, nothing, nothing, keys)

    chunk_S = np.minimum(np.searchsorted(ends_S, wanted_S), stop_S)
    if pair_task == "sop":
        return _ordered(
            chunk_S, start_S, ends_S, stop_S, place_S=place_S, keys_S=keys_S, longest=longest
        )
    sentences_S = chunk_S - index_S
    a_end_S = index_S + 1 + below(draw(keys_S, _A_END), np.maximum(sentences_S - 1, 1))
    random_S = (sentences_S == 1) | (uniform(draw(keys_S, _COIN)) < 0.5)
    # With a random next, only A of the collected sentences is used; the rest is put back.
    chosen = _walk(np.where(random_S, a_end_S, chunk_S))
    keys, rows, is_random = keys_S[chosen], row_S[chosen], random_S[chosen]
    a_end = a_end_S[chosen]
    a_start, a_length = start_S[chosen], ends_S[a_end] - ends_S[chosen]
    b_start, b_length = a_start + a_length, ends_S[chunk_S[chosen]] - ends_S[a_end]
    b_start[is_random], b_length[is_random] = _from_others(
        split,
        documents[rows][is_random],
        np.maximum(targets_D[rows] - a_length, 1)[is_random],
        keys[is_random],
    )
    _truncate(a_start, a_length, b_start, b_length, longest=longest, keys=keys)
    return _table(a_start, a_length, b_start, b_length, is_random.astype(np.int64), keys)


def _walk(next_S: Integers) -> Integers:
    """Indices of the sentences at which examples start; `next_S` is where the next one starts.

    Documents are concatenated, so the end of one is the start of the next.
    """
    follow = next_S.tolist()
    end = len(follow)
    chosen = []
    place = 0
    while place < end:
        chosen.append(place)
        place = follow[place]
    return np.array(chosen, dtype=np.int64)


def _ordered(
    chunk_S: Integers,
    start_S: Integers,
    ends_S: Integers,
    stop_S: Integers,
    *,
    place_S: Integers,
    keys_S: Keys,
    longest: int,
) -> NDArray[np.void]:
    """Sentence-order pairs (Lan et al. 2020): two adjacent segments, half of them swapped.

    Both segments must come from one document, so a chunk has at least two sentences. A sentence
    left over at the end of a document is paired with the one before it. A document of a single
    sentence is cut at a random token; one of a single token gives no example.
    """
    index_S = np.arange(len(chunk_S))
    chunk_S = np.minimum(np.maximum(chunk_S, index_S + 2), stop_S)
    chosen = _walk(chunk_S)
    chunk, keys = chunk_S[chosen], keys_S[chosen]
    left_over = (chunk - chosen == 1) & (place_S[chosen] > 0)
    first = chosen - left_over
    sentences = chunk - first
    a_end = first + 1 + below(draw(keys, _A_END), np.maximum(sentences - 1, 1))
    whole = ends_S[chunk] - ends_S[first]
    a_length = ends_S[a_end] - ends_S[first]
    alone = sentences == 1
    a_length[alone] = 1 + below(draw(keys, _A_END), np.maximum(whole - 1, 1))[alone]
    a_start = start_S[first]
    b_start, b_length = a_start + a_length, whole - a_length

    swapped = uniform(draw(keys, _COIN)) < 0.5
    a_start, b_start = np.where(swapped, b_start, a_start), np.where(swapped, a_start, b_start)
    a_length, b_length = (
        np.where(swapped, b_length, a_length),
        np.where(swapped, a_length, b_length),
    )
    _truncate(a_start, a_length, b_start, b_length, longest=longest, keys=keys)
    table = _table(a_start, a_length, b_start, b_length, swapped.astype(np.int64), keys)
    pairs: NDArray[np.void] = table[whole > 1]
    return pairs


def _from_others(
    split: Sentences, documents: Integers, wanted: Integers, keys: Keys
) -> tuple[Integers, Integers]:
    """For each document, a segment of another one: `wanted` tokens from a random sentence on."""
    others = below(draw(keys, _OTHER_DOCUMENT), split.document_count - 1)
    others += others >= documents
    first, stop = split.sentence_ranges(others)
    start = first + below(draw(keys, _OTHER_SENTENCE), stop - first)
    tokens = split.sentence_starts(start)
    # The segment ends with the first sentence that reaches `wanted` tokens. Bisection: no sentence
    # is empty, so at most `wanted` sentences are needed.
    low, high = start + 1, np.minimum(start + wanted, stop)
    while np.any(low < high):
        middle = (low + high) // 2
        enough = split.sentence_starts(middle) - tokens >= wanted
        high = np.where(enough, middle, high)
        low = np.where(enough, low, np.minimum(middle + 1, high))
    return tokens, split.sentence_starts(low) - tokens


def _truncate(
    a_start: Integers,
    a_length: Integers,
    b_start: Integers,
    b_length: Integers,
    *,
    longest: int,
    keys: Keys,
) -> None:
    """Cuts pairs to `longest` tokens, in place.

    Google's script drops one token at a time from the longer segment (B if both are equal), from
    its front or back by a coin flip. The number of dropped tokens per segment has a closed form,
    and the number dropped from the front is a count of heads.
    """
    excess = np.maximum(a_length + b_length - longest, 0)
    difference = a_length - b_length
    alone = np.minimum(excess, np.abs(difference))  # until both are equally long
    shared = excess - alone
    a_cut = np.where(difference > 0, alone, 0) + shared // 2
    b_cut = excess - a_cut
    a_start += heads(draw(keys, _CUT_A), a_cut)
    b_start += heads(draw(keys, _CUT_B), b_cut)
    a_length -= a_cut
    b_length -= b_cut


def _table(
    a_start: Integers,
    a_length: Integers,
    b_start: Integers,
    b_length: Integers,
    label: Integers,
    keys: Keys,
) -> NDArray[np.void]:
    table = np.empty(len(keys), dtype=EXAMPLE)
    columns = (a_start, a_length, b_start, b_length, label, draw(keys, _MASKS))
    for name, column in zip(EXAMPLE.names or (), columns, strict=True):
        table[name] = column
    return table
