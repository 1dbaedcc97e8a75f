"""What is printed about a corpus: counts that add up, and a warning if the vocabulary misfits."""

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


def test_cut_documents_are_counted(corpus: CorpusInfo) -> None:
    assert corpus.pieces_added == 0
    assert row(corpus, "cut") is None
    cut = msgspec.structs.replace(
        corpus, documents_read=201, documents_cut=1, pieces_added=2, documents_kept=203
    )
    assert row(cut, "documents") == "201 read from 0 files, 203 kept"
    assert row(cut, "cut") == "1 longer than 4,194,304 characters, into 2 extra documents"


@pytest.mark.parametrize(("share", "warned"), [(0.0, False), (0.0099, False), (0.0512, True)])
def test_the_share_of_unknown_tokens_is_shown(
    corpus: CorpusInfo, share: float, warned: bool
) -> None:
    info = msgspec.structs.replace(corpus, unknown=share)
    assert row(info, "unknown") == f"{share:.2%} of the training tokens are [UNK]"
    warning = row(info, "warning")
    assert (warning is not None) == warned
    if warning:
        assert "5.1% [UNK]" in warning
        assert "bertsmith tokenizer train" in warning
