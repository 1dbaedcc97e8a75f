"""Pages of made-up results: their numbers, examples and warnings, in both languages."""

import json
import math
import re
from pathlib import Path

import msgspec
import pytest
from pages import check_chinese, marked_up

from bertsmith.finetuning.data import Lengths
from bertsmith.finetuning.defaults import finetune_config
from bertsmith.finetuning.report import page as finetune_report
from bertsmith.finetuning.report import scores as finetune_scores
from bertsmith.finetuning.report.page import write_report
from bertsmith.finetuning.result import REMEDY, FinetuneResult, summarise
from bertsmith.finetuning.run import RunResult
from bertsmith.reports.charts import Mark, Series
from bertsmith.reports.language import written_in
from bertsmith.tasks.examples import Answer, AnswerExample, ChoiceExample, TagExample, TextExample
from bertsmith.tasks.inspection import Inspection, Numbers
from bertsmith.tasks.kinds import regression, sections
from bertsmith.tasks.kinds.answer_spans import SpanAnswer
from bertsmith.tasks.kinds.classification import ClassAnswer
from bertsmith.tasks.kinds.entity_scores import TagAnswer
from bertsmith.tasks.kinds.multi_label import LabelsAnswer
from bertsmith.tasks.kinds.multiple_choice import ChoiceAnswer
from bertsmith.tasks.kinds.registry import KINDS
from bertsmith.tasks.kinds.regression import NumberAnswer
from bertsmith.tasks.metric import UNDEFINED

_METRICS = {
    "classification": ("accuracy", "macro_f1"),
    "regression": ("pearson", "spearman"),
    "multi-label": ("micro_f1", "label_macro_f1"),
    "multiple-choice": ("accuracy",),
    "token-classification": ("entity_precision", "entity_recall", "entity_f1"),
    "question-answering": ("exact_match", "answer_f1"),
}


@pytest.fixture
def drawn(monkeypatch):
    """What charts were given, by title, instead of drawing them, which takes its time."""
    given = {}

    def draw(*values, title, **settings):
        given[title] = (values, settings)
        return f"<svg>{title}</svg>"

    for module in (finetune_report, finetune_scores, regression, sections):
        for name in dir(module):
            if name.endswith("_chart"):
                monkeypatch.setattr(module, name, draw)
    return given


def run_result(tmp_path, scores, *, seed=0, learning_rate=3e-5, main=0.7, **changes):
    values = {
        "out": str(tmp_path / f"lr-{learning_rate:g}_seed-{seed}"),
        "seed": seed,
        "learning_rate": learning_rate,
        "batch_size": 16,
        "epochs": 2,
        "scores": scores,
        "main": main,
        "degenerate": False,
        "best_epoch": 2.0,
        "steps": 4,
        "seconds": 61.0,
        "examples_per_second": 1234.5,
        "fingerprint": "",
    }
    return RunResult(**values | changes)


def made_result(tmp_path, kind, **changes):
    """A result with one run, whose metrics.jsonl is written."""
    scores = changes.pop("scores", dict.fromkeys(_METRICS[kind], 0.75))
    runs = changes.pop("runs", None) or [run_result(tmp_path, {"dev": scores})]
    config = finetune_config(
        task=kind, kind=kind, model="m", width=768, positions=512, examples=100, epochs=2
    )
    values = {
        "out": str(tmp_path / "out"),
        "report": str(tmp_path / "report.html"),
        "task": kind,
        "title": "A task",
        "kind": kind,
        "model": "my/model",
        "labels": ("a", "b", "c") if kind == "classification" else (),
        "deciding": "dev",
        "deciding_metrics": ("entity_f1",)
        if kind == "token-classification"
        else tuple(runs[0].scores["dev"]),
        "inspection": Inspection(
            examples={"train": 1000, "dev": 30},
            classes={}
            if kind == "regression"
            else {"train": {"a": 750, "b": 250}, "dev": {"a": 6}},
            numbers={"train": Numbers(0.0, 4.0, 5.0)} if kind == "regression" else {},
            duplicates=0,
            contradictions=0,
            leaked=0,
            leaked_places=[],
            seen_once=[],
        ),
        "lengths": Lengths(
            max_length=100,
            median=12,
            longest=80,
            truncated={"train": 0, "dev": 0},
            windowed={"train": 0, "dev": 0},
            counts={5: 500, 12: 499, 80: 1},
        ),
        "baseline": dict.fromkeys(scores, 0.5),
        "config": config,
        "runs": runs,
        "best": 0,
        "summary": {
            part: {name: summarise([run.scores[part][name] for run in runs]) for name in row}
            for part, row in runs[0].scores.items()
        },
        "degenerate": [Path(run.out).name for run in runs if run.degenerate],
        "intervals": {name: (0.625, 0.875) for name, value in scores.items() if value is not None},
        "seconds": 61.0,
    }
    result = FinetuneResult(**values | changes)
    folder = Path(result.best_run.out)
    folder.mkdir(exist_ok=True)
    defined = {name: value for name, value in scores.items() if value is not None}
    records = [{"kind": "train", "step": step, "loss": 1 / step} for step in range(1, 5)]
    records.insert(2, {"kind": "evaluation", "step": 2} | defined)
    records.append({"kind": "evaluation", "step": 4} | defined)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    return result


def page(result, examples, predictions):
    write_report(result, examples=examples, predictions=predictions)
    return Path(result.report).read_text(encoding="utf-8")


def table_row(*cells):
    """Of texts, and of whole numbers, which are set to the right."""
    return "<tr>" + "".join(
        f'<td class="n">{cell}</td>' if isinstance(cell, int) else f"<td>{cell}</td>"
        for cell in cells
    )


def cards(html):
    """Title and passages of every example, without the highlighting."""
    plain = re.compile(r"<[^>]+>")
    return [
        [plain.sub("", part) for part in re.findall(r"<(?:h3|p)[ >].*?</(?:h3|p)>", card)]
        for card in re.findall(r'<div class="card">.*?</div>', html, re.DOTALL)
    ]


def classified(*rows):
    """Examples and answers of (true, said, probability of that); the rest goes to the others."""
    examples, answers = [], []
    for number, (true, said, sure) in enumerate(rows):
        examples.append(TextExample(f"dev.csv:{number}", str(number), f"text {number}", None, true))
        shares = {name: sure if name == said else (1 - sure) / 2 for name in "abc"}
        answers.append(ClassAnswer(said, shares))
    return examples, answers


_SIX = [
    ("a", "a", 0.9),
    ("a", "b", 0.8),
    ("b", "b", 0.7),
    ("b", "b", 0.6),
    ("c", "c", 0.95),
    ("c", "a", 0.99),
]


def test_a_page_of_classes(tmp_path):
    result = made_result(
        tmp_path, "classification", scores={"accuracy": 2 / 3, "macro_f1": 0.65556}
    )
    html = page(result, *classified(*_SIX))
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert "<h1>A task</h1>" in html
    about = re.findall('<p class="lead">(.*?)</p>', html)[0]
    for fact in ("my/model", "3 classes", "2 epochs", "1,000 examples", "of 16", "3e-05", "512"):
        assert fact in about
    assert (
        "<b>0.6667</b><span>accuracy on dev</span><small>95% interval 0.6250 to 0.8750; baseline "
        "(majority class): 0.5000</small>"
    ) in html
    assert "<b>1,234</b><span>examples per second</span>" in html
    assert "<b>1 min 01 s</b><span>for one run</span>" in html
    assert (table_row("dev", "macro F1", "0.6556", "0.6250 to 0.8750", "0.5000") + "</tr>") in html
    assert table_row("a", "0.5000", "0.5000", "0.5000", 2) in html
    assert table_row("b", "0.6667", "1.0000", "0.8000", 2) in html
    assert table_row("c", "1.0000", "0.5000", "0.6667", 2) in html
    assert "confidence of the predictions: 82.3%; accuracy: 66.7%." in html
    assert "calibration error: 0.4233" in html
    assert "Wrong predictions: 2 of 6." in html
    assert cards(html) == [
        ["true: c, predicted: a (99.0%)", "dev.csv:5", "text 5"],
        ["true: a, predicted: b (80.0%)", "dev.csv:1", "text 1"],
    ]
    titles = re.findall(r'aria-label="([^"]*)"', html)
    assert titles == [
        "Training loss",
        "Scores by epoch",
        "Confusion matrix",
        "Confidence and accuracy",
        "Lengths of the training inputs",
    ]
    assert "The model of epoch 2 was kept." in html
    assert "Before you trust the score" not in html
    assert "<h2>Runs</h2>" not in html
    assert "mean</th>" not in html


def test_two_texts_are_shown_and_nothing_of_a_text_becomes_part_of_the_page(tmp_path):
    script = "<script>alert('x')</script>"
    example = TextExample("dev.csv:1", "0", script, "b & c", "a")
    answer = ClassAnswer("b", {"a": 0.25, "b": 0.75, "c": 0.0})
    html = page(made_result(tmp_path, "classification", title=script), [example], [answer])
    assert "assign a pair of texts to one of 3 classes" in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;</p>" in html
    assert "<h1>&lt;script&gt;alert" in html
    assert '<p class="name">second text</p><p class="passage" dir="auto">b &amp; c</p>' in html
    assert "model({&quot;text&quot;: &quot;TEXT&quot;, &quot;text_pair&quot;" in html
    body = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http" not in body
    assert not re.search(r"<(script|link|img|iframe)\b|@import|src=", body)
    assert not re.search(r'url\((?!#)|href="(?!#)', body)


def test_without_an_error_the_page_says_so(tmp_path, drawn):
    html = page(
        made_result(tmp_path, "classification"), *classified(("a", "a", 1.0), ("b", "b", 0.5))
    )
    assert "Every prediction on dev is correct." in html
    assert 'class="card"' not in html
    # No example is of class c, so it has no recall.
    assert table_row("c", "0.0000", "–", "–", 0) in html


def test_twelve_errors_at_most_the_surest_first(tmp_path, drawn):
    rows = [("a", "b", 0.5 + number / 100) for number in range(20)]
    html = page(made_result(tmp_path, "classification"), *classified(*rows))
    assert "Wrong predictions: 20 of 20." in html
    assert [card[2] for card in cards(html)] == [f"text {number}" for number in range(19, 7, -1)]


@pytest.mark.parametrize(("count", "rows"), [(30, 30), (45, 40)])
def test_many_classes(tmp_path, count, rows, drawn):
    labels = tuple(f"class {number:02d}" for number in range(count))
    examples = [TextExample("dev.csv:1", str(n), "t", None, name) for n, name in enumerate(labels)]
    # The first one is taken for the second, all others are right.
    said = [labels[1], *labels[1:]]
    answers = [ClassAnswer(name, {one: float(one == name) for one in labels}) for name in said]
    counts = dict.fromkeys(labels, 1)
    result = made_result(tmp_path, "classification", labels=labels)
    inspection = msgspec.structs.replace(
        result.inspection, classes={"train": counts, "dev": counts}, seen_once=list(labels)
    )
    result = msgspec.structs.replace(result, inspection=inspection)
    html = page(result, examples, answers)
    assert len(re.findall(r"<td>class \d\d</td><td>[\d.]+</td><td>[\d.]+</td>", html)) == rows
    assert table_row("class 00", "0.0000", "0.0000", "0.0000", 1) in html
    assert table_row("class 01", "0.5000", "1.0000", "0.6667", 1) in html
    (counts_CC, names), _ = drawn["Confusion matrix"]
    assert names == labels
    assert counts_CC[0, :2].tolist() == [0, 1]
    assert counts_CC.sum() == count
    assert (f"the 40 of {count} classes with the lowest F1" in html) == (count == 45)
    assert (f"The 40 most frequent of {count} labels" in html) == (count == 45)
    assert f"class 07 and {count - 8} more." in html


def test_runs_of_a_sweep_and_seeds(tmp_path, drawn):
    def one(seed, rate, value, **changes):
        scores = {"dev": {"accuracy": value, "macro_f1": value - 0.25}}
        main = value - 0.125
        return run_result(tmp_path, scores, seed=seed, learning_rate=rate, main=main, **changes)

    runs = [
        one(0, 5e-5, 0.75),
        one(0, 3e-5, 0.875, best_epoch=1.0),
        one(1, 3e-5, 0.75),
        one(2, 3e-5, 0.5, degenerate=True),
    ]
    summary = {"dev": {name: summarise([0.875, 0.75]) for name in ("accuracy", "macro_f1")}}
    result = made_result(
        tmp_path,
        "classification",
        scores={"accuracy": 0.875, "macro_f1": 0.625},
        runs=runs,
        best=1,
        summary=summary,
        seconds=244.0,
    )
    html = page(result, *classified(*_SIX))
    assert "This is the best of 4 runs.</p>" in html
    assert (
        "<b>0.8125</b><span>accuracy, mean of 2 seeds</span><small>standard deviation 0.0884"
    ) in html
    assert "<b>4 min 04 s</b><span>for 4 runs</span>" in html
    warning = "1 of 4 runs are no better than the baseline (majority class)"
    assert warning in html
    assert "left out of all means: lr-3e-05_seed-2." in html
    assert (
        table_row("dev", "accuracy", "0.8750", "0.6250 to 0.8750", "0.5000", "0.8125", "0.0884", 2)
        in html
    )
    runs_table = html[html.index("<th>learning rate</th>") :].partition("</table>")[0]
    assert "<th>mean of accuracy, macro F1</th>" in runs_table
    assert re.findall("<tr><td>.*?</tr>", runs_table) == [
        table_row("3e-05", 16, 2, 0, "0.7500", "1", "kept") + "</tr>",
        table_row("5e-05", 16, 2, 0, "0.6250", "2", "") + "</tr>",
        table_row("3e-05", 16, 2, 1, "0.6250", "2", "") + "</tr>",
        table_row("3e-05", 16, 2, 2, "0.3750", "2", "no better than the baseline") + "</tr>",
    ]
    (groups,), settings = drawn["Scores of the runs"]
    assert [(group.name, group.scores[:2]) for group in groups] == [
        ("3e-05, 16, 2", [0.75, 0.625]),
        ("5e-05, 16, 2", [0.625]),
    ]
    assert math.isnan(groups[0].scores[2])
    assert settings["x_label"] == "mean of accuracy, macro F1 on dev"
    assert settings["marks"] == [Mark("baseline (majority class): accuracy, macro F1", 0.5)]
    assert "has failed" in html
    assert "The model of epoch 1 was kept." in html


def test_a_run_that_learned_nothing(tmp_path, drawn):
    runs = [run_result(tmp_path, {"dev": {"accuracy": 0.5}}, main=0.5, degenerate=True)]
    result = made_result(tmp_path, "classification", runs=runs)
    html = page(result, *classified(*_SIX))
    assert "The run is no better than the baseline (majority class)" in html
    assert f"learned nothing. {REMEDY}" in html
    assert f"  {REMEDY}" in result.summary_lines()
    both = [*runs, run_result(tmp_path, {"dev": {"accuracy": 0.75}}, seed=1, main=0.75)]
    result = made_result(tmp_path, "classification", runs=both, best=1)
    assert not any(REMEDY in line for line in result.summary_lines())


@pytest.mark.parametrize(("baseline", "drawn_too"), [(0.5, True), (0.25, False)])
def test_a_baseline_far_below_all_scores_is_not_drawn(tmp_path, baseline, drawn_too, drawn):
    result = made_result(
        tmp_path,
        "classification",
        scores={"accuracy": 0.75, "macro_f1": 0.625},
        baseline={"accuracy": baseline, "macro_f1": baseline},
    )
    page(result, *classified(*_SIX))
    line = Mark("baseline (majority class): accuracy, macro F1", baseline)
    assert drawn["Scores by epoch"][1]["marks"] == [line] * drawn_too


def test_curves_are_in_epochs_and_smooth(tmp_path, drawn):
    result = made_result(tmp_path, "classification")
    records = [{"kind": "train", "step": step, "loss": float(step % 2)} for step in range(1, 121)]
    records.insert(60, {"kind": "evaluation", "step": 60, "accuracy": 0.5, "macro_f1": 0.25})
    records.append({"kind": "evaluation", "step": 120, "accuracy": 0.75, "macro_f1": 0.5})
    path = Path(result.best_run.out) / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    page(result, *classified(*_SIX))
    ((loss,),) = drawn["Training loss"][0]
    assert loss.x == pytest.approx([(2 * part + 1.5) / 60 for part in range(60)])
    assert loss.y == [0.5] * 60
    assert drawn["Scores by epoch"][0] == (
        [Series("accuracy", [1.0, 2.0], [0.5, 0.75]), Series("macro F1", [1.0, 2.0], [0.25, 0.5])],
    )
    (inputs,), settings = drawn["Lengths of the training inputs"]
    assert inputs == [5] * 500 + [12] * 499 + [80]
    assert settings["limit"] == Mark("limit", 100)


def test_what_is_wrong_with_the_data_comes_first(tmp_path, drawn):
    result = made_result(tmp_path, "classification")
    result = msgspec.structs.replace(
        result,
        inspection=msgspec.structs.replace(
            result.inspection,
            examples={"train": 1000, "dev": 6},
            duplicates=12,
            contradictions=3,
            contradicting_places=["train.csv:8 = train.csv:5"],
            leaked=2,
            leaked_places=["dev.csv:3 = train.csv:8", "dev.csv:4 = train.csv:9"],
            seen_once=["rare"],
        ),
        lengths=msgspec.structs.replace(
            result.lengths,
            truncated={"train": 1200, "dev": 0},
            windowed={"train": 0, "dev": 7},
            unknown=0.125,
        ),
    )
    html = page(result, *classified(*_SIX))
    first = html[html.index("Before you trust the score") : html.index("<h2>Scores</h2>")]
    found = re.findall("<p>(.*?)</p>", first)
    facts = [
        ("dev has only 6 examples",),
        ("2 of 6 examples of dev", "dev.csv:3 = train.csv:8, dev.csv:4 = train.csv:9."),
        ("12.5%", "([UNK])"),
        ("Inputs of train", ": 1,200."),
        ("3 training examples", "train.csv:8 = train.csv:5."),
        ("single example in train: rare.",),
    ]
    assert len(found) == len(facts)
    for warning, parts in zip(found, facts, strict=True):
        assert all(part in warning for part in parts), warning
    assert table_row("train", "1,000", "1,200", 0).replace("<td>1", '<td class="n">1') in html
    assert table_row("dev", 6, 0, 7) in html
    assert table_row("a", "750 (75.0%)", "6 (100.0%)") in html
    assert table_row("b", "250 (25.0%)", "0 (0.0%)") in html
    assert "12 training examples repeat an earlier one, 3 of them with another label." in html
    assert "2 examples of dev are in train too." in html
    assert "median 12 tokens, maximum 80. The limit of an input is 100." in html


def test_numbers_and_a_correlation_that_is_undefined(tmp_path, drawn):
    undefined = {"pearson": None, "spearman": None}
    result = made_result(tmp_path, "regression", scores=undefined, baseline=undefined)
    examples = [
        TextExample(f"dev.csv:{place}", "0", f"text {place}", None, float(label))
        for place, label in enumerate((1, 2, 3, 5))
    ]
    html = page(result, examples, [NumberAnswer(2.5)] * 4)
    assert "fine-tuned to predict a number for a text." in html
    fact = "<b>undefined</b><span>Pearson correlation on dev</span><small>baseline (mean of the la"
    assert fact in html
    assert f"<p>{UNDEFINED}</p>" in html
    assert table_row("dev", "Spearman correlation", "undefined", "–", "undefined") in html
    assert "absolute error is 1.2500; always predicting 4, the mean" in html
    assert "gives 1.7500." in html
    assert "The 4 predictions with the largest error." in html
    assert cards(html) == [
        ["true: 5, predicted: 2.5", "dev.csv:3", "text 3"],
        ["true: 1, predicted: 2.5", "dev.csv:0", "text 0"],
        ["true: 2, predicted: 2.5", "dev.csv:1", "text 1"],
        ["true: 3, predicted: 2.5", "dev.csv:2", "text 2"],
    ]
    assert "Scores by epoch" not in drawn
    true, predicted = drawn["Predictions against labels"][0]
    assert (true, predicted) == ([1, 2, 3, 5], [2.5] * 4)
    assert "squared error divided by the variance" in html
    assert "function_to_apply=&quot;none&quot;)" in html


def test_choices_are_marked_with_their_probabilities(tmp_path, drawn):
    examples = [
        ChoiceExample("dev.csv:1", "0", "She opens", ("the door", "a sea", "of"), 0),
        ChoiceExample("dev.csv:2", "1", "He", ("is", "are", "am"), 0),
    ]
    answers = [
        ChoiceAnswer(1, "a sea", [0.125, 0.75, 0.125]),
        ChoiceAnswer(0, "is", [0.5, 0.25, 0.25]),
    ]
    html = page(made_result(tmp_path, "multiple-choice"), examples, answers)
    assert table_row("choice 0", "1.0000", "0.5000", "0.6667", 2) in html
    assert cards(html) == [
        [
            "true: choice 0, predicted: choice 1 (75.0%)",
            "dev.csv:1",
            "She opens",
            "choice 0 · 12.5% · true",
            "the door",
            "choice 1 · 75.0% · predicted",
            "a sea",
            "choice 2 · 12.5%",
            "of",
        ]
    ]
    marked = re.findall(r'<mark style="--tone:(#\w+)[^>]*>([^<]+)</mark>', html)
    assert marked == [("#2e8f5e", "the door"), ("#c8601f", "a sea")]
    # Bins of one answer each: |0.75 - 0| and |0.5 - 1|, averaged.
    assert "Expected calibration error: 0.6250" in html
    assert "AutoModelForMultipleChoice.from_pretrained(" in html


def tagged(words, true, said, sure):
    words = words.split()
    example = TagExample("dev.conll:1", "0", tuple(words), tuple(true.split()))
    return example, TagAnswer(words, said.split(), sure, [])


def test_entities_by_type_and_by_mistake(tmp_path, drawn):
    pairs = [
        tagged("Ann met Bob", "B-PER O B-PER", "B-PER O B-LOC", [0.9, 0.9, 0.7]),
        tagged("in New York", "O B-LOC I-LOC", "O O B-LOC", [0.9, 0.8, 0.6]),
        tagged("fell Rome", "O B-LOC", "B-PER O", [0.5, 0.95]),
    ]
    html = page(made_result(tmp_path, "token-classification"), *zip(*pairs, strict=True))
    assert "<span>F1 on dev</span>" in html
    assert "<span>precision on dev</span>" not in html
    assert table_row("LOC", "0.0000", "0.0000", "0.0000", 2) in html
    assert table_row("PER", "0.5000", "0.5000", "0.5000", 2) in html
    for name, count in {
        "correct": 1,
        "wrong type": 1,
        "wrong boundary": 1,
        "missed": 1,
        "spurious": 1,
    }.items():
        assert table_row(name, count) in html
    # Tags other than O: 0.9 right; 0.7, 0.6 and 0.5 wrong.
    assert "tag other than O: 67.5%; accuracy: 25.0%." in html
    assert "Sentences with a wrong tag: 3 of 3." in html
    assert "Green entities are the same in both" in html
    assert [card[0] for card in cards(html)] == [
        "“Rome”, true: B-LOC, predicted: O (95.0%)",
        "“New”, true: B-LOC, predicted: O (80.0%)",
        "“Bob”, true: B-PER, predicted: B-LOC (70.0%)",
    ]
    green, orange = "#2e8f5e", "#c8601f"
    marked = re.findall(r'<mark style="--tone:(#\w+)[^>]*>([^<]+)</mark><small[^>]*>(\w+)', html)
    assert marked == [
        (orange, "Rome", "LOC"),
        (orange, "fell", "PER"),
        (orange, "New York", "LOC"),
        (orange, "York", "LOC"),
        (green, "Ann", "PER"),
        (orange, "Bob", "PER"),
        (green, "Ann", "PER"),
        (orange, "Bob", "LOC"),
    ]
    assert "aggregation_strategy=&quot;first&quot;)" in html


def test_a_model_that_tags_nothing(tmp_path, drawn):
    pair = tagged("Rome fell", "B-LOC O", "O O", [0.75, 1.0])
    html = page(made_result(tmp_path, "token-classification"), [pair[0]], [pair[1]])
    assert "Calibration" not in html
    assert table_row("LOC", "0.0000", "0.0000", "0.0000", 1) in html
    assert table_row("missed", 1) in html


def test_tags_that_are_no_entities_are_compared_word_by_word(tmp_path, drawn):
    pairs = [
        tagged("dogs bark", "NOUN VERB", "NOUN NOUN", [0.9, 0.75]),
        tagged("cats purr", "NOUN VERB", "NOUN VERB", [0.9, 0.75]),
    ]
    html = page(made_result(tmp_path, "token-classification"), *zip(*pairs, strict=True))
    assert "Scores by entity type" not in html
    assert "Sentences with a wrong tag: 1 of 2." in html
    assert [card[0] for card in cards(html)] == ["“bark”, true: VERB, predicted: NOUN (75.0%)"]
    assert "other than O: 82.5%; accuracy: 75.0%." in html


def asked(question, context, answers, said, sure, *, none=0.0, missing=0.0):
    example = AnswerExample(
        "dev.json: question q",
        "q",
        question,
        context,
        tuple(Answer(text, context.index(text)) for text in answers),
    )
    start = context.index(said) if said else -1
    return example, SpanAnswer(said, start, sure, said, start, sure, none, missing)


def test_questions_with_and_without_an_answer(tmp_path, drawn):
    long = (
        "word " * 60
        + "in 1969 the Eagle landed on the Moon, not on Mars. "
        + "more " * 60
        + "Mars Moon Mars"
    )
    pairs = [
        asked("When did it land?", long, ["1969"], "1969", 0.9),
        asked("On what did it land?", long, ["the Moon", "Moon"], "Mars", 0.5),
        asked("Whose Eagle?", long, [], "Eagle", 0.95),
        asked("Which one?", long, [], "", 0.6),
        asked("It landed on?", long, ["Eagle landed on the Moon"], "Eagle landed", 0.99),
        asked("How?", long, ["Mars Moon"], "Moon Mars", 0.25),
    ]
    scores = {"exact_match": 0.4, "answer_f1": 0.5}
    runs = [run_result(tmp_path, {"dev": scores}, thresholds=(-1.25,))]
    html = page(made_result(tmp_path, "question-answering", runs=runs), *zip(*pairs, strict=True))
    assert table_row("1 to 5 characters", 2, "0.5000", "0.5000") in html
    assert table_row("21 to 40 characters", 1, "0.0000", "0.6667") in html
    assert table_row("no answer", 2, "0.5000", "0.5000") in html
    assert table_row("6 to 10 characters", 1, "0.0000", "1.0000") in html
    assert "11 to 20 characters" not in html
    for word, exact in {"when": "1.0000", "what": "0.0000", "who": "0.0000"}.items():
        assert table_row(word, 1, exact, exact) in html
    assert table_row("other", 1, "0.0000", "0.6667") in html
    assert "2 of 6 questions have no answer in their text." in html
    assert "more than -1.25 above the best span" in html
    assert table_row("with an answer", 4, 0) in html
    assert table_row("without an answer", 1, 1) in html
    assert "accuracy: 33.3%." in html
    assert [card[0] for card in cards(html)] == [
        "Whose Eagle?",
        "It landed on?",
        "On what did it land?",
        "How?",
    ]
    first, _, second, _ = cards(html)
    assert first[1] == "true: no answer, predicted: Eagle (95.0%); dev.json: question q"
    assert second[1] == "true: the Moon / Moon, predicted: Mars (50.0%); dev.json: question q"
    landed = "in 1969 the Eaglepredicted landed on the Moon, not on Mars. "
    around = "word " * 29 + landed + "more " * 24
    assert first[2] == f"… {around}more …"
    marked = re.findall(r'<mark style="--tone:(#\w+)[^>]*>([^<]+)</mark><small[^>]*>(\w+)', html)
    assert marked[3:5] == [("#2e8f5e", "the Moon", "true"), ("#c8601f", "Mars", "predicted")]
    assert "AutoModelForQuestionAnswering.from_pretrained(" in html


def test_chinese_questions_have_no_table_of_question_words(tmp_path, drawn):
    pairs = [asked("首都在哪里？", "中" * 300 + "首都是北京。", ["北京"], "首都", 0.9)]
    html = page(made_result(tmp_path, "question-answering"), *zip(*pairs, strict=True))
    assert "<th>question</th>" not in html[html.index("Scores by q") : html.index("Calibration")]
    assert "Questions without an answer" not in html
    assert cards(html)[0][2] == "… " + "中" * 160 + "首都predicted是北京true。"


def test_how_to_go_on(tmp_path, drawn):
    result = made_result(tmp_path, "classification", out="my models/it's")
    html = page(result, *classified(*_SIX))
    commands = re.findall("<pre>(.*?)</pre>", html, re.DOTALL)
    assert commands[0] == (
        "bertsmith predict &#x27;my models/it&#x27;&quot;&#x27;&quot;&#x27;s&#x27; INPUT --out "
        "answers.jsonl\nbertsmith evaluate &#x27;my models/it&#x27;&quot;&#x27;&quot;&#x27;s"
        "&#x27; --data FILE"
    )
    assert commands[1] == (
        "from transformers import pipeline\nmodel = pipeline(&quot;text-classification&quot;, "
        "model=&quot;my models/it&#x27;s&quot;)\nmodel(&quot;TEXT&quot;)"
    )


def test_a_model_that_transformers_does_not_know_is_not_loaded_with_it(tmp_path, drawn):
    pair = tagged("Rome fell", "B-LOC O", "B-LOC O", [0.75, 1.0])
    result = made_result(tmp_path, "token-classification")
    config = msgspec.structs.replace(result.config, features=(-2, -1))
    result = msgspec.structs.replace(result, config=config, in_transformers=False)
    html = page(result, [pair[0]], [pair[1]])
    assert "The encoder is frozen; its layers -2, -1 are read." in html
    assert "transformers has no model with the same outputs" in html
    assert html.count("<pre>") == 1


def test_one_epoch_makes_no_curve_of_scores(tmp_path, drawn):
    result = made_result(tmp_path, "classification")
    records = [{"kind": "train", "step": 1, "loss": 0.5}]
    records.append({"kind": "evaluation", "step": 1, "accuracy": 0.75, "macro_f1": 0.75})
    path = Path(result.best_run.out) / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    html = page(result, *classified(*_SIX))
    ((loss,),) = drawn["Training loss"][0]
    assert (loss.x, loss.y) == ([1.0], [0.5])
    assert "Scores by epoch" not in drawn
    assert "after each epoch" not in html


def test_only_the_deciding_part_has_an_interval_and_a_baseline(tmp_path, drawn):
    scores = {"f1": 0.75, "accuracy": 0.625}
    other = {"f1": 0.5, "accuracy": 0.25}
    runs = [run_result(tmp_path, {"dev": scores, "dev-mismatched": other})]
    result = made_result(tmp_path, "classification", scores=scores, runs=runs)
    lengths = msgspec.structs.replace(
        result.lengths,
        truncated={"train": 0, "dev": 0, "dev-mismatched": 0},
        windowed={"train": 0, "dev": 0, "dev-mismatched": 4},
    )
    html = page(msgspec.structs.replace(result, lengths=lengths), *classified(*_SIX))
    assert "The class here is “b”. Accuracy is" in html
    assert table_row("dev", "F1", "0.7500", "0.6250 to 0.8750", "0.5000") in html
    assert table_row("dev-mismatched", "F1", "0.5000", "–", "–") in html
    assert table_row("dev-mismatched", "accuracy", "0.2500", "–", "–") in html
    cells = '<td>dev-mismatched</td><td class="n">–</td><td class="n">0</td><td class="n">4</td>'
    assert cells in html


def _examples_of(kind):
    """A few examples of a kind with answers, one of them wrong."""
    if kind == "classification":
        return classified(*_SIX)
    if kind == "multi-label":
        examples = [
            TextExample(f"dev.csv:{n}", str(n), f"text {n}", None, labels)
            for n, labels in enumerate((("a",), ("a", "b"), ()))
        ]
        return examples, [LabelsAnswer(["a"], {"a": 0.9, "b": 0.2, "c": 0.1})] * 3
    if kind == "regression":
        examples = [TextExample(f"dev.csv:{n}", str(n), "text", None, float(n)) for n in range(4)]
        return examples, [NumberAnswer(n / 2) for n in range(4)]
    if kind == "multiple-choice":
        examples = [ChoiceExample("dev.csv:1", "0", "She opens", ("the door", "a sea"), 0)] * 2
        return examples, [ChoiceAnswer(1, "a sea", [0.25, 0.75])] * 2
    if kind == "token-classification":
        pairs = [tagged("Ann met Bob", "B-PER O B-PER", "B-PER O B-LOC", [0.9, 0.9, 0.7])]
    else:
        context = "it landed on the Moon, not on Mars."
        pairs = [asked("On what did it land?", context, ["the Moon"], "Mars", 0.5)]
    return [list(side) for side in zip(*pairs, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_chinese_page_has_the_same_numbers_and_no_english_heading(tmp_path, kind, drawn):
    names = KINDS[kind].metrics_of(("O", "B-PER") if kind == "token-classification" else ("a", "b"))
    runs = [
        run_result(tmp_path, {"dev": dict.fromkeys(names, value)}, seed=seed, main=value)
        for seed, value in enumerate((0.75, 0.5))
    ]
    labels = ("a", "b", "c") if kind in ("classification", "multi-label") else ()
    made = made_result(tmp_path, kind, runs=runs, labels=labels, title=f"Custom data ({kind})")
    result = msgspec.structs.replace(
        made,
        inspection=msgspec.structs.replace(
            made.inspection, leaked=2, leaked_places=["dev.csv:3 = train.csv:8"], seen_once=["q"]
        ),
        lengths=msgspec.structs.replace(
            made.lengths, truncated={"train": 7, "dev": 0}, unknown=0.125
        ),
    )
    pages = {}
    for language in ("en", "zh"):
        with written_in(language):
            pages[language] = page(result, *_examples_of(kind))
    check_chinese(pages["en"], pages["zh"], names={"train", "dev", "F1", "PER", "LOC"})
    plain = [text for text in marked_up(pages["zh"], "p") if not re.search("[\u4e00-\u9fff]", text)]
    # Only the texts of examples and their places stay as the user wrote them.
    assert all(re.match(r"text|dev\.|She|Ann|the door|a sea|it landed", text) for text in plain)
