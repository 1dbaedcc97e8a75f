"""What is printed of a corpus: counts that add up, and a warning where the vocabulary is wrong."""

from pathlib import Path

import msgspec
import pytest

from bertsmith.info.path import CorpusInfo, describe
from bertsmith.info.words import lines


@pytest.fixture
def corpus(toy_corpus: Path) -> CorpusInfo:
    found = describe(str(toy_corpus))
    assert isinstance(found, CorpusInfo)
    return found


def row(info: CorpusInfo, name: str) -> str | None:
    return next((line[len(name) :].strip() for line in lines(info) if line.startswith(name)), None)


def test_documents_that_were_cut_are_told(corpus: CorpusInfo) -> None:
    assert corpus.pieces_added == 0
    assert row(corpus, "cut") is None
    cut = msgspec.structs.replace(
        corpus, documents_read=201, documents_cut=1, pieces_added=2, documents_kept=203
    )
    assert row(cut, "documents") == "201 read from 0 files, 203 kept"
    assert row(cut, "cut") == "1 longer than 4,194,304 characters, which made 2 more"


@pytest.mark.parametrize(("share", "warned"), [(0.0, False), (0.0099, False), (0.0512, True)])
def test_the_share_of_the_unknown_is_told(corpus: CorpusInfo, share: float, warned: bool) -> None:
    info = msgspec.structs.replace(corpus, unknown=share)
    assert row(info, "unknown") == f"{share:.2%} of the train tokens are [UNK]"
    warning = row(info, "warning")
    assert (warning is not None) == warned
    if warning:
        assert warning.startswith("5.1% of the train tokens are [UNK]: the vocabulary does not fit")
        assert "bertsmith tokenizer train" in warning
