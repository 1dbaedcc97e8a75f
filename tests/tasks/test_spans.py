import random
import string
from collections import Counter

import numpy as np
import pytest

from bertsmith.tasks.spans import answer_f1, best_threshold, exact_match, normalised


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat,\tthe hat!", "cat hat"),
        ("an apple a day", "apple day"),
        ("the", ""),
        ("A.", ""),
        ("...", ""),
        ("", ""),
        ("the-end", "theend"),  # punctuation leaves no space
        ("The-", ""),  # and goes before articles
        ("theatre", "theatre"),
        ("a1 1a", "a1 1a"),
        ("U.S.A.", "usa"),
        ("U. S. A.", "u s"),
        ("$1,000.50", "100050"),
        ("“Ändern”\u00a0die", "“ändern” die"),  # only ASCII punctuation
        ("北京，中国。", "北京，中国。"),
        ("a北京", "a北京"),
    ],
)
def test_normalised_by_hand(text: str, expected: str) -> None:
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("answers", "predicted", "exact", "f1"),
    [
        (("Denver Broncos",), "the denver broncos", 1.0, 1.0),
        (("Denver Broncos",), "Broncos", 0.0, 2 / 3),
        (("Denver Broncos", "Broncos"), "Broncos!", 1.0, 1.0),
        (("the big cat", "cat"), "a small cat", 0.0, 2 / 3),  # 2/4 and 2/3
        (("to be or not to be",), "to to to", 0.0, 4 / 9),  # two of the three are shared
        (("x",), "y", 0.0, 0.0),
        (("x",), "", 0.0, 0.0),
        (("x",), "the", 0.0, 0.0),
        (("北京", "北京市"), "北京市", 1.0, 1.0),
        (("北京",), "北京市", 0.0, 0.0),
    ],
)
def test_answers_that_both_scripts_score_alike(
    answers: tuple[str, ...], predicted: str, exact: float, f1: float
) -> None:
    for impossible in (False, True):
        assert exact_match(answers, predicted, may_be_impossible=impossible) == exact
        assert answer_f1(answers, predicted, may_be_impossible=impossible) == pytest.approx(
            f1, abs=1e-15
        )


@pytest.mark.parametrize(
    ("answers", "predicted", "version_1", "version_2"),
    [
        (("the",), "a", (1.0, 0.0), (1.0, 1.0)),
        (("the",), "", (1.0, 0.0), (1.0, 1.0)),
        (("the",), "x", (0.0, 0.0), (0.0, 0.0)),
        ((".", "peace"), "!", (1.0, 0.0), (0.0, 0.0)),
        ((".", "peace"), "the peace", (1.0, 1.0), (1.0, 1.0)),
    ],
)
def test_answers_that_normalise_to_nothing(
    answers: tuple[str, ...],
    predicted: str,
    version_1: tuple[float, float],
    version_2: tuple[float, float],
) -> None:
    for impossible, expected in ((False, version_1), (True, version_2)):
        exact = exact_match(answers, predicted, may_be_impossible=impossible)
        f1 = answer_f1(answers, predicted, may_be_impossible=impossible)
        assert (exact, f1) == expected


def test_no_answer() -> None:
    for predicted, expected in (("", 1.0), ("the", 1.0), ("?", 1.0), ("x", 0.0)):
        assert exact_match((), predicted, may_be_impossible=True) == expected
        assert answer_f1((), predicted, may_be_impossible=True) == expected


# The two scripts, from their definitions, one step a line.


def reference_tokens(text: str) -> list[str]:
    kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
    runs, word = [], ""
    for character in kept:
        is_word = character.isalnum() or character == "_"
        if word and is_word != (word[-1].isalnum() or word[-1] == "_"):
            runs.append(word)
            word = ""
        word += character
    runs.append(word)
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def reference(answers: list[str], predicted: str, *, version: int) -> tuple[float, float]:
    rights = [reference_tokens(answer) for answer in answers]
    if version == 2:
        rights = [tokens for tokens in rights if tokens] or [[]]
    guess = reference_tokens(predicted)
    exact = max(float(right == guess) for right in rights)
    best = 0.0
    for right in rights:
        same = sum(min(n, Counter(guess)[token]) for token, n in Counter(right).items())
        if version == 2 and (not right or not guess):
            f1 = float(right == guess)
        elif not same:
            f1 = 0.0
        else:
            precision, recall = same / len(guess), same / len(right)
            f1 = 2 * precision * recall / (precision + recall)
        best = max(best, f1)
    return exact, best


PIECES = "the,The,a,an,cat,Cat,dog,of,.,-,'s,é,北, ,  ".split(",")


def random_answer(rng: random.Random) -> str:
    return rng.choice(["", " "]).join(rng.choices(PIECES, k=rng.randrange(7)))


def test_thousands_of_answers_score_as_by_the_definitions() -> None:
    rng = random.Random(0)
    shared = 0
    for _ in range(8000):
        answers = [random_answer(rng) for _ in range(rng.randrange(5))]
        predicted = random_answer(rng)
        for version in (2, 1) if answers else (2,):
            exact, f1 = reference(answers, predicted, version=version)
            impossible = version == 2
            assert exact_match(answers, predicted, may_be_impossible=impossible) == exact
            assert abs(answer_f1(answers, predicted, may_be_impossible=impossible) - f1) < 1e-12
            shared += 0 < f1 < 1
    assert shared > 1500


def scores_at(
    threshold: float, differences: np.ndarray, has_answer: np.ndarray, scores: np.ndarray
) -> float:
    """What `evaluate-v2.0.py` scores with this `--na-prob-thresh`."""
    return float(np.where(differences > threshold, ~has_answer, scores).mean())


def official_search(
    differences: np.ndarray, has_answer: np.ndarray, scores: np.ndarray
) -> tuple[float, float]:
    """`find_best_thresh` from its definition, for predictions that do not normalise to nothing."""
    total = best = float((~has_answer).sum())
    threshold = 0.0
    for place in sorted(range(len(scores)), key=lambda i: differences[i]):
        total += scores[place] if has_answer[place] else scores[place] - 1
        if total > best:
            best, threshold = total, float(differences[place])
    return threshold, best / len(scores)


def random_case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = int(rng.integers(1, 30))
    has_answer = rng.random(size) < rng.random()
    f1 = np.round(rng.random(size) * (rng.random(size) < 0.7), 2)
    return rng.normal(size=size), has_answer, np.where(has_answer, f1, 0.0)


def test_the_threshold_of_thousands_of_cases_is_the_official_one() -> None:
    rng = np.random.default_rng(0)
    answering = 0
    for _ in range(3000):
        differences, has_answer, scores = random_case(rng)
        threshold, score = best_threshold(differences, has_answer, scores=scores)
        official, official_score = official_search(differences, has_answer, scores)
        assert abs(score - official_score) < 1e-12
        assert abs(score - scores_at(threshold, differences, has_answer, scores)) < 1e-12
        if threshold >= differences.min():
            assert threshold == official
            answering += 1
    assert 1000 < answering < 3000


def test_no_other_threshold_is_better_even_with_equal_differences() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        differences, has_answer, scores = random_case(rng)
        differences = np.round(differences)
        threshold, score = best_threshold(differences, has_answer, scores=scores)
        assert abs(score - scores_at(threshold, differences, has_answer, scores)) < 1e-12
        tried = [scores_at(t, differences, has_answer, scores) for t in np.arange(-9.5, 9.5)]
        assert abs(score - max(tried)) < 1e-12


def test_thresholds_by_hand() -> None:
    differences = np.array([2.0, -1.0, 1.0, 0.5])
    has_answer = np.array([False, True, True, False])
    # Nothing answered: 2 of 4. At -1: 3. At 0.5: one is lost, 2. At 1: 2.5. At 2: 1.5.
    scores = np.array([0.0, 1.0, 0.5, 0.0])
    assert best_threshold(differences, has_answer, scores=scores) == (-1.0, 0.75)
    # All have answers: the more answered the better.
    assert best_threshold(differences, np.ones(4, bool), scores=np.ones(4)) == (2.0, 1.0)
    # None has: nothing is answered. 0 says so only where every difference is above it.
    nothing = np.zeros(4)
    threshold, score = best_threshold(differences, np.zeros(4, bool), scores=nothing)
    assert score == 1.0
    assert threshold == -2.0
    assert best_threshold(differences + 2, np.zeros(4, bool), scores=nothing) == (0.0, 1.0)
    # "the" where there is no answer is right as it stands, and answering it loses nothing.
    assert best_threshold(
        np.array([0.1, 0.2]), np.array([False, True]), scores=np.array([1.0, 1.0])
    ) == (0.2, 1.0)


def test_thresholds_of_single_precision_hold() -> None:
    rng = random.Random(0)
    for _ in range(100):
        differences = np.array([rng.gauss(0, 1) for _ in range(20)], np.float32)
        has_answer = np.array([rng.random() < 0.5 for _ in range(20)])
        scores = np.where(has_answer, 1.0, 0.0)
        threshold, score = best_threshold(differences, has_answer, scores=scores)
        assert abs(score - scores_at(threshold, differences, has_answer, scores)) < 1e-12
