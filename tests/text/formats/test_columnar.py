"""Damaged Parquet and Arrow files are named; none of them ends the process."""

import datetime
import io
import os
import random
import struct
import subprocess
import sys

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from bertsmith.core.errors import DataError
from bertsmith.text import documents
from bertsmith.text.formats import columnar
from bertsmith.text.formats.registry import read_rows


def _ipc(table, opener=pa.ipc.new_file, **options) -> bytes:
    file = io.BytesIO()
    with opener(file, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=100)
    return file.getvalue()


def _parquet(table, **options) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, row_group_size=100, **options)
    return file.getvalue()


def _table() -> pa.Table:
    many = range(200)
    table = pa.table(
        {
            "text": [f"text number {n}" * (n % 4) for n in many],
            "words": [["a", "b" * n] for n in many],
            "answers": [{"text": ["q"], "answer_start": [n]} for n in many],
            "n": list(many),
        }
    )
    return table.append_column("label", table["text"].dictionary_encode())


# Reads files one after the other and says which; the parent sees where it ends.
_CHILD = """
import sys
from bertsmith.core.errors import DataError
from bertsmith.text.formats.registry import read_rows
for path in sys.argv[1:]:
    print(path, flush=True)
    try:
        for row in read_rows(path):
            pass
    except DataError as error:
        assert "\\n" not in str(error)
"""


def test_damaged_offsets_do_not_end_the_process(tmp_path):
    """Bits of the offsets and lengths are turned: what pyarrow alone follows out of its memory."""
    seeds = {
        "a.arrow": _ipc(_table()),
        "b.arrow": _ipc(_table(), pa.ipc.new_stream),
        "c.parquet": _parquet(_table(), compression="none"),
    }
    generator = random.Random(0)
    paths = []
    for number in range(120):
        name = list(seeds)[number % len(seeds)]
        data = bytearray(seeds[name])
        for _ in range(3):
            place = generator.randrange(len(data))
            data[place] ^= 1 << generator.randrange(8)
        path = tmp_path / f"{number}{name}"
        path.write_bytes(data)
        paths.append(str(path))
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, *paths], capture_output=True, text=True, env={**os.environ}
    )
    assert child.returncode == 0, (child.stdout.splitlines()[-1:], child.stderr)
    assert child.stdout.splitlines() == paths


def test_an_offset_past_the_end_is_named(tmp_path):
    path = tmp_path / "a.arrow"
    data = _ipc(pa.table({"text": ["abc", "def"]}))
    offsets, damaged = struct.pack("<3i", 0, 3, 6), struct.pack("<3i", 0, 3, 10**9)
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, damaged))
    for read in (read_rows, documents.read):
        with pytest.raises(DataError, match=r"a\.arrow is not a whole Arrow file \(.*1000000000"):
            list(read(str(path)))


def test_a_page_that_does_not_fit_its_checksum_is_named(tmp_path):
    data = _parquet(_table(), compression="none", use_dictionary=False, write_page_checksum=True)
    place = data.index(b"text number 7")
    path = tmp_path / "a.parquet"
    path.write_bytes(data[:place] + b"Text" + data[place + 4 :])
    with pytest.raises(DataError, match="CRC checksum verification failed"):
        list(read_rows(path))


def test_a_value_that_has_no_place_in_python_is_named(tmp_path):
    far = pa.array([0, 2**62], pa.timestamp("us"))
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"when": far}), path)
    with pytest.raises(DataError, match=r"a\.parquet: a value in rows 1 to 2 cannot be read"):
        list(read_rows(path))
    near = pa.table({"when": [datetime.datetime(2020, 1, 1)]})
    pyarrow.parquet.write_table(near, path)
    assert [row.values["when"].year for row in read_rows(path)] == [2020]


def test_rows_of_nothing_are_not_counted_for_ever(tmp_path, monkeypatch):
    nulls = pa.Array.from_buffers(pa.null(), 2**30, [None])
    path = tmp_path / "a.arrow"
    file = io.BytesIO()
    batch = pa.record_batch([nulls], names=["text"])
    with pa.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)
    path.write_bytes(file.getvalue())
    with pytest.raises(DataError, match="claims 1073741824 rows and holds 0 bytes of them"):
        next(read_rows(path))


def test_a_packed_page_of_many_megabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(columnar, "_LARGE_GROUP", 1 << 20)
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["a" * (3 << 20)], "n": [1]})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match=r"\d KiB decompress to 3 MiB"):
        next(read_rows(path))


def test_class_names_of_a_damaged_file_are_none(tmp_path):
    metadata = {b"huggingface": b'{"info": {"features": {"t": {"names": ["O", "B"]}}}}'}
    table = pa.table({"t": [0, 1]}).replace_schema_metadata(metadata)
    path = tmp_path / "a.arrow"
    path.write_bytes(_ipc(table))
    assert columnar.class_names(path) == {"t": ["O", "B"]}
    path.write_bytes(_ipc(table.replace_schema_metadata({b"huggingface": b"\xff{"})))
    assert columnar.class_names(path) == {}
    path.write_bytes(b"nothing of the sort")
    assert columnar.class_names(path) == {}
