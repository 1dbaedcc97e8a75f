import bz2
import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard
from conftest import PEAK_KILOBYTES

from bertsmith.core.errors import DataError, MissingExtra, SystemFault, UsageError
from bertsmith.text import documents, rows, streams
from bertsmith.text.documents import Document, check_apart, list_files, read
from bertsmith.text.formats import delimited, plain_text, registry

PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


def put(folder: Path, name: str, data: bytes | str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def texts(path: str, text_field: str = "text") -> list[str]:
    return [document.text for document in read(path, text_field=text_field)]


def places(path: str) -> list[str]:
    return [document.where.removeprefix(path + ":") for document in read(path)]


def message(path: str, text_field: str = "text") -> str:
    with pytest.raises(DataError) as caught:
        list(read(path, text_field=text_field))
    text = str(caught.value)
    assert text.startswith(path)
    assert text.endswith(".")
    assert "\n" not in text
    return text.removeprefix(path)


# Every format, plain and packed.

WANTED = ['One "quoted", line.\nIts second line.', "二。", "", "Ümlaut 😀"]


def _csv(delimiter: str) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([["id", "text"], *([str(i), text] for i, text in enumerate(WANTED))])
    return file.getvalue().encode()


def _table() -> pa.Table:
    return pa.table({"id": range(4), "text": WANTED})


def _parquet() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(_table(), file, row_group_size=3)
    return file.getvalue()


def _arrow(opener) -> bytes:
    file = io.BytesIO()
    with opener(file, _table().schema) as writer:
        writer.write_table(_table(), max_chunksize=3)
    return file.getvalue()


FORMATS = {
    "a.jsonl": lambda: "".join(json.dumps({"id": 1, "text": t}) + "\n" for t in WANTED).encode(),
    "a.json": lambda: "\n\n".join(json.dumps({"text": t}) for t in WANTED).encode(),
    "a.csv": lambda: _csv(","),
    "a.tsv": lambda: _csv("\t"),
    "a.parquet": _parquet,
    "a.arrow": lambda: _arrow(pyarrow.ipc.new_stream),
    "b.arrow": lambda: _arrow(pyarrow.ipc.new_file),
}


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_documents(tmp_path, name, packing):
    path = put(tmp_path, name + packing, PACK[packing](FORMATS[name]()))
    assert texts(path) == WANTED


def test_every_reader_is_tested():
    tested = {streams.endings(name)[0] for name in FORMATS} | {".txt"}
    assert tested == set(registry.FORMATS)
    assert set(PACK) - {""} == set(streams.PACKED)


@pytest.mark.parametrize("packing", PACK)
def test_text_documents_are_parted_by_blank_lines_and_keep_their_line_breaks(tmp_path, packing):
    data = "\n\nFirst line.\nSecond line.\n \t\n\u3000\nNext document.\n\n\n  Third.\nEnd"
    path = put(tmp_path, "a.txt" + packing, PACK[packing](data.encode()))
    assert list(read(path)) == [
        Document("First line.\nSecond line.", f"{path}:3"),
        Document("Next document.", f"{path}:7"),
        Document("Third.\nEnd", f"{path}:10"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_custom_of_ending_lines_gives_the_same_documents(tmp_path, end):
    path = put(tmp_path, "a.txt", end.join(["\ufeffOne.", "Two.", "", "", "Three.", ""]))
    assert texts(path) == ["One.\nTwo.", "Three."]
    assert places(path) == ["1", "5"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
def test_crlf_and_byte_order_marks_are_no_part_of_the_text(tmp_path, name):
    data = FORMATS[name]().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    path = put(tmp_path, name, b"\xef\xbb\xbf" + data)
    got = [text.replace("\r\n", "\n") for text in texts(path)]
    assert got == WANTED


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
def test_block_borders_do_not_show(tmp_path, monkeypatch, size):
    data = "\ufeffÄ 一。\r\n\r\n \r\nb\n\nc😀\rd\r\r\n\n\u3000e\n".encode()
    path = put(tmp_path, "a.txt", data)
    lines = put(tmp_path, "a.jsonl", b'{"text": "x"}\n\n{"text": "\xc3\xa9"}\n{"text": "z"}')
    want, want_lines = list(read(path)), list(read(lines))
    assert [d.text for d in want] == ["Ä 一。", "b", "c😀\nd", "e"]
    assert [d.where.rpartition(":")[2] for d in want_lines] == ["1", "3", "4"]

    def small(path):
        whole = Path(path).read_bytes()
        # The first block holds at least the byte order mark, as blocks of a megabyte do.
        yield whole[: max(size, 3)]
        for start in range(max(size, 3), len(whole), size):
            yield whole[start : start + size]

    monkeypatch.setattr(streams, "blocks", small)
    assert list(read(path)) == want
    assert list(read(lines)) == want_lines


def test_archives_of_several_members_are_read_to_the_end(tmp_path):
    parts = [b"one\n", b"\ntwo\n\n", b"three\n"]
    for packing in (".gz", ".zst"):
        path = put(tmp_path, f"a.txt{packing}", b"".join(map(PACK[packing], parts)))
        assert texts(path) == ["one", "two", "three"]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_long_archives_are_unpacked_in_blocks(tmp_path, packing):
    data = b"a line of text\n" * 400_000
    path = put(tmp_path, f"a.txt{packing}", PACK[packing](data))
    sizes = [len(block) for block in streams.blocks(path)]
    assert sum(sizes) == len(data)
    assert len(sizes) >= 4
    assert max(sizes) < 3 * streams.BLOCK


def test_gzip_without_isal_gives_the_same(tmp_path, monkeypatch):
    path = put(tmp_path, "a.txt.gz", gzip.compress(b"one\n\ntwo"))
    monkeypatch.setitem(sys.modules, "isal.igzip", None)
    assert texts(path) == ["one", "two"]
    cut = put(tmp_path, "b.txt.gz", gzip.compress(os.urandom(5000))[:-20])
    assert "is cut short" in message(cut)


@pytest.mark.parametrize(
    ("name", "module"), [("a.txt.zst", "zstandard"), ("a.parquet", "pyarrow.parquet")]
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, module):
    path = put(tmp_path, name, b"x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'bertsmith\[data\]'"):
        list(read(path))


# Long content.


def test_a_document_without_end_is_cut_at_lines(tmp_path, monkeypatch):
    for module in (documents, plain_text, rows):
        monkeypatch.setattr(module, "LONGEST_DOCUMENT", 1000)
    written = [f"line number {i:04d}" for i in range(200)]
    path = put(tmp_path, "a.txt", "\n".join(written))
    got = list(read(path))
    assert "\n".join(document.text for document in got).split("\n") == written
    assert [d.where for d in got] == [f"{path}:{1 + 58 * i}" for i in range(4)]
    other = put(tmp_path, "a.jsonl", json.dumps({"text": "word " * 700}))
    pieces = list(read(other))
    assert "".join(d.text for d in pieces) == "word " * 700
    assert [len(d.text) for d in pieces] == [1000, 1000, 1000, 500]
    assert {d.where for d in pieces} == {f"{other}:1"}
    solid = put(tmp_path, "b.txt", "x" * 2500)
    assert [len(text) for text in texts(solid)] == [1000, 1000, 500]


def test_very_long_lines_and_fields_are_read(tmp_path):
    long = "word and word " * 300_000
    assert len(long) > rows.LONGEST_DOCUMENT > 131_072  # the csv module's own limit
    for name, data in [
        ("a.txt", long),
        ("a.jsonl", json.dumps({"text": long})),
        ("a.csv", f"text\n{long}\n"),
        ("a.tsv", f'text\n"{long}"\n'),
    ]:
        got = texts(put(tmp_path, name, data))
        assert len(got) == 2
        assert " ".join(text.strip() for text in got) == long.strip()


def test_a_line_past_the_limit_is_an_error(tmp_path, monkeypatch):
    path = put(tmp_path, "a.jsonl", b'{"text": "a"}\n' + b"x" * (66 << 20))
    assert message(path).startswith(":2: the line is longer than 64 MiB; expected one document")
    monkeypatch.setattr(delimited, "LONGEST_ROW", 3 << 20)
    path = put(tmp_path, "a.csv", b'text\n"' + (b"x" * 99 + b"\n") * (1 << 16))
    assert message(path).startswith(":2: this row is longer than 3 MiB")


def test_nul_bytes_stay_in_the_text(tmp_path):
    assert texts(put(tmp_path, "a.txt", b"ab\0b\n\n\0c")) == ["ab\0b", "\0c"]
    assert texts(put(tmp_path, "a.jsonl", rb'{"text": "a\u0000b"}')) == ["a\0b"]
    assert texts(put(tmp_path, "a.csv", b"text\na\0b\n")) == ["a\0b"]


def test_memory_stays_bounded(tmp_path):
    """A text of 200 MB, packed 300 to 1, is read within 60 MB more than a short one."""
    line = "A sentence that says the same thing over and over again, in a line.\n"
    with gzip.open(tmp_path / "a.txt.gz", "wb", compresslevel=1) as file:
        for _ in range(200):
            file.write(line.encode() * 14_700)
    with gzip.open(tmp_path / "short.txt.gz", "wb") as file:
        file.write(line.encode())
    code = (
        "import sys\n"
        "from bertsmith.text.documents import read\n"
        "n = sum(len(d.text) + 1 for d in read(sys.argv[1]))\n"
        f"print(n, {PEAK_KILOBYTES} // 1024)\n"
    )
    sizes = {}
    for name in ("short", "a"):
        command = [sys.executable, "-c", code, str(tmp_path / f"{name}.txt.gz")]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        sizes[name] = [int(number) for number in out.split()]
    assert sizes["a"][0] == 200 * 14_700 * len(line)
    assert sizes["a"][1] - sizes["short"][1] < 60


def test_nulls_are_empty_documents(tmp_path):
    table = pa.table({"text": pa.array(["a", None, "b"])})
    path = str(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(table, path)
    assert texts(path) == ["a", "", "b"]
    assert texts(put(tmp_path, "a.jsonl", b'{"text": null}\n{"text": "a"}')) == ["", "a"]


def test_other_kinds_of_string_column_are_read(tmp_path):
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        path = str(tmp_path / "a.parquet")
        pyarrow.parquet.write_table(pa.table({"body": pa.array(["a", "b"]).cast(kind)}), path)
        assert texts(path, "body") == ["a", "b"]


def test_lines_and_rows_are_counted(tmp_path):
    assert places(put(tmp_path, "a.jsonl", b'{"text":"a"}\n \n{"text":"b"}\n')) == ["1", "3"]
    assert places(put(tmp_path, "a.csv", b'text\na\n"b\nc"\n\nd\n')) == ["2", "3", "6"]
    path = str(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pa.table({"text": ["x"] * 3000}), path)
    assert places(path) == [str(row) for row in range(1, 3001)]


# What can be wrong.


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_bytes_that_are_not_utf8_are_placed(tmp_path, packing, end):
    good = f"one 一{end}two{end}{end}three é"
    data = good.encode() + b"\xff rest" + end.encode()
    where = f":4: byte 0xff at offset {len(good.encode())} is not UTF-8"
    path = put(tmp_path, "a.txt" + packing, PACK[packing](data))
    assert message(path).startswith(where)
    offset = len(b'{"text": "one"}\n{"text": "t')
    data = b'{"text": "one"}\n{"text": "t\xe4"}\n'
    path = put(tmp_path, "a.jsonl" + packing, PACK[packing](data))
    assert message(path).startswith(f":2: byte 0xe4 at offset {offset} is not UTF-8")
    path = put(tmp_path, "a.csv" + packing, PACK[packing](b"text\n1\n2\xe4\n"))
    assert message(path).startswith(":3: byte 0xe4 at offset 8 is not UTF-8")


def test_bad_bytes_far_into_a_file_and_at_its_end_are_placed(tmp_path):
    head = "ein Satz über Öl\n".encode() * 200_000
    assert len(head) > 3 * streams.BLOCK
    path = put(tmp_path, "a.txt", head + b"ab\x80")
    assert message(path).startswith(f":200001: byte 0x80 at offset {len(head) + 2} is not UTF-8")
    path = put(tmp_path, "b.txt", "cut 一".encode()[:-1])
    assert message(path).startswith(":1: byte 0xe4 at offset 4 is not UTF-8 (unexpected end of")


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (b"PK\x03\x04\x14\0", "an Excel workbook; unpack it, or save its sheet as CSV in UTF-8."),
        (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save its sheet as CSV in UTF-8."),
        (b"\x89PNG\r\n\x1a\n", "an image (PNG); give a text file."),
        ("wörld".encode("utf-32"), "with `iconv -f UTF-32 -t UTF-8 FILE > NEW`."),
        (b"PAR1\x15\x04", "it looks like Parquet; give its name the ending .parquet."),
        ("wörld".encode("utf-16-be"), "with `iconv -f UTF-16BE -t UTF-8 FILE > NEW`."),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_files_of_another_sort_are_recognised(tmp_path, name, data, advice):
    found = message(put(tmp_path, name, data))
    assert found.startswith(" is not UTF-8 text: it looks like ")
    assert found.endswith(advice)


@pytest.mark.parametrize(
    ("text", "coding"),
    [
        ("Ein Maß für Öl, größer als dort", "WINDOWS-1252"),
        ("“Curly quotes”, naïve café – déjà vu", "WINDOWS-1252"),
        ("一个人在路上走，看见了三只羊。", "GB18030"),
        ("BERT 模型在 GLUE 上得分 80.5", "GB18030"),
    ],
)
def test_a_coding_is_proposed_that_may_be_it(tmp_path, text, coding):
    found = message(put(tmp_path, "a.txt", text.encode(coding)))
    what = {"WINDOWS-1252": "a Western European language", "GB18030": "Chinese"}[coding]
    assert found.endswith(
        f"convert the file to UTF-8, if it is {what} perhaps with `iconv -f {coding} -t "
        f"UTF-8 FILE > NEW`."
    )


def test_a_slip_in_utf8_is_no_other_coding(tmp_path):
    found = message(put(tmp_path, "a.txt", "la forêt é".encode()[:-1]))
    assert found.endswith(
        " (unexpected end of data); the last character is cut off; copy the file again."
    )
    found = message(put(tmp_path, "a.txt", "la forêt ".encode() + b"\xe9 b"))
    assert found.endswith("; most of the rest is UTF-8; copy the file again, or correct this byte.")


def test_words_that_look_like_a_mark_and_short_files_are_text(tmp_path):
    assert texts(put(tmp_path, "a.txt", b"PAR1 is a gene, PK a ratio.")) == [
        "PAR1 is a gene, PK a ratio."
    ]
    assert texts(put(tmp_path, "a.txt", b"x")) == ["x"]


def test_files_saved_in_another_way_are_recognised(tmp_path):
    assert "with `iconv -f UTF-16 " in message(put(tmp_path, "a.txt", "text".encode("utf-16")))
    assert "give its name the ending .gz." in message(put(tmp_path, "b.txt", gzip.compress(b"x")))
    assert "the ending .zst." in message(put(tmp_path, "a.csv", zstandard.compress(b"x")))


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.txt", "a.parquet"])
def test_archives_cut_short_or_damaged_are_named(tmp_path, packing, name):
    compress = {
        ".gz": gzip.compress,
        ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    }
    whole = compress[packing](json.dumps([os.urandom(8).hex() for _ in range(40_000)]).encode())
    path = put(tmp_path, name + packing, whole[:-5])
    assert message(path).startswith(" is cut short: decompression stopped after ")
    broken = bytearray(whole)
    broken[len(whole) // 2 : len(whole) // 2 + 400] = bytes(400)
    assert message(put(tmp_path, name + packing, bytes(broken))).startswith(" is damaged: ")
    found = message(put(tmp_path, name + packing, b"plain text, no archive at all"))
    want = {
        ".gz": " is not gzipped; remove .gz from its name, or copy the file again.",
        ".zst": " is damaged: decompression stopped after 0 bytes of content (",
    }
    assert found.startswith(want[packing])


@pytest.mark.parametrize(
    ("line", "want"),
    [
        (b"plain text", ":2: not JSON (JSON is malformed"),
        (
            b'{"text": "a',
            ":2: the JSON value does not end on this line; expected one object per line, such",
        ),
        (b'["text"]', ":2: found a JSON list, expected one object per line"),
        (b'"text"', ":2: found a JSON string, expected one object per line"),
        (b'{"text": 3}', ":2: the key 'text' holds a number, expected a string."),
        (b'{"text": ["a"]}', ":2: the key 'text' holds a list, expected a string."),
        (b'{"texts": "a"}', ":2: no key 'text' (perhaps you meant 'texts'); found 'texts': name"),
        (b"{}", ":2: no key 'text'; found none: name the key that holds the text with"),
        (b'{"text": "\\ud800"}', ":2: not JSON ("),
        (b'{"x": ' + b"[" * 100_000, ":2: not JSON (maximum recursion depth exceeded"),
    ],
)
def test_json_lines_that_are_not_documents_are_named(tmp_path, line, want):
    path = put(tmp_path, "a.jsonl", b'{"text": "good"}\n' + line + b"\n")
    got = message(path)
    assert got.startswith(want)


def test_another_field_can_be_named(tmp_path):
    path = put(tmp_path, "a.jsonl", b'{"body": "a", "text": 1}\n')
    assert texts(path, "body") == ["a"]


def test_columns_that_do_not_exist_name_the_nearest(tmp_path):
    path = put(tmp_path, "a.csv", b"id,Text,date\n1,a,b\n")
    assert message(path).startswith(":1: no column 'text' (perhaps you meant 'Text'); found 'id',")
    path = str(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pa.table({"texts": ["a"], "n": [1]}), path)
    assert message(path).startswith(": no column 'text' (perhaps you meant 'texts'); found 'texts'")
    assert message(path, "n").startswith(": the column 'n' holds int64, expected strings.")


def test_rows_that_do_not_fit_the_header_are_named(tmp_path):
    path = put(tmp_path, "a.csv", b"id,text\n1,a\n2\n")
    assert message(path).startswith(":3: found 1 column, expected 2 as in the header")
    path = put(tmp_path, "c.csv", b"id,text\n1,Hello, world\n")
    assert message(path).startswith(":2: found 3 columns, expected 2 as in the header; put a field")
    path = put(tmp_path, "b.csv", b'id,text\n1,a\n2,"open\n3,c\n')
    assert message(path).startswith(":3: malformed row (unexpected")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "b.arrow"])
def test_binary_files_cut_short_are_named(tmp_path, name):
    path = put(tmp_path, name, FORMATS[name]()[:-200])
    assert " is not a whole " in message(path)
    assert " is not a whole " in message(put(tmp_path, name, b"this is not it at all"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b""),
        ("b.txt", b" \n\n\t\n"),
        ("a.txt.gz", gzip.compress(b"", mtime=0)),
        ("a.txt.gz", b""),
        ("a.txt.zst", b""),
        ("a.jsonl", b"\n\n"),
        ("a.csv", b""),
        ("b.csv", b"id,text\n"),
    ],
)
def test_files_without_a_document_are_named(tmp_path, name, data):
    assert message(put(tmp_path, name, data)).startswith(" is empty")


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    with pytest.raises(SystemFault, match="no such file or folder; check the spelling"):
        list(read(str(tmp_path / "none.txt")))
    with pytest.raises(SystemFault, match="this is a folder where a file was expected"):
        list(read(str((tmp_path / "folder.txt").mkdir() or tmp_path / "folder.txt")))

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    path = put(tmp_path, "a.txt", b"x")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SystemFault, match=r"Could not read .*a\.txt: permission denied"):
        list(read(path))


def test_a_disk_that_fails_half_way_is_named(tmp_path, monkeypatch):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(streams, "open_url", lambda path: Failing())
    with pytest.raises(SystemFault, match=r"Could not read a\.txt: Input/output error"):
        list(read("a.txt"))


def test_an_unknown_ending_is_named(tmp_path):
    path = put(tmp_path, "a.bz2", bz2.compress(b"x"))
    for call in (lambda: list(read(path)), lambda: list_files([path])):
        with pytest.raises(
            UsageError, match=r"a\.bz2: the ending is not supported; expected \.txt"
        ):
            call()


# Finding files.


def test_files_folders_and_globs_are_listed_in_the_order_given(tmp_path):
    for name in ("b/2.txt", "b/1.JSONL.GZ", "b/sub/3.csv", "b/.hidden/4.txt", "b/.5.txt", "b/6.md"):
        put(tmp_path, name, b"x")
    for name in ("z.txt", "a.txt", "[odd].txt"):
        put(tmp_path, name, b"x")
    root = str(tmp_path)
    folder = [f"{root}/b/1.JSONL.GZ", f"{root}/b/2.txt", f"{root}/b/sub/3.csv"]
    assert list_files([f"{root}/z.txt", f"{root}/b"]) == [f"{root}/z.txt", *folder]
    assert list_files([f"{root}/b/"]) == folder
    assert list_files([f"{root}/?.txt", f"{root}/a.txt"]) == [f"{root}/a.txt", f"{root}/z.txt"]
    assert list_files([f"{root}/b/**"]) == folder
    assert list_files([f"{root}/[odd].txt"]) == [f"{root}/[odd].txt"]
    assert texts(f"{root}/b/2.txt") == ["x"]


def test_inputs_that_name_nothing_are_errors(tmp_path):
    with pytest.raises(UsageError, match="No input given"):
        list_files([])
    with pytest.raises(SystemFault, match=r"Could not read .*none\.txt: no such file or folder"):
        list_files([str(tmp_path / "none.txt")])
    for name in (str(tmp_path), str(tmp_path / "*.txt")):
        with pytest.raises(DataError, match=r"contains no supported file; .* ending in \.t"):
            list_files([name])


@pytest.mark.parametrize(
    ("out", "inside"),
    [("in/out", True), ("in", True), ("in/../in/a/b", True), ("out", False), ("in2", False)],
)
def test_output_is_kept_apart_from_the_input(tmp_path, out, inside):
    put(tmp_path / "in", "a.txt", "text")
    given = [str(tmp_path / "in" / "a.txt"), "https://host/in", str(tmp_path / "in")]
    check_apart(tmp_path / out, given[:2])
    if inside:
        with pytest.raises(UsageError, match=r"out='.*' is inside the input folder .*/in, so"):
            check_apart(tmp_path / out, given)
    else:
        check_apart(tmp_path / out, given)


def test_a_file_name_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "caf\udce9.txt").write_bytes(b"text")
    with pytest.raises(DataError, match=r"caf\\udce9\.txt': the file name is not UTF-8"):
        list_files([str(tmp_path)])


def test_urls_are_listed_and_read():
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/corpus/b.txt", b"one\n\ntwo")
    memory.pipe("/corpus/a.jsonl.gz", gzip.compress(b'{"text": "three"}'))
    memory.pipe("/corpus/c.md", b"x")
    for name in ("memory://corpus", "memory://corpus/", "memory://corpus/*"):
        found = list_files([name])
        assert [url.rpartition("/")[2] for url in found] == ["a.jsonl.gz", "b.txt"]
        assert [text for url in found for text in texts(url)] == ["three", "one", "two"]
    assert list_files(["https://host/path/a.txt.gz?key=1"]) == ["https://host/path/a.txt.gz?key=1"]
    with pytest.raises(SystemFault, match="no such file"):
        list(read("memory://corpus/none.txt"))
    with pytest.raises(UsageError, match=r"Cannot open nosuch://x/a\.txt"):
        list(read("nosuch://x/a.txt"))
