"""Every format gives the same rows, each with its place; what is wrong is named."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard
from conftest import PEAK_KILOBYTES

from bertsmith.core.errors import DataError, SystemFault, UsageError
from bertsmith.text import rows, streams
from bertsmith.text.formats import delimited, json_lines, plain_text, registry
from bertsmith.text.formats.registry import read_rows
from bertsmith.text.rows import Row, column

PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
WANTED = [
    {"text": 'One "quoted"\tword,\nof two lines.', "label": "1"},
    {"text": "二。", "label": ""},
    {"text": "", "label": "no\u2028break"},
]


def put(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def bound(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    """Sets one of the bounds of `text.rows` wherever it is used."""
    for module in (rows, plain_text, json_lines, delimited):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)


def message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.endswith(".")
    return text.removeprefix(str(path))


def _csv(delimiter: str) -> bytes:
    lines = [f"text{delimiter}label", f'"One ""quoted""\tword,\nof two lines."{delimiter}1']
    lines += ["", f"二。{delimiter}", f"{delimiter}no\u2028break", ""]
    return "\r\n".join(lines).encode()


def _json() -> bytes:
    return "\n\n".join(json.dumps(values, ensure_ascii=False) for values in WANTED).encode()


def _parquet() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(WANTED), file, row_group_size=2)
    return file.getvalue()


def _arrow(opener) -> bytes:
    file = io.BytesIO()
    table = pa.Table.from_pylist(WANTED)
    with opener(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return file.getvalue()


# Name, bytes, and the lines or rows at which the three begin.
FORMATS = [
    ("a.csv", lambda: _csv(","), [2, 5, 6]),
    ("a.tsv", lambda: _csv("\t"), [2, 5, 6]),
    ("a.jsonl", _json, [1, 3, 5]),
    ("a.json", _json, [1, 3, 5]),
    ("a.parquet", _parquet, [1, 2, 3]),
    ("a.arrow", lambda: _arrow(pyarrow.ipc.new_stream), [1, 2, 3]),
    ("b.arrow", lambda: _arrow(pyarrow.ipc.new_file), [1, 2, 3]),
]


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize(("name", "data", "lines"), FORMATS, ids=[row[0] for row in FORMATS])
def test_every_format_gives_the_same_rows(tmp_path, name, data, lines, packing):
    path = put(tmp_path, name + packing, PACK[packing](data()))
    found = list(read_rows(path))
    assert [row.where for row in found] == [f"{path}:{line}" for line in lines]
    # Inside quotes, line breaks are those of the file.
    assert [
        {key: value.replace("\r\n", "\n") for key, value in row.values.items()} for row in found
    ] == WANTED


def test_every_reader_is_tested():
    assert {streams.endings(name)[0] for name, _, _ in FORMATS} | {".txt"} == set(registry.FORMATS)


@pytest.mark.parametrize("packing", PACK)
def test_a_line_of_text_is_a_row(tmp_path, packing):
    text = "\ufeffone\r\n  zwei é\n\n \u200b\n"  # Blank lines at the end are no rows.
    path = put(tmp_path, "a.txt" + packing, PACK[packing](text.encode()))
    assert list(read_rows(path)) == [
        Row({"text": "one"}, f"{path}:1", str(path)),
        Row({"text": "  zwei é"}, f"{path}:2", str(path)),
    ]


def test_values_keep_their_types(tmp_path):
    values = {"n": 1, "x": 0.5, "flag": True, "none": None, "list": ["a", "b"]}
    path = put(tmp_path, "a.jsonl", json.dumps(values))
    assert next(read_rows(path)).values == values
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.Table.from_pylist([values]), path)
    assert next(read_rows(str(path))).values == values


def test_rows_are_read_one_at_a_time(tmp_path):
    path = put(tmp_path, "a.csv", "text\none\n" + '"open\n')
    found = read_rows(path)
    assert next(found).values == {"text": "one"}
    with pytest.raises(DataError, match=r"a\.csv:3: malformed row"):
        next(found)
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"n": range(3000)}), path)
    assert [(row.values["n"], row.where) for row in read_rows(path)] == [
        (number, f"{path}:{number + 1}") for number in range(3000)
    ]


@pytest.mark.parametrize(
    ("name", "data", "want"),
    [
        (
            "a.csv",
            "text,label\na,1\nb\n",
            ":3: found 1 column, expected 2 as in the header; add the missing fields, "
            'or put a field with a line break in "double quotes".',
        ),
        (
            "a.tsv",
            "text\tlabel\n\na\t1\t2\n",
            ":3: found 3 columns, expected 2 as in the header; put a field with a separator "
            'in "double quotes".',
        ),
        (
            "a.csv",
            'text,label\n"a"b,1\n',
            ":2: malformed row (',' expected after '\"'). Put fields with quotes, line breaks or "
            'separators in "double quotes", and check for a quote left open.',
        ),
        (
            "a.csv",
            "text,label,text\na,1,b\n",
            ":1: the column 'text' occurs twice; rename one.",
        ),
        (
            "a.jsonl",
            '{"text": "a"}\n{"text": NaN}\n',
            ":2: not JSON (JSON is malformed: invalid character (byte 9)); expected one object per "
            'line, such as {"text": "...", "label": "..."}.',
        ),
        (
            "a.jsonl",
            '["a"]',
            ":1: found a JSON list, expected one object per line, such as "
            '{"text": "...", "label": "..."}.',
        ),
        (
            "a.csv",
            "text,label\rred,0\rblue,1\r",
            ":1: found a lone carriage return, expected lines that end in a line feed. Convert the "
            "line ends (`tr '\\r' '\\n'`), or put a text with a carriage return in \"double "
            'quotes".',
        ),
        (
            "a.csv",
            "text,label\nred,0\n".encode("utf-16"),
            " is not UTF-8 text: it looks like UTF-16; convert it with `iconv -f UTF-16 -t UTF-8 "
            "FILE > NEW`.",
        ),
        (
            "a.tsv",
            "text\tlabel\nred\t0\n".encode("utf-16-le"),
            " is not UTF-8 text: it looks like UTF-16LE; convert it with `iconv -f UTF-16LE -t "
            "UTF-8 FILE > NEW`.",
        ),
        (
            "a.jsonl",
            '{"text": "a"}'.encode("utf-16-be"),
            " is not UTF-8 text: it looks like UTF-16BE; convert it with `iconv -f UTF-16BE -t "
            "UTF-8 FILE > NEW`.",
        ),
        ("a.jsonl", "\n \n", " is empty; give a file with rows."),
        ("a.csv", "\n", " is empty; give a file with rows."),
        ("a.csv", "text,label\n", ":1: no rows below the header; give a file with rows."),
        ("a.txt", "one\n \n\ntwo\n", ":2: blank line; expected one text per line. Remove it."),
        (
            "a.jsonl",
            '[\n{"text": "a"}\n]\n',
            ":1: the JSON value does not end on this line; expected one object per line, such as "
            '{"text": "...", "label": "..."} (`jq -c \'.[]\'` converts a list to such lines).',
        ),
        ("a.txt", "", " is empty; give a file with rows."),
        (
            "a.txt",
            b"one\nt\xe4t\n",
            ":2: byte 0xe4 at offset 5 is not UTF-8 (invalid continuation byte); convert the file "
            "to UTF-8, if it is a Western European language perhaps with `iconv -f WINDOWS-1252 -t "
            "UTF-8 FILE > NEW`.",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, data, want):
    assert message(put(tmp_path, name, data)) == want


def test_columns_without_a_name_are_no_mistake(tmp_path):
    path = put(tmp_path, "a.csv", ",text,,\n0,a,,7\n")
    wanted = {"column 1": "0", "text": "a", "column 3": "", "column 4": "7"}
    assert next(read_rows(path)).values == wanted
    path = put(tmp_path, "b.csv", ",text\n0,a\n")
    assert next(read_rows(path)).values == {"": "0", "text": "a"}


@pytest.mark.parametrize(
    ("name", "data", "want"),
    [
        ("a.csv", 'text;label\n"red; old";1\n', {"text": "red; old", "label": "1"}),
        ("a.csv", "text\tlabel\nred, old\t1\n", {"text": "red, old", "label": "1"}),
        ("a.csv", '"a,b";"c"\nred;1\n', {"a,b": "red", "c": "1"}),
        # A comma in the header decides, and two other marks say nothing.
        ("a.csv", "text,label;x\nred,1\n", {"text": "red", "label;x": "1"}),
        ("a.csv", "te;xt\tlabel\nred\n", {"te;xt\tlabel": "red"}),
        ("a.csv", "text\nred; old\n", {"text": "red; old"}),
        ("a.tsv", "text;label\nred;1\n", {"text;label": "red;1"}),
    ],
)
def test_a_header_without_commas_tells_what_parts_the_columns(tmp_path, name, data, want):
    assert [row.values for row in read_rows(put(tmp_path, name, data))] == [want]


def test_a_quote_in_a_table_parted_by_tabs_swallows_no_rows(tmp_path):
    data = 'text\tlabel\nred\t0\n"blue\t1\n\ngreen"\t0\nold\t1\n'
    path = put(tmp_path, "a.tsv", data)
    assert message(path) == (
        ":3: the quote opened here closes in line 5, around what looks like whole rows. Put a text "
        'that begins with a quote in "double quotes" and double the quotes in it, or remove the '
        "quote."
    )
    # Quotes are those of a CSV file all the same; within a text they are characters.
    path = put(tmp_path, "b.tsv", 'text\tlabel\n"red\nold"\t0\nsay "so"\t1\n"a ""b"""\t2\n')
    assert [row.values["text"] for row in read_rows(path)] == ["red\nold", 'say "so"', 'a "b"']
    # In a CSV file a text may well hold as many commas as a row.
    path = put(tmp_path, "c.csv", 'text,label\n"Dear all,\nhello, you",0\n')
    assert [row.values["text"] for row in read_rows(path)] == ["Dear all,\nhello, you"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UsageError) as caught:
        list(read_rows(tmp_path))
    assert str(caught.value) == f"{tmp_path} is a folder; give one file in it."


def test_a_cut_binary_file_is_named(tmp_path):
    for name, data, _ in FORMATS[4:]:
        kind = "Parquet" if name.endswith("parquet") else "Arrow"
        assert message(put(tmp_path, name, data()[:-200])).startswith(
            f" is not a whole {kind} file ("
        )


def test_files_that_are_not_there_or_of_no_format_are_named(tmp_path):
    with pytest.raises(SystemFault) as fault:
        list(read_rows(tmp_path / "none.csv"))
    assert str(fault.value) == (
        f"Could not read {tmp_path}/none.csv: no such file or folder; check the spelling."
    )
    with pytest.raises(UsageError) as usage:
        list(read_rows("a.xlsx"))
    assert (
        str(usage.value) == "a.xlsx is a workbook; save its sheet as CSV in UTF-8, and give that."
    )
    with pytest.raises(UsageError) as usage:
        list(read_rows("a.docx"))
    assert str(usage.value) == (
        "a.docx: the ending is not supported; expected .txt, .jsonl, .json, .csv, .tsv, "
        ".parquet, .arrow (each also with .gz or .zst)."
    )


def test_a_column_that_is_not_there_names_the_nearest():
    row = Row({"text": "a", "lable": 1}, "a.jsonl:2")
    assert column(row, "lable", advice="never shown") == 1
    with pytest.raises(DataError) as caught:
        column(row, "label", advice="name another with label")
    assert str(caught.value) == (
        "a.jsonl:2: no column 'label' (perhaps you meant 'lable'); found 'text', 'lable': name "
        "another with label, or add it to this row."
    )
    with pytest.raises(
        DataError, match=r"^a\.jsonl:1: no column 'label'; found none: name another"
    ):
        column(Row({}, "a.jsonl:1"), "label", advice="name another")
    with pytest.raises(DataError) as caught:
        column(Row({"text|label": "a|b"}, "a.csv:2", "a.csv:1"), "label", advice="never shown")
    assert str(caught.value) == (
        "a.csv:1: no column 'label' (perhaps you meant 'text|label'); found 'text|label': if '|' "
        "separates the columns, convert the file to a .csv with commas or a .tsv with tabs."
    )


def test_a_column_that_is_not_there_is_missing_in_the_header(tmp_path):
    row = next(read_rows(put(tmp_path, "a.csv", "\ntext,lable\na,b\n")))
    assert row.where == f"{tmp_path}/a.csv:3"
    with pytest.raises(DataError, match=r"a\.csv:2: no column 'label'"):
        column(row, "label", advice="name another")
    row = next(read_rows(put(tmp_path, "a.jsonl", '\n{"text": "a"}\n')))
    with pytest.raises(DataError, match=r"a\.jsonl:2: no column 'label'"):
        column(row, "label", advice="name another")


def test_kinds_of_value_are_named():
    assert [rows.kind_of(value) for value in ({}, [], "", True, None, 1, 0.5, b"")] == [
        "object",
        "list",
        "string",
        "boolean",
        "null",
        "number",
        "number",
        "bytes",
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_what_a_row_may_hold_is_bounded(tmp_path, monkeypatch, name):
    bound(monkeypatch, "LONGEST_ROW", 1 << 20)
    head = "text\n" * name.endswith("sv")
    path = put(tmp_path, name, head + "x" * (3 << 20))
    line = 2 if head else 1
    assert message(path).startswith(f":{line}: the line is longer than 1 MiB; expected one")
    if head:  # Many short lines behind a quote left open.
        path = put(tmp_path, name, 'text\na\n"' + ("x" * 40 + "\n") * (1 << 15))
        assert message(path).startswith(":3: this row is longer than 1 MiB")
        bound(monkeypatch, "MOST_LINES", 1000)
        path = put(tmp_path, name, 'text\na\n"' + "\n" * 1002)
        assert "longer than 1 MiB or 1000 lines; check for a quote left open" in message(path)


def test_an_archive_behind_an_open_quote_takes_little_memory(tmp_path):
    """Of 100 MB behind a quote in 0.3 MB only the first megabytes are unpacked."""
    with gzip.open(tmp_path / "a.csv.gz", "wb") as file:
        file.write(b'text,label\na,b\n"open')
        for _ in range(100):
            file.write(b"some words\n" * 90_000)
    program = (
        "import sys\nfrom bertsmith.text.formats.registry import read_rows\n"
        "from bertsmith.core.errors import DataError\n"
        f"before = {PEAK_KILOBYTES}\n"
        "try:\n    list(read_rows(sys.argv[1]))\nexcept DataError as error:\n    print(error)\n"
        f"print({PEAK_KILOBYTES} - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.csv.gz")],
        capture_output=True,
        text=True,
        check=True,
    )
    error, kilobytes = done.stdout.splitlines()
    assert ".csv.gz:3: this row is longer" in error
    assert int(kilobytes) < 300_000


def test_blank_lines_without_end_are_named(tmp_path, monkeypatch):
    bound(monkeypatch, "MOST_LINES", 1000)
    assert message(put(tmp_path, "a.txt", "one\n" + "\n" * 2000)).startswith(":2: blank line")
    assert len(list(read_rows(put(tmp_path, "b.txt", "one\n" + "\n" * 900)))) == 1
