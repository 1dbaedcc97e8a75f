import math
import random
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.stats
import seqeval.metrics
import sklearn.metrics
from by_kind import kind_with

from bertsmith.tasks.entities import convert
from bertsmith.tasks.kinds.confusion import confusion, per_class
from bertsmith.tasks.kinds.entity_scores import per_type
from bertsmith.tasks.kinds.registry import KINDS
from bertsmith.tasks.metric import UNDEFINED, Row
from bertsmith.tasks.metrics import METRICS, interval, main, score

CLOSE = 1e-12

TAGS = ["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in ("PER", "LOC", "ORG"))]


def one(name: str, gold: Any, predicted: Any) -> float | None:
    return score([name], gold, predicted)[name]


def same(found: float | None, expected: float) -> bool:
    """Within 1e-12; an oracle says "undefined" by NaN."""
    if found is None or math.isnan(expected):
        return found is None and math.isnan(expected)
    return abs(found - expected) < CLOSE


def test_every_metric_is_there_with_its_kinds() -> None:
    found = {
        name: tuple(one for one, kind in KINDS.items() if name in kind.metrics) for name in METRICS
    }
    assert found == {
        "accuracy": ("classification", "multiple-choice"),
        "f1": ("classification",),
        "macro_f1": ("classification",),
        "matthews": ("classification",),
        "pearson": ("regression",),
        "spearman": ("regression",),
        "mae": ("regression",),
        "exact_match": ("question-answering",),
        "answer_f1": ("question-answering",),
        "micro_f1": ("multi-label",),
        "label_macro_f1": ("multi-label",),
        "lrap": ("multi-label",),
        "tag_accuracy": ("token-classification",),
        "entity_precision": ("token-classification",),
        "entity_recall": ("token-classification",),
        "entity_f1": ("token-classification",),
    }


def test_accuracy_of_tags_counts_words_not_sentences() -> None:
    gold = [("NN", "JJ", "NN"), ("NN",)]
    said = [("NN", "NN", "NN"), ("JJ",)]
    assert score(["tag_accuracy"], gold, said) == {"tag_accuracy": 0.5}


# gold 1 1 1 0 0 0 0 1, predicted 1 1 0 1 0 0 0 0: 2 hits of 1, 3 of 0, 1 false alarm, 2 misses.
GOLD = np.array([1, 1, 1, 0, 0, 0, 0, 1])
GUESS = np.array([1, 1, 0, 1, 0, 0, 0, 0])


def test_metrics_of_classes_by_hand() -> None:
    found = score(["accuracy", "f1", "macro_f1", "matthews"], GOLD, GUESS)
    assert list(found) == ["accuracy", "f1", "macro_f1", "matthews"]
    assert found["accuracy"] == 5 / 8
    assert same(found["f1"], 4 / 7)
    assert same(found["macro_f1"], (4 / 7 + 6 / 9) / 2)
    assert same(found["matthews"], (2 * 3 - 1 * 2) / math.sqrt(3 * 4 * 4 * 5))


def test_correlations_by_hand() -> None:
    gold, predicted = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    assert same(one("pearson", gold, predicted), 0.8)
    assert same(one("spearman", gold, predicted**5), 0.8)
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5 of 4.5 and 5.
    assert same(one("spearman", gold, np.array([0.0, 7.0, 7.0, 9.0])), 4.5 / math.sqrt(4.5 * 5))
    assert one("pearson", gold, -2 * gold + 7) == -1.0
    assert same(one("mae", gold, gold + np.array([1.0, -2.0, 0.0, 3.0])), 1.5)
    assert one("spearman", gold, -gold) == -1.0


def test_metrics_of_answers_by_hand() -> None:
    gold = [("Denver Broncos",), ("the big cat", "cat"), ("x",), ("y",)]
    predicted = ["The Broncos", "a cat", "", "y!"]
    found = score(["exact_match", "answer_f1"], gold, predicted)
    assert found["exact_match"] == 2 / 4
    assert same(found["answer_f1"], (2 / 3 + 1 + 0 + 1) / 4)
    gold[3] = ()
    assert score(["exact_match", "answer_f1"], gold, ["", "cat", "x", ""]) == {
        "exact_match": 3 / 4,
        "answer_f1": 3 / 4,
    }


def test_the_script_of_v2_is_used_once_a_question_has_no_answer() -> None:
    names = ["exact_match", "answer_f1"]
    assert score(names, [("the",)], ["a"]) == {"exact_match": 1.0, "answer_f1": 0.0}
    assert score(names, [("the",), ()], ["a", ""]) == {"exact_match": 1.0, "answer_f1": 1.0}


def test_metrics_of_entities_by_hand() -> None:
    gold = ["B-PER I-PER O B-LOC".split(), "O O".split(), "B-ORG B-ORG".split()]
    predicted = ["B-PER I-PER O B-ORG".split(), "O I-LOC".split(), "B-ORG I-ORG".split()]
    # 4 in the gold tags, 4 predicted, PER is right.
    assert score(["entity_precision", "entity_recall", "entity_f1"], gold, predicted) == {
        "entity_precision": 1 / 4,
        "entity_recall": 1 / 4,
        "entity_f1": 1 / 4,
    }
    assert per_type(gold, predicted) == [
        Row("LOC", 0.0, 0.0, 0.0, 1),
        Row("ORG", 0.0, 0.0, 0.0, 2),
        Row("PER", 1.0, 1.0, 1.0, 1),
    ]


def test_entities_do_not_reach_across_sentences() -> None:
    gold = [["B-PER"], ["I-PER"]]
    assert one("entity_f1", gold, [["I-PER"], ["B-PER"]]) == 1.0


@pytest.mark.filterwarnings("ignore:A single label was found")
def test_thousands_of_classifications_score_as_in_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    names = ["accuracy", "f1", "macro_f1", "matthews"]
    for case in range(200):
        classes, size = int(rng.integers(1, 7)), int(rng.integers(1, 60))
        # Skewed, so that some classes are on one side only, and some sides are constant.
        shares = rng.dirichlet(np.full(classes, 0.3), size=2)
        gold, predicted = (rng.choice(classes, size, p=share) for share in shares)
        if case % 3 == 0:
            predicted = np.where(rng.random(size) < 0.7, gold, predicted)
        found = score(names, gold, predicted)
        both = np.union1d(gold, predicted)
        matrix = sklearn.metrics.confusion_matrix(gold, predicted, labels=range(classes))
        assert np.array_equal(confusion(gold, predicted, ["c"] * classes), matrix)
        precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
            gold, predicted, labels=range(classes), zero_division=0.0
        )
        rows = per_class(gold, predicted, [str(c) for c in range(classes)])
        assert [row.name for row in rows] == [str(c) for c in range(classes)]
        assert [row.support for row in rows] == support.tolist()
        for row, *expected in zip(rows, precision, recall, f1, strict=True):
            assert same(row.precision, expected[0])
            assert same(row.recall, expected[1])
            assert same(row.f1, expected[2])
        assert same(found["accuracy"], sklearn.metrics.accuracy_score(gold, predicted))
        assert same(found["f1"], f1[1] if classes > 1 else 0.0)
        assert same(found["macro_f1"], f1[both].mean())
        assert same(found["matthews"], sklearn.metrics.matthews_corrcoef(gold, predicted))


def test_macro_f1_and_matthews_are_the_oracles_own_defaults() -> None:
    gold, predicted = np.array([0, 2, 2, 4, 4, 4]), np.array([0, 2, 4, 4, 4, 1])
    expected = sklearn.metrics.f1_score(gold, predicted, average="macro", zero_division=0.0)
    assert same(one("macro_f1", gold, predicted), expected)
    assert same(expected, (1 + 2 / 3 + 2 / 3 + 0) / 4)  # classes 0, 2, 4 and 1; 3 is nowhere
    matthews = sklearn.metrics.matthews_corrcoef(gold, predicted)
    assert same(one("matthews", gold, predicted), matthews)


def test_constant_classifications() -> None:
    ones, zeros = np.ones(8, int), np.zeros(8, int)
    assert one("matthews", GOLD, ones) == 0.0
    assert one("matthews", GOLD, zeros) == 0.0
    assert one("matthews", zeros, zeros) == 0.0
    assert one("matthews", zeros, ones) == 0.0
    assert one("f1", GOLD, zeros) == 0.0
    assert one("f1", zeros, zeros) == 0.0
    assert one("macro_f1", zeros, zeros) == 1.0
    assert one("accuracy", zeros, ones) == 0.0


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
@pytest.mark.filterwarnings("ignore::scipy.stats.NearConstantInputWarning")
def test_thousands_of_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    undefined = 0
    for case in range(500):
        size = int(rng.integers(2, 50))
        gold = rng.normal(size=size)
        predicted = gold * rng.normal() + rng.normal(size=size)
        if case % 2:  # many ties, sometimes nothing but one
            gold, predicted = np.round(gold), np.round(predicted * 0.3)
        gold = gold * 10.0 ** rng.integers(-6, 7) + 1000 * rng.normal() * (case % 5 == 0)
        found = score(["pearson", "spearman"], gold, predicted)
        assert same(found["pearson"], float(scipy.stats.pearsonr(gold, predicted).statistic))
        assert same(found["spearman"], float(scipy.stats.spearmanr(gold, predicted).statistic))
        undefined += found["pearson"] is None
    assert 10 < undefined < 250


def test_a_correlation_with_a_constant_is_undefined() -> None:
    gold = np.array([1.0, 2.0, 3.0])
    for constant in (0.0, 0.1, 1e-30, 1e15):
        predicted = np.full(3, constant)
        assert score(["pearson", "spearman"], gold, predicted) == {
            "pearson": None,
            "spearman": None,
        }
        assert score(["pearson", "spearman"], predicted, gold) == {
            "pearson": None,
            "spearman": None,
        }
    assert one("pearson", gold, np.array([1.0, np.nan, 2.0])) is None
    assert one("spearman", gold, np.array([1.0, np.nan, 2.0])) is None
    assert one("pearson", gold, np.array([1.0, np.inf, 2.0])) is None
    assert one("spearman", gold, np.array([1.0, 2.0, np.inf])) == 1.0
    assert one("pearson", gold[:1], gold[:1]) is None
    assert "undefined" in UNDEFINED


def test_numbers_far_from_zero_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-1000, 1000, 100).astype(float)
    y = x + rng.integers(-500, 500, 100)
    expected = float(scipy.stats.pearsonr(x, y).statistic)
    assert same(one("pearson", x + 2.0**40, y * 2.0**-300), expected)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_thousands_of_tag_sequences_score_as_in_seqeval() -> None:
    rng = random.Random(0)
    for _ in range(250):
        gold, predicted = [], []
        for _ in range(rng.randrange(1, 8)):
            tags = rng.choices(TAGS, k=rng.randrange(1, 10))
            gold.append(convert(tags, rng.choice(["IOB1", "IOB2", "BIOES"])))
            predicted.append([rng.choice(TAGS) if rng.random() < 0.3 else tag for tag in gold[-1]])
        found = score(["entity_precision", "entity_recall", "entity_f1"], gold, predicted)
        oracle = seqeval.metrics
        assert same(found["entity_precision"], float(oracle.precision_score(gold, predicted)))
        assert same(found["entity_recall"], float(oracle.recall_score(gold, predicted)))
        assert same(found["entity_f1"], float(oracle.f1_score(gold, predicted)))
        rows = per_type(gold, predicted)
        if rows:
            report = oracle.classification_report(gold, predicted, output_dict=True)
            assert [row.name for row in rows] == [name for name in report if "avg" not in name]
            for row in rows:
                expected = report[row.name]
                assert same(row.precision, expected["precision"])
                assert same(row.recall, expected["recall"])
                assert same(row.f1, expected["f1-score"])
                assert row.support == expected["support"]


def test_entities_that_nobody_has_score_0() -> None:
    empty, full = [["O", "O"]], [["B-PER", "O"]]
    names = ["entity_precision", "entity_recall", "entity_f1"]
    for gold, predicted in ((empty, empty), (empty, full), (full, empty)):
        assert list(score(names, gold, predicted).values()) == [0.0, 0.0, 0.0]
    assert per_type(empty, empty) == []
    assert per_type(empty, full) == [Row("PER", 0.0, 0.0, 0.0, 0)]


def test_per_class_and_confusion_by_hand() -> None:
    assert confusion(GOLD, GUESS, ["no", "yes", "maybe"]).tolist() == [
        [3, 1, 0],
        [2, 2, 0],
        [0, 0, 0],
    ]
    assert per_class(GOLD, GUESS, ["no", "yes", "maybe"]) == [
        Row("no", 3 / 5, 3 / 4, 6 / 9, 4),
        Row("yes", 2 / 3, 2 / 4, 4 / 7, 4),
        Row("maybe", 0.0, 0.0, 0.0, 0),
    ]


def test_main_is_the_mean_with_undefined_as_0() -> None:
    assert main({"accuracy": 0.5, "f1": 0.25}) == 0.375
    assert main({"pearson": None, "spearman": 0.5}) == 0.25
    assert main({"pearson": None, "spearman": None}) == 0.0


def test_without_examples_every_metric_is_undefined() -> None:
    for name in METRICS:
        assert one(name, [], []) is None
        assert interval(name, [], []) is None


@pytest.mark.parametrize("name", METRICS)
def test_one_prediction_an_example(name: str) -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 examples"):
        score([name], [0, 1], [0])
    with pytest.raises(ValueError, match="1 predictions for 2 examples"):
        interval(name, [0, 1], [0])


def examples(kind: str, size: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    if kind in ("classification", "multiple-choice"):
        gold = rng.integers(3, size=size)
        return gold, np.where(rng.random(size) < 0.6, gold, rng.integers(3, size=size))
    if kind == "regression":
        x = rng.normal(size=size)
        return x, x + rng.normal(size=size)
    if kind == "multi-label":
        true = rng.random((size, 4)) < 0.4
        scores = 0.5 * true + rng.random((size, 4))
        return true, np.stack([scores > 0.8, scores], 1)
    right = rng.random(size) < 0.7
    if kind == "token-classification":
        predicted = [["B-PER", "I-PER"] if yes else ["B-PER", "O"] for yes in right]
        return [["B-PER", "I-PER"]] * size, predicted
    return [("the cat sat",)] * size, ["cat sat" if yes else "a cat" for yes in right]


@pytest.mark.parametrize("name", METRICS)
def test_an_interval_holds_the_score_and_is_the_same_for_a_seed(name: str) -> None:
    gold, predicted = examples(kind_with(name), 200)
    value = one(name, gold, predicted)
    ends = interval(name, gold, predicted)
    assert value is not None
    assert ends is not None
    assert ends[0] < value < ends[1]
    assert 0.03 < ends[1] - ends[0] < 0.35
    assert interval(name, gold, predicted) == ends
    assert interval(name, gold, predicted, seed=1) != ends
    narrow = interval(name, gold, predicted, level=0.5)
    assert narrow is not None
    assert ends[0] < narrow[0] < narrow[1] < ends[1]


@pytest.mark.parametrize(("size", "share"), [(100, 0.5), (400, 0.9), (3000, 0.7)])
def test_the_interval_of_an_accuracy_is_as_wide_as_the_binomial_one(
    size: int, share: float
) -> None:
    gold = np.zeros(size, int)
    predicted = (np.arange(size) >= share * size).astype(int)
    ends = interval("accuracy", gold, predicted, resamples=4000)
    assert ends is not None
    half = 1.96 * math.sqrt(share * (1 - share) / size)
    assert abs((ends[1] - ends[0]) / (2 * half) - 1) < 0.1
    assert abs((ends[0] + ends[1]) / 2 - share) < 0.1 * half


@pytest.mark.parametrize("name", ["f1", "macro_f1", "matthews", "pearson", "spearman"])
def test_a_resample_scores_as_if_it_were_the_examples(name: str) -> None:
    gold, predicted = examples(kind_with(name), 50)
    picked = np.random.default_rng(0).integers(50, size=50)
    weights = np.bincount(picked, minlength=50)
    metric = METRICS[name]
    [sums_K] = metric.sums(metric.statistics(gold, predicted), weights[None])
    found = metric.value(sums_K)
    if name == "spearman":  # the ranks stay those of the full sample
        name = "pearson"
        gold, predicted = scipy.stats.rankdata(gold), scipy.stats.rankdata(predicted)
    expected = one(name, gold[picked], predicted[picked])
    assert expected is not None
    assert same(found, expected)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_resample_of_one_example_has_no_correlation(name: str) -> None:
    gold, predicted = examples("regression", 300)
    metric = METRICS[name]
    # Rounding leaves a little of the variance, of either sign, that is 0.
    sums = 300 * metric.statistics(gold, predicted)
    assert [metric.value(sums_K) for sums_K in sums] == [None] * 300


def test_resamples_without_a_value_are_left_out() -> None:
    # Of three examples a resample is constant in 1 of 9 cases, and a line in most others.
    ends = interval("pearson", np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0]))
    assert ends == (-1.0, 1.0)
    assert interval("pearson", np.ones(5), np.arange(5.0)) is None
    # One resample, drawn from two examples until it is constant: nothing has a value.
    pair = np.array([0.0, 1.0])
    found = [interval("pearson", pair, pair, resamples=1, seed=seed) for seed in range(20)]
    assert set(found) == {None, (1.0, 1.0)}


def test_memory_does_not_grow_with_the_resamples() -> None:
    gold, predicted = examples("classification", 20_000)
    tracemalloc.start()
    interval("macro_f1", gold, predicted, resamples=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # 500 resamples of 20,000 draws are 80 MB an array


@pytest.mark.parametrize("name", ["macro_f1", "matthews"])
def test_memory_does_not_grow_with_the_classes(name: str) -> None:
    rng = np.random.default_rng(0)
    gold, predicted = rng.integers(2000, size=(2, 5000))
    tracemalloc.start()
    score([name], gold, predicted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # one-hot rows would be 240 MB
