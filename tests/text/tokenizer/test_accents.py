"""Which words stripping accents merges, and where a text keeps its marks by itself."""

import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from bertsmith.cli.tokenizer import TokenizerTrain
from bertsmith.core.errors import UsageError
from bertsmith.text.tokenizer import accents
from bertsmith.text.tokenizer.batched import NASTY
from bertsmith.text.tokenizer.files import Cleaning
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.text.tokenizer.train import train_tokenizer
from bertsmith.text.tokenizer.words import count_both, count_words

TEXTS = {
    "hi": "कुल कल में मैं हूँ है",
    "ja": "かぎ かき ハンダ パンダ",
    "th": "น้ำใจ นำ ไป",
    "vi": "má ma mạ mả cũ đồng",
    "km": "ខ្មែរ ខ្មរ",
}
OPTIONAL = {
    "en": "the café and the cafe, naïve résumé",
    "de": "schon schön Müller",
    "ar": "كَتَبَ كتب الكِتَابُ",
    "he": "שָׁלוֹם שלום",
    "ru": "все всё",
    "ko": "한국어 말",
}


@pytest.mark.parametrize("language", [*TEXTS, *OPTIONAL])
def test_marks_are_kept_where_a_script_needs_them(language: str, tmp_path: Path) -> None:
    text = (TEXTS | OPTIONAL)[language]
    (tmp_path / "text.txt").write_text(f"{text}\n" * 5)
    found = train_tokenizer([str(tmp_path / "text.txt")], out=tmp_path / "out", size=200)
    assert found.cleaning.strips_accents == (language in OPTIONAL)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    assert found.encode(text).ids == ids == found.encode_flat([text])[0].tolist()
    assert found.unk_id not in ids
    if language in TEXTS:
        written = [word for word in text.lower().split() if "," not in word]
        assert found.decode(ids).replace(" ", "") == "".join(written)


def test_counts_of_both_are_those_of_each() -> None:
    texts = [*NASTY, *TEXTS.values(), *OPTIONAL.values(), "Ὀδυσσεύς ≠ 5 \u037e İi \u1fef"]
    words, rewritten = count_both(texts, Cleaning())
    assert words == count_words(texts, Cleaning())
    assert accents.kept(words, rewritten) == count_words(texts, Cleaning(strip_accents=False))


def test_merged_words_are_counted_with_examples() -> None:
    texts = ["má ma mạ MÁ", unicodedata.normalize("NFD", "má cũ"), "tôi cafe 한국"]
    found = accents.merged(*count_both(texts, Cleaning()))
    assert (found.words, found.merged) == (7, 3)
    assert found.examples == [("ma", ["má", "ma", "mạ"])]
    assert found.needed == pytest.approx(1 / 9)
    assert "merges 3 of 7 distinct words: má, ma, mạ become ma." in found.told


def test_nothing_is_merged_where_nothing_is_stripped() -> None:
    words, rewritten = count_both(["má ma"], Cleaning(lower_case=False))
    assert (words, rewritten) == (Counter({"má": 1, "ma": 1}), Counter())


def test_the_command_says_and_takes_what_is_done(tmp_path: Path) -> None:
    def train(text: str, **flags: bool) -> tuple[Tokenizer, str]:
        (tmp_path / "text.txt").write_text(f"{text}\n" * 5)
        out = tmp_path / "out"
        found = TokenizerTrain(
            inputs=[str(tmp_path / "text.txt")], out=out, vocab_size=100, workers=1, **flags
        ).run()
        return Tokenizer.load(out), found.text

    english, said = train("the café and the cafe")
    assert english.cleaning.strips_accents
    assert "merges 2 of 4 distinct words: cafe, café become cafe" in said
    assert "--keep-accents" in said
    kept, said = train("the Café and the cafe", keep_accents=True)
    assert (kept.cleaning.lower_case, kept.cleaning.strips_accents) == (True, False)
    assert kept.tokens(kept.encode("CAFÉ").ids) == ["café"]
    assert "accents" not in said.lower()
    hindi, said = train(TEXTS["hi"])
    assert not hindi.cleaning.strips_accents
    assert "Accents are kept: 100% of the words" not in said
    assert "--strip-accents strips them" in said
    bare, said = train(TEXTS["hi"], strip_accents=True)
    assert bare.cleaning.strips_accents
    assert "merges 6 of 6 distinct words" in said
    cased, said = train(TEXTS["vi"], cased=True)
    assert not cased.cleaning.lower_case
    assert "accents" not in said.lower()
    with pytest.raises(UsageError, match="--strip-accents and --cased contradict"):
        train("a", cased=True, strip_accents=True)
