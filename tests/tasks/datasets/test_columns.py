"""Which columns of a file hold the words and the tags."""

import json
from pathlib import Path

import pyarrow
import pytest
from by_kind import read_own
from pyarrow import ipc, parquet

from bertsmith.core.errors import DataError
from bertsmith.tasks.datasets import conll
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.task_config import Columns

CONLLU = """\
# newdoc id = a
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_
2.1\tnada\t_\t_\t_\t_\t_\t_\t_\t_

# text = No
1\tNo\tno\tINTJ\tI\t_\t0\troot\t_\t_
2\t#\t#\tSYM\tS\t_\t0\troot\t_\t_

"""


def read(folder: Path, text: str, *, name: str = "train.conll", **more):
    path = folder / name
    path.write_text(text)
    notes = Notes()
    found = conll.read(path, notes=notes, **more)
    return [(example.words, example.tags) for example in found], notes.lines()


def message(folder: Path, text: str, **more) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, text, **more)
    return str(caught.value)


def test_a_column_that_numbers_the_words_is_no_word(tmp_path):
    text = "1\tAnna\tPROPN\n2\truns\tVERB\n\n1\tIt\tPRON\n3\trains\tVERB\n"
    expected = [(("Anna", "runs"), ("PROPN", "VERB")), (("It", "rains"), ("PRON", "VERB"))]
    found, [note] = read(tmp_path, text)
    assert found == expected
    assert "words are column 2, tags column 3" in note
    # Spaces part columns, too, and numbers may begin at 0.
    spaced = text.replace("\t", " ").replace("1 ", "0 ")
    assert read(tmp_path, spaced)[0] == expected
    assert "numbers the words" in message(tmp_path, "1\tPROPN\n2\tVERB\n")
    # To be asked, words are enough.
    assert read(tmp_path, "1\tAnna\n2\truns\n", labelled=None)[0] == [(("Anna", "runs"), None)]


def test_words_that_are_numbers_stay_words(tmp_path):
    text = "7\tCARD\n1\tCARD\n\nruns\tVERB\n"
    assert read(tmp_path, text) == ([(("7", "1"), ("CARD", "CARD")), (("runs",), ("VERB",))], [])


@pytest.mark.parametrize("comments", [True, False])
def test_conllu_with_and_without_comments(tmp_path, comments):
    text = CONLLU
    if not comments:
        text = "".join(line for line in text.splitlines(True) if not line.startswith("# "))
    found, notes = read(tmp_path, text, name="train.conllu")
    assert found == [(("Vamos", "nos"), ("VERB", "PRON")), (("No", "#"), ("INTJ", "SYM"))]
    assert [("comments" in note, "UPOS" in note, "ranges" in note) for note in notes] == [
        *[(True, False, False)] * comments,
        (False, True, False),
        (False, False, True),
    ]
    for name in ("XPOS", "5"):
        assert read(tmp_path, text, tags=name)[0][0] == (("Vamos", "nos"), ("V", "P"))
    assert read(tmp_path, text, words="LEMMA")[0][0][0] == ("ir", "nosotros")
    assert "(UPOS) has '_' in every line" in message(
        tmp_path, "1\ta" + "\t_" * 8 + "\n2\tb" + "\t_" * 8 + "\n"
    )
    assert "no such column" in message(tmp_path, text, tags="XPO")
    assert "'XPOS'" in message(tmp_path, text, tags="XPO")


def test_new_documents_of_conllu_are_documents(tmp_path):
    path = tmp_path / "train.conllu"
    path.write_text(CONLLU + CONLLU)
    assert [example.document for example in conll.read(path)] == [1, 1, 2, 2]
    assert next(example.where_is(1) for example in conll.read(path)) == f"{path}:5"


def test_comments_are_told_from_words_that_are_a_hash(tmp_path):
    text = "# id 0\tdomain=en\nAnna _ B-PER\nsings _ O\n\n# id 1\n# _ O\n#tag _ B-TAG\n"
    found, [note] = read(tmp_path, text)
    assert found == [(("Anna", "sings"), ("B-PER", "O")), (("#", "#tag"), ("O", "B-TAG"))]
    assert "2 lines" in note


def test_a_line_of_names_is_no_word(tmp_path):
    text = "token\tpos\tner\nAnna\tNNP\tB-PER\nsings\tVBZ\tO\n"
    assert read(tmp_path, text)[0] == [(("Anna", "sings"), ("B-PER", "O"))]
    assert read(tmp_path, text, tags="pos")[0] == [(("Anna", "sings"), ("NNP", "VBZ"))]
    assert read(tmp_path, text, words="1", tags="2")[0][0][1] == ("NNP", "VBZ")
    other = "satz\tart\nAnna\tB-PER\n"
    assert read(tmp_path, other, words="satz", tags="art")[0] == [(("Anna",), ("B-PER",))]
    assert "give a number from 1 to 2." in message(tmp_path, "Anna\tB-PER\n", tags="3")


def test_whole_sentences_in_two_cells(tmp_path):
    text = "tokens\ttags\nAnna sings\tB-PER O\nYes\tO\n"
    found, [note] = read(tmp_path, text, name="train.tsv")
    assert found == [(("Anna", "sings"), ("B-PER", "O")), (("Yes",), ("O",))]
    assert "every line is a sentence" in note
    # Words with spaces stay as they are.
    text = "New York\tB-LOC\nrains\tO\n"
    assert read(tmp_path, text)[0] == [(("New York", "rains"), ("B-LOC", "O"))]


@pytest.mark.parametrize("text", ["word,tag\nAnna,B-PER\n,\n", "Sentence #,Word,Tag\n1,Anna,O\n"])
def test_commas_are_refused(tmp_path, text):
    assert ":1: the columns are separated by commas" in message(tmp_path, text, name="train.csv")


def test_a_file_without_blank_lines_is_told(tmp_path):
    _, [note] = read(tmp_path, "Anna\tB-PER\nsings\tO\n" * 12)
    assert "no blank line" in note


@pytest.mark.parametrize("name", ["train.parquet", "train.arrow"])
def test_numbers_of_hugging_face_get_their_names(tmp_path, name):
    names = ["O", "B-PER", "I-PER"]
    tags = {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}
    features = {"tokens": {"feature": {"dtype": "string"}, "_type": "Sequence"}, "ner_tags": tags}
    table = pyarrow.table({"tokens": [["Anna", "sings"]], "ner_tags": [[1, 0]]})
    info = json.dumps({"info": {"features": features}})
    table = table.replace_schema_metadata({"huggingface": info})
    path = tmp_path / name
    if name.endswith("parquet"):
        parquet.write_table(table, path)
    else:
        with ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    columns = Columns(words="tokens", tags="ner_tags")
    [found] = read_own("token-classification", path, columns=columns)
    assert (found.words, found.tags) == (("Anna", "sings"), ("B-PER", "O"))
