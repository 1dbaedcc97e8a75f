"""Every text of a page exists in Chinese, with the same fields."""

import ast
import string
from pathlib import Path

import pytest

import bertsmith
from bertsmith.comparison.result import ONE_PRETRAINING
from bertsmith.comparison.systems import ABLATIONS, MODELS
from bertsmith.core.runtime import page_language
from bertsmith.finetuning.model_card import STARTS
from bertsmith.finetuning.result import REMEDY
from bertsmith.quickstart.samples import SOURCES
from bertsmith.quickstart.stages import PLANS, STAGES
from bertsmith.reports.language import chinese, current_language, listed, spent, t, written_in
from bertsmith.reports.page import Report
from bertsmith.tasks.kinds.registry import KINDS
from bertsmith.tasks.metric import UNDEFINED
from bertsmith.tasks.metrics import METRICS

SOURCE = Path(bertsmith.__file__).parent


def literals() -> dict[str, str]:
    """The literal first argument of every call of `t` -> file and line."""
    return {
        node.args[0].value: f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "t"
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def computed() -> list[str]:
    """Texts that reach `t` through a variable."""
    systems = [*MODELS.values(), *(one for rows in ABLATIONS.values() for one in rows)]
    kinds = KINDS.values()
    words = ("baseline_name", "loss_words", "counted", "unit", "inputs", "wrong")
    return [
        *(metric.title for metric in METRICS.values()),
        *(metric.meaning for metric in METRICS.values()),
        *(getattr(kind, name) for kind in kinds for name in words if getattr(kind, name)),
        *(kind.cut_inputs.capitalize() for kind in kinds),
        *(f"Custom data ({kind.name})" for kind in kinds),
        *(getattr(one, name) for one in systems for name in ("title", "objective", "tuned_as")),
        *(one.direction for one in systems),
        *(name for name, _ in STAGES),
        *(text for plan in PLANS.values() for text in (plan.task.question, plan.task.about_dev)),
        *SOURCES.values(),
        *STARTS.values(),
        ONE_PRETRAINING,
        REMEDY,
        UNDEFINED,
    ]


def named_fields(template: str) -> list[tuple[str, str | None]]:
    return sorted((name, spec) for _, name, spec, _ in string.Formatter().parse(template) if name)


def test_every_text_of_a_page_has_a_chinese_entry() -> None:
    found = literals()
    assert len(found) > 250
    assert {text: where for text, where in found.items() if text not in chinese()} == {}
    assert {text for text in computed() if text not in chinese()} == set()


@pytest.mark.parametrize(("english", "translated"), chinese().items())
def test_both_languages_show_the_same_fields(english: str, translated: str) -> None:
    assert named_fields(english) == named_fields(translated)


def test_the_language_ends_with_its_block() -> None:
    assert t("{count} runs", count=3) == "3 runs"
    with written_in("zh"):
        assert current_language() == "zh"
        assert t("for {count} runs", count=3) == "3 次运行总用时"
        with written_in("en"):
            assert t("for {count} runs", count=3) == "for 3 runs"
        assert listed(["a", "b", "c"], most=2) == "a、b等（另有 1 个）"
        assert (spent(8), spent(762), spent(11100)) == ("8 秒", "12 分 42 秒", "3 小时 05 分")
        assert '<html lang="zh">' in Report("标题").html()
    assert current_language() == "en"
    assert listed(["a", "b", "c"], most=2) == "a, b and 1 more"
    assert '<html lang="en">' in Report("title").html()


def test_a_name_of_the_user_stays_as_it_is() -> None:
    with written_in("zh"):
        assert t("{not a field}") == "{not a field}"
        assert t("Crème brûlée") == "Crème brûlée"


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_without_a_choice_the_locale_decides(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], language: str
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert page_language() == language
    with written_in(None):
        assert current_language() == language
