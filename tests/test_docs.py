"""The documentation site and `llms.txt`: whole, current, and free of links to nowhere."""

import tomllib
from pathlib import Path

import build_docs
import llms_txt
import pytest

import bertsmith

ROOT = Path(__file__).parents[1]


def test_llms_txt_is_what_the_pages_say() -> None:
    written = (ROOT / "llms.txt").read_text(encoding="utf-8")
    assert written == llms_txt.render(ROOT), "run `python scripts/llms_txt.py`"


def test_llms_txt_names_every_page() -> None:
    text = llms_txt.render(ROOT)
    pages = [page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/**/*.md")]
    assert len(pages) > 20
    assert all(f"]({page}): " in text for page in pages)
    assert text.startswith("# bertsmith\n\n> Your own BERT")


@pytest.mark.parametrize(
    ("page", "title", "sentence"),
    [
        (
            "# One\n\n[中文](one.zh-CN.md)\n\nThe *first* of\nthem. More.\n",
            "One",
            "The *first* of them.",
        ),
        ("# 一\n\n第一句，\n接着说。第二句。\n", "一", "第一句，接着说。"),
        ("# Two\n\n*How [fast](x.md) is it?* It is.\n", "Two", "How fast is it?"),
    ],
)
def test_a_page_is_described_by_its_first_sentence(
    tmp_path: Path, page: str, title: str, sentence: str
) -> None:
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    assert llms_txt.describe(tmp_path / "page.md") == (title, sentence)


def test_the_site_has_every_page_and_every_file_that_one_links_to(tmp_path: Path) -> None:
    assert build_docs.stage(ROOT, tmp_path) == []
    assert build_docs.unlisted(tmp_path, ROOT / "zensical.toml") == []
    assert (tmp_path / "runs" / "adapt.sh").is_file()
    reference = (tmp_path / "reference.md").read_text()
    assert [line[4:] for line in reference.splitlines() if line.startswith("::: ")] == [
        f"bertsmith.{name}" for name in bertsmith.__all__
    ]


def test_a_link_to_nowhere_and_an_unlisted_page_are_found(tmp_path: Path) -> None:
    root, stage = tmp_path / "root", tmp_path / "stage"
    (root / "docs").mkdir(parents=True)
    (root / "README.md").write_text("[a](docs/a.md#x) [b](b.md) [c](https://c.org) [d](#d)\n")
    (root / "docs" / "a.md").write_text("```\n[code](e.md)\n```\n[out](../../f.md)\n")
    assert build_docs.stage(root, stage) == [
        "docs/a.md: ../../f.md does not exist",
        "README.md: b.md does not exist",
    ]
    config = tmp_path / "zensical.toml"
    config.write_text('[project]\nnav = ["README.md", { Reference = ["reference.md"] }]\n')
    assert build_docs.unlisted(stage, config) == [
        "docs/a.md: zensical.toml does not list this page"
    ]


def test_what_the_site_would_fetch_is_found(tmp_path: Path) -> None:
    page = '<a href="https://a.org"><script src="https://b.org/x.js"></script><link href="c.css">'
    (tmp_path / "page.html").write_text(page)
    assert build_docs.fetched(tmp_path) == ["page.html: loads https://b.org/x.js"]


def test_the_extras_and_the_authors_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["authors"] == [{"name": "The bertsmith authors"}]
    pinned = (ROOT / "constraints.txt").read_text()
    for extra in project["optional-dependencies"].values():
        for requirement in extra:
            name = requirement.partition("[")[0].partition(">")[0].lower()
            assert name == "bertsmith" or f"\n{name}==" in pinned, name
