"""The documents tell the truth: commands run, links lead somewhere, named files exist."""

import re
import shlex
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest
from official_files import mrpc

from bertsmith.checkpoints.sources import resolve
from bertsmith.cli.command import Result
from bertsmith.cli.main import COMMANDS, main
from bertsmith.comparison import matching
from bertsmith.core.runtime import derive_seed
from bertsmith.finetuning import data as finetune_data
from bertsmith.finetuning.job import Job
from bertsmith.finetuning.result import FinetuneResult
from bertsmith.finetuning.run import RunResult
from bertsmith.tasks.datasets.registry import TASKS
from bertsmith.tasks.metrics import METRICS
from bertsmith.tasks.task_config import TaskConfig
from bertsmith.text.tokenizer.tokenizer import Tokenizer

ROOT = Path(__file__).parents[1]
READMES = ["README.md", "README.zh-CN.md"]
PAGES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))
DOCUMENTS = [*READMES, "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *PAGES]

# What makes a README's command small enough for a test; each must be needed somewhere.
SMALLER = {
    "--vocab-size 30000": "--vocab-size 120 --workers 1",
    "--out my-corpus": "--out my-corpus --held-out 0.2 --workers 1",
    "--size mini": "--size tiny",
    "--hours 1": "--steps 2 --batch-size 4 --evaluate-sequences 4",
    "--model minilm": "--model my-model",
    "--seeds 5": "--seeds 2 --epochs 1",
    "--train reviews.csv": "--train reviews.csv --epochs 1",
    "--tasks mrpc,rte": (
        "--tasks mrpc --models bert,gpt --size tiny --budget tokens=2e4 --seeds 1 --epochs 1 "
        "--phases 32:1"
    ),
}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def fenced(text):
    """Language and contents of every block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def blocks(name, language):
    return [code for kind, code in fenced(read(name)) if kind == language]


def sections(name):
    """Heading of the second rank -> what stands under it."""
    parts = re.split(r"^## ", read(name), flags=re.MULTILINE)[1:]
    return dict(part.split("\n", 1) for part in parts)


def commands_in(text):
    """The arguments of every line of code that calls the command."""
    code = "".join(code for _, code in fenced(text)).replace("\\\n", " ")
    lines = re.findall(r"^bertsmith (.*)$", code, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def shell_commands(name):
    return "".join(blocks(name, "bash")).splitlines()


def write_text(folder):
    folder.mkdir()
    documents = []
    for i in range(40):
        lines = [f"Paris is the city number {i * j % 7} of France." for j in range(3)]
        documents.append("\n".join([*lines, f"我喜欢苹果，不喜欢第{i}个。", "我写一句自己的话。"]))
    (folder / "some.txt").write_text("\n\n".join(documents), encoding="utf-8")


def write_labelled(folder):
    mrpc(folder / "glue" / "MRPC")
    reviews = [("Paris is a city", "good"), ("number 3 of France", "bad"), ("我喜欢苹果", "good")]
    for name, times in (("reviews.csv", 8), ("other-reviews.csv", 2)):
        rows = [f"{text} {n},{label}" for n in range(times) for text, label in reviews]
        (folder / name).write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    (folder / "blimp").mkdir()
    pair = '{"sentence_good": "Paris is a city", "sentence_bad": "Paris are a city"}'
    (folder / "blimp" / "some.jsonl").write_text(pair, encoding="utf-8")
    (folder / "new-reviews.txt").write_text("Paris\n不喜欢\n", encoding="utf-8")


@pytest.mark.parametrize("name", READMES)
def test_the_commands_run_as_written(name, tmp_path, monkeypatch, capsys):
    write_text(tmp_path / "my-text")
    write_labelled(tmp_path)
    monkeypatch.chdir(tmp_path)
    # With a vocabulary of 120 pieces a BERT's heads are more than 5% of it.
    monkeypatch.setattr(matching, "_CLOSE", 0.1)
    served: list[tuple[str, ...]] = []
    monkeypatch.setattr("bertsmith.serving.run.serve", lambda models, **_: served.append(models))
    used = set()
    for command in shell_commands(name):
        for large, small in SMALLER.items():
            if large in command:
                command = command.replace(large, small)
                used.add(large)
        program, *arguments = shlex.split(command)
        assert program == "bertsmith"
        assert main(arguments) == 0, capsys.readouterr().err
        assert len(capsys.readouterr().out) > 10 or arguments[0] == "serve"
    assert served == [("tiny-en", "tiny-zh")]
    assert (tmp_path / "inspection.html").stat().st_size > 20_000
    assert used == set(SMALLER)
    assert (tmp_path / "my-model" / "model.safetensors").is_file()
    assert len((tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_both_readmes_give_the_same_commands():
    def shape(name):
        return [re.sub(r'"[^"]*"', '""', command) for command in shell_commands(name)]

    assert shape("README.md") == shape("README.zh-CN.md")
    assert len(shape("README.md")) == 29


@pytest.mark.parametrize("name", [name for name in PAGES if name.endswith(".zh-CN.md")])
def test_a_chinese_page_has_no_command_and_no_flag_that_the_english_one_lacks(name):
    def used(page):
        commands = commands_in(read(page))
        names = {
            " ".join(each[: 2 if each[0] in ("tokenizer", "finetune") else 1]) for each in commands
        }
        return names | {part for each in commands for part in each if part.startswith("--")}

    assert used(name) <= used(name.replace(".zh-CN", ""))


@pytest.mark.parametrize("name", READMES)
def test_the_python_of_the_readme_runs(name, tmp_path, monkeypatch, capsys):
    write_text(tmp_path / "my-text")
    monkeypatch.chdir(tmp_path)
    ours, theirs = blocks(name, "python")
    for large, small in {
        '"my-text/", "tokenizer"': '"my-text/", "tokenizer", vocab_size=120',
        '"my-text/", "corpus"': '"my-text/", "corpus", held_out=0.2, workers=1',
        'size="mini"': 'size="tiny", batch_size=4',
        "hours=1.0": "steps=2",
    }.items():
        assert large in ours
        ours = ours.replace(large, small)
    exec(compile(ours, name, "exec"), {})
    assert "Candidate(token=" in capsys.readouterr().out
    names: dict[str, object] = {}
    exec(compile(theirs, name, "exec"), names)
    assert type(names["model"]).__name__ == "BertForPreTraining"


@pytest.mark.parametrize("name", READMES)
def test_the_two_commands_are_targets_of_the_makefile(name):
    first = blocks(name, "")[0].splitlines()
    assert first == ["make quickstart", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for command in first:
        assert re.search(rf"^{command.split()[1]}: \.venv/installed-", makefile, re.MULTILINE)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", read(name)):
        if not target.startswith("http"):
            path, _, place = target.partition("#")
            page = (ROOT / name).parent / path if path else ROOT / name
            assert page.exists(), target
            if place:
                headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
                kept = [re.sub(r"[^\w -]", "", heading.lower()) for heading in headings]
                assert place in [heading.replace(" ", "-") for heading in kept], target


@pytest.mark.parametrize("name", READMES)
def test_the_tree_lists_every_file_of_the_source_once(name):
    found, room = [], ""
    for line in read(name).split("src/bertsmith/\n")[1].split("\n```")[0].splitlines():
        word = line.split()[0]
        if word.endswith("/"):
            room = word
        else:
            assert len(line.split(maxsplit=1)) == 2, f"{word} has no description"
            found.append((room if line.startswith("    ") else "") + word)
    source = ROOT / "src" / "bertsmith"
    files = [str(path.relative_to(source)) for path in source.rglob("*.py")]
    rooms = [path for path in files if path.endswith("/__init__.py")]
    assert sorted(found) == sorted(set(files) - set(rooms))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_and_flags_that_are_mentioned_exist(name, capsys):
    text = read(name)
    rooms = "src|docs|tests|benchmarks|text|models|tasks|corpus|train|tuning|commands"
    for path in re.findall(rf"`((?:{rooms})/[\w/.-]+)`", text):
        places = [ROOT / path, ROOT / "src" / "bertsmith" / path]
        # A part in capitals stands for a name of the user's.
        named = any(part.isupper() for part in path.split("/"))
        assert named or any(p.exists() or p.with_suffix(".py").exists() for p in places), path
    known = ["--quiet", "--max-restarts", "--nnodes", "--nproc-per-node", "--version"]
    for command in COMMANDS:
        assert main([*command.split(), "--help"]) == 0
        known += re.findall(r"--[a-z0-9-]+", capsys.readouterr().out)
    for script in (ROOT / "benchmarks").glob("*.py"):
        known += re.findall(r'"(--[a-z0-9-]+)"', script.read_text(encoding="utf-8"))
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text):
        assert flag in known, flag


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_have_the_flags_they_need(name, monkeypatch, capsys):
    for command in COMMANDS.values():
        monkeypatch.setattr(command, "run", lambda self: Result(None, ""))
        monkeypatch.setattr(command, "with_remote_folders", lambda self: nullcontext())
    for arguments in commands_in(read(name)):
        assert main(arguments) == 0, capsys.readouterr().err


def test_the_page_of_the_tasks_has_every_task_with_its_kind_score_and_command():
    row = r"^\| \[(.+?)\]\(.*?\) \| ([\w-]+): .*? \| (.*?) \| `(bertsmith finetune (\S+) .*?)` \|$"
    rows = re.findall(row, read("docs/tasks.md"), re.MULTILINE)
    assert sorted(name for *_, name in rows) == sorted(TASKS)
    for title, kind, score, command, name in rows:
        assert kind == TASKS[name].kind.name
        assert score == ", ".join(METRICS[metric].title for metric in TASKS[name].metrics)
        assert f"\n{command}\n" in sections("docs/tasks.md")[title]


def test_the_inputs_on_the_page_of_the_tasks_are_those_of_minilm():
    tokenizer = Tokenizer.load(resolve("minilm"))
    shown = [text for text in blocks("docs/tasks.md", "") if "\nsegment 0 " in text]
    assert len(shown) == len(TASKS)
    for example in shown:
        text, _, inputs = example.lower().partition("\n\nsegment 0 ")
        for line in re.findall(r"segment [01] +(.*(?:\n +.*)*)", f"segment 0 {inputs}"):
            pieces = line.replace("[cls]", "[CLS]").replace("[sep]", "[SEP]").split()
            words = " ".join(pieces).replace(" ##", "")
            assert tokenizer.tokens(tokenizer.encode(words, allow_special=True).ids) == pieces
            told = {"[CLS]", "[SEP]", *re.findall(r"\w+|[^\w\s]", text)}
            assert set(words.split()) <= told


def test_the_labelled_files_on_the_page_of_the_tasks_can_be_learned_from(tmp_path, monkeypatch):
    page = sections("docs/tasks.md")["Your own files"]
    file = r"`([\w-]+\.\w+)`[^`]*\n\n```\w+\n(.*?)^```$"
    for name, text in re.findall(file, page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    jobs = []

    def finetune(job, out, *, resume, language):
        jobs.append(job)
        raise KeyboardInterrupt

    monkeypatch.setattr("bertsmith.finetuning.job.finetune", finetune)
    for arguments in commands_in(page):
        assert main(arguments) == 130
    kinds = [
        "classification",
        "classification",
        "multi-label",
        "regression",
        "multiple-choice",
        "token-classification",
        "token-classification",
        "question-answering",
    ]
    assert [job.source.task for job in jobs] == kinds
    for job, rows in zip(jobs, [4, 4, 4, 4, 3, 3, 3, 3], strict=True):
        parts = finetune_data.read(job.source, seed=derive_seed(0, "split"))
        assert sum(finetune_data.inspect(parts).examples.values()) == rows


def test_the_page_of_the_formats_names_every_file_of_a_task_and_every_field_of_a_result():
    page = read("docs/formats.md")
    for task in TASKS.values():
        for name in (name for names in task.files.values() for name in names):
            assert f"`{name}`" in page, name
    for kind in (Job, TaskConfig, RunResult, FinetuneResult):
        for field in msgspec.structs.fields(kind):
            assert f"`{field.name}`" in page, field.name
