import json
import os
import resource
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from bertsmith.cli.info import Info
from bertsmith.cli.main import main
from bertsmith.cli.pretrain import Pretrain, not_learned, parse_phases
from bertsmith.core.errors import DataError, Stopped, SystemFault, UsageError
from bertsmith.pretraining.config import PretrainConfig
from bertsmith.quickstart.samples import example
from bertsmith.text.tokenizer.files import SPECIAL
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.schedule import Phase

WORDS = "the sun rose over sea and a small boat sailed far from land while birds sang".split()


def make_text(path: Path, *, documents: int = 60) -> Path:
    """Documents of six short sentences over fifteen words."""
    lines = []
    for i in range(documents):
        for j in range(6):
            words = [WORDS[(i * 7 + j * 3 + k * k) % len(WORDS)] for k in range(5 + (i + j) % 5)]
            lines.append(" ".join(words).capitalize() + ".")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Text, tokenizer, corpus and model, all made by the command."""
    root = tmp_path_factory.mktemp("made")
    make_text(root / "text.txt")
    for command in (
        f"tokenizer train {root}/text.txt --out {root}/tokenizer --vocab-size 70 --workers 1",
        f"prepare {root}/text.txt --tokenizer {root}/tokenizer --out {root}/corpus --workers 1"
        " --held-out 0.2",
        f"pretrain --data {root}/corpus --out {root}/model --size tiny --steps 3 --batch-size 4"
        " --evaluate-sequences 8",
    ):
        assert main(command.split()) == 0
    return root


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def bertsmith(*arguments, **changes):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "bertsmith", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **changes)


def test_help_loads_neither_torch_nor_numpy_and_answers_at_once():
    code = (
        "import sys\nfrom bertsmith.cli.main import main\nprint('exit', main(['--help']))\n"
        "heavy = {'torch', 'numpy', 'tokenizers', 'matplotlib'} & set(sys.modules)\n"
        "print('loaded', sorted(heavy))"
    )
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stdout.endswith("exit 0\nloaded []\n"), done.stderr
    for command in ("quickstart", "tokenizer", "prepare", "pretrain", "fill", "info"):
        assert command in done.stdout
    # Of the processor, because a busy machine makes the clock on the wall say nothing. It is 0.2
    # seconds on a core of 2023; loading torch alone takes 2.5.
    assert min(took) < 1


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        ("tokenizer train {0}/text.txt --out {1}/t --vocab-size 70 --workers 1", "torch"),
        ("tokenizer show {0}/tokenizer sun", "torch"),
        ("prepare {0}/text.txt --tokenizer {0}/tokenizer --out {1}/c --workers 1", "torch"),
        ("info {0}/model", "torch"),
        ("info {0}/corpus", "torch"),
    ],
)
def test_light_commands_never_load_torch(made, tmp_path, arguments, forbidden):
    split = arguments.format(made, tmp_path).split()
    code = (
        "import sys\nfrom bertsmith.cli.main import main\n"
        f"assert main({split!r}) == 0\nassert {forbidden!r} not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_flags_of_pretrain_are_the_settings():
    flags = {option.name for option in Pretrain.options()}
    settings = {field.name for field in msgspec.structs.fields(PretrainConfig)}
    extra = {"json", "out", "start", "resume", "replay", "held_out", "show_batch"}
    assert flags == settings | extra


def test_phases_are_lengths_and_shares():
    assert parse_phases("128:0.9,512:0.1") == (Phase(0.9, 128), Phase(0.1, 512))
    assert parse_phases("64") == (Phase(1.0, 64),)
    with pytest.raises(UsageError, match=r"--phases 128;0\.9: '128;0\.9' is not LENGTH:SHARE"):
        parse_phases("128;0.9")


def test_every_command_prints_the_next_one(made, capsys, tmp_path):
    code, out, _ = run(
        capsys, "tokenizer", "train", made / "text.txt", "--out", tmp_path / "my tokenizer",
        "--vocab-size", 70, "--workers", 1,
    )  # fmt: skip
    assert code == 0
    assert f"A vocabulary of 70 pieces is in {tmp_path}/my tokenizer." in out
    assert f"bertsmith prepare {made}/text.txt --tokenizer '{tmp_path}/my tokenizer'" in out
    code, out, _ = run(
        capsys, "prepare", made / "text.txt", "--tokenizer", tmp_path / "my tokenizer",
        "--out", tmp_path / "corpus", "--workers", 1,
    )  # fmt: skip
    assert code == 0
    assert "60 read from 1 file" in out
    assert f"bertsmith pretrain --data {tmp_path}/corpus --out model" in out


def test_a_vocabulary_smaller_than_asked_is_told(made, capsys, tmp_path):
    code, out, _ = run(
        capsys, "tokenizer", "train", made / "text.txt", "--out", tmp_path / "t",
        "--vocab-size", 5000, "--workers", 1,
    )  # fmt: skip
    assert code == 0
    assert "pieces instead of 5,000" in out


def test_a_vocabulary_is_not_written_over_other_things(made, capsys, tmp_path):
    text = make_text(tmp_path / "in.txt")
    rest = ("--vocab-size", 70, "--workers", 1)
    before = (made / "model" / "vocab.txt").read_bytes()
    for out, message in (
        (made / "model", "holds other files than a tokenizer (README.md); choose"),
        (made / "corpus", "holds other files than a tokenizer (heldout-00000); choose"),
        (text.parent / "t", f"is inside the input folder {tmp_path}, so a"),
        (text, "is a file; give a folder"),
    ):
        code, _, err = run(capsys, "tokenizer", "train", tmp_path, "--out", out, *rest)
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith(f"error: --out {out} {message}")
    assert (made / "model" / "vocab.txt").read_bytes() == before
    assert not (made / "corpus" / "vocab.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


@pytest.mark.parametrize(
    "arguments",
    [
        "tokenizer train {0}/text.txt --vocab-size 70 --workers 1 --out",
        "prepare {0}/text.txt --tokenizer {0}/tokenizer --workers 1 --out",
        "pretrain --data {0}/corpus --size tiny --steps 1 --batch-size 4 --out",
    ],
)
def test_a_folder_that_json_could_not_name_is_refused_before_the_work(
    made, capsys, tmp_path, arguments
):
    code, out, err = run(capsys, *arguments.format(made).split(), tmp_path / "\udcff")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "\\udcff' is not UTF-8; give another name." in err
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_that_does_not_fit_the_text_is_told(made, capsys, tmp_path):
    (tmp_path / "zh.txt").write_text(
        "我喜欢苹果，也喜欢香蕉。\n\n他在河边看书。\n", encoding="utf-8"
    )
    flags = ("--tokenizer", made / "tokenizer", "--out", tmp_path / "c", "--workers", 1)
    code, out, _ = run(capsys, "prepare", tmp_path / "zh.txt", *flags, "--held-out", 0)
    assert code == 0
    assert "the vocabulary does not fit this text" in out
    code, out, _ = run(capsys, "info", tmp_path / "c", "--json")
    assert json.loads(out)["unknown"] > 0.8
    _, out, _ = run(capsys, "info", made / "corpus")
    assert "warning" not in out
    (tmp_path / "c" / "unigrams.npy").write_bytes(b"short")
    code, _, err = run(capsys, "info", tmp_path / "c")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {tmp_path}/c/unigrams.npy cannot be read (")


def test_minilm_is_a_model_to_all_commands(capsys):
    code, out, _ = run(capsys, "tokenizer", "show", "minilm", "sun")
    assert (code, out.splitlines()[1].split()[0]) == (0, "sun")
    code, out, _ = run(capsys, "info", "minilm")
    assert code == 0
    assert "BERT, 6 layers, 384 wide, 12 heads" in out


def test_tokenizer_show(made, capsys):
    code, out, _ = run(capsys, "tokenizer", "show", made / "tokenizer", "The SUN [MASK]")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()]
    assert names == ["piece", "the", "sun", "[MASK]", "3"]
    code, out, _ = run(capsys, "tokenizer", "show", made / "tokenizer", "sun", "--json")
    [piece] = json.loads(out)["pieces"]
    assert (piece["piece"], piece["start"], piece["end"]) == ("sun", 0, 3)


def test_show_batch_prints_examples_and_trains_nothing(made, capsys, tmp_path):
    out_folder = tmp_path / "never"
    flags = ("pretrain", "--data", made / "corpus", "--out", out_folder, "--batch-size", 8)
    code, out, _ = run(capsys, *flags, "--show-batch")
    assert code == 0
    assert out.count("Example ") == 4
    assert "[MASK](" in out
    code, out, _ = run(capsys, *flags, "--show-batch", 2, "--json")
    assert json.loads(out)["examples"].count("Example ") == 2
    code, _, err = run(capsys, *flags, "--show-batch", 0)
    assert (code, err) == (2, "error: --show-batch is 0; it must be at least 1.\n")
    assert not out_folder.exists()


def test_pretrain_tells_where_things_are(made, capsys, tmp_path):
    flags = (
        "pretrain", "--data", made / "corpus", "--out", tmp_path / "m", "--size", "tiny",
        "--steps", 2, "--batch-size", 4, "--evaluate-sequences", 8, "--phases", "32:0.5,64:0.5",
    )  # fmt: skip
    code, out, _ = run(capsys, *flags)
    assert code == 0
    assert "Trained for 2 steps" in out
    assert "held-out mlm loss" in out
    assert f"bertsmith fill {tmp_path}/m" in out
    code, out, _ = run(capsys, *flags, "--resume", "--json")
    assert (code, json.loads(out)["out"]) == (0, str(tmp_path / "m"))
    code, _, err = run(capsys, *flags)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(
        f"error: --out {tmp_path}/m already holds a pre-training run; add --resume"
    )
    settings = json.loads((tmp_path / "m" / "pretrain.json").read_text())
    assert settings["phases"] == [{"share": 0.5, "length": 32}, {"share": 0.5, "length": 64}]
    assert settings["mlm_probability"] == 0.3  # the recipe's


def test_a_loss_no_better_than_guessing_is_said():
    metrics = {"mlm_loss": 7.1, "mlm_accuracy": 0.1, "nsp_loss": 0.5, "nsp_accuracy": 0.4}
    baseline = {"mlm_loss": 7.0, "mlm_accuracy": 0.2, "nsp_loss": 0.69, "nsp_accuracy": 0.5}
    [line] = not_learned(metrics, baseline)
    assert "held-out mlm loss is 7.100, no better than the baseline (7.000)" in line
    assert not_learned(metrics | {"mlm_loss": 6.9}, baseline) == []
    assert len(not_learned(metrics | {"mlm_loss": float("nan"), "nsp_loss": 0.7}, baseline)) == 2


def test_the_example_speaks_the_language_of_the_vocabulary(tmp_path):
    chinese, english = Tokenizer([*SPECIAL, *"我喜欢苹果。"]), Tokenizer([*SPECIAL, "paris", "is"])
    chinese.save(tmp_path / "zh")
    english.save(tmp_path / "en")
    assert example(tmp_path / "zh") == "我喜欢[MASK]苹果。"
    assert example(tmp_path / "en") == "Paris is the [MASK] of France."


def test_fill_ranks_pieces_and_explains_independence(made, capsys):
    code, out, _ = run(capsys, "fill", made / "model", "the [MASK] rose", "--top-k", 3)
    assert code == 0
    shares = [float(line.split("%")[0]) for line in out.splitlines()]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert "on its own" not in out
    code, out, _ = run(capsys, "fill", made / "model", "the [MASK] [MASK]", "--top-k", 2)
    assert "[MASK] 2, on its own" in out
    assert "Each [MASK] is predicted on its own" in out
    assert "--joint" in out
    code, out, _ = run(capsys, "fill", made / "model", "the [MASK] [MASK]", "--joint", "--json")
    code, out, _ = run(capsys, "fill", made / "model", "the " + "[MASK] " * 4, "--joint")
    assert " 0.0%" not in out
    code, out, _ = run(capsys, "fill", made / "model", "the [MASK] [MASK]", "--joint", "--json")
    found = json.loads(out)
    assert len(found["blanks"]) == 2
    assert len(found["joint"]) == 5
    assert found["warning"] is None
    for blank in found["blanks"]:
        assert sum(guess["probability"] for guess in blank["candidates"]) <= 1


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("我喜欢 [MASK].", True),
        ("我喜欢 the [MASK]", False),
        ("[MASK].", False),
        ("Я, [MASK]", True),
    ],
)
def test_a_text_of_unknown_words_is_told(made, capsys, text, warned):
    code, out, _ = run(capsys, "fill", made / "model", text)
    assert code == 0
    sentence = "Every word of the text is [UNK] in this model's vocabulary, so the predictions do"
    assert out.splitlines()[-1].startswith(sentence) == warned
    code, out, _ = run(capsys, "fill", made / "model", text, "--json")
    assert (json.loads(out)["warning"] or "").startswith(sentence) == warned


def test_info_tells_folders_and_files_apart(made, capsys):
    kinds = {"text.txt": "text", "tokenizer": "tokenizer", "corpus": "corpus", "model": "run"}
    for name, kind in kinds.items():
        code, out, _ = run(capsys, "info", made / name, "--json")
        assert (code, json.loads(out)["kind"]) == (0, kind)
        code, out, _ = run(capsys, "info", made / name)
        assert code == 0
        assert len(out.splitlines()) >= 3
    checkpoint = made / "model" / "checkpoints" / "step-00000003"
    code, out, _ = run(capsys, "info", checkpoint, "--json")
    assert json.loads(out)["kind"] == "model"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("info {0}/nowhere", "error: Could not read {0}/nowhere: no such file or folder"),
        ("fill {0}/corpus [MASK]", "error: {0}/corpus holds no config.json"),
        ("fill {0}/model sun", "error: The text holds no [MASK]"),
        ("pretrain --data {0}/corpus --out {1}/m", "error: Give the length of the run"),
        (
            "pretrain --data {0}/corpus --out {1}/m --steps 1 --size bsae",
            "error: --size bsae: not a preset (perhaps you meant 'base')",
        ),
        ("prepare {0}/text.txt --tokenizer {0} --out {1}/c", "error: {0}"),
        (
            "prepare {0}/text.txt --tokenizer {0}/tokenizer --out {1}/c --language eng",
            "error: --language eng: no sentence rules for this language (perhaps you meant 'en').",
        ),
        (
            "tokenizer train --out {1}/t --vocab-size 70",
            "error: `bertsmith tokenizer train` needs INPUT.",
        ),
        (
            "tokenizer train {0}/text.txt --out {1}/t --vocab-size 9 --workers 1",
            "error: A vocabulary of 9 pieces is too small for this text: its alphabet and",
        ),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence_and_exit_code_2(
    made, capsys, tmp_path, arguments, message
):
    code, out, err = run(capsys, *(part.format(made, tmp_path) for part in arguments.split()))
    assert code == 2
    assert out == ""
    assert err.startswith(message.format(made, tmp_path))
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (DataError("x.txt, line 3: bad."), 2, "error: x.txt, line 3: bad.\n"),
        (DataError("a\nb.txt: bad\r\nbyte."), 2, "error: a b.txt: bad byte.\n"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (Stopped(15, "at step 7"), 143, "Stopped by SIGTERM at step 7"),
        (OSError(28, "No space left on device"), 2, "error: Could not read or write: the disk is"),
        (PermissionError(13, "denied", "/x"), 2, "error: Could not read or write /x: permission"),
    ],
)
def test_exit_codes(monkeypatch, capsys, raised, code, said):
    def fail(self):
        raise raised

    monkeypatch.setattr(Info, "run", fail)
    assert main(["info", "x"]) == code
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (DataError("bad"), 2, ""),
        (Stopped(15, "at step 7"), 143, ""),
        (KeyboardInterrupt(), 130, ""),
        # What only this process may have met.
        (SystemFault("Memory ran out."), 2, "error: Memory ran out.\n"),
    ],
)
def test_one_process_of_a_machine_tells_what_all_of_them_met(
    monkeypatch, capsys, raised, code, said
):
    def fail(self):
        raise raised

    monkeypatch.setattr(Info, "run", fail)
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert (main(["info", "x"]), capsys.readouterr().err) == (code, said)


def test_a_place_that_no_launcher_gives_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "many")
    assert main(["info", "x"]) == 2
    assert capsys.readouterr().err.startswith("error: The environment variable RANK is 'many'")


def test_a_reader_that_goes_away_is_no_error(made):
    command = f"{sys.executable} -m bertsmith pretrain --help | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout.startswith("usage: bertsmith pretrain")
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-m", "bertsmith", "info", str(made / "corpus")],
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    _, err = process.communicate(timeout=120)
    assert err == b""
    assert process.returncode == 141


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(made, closed):
    command = f"'{sys.executable}' -m bertsmith info '{made}/tokenizer' {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("vocabulary" in done.stdout) == (" >&-" not in f" {closed}")


def test_the_module_is_the_command():
    done = bertsmith("info", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Could not read nowhere")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_locale_can_show_any_text(made, encoding):
    """What the locale has no word for is escaped, and JSON stays JSON."""
    changes = {"env": os.environ | {"PYTHONIOENCODING": encoding}, "encoding": encoding}
    show = ("tokenizer", "show", made / "tokenizer", "我é😀")
    command = [sys.executable, "-m", "bertsmith", *map(str, show)]
    done = subprocess.run(command, capture_output=True, timeout=120, **changes)
    assert (done.returncode, done.stderr) == (0, "")
    shown = {"ascii": r"\u6211", "latin-1": r"\u6211", "utf-8": "我"}[encoding]
    assert done.stdout.splitlines()[1].split()[-1] == shown
    done = subprocess.run([*command, "--json"], capture_output=True, timeout=120, **changes)
    assert json.loads(done.stdout)["text"] == "我é😀"
    command[-2:] = ["./nowhere-我", "x"]
    done = subprocess.run(command, capture_output=True, timeout=120, **changes)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: ./nowhere-{shown}: no such folder")


def test_an_interrupt_while_the_command_is_loaded_is_one_line(monkeypatch, capsys):
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "bertsmith.cli.main", Interrupted("bertsmith.cli.main"))
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("bertsmith")
    assert caught.value.code == 130
    assert capsys.readouterr().err == "Interrupted; run the same command again.\n"
