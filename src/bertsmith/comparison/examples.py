"""Example sentences for the probes, in the language of the vocabulary."""

from dataclasses import dataclass

from bertsmith.text.ideographs import is_ideograph
from bertsmith.text.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Meaning:
    """An ambiguous word, with a sentence for each meaning."""

    word: str
    texts: tuple[str, str]


@dataclass(frozen=True)
class Examples:
    """The sentences of one language."""

    sentences: list[str]
    meanings: list[Meaning]


_ENGLISH = Examples(
    [
        "the river flows through the city and into the sea .",
        "he was born in london and studied at the university .",
        "the bank was closed because it was sunday .",
    ],
    [
        Meaning(
            "bank",
            (
                "he took all his money to the bank and opened an account .",
                "they walked along the bank of the river to the bridge .",
            ),
        ),
        Meaning(
            "play",
            (
                "the play was written for the theatre and first performed in london .",
                "the team will play their next match at home this season .",
            ),
        ),
    ],
)
_CHINESE = Examples(
    ["我喜欢吃苹果。", "他每天早上去学校读书。", "这本书是我朋友写的。"],
    [
        Meaning("花", ("春天花园里的花都开了。", "他买这匹马花了很多钱。")),
        Meaning("打", ("他打电话给朋友。", "两军在城下打了一仗。")),
    ],
)


def examples(tokenizer: Tokenizer) -> Examples:
    """Chinese examples if more than a tenth of the vocabulary are ideographs, otherwise English."""
    ideographs = sum(len(piece) == 1 and is_ideograph(piece) for piece in tokenizer.bare)
    return _CHINESE if ideographs > len(tokenizer) // 10 else _ENGLISH
