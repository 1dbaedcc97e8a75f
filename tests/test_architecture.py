"""The shape of the house: floors, no cycles, no hidden imports, no long files."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import bertsmith
from bertsmith.tasks.kinds.registry import KINDS

SOURCE = Path(bertsmith.__file__).parent

# From the top of the house down: a file imports from its own room and from rooms below.
ROOMS = (
    "__main__",
    "cli",
    "__init__",
    "api",
    "quickstart",
    "info",
    "comparison",
    "serving",
    "finetuning",
    "inference",
    "pretraining",
    "training",
    "tasks",
    "corpus",
    "checkpoints",
    "models",
    "reports",
    "text",
    "core",
)
FLOORS = {room: floor for floor, room in enumerate(reversed(ROOMS))}

LONGEST_FILE = 400
LONGEST_FUNCTION = 80

# Jobs are imported when a command runs or a public name is used; optional packages by `require`.
WAITING = ("cli", "__init__", "api", "core.extras")

# The one file outside the command line that writes flags, and a style sheet.
SPELL_FLAGS = ("core.command_line", "reports.page")

# Data preparation and `--help` must not wait for torch, which takes seconds to import.
WITHOUT_TORCH = (
    "api",
    "cli",
    "core",
    "info",
    "reports",
    "tasks",
    "text",
    "corpus",
    "models.config",
    "models.config_files",
    "models.config_keys",
    "models.operations",
    "models.parameter_table",
    "models.bert.config",
    "models.bert.parameters",
    "models.gpt.config",
    "models.gpt.parameters",
    "models.elmo.config",
    "models.elmo.parameters",
    "models.head_config",
    "checkpoints.headers",
    "checkpoints.sources",
    "training.config",
    "training.schedule",
    "pretraining.config",
    "pretraining.continuing",
    "pretraining.masking",
    "pretraining.segments",
    "finetuning.config",
)


@cache
def modules() -> dict[str, ast.Module]:
    """Every file by its dotted name inside the package: `text.documents`, `__init__`."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): ast.parse(path.read_text())
        for path in sorted(SOURCE.rglob("*.py"))
    }


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Modules of this package that a tree imports, wherever in it, with the line."""
    known = modules()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports from the root"
            assert node.module
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, inside = name.partition(".")
            if top != "bertsmith":
                continue
            # `from bertsmith.text.streams import lines` and `from bertsmith.text import streams`.
            while inside and inside not in known and f"{inside}.__init__" not in known:
                inside = inside.rpartition(".")[0]
            package = f"{inside}.__init__" if inside else "__init__"
            yield (inside if inside in known else package), node.lineno


@cache
def edges() -> dict[str, dict[str, int]]:
    """For every file, the files it imports, with a line."""
    return {name: dict(imported(tree)) for name, tree in modules().items()}


def place(name: str) -> tuple[int, str]:
    """Floor and room of a file."""
    top, _, inside = name.partition(".")
    return FLOORS[top], top if inside else ""


def inside(name: str, rooms: tuple[str, ...]) -> bool:
    """Whether a file is one of `rooms` or in one."""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def violations(graph: dict[str, dict[str, int]]) -> list[str]:
    found = []
    for name, targets in graph.items():
        for target, line in targets.items():
            (floor, room), (other_floor, other_room) = place(name), place(target)
            if other_floor > floor or (other_floor == floor and other_room != room):
                found.append(
                    f"{name}, line {line}: floor {floor} imports {target} of {other_floor}"
                )
    return found


def cycles(graph: dict[str, dict[str, int]]) -> list[list[str]]:
    """Groups of files that import each other, directly or not (Tarjan's components)."""
    found: list[list[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        path.append(name)
        for target in graph.get(name, {}):
            if target not in number:
                visit(target)
                lowest[name] = min(lowest[name], lowest[target])
            elif target in path:
                lowest[name] = min(lowest[name], number[target])
        if lowest[name] == number[name]:
            group = path[path.index(name) :]
            del path[path.index(name) :]
            if len(group) > 1 or name in graph.get(name, {}):
                found.append(sorted(group))

    for name in graph:
        if name not in number:
            visit(name)
    return found


def inside_functions(tree: ast.AST) -> set[int]:
    """Lines of the import statements that run when a function does."""
    return {
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Name) and node.id in ("__import__", "import_module"))
        or (isinstance(node, ast.Attribute) and node.attr == "import_module")
    }


# Flags of other programs that a remedy names.
FOREIGN_FLAGS = {"--force-reinstall", "--max-restarts", "--nproc-per-node"}


def flags_spelled(tree: ast.AST) -> set[str]:
    """Flags in the strings of a tree, docstrings and style sheets aside."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return {
        flag
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documentation
        for flag in re.findall(r"(?<![\w(-])--(?:[a-z][a-z-]*|$)(?!:)", node.value)
    }


FAMILIES = ("bert", "gpt", "elmo")


def family_decisions(tree: ast.AST) -> list[int]:
    """Lines that decide by a model's family: by its name or by one of its classes."""

    def is_class(node: ast.AST) -> bool:
        named = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
        return any(re.fullmatch("(Bert|Gpt|Elmo)(Config|For[A-Z]\\w*)?", name) for name in named)

    def is_name(node: ast.AST | None) -> bool:
        return any(
            isinstance(part, ast.Constant) and part.value in FAMILIES
            for part in ast.walk(node or ast.Pass())
        )

    lines = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name("isinstance"), args=[_, classes]) if is_class(classes):
                lines.append(node.lineno)
            case ast.MatchClass(cls) if is_class(cls):
                lines.append(node.lineno)
            case ast.Compare() | ast.MatchValue() if is_name(node):
                lines.append(node.lineno)
            case ast.Dict(keys) if any(is_name(key) for key in keys):
                lines.append(node.lineno)
    return sorted(set(lines))


def test_the_package_is_seen():
    assert len(modules()) >= 30
    below = {"core.errors", "core.locks", "core.seal"}
    assert edges()["core.storage"].keys() == below
    wanted = {"core.errors", "core.extras", "core.remote"}
    wanted |= {"text.formats.registry", "text.rows", "text.streams"}
    assert edges()["text.documents"].keys() == wanted


def test_every_file_has_a_floor():
    tops = {name.partition(".")[0] for name in modules()}
    assert tops - FLOORS.keys() == set(), "give the new file or room a floor in FLOORS"
    assert FLOORS.keys() - tops == set(), "FLOORS names a file that is gone"


def test_floors_are_kept():
    assert violations(edges()) == []


def test_no_file_imports_in_a_circle():
    assert cycles(edges()) == []


@pytest.mark.parametrize("name", modules())
def test_imports_are_in_view(name):
    """At the top of the file; a file or room in `WAITING` says how imports may wait."""
    if inside(name, WAITING):
        return
    lines = sorted(inside_functions(modules()[name]))
    assert lines == [], f"{name}: imports inside functions in lines {lines}"


@pytest.mark.parametrize("name", [name for name in modules() if name.endswith(".__init__")])
def test_rooms_import_nothing_by_themselves(name):
    assert edges()[name] == {}
    assert not inside_functions(modules()[name])


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_file_is_long(path):
    lines = path.read_text().count("\n")
    assert lines <= LONGEST_FILE, f"{path.name} has {lines} lines: give a part its own file"


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, without its docstring, which names every argument of a public one."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


@pytest.mark.parametrize("name", modules())
def test_no_function_is_long(name):
    long = {
        node.name: lines
        for node in ast.walk(modules()[name])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := length_of(node)) > LONGEST_FUNCTION
    }
    assert long == {}, f"{name}: give a part of each function a name of its own"


def test_training_knows_neither_text_nor_a_model_family():
    reached = [name for name in modules() if inside(name, ("training",))]
    for name in reached:
        reached += [target for target in edges()[name] if target not in reached]
    rooms = {name.partition(".")[0] for name in reached}
    assert rooms == {"training", "checkpoints", "core"}


@pytest.mark.parametrize("name", modules())
def test_every_file_says_what_it_is_for(name):
    docstring = ast.get_docstring(modules()[name])
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("name", [name for name in modules() if not inside(name, ("cli",))])
def test_only_the_command_line_speaks_of_flags(name):
    """Messages name parameters by `core.errors.option`, commands by `core.command_line`."""
    assert name in SPELL_FLAGS or flags_spelled(modules()[name]) <= FOREIGN_FLAGS


def test_data_preparation_and_help_need_no_torch():
    wanted = [name for name in modules() if inside(name, WITHOUT_TORCH)]
    assert all(any(inside(name, (room,)) for name in wanted) for room in WITHOUT_TORCH)
    code = "import sys\n"
    for name in wanted:
        code += f"import bertsmith.{name.removesuffix('.__init__')}\n"
        code += f"assert 'torch' not in sys.modules, 'bertsmith.{name} imports torch'\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1:] == []


# Files outside models/ that may decide by a model's family, and why.
BY_FAMILY = {
    "checkpoints.bilm": "the published format of ELMo alone",
    "checkpoints.conversion.folders": "what `transformers` calls a BERT with these heads",
    "checkpoints.conversion.google": "Google's format, of a BERT alone",
    "checkpoints.conversion.published_elmo": "the published format of ELMo alone",
    "checkpoints.convert": "`elmo` is a layout; the MLM head of a BERT is proved too",
    "cli.convert": "the next command after a GPT",
    "comparison.published": "the paper's numbers of each",
    "comparison.systems": "the rows of the comparison",
    "inference.predictor": "the frame of a GPT that another program fine-tuned",
}


def test_only_models_decide_by_family():
    """Everything else asks the config, or `models.family`."""
    found = {
        name: lines
        for name, tree in modules().items()
        if not inside(name, ("models",)) and (lines := family_decisions(tree))
    }
    assert {name: found[name] for name in found.keys() - BY_FAMILY.keys()} == {}
    assert BY_FAMILY.keys() - found.keys() == set(), "BY_FAMILY names a file that does not"


# Whoever needs to know what a kind of task does asks the kind.
KINDS_LIVE_IN = ("tasks.kinds", "tasks.kind", "models.head_config")
COMPARED = {
    "models.family": 1,  # the value of `problem_type`, a key of `transformers`: regression
}


def kinds_compared(tree: ast.AST) -> list[int]:
    """Lines that compare or match names of kinds, or have a table by them."""
    names = set(KINDS)

    def is_kind(node: ast.AST | None) -> bool:
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return any(map(is_kind, node.elts))
        return isinstance(node, ast.Constant) and node.value in names

    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found = any(map(is_kind, (node.left, *node.comparators)))
        elif isinstance(node, ast.MatchValue):
            found = is_kind(node.value)
        else:
            found = isinstance(node, ast.Dict) and sum(map(is_kind, node.keys)) > 1
        if found:
            lines.append(next(one.lineno for one in ast.walk(node) if hasattr(one, "lineno")))
    return lines


def test_no_file_decides_by_the_name_of_a_kind():
    found = {
        name: len(lines)
        for name, tree in modules().items()
        if not inside(name, KINDS_LIVE_IN) and (lines := kinds_compared(tree))
    }
    assert found == COMPARED


# The checks themselves find what they are for.


def test_decisions_by_family_are_found():
    code = """
if isinstance(model, BertForPretraining | str): pass
match config:
    case GptConfig(): pass
    case "elmo": pass
table = {"bert": 1}
right = name == "gpt"
fine = {"model": "gpt"}, isinstance(error, BertsmithError), name == "berth"
"""
    assert family_decisions(ast.parse(code)) == [2, 4, 5, 6, 7]


def test_a_floor_that_is_not_kept_is_found():
    assert violations({"text.rows": {"models.family": 7}}) == [
        f"text.rows, line 7: floor 1 imports models.family of {FLOORS['models']}"
    ]
    assert len(violations({"corpus.prepare": {"training.loop": 1}})) == 1
    assert len(violations({"text.rows": {"reports.page": 1}})) == 1
    assert violations({"text.rows": {"text.streams": 1}, "info.path": {"corpus.shards": 2}}) == []


def test_a_comparison_of_kinds_is_found():
    code = (
        "a == 'regression'\nb in ('regression', 'x')\nc = {'regression': 1, 'multi-label': 2}\n"
        "match d:\n    case 'regression':\n        pass\nf('regression')\n"
    )
    assert sorted(kinds_compared(ast.parse(code))) == [1, 2, 3, 5]


def test_a_circle_is_found():
    graph = {"a": {"b": 1}, "b": {"c": 1}, "c": {"a": 1, "d": 1}, "d": {}, "e": {"e": 1}}
    assert cycles(graph) == [["a", "b", "c"], ["e"]]
    assert cycles({"a": {"b": 1, "c": 1}, "b": {"c": 1}, "c": {}}) == []


def test_a_hidden_import_is_found():
    code = "import a\ndef f():\n    import b\nclass C:\n    def g(self):\n        from c import d\n"
    assert inside_functions(ast.parse(code)) == {3, 6}
    assert inside_functions(ast.parse("f = lambda: __import__('x')")) == {1}


def test_a_flag_is_found():
    code = (
        'def f(x):\n    """`--why`"""\n    return f"give --batch-size {x}, --{x}" + "var(--line)"\n'
    )
    assert flags_spelled(ast.parse(code)) == {"--batch-size", "--"}


def test_imports_are_resolved_to_files():
    code = (
        "import os\n"
        "import bertsmith.text.streams as s\n"
        "from bertsmith.core import storage\n"
        "from bertsmith.core.errors import DataError\n"
        "from bertsmith.text import sentences\n"
    )
    assert dict(imported(ast.parse(code))) == {
        "text.streams": 2,
        "core.storage": 3,
        "core.errors": 4,
        "text.sentences": 5,
    }
    assert dict(imported(ast.parse("import bertsmith"))) == {"__init__": 1}
    with pytest.raises(AssertionError, match="write imports from the root"):
        list(imported(ast.parse("from . import storage")))
