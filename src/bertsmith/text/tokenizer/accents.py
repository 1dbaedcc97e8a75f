"""What stripping accents would do to the words of a text, and whether they can go without.

Google's uncased models strip them: NFD, then every nonspacing mark goes. In Hindi that takes vowels
away, in Japanese は, ば and ぱ become one, in Vietnamese the tones go.
"""

import unicodedata
from collections import Counter, defaultdict
from functools import cache

import msgspec

Rewritten = Counter[tuple[tuple[str, ...], tuple[str, ...]]]
"""How often words came out as the first where accents were stripped, as the second where not."""

NEEDED_FROM = 0.05
"""Share of words with marks that their script needs from which accents are kept."""

# Scripts that are usually written without their marks, or whose readers do without them.
_OPTIONAL = ("ARABIC", "HEBREW", "SYRIAC", "COMBINING CYRILLIC", "COMBINING GREEK", "SAMARITAN")
# Of the general ones: horn, hook above and dot below, the tones and vowels of Vietnamese.
_NEEDED = frozenset("\u031b\u0309\u0323")
_EXAMPLES = 3


class Merged(msgspec.Struct, frozen=True):
    """What stripping accents merges."""

    words: int
    """Number of distinct words, with accents kept."""
    merged: int
    """Number of these that become equal to another."""
    examples: list[tuple[str, list[str]]]
    """The most frequent merges: the result, and the words it stands for."""
    needed: float
    """Share of the running words with marks that their script needs."""

    @property
    def told(self) -> str:
        """The count and the examples in words."""
        shown = "; ".join(f"{', '.join(words)} become {word}" for word, words in self.examples)
        return (
            f"Stripping accents merges {self.merged:,} of {self.words:,} distinct words: {shown}."
        )


def kept(words: Counter[str], rewritten: Rewritten) -> Counter[str]:
    """The counts of words with accents, given those without."""
    found = Counter(words)
    for (bare, accented), count in rewritten.items():
        for word in bare:
            found[word] -= count
        for word in accented:
            found[word] += count
    return +found


def merged(words: Counter[str], rewritten: Rewritten) -> Merged:
    """What stripping accents merges; composed and decomposed spellings count as one word."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    needed = 0
    for (bare, accented), count in rewritten.items():
        for word in accented:
            needed += count * any(map(_is_needed, unicodedata.normalize("NFD", word)))
        if len(bare) == len(accented):
            for word, spelling in zip(bare, accented, strict=True):
                spellings[word][unicodedata.normalize("NFC", spelling)] += count
    groups: dict[str, Counter[str]] = {}
    for word, found in spellings.items():
        plain = words[word] - found.total()
        if plain > 0:
            found[unicodedata.normalize("NFC", word)] += plain
        if len(found) > 1:
            groups[word] = found
    # The second commonest spelling says how much a merger takes away.
    order = sorted(groups, key=lambda word: (-sorted(groups[word].values())[-2], word))
    examples = [
        (word, sorted(groups[word], key=lambda spelling: (-groups[word][spelling], spelling))[:4])
        for word in order[:_EXAMPLES]
    ]
    with_accents = {unicodedata.normalize("NFC", word) for word in kept(words, rewritten)}
    count = sum(map(len, groups.values()))
    return Merged(len(with_accents), count, examples, needed / max(1, words.total()))


@cache
def _is_needed(character: str) -> bool:
    """Whether a script cannot be read without this mark."""
    if unicodedata.category(character) != "Mn":
        return False
    if character < "\u0370":
        return character in _NEEDED
    return not unicodedata.name(character, "").startswith(_OPTIONAL)
