"""Which characters are Chinese by Google's rules, which make each of them a word of its own."""

# Google's table (`_is_chinese_char` in tokenization.py): CJK ideographs, extensions A to E, and the
# compatibility ones; neither kana, Hangul, radicals nor strokes. Extension E begins at 2B820 there
# and at 2B920 in the `tokenizers` library, which is what encodes here and in `transformers`: the
# 256 rare characters between are left to it.
RANGES = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""First and last code of each range, in order."""


def is_ideograph(character: str) -> bool:
    """Whether the rules make `character` a word of its own."""
    code = ord(character)
    return code >= RANGES[0][0] and any(first <= code <= last for first, last in RANGES)
