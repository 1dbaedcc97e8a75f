"""Builds the documentation site from the pages of the repository: `make docs`.

The pages link to each other and to scripts and source files as the repository lays them out, so the
site has the same layout: the pages and every file that they link to are copied to `build/docs`, the
API reference is added, and Zensical makes `site/` out of them. A link to a page, heading, file or
name that does not exist fails the build, and so does a page that `zensical.toml` does not list.
Nothing is fetched from the network, neither here nor by the finished site.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bertsmith

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "build" / "docs"
PAGES = ["*.md", "docs/**/*.md"]
REFERENCE = "reference.md"
FETCHED = re.compile(r"""<(?:script|link|img)[^>]*\s(?:src|href)=["']?(https?:[^"' >]+)""")


def main() -> int:
    """Builds the site; gives the exit status."""
    shutil.rmtree(STAGE, ignore_errors=True)
    problems = [*stage(ROOT, STAGE), *unlisted(STAGE, ROOT / "zensical.toml")]
    if not problems:
        build = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
        done = subprocess.run(build, cwd=ROOT)
        problems = ["Zensical found the problems above."] if done.returncode else []
        problems += fetched(ROOT / "site")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def stage(root: Path, folder: Path) -> list[str]:
    """Copies the pages, what they link to, and the API reference; gives the links to nowhere."""
    problems = []
    waiting = [page for pattern in PAGES for page in root.glob(pattern)]
    seen = set()
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        place = folder / source.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        for link in links(source) if source.suffix == ".md" else []:
            target = (source.parent / link).resolve()
            if target.is_file() and target.is_relative_to(root):
                waiting.append(target)
            else:
                problems.append(f"{source.relative_to(root)}: {link} does not exist")
    (folder / REFERENCE).write_text(reference(), encoding="utf-8")
    return problems


def links(page: Path) -> Iterator[str]:
    """The files that a page links to, relative to it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file = link.partition("#")[0]
        if file and not re.match(r"[a-z]+:", file):
            yield file


def reference() -> str:
    """A page with every public name; mkdocstrings fills in signatures and docstrings."""
    names = "\n".join(f"::: bertsmith.{name}\n" for name in bertsmith.__all__)
    return f"# API reference\n\nThe public names of `import bertsmith`.\n\n{names}"


def unlisted(folder: Path, config: Path) -> list[str]:
    """Pages that the navigation of the site does not list; model cards need no place in it."""
    with config.open("rb") as file:
        listed = set(_files(tomllib.load(file)["project"]["nav"]))
    pages = {page.relative_to(folder).as_posix() for page in folder.rglob("*.md")}
    return [
        f"{page}: zensical.toml does not list this page"
        for page in sorted(pages - listed)
        if not page.startswith("src/")
    ]


def _files(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _files(part)


def fetched(site: Path) -> list[str]:
    """Pages of the finished site that would load something from elsewhere."""
    return [
        f"{page.relative_to(site)}: loads {address}"
        for page in sorted(site.rglob("*.html"))
        for address in FETCHED.findall(page.read_text(encoding="utf-8"))
    ]


if __name__ == "__main__":
    sys.exit(main())
