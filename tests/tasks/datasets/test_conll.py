"""CoNLL's columns: words, tags, sentences, documents."""

from pathlib import Path

import pytest

from bertsmith.core.errors import DataError, SystemFault
from bertsmith.tasks.datasets import conll
from bertsmith.tasks.examples import TagExample

CONLL2003 = """\
-DOCSTART- -X- -X- O

EU NNP B-NP I-ORG
rejects VBZ B-VP O
# # B-NP O

Peter NNP B-NP I-PER

-DOCSTART- -X- -X- O

Berlin NNP B-NP I-LOC
"""


def put(folder: Path, text: str | bytes) -> Path:
    path = folder / "train.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def message(path: Path, **more: bool | None) -> str:
    with pytest.raises(DataError) as caught:
        conll.read(path, **more)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_sentences_keep_their_documents(tmp_path, end):
    path = put(tmp_path, "\ufeff" + CONLL2003.replace("\n", end))
    assert conll.read_part(path, "train") == [
        TagExample(
            f"{path}:3", "0", ("EU", "rejects", "#"), ("I-ORG", "O", "O"), 1, word_a_line=True
        ),
        TagExample(f"{path}:7", "1", ("Peter",), ("I-PER",), 1, word_a_line=True),
        TagExample(f"{path}:11", "2", ("Berlin",), ("I-LOC",), 2, word_a_line=True),
    ]


def test_a_mark_ends_a_sentence_and_sentences_before_the_first_are_a_document(tmp_path):
    path = put(tmp_path, "a O\n-DOCSTART- O\nb O\n\n\nc O\n\n-DOCSTART- O\n\n")
    found = [(example.words, example.document) for example in conll.read(path)]
    assert found == [(("a",), 0), (("b",), 1), (("c",), 1)]
    path = put(tmp_path, "a O\n\nb O\n\n-DOCSTART- O\n")
    assert [example.document for example in conll.read(path)] == [0, 0]


def test_without_marks_each_sentence_is_a_document(tmp_path):
    path = put(tmp_path, "a\tO\nb\tB-x\n\nc\tO\n \t \nd\tO")
    assert [(e.words, e.tags, e.document) for e in conll.read(path)] == [
        (("a", "b"), ("O", "B-x"), 0),
        (("c",), ("O",), 1),
        (("d",), ("O",), 2),
    ]


def test_tabs_part_columns_where_there_are_any_else_runs_of_spaces(tmp_path):
    path = put(tmp_path, "New York\tx\tB-LOC \na\u00a0b\t \u00e9\tO\n\n北京   NR  S-LOC\n")
    assert [(example.words, example.tags) for example in conll.read(path)] == [
        (("New York", "a\u00a0b"), ("B-LOC", "O")),
        (("北京",), ("S-LOC",)),
    ]


def test_words_alone_are_read_where_no_tags_are_needed(tmp_path):
    path = put(tmp_path, "EU\nrejects\n\nPeter\n")
    for found in (conll.read_part(path, "test"), conll.read(path, labelled=False)):
        assert [(e.words, e.tags) for e in found] == [(("EU", "rejects"), None), (("Peter",), None)]
    assert message(path, labelled=True) == (
        ":1: found one column, expected a word first and its tag last, separated by a tab or "
        "spaces; give lists of words and tags as .jsonl or .parquet."
    )
    path = put(tmp_path, "EU B-ORG\n")
    assert conll.read_part(path, "test")[0].tags == ("B-ORG",)
    assert conll.read(path, labelled=False)[0].tags is None


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (
            "\nEU NNP O\nrejects O\n",
            ":3: found 2 columns, expected 3 as in line 2; a blank line ends a sentence.",
        ),
        (
            "EU O\n\nrejects\n",
            ":3: found 1 column, expected 2 as in line 1; a blank line ends a sentence.",
        ),
        (
            "EU O\nNew York O\n",
            ":2: found 3 columns, expected 2 as in line 1; a blank line ends a sentence.",
        ),
        ("EU O\n O\n", ":2: the word is empty; expected a word first and its tag last."),
        ("EU\tO\n\u3000\tO\n", ":2: the word is empty; expected a word first and its tag last."),
        ("EU\tO\nrejects\t\n", ":2: the tag is empty; expected a word first and its tag last."),
        ("", " is empty; give another file."),
        ("\n-DOCSTART- O\n\n", " is empty; give another file."),
        (
            b"EU O\n\xe4 O\n",
            ":2: byte 0xe4 at offset 5 is not UTF-8 (invalid continuation byte); convert the file "
            "to UTF-8, if it is a Western European language perhaps with `iconv -f WINDOWS-1252 -t "
            "UTF-8 FILE > NEW`.",
        ),
    ],
)
def test_lines_that_are_wrong_are_named(tmp_path, text, want):
    assert message(put(tmp_path, text)) == want


def test_line_ends_of_old_and_utf16_are_named(tmp_path):
    assert message(put(tmp_path, "red B-X\rold I-X\r")).startswith(
        ":1: found a lone carriage return, expected lines that end in a line feed. "
    )
    assert message(put(tmp_path, "red O\n".encode("utf-16-le"))).endswith(
        "it looks like UTF-16LE; convert it with `iconv -f UTF-16LE -t UTF-8 FILE > NEW`."
    )


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemFault, match=r"Could not read .*none\.txt: no such file"):
        conll.read(tmp_path / "none.txt")
