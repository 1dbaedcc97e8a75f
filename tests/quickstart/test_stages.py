import csv
import json
import re
import shutil
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from pages import check_chinese
from safetensors.numpy import load_file

from bertsmith.cli.main import main
from bertsmith.core.storage import read_json, write_sealed
from bertsmith.corpus.shards import Corpus
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.pretraining.initial_weights import POSITION_COLUMNS
from bertsmith.quickstart import stages as quickstart
from bertsmith.quickstart.comparison import Attempt, Comparison
from bertsmith.quickstart.page import Outcome, held_out_blanks, smoothed, write_report
from bertsmith.quickstart.sample_tasks import SampleTask
from bertsmith.quickstart.stages import PLANS, STAGES
from bertsmith.reports.language import written_in
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.progress import read_metrics

ANIMALS = ("lion", "lamb", "ox", "dove", "serpent")


def pairs(count):
    """Sentences with an animal each, every other time the same one."""
    return [
        (
            f"Behold the {ANIMALS[n % 5]} of day {n}.",
            f"See the {ANIMALS[(n + n % 2) % 5]}.",
            "same different".split()[n % 2],
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A quickstart with a budget of almost nothing, on a tenth of the text and on pairs of ours."""
    root = tmp_path_factory.mktemp("quickstart")
    original = quickstart.sample
    changes = pytest.MonkeyPatch()
    changes.setattr(quickstart, "sample", lambda language: list(original(language))[::10])
    changes.setattr(quickstart, "EVALUATED_SEQUENCES", 16)
    # As many on every machine, however fast.
    changes.setattr(quickstart, "affordable_examples", lambda *rate, **size: 128)
    columns = ("king_james", "world_english", "label")
    task = SampleTask(columns, train=pairs(200), dev=pairs(40))
    changes.setattr(quickstart, "sample_task", lambda language: task)
    plan = PLANS["en"]
    small = plan.settings | {"size": "tiny", "batch_size": 4}
    tuning = replace(plan.task, settings=plan.task.settings | {"epochs": 2})
    changes.setitem(PLANS, "en", quickstart.Plan(1000, small, plan.blanks, tuning))
    assert main(["quickstart", "--out", str(root / "en"), "--minutes", "0.01"]) == 0
    yield root / "en"
    changes.undo()


def test_every_stage_leaves_its_result_and_its_time(done):
    state = json.loads((done / "quickstart.json").read_text())
    assert list(state["seconds"]) == [name for name, _ in STAGES]
    assert state["hours"] == pytest.approx(3 / 3600, abs=1e-6)
    text = (done / "text" / "en.txt").read_text(encoding="utf-8")
    assert text.startswith("In the beginning God created the heavens and the earth.")
    assert text.count("\n\n") == 112
    assert len(Tokenizer.load(done / "tokenizer")) == 1000
    assert Corpus.open(done / "corpus").split("heldout").document_count >= 1
    assert (done / "model" / "config.json").is_file()


def test_the_report_shows_curves_blanks_and_baselines(done):
    html = (done / "report.html").read_text(encoding="utf-8")
    assert html.count("<svg ") == 3
    assert html.count('class="blank"') == len(PLANS["en"].blanks) + quickstart.BLANKS_FROM_TEXT
    assert "unigram baseline" in html
    assert "majority baseline" in html
    for stage, _ in STAGES:
        assert f"<td>{stage}</td>" in html
    assert not re.search(r"<(script|link|img)\b|https?://(?!www\.w3\.org/)", html)


def test_a_chinese_page_has_the_same_numbers_and_no_english_heading(done, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(done, folder)
    assert main(["quickstart", "--out", str(folder), "--minutes", "0.01", "--json"]) == 0
    outcome = msgspec.json.decode(capsys.readouterr().out, type=Outcome)
    english = (folder / "report.html").read_text(encoding="utf-8")
    config = read_json(folder / "model" / "pretrain.json", PretrainConfig)
    with written_in("zh"):
        write_report(outcome, config, read_metrics(folder / "model" / "metrics.jsonl"))
    names = {"king_james", "world_english", "label"}
    chinese = (folder / "report.html").read_text(encoding="utf-8")
    guesses = re.compile("<ol>.*?</ol>", re.DOTALL)
    check_chinese(guesses.sub("", english), guesses.sub("", chinese), names)


def test_without_a_choice_the_language_is_the_folders_or_the_locales(done, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert quickstart._open(tmp_path / "new", 9.0, None).state.language == "zh"
    assert quickstart._open(done, 0.01, None).state.language == "en"


def test_the_report_shows_both_fine_tunings(done):
    html = (done / "report.html").read_text(encoding="utf-8")
    assert "The effect of pre-training" in html
    assert "same 128 examples, same order" in html
    assert '<a href="tuned/report.html">with pre-training</a>' in html
    assert '<a href="tuned-untrained/report.html">without pre-training</a>' in html
    for report in re.findall(r'<a href="([^"]+)"', html):
        assert (done / report).is_file()
    assert "<th>king_james</th><th>world_english</th><th>label</th>" in html
    assert "<td>Behold the lion of day 0.</td><td>See the lion.</td><td>same</td>" in html


def test_both_fine_tunings_differ_in_nothing_but_their_first_weights(done):
    with (done / "task" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["king_james", "world_english", "label"]
    assert [tuple(row) for row in rows[1:]] == pairs(128)
    jobs = [
        read_json(done / tuned / "job.json", dict[str, Any], sealed=True)
        for tuned in ("tuned", "tuned-untrained")
    ]
    assert [job.pop("model") for job in jobs] == [str(done / "model"), str(done / "untrained")]
    limits = [{name: job["settings"].pop(name) for name in ("hours", "steps")} for job in jobs]
    state = json.loads((done / "quickstart.json").read_text())
    assert [limit["hours"] for limit in limits] == list(state["tuning_hours"].values())
    trained = json.loads((done / "tuned" / "results.json").read_text())["runs"][0]["steps"]
    assert [limit["steps"] for limit in limits] == [0, trained]
    assert jobs[0] == jobs[1]
    shapes = [
        json.loads((done / model / "config.json").read_text()) for model in ("model", "untrained")
    ]
    assert shapes[0] == shapes[1]
    trained, fresh = (
        load_file(done / model / "model.safetensors") for model in ("model", "untrained")
    )
    assert trained.keys() == fresh.keys()
    # The untrained model has the structure that the pre-trained one began with.
    words = "bert.embeddings.word_embeddings.weight"
    assert not fresh[words][:, -POSITION_COLUMNS:].any()
    assert trained[words][:, -POSITION_COLUMNS:].any()


def test_a_rerun_does_nothing_twice_and_prints_the_same_result(done, capsys):
    before = (done / "model" / "model.safetensors").stat().st_mtime_ns
    assert main(["quickstart", "--out", str(done), "--minutes", "0.01", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("already done") == len(STAGES)
    outcome = json.loads(printed.out)
    assert (done / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert outcome["steps"] >= 1
    assert outcome["vocab_size"] == 1000
    assert 0 <= outcome["evaluation"]["mlm_accuracy"] <= 1
    assert outcome["evaluation"]["mlm_loss"] > 0
    assert outcome["baseline"]["mlm_loss"] > 0
    for blank in outcome["own_blanks"] + outcome["text_blanks"]:
        assert blank["text"].count("[MASK]") == 1
        assert len(blank["guesses"]) == 5
    task = outcome["task"]
    assert (task["train_examples"], task["dev_examples"], task["baseline"]) == (128, 40, 0.5)
    for attempt in (task["pretrained"], task["untrained"]):
        # One, on a machine so slow that the clock ended both.
        assert 1 <= len(attempt["by_epoch"]) == len(attempt["epochs"]) <= 2
        assert 0 < attempt["epochs"][-1] <= 2
        assert 1 <= attempt["steps"] <= 16
        assert attempt["accuracy"] == max(attempt["by_epoch"])
    assert task["difference"] == task["pretrained"]["accuracy"] - task["untrained"]["accuracy"]
    assert task["interval"][0] <= task["difference"] <= task["interval"][1]


def forget_stage(folder, name):
    """As if the quickstart had been killed before the stage was done."""
    state = read_json(folder / "quickstart.json", dict[str, Any], sealed=True)
    del state["seconds"][name]
    write_sealed(folder / "quickstart.json", state)


def test_a_stage_that_was_interrupted_runs_again(done, tmp_path, capsys):
    forget_stage(done, "pre-training")
    assert main(["quickstart", "--out", str(done), "--minutes", "0.01"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("already done") == len(STAGES) - 1
    assert "Next:" in printed.out
    assert f"bertsmith fill {done}/model" in printed.out
    assert f"bertsmith evaluate {done}/tuned --data {done}/task/dev.csv" in printed.out


def test_a_folder_that_was_moved_shows_and_continues(done, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(done, moved)
    arguments = ["quickstart", "--out", str(moved), "--minutes", "0.01", "--json"]
    assert main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["task"]["pretrained"]["out"] == str(moved / "tuned")
    forget_stage(moved, "fine-tuning")
    (moved / "tuned-untrained" / "results.json").unlink()
    assert main(arguments) == 0
    again = json.loads(capsys.readouterr().out)
    for name in ("pretrained", "untrained"):
        assert again["task"][name]["by_epoch"] == first["task"][name]["by_epoch"]


def test_the_commands_for_the_fine_tuned_model_work(done, tmp_path, capsys):
    data = str(done / "task" / "dev.csv")
    assert main(["evaluate", str(done / "tuned"), "--data", data, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["parts"]["dev.csv"]["scores"]
    results = json.loads((done / "tuned" / "results.json").read_text())
    assert scores == results["runs"][0]["scores"]["dev"]
    answers = tmp_path / "answers.csv"
    assert main(["predict", str(done / "tuned"), data, "--out", str(answers)]) == 0
    assert len(answers.read_text(encoding="utf-8").splitlines()) == 41


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "5"], "with other settings (minutes: 0.01 -> 5.0)"),
        (["--minutes", "0.01", "--language", "zh"], "with other settings (language: 'en' -> 'zh'"),
        (["--minutes", "0"], "--minutes is 0.0; it must be above 0."),
    ],
)
def test_other_settings_are_refused(done, capsys, arguments, message):
    assert main(["quickstart", "--out", str(done), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_with_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["quickstart", "--out", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_held_out_blanks_hide_the_longest_whole_word(done):
    corpus = Corpus.open(done / "corpus")
    blanks = held_out_blanks(corpus, 6)
    assert len(blanks) == 6
    assert blanks == held_out_blanks(corpus, 6)
    vocab = set(corpus.tokenizer.vocab)
    for text, answer in blanks:
        assert text.count("[MASK]") == 1
        assert answer in vocab
        assert answer.isalpha()
        seen = [word for word in re.findall(r"[a-z]+", text) if word in vocab]
        assert len(answer) >= np.median([len(word) for word in seen])


def test_smoothing_has_no_pull_towards_its_start():
    assert smoothed([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    assert smoothed([0.0, 1.0], keep=0.5) == pytest.approx([0.0, 2 / 3])
    assert smoothed([]) == []


@pytest.mark.parametrize("language", sorted(PLANS))
def test_our_own_sentences_have_one_blank_and_a_word_meant(language):
    for text, meant in PLANS[language].blanks:
        assert text.count("[MASK]") == 1
        assert meant == meant.strip().lower()
        assert meant


def compared(*, difference, interval, sure=True, steps=300, fresh_steps=300):
    attempt = Attempt(
        model="m",
        out="o",
        report="r",
        accuracy=0.7,
        interval=(0.66 if sure else 0.48, 0.74),
        steps=steps,
        epochs=[1.0, 2.0],
        by_epoch=[0.6, 0.7],
        seconds=3.0,
    )
    return Comparison(
        question="?",
        about_dev="",
        columns=[],
        examples=[],
        train_examples=4000,
        dev_examples=592,
        baseline=0.5,
        pretrained=attempt,
        untrained=msgspec.structs.replace(attempt, accuracy=0.7 - difference, steps=fresh_steps),
        difference=difference,
        interval=interval,
    )


def test_the_verdict_says_what_the_interval_allows():
    helped = compared(difference=0.125, interval=(0.081, 0.169))
    assert helped.verdict() == "Pre-training helped: +12.5 points (95% interval +8.1 to +16.9)."
    noise = compared(difference=0.01, interval=(-0.02, 0.04), sure=False).verdict()
    assert "within the noise of 592 dev examples: +1.0 points (95% interval -2.0 to +4.0)" in noise
    assert "majority baseline (50.0%)" in noise
    assert compared(difference=-0.1, interval=(-0.15, -0.05)).verdict() == (
        "Pre-training hurt: -10.0 points (95% interval -15.0 to -5.0)."
    )
    uneven = compared(difference=0.125, interval=(0.081, 0.169), fresh_steps=200)
    assert "only 200 of 300 steps" in uneven.verdict()
    assert "helped" not in uneven.verdict()
    assert [one.is_clear for one in (helped, uneven)] == [True, False]


def test_what_came_of_it_in_words_that_need_no_explanation(done, capsys):
    assert main(["quickstart", "--out", str(done), "--minutes", "0.01", "--json"]) == 0
    outcome = msgspec.json.decode(capsys.readouterr().out, type=Outcome)
    learned = msgspec.structs.replace(
        outcome,
        evaluation=outcome.evaluation | {"mlm_accuracy": 0.312},
        baseline=outcome.baseline | {"mlm_accuracy": 0.077},
        task=compared(difference=0.19, interval=(0.14, 0.24)),
    )
    facts = ("has learned: it predicts 31%", "gives 8%", "19 points", "70% accuracy", "51% without")
    assert all(fact in learned.in_short() for fact in facts)
    with written_in("zh"):
        assert all(fact in learned.in_short() for fact in ("31%", "8%", "19 个", "70%", "51%"))
    noise = msgspec.structs.replace(learned, task=compared(difference=0.01, interval=(-0.02, 0.04)))
    assert "Pre-training" not in noise.in_short()
    nothing = msgspec.structs.replace(learned, evaluation=learned.baseline)
    assert nothing.in_short().startswith("The model has not learned yet: it predicts 8%")
