"""The example in each public docstring, run in order in one folder."""

import inspect
import textwrap
from pathlib import Path

import pandas
import pytest

import bertsmith
from bertsmith.api import checkpoints, models, pretraining
from bertsmith.comparison import job

ORDER = (
    "train_tokenizer",
    "extend_tokenizer",
    "convert",
    "prepare",
    "pretrain",
    "finetune",
    "evaluate",
    "load",
    "export",
    "compare",
)
TEXT = "\n\n".join(
    f"The {name} saw a good film. It was number {number}, and the {name} liked it a lot. "
    "No stethoscope was in it."
    for number, name in enumerate(("cat", "dog", "bird", "man", "child", "teacher") * 4)
)


def example(function: object) -> str:
    """The code of the example in a docstring."""
    documentation = inspect.getdoc(function) or ""
    return textwrap.dedent(documentation.partition("Example::\n")[2])


def test_every_public_function_has_an_example() -> None:
    functions = {name for name in bertsmith.__all__ if inspect.isfunction(getattr(bertsmith, name))}
    assert functions == set(ORDER)
    assert functions == {
        name
        for module in (checkpoints, models, pretraining)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-text").mkdir()
    (tmp_path / "my-text" / "text.txt").write_text(TEXT)
    plans = []
    # A comparison takes minutes; its own tests run one.
    monkeypatch.setattr(job, "compare", lambda plan, out, **more: plans.append((plan, out, more)))
    printed = {}
    for name in ORDER:
        code = example(getattr(bertsmith, name))
        assert f"bertsmith.{name}(" in code
        exec(code, {"bertsmith": bertsmith, "pandas": pandas})
        printed[name] = capsys.readouterr().out.split()
    assert len(printed["train_tokenizer"]) > 2
    before, after = map(int, printed["extend_tokenizer"])
    assert after < before
    assert float(*printed["pretrain"]) > 1
    assert printed["finetune"][0] in ("5", "1")
    assert float(*printed["evaluate"]) in (0, 1)
    assert printed["load"] == ["the"] or printed["load"]
    [(plan, out, more)] = plans
    assert (plan.budget, plan.hours, plan.tasks, out) == (
        "tokens=5e6",
        None,
        ("mrpc",),
        Path("comparison"),
    )
    assert more == {"resume": False, "engine": "local", "language": None}
