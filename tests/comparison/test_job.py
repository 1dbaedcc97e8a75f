"""A comparison of all three on toy text and toy tasks: everything runs, resumes, and adds up."""

import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from conftest import write_toy_corpus
from official_files import mrpc, sts_b
from pages import check_chinese

from bertsmith.checkpoints.folder import load_pretraining
from bertsmith.cli.main import main
from bertsmith.comparison import job
from bertsmith.comparison import runs as running
from bertsmith.comparison.job import RESULT, compare
from bertsmith.comparison.page import write_page
from bertsmith.comparison.pairs import check_pairs
from bertsmith.comparison.plan import Plan
from bertsmith.comparison.systems import ABLATIONS as ABLATIONS_OF
from bertsmith.comparison.systems import MODELS
from bertsmith.comparison.timetable import Speed, Speeds
from bertsmith.core.errors import DataError, Stopped, UsageError
from bertsmith.core.storage import changed_fields, read_json
from bertsmith.corpus.shards import Corpus
from bertsmith.inference.minimal_pairs import minimal_pairs
from bertsmith.inference.predictor import Model
from bertsmith.pretraining.setup import save_untrained
from bertsmith.reports.language import written_in
from bertsmith.training.schedule import Phase

# Much is trained here, perhaps beside other work.
pytestmark = pytest.mark.timeout(1500)

ABLATIONS = ("untrained", "left-to-right", "left-to-right+bilstm")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A corpus and two tasks."""
    root = tmp_path_factory.mktemp("comparison")
    words = [f"x{number}" for number in range(3000)]
    write_toy_corpus(root / "corpus", unused=words)
    mrpc(root / "data" / "MRPC")
    sts_b(root / "data" / "STS-B")
    write_pairs(root / "pairs")
    return root


PARADIGMS = {"agreement": ("a1", "a2"), "islands": ("i1",)}
SAMPLE = 4


def write_pairs(folder):
    """Three paradigms of six pairs."""
    folder.mkdir()
    for phenomenon, names in PARADIGMS.items():
        for name in names:
            pairs = [
                {
                    "sentence_good": f"w{number} w{number} w1 w2",
                    "sentence_bad": f"w{number} w30 w2 w{number + 7}",
                    "UID": name,
                    "linguistics_term": phenomenon,
                }
                for number in range(3, 9)
            ]
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in pairs))


def plan(files, **changes):
    values = {
        "corpus": str(files / "corpus"),
        "tasks": ("mrpc", "sts-b"),
        "data": str(files / "data"),
        "ablations": ABLATIONS,
        "budget": "tokens=20000",
        "seeds": 2,
        "size": "tiny",
        "batch_size": 16,
        "phases": (Phase(1.0, 32),),
        "epochs": 1,
        "minimal_pairs": str(files / "pairs"),
        "limit": SAMPLE,
    }
    return Plan(**values | changes)


@pytest.fixture(scope="module")
def done(files):
    """A comparison that has run."""
    out = files / "out"
    return compare(plan(files), out), out


def test_a_row_differs_from_bert_in_what_it_says_alone(files):
    made = plan(files)
    bert, paper, untrained, no_nsp = (
        made.pretraining(system, "tiny", steps=9)
        for system in (
            MODELS["bert"],
            *(ABLATIONS_OF[name][0] for name in ("paper-weights", "untrained", "no-nsp")),
        )
    )
    assert bert.initial_weights == "structured"
    assert changed_fields(bert, paper) == [
        "initial_weights: 'structured' -> 'paper'",
        "learning_rate: 0.002 -> 0.001",
    ]
    assert changed_fields(bert, untrained) == []
    assert changed_fields(bert, no_nsp) == ["pair_task: 'nsp' -> 'none'"]


def test_the_untrained_has_the_weights_that_bert_began_with(done, files):
    result, out = done
    rows = {system.name: system for system in result.systems}
    config = plan(files).pretraining(
        MODELS["bert"], str(out / "shapes" / "bert.json"), steps=rows["bert"].steps
    )
    save_untrained(config, files / "first")
    first, untrained, bert = (
        load_pretraining(Path(folder))[0].state_dict()
        for folder in (files / "first", rows["untrained"].model, rows["bert"].model)
    )
    assert all(torch.equal(first[key], untrained[key]) for key in first)
    assert not all(torch.equal(first[key], bert[key]) for key in first)


def test_every_system_has_its_row(done):
    result, _ = done
    names = ["bert", "gpt", "elmo", *ABLATIONS]
    assert [system.name for system in result.systems] == names
    rows = {system.name: system for system in result.systems}
    bert = rows["bert"].parameters
    for name in ("gpt", "elmo"):
        assert abs(rows[name].parameters - bert) < 0.05 * bert
    for name in ("bert", "gpt", "elmo", "left-to-right"):
        assert rows[name].tokens == pytest.approx(20_000, rel=0.05)
        assert len(rows[name].curve.loss) == len(rows[name].curve.tokens) > 1
    assert rows["untrained"].tokens == 0
    assert rows["left-to-right+bilstm"].model == rows["left-to-right"].model
    assert rows["gpt"].predictions_per_token > 0.9
    assert rows["elmo"].predictions_per_token > 1.8
    assert 0.25 < rows["bert"].predictions_per_token < 0.35
    assert set(rows["gpt"].evaluation) == {"forward_loss", "forward_accuracy"}
    for row in rows.values():
        assert set(row.scores) == {"mrpc", "sts-b"}
        assert [len(row.runs[task]) for task in row.runs] == [2, 2]


def test_differences_are_of_every_pair_on_every_task_and_in_the_mean(done):
    result, _ = done
    pairs = len(result.systems) * (len(result.systems) - 1) // 2
    # Minimal pairs are of the five with a model of their own.
    assert len(result.differences) == 3 * pairs + 10
    first = result.differences[0]
    assert (first.task, first.first, first.second) == ("mrpc", "bert", "gpt")
    scores = {system.name: system.scores["mrpc"].mean for system in result.systems}
    assert first.interval[0] <= first.value <= first.interval[1]
    assert first.value == pytest.approx(scores["bert"] - scores["gpt"], abs=1e-12)


def test_pairs_that_no_model_can_read_are_found_before_anything_runs(files, tmp_path):
    line = {"sentence_good": "w1 " * 600, "sentence_bad": "w2", "UID": "long"}
    (tmp_path / "long.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(DataError, match=r"long\.jsonl:1.*602 tokens"):
        compare(plan(files, minimal_pairs=str(tmp_path)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_pairs_of_the_same_number_are_told_apart(files, tmp_path):
    tokenizer = Corpus.open(files / "corpus").tokenizer
    first = check_pairs(plan(files), tokenizer)
    write_pairs(tmp_path / "pairs")
    again = check_pairs(plan(files, minimal_pairs=str(tmp_path / "pairs")), tokenizer)
    file = next((tmp_path / "pairs").glob("*.jsonl"))
    file.write_text(file.read_text().replace("w30", "w31"))
    other = check_pairs(plan(files, minimal_pairs=str(tmp_path / "pairs")), tokenizer)
    assert first == again
    assert first.count == other.count == 3 * SAMPLE
    assert first.fingerprint != other.fingerprint


def test_minimal_pairs_are_scored_once_for_each_pretrained_model(done, files):
    result, out = done
    assert list(result.pairs) == ["bert", "gpt", "elmo", "untrained", "left-to-right"]
    html = (out / "compare.html").read_text()
    for name, found in result.pairs.items():
        assert [one.name for one in found.phenomena] == list(PARADIGMS)
        assert found.overall.pairs == 3 * SAMPLE
        # What `evaluate --minimal-pairs` says of the same folder.
        again = minimal_pairs(Model(out / "pretraining" / name), files / "pairs", limit=SAMPLE)
        assert found == msgspec.structs.replace(again, model=found.model)
        assert f"{100 * found.overall.score:.1f} (" in html
    [one] = [
        one
        for one in result.differences
        if (one.task, one.first, one.second) == ("minimal pairs", "bert", "gpt")
    ]
    scores = [result.pairs[name].overall.score for name in ("bert", "gpt")]
    assert one.value == pytest.approx(scores[0] - scores[1], abs=1e-12)
    assert one.interval[0] < one.value < one.interval[1]


def test_the_inside_of_each_is_shown(done):
    result, _ = done
    insight = result.insight
    assert set(insight.sentences) == {"bert", "gpt", "elmo", "left-to-right"}
    assert set(insight.sentences["elmo"][0].totals) == {"forward", "backward"}
    assert insight.looks["elmo"].kind == "saliency"
    for look in insight.looks.values():
        for row in look.weights:
            assert sum(row) == pytest.approx(1, abs=1e-4)
    left = insight.looks["gpt"].weights
    assert all(left[row][column] == 0 for row in range(3) for column in range(row + 1, 4))
    assert set(insight.independence) == {"bert"}


def test_the_page_stands_alone_and_tells_all(done):
    result, out = done
    html = (out / "compare.html").read_text()
    assert "http" not in html.replace("http://www.w3.org", "")
    for system in result.systems:
        assert system.title in html
    found = next(one for one in result.differences if (one.task, one.second) == ("mrpc", "gpt"))
    side = "yes" if found.value > 0 else "no"
    answer = side if found.is_sure else "undecided"
    assert f"<td>GPT</td><td>{answer} ({100 * found.value:+.1f})</td>" in html
    for verdict in result.verdicts:
        assert f"<b>{verdict.answer}</b><span>{verdict.task}</span>" in html
    for heading in (
        "Does BERT win here?",
        "Scores",
        "The systems",
        "price",
        "Table 5",
        "each model sees",
        "Attention",
    ):
        assert heading in html
    saved = json.loads((out / RESULT).read_text())
    assert [system["name"] for system in saved["systems"]] == [s.name for s in result.systems]


def test_a_chinese_page_has_the_same_numbers_and_no_english_heading(done):
    result, out = done
    pages = {}
    for language in ("en", "zh"):
        with written_in(language):
            write_page(result, out / f"{language}.html")
        pages[language] = (out / f"{language}.html").read_text()
        (out / f"{language}.html").unlink()
    sentences = {one.text for row in result.insight.sentences.values() for one in row}
    names = {"BERT", "GPT", "ELMo", *result.plan.tasks, *sentences}
    # Chinese counts in units of 10^8.
    check_chinese(pages["en"], pages["zh"].replace("33 亿", "3.3"), names)


def test_verdicts_are_of_every_task_and_stand_in_the_summary(done):
    result, _ = done
    assert [one.task for one in result.verdicts] == ["mrpc", "sts-b", "mean", "minimal pairs"]
    summary = "\n".join(result.summary())
    for one in result.verdicts:
        assert one.rivals == ("gpt", "elmo", "untrained")
        others = {"gpt", "elmo", *ABLATIONS}
        if one.task == "minimal pairs":
            others -= {"left-to-right+bilstm"}
        assert set(one.against) == others
        assert f"{one.task}: {one.answer}" in summary


def test_where_no_model_has_learned_anything_the_top_says_so(done):
    result, out = done
    best = max(system.gain for system in result.systems)
    for system in result.systems:
        losses = [system.evaluation.get(f"{name}_loss") for name in ("mlm", "forward")]
        assert system.gain == 0 if losses == [None, None] else True

    def learned(nats):
        systems = [
            msgspec.structs.replace(
                system,
                baseline={"mlm_loss": 5.0, "nsp_loss": 0.7},
                evaluation={"mlm_loss": 5.0 - nats, "mlm_accuracy": 0.1, "nsp_loss": 0.1},
            )
            for system in result.systems
        ]
        return msgspec.structs.replace(result, systems=systems)

    assert (result.little is None) == (best >= 0.3)
    assert learned(0.31).little is None
    assert "0.29 nats per word over the unigram baseline" in learned(0.29).little
    assert learned(0.29).summary()[0].startswith("Warning: No model has learned")
    task = result.tasks[0]
    foreign = msgspec.structs.replace(
        result,
        systems=[
            msgspec.structs.replace(system, unknown={task.name: 0.967}) for system in result.systems
        ],
    )
    assert foreign.warnings[-1].startswith(f"{task.title}: 96.7% of the training tokens")
    assert f"Warning: {foreign.warnings[-1]}" in foreign.summary()
    write_page(foreign, out / "foreign.html")
    assert "96.7% of the training tokens" in (out / "foreign.html").read_text()
    write_page(learned(0.29), out / "little.html")
    html = (out / "little.html").read_text()
    assert html.index("0.29 nats per word") < html.index("Does BERT win here?")
    (out / "little.html").unlink()


def test_a_resume_does_nothing_twice_and_gives_the_same(done, files):
    result, out = done
    copy = files / "moved"
    shutil.copytree(out, copy)
    (copy / RESULT).unlink()
    shutil.rmtree(copy / "tuning" / "gpt" / "sts-b")
    kept = [path for path in copy.rglob("*") if path.name in ("metrics.jsonl", "result.json")]
    kept += (copy / "minimal-pairs").iterdir()
    before = [path.stat().st_mtime_ns for path in kept]
    again = compare(plan(files), copy, resume=True)
    assert len(kept) > 20
    assert [path.stat().st_mtime_ns for path in kept] == before
    scores = [[s.runs for s in found.systems] for found in (result, again)]
    assert scores[0] == scores[1]
    assert result.differences == again.differences


def test_info_tells_of_it(done, capsys):
    result, out = done
    assert main(["info", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{out}, finished" in said
    assert f"  {result.systems[0].title}" in said
    assert "pre-trained" in said


def test_an_existing_folder_needs_resume_and_the_same_settings(done, files):
    _, out = done
    with pytest.raises(UsageError, match="already holds a comparison; add resume=True"):
        compare(plan(files), out)
    with pytest.raises(UsageError, match="epochs: 1 -> 2"):
        compare(plan(files, epochs=2), out, resume=True)
    with pytest.raises(UsageError, match=r"has ablations=\('left-to-right', 'left-to-right"):
        compare(plan(files, ablations=("untrained",)), out, resume=True)
    with pytest.raises(UsageError, match="has seeds=2, but the new settings do not"):
        compare(plan(files, seeds=1), out, resume=True)
    with pytest.raises(UsageError, match="limit: 4 -> 5"):
        compare(plan(files, limit=5), out, resume=True)
    with pytest.raises(UsageError, match=r"has minimal_pairs='.*', but the new settings do not"):
        compare(plan(files, minimal_pairs=None, limit=None), out, resume=True)


def test_a_resume_may_compare_more(done, files):
    result, out = done
    copy = files / "more"
    shutil.copytree(out, copy)
    more = compare(plan(files, seeds=3, budget="tokens=2e4"), copy, resume=True)
    for before, now in zip(result.systems, more.systems, strict=True):
        for task, runs in before.runs.items():
            assert now.runs[task][:2] == runs
            assert len(now.runs[task]) == 3


SPEEDS = Speeds(
    pretraining={
        "bert": Speed(tokens=400, step=0.01, evaluation=0.5, setup=1),
        "gpt": Speed(tokens=400, step=0.02, evaluation=0.5, setup=1),
    },
    tuning={"mrpc": {"bert": 10, "gpt": 12}},
    measuring=5,
)


@pytest.fixture
def measured(monkeypatch):
    """Speeds that are known, and how often they were asked for."""
    calls = []

    def measure(*_):
        calls.append(1)
        return SPEEDS

    monkeypatch.setattr(job, "measure", measure)
    return calls


def of_hours(files, hours, **changes):
    values = {"models": ("bert", "gpt"), "ablations": (), "tasks": ("mrpc",), "seeds": 3}
    return plan(files, hours=hours, **{"budget": ""} | values | changes)


def test_a_plan_says_what_would_be_done_and_writes_nothing(files, tmp_path, measured, capsys):
    arguments = ["compare", "--corpus", str(files / "corpus"), "--data", str(files / "data")]
    arguments += ["--out", str(tmp_path / "out"), "--tasks", "mrpc", "--models", "bert,gpt"]
    arguments += ["--size", "tiny", "--phases", "32:1", "--batch-size", "16"]
    assert main([*arguments, "--hours", "0.1", "--dry-run", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    # 360 seconds less 60 in reserve, 5 for measuring, 66 for fine-tunings and 2 * 11.5 fixed;
    # 0.000075 seconds for a token of both: 2.74 M, in whole steps.
    assert table["tokens"]["bert"] == pytest.approx(2.74e6, rel=0.001)
    assert table["tokens"]["gpt"] == pytest.approx(2.74e6, rel=0.001)
    assert table["pretraining"]["bert"] == pytest.approx(11.5 + 68.5, abs=0.2)
    assert table["tuning"] == {"mrpc": {"bert": 30, "gpt": 36}}
    assert main([*arguments, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 h 00 min" in said or "1 h 59 min" in said
    assert "40,000 tokens/s" in said
    assert len(measured) == 2
    assert not list(tmp_path.iterdir())


def test_a_resume_keeps_the_plan(files, tmp_path, measured, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(job, "one_after_another", stop_at_once)
    with pytest.raises(Stopped):
        compare(of_hours(files, 0.1), out)
    written = plan_and_timetable(out)
    assert written[0]["budget"] == "tokens=2.74e+06"
    assert written[0]["hours"] == 0.1
    assert len(measured) == 1
    # The machine is another one now, or the hours are not said again: the tokens stay.
    for hours in (0.1, None):
        with pytest.raises(Stopped):
            compare(of_hours(files, hours), out, resume=True)
        assert plan_and_timetable(out) == written
    assert len(measured) == 1
    with pytest.raises(UsageError, match=r"hours: 0\.1 -> 0\.2"):
        compare(of_hours(files, 0.2), out, resume=True)
    with pytest.raises(UsageError, match=r"budget: 'tokens=2\.74e\+06' -> 'tokens=1e\+06'"):
        compare(of_hours(files, None, budget="tokens=1e6"), out, resume=True)


def plan_and_timetable(out):
    names = ("plan.json", "timetable.json")
    return [read_json(out / name, dict[str, Any], sealed=True) for name in names]


def stop_at_once(*_):
    raise Stopped(signal.SIGTERM, "before anything")


def test_what_a_budget_cannot_teach_is_told_beforehand(files, tmp_path, measured, monkeypatch):
    lines = []
    monkeypatch.setattr(job, "say", lines.append)
    monkeypatch.setattr(job, "one_after_another", stop_at_once)
    with pytest.raises(UsageError, match=r"hours=0\.04 leaves .* at least hours="):
        compare(of_hours(files, 0.04), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for budget, warned in (("tokens=2e4", True), ("tokens=4e5", False)):
        lines.clear()
        with pytest.raises(Stopped):
            compare(of_hours(files, None, budget=budget), tmp_path / budget)
        assert any("fewer than 300,000" in line for line in lines) == warned


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"limit": 0}, "limit is 0; it must be at least 1"),
        ({"minimal_pairs": None}, "limit works only with minimal_pairs"),
        ({"hours": 2.0}, "hours limits the whole comparison, budget each pre-training"),
        ({"hours": -1.0, "budget": ""}, "hours is -1; it must be above 0"),
        ({"hours": math.nan, "budget": ""}, "hours is nan; it must be above 0"),
        ({"ablations": ("no-nps",)}, "'no-nps' (perhaps you meant 'no-nsp')"),
        ({"models": ("bert", "gtp")}, "'gtp' (perhaps you meant 'gpt')"),
        ({"models": ("bert",), "ablations": ()}, "only one system; name at least two models"),
        ({"models": ("gpt", "elmo")}, "add bert to models"),
        ({"models": (), "ablations": ()}, "models is empty; name some of bert, gpt, elmo"),
        ({"tasks": ("mprc",)}, "'mprc' (perhaps you meant 'mrpc')"),
        ({"tasks": ()}, "tasks is empty"),
        ({"tasks": ("mrpc", "mrpc")}, "tasks names 'mrpc' twice"),
        ({"budget": "tokens=10"}, "fewer tokens than one evaluation reads; give at least tokens="),
        ({"budget": "hours=0.001"}, "4 seconds, too short for one evaluation"),
        ({"budget": "euros=5"}, "budget is 'euros=5', expected"),
        ({"seeds": 0}, "seeds is 0; it must be at least 1"),
        ({"seeds": 1001}, "seeds is 1001; it must be at most 1,000"),
        ({"budget": "tokens=1e300"}, "budget='tokens=1e+300' is 2e+297 steps"),
        ({"batch_size": 10**9}, "batch_size is 1000000000; it must be at most 131,072"),
        ({"size": "huge"}, "size='huge': not a preset"),
    ],
)
def test_bad_plans_are_refused_and_leave_nothing(files, tmp_path, changes, fact):
    with pytest.raises(UsageError) as caught:
        compare(plan(files, **changes), tmp_path / "out")
    assert fact in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_data_that_nothing_can_be_learned_from_is_told_before_anything_is_trained(files, tmp_path):
    shutil.copytree(files / "data", tmp_path / "data")
    path = tmp_path / "data" / "MRPC" / "msr_paraphrase_train.txt"
    path = path if path.exists() else next((tmp_path / "data" / "MRPC").glob("*train*"))
    head, *rows = path.read_text().splitlines(keepends=True)
    path.write_text(head + "".join("1" + row[1:] for row in rows))
    with pytest.raises(DataError, match="has the label '1'"):
        compare(plan(files, data=str(tmp_path / "data")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_minimal_pairs_are_told_before_anything_is_trained(files, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"sentence_good": "w1 w2"}\n')
    with pytest.raises(DataError, match=r"p\.jsonl:1.*sentence_bad"):
        compare(plan(files, minimal_pairs=str(tmp_path / "p.jsonl")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_signal_between_two_runs_is_told(files, tmp_path, monkeypatch):
    def done_and_asked_to_stop(todo, out):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(running, "do_pretraining", done_and_asked_to_stop)
    with pytest.raises(Stopped, match="SIGTERM before pre-training 2 of 3; progress is saved"):
        compare(plan(files, ablations=()), tmp_path / "out")
    assert (tmp_path / "out" / "plan.json").is_file()


def test_the_command_says_what_is_wrong(files, tmp_path, capsys):
    arguments = ["compare", "--corpus", str(files / "corpus"), "--data", str(files / "data")]
    arguments += ["--out", str(tmp_path / "out"), "--tasks", "mrpc", "--ablations", "maskin"]
    assert main(arguments) == 2
    assert "perhaps you meant 'masking'" in capsys.readouterr().err
