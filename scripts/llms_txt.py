"""Writes `llms.txt`: every page of the documentation with its title, first sentence and link.

The format is that of https://llmstxt.org. `python scripts/llms_txt.py` writes the file; a test
compares it with the pages.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = {
    "Guides": ["docs/*.md"],
    "中文": ["README.zh-CN.md", "docs/*.zh-CN.md"],
    "Project": ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"],
    "Optional": ["docs/results/*.md"],
}


def render(root: Path) -> str:
    """The text of `llms.txt` for the pages in `root`."""
    title, summary = describe(root / "README.md")
    about = prose(root / "README.md")[1]
    parts = [f"# {title}\n\n> {summary}\n\n{about}\n"]
    for section, patterns in SECTIONS.items():
        pages = sorted(page for pattern in patterns for page in root.glob(pattern))
        if section == "Guides":
            pages = [page for page in pages if not page.name.endswith(".zh-CN.md")]
        lines = []
        for page in pages:
            title, summary = describe(page)
            lines.append(f"- [{title}]({page.relative_to(root).as_posix()}): {summary}\n")
        parts.append(f"## {section}\n\n" + "".join(lines))
    return "\n".join(parts)


def describe(page: Path) -> tuple[str, str]:
    """Title and first sentence of a page."""
    title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    first = re.split(r"(?<=[.?!])\*? |(?<=[。？！])", prose(page)[0].lstrip("*"), maxsplit=1)[0]
    return title, first.rstrip("*")


def prose(page: Path) -> list[str]:
    """The blocks of a page that are not headings or single links, each on one line."""
    blocks = re.split(r"\n\s*\n", page.read_text(encoding="utf-8").strip())
    kept = [block for block in blocks if not re.match(r"#|\[[^]]*\]\([^)]*\)$", block)]
    # A link is its text, and lines of Chinese are joined without a space.
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", block) for block in kept]
    texts = [re.sub(r"(?<=[⺀-鿿，。；：、])\n(?=[⺀-鿿])", "", text) for text in texts]
    return [text.replace("\n", " ") for text in texts]


if __name__ == "__main__":
    (ROOT / "llms.txt").write_text(render(ROOT), encoding="utf-8")
