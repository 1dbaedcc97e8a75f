"""Makes a vocabulary from word counts: merge the most frequent pair of pieces, and again.

Byte-pair encoding (Sennrich et al. 2016, algorithm 1); the published trainers of BERT vocabularies
work so, too. WordPiece marks pieces that go on with a word by "##", GPT's byte pairs those that end
one by "</w>"; all that this makes different is in `MARKS`. The result is a pure function of the
word counts: ties are broken by the pieces' text, so neither the hash seed nor the order of files
nor the number of workers can change a byte.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from operator import add
from typing import Literal, NamedTuple

from bertsmith.core.errors import DataError, UsageError
from bertsmith.text.tokenizer.bpe_files import END
from bertsmith.text.tokenizer.files import LONGEST_WORD, SPECIAL
from bertsmith.text.tokenizer.words import Progress

# A vocabulary keeps the commonest characters that make up all but one in this many of the text;
# a word with a rarer one is unknown. An English encyclopedia quotes thousands of foreign
# characters that would otherwise fill a small vocabulary; a Chinese text needs its thousands.
_RARE_SHARE = 20_000
ALPHABET_LIMIT = 12_000

# A piece's number is the code of a character while merging (see `_Merger`).
MOST_PIECES = 1_000_000


Kind = Literal["wordpiece", "bpe"]
"""Of pieces: BERT's, or GPT's byte pairs."""


class Marks(NamedTuple):
    """How pieces show where in a word they stand: each is plain, or bears a mark."""

    mark: Callable[[str], str]
    """A character with the mark."""
    alone: bool
    """Whether the piece of a word of one character bears the mark."""
    spell: Callable[[str, dict[str, str], dict[str, str]], str]
    """A word of two characters or more, by what stands for each plain and each marked one."""
    join: Callable[[str, str], str]
    """The piece that two neighbours make."""


def _spell_wordpiece(word: str, plain: dict[str, str], marked: dict[str, str]) -> str:
    return plain[word[0]] + "".join(map(marked.__getitem__, word[1:]))


def _spell_bpe(word: str, plain: dict[str, str], marked: dict[str, str]) -> str:
    return "".join(map(plain.__getitem__, word[:-1])) + marked[word[-1]]


MARKS: dict[Kind, Marks] = {
    "wordpiece": Marks(
        mark="##{}".format,
        alone=False,
        spell=_spell_wordpiece,
        join=lambda left, right: left + right[2:],
    ),
    "bpe": Marks(mark=f"{{}}{END}".format, alone=True, spell=_spell_bpe, join=add),
}


class Merged(NamedTuple):
    """A vocabulary and how it was made."""

    vocab: list[str]
    """Special tokens (ids 0 to 4), the alphabet (plain, then marked, each in order of code points),
    then pieces in the order of their making."""
    merges: list[tuple[str, str]]
    """The pairs in the order of their merging, none of them twice."""


def merge(
    words: Counter[str],
    kind: Kind,
    *,
    size: int,
    min_frequency: int = 2,
    alphabet_limit: int = ALPHABET_LIMIT,
    progress: Progress | None = None,
) -> Merged:
    """Merges until there are `size` pieces, or no more pairs that are frequent enough.

    Args:
        words: how often each word occurs.
        kind: of pieces.
        size: how many pieces, the five special tokens included.
        min_frequency: a pair that occurs less often is not merged.
        alphabet_limit: most characters to keep, the commonest first.
        progress: told how far the work is.

    Raises:
        UsageError: `size` is smaller than the alphabet; the message says the smallest possible.
        DataError: there are no words.
    """
    if min_frequency < 1 or alphabet_limit < 1:
        raise UsageError("The smallest pair frequency and the alphabet limit must be at least 1.")
    marks = MARKS[kind]
    words = Counter({word: n for word, n in words.items() if len(word) <= LONGEST_WORD})
    kept = _kept_characters(words, alphabet_limit)
    words = Counter({word: n for word, n in words.items() if kept.issuperset(word)})
    everything = sorted(set().union(*words))
    # A character that was seen in a longer word gets both forms, so that new words can begin, go on
    # and end with it; one that always stands alone (punctuation, Chinese) needs one form only.
    within = sorted(set().union(*(word for word in words if len(word) > 1)))
    plain, marked = (within, everything) if marks.alone else (everything, within)
    alphabet = [*plain, *map(marks.mark, marked)]
    if not alphabet:
        raise DataError("The text contains no words to train a vocabulary on; give more text.")
    smallest = len(SPECIAL) + len(alphabet)
    if size > MOST_PIECES:
        raise UsageError(f"A vocabulary of {size} pieces is too large; use at most {MOST_PIECES}.")
    if size < smallest:
        raise UsageError(
            f"A vocabulary of {size} pieces is too small for this text: its alphabet and the "
            f"special tokens take {smallest}; use at least {smallest}."
        )
    codes = list(map(chr, range(len(alphabet))))
    code_of_plain = dict(zip(plain, codes, strict=False))
    code_of_marked = dict(zip(marked, codes[len(plain) :], strict=True))
    spelled = (
        (marks.spell(word, code_of_plain, code_of_marked), n)
        for word, n in words.items()
        if len(word) > 1
    )
    merger = _Merger(alphabet, spelled, marks.join)
    merger.run(size - len(SPECIAL), min_frequency=min_frequency, progress=progress)
    return Merged([*SPECIAL, *merger.pieces], merger.merges)


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


class _Merger:
    """Words as strings whose characters are piece numbers, so that a merge is a slice.

    Pairs are strings of two such characters. Three tables are kept up to date by each merge: how
    often each pair occurs, in which words it may occur (never too few, sometimes too many), and a
    heap of pairs by frequency in which an entry that is no longer true is corrected when met.
    """

    def __init__(
        self,
        alphabet: list[str],
        words: Iterable[tuple[str, int]],
        join: Callable[[str, str], str],
    ) -> None:
        self.pieces = list(alphabet)
        self.merges: list[tuple[str, str]] = []
        self.join = join
        self.code_of = {piece: chr(code) for code, piece in enumerate(alphabet)}
        self.words: list[str] = []
        self.counts: list[int] = []
        self.frequency: dict[str, int] = defaultdict(int)
        self.places: dict[str, list[int]] = defaultdict(list)
        for index, (codes, n) in enumerate(words):
            self.words.append(codes)
            self.counts.append(n)
            for i in range(len(codes) - 1):
                pair = codes[i : i + 2]
                self.frequency[pair] += n
                self.places[pair].append(index)

    def run(self, size: int, *, min_frequency: int, progress: Progress | None) -> None:
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
        """The merged piece's number; that of a piece that is spelled alike, if there is one."""
        left, right = self.pieces[ord(pair[0])], self.pieces[ord(pair[1])]
        self.merges.append((left, right))
        piece = self.join(left, right)
        code = self.code_of.get(piece)
        if code is None:
            code = self.code_of[piece] = chr(len(self.pieces))
            self.pieces.append(piece)
        return code
