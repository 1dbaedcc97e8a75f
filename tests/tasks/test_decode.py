"""Outputs to answers: the best legal stretch, exact characters, shares that sum to one."""

import math

import msgspec
import numpy as np
import pytest
from by_kind import build, decode, gold, said
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bertsmith.tasks.decode import softmax
from bertsmith.tasks.examples import (
    Answer,
    AnswerExample,
    ChoiceExample,
    Limits,
    TagExample,
    TextExample,
)
from bertsmith.tasks.features import Features
from bertsmith.tasks.kind import Prediction
from bertsmith.tasks.kinds.answer_spans import SpanAnswer, best_spans
from bertsmith.tasks.kinds.classification import ClassAnswer
from bertsmith.tasks.kinds.entity_scores import TagAnswer, TaggedSpan
from bertsmith.tasks.kinds.multi_label import LabelsAnswer
from bertsmith.tasks.kinds.multiple_choice import ChoiceAnswer
from bertsmith.tasks.kinds.registry import KINDS
from bertsmith.tasks.kinds.regression import NumberAnswer
from bertsmith.tasks.kinds.token_classification import running_text
from bertsmith.text.tokenizer.encode import best_windows
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Cleaning, Tokenizer

LETTERS = "abcdefghi"
VOCAB = (
    *SPECIAL,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *"中文答案。é❤",
    "##é",
    "##\u0301",
)
TOKENIZER = Tokenizer(VOCAB)
LIMITS = Limits(16, 5)


def ask(context: str, question: str = "a") -> AnswerExample:
    return AnswerExample("", "", question, context)


def pointing(features: Features, row: int, first: int, last: int, *, null: float = 0.0):
    """Outputs that make the given pieces of a row's context the best stretch, of score 2."""
    outputs = np.zeros((int(features.lengths.sum()), 2), np.float32)
    starts = np.cumsum(features.lengths) - features.lengths
    outputs[starts] = null / 2
    begin = starts[row] + features.rows["a_length"][row] + 2
    outputs[begin + first, 0] = outputs[begin + last, 1] = 1.0
    return outputs


def only_answer(example: AnswerExample, first: int, last: int, tokenizer=TOKENIZER) -> SpanAnswer:
    features = build("question-answering", [example], tokenizer, Limits(64, 20))
    [answer] = decode("question-answering", features, pointing(features, 0, first, last), [example])
    return answer


scores = st.floats(-8, 8, width=32).map(float)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(0, 45))
def test_best_spans_are_those_of_an_exhaustive_search(data, length):
    starts_L = data.draw(arrays.arrays(np.float64, length, elements=scores))
    ends_L = data.draw(arrays.arrays(np.float64, length, elements=scores))
    allowed_L = data.draw(arrays.arrays(np.bool_, length))
    legal = {
        (first, last): starts_L[first] + ends_L[last]
        for first in range(length)
        for last in range(first, min(first + 30, length))
        if allowed_L[first]
    }
    found, firsts, lasts = best_spans(starts_L, ends_L, allowed_L)
    assert found.tolist() == sorted(legal.values(), reverse=True)[:20]
    spans = list(zip(firsts.tolist(), lasts.tolist(), strict=True))
    assert len(set(spans)) == len(spans)
    assert [legal[span] for span in spans] == found.tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_answers_are_the_best_legal_stretch_of_all_windows(data):
    units = st.lists(st.sampled_from(["a", "bcd", "中", "文", "é", "e\u0301", "zz"]), max_size=18)
    examples = [ask(" ".join(data.draw(units)) + " a", "b c") for _ in range(2)]
    stride = data.draw(st.integers(1, 9))
    features = build("question-answering", examples, TOKENIZER, Limits(12, stride))
    seed = data.draw(st.integers(0, 999))
    draw = np.random.default_rng(seed)
    outputs = draw.normal(size=(int(features.lengths.sum()), 2)).astype(np.float32)
    row_starts = np.cumsum(features.lengths) - features.lengths
    answers = decode("question-answering", features, outputs, examples, thresholds=(0.0,))
    assert len(answers) == len(examples)
    for number, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        places = TOKENIZER.encode(example.context).offsets
        mine = np.flatnonzero(features.rows["example"] == number)
        begin = features.rows["b_start"][mine[0]]
        firsts = features.rows["b_start"][mine] - begin
        spans = np.stack([firsts, firsts + features.rows["b_length"][mine]], 1)
        best = best_windows(spans, len(places))
        legal = {}
        for window, (row, (start, end)) in enumerate(zip(mine, spans.tolist(), strict=True)):
            text = row_starts[row] + features.rows["a_length"][row] + 2
            for first in range(start, end):
                for last in range(first, end):
                    if best[first] == window:
                        score = float(outputs[text + first - start, 0]) + float(
                            outputs[text + last - start, 1]
                        )
                        legal[score] = (first, last)
        first, last = legal[max(legal)]
        assert answer.best_start == places[first][0]
        expected = example.context[places[first][0] : places[last][1]]
        assert answer.best_text.removesuffix("\u0301") == expected
        null = min(float(outputs[row_starts[row]].sum()) for row in mine)
        assert answer.null_minus_best == pytest.approx(null - max(legal), abs=1e-6)
        assert answer.text == (answer.best_text if answer.null_minus_best <= 0 else "")
        # Shares of the 20 best stretches and of no answer.
        kept = [*sorted(legal, reverse=True)[:20], null]
        total = math.fsum(math.exp(score) for score in kept)
        assert answer.best_probability == pytest.approx(math.exp(max(legal)) / total, rel=1e-6)
        assert answer.null_probability == pytest.approx(math.exp(null) / total, rel=1e-6)


@pytest.mark.parametrize(
    ("context", "first", "last", "text"),
    [
        ("a abc d", 1, 3, "abc"),
        ("a 中文。b", 1, 2, "中文"),
        ("Ab É ç", 2, 2, "É"),
        ("caf\u00e9 b", 0, 3, "caf\u00e9"),
        ("cafe\u0301 b", 0, 3, "cafe\u0301"),
        ("a e\u0301\u0302中", 1, 1, "e\u0301\u0302"),
        ("a ❤\ufe0f b", 1, 1, "❤\ufe0f"),
        ("a 👩\u200d🔬 b", 1, 1, "👩\u200d🔬"),
        ("  a\u200d \t b  c", 1, 2, "b  c"),
    ],
)
def test_answers_are_the_exact_characters_of_the_context(context, first, last, text):
    answer = only_answer(ask(context), first, last)
    assert (answer.text, answer.start) == (text, context.index(text))
    assert context[answer.start :].startswith(answer.text)
    assert (answer.best_text, answer.best_start) == (answer.text, answer.start)


def test_accents_that_are_pieces_stay_with_their_letter():
    cased = Tokenizer(VOCAB, Cleaning(lower_case=False))
    assert only_answer(ask("a e\u0301 b"), 1, 1, cased).text == "e\u0301"
    assert only_answer(ask("a caf\u00e9"), 1, 4, cased).text == "caf\u00e9"


def test_a_start_counts_only_where_its_context_is_best():
    example = ask("a b c d e f g h i")
    features = build("question-answering", [example], TOKENIZER, Limits(10, 3))
    assert features.rows["b_length"].tolist() == [6, 6]
    # "e" is the fifth piece of the first window and the second of the next, which is poorer.
    best = best_windows(np.array([[0, 6], [3, 9]]), 9)
    assert best.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    [answer] = decode("question-answering", features, pointing(features, 0, 4, 5), [example])
    assert answer.text == "e f"
    [answer] = decode("question-answering", features, pointing(features, 1, 1, 2), [example])
    assert answer.text != "e f"


def test_no_stretch_is_longer_than_thirty_pieces():
    context = " ".join(LETTERS[n % 9] for n in range(40))
    features = build("question-answering", [ask(context)], TOKENIZER, Limits(64, 20))
    for last, whole in ((29, True), (30, False)):
        outputs = pointing(features, 0, 0, last)
        outputs[:, 0] -= 5 * (outputs[:, 0] < 1)
        [answer] = decode("question-answering", features, outputs, [ask(context)])
        assert answer.start == 0
        assert (answer.text == context[: 2 * last + 1]) is whole


def test_no_answer_wins_above_the_threshold():
    features = build("question-answering", [ask("a b c")], TOKENIZER, LIMITS)
    outputs = pointing(features, 0, 1, 2, null=3.0)  # the stretch has 2
    for threshold, text, start in ((0.5, "", -1), (1.0, "b c", 2), (1.5, "b c", 2)):
        [answer] = decode(
            "question-answering",
            features,
            outputs,
            [ask("a b c")],
            thresholds=() if threshold is None else (threshold,),
        )
        assert (answer.text, answer.start) == (text, start)
        assert (answer.best_text, answer.best_start) == ("b c", 2)
        assert answer.null_minus_best == 1.0
        sure = answer.best_probability if text else answer.null_probability
        assert answer.probability == sure
        # Six stretches: scores 2, 1 (four of them: their first or last is right), and one of 0.
        total = math.exp(2) + 3 * math.exp(1) + 2 * math.exp(0) + math.exp(3)
        assert answer.null_probability == pytest.approx(math.exp(3) / total)
        assert answer.best_probability == pytest.approx(math.exp(2) / total)
        for other in (-9.0, 0.0, 9.0):
            [expected] = decode(
                "question-answering", features, outputs, [ask("a b c")], thresholds=(other,)
            )
            assert answer.decided(other) == expected
    [answer] = decode("question-answering", features, outputs, [ask("a b c")])
    assert (answer.text, answer.null_probability) == ("b c", 0.0)
    assert answer.probability == pytest.approx(math.exp(2) / (total - math.exp(3)))


def test_no_answer_scores_as_in_the_window_that_speaks_least_for_it():
    example = ask("a b c d e f g h i")
    features = build("question-answering", [example], TOKENIZER, Limits(10, 3))
    outputs = pointing(features, 0, 1, 2, null=3.0)
    outputs[10] = 0.25  # `[CLS]` of the second window: 0.5 in all
    [answer] = decode("question-answering", features, outputs, [example], thresholds=(0.0,))
    assert (answer.text, answer.null_minus_best) == ("b c", -1.5)


def test_a_context_without_a_piece_has_no_answer():
    features = build("question-answering", [ask("\u0301"), ask("b")], TOKENIZER, LIMITS)
    outputs = np.zeros((int(features.lengths.sum()), 2), np.float32)
    for threshold in (None, 0.0):
        none, some = decode(
            "question-answering",
            features,
            outputs,
            [ask("\u0301"), ask("b")],
            thresholds=() if threshold is None else (threshold,),
        )
        assert (none.text, none.start) == ("", -1)
        assert (some.text, some.start) == ("b", 0)


def test_classes_are_the_mean_over_windows():
    examples = [TextExample("", "", "a b c d e"), TextExample("", "", "a")]
    features = build(
        "classification", examples, TOKENIZER, Limits(4, 0, "windows"), ("x", "y", "z")
    )
    assert features.rows["example"].tolist() == [0, 0, 0, 1]
    outputs = np.array([[1, 2, 0], [3, 0, 0], [5, 1, 0], [0, 0, 7]], np.float32)
    first, second = decode("classification", features, outputs, examples, labels=("x", "y", "z"))
    assert (first.label, second.label) == ("x", "z")
    expected = softmax(np.array([[3.0, 1.0, 0.0]]))[0]
    assert list(first.probabilities) == ["x", "y", "z"]
    assert list(first.probabilities.values()) == pytest.approx(expected.tolist())
    assert math.fsum(second.probabilities.values()) == pytest.approx(1.0, abs=1e-12)


def test_numbers_are_means_within_their_bounds():
    examples = [TextExample("", "", text) for text in ("a b c d", "a", "b")]
    features = build("regression", examples, TOKENIZER, Limits(4, 0, "windows"))
    outputs = np.array([[1.0], [2.5], [7.0], [-1.0]], np.float32)
    free = decode("regression", features, outputs, examples)
    assert free == [NumberAnswer(1.75), NumberAnswer(7.0), NumberAnswer(-1.0)]
    bound = decode("regression", features, outputs, examples, bounds=(0.0, 5.0))
    assert bound == [NumberAnswer(1.75), NumberAnswer(5.0), NumberAnswer(0.0)]


def test_choices_share_one_softmax():
    examples = [
        ChoiceExample("", "", "a", ("b", "c", "d")),
        ChoiceExample("", "", "a", tuple("efg")),
    ]
    features = build("multiple-choice", examples, TOKENIZER, LIMITS)
    outputs = np.array([[0], [math.log(2)], [0], [math.log(6)], [0], [0]], np.float32)
    first, second = decode("multiple-choice", features, outputs, examples)
    assert (first.choice, first.text) == (1, "c")
    assert (second.choice, second.text) == (0, "e")
    assert first.probabilities == pytest.approx([0.25, 0.5, 0.25])
    assert second.probabilities == pytest.approx([0.75, 0.125, 0.125])


def test_tags_belong_to_their_words_and_spell_entities():
    labels = ("O", "B-X", "I-X")
    examples = [TagExample("", "", ("a", "bc", "d")), TagExample("", "", ("中",), None, 1)]
    features = build("token-classification", examples, TOKENIZER, LIMITS, labels)
    outputs = np.array([[0, 2, 0], [0, 0, 3], [1, 0, 0], [0, 0, 1]], np.float32)
    first, second = decode("token-classification", features, outputs, examples, labels=labels)
    assert (first.words, first.tags) == (["a", "bc", "d"], ["B-X", "I-X", "O"])
    assert first.entities == [TaggedSpan("X", 0, 4, "a bc", 0, 2)]
    sure = [math.e**score / (math.e**score + 2) for score in (2, 3, 1)]
    assert first.probabilities == pytest.approx(sure)
    # conlleval takes an I that continues nothing for the beginning of an entity.
    assert second.entities == [TaggedSpan("X", 0, 1, "中", 0, 1)]


def test_entities_of_running_text_have_its_places():
    labels = ("O", "B-X", "I-X")
    example = running_text("", "", "  a \t bc\u200b\n中 d", document=0)
    assert example.words == ("a", "bc", "中", "d")
    features = build("token-classification", [example], TOKENIZER, LIMITS, labels)
    outputs = np.array([[0, 2, 0], [0, 0, 3], [1, 0, 0], [0, 1, 0]], np.float32)
    [answer] = decode("token-classification", features, outputs, [example], labels=labels)
    assert answer.entities == [
        TaggedSpan("X", 2, 8, "a \t bc", 0, 2), TaggedSpan("X", 12, 13, "d", 3, 4)
    ]  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.float64, (3, 4), elements=st.floats(-1e300, 1e300)))
def test_shares_sum_to_one(outputs):
    shares = softmax(outputs)
    assert (shares >= 0).all()
    assert shares.sum(-1) == pytest.approx(np.ones(3), abs=1e-12)


def test_right_and_said_answers_are_what_metrics_take():
    texts = [TextExample("", "", "a", None, label) for label in ("y", "x")]
    assert gold("classification", texts, ("x", "y")).tolist() == [1, 0]
    assert said("classification", [ClassAnswer("y", {}), ClassAnswer("x", {})], "xy").tolist() == [
        1,
        0,
    ]
    numbers = [TextExample("", "", "a", None, 2.5)]
    assert gold("regression", numbers, ()).tolist() == [2.5]
    assert said("regression", [NumberAnswer(1.5)], ()).tolist() == [1.5]
    assert gold("multiple-choice", [ChoiceExample("", "", "a", ("b", "c"), 1)], ()).tolist() == [1]
    assert said("multiple-choice", [ChoiceAnswer(1, "c", [])], ()).tolist() == [1]
    assert gold("token-classification", [TagExample("", "", ("a",), ("O",))], ()) == [("O",)]
    assert said("token-classification", [TagAnswer(["a"], ["O"], [1.0], [])], ()) == [["O"]]
    asked = [AnswerExample("", "", "q", "a b", (Answer("a", 0), Answer("b", 2)))]
    assert gold("question-answering", [*asked, AnswerExample("", "", "q", "c", ())], ()) == [
        ("a", "b"),
        (),
    ]
    assert said("question-answering", [SpanAnswer("b", 2, 1.0, "b", 2, 1.0, 0.0, -1.0)], ()) == [
        "b"
    ]


def test_answers_of_every_kind_go_to_json_and_back():
    answers: list[Prediction] = [
        ClassAnswer("x", {"x": 1.0}),
        LabelsAnswer(["x"], {"x": 0.75}),
        NumberAnswer(0.5),
        ChoiceAnswer(0, "a", [1.0]),
        TagAnswer(["a"], ["B-X"], [1.0], [TaggedSpan("X", 0, 1, "a", 0, 1)]),
        SpanAnswer("a", 0, 1.0, "a", 0, 1.0, 0.0, -1.0),
    ]
    for answer, kind in zip(answers, KINDS.values(), strict=True):
        assert msgspec.json.decode(msgspec.json.encode(answer), type=kind.prediction) == answer
