import random
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from bertsmith.tasks.entities import Entity, Scheme, convert, detect_scheme, entities, scheme_faults

SCHEMES: tuple[Scheme, ...] = ("IOB1", "IOB2", "BIOES")

TAGS = ["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in ("PER", "LOC"))]

any_tags = st.lists(st.sampled_from(TAGS), max_size=12)


def random_tags(rng: random.Random) -> list[str]:
    return rng.choices(TAGS, k=rng.randrange(12))


# conlleval, restated pair by pair from its two subroutines (version of 2004-01-26), for the marks
# of IOB1 and IOB2.
ENDS = {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O")}
STARTS = {("B", "B"), ("I", "B"), ("O", "B"), ("O", "I")}


def conlleval_chunks(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    pairs = [(mark, kind) for mark, _, kind in (tag.partition("-") for tag in tags)]
    before, kind_before = "O", ""
    chunks, start = [], -1
    for place, (mark, kind) in enumerate([*pairs, ("O", "")]):
        ends = (before, mark) in ENDS or (before != "O" and kind_before != kind)
        starts = (before, mark) in STARTS or (mark != "O" and kind_before != kind)
        if ends:
            chunks.append((kind_before, start, place))
        if starts:
            start = place
        before, kind_before = mark, kind
    return chunks


def as_tuples(found: list[Entity]) -> list[tuple[str, int, int]]:
    return [(entity.type, entity.start, entity.end) for entity in found]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("I-PER I-PER B-PER O I-LOC", [("PER", 0, 2), ("PER", 2, 3), ("LOC", 4, 5)]),  # IOB1
        ("B-PER E-PER S-PER S-PER B-PER I-PER E-PER",
         [("PER", 0, 2), ("PER", 2, 3), ("PER", 3, 4), ("PER", 4, 7)]),
        # Illegal everywhere, and still read.
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("O I-PER I-LOC I-PER", [("PER", 1, 2), ("LOC", 2, 3), ("PER", 3, 4)]),
        ("E-PER E-PER I-PER", [("PER", 0, 1), ("PER", 1, 2), ("PER", 2, 3)]),
        ("B-PER S-PER I-PER", [("PER", 0, 1), ("PER", 1, 2), ("PER", 2, 3)]),
        ("B-PER I-PER B-LOC", [("PER", 0, 2), ("LOC", 2, 3)]),
        # Marks without types, types with hyphens, marks of other schemes, words without a mark.
        ("B I O I B", [("", 0, 2), ("", 3, 4), ("", 4, 5)]),
        ("B-work-of-art I-work-of-art", [("work-of-art", 0, 2)]),
        ("U-PER B-PER L-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("NOUN VERB O-PER", []),
    ],
)  # fmt: skip
def test_entities_by_hand(tags: str, expected: list[tuple[str, int, int]]) -> None:
    assert as_tuples(entities(tags.split())) == expected


def test_every_short_sequence_of_iob_tags_is_read_as_conlleval_does() -> None:
    iob = ["O", "B-X", "I-X", "B-Y", "I-Y", "B", "I"]
    count = 0
    for length in range(6):
        for tags in product(iob, repeat=length):
            assert as_tuples(entities(tags)) == conlleval_chunks(tags)
            count += 1
    assert count == 1 + 7 + 49 + 343 + 2401 + 16807


def test_thousands_of_sequences_with_e_and_s_are_read_as_seqeval_does() -> None:
    rng = random.Random(0)
    for _ in range(5000):
        tags = random_tags(rng)
        expected = [(kind, start, end + 1) for kind, start, end in get_entities(list(tags))]
        assert as_tuples(entities(tags)) == expected


@settings(deadline=None)
@given(any_tags, st.sampled_from(SCHEMES))
def test_converted_tags_are_legal_and_hold_the_same_entities(
    tags: list[str], scheme: Scheme
) -> None:
    converted = convert(tags, scheme)
    assert len(converted) == len(tags)
    assert entities(converted) == entities(tags)
    assert scheme_faults(converted, scheme) == []
    assert convert(converted, scheme) == converted


def test_convert_by_hand() -> None:
    iob1 = "I-PER I-PER B-PER O I-LOC I-PER".split()
    assert " ".join(convert(iob1)) == "B-PER I-PER B-PER O B-LOC B-PER"
    assert " ".join(convert(iob1, "BIOES")) == "B-PER E-PER S-PER O S-LOC S-PER"
    assert convert(convert(iob1, "BIOES"), "IOB1") == iob1
    assert convert(["B", "I", "B"], "BIOES") == ["B", "E", "S"]
    assert convert([]) == []


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("IOB1", "I-PER B-PER I-PER O I-LOC", []),
        ("IOB2", "B-PER B-PER I-PER O B-LOC", []),
        ("BIOES", "B-PER I-PER E-PER S-PER O S-LOC", []),
        ("IOB2", "O I-PER I-PER",
         [(1, "'I-PER' is after 'O', but an entity of IOB2 begins with B-PER")]),
        ("IOB2", "I-PER B-LOC I-PER",
         [(0, "'I-PER' begins the sentence, but an entity of IOB2 begins with B-PER"),
          (2, "'I-PER' is after 'B-LOC', but an entity of IOB2 begins with B-PER")]),
        ("IOB1", "B-PER",
         [(0, "'B-PER' begins the sentence, but an entity of IOB1 begins with I-PER unless it "
              "follows another PER")]),
        ("IOB1", "I-PER B-LOC",
         [(1, "'B-LOC' is after 'I-PER', but an entity of IOB1 begins with I-LOC unless it "
              "follows another LOC")]),
        ("IOB2", "O U-PER",
         [(1, "'U-PER' is after 'O', but the tags of IOB2 are O, B-TYPE, I-TYPE")]),
        ("IOB2", "S-PER",
         [(0, "'S-PER' begins the sentence, but the tags of IOB2 are O, B-TYPE, I-TYPE")]),
        ("IOB2", "O-PER NOUN",
         [(0, "'O-PER' begins the sentence, but the tags of IOB2 are O, B-TYPE, I-TYPE"),
          (1, "'NOUN' is after 'O-PER', but the tags of IOB2 are O, B-TYPE, I-TYPE")]),
        ("BIOES", "B-PER O",
         [(0, "'B-PER' is before 'O', but an entity of BIOES ends with E-PER or is S-PER")]),
        ("BIOES", "B-PER S-PER",
         [(0, "'B-PER' is before 'S-PER', but an entity of BIOES ends with E-PER or is S-PER")]),
        ("BIOES", "B-PER I-PER",
         [(1, "'I-PER' ends the sentence, but an entity of BIOES ends with E-PER or is S-PER")]),
        ("BIOES", "S-PER E-PER",
         [(1, "'E-PER' is after 'S-PER', but an entity of BIOES begins with B-PER or is S-PER")]),
        ("BIOES", "B-PER E-LOC",
         [(0, "'B-PER' is before 'E-LOC', but an entity of BIOES ends with E-PER or is S-PER"),
          (1, "'E-LOC' is after 'B-PER', but an entity of BIOES begins with B-LOC or is S-LOC")]),
    ],
)  # fmt: skip
def test_faults_are_named_with_their_place(
    scheme: Scheme, tags: str, expected: list[tuple[int, str]]
) -> None:
    assert scheme_faults(tags.split(), scheme) == expected


@settings(deadline=None)
@given(any_tags, st.sampled_from(SCHEMES))
def test_tags_have_no_fault_exactly_if_conversion_leaves_them(
    tags: list[str], scheme: Scheme
) -> None:
    assert (scheme_faults(tags, scheme) == []) == (convert(tags, scheme) == tags)


def test_the_scheme_of_a_file_is_found_in_spite_of_some_faults() -> None:
    rng = random.Random(1)
    sentences = [random_tags(rng) for _ in range(200)]
    for scheme in SCHEMES:
        file = [convert(tags, scheme) for tags in sentences]
        assert detect_scheme(file) == scheme
        assert detect_scheme([*file, ["O", "I-PER"], ["B-LOC"], ["E-LOC"]]) == scheme


def test_the_usual_scheme_is_taken_where_several_fit() -> None:
    assert detect_scheme([]) == "IOB2"
    assert detect_scheme([["O", "O"], []]) == "IOB2"
    assert detect_scheme([["B-PER", "O"]]) == "IOB2"
    assert detect_scheme([["I-PER", "O"]]) == "IOB1"
    assert detect_scheme([["S-PER", "O"]]) == "BIOES"
