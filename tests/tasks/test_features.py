"""Examples to inputs: nothing lost, nothing twice, every target on the piece it speaks of."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from by_kind import build
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.core.errors import UsageError
from bertsmith.tasks.examples import (
    Answer,
    AnswerExample,
    ChoiceExample,
    Limits,
    TagExample,
    TextExample,
)
from bertsmith.tasks.features import Features
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

LETTERS = "abcdefghi"
TOKENIZER = Tokenizer(
    (*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *"中文答案。,😀", "ᄒ", "##ᅡ", "##ᆫ")
)
TAGS = ("O", "B-X", "I-X")

# Words as they stand alone; each is cut off from its neighbours by the rules themselves.
WORDS = (
    "a",
    "abc",
    "é",
    "e\u0301d",
    "zz",
    "中",
    "文",
    "。",
    "😀",
    "한",
    "İb",
    "a\u200db",
    "\u0301",
)
# Of those, every one that has pieces.
UNITS = WORDS[:-1]

words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9)
documents = st.lists(
    st.tuples(words, st.booleans()).map(lambda pair: (tuple(pair[0]), pair[1])),
    min_size=1,
    max_size=8,
)
limits = st.builds(Limits, st.integers(4, 24), st.integers(1, 30))


def pieces_of(text: str) -> list[int]:
    return TOKENIZER.encode(text).ids


def rows_of(features: Features) -> list[list[int]]:
    """Ids of every row, joined as a model gets them."""
    ids_T, _, lengths = features.joined(np.arange(len(features.rows)), TOKENIZER)
    return [row.tolist() for row in np.split(ids_T, np.cumsum(lengths)[:-1])]


def texts_of(features: Features) -> list[str]:
    return [" ".join(TOKENIZER.tokens(row)) for row in rows_of(features)]


def texts(*rows: tuple[str, str | float | None], pair: str | None = None) -> list[TextExample]:
    return [
        TextExample("", str(number), text, pair, label) for number, (text, label) in enumerate(rows)
    ]


@settings(max_examples=80, deadline=None)
@given(documents, limits)
def test_every_word_is_tagged_once_where_its_context_is_best(sentences, limit):
    number, examples, document_pieces = 0, [], {}
    for sentence, begins in sentences:
        number += begins
        tags = tuple(TAGS[len(word) % 3] for word in sentence)
        examples.append(TagExample("", "", sentence, tags, number))
        for word in sentence:
            own = pieces_of(word) or [TOKENIZER.unk_id]
            document_pieces.setdefault(number, []).append(own)
    features = build("token-classification", examples, TOKENIZER, limit, TAGS)
    table, rows = features.words, rows_of(features)
    assert len(table) == sum(len(example.words) for example in examples)
    assert table["target"].tolist() == [len(w) % 3 for e in examples for w in e.words]
    assert all(len(row) <= limit.max_length for row in rows)
    assert features.lengths.tolist() == [len(row) for row in rows]

    # Where each document's rows lie in it, found without what is tested.
    places, row = [], 0
    for own in document_pieces.values():
        flat = [piece for word in own for piece in word]
        spans, end = [], 0
        while end < len(flat):
            start = int(features.rows["a_start"][row] - features.rows["a_start"][0]) - len(places)
            end = start + len(rows[row]) - 2
            assert rows[row][1:-1] == flat[start:end]
            spans.append((start, end, row))
            row += 1
        first = 0
        for word in own:
            sides = {r: min(first - s, e - 1 - first) for s, e, r in spans if s <= first < e}
            places += [(sides, {r: first - s + 1 for s, _, r in spans}, word[0], len(word))]
            places += [None] * (len(word) - 1)
            first += len(word)
    assert row == len(rows)
    for word, place in zip(table, filter(None, places), strict=True):
        sides, inside, piece, size = place
        assert sides[word["row"]] == max(sides.values())
        assert word["place"] == inside[word["row"]]
        assert rows[word["row"]][word["place"]] == piece
        # The last piece, or the last that the window has.
        assert word["end"] == min(word["place"] + size - 1, len(rows[word["row"]]) - 2)
    assert features.word_edges.tolist() == [
        int((table["row"] < row).sum()) for row in range(len(rows) + 1)
    ]


def test_sentences_of_a_document_are_context_and_others_are_not():
    def sentence(text: str, document: int) -> TagExample:
        return TagExample("", "", tuple(text.split()), None, document)

    examples = [sentence("a b", 0), sentence("中 abc", 0), sentence("c", 1), sentence("d e f", 2)]
    features = build("token-classification", examples, TOKENIZER, Limits(6, 2), TAGS)
    assert texts_of(features) == [
        "[CLS] a b 中 a [SEP]",
        "[CLS] 中 a ##b ##c [SEP]",
        "[CLS] c [SEP]",
        "[CLS] d e f [SEP]",
    ]
    assert features.words["row"].tolist() == [0, 0, 0, 1, 2, 3, 3, 3]
    assert features.words["place"].tolist() == [1, 2, 3, 2, 1, 1, 2, 3]
    assert features.words["target"].tolist() == [-1] * 8
    assert (features.windowed, features.items, features.truncated) == (1, 4, 0)
    assert features.whole.tolist() == [8, 3, 5], "documents"


joints = st.lists(st.tuples(st.sampled_from(UNITS), st.booleans()), min_size=1, max_size=25)


@st.composite
def questions(draw) -> AnswerExample:
    """A context of words, some of them parted by a space more, and an answer of some of them."""
    context, edges = "", []
    for unit, spaced in draw(joints):
        context += "  " if spaced else " "
        edges.append((len(context), len(context) + len(unit)))
        context += unit
    first = draw(st.integers(0, len(edges) - 1))
    last = draw(st.integers(first, len(edges) - 1))
    start = edges[first][0]
    right = (Answer(context[start : edges[last][1]], start),)
    question = " ".join(draw(st.lists(st.sampled_from(UNITS), max_size=5)))
    return AnswerExample("", "", question, context, draw(st.sampled_from([right, ()])))


@settings(max_examples=80, deadline=None)
@given(st.lists(questions(), min_size=1, max_size=4), st.integers(14, 30), st.integers(1, 30))
def test_targets_are_the_pieces_that_spell_the_answer(examples, max_length, stride):
    features = build(
        "question-answering", examples, TOKENIZER, Limits(max_length, stride, max_question_length=8)
    )
    rows = rows_of(features)
    assert features.rows["example"].tolist() == sorted(features.rows["example"].tolist())
    assert len(features.targets) == len(rows)
    for number, example in enumerate(examples):
        inside = pieces_of(example.context)
        question = pieces_of(example.question)[:8]
        mine = np.flatnonzero(features.rows["example"] == number)
        begin = int(features.rows["b_start"][mine[0]])
        answer = example.answers[0] if example.answers else None
        spelled = pieces_of(answer.text) if answer else []
        before = len(pieces_of(example.context[: answer.start])) if answer else 0
        covered = set()
        for row in mine:
            start = int(features.rows["b_start"][row]) - begin
            text = inside[start : start + int(features.rows["b_length"][row])]
            covered |= set(range(start, start + len(text)))
            assert rows[row] == [
                TOKENIZER.cls_id, *question, TOKENIZER.sep_id, *text, TOKENIZER.sep_id
            ]  # fmt: skip
            first, last = features.targets[row].tolist()
            whole = answer and start <= before and before + len(spelled) <= start + len(text)
            assert (first > 0) == bool(whole)
            assert (last > 0) == bool(whole)
            if whole:
                assert rows[row][first : last + 1] == spelled
        assert covered == set(range(len(inside)))


def test_answers_that_begin_or_end_inside_a_piece_take_the_whole_piece():
    # "xyz" is one [UNK]; the letters of a Hangul syllable share its place.
    cases = [("a xyz b", 3, "y", [3, 3]), ("a 한 b", 2, "한", [3, 5]), ("a b", 1, " ", [0, 0])]
    for context, start, text, expected in cases:
        example = AnswerExample("", "", "", context, (Answer(text, start),))
        assert build(
            "question-answering", [example], TOKENIZER, Limits(20, 5)
        ).targets.tolist() == [expected]


def test_long_questions_are_cut_and_counted():
    ask = AnswerExample("", "", "a b c d e", "中 文", None)
    short = replace(ask, question="a b c", answers=())
    limit = Limits(12, 4, max_question_length=3)
    features = build("question-answering", [ask, short, ask], TOKENIZER, limit)
    assert texts_of(features) == ["[CLS] a b c [SEP] 中 文 [SEP]"] * 3
    assert features.truncated == 2
    assert features.whole.tolist() == [10, 8, 10]
    assert msgspec.json.encode(features.truncated) == b"2"
    assert features.targets is None
    assert build("question-answering", [short], TOKENIZER, limit).targets.tolist() == [[0, 0]]
    with pytest.raises(UsageError, match="use a length of at least 7"):
        build("question-answering", [ask], TOKENIZER, Limits(6, 4, max_question_length=3))


def test_a_context_is_encoded_once_for_all_its_questions():
    asked = [AnswerExample("", "", question, "a b 中", ()) for question in ("a", "b", "a")]
    features = build("question-answering", asked, TOKENIZER, Limits(20, 5))
    assert len(features.pieces_T) == 3 + 2
    assert len(set(features.rows["b_start"].tolist())) == 1


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=5),
    st.integers(4, 16),
    st.integers(1, 20),
    st.booleans(),
)
def test_windows_cover_every_piece_of_the_longer_text(sizes, max_length, stride, paired):
    letters = "abcdefghi" * 4
    examples = [
        TextExample("", "", " ".join(letters[:a]), " ".join(letters[:b]) if paired else None, "x")
        for a, b in sizes
    ]
    room = max_length - (3 if paired else 2)
    for long in ("truncate", "windows"):
        features = build(
            "classification", examples, TOKENIZER, Limits(max_length, stride, long), ["y", "x"]
        )
        assert features.targets.tolist() == [1] * len(features.rows)
        assert features.lengths.max() <= max_length
        too_long = lost = 0
        for number, (a, b) in enumerate(sizes):
            b = b if paired else 0
            found = features.rows[features.rows["example"] == number]
            over, beside = ("b", "a") if b > a else ("a", "b")
            covered = {
                int(row[f"{over}_start"] - found[f"{over}_start"][0]) + place
                for row in found
                for place in range(row[f"{over}_length"])
            }
            too_long += a + b > room
            lost += a + b > room and min(a, b) > room // 2
            if long == "windows":
                assert covered == set(range(max(a, b)))
                kept = min(a, b) if a + b <= room else min(a, b, room // 2)
                assert found[f"{beside}_length"].tolist() == [kept] * len(found)
            else:
                assert len(found) == 1
                assert found["a_length"][0] + found["b_length"][0] == min(a + b, room)
        assert features.truncated == (too_long if long == "truncate" else lost)
        assert features.windowed == int((np.bincount(features.rows["example"]) > 1).sum())


def test_texts_become_rows_with_their_targets():
    features = build(
        "classification", texts(("a b", "y"), ("", "x")), TOKENIZER, Limits(9, 4), "xy"
    )
    assert texts_of(features) == ["[CLS] a b [SEP]", "[CLS] [SEP]"]
    assert features.targets.tolist() == [1, 0]
    features = build(
        "regression", texts(("a", 2), ("b", 0.5), pair="中 c"), TOKENIZER, Limits(9, 4)
    )
    assert texts_of(features) == ["[CLS] a [SEP] 中 c [SEP]", "[CLS] b [SEP] 中 c [SEP]"]
    assert features.targets.tolist() == [2.0, 0.5]
    assert features.targets.dtype == np.float32
    _, segments_T, _ = features.joined(np.array([1]), TOKENIZER)
    assert segments_T.tolist() == [0, 0, 0, 1, 1, 1]
    half = build("classification", texts(("a", "x"), ("b", None)), TOKENIZER, Limits(9, 4), "xy")
    assert half.targets is None
    cut = build(
        "classification", texts(("a b c", "x"), ("a b", "x")), TOKENIZER, Limits(4, 4), "xy"
    )
    assert texts_of(cut) == ["[CLS] a b [SEP]"] * 2
    assert (cut.truncated, cut.windowed) == (1, 0)
    assert cut.whole.tolist() == [5, 4]
    windows = build(
        "classification", texts(("a b c", "x")), TOKENIZER, Limits(4, 1, "windows"), "xy"
    )
    assert (windows.whole.tolist(), windows.lengths.tolist()) == ([5], [4, 4])
    with pytest.raises(UsageError, match="use a length of at least 3"):
        build("classification", texts(("a", "x")), TOKENIZER, Limits(2, 1), "xy")


def test_choices_are_grouped_behind_their_beginning():
    examples = [
        ChoiceExample("", "", "a b", ("c", "d e f"), 1),
        ChoiceExample("", "", "中", ("d", "文"), 0),
    ]
    features = build("multiple-choice", examples, TOKENIZER, Limits(7, 4))
    assert texts_of(features) == [
        "[CLS] a b [SEP] c [SEP]",
        "[CLS] a b [SEP] d e [SEP]",
        "[CLS] 中 [SEP] d [SEP]",
        "[CLS] 中 [SEP] 文 [SEP]",
    ]
    assert (features.group, features.items) == (2, 2)
    assert features.rows["example"].tolist() == [0, 0, 1, 1]
    assert features.targets.tolist() == [1, 0]
    assert (features.truncated, features.windowed) == (1, 0)
    unlabelled = [replace(example, label=None) for example in examples]
    assert build("multiple-choice", unlabelled, TOKENIZER, Limits(9, 4)).targets is None
    assert features.whole.tolist() == [6, 8, 5, 5], "choices"
    # Both choices of the first are too long: it counts once.
    assert build("multiple-choice", examples, TOKENIZER, Limits(5, 4)).truncated == 1
