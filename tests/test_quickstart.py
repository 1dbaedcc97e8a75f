import json
import re

import numpy as np
import pytest

from bertsmith import quickstart
from bertsmith.cli import main
from bertsmith.corpus.shards import Corpus
from bertsmith.quickstart import PLANS, STAGES
from bertsmith.quickstart_report import held_out_blanks, smoothed
from bertsmith.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A quickstart with a budget of almost nothing, on a tenth of the text."""
    root = tmp_path_factory.mktemp("quickstart")
    original = quickstart.sample
    changes = pytest.MonkeyPatch()
    changes.setattr(quickstart, "sample", lambda language: list(original(language))[::10])
    changes.setattr(quickstart, "EVALUATED_SEQUENCES", 16)
    plan = PLANS["en"]
    small = plan.settings | {"size": "tiny", "batch_size": 4}
    changes.setitem(PLANS, "en", quickstart.Plan(1000, small, plan.blanks))
    assert main(["quickstart", "--out", str(root / "en"), "--minutes", "0.01"]) == 0
    yield root / "en"
    changes.undo()


def test_every_stage_leaves_its_result_and_its_time(done):
    state = json.loads((done / "quickstart.json").read_text())
    assert list(state["seconds"]) == [name for name, _ in STAGES]
    assert state["hours"] == pytest.approx(3 / 3600, abs=1e-6)
    text = (done / "text" / "en.txt").read_text(encoding="utf-8")
    assert text.startswith("In the beginning God created the heavens and the earth.")
    assert text.count("\n\n") == 119
    assert len(Tokenizer.load(done / "tokenizer")) == 1000
    assert Corpus.open(done / "corpus").split("heldout").document_count >= 1
    assert (done / "model" / "config.json").is_file()


def test_the_report_shows_curves_blanks_and_baselines(done):
    html = (done / "report.html").read_text(encoding="utf-8")
    assert html.count("<svg ") == 2
    assert html.count('class="blank"') == len(PLANS["en"].blanks) + quickstart.BLANKS_FROM_TEXT
    assert "guessing by frequency" in html
    assert "always the more frequent answer" in html
    for stage, _ in STAGES:
        assert f"<td>{stage}</td>" in html
    assert not re.search(r"<(script|link|img)\b|https?://(?!www\.w3\.org/)", html)


def test_a_rerun_does_nothing_twice_and_prints_the_same_result(done, capsys):
    before = (done / "model" / "model.safetensors").stat().st_mtime_ns
    assert main(["quickstart", "--out", str(done), "--minutes", "0.01", "--json"]) == 0
    told = capsys.readouterr()
    assert told.err.count("done before") == len(STAGES)
    outcome = json.loads(told.out)
    assert (done / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert outcome["steps"] >= 1
    assert outcome["vocab_size"] == 1000
    assert 0 <= outcome["evaluation"]["mlm_accuracy"] <= 1
    assert outcome["evaluation"]["mlm_loss"] > 0
    assert outcome["baseline"]["mlm_loss"] > 0
    for blank in outcome["own_blanks"] + outcome["text_blanks"]:
        assert blank["text"].count("[MASK]") == 1
        assert len(blank["guesses"]) == 5


def test_a_stage_that_was_interrupted_runs_again(done, tmp_path, capsys):
    state = json.loads((done / "quickstart.json").read_text())
    del state["seconds"]["pre-training"]
    (done / "quickstart.json").write_text(json.dumps(state))
    assert main(["quickstart", "--out", str(done), "--minutes", "0.01"]) == 0
    told = capsys.readouterr()
    assert told.err.count("done before") == len(STAGES) - 1
    assert "Next:" in told.out
    assert f"bertsmith fill {done}/model" in told.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "5"], "holds a quickstart of 0.01 minutes in 'en'"),
        (["--minutes", "0.01", "--language", "zh"], "holds a quickstart of 0.01 minutes in 'en'"),
        (["--minutes", "0"], "--minutes is 0.0; it must be above 0."),
    ],
)
def test_other_settings_are_refused(done, capsys, arguments, message):
    assert main(["quickstart", "--out", str(done), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_with_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["quickstart", "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
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
