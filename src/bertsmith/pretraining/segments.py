"""Which tokens make an example: sentence pairs by the rules of Google's data script.

The paper's section 3.1 and appendix A.2 say what a pair is; `create_pretraining_data.py` of
google-research/bert says how one is cut from a document, and every rule of it holds here:

- a document's sentences are collected until a target length or the document's end;
- the target is the longest possible one, or, for a share of the documents, a random shorter one;
- a random number of the collected sentences becomes segment A;
- half of the time (and whenever only one sentence was collected) segment B comes from another
  document, from a random sentence on, and the sentences not used are put back;
- a pair that is too long loses tokens of its longer segment, each from the front or the back.

Everything here works on token offsets, never on tokens: both segments stay contiguous ranges.
What an example is follows from its first sentence alone (its draws are a hash of key, document and
sentence), so the candidates of all sentences are computed at once and the documents then walked
from example to example.

Two things differ from Google's script: the other document is drawn among the other documents only
(Google's gives up after ten tries and may pair a document with itself), and sentence order (`sop`)
and no pair (`none`) are offered besides.
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
        ("label", np.int64),  # nsp: 1 if B is random; sop: 1 if swapped; else 0
        ("key", np.uint64),  # names the example; its masks are drawn from it
    ]
)
"""An example: five integers and its key."""

# Tokens that are not text: [CLS] A [SEP] B [SEP], or [CLS] A [SEP].
SPECIALS: dict[PairTask, int] = {"nsp": 3, "sop": 3, "none": 2}

# Places in a document's and in a sentence's stream of draws.
_IS_SHORT, _SHORT_TARGET, _SENTENCES = range(3)
_A_END, _COIN, _OTHER_DOCUMENT, _OTHER_SENTENCE, _CUT_A, _CUT_B, _MASKS = range(7)


class Sentences(Protocol):
    """What a split must tell about its documents and sentences; none of them is empty."""

    @property
    def document_count(self) -> int:
        """Documents of the split."""

    def sentence_ranges(self, documents: Integers) -> tuple[Integers, Integers]:
        """The first sentence of every document and the one after its last, by number."""

    def sentence_starts(self, sentences: Integers) -> Integers:
        """Token offset at which each sentence starts; the one after the last starts at the end."""


def cut_examples(
    split: Sentences,
    documents: Integers,
    *,
    length: int,
    pair_task: PairTask,
    short_seq_prob: float,
    key: int,
) -> NDArray[np.void]:
    """All examples of some documents, in the documents' order.

    Args:
        split: where the documents are.
        documents: their numbers [D].
        length: longest example in tokens, specials counted.
        pair_task: what segment B is.
        short_seq_prob: part of the documents that get a random shorter target length.
        key: names seed and epoch; the same key and document give the same examples.

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
        # Whole sentences as long as they fit: there is no pair to balance, so nothing is cut off
        # but what one long sentence has too much.
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
    # A random next uses only A of what was collected; the rest is put back.
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
    """The sentences at which examples start: 0, then wherever each example says to go on.

    Documents lie end to end, so the end of one is the start of the next.
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
    """Sentence-order pairs (Lan et al. 2020): two neighbouring segments, half of them swapped.

    Both segments must come from one document. So a chunk has two sentences at least; one left over
    at a document's end goes with the sentence before it, and a document that is one sentence is
    cut at a random token (one of a single token makes no example).
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
    """For each document a segment of another one: from a random sentence on, `wanted` tokens."""
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
    its front or its back by the flip of a coin. How many each segment loses has a closed form, and
    how many of those come from the front is a count of heads.
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
