"""The documents tell the truth: commands run, links lead somewhere, named files exist."""

import re
import shlex
from pathlib import Path

import pytest

from bertsmith.cli import main

ROOT = Path(__file__).parents[1]
READMES = ["README.md", "README.zh-CN.md"]
PAGES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))
DOCUMENTS = [*READMES, "CHANGELOG.md", *PAGES]

# What makes a README's command small enough for a test; each must be needed somewhere.
SMALLER = {
    "--vocab-size 30000": "--vocab-size 120 --workers 1",
    "--out my-corpus": "--out my-corpus --held-out 0.2 --workers 1",
    "--size mini": "--size tiny",
    "--hours 1": "--steps 2 --batch-size 4 --evaluate-sequences 4",
}


def blocks(name, language):
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def own_text_commands(name):
    [block] = blocks(name, "bash")
    return block.splitlines()


def write_text(folder):
    folder.mkdir()
    documents = []
    for i in range(40):
        lines = [f"Paris is the city number {i * j % 7} of France." for j in range(3)]
        documents.append("\n".join([*lines, f"我喜欢苹果，不喜欢第{i}个。", "我写一句自己的话。"]))
    (folder / "some.txt").write_text("\n\n".join(documents), encoding="utf-8")


@pytest.mark.parametrize("name", READMES)
def test_the_commands_on_ones_own_text_run_as_written(name, tmp_path, monkeypatch, capsys):
    write_text(tmp_path / "my-text")
    monkeypatch.chdir(tmp_path)
    used = set()
    for command in own_text_commands(name):
        for large, small in SMALLER.items():
            if large in command:
                command = command.replace(large, small)
                used.add(large)
        program, *arguments = shlex.split(command)
        assert program == "bertsmith"
        assert main(arguments) == 0, capsys.readouterr().err
        assert len(capsys.readouterr().out) > 20
    assert used == set(SMALLER)
    assert (tmp_path / "my-model" / "model.safetensors").is_file()


def test_both_readmes_give_the_same_commands():
    def shape(name):
        return [re.sub(r'"[^"]*"', '""', command) for command in own_text_commands(name)]

    assert shape("README.md") == shape("README.zh-CN.md")
    assert len(shape("README.md")) == 9


@pytest.mark.parametrize("name", READMES)
def test_the_python_of_the_readme_runs(name, tmp_path, monkeypatch, capsys):
    write_text(tmp_path / "my-text")
    monkeypatch.chdir(tmp_path)
    ours, theirs = blocks(name, "python")
    for large, small in {
        "size=30_000": "size=120",
        'out=Path("corpus")': 'out=Path("corpus"), held_out=0.2, workers=1',
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
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / name).parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("name", READMES)
def test_the_tree_lists_every_file_of_the_source_once(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    listed, room = [], ""
    for line in text.split("src/bertsmith/\n")[1].split("\n```")[0].splitlines():
        word = line.split()[0]
        if word.endswith("/"):
            room = word
        else:
            assert len(line.split(maxsplit=1)) == 2, f"{word} has no description"
            listed.append((room if line.startswith("    ") else "") + word)
    source = ROOT / "src" / "bertsmith"
    files = [str(path.relative_to(source)) for path in source.rglob("*.py")]
    rooms = [path for path in files if path.endswith("/__init__.py")]
    assert sorted(listed) == sorted(set(files) - set(rooms))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_and_flags_that_are_mentioned_exist(name, capsys):
    text = (ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(
        r"`((?:src|docs|tests|benchmarks|text|models|corpus|train)/[\w/.-]+)`", text
    ):
        places = [ROOT / path, ROOT / "src" / "bertsmith" / path]
        assert any(p.exists() or p.with_suffix(".py").exists() for p in places), path
    known = ["--quiet", "--nproc-per-node"]
    for command in ("quickstart", "tokenizer train", "prepare", "pretrain", "fill", "info"):
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        known += re.findall(r"--[a-z0-9-]+", capsys.readouterr().out)
    for script in (ROOT / "benchmarks").glob("*.py"):
        known += re.findall(r'"(--[a-z0-9-]+)"', script.read_text(encoding="utf-8"))
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text):
        assert flag in known, flag
