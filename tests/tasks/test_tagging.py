"""Tags of entities in the scheme that is taught, whatever their own, and tags of other kinds."""

import pytest

from bertsmith.core.errors import DataError
from bertsmith.tasks.examples import TagExample
from bertsmith.tasks.notes import Notes
from bertsmith.tasks.tagging import in_scheme, known_scheme, taught_scheme


def sentences(*rows: str) -> list[TagExample]:
    """A sentence of each row of tags, a line a word in one file."""
    found, line = [], 1
    for number, row in enumerate(rows):
        tags = tuple(row.split())
        words = tuple(f"w{place}" for place in range(len(tags)))
        place = f"t.conll:{line}"
        found.append(TagExample(place, str(number), words, tags, word_a_line=True))
        line += len(tags) + 1
    return found


def taught(*rows: str) -> tuple[str | None, list[str]]:
    train = sentences(*rows)
    scheme = taught_scheme(train)
    return scheme, [" ".join(one.tags or ()) for one in in_scheme(train, scheme)]


@pytest.mark.parametrize(
    "rows",
    [
        ("B-PER I-PER E-PER O S-LOC", "O B-LOC E-LOC"),
        ("B-PER M-PER E-PER O S-LOC", "O B-LOC E-LOC"),
        ("B-PER I-PER L-PER O U-LOC", "O B-LOC L-LOC"),
    ],
)
def test_bioes_is_read_by_all_its_names(rows):
    assert taught(*rows) == ("BIOES", ["B-PER I-PER E-PER O S-LOC", "O B-LOC E-LOC"])


def test_iob1_is_taught_as_iob2():
    assert taught("I-PER I-PER B-PER O", "I-LOC O") == ("IOB2", ["B-PER I-PER B-PER O", "B-LOC O"])
    assert known_scheme(["O", "B-PER", "I-PER"]) == "IOB2"


@pytest.mark.parametrize("rows", [("NN VB O", "JJ NN"), ("NN VB B-side", "S-bar NN JJ O")])
def test_tags_that_are_mostly_of_another_kind_stay_as_they_are(rows):
    assert taught(*rows) == (None, list(rows))


def test_a_slip_is_named_by_its_line():
    with pytest.raises(DataError) as caught:
        taught("O B-PER", "B-LOC O B_PER")
    assert str(caught.value) == (
        "t.conll:6: the tag of word 3, 'w2', is 'B_PER' (perhaps you meant 'B-PER'), expected O or "
        "a mark (B, I, E, S), a hyphen and a type, as most others are; correct it."
    )


ROWS = ("B-PER I-PER", "O I-LOC", "B-LOC O", "B-LOC B-LOC", "B-PER I-LOC")


def test_what_a_scheme_does_not_allow_is_read_as_conlleval_does_and_counted():
    notes = Notes()
    found = in_scheme(sentences(*ROWS), "IOB2", notes=notes)
    assert [" ".join(one.tags or ()) for one in found] == [
        *("B-PER I-PER", "O B-LOC", "B-LOC O", "B-LOC B-LOC", "B-PER B-LOC")
    ]
    [note] = notes.lines()
    assert "conlleval" in note
    assert note.endswith(": 2, for instance t.conll:5")


def test_what_a_scheme_does_not_allow_is_named_by_its_line_if_strict():
    with pytest.raises(DataError, match=r"^t\.conll:5: the tag of word 2, 'w1', is not allowed: "):
        in_scheme(sentences(*ROWS), "IOB2", strict=True)


def test_marks_in_lower_case_are_named():
    with pytest.raises(DataError, match=r"^t\.conll:2: .* is 'b-per' \(perhaps you meant 'B-per'"):
        taught_scheme(sentences("O b-per i-per", "o b-loc"))
