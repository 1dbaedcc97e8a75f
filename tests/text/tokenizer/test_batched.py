import numpy as np
import pytest

from bertsmith.core.errors import DataError
from bertsmith.text.tokenizer.batched import cut, disagreement, id_type, not_unicode, parts


def test_cut_is_at_white_space_and_ideographs() -> None:
    assert cut(" a  b,c\u3000d\n", split_chinese=True) == ["a", "b,c", "d"]
    assert cut("我喜欢x，y果", split_chinese=True) == ["我", "喜", "欢", "x，y", "果"]
    assert cut("我喜欢 x", split_chinese=False) == ["我喜欢", "x"]
    # Deleted by the cleaning rules before they look for white space.
    assert cut("a\x0bb\x1cc\x85d", split_chinese=True) == ["abcd"]


def test_parts_are_around_ascii_punctuation() -> None:
    assert parts("don't[a_b]…") == ["don", "'", "t", "[", "a", "_", "b", "]", "…"]
    assert "".join(parts("x" * 50)) == "x" * 50


def test_id_type() -> None:
    assert id_type(65_536) is np.uint16
    assert id_type(65_537) is np.uint32


class Counting:
    """An engine whose ids are the code points, wrong about one character."""

    def __init__(self, blind: str = "") -> None:
        self.blind = blind

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        kept = [text.replace(self.blind, "") if self.blind else text for text in texts]
        flat = np.array([ord(c) for text in kept for c in text], np.uint32)
        return flat, np.array([len(text) for text in kept], np.int64)


@pytest.mark.parametrize("blind", ["\u0301", "ß", "quokka", "QUOKKA"])
def test_disagreement_is_found_in_nasty_strings_and_in_the_vocabulary(blind: str) -> None:
    vocab = ["a", "##quokka", "b"]
    assert disagreement(Counting(), Counting(), vocab) is None
    text = disagreement(Counting(), Counting(blind), vocab)
    assert text is not None
    assert blind in text


def test_not_unicode_names_the_character() -> None:
    error = not_unicode(["fine", "ab\udcff"])
    assert isinstance(error, DataError)
    assert str(error).startswith("Character 2 of the text 'ab\\udcff' is a lone surrogate")
    with pytest.raises(TypeError):
        not_unicode(["fine"])
