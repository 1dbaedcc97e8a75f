"""Trains a WordPiece vocabulary: count words, then merge the most frequent pair of pieces, repeat.

The merges are byte-pair encoding's (Sennrich et al. 2016, algorithm 1) with "##" on pieces that
continue a word, which is how the published trainers of BERT vocabularies work. The result is a
pure function of the word counts: ties are broken by the pieces' text, so neither the hash seed nor
the order of files nor the number of workers can change a byte.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable

from bertsmith.errors import DataError, UsageError
from bertsmith.text.tokenizer_files import LONGEST_WORD, SPECIAL, Cleaning
from bertsmith.text.words import Progress as Progress
from bertsmith.text.words import count_words as count_words

# A vocabulary keeps the commonest characters that make up all but one in this many of the text;
# a word with a rarer one becomes [UNK]. An English encyclopedia quotes thousands of foreign
# characters that would otherwise fill a small vocabulary; a Chinese text needs its thousands.
_RARE_SHARE = 20_000
ALPHABET_LIMIT = 12_000

# A piece's number is the code of a character while merging (see `_Merger`).
_MOST_PIECES = 1_000_000


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


def shortfall(vocab: list[str], *, size: int) -> str | None:
    """What to tell the user when a vocabulary came out smaller than asked, or None."""
    if len(vocab) >= size:
        return None
    return (
        f"The text gave {len(vocab):,} pieces of the {size:,} asked for: no other pair occurs "
        "often enough; give more text for a larger vocabulary."
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
    if min_frequency < 1 or alphabet_limit < 1:
        raise UsageError("The smallest pair frequency and the alphabet limit must be at least 1.")
    words = Counter({word: n for word, n in words.items() if len(word) <= LONGEST_WORD})
    kept = _kept_characters(words, alphabet_limit)
    alphabet, inner = _alphabet(words, kept)
    if not alphabet:
        raise DataError("The text holds no words to train a vocabulary on; give text.")
    smallest = len(SPECIAL) + len(alphabet)
    if size > _MOST_PIECES:
        raise UsageError(f"A vocabulary of {size} pieces is too large; at most {_MOST_PIECES}.")
    if size < smallest:
        raise UsageError(
            f"A vocabulary of {size} pieces is too small for this text: its alphabet and the "
            f"special tokens alone take {smallest}; ask for at least {smallest}."
        )
    pieces = _Merger(alphabet, inner, words).run(
        size - len(SPECIAL), min_frequency=min_frequency, progress=progress
    )
    return [*SPECIAL, *pieces]


def _kept_characters(words: Counter[str], limit: int) -> set[str]:
    counts: Counter[str] = Counter()
    for word, n in words.items():
        for character in word:
            counts[character] += n
    expendable = counts.total() // _RARE_SHARE
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    while ordered and ordered[-1][1] <= expendable:
        expendable -= ordered.pop()[1]
    return {character for character, _ in ordered[:limit]}


def _alphabet(words: Counter[str], kept: set[str]) -> tuple[list[str], list[str]]:
    """Pieces of one character, and those among them that continue words ("##" and a character).

    A character that was seen in a longer word gets both forms, so that new words can begin or go
    on with it; one that always stands alone (punctuation, Chinese) needs the plain form only.
    """
    plain: set[str] = set()
    within: set[str] = set()
    for word in words:
        if kept.issuperset(word):
            plain.update(word)
            if len(word) > 1:
                within.update(word)
    inner = [f"##{character}" for character in sorted(within)]
    return sorted(plain) + inner, inner


class _Merger:
    """Words as strings whose characters are piece numbers, so that a merge is a slice.

    Pairs are strings of two such characters. Three tables are kept up to date by each merge: how
    often each pair occurs, in which words it may occur (never too few, sometimes too many), and a
    heap of pairs by frequency in which an entry that is no longer true is corrected when met.
    """

    def __init__(self, alphabet: list[str], inner: list[str], words: Counter[str]) -> None:
        self.pieces = list(alphabet)
        self.code_of = {piece: chr(code) for code, piece in enumerate(alphabet)}
        first = {piece: code for piece, code in self.code_of.items() if not piece.startswith("##")}
        rest = {piece[2:]: self.code_of[piece] for piece in inner}
        self.words: list[str] = []
        self.counts: list[int] = []
        for word, n in words.items():
            if len(word) > 1 and all(map(rest.__contains__, word)):
                self.words.append(first[word[0]] + "".join(map(rest.__getitem__, word[1:])))
                self.counts.append(n)
        self.frequency: dict[str, int] = defaultdict(int)
        self.places: dict[str, list[int]] = defaultdict(list)
        for index, (codes, n) in enumerate(zip(self.words, self.counts, strict=True)):
            for i in range(len(codes) - 1):
                pair = codes[i : i + 2]
                self.frequency[pair] += n
                self.places[pair].append(index)

    def run(self, size: int, *, min_frequency: int, progress: Progress | None) -> list[str]:
        """Merges until there are `size` pieces or no pair is frequent enough."""
        heap = [self._entry(pair) for pair, n in self.frequency.items() if n >= min_frequency]
        heapq.heapify(heap)
        while heap and len(self.pieces) < size:
            negative, _, _, pair = heapq.heappop(heap)
            now = self.frequency.get(pair, 0)
            if now != -negative:
                # Counts only sink without a push, so the true entry belongs further down.
                if now >= min_frequency:
                    heapq.heappush(heap, self._entry(pair))
                continue
            before = len(self.pieces)
            for changed in self._merge(pair):
                if self.frequency[changed] >= min_frequency:
                    heapq.heappush(heap, self._entry(changed))
            if progress is not None and len(self.pieces) != before and before % 500 == 0:
                progress("merge", before + len(SPECIAL), size + len(SPECIAL))
        if progress is not None:
            progress("merge", len(self.pieces) + len(SPECIAL), size + len(SPECIAL))
        return self.pieces

    def _entry(self, pair: str) -> tuple[int, str, str, str]:
        left, right = self.pieces[ord(pair[0])], self.pieces[ord(pair[1])]
        return -self.frequency[pair], left, right, pair

    def _merge(self, pair: str) -> set[str]:
        """Replaces `pair` in all words; returns the pairs that now occur more often."""
        new = self._code(pair)
        words, counts, frequency, places = self.words, self.counts, self.frequency, self.places
        left, right = pair[0], pair[1]
        risen: set[str] = set()
        for index in places.pop(pair):
            codes = words[index]
            at = codes.find(pair)
            if at < 0:
                continue
            n = counts[index]
            if codes.find(pair, at + 1) >= 0:
                merged = codes.replace(pair, new)
                for i in range(len(codes) - 1):
                    frequency[codes[i : i + 2]] -= n
                for i in range(len(merged) - 1):
                    changed = merged[i : i + 2]
                    frequency[changed] += n
                    if new in changed:
                        places[changed].append(index)
                        risen.add(changed)
                words[index] = merged
                continue
            head, tail = codes[:at], codes[at + 2 :]
            if head:
                neighbour = head[-1]
                frequency[neighbour + left] -= n
                changed = neighbour + new
                frequency[changed] += n
                places[changed].append(index)
                risen.add(changed)
            if tail:
                neighbour = tail[0]
                frequency[right + neighbour] -= n
                changed = new + neighbour
                frequency[changed] += n
                places[changed].append(index)
                risen.add(changed)
            words[index] = head + new + tail
            frequency[pair] -= n
        if frequency[pair] == 0:
            del frequency[pair]
        return risen

    def _code(self, pair: str) -> str:
        """The merged piece's number; two pairs may spell one piece ("ab"+"##c", "a"+"##bc")."""
        left, right = self.pieces[ord(pair[0])], self.pieces[ord(pair[1])]
        piece = left + right[2:]
        code = self.code_of.get(piece)
        if code is None:
            code = self.code_of[piece] = chr(len(self.pieces))
            self.pieces.append(piece)
        return code
