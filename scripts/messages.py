"""Print every text that people read in `src`, with file and line, to be read top to bottom.

A message is any string of three words or more that is not a docstring. `--docstrings` adds the
first line of each docstring.

    python scripts/messages.py [--docstrings] [ROOM...]
"""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "bertsmith"
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def text_of(node: ast.AST) -> str:
    """The words of a string expression; a computed part shows as its source in braces."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part) for part in parts)
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value) + "}"
    return ""


def strings(node: ast.AST) -> Iterator[ast.expr]:
    """The outermost string expressions inside `node`, in the order of the source."""
    if isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    ):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from strings(child)


def is_prose(text: str) -> bool:
    """Whether a string is more than a key or a name."""
    return len(text.split()) >= 3


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string of prose that is not a docstring, with its line."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for found in strings(tree):
        text = " ".join(text_of(found).split())
        if id(found) not in docs and is_prose(text):
            yield found.lineno, text


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The first line of every docstring, with the line of its definition."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), f"{getattr(node, 'name', '')}: {text.splitlines()[0]}"


def main() -> None:
    """Prints the page for the rooms given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", help="folders of src/bertsmith; all without")
    parser.add_argument("--docstrings", action="store_true", help="add docstrings' first lines")
    given = parser.parse_args()
    for room in given.rooms or ["."]:
        for path in sorted((SOURCE / room).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            lines = list(messages(tree)) + (list(docstrings(tree)) if given.docstrings else [])
            for line, text in sorted(lines):
                print(f"{path.relative_to(SOURCE)}:{line}: {text}")


if __name__ == "__main__":
    main()
