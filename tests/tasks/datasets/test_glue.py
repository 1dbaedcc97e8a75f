"""GLUE's files in their official layouts, made here: which column is what, and what is wrong."""

from pathlib import Path

import pytest

from bertsmith.core.errors import DataError, SystemFault
from bertsmith.tasks.datasets import glue
from bertsmith.tasks.datasets.registry import TASKS
from bertsmith.tasks.examples import TextExample

PARSES = ["( p )", "( q )", "(ROOT p)", "(ROOT q)"]
MNLI_HEAD = [
    *("index promptID pairID genre sentence1_binary_parse sentence2_binary_parse".split()),
    *("sentence1_parse sentence2_parse sentence1 sentence2".split()),
]
STSB_HEAD = "index genre filename year old_index source1 source2 sentence1 sentence2".split()

# Task, part, lines as lists of fields, and key, a, b, label of each example.
LAYOUTS = [
    (
        "mnli",
        "train",
        [
            [*MNLI_HEAD, "label1", "gold_label"],
            ["0", "31193", "31193n", "government", *PARSES, "One.", "Two.", "neutral", "neutral"],
        ],
        [("0", "One.", "Two.", "neutral")],
    ),
    (
        "mnli",
        "dev-mismatched",
        [
            [*MNLI_HEAD, *(f"label{n}" for n in range(1, 6)), "gold_label"],
            ["7", "1", "1c", "letters", *PARSES, "One.", "Two.", *["neutral"] * 5, "contradiction"],
        ],
        [("7", "One.", "Two.", "contradiction")],
    ),
    (
        "mnli",
        "test-mismatched",
        [MNLI_HEAD, ["9", "1", "1c", "letters", *PARSES, "One.", "Two."]],
        [("9", "One.", "Two.", None)],
    ),
    (
        "qqp",
        "train",
        [
            ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
            ["133273", "213221", "213222", "How?", "Why?", "0"],
            ["5", "1", "2", "Who?", "", "1"],
        ],
        [("133273", "How?", "Why?", "0"), ("5", "Who?", "", "1")],
    ),
    (
        "qqp",
        "test",
        [["id", "question1", "question2"], ["0", "How?", "Why?"]],
        [("0", "How?", "Why?", None)],
    ),
    (
        "qnli",
        "dev",
        [["index", "question", "sentence", "label"], ["0", "Q?", "S.", "not_entailment"]],
        [("0", "Q?", "S.", "not_entailment")],
    ),
    (
        "sst-2",
        "train",
        [["sentence", "label"], ["hide new secretions ", "0"], ["fine ", "1"]],
        [("0", "hide new secretions ", None, "0"), ("1", "fine ", None, "1")],
    ),
    ("sst-2", "test", [["index", "sentence"], ["0", "uneasy ."]], [("0", "uneasy .", None, None)]),
    (
        "cola",
        "train",
        [["gj04", "1", "", "He left."], ["cj99", "0", "*", "Left he."]],
        [("0", "He left.", None, "1"), ("1", "Left he.", None, "0")],
    ),
    ("cola", "test", [["index", "sentence"], ["0", "He left."]], [("0", "He left.", None, None)]),
    (
        "sts-b",
        "dev",
        [
            [*STSB_HEAD, "score"],
            ["0", "main-news", "MSRvid", "2012test", "1", "none", "none", "A.", "B.", "3.800"],
        ],
        [("0", "A.", "B.", 3.8)],
    ),
    (
        "sts-b",
        "test",
        [STSB_HEAD, ["4", "main-news", "MSRvid", "2012test", "1", "none", "none", "A.", "B."]],
        [("4", "A.", "B.", None)],
    ),
    (
        "mrpc",
        "train",
        [
            ["\ufeffQuality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
            ["1", "702876", "702977", 'He said "yes', '"Yes", he said.'],
        ],
        [("0", 'He said "yes', '"Yes", he said.', "1")],
    ),
    (
        "mrpc",
        "test",
        [["index", "#1 ID", "#2 ID", "#1 String", "#2 String"], ["3", "1", "2", "A.", "B."]],
        [("3", "A.", "B.", None)],
    ),
    (
        "rte",
        "train",
        [["index", "sentence1", "sentence2", "label"], ["0", "A.", "B.", "entailment"]],
        [("0", "A.", "B.", "entailment")],
    ),
    (
        "wnli",
        "train",
        [["index", "sentence1", "sentence2", "label"], ["0", "A.", "B.", "1"]],
        [("0", "A.", "B.", "1")],
    ),
    (
        "ax",
        "test",
        [["index", "sentence1", "sentence2"], ["1103", "A.", "B."]],
        [("1103", "A.", "B.", None)],
    ),
]


def put(folder: Path, lines: list[list[str]], *, name: str = "a.tsv", end: str = "\n") -> Path:
    path = folder / name
    path.write_bytes("".join("\t".join(line) + end for line in lines).encode())
    return path


def row_of(name: str):
    return glue.AX if name == "ax" else TASKS[name]


def message(task: str, part: str, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        row_of(task).read(path, part)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("task", "part", "lines", "want"), LAYOUTS, ids=[f"{row[0]}-{row[1]}" for row in LAYOUTS]
)
def test_official_layouts_are_read(tmp_path, task, part, lines, want, end):
    path = put(tmp_path, lines, end=end)
    begin = len(lines) - len(want) + 1
    assert row_of(task).read(path, part) == [
        TextExample(f"{path}:{begin + number}", *fields) for number, fields in enumerate(want)
    ]


def test_every_task_of_glue_is_tested():
    of_glue = {
        name for name, task in TASKS.items() if task.kind.name in ("classification", "regression")
    }
    assert {row[0] for row in LAYOUTS} == of_glue | {"ax"}
    assert len(of_glue) == 9


def test_lines_end_at_line_feeds_alone(tmp_path):
    text = "a\u2028b\x85c\x0bd\re"
    path = put(tmp_path, [["sentence", "label"], [text, "1"]])
    assert [example.a for example in TASKS["sst-2"].read(path, "train")] == [text]


def test_columns_go_by_name_and_blank_lines_at_the_end_are_none(tmp_path):
    path = put(tmp_path, [["label", "more", "sentence"], ["1", "x", "Yes."], [""], [""]])
    assert TASKS["sst-2"].read(path, "dev") == [TextExample(f"{path}:2", "0", "Yes.", None, "1")]


def test_a_labelled_test_file_keeps_its_labels(tmp_path):
    path = put(tmp_path, [["index", "sentence", "label"], ["0", "Yes.", "1"], ["1", "No.", ""]])
    assert [example.label for example in TASKS["sst-2"].read(path, "test")] == ["1", None]


RAGGED = "separated by tabs (index, sentence1, sentence2, label); remove tabs and line breaks from"


@pytest.mark.parametrize(
    ("task", "lines", "want"),
    [
        ("rte", [["0", "A.", "B."]], f":2: found 3 columns, expected 4 {RAGGED} the texts."),
        ("rte", [["x"]], f":2: found 1 column, expected 4 {RAGGED} the texts."),
        (
            "rte",
            [["0", "A.", "B.", "entailment"], ["1", "A.", "B.", "C.", "entailment"]],
            f":3: found 5 columns, expected 4 {RAGGED} the texts.",
        ),
        (
            "rte",
            [["0", "A.", "B.", "Entailment"]],
            ":2: the label 'Entailment' is not one of 'entailment', 'not_entailment'; correct the "
            "row.",
        ),
        (
            "rte",
            [["0", "A.", " ", "entailment"]],
            ":2: the text in column 'sentence2' is empty; remove the row.",
        ),
        (
            "qnli",
            [["0", "A.", "B.", "entailment"]],
            ":1: no column 'question'; found 'index', 'sentence1', 'sentence2', 'label': check "
            "that this is the right file, with its header.",
        ),
        (
            "sts-b",
            [["0", "A.", "B.", "4"]],
            ":1: no column 'score'; found 'index', 'sentence1', 'sentence2', 'label': check that "
            "this is the right file, with its header.",
        ),
    ],
)
def test_rows_that_are_wrong_are_named(tmp_path, task, lines, want):
    path = put(tmp_path, [["index", "sentence1", "sentence2", "label"], *lines])
    assert message(task, "dev", path) == want


@pytest.mark.parametrize("score", ["five", "", "5.1", "-0.1", "nan", "inf"])
def test_a_score_out_of_bounds_is_named(tmp_path, score):
    path = put(tmp_path, [["sentence1", "sentence2", "score"], ["A.", "B.", score]])
    assert message("sts-b", "train", path) == (
        f":2: the label '{score}' is not a number from 0 to 5; correct the row."
    )


def test_a_line_of_cola_has_four_columns(tmp_path):
    path = put(tmp_path, [["gj04", "1", "", "He left."], ["gj04", "He left."]])
    assert message("cola", "dev", path) == (
        ":2: found 2 columns, expected 4 separated by tabs (source, label, mark, sentence); remove "
        "tabs and line breaks from the texts."
    )


def test_pieces_of_rows_are_left_out_of_qqp_up_to_a_bound(tmp_path):
    head = ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
    whole = ["1", "2", "3", "How?", "Why?", "0"]
    pieces = [["9", "1", "2", '"First line'], ['second line"', "Why?", "1"]]
    path = put(tmp_path, [head, *pieces, whole, *pieces * 49, whole])
    read = TASKS["qqp"].read(path, "train")
    assert [example.where for example in read] == [f"{path}:4", f"{path}:103"]
    path = put(tmp_path, [head, *pieces * 50, whole, pieces[1]])
    assert message("qqp", "train", path).startswith(
        ":103: found 3 columns, expected 6 separated by"
    )
    path = put(tmp_path, [head, [*whole, "more"]])
    assert message("qqp", "dev", path).startswith(
        ":2: found 7 columns, expected 6 separated by tabs"
    )


def test_microsofts_file_of_mrpc_is_parted_by_glues_list(tmp_path):
    head = ["\ufeffQuality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    lines = [head, *([str(n % 2), f"1{n}", f"2{n}", f"a{n}", f"b{n}"] for n in range(4))]
    path = put(tmp_path, lines, name="msr_paraphrase_train.txt", end="\r\n")
    mrpc = TASKS["mrpc"]
    assert [example.a for example in mrpc.read(path, "train")] == ["a0", "a1", "a2", "a3"]
    with pytest.raises(DataError) as caught:
        mrpc.read(path, "dev")
    assert str(caught.value) == (
        f"{tmp_path}/dev_ids.tsv is missing; expected GLUE's list of the rows of "
        "msr_paraphrase_train.txt that are the dev part: download it, or put a dev.tsv there."
    )
    # A dev.tsv of GLUE's holds rows of the same file: none of them is trained on.
    put(tmp_path, [lines[0], lines[2], lines[3]], name="dev.tsv")
    assert [example.a for example in mrpc.read(path, "train")] == ["a0", "a3"]
    put(tmp_path, [["11", "21"], ["13", "23"]], name="dev_ids.tsv")
    assert [(e.a, e.key) for e in mrpc.read(path, "train")] == [("a0", "0"), ("a2", "1")]
    assert [(e.a, e.label) for e in mrpc.read(path, "dev")] == [("a1", "1"), ("a3", "1")]
    path = put(tmp_path, lines, name="msr_paraphrase_test.txt")
    assert [example.label for example in mrpc.read(path, "test")] == ["0", "1", "0", "1"]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemFault, match=r"Could not read .*none\.tsv: no such file or folder"):
        TASKS["rte"].read(tmp_path / "none.tsv", "train")
