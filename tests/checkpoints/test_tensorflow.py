"""TensorFlow's checkpoints, read from bytes that are written here in the same format."""

import random
import time
import tracemalloc

import numpy as np
import pytest
import tensorflow_files as files
import torch

from bertsmith.checkpoints.tensorflow import names, snappy, sstable
from bertsmith.checkpoints.tensorflow.bundle import Bundle
from bertsmith.checkpoints.tensorflow.crc32c import masked_crc32c
from bertsmith.core.errors import FolderError

FIRST = "bert/embeddings/word_embeddings"


def arrays(layers=12):
    """Tensors of every kind that a checkpoint holds."""
    generator = np.random.default_rng(0)
    made = {FIRST: generator.normal(size=(33, 8)).astype(np.float32)}
    for layer in range(layers):
        for part in ("query", "key", "value"):
            name = f"bert/encoder/layer_{layer}/attention/self/{part}/kernel"
            made[name] = generator.normal(size=(8, 8)).astype(np.float32)
            made[f"{name}/adam_m"] = np.zeros((8, 8), np.float32)
    made["half"] = generator.normal(size=(3, 5)).astype(np.float16)
    made["double"] = generator.normal(size=7)
    made["scalar"] = np.array(2.5, np.float32)
    made["empty"] = np.zeros((0, 4), np.float32)
    made["global_step"] = np.array(1000, np.int64)
    return made


# Checksums and compression.


def test_the_checksums_of_the_standard():
    """RFC 3720, B.4, and the masking of LevelDB."""
    for data, crc in [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ]:
        assert files.crc32c(data) == crc
        assert masked_crc32c(data) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize("size", [1, 3, 63, 64, 65, 127, 1000, 4097, 70_001])
def test_a_checksum_of_any_length_is_that_of_the_definition(size):
    data = np.random.default_rng(size).bytes(size)
    assert masked_crc32c(data).to_bytes(4, "little") == files.masked(data)


def test_a_checksum_of_parts_is_that_of_the_whole():
    data = np.random.default_rng(1).bytes((4 << 20) + 12_345)
    assert masked_crc32c(data) == masked_crc32c(data[:777], data[777:4_000_001], data[4_000_001:])


@pytest.mark.parametrize("size", [0, 1, 59, 60, 61, 300, 5000])
def test_snappy_gives_back_what_was_compressed(size):
    generator = random.Random(size)
    for alphabet in ("ab", "abcdefgh" * 9, "x"):
        data = "".join(generator.choice(alphabet) for _ in range(size)).encode()
        assert snappy.decompress(files.snappy(data)) == data
    assert len(files.snappy(b"abc" * 1000)) < 300


def test_snappy_of_another_program():
    """By hand from the format's description: a literal, a copy of each kind, one that overlaps."""
    assert snappy.decompress(b"\x0a\x08abc\x0d\x03") == b"abcabcabca"
    assert snappy.decompress(b"\x06\x08abc\x0a\x03\x00") == b"abcabc"
    assert snappy.decompress(b"\x05\x00x\x0f\x01\x00\x00\x00") == b"xxxxx"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "a number is cut short"),
        (b"\x03\x08ab", "a literal is cut short"),
        (b"\x05\x00x\x0e", "a length or offset is cut short"),
        (b"\x04\x01\x05", "a copy begins before the data"),
        (b"\x04\x00x\x01\x00", "a copy begins before the data"),
        (b"\x02\x00x", "expected 2 uncompressed bytes, found 1"),
        (b"\x01\x04xy", "expected 1 uncompressed bytes, found 2"),
        (b"\xff\xff\xff\xff\x0f\x00x", "cannot hold 4,294,967,295"),
        (b"\xff" * 11, "more than 64 bits"),
    ],
)
def test_damaged_snappy_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        snappy.decompress(data)


# The index.


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("per_block", [1, 7, 1000])
def test_a_table_with_any_blocks_is_read(tmp_path, compressed, per_block):
    rows = {
        f"bert/encoder/layer_{number % 12}/some/{number}".encode(): bytes([number % 256]) * number
        for number in range(300)
    }
    path = tmp_path / "table"
    path.write_bytes(files.table(rows, compressed=compressed, per_block=per_block))
    assert sstable.read_table(path) == rows
    assert list(sstable.read_table(path)) == sorted(rows)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_checkpoint_is_read_to_the_bit(tmp_path, compressed, shards):
    made = arrays()
    files.write_checkpoint(tmp_path / "m.ckpt", made, shards=shards, compressed=compressed)
    bundle = Bundle(tmp_path / "m.ckpt")
    assert bundle.entries.keys() == made.keys()
    for name, array in made.items():
        entry = bundle.entries[name]
        assert entry.shape == array.shape
        if name != "global_step":
            assert bundle.read(entry).numpy().tobytes() == array.tobytes()
            assert bundle.read(entry).numpy().dtype == array.dtype


def test_bfloat16_is_read(tmp_path):
    numbers = torch.randn(4, 6).bfloat16()
    raw = numbers.view(torch.int16).numpy()
    files.DTYPES["int16"] = 14
    files.write_checkpoint(tmp_path / "m", {"w": raw})
    bundle = Bundle(tmp_path / "m")
    assert torch.equal(bundle.read(bundle.entries["w"]), numbers)


# Damage.


def written(folder, *, layers=2, **options):
    files.write_checkpoint(folder / "m.ckpt", arrays(layers), **options)
    return folder / "m.ckpt"


def read_all(prefix):
    bundle = Bundle(prefix)
    for entry in bundle.entries.values():
        if entry.is_float:
            bundle.read(entry)


def test_a_missing_file_is_named(tmp_path):
    prefix = written(tmp_path, shards=2)
    (tmp_path / "m.ckpt.data-00001-of-00002").unlink()
    with pytest.raises(FolderError, match=r"data-00001-of-00002 is missing; .* 2 data files"):
        Bundle(prefix)
    with pytest.raises(FolderError, match=r"other\.index is missing"):
        Bundle(tmp_path / "other")


@pytest.mark.parametrize("at", [10, 700])
def test_a_changed_byte_of_the_index_is_found(tmp_path, at):
    prefix = written(tmp_path)
    index = tmp_path / "m.ckpt.index"
    data = bytearray(index.read_bytes())
    data[at] ^= 4
    index.write_bytes(data)
    with pytest.raises(FolderError, match=r"index is damaged \(the checksum of the block at byte"):
        Bundle(prefix)


def test_a_changed_byte_of_the_data_is_found(tmp_path):
    prefix = written(tmp_path)
    data = tmp_path / "m.ckpt.data-00000-of-00001"
    changed = bytearray(data.read_bytes())
    changed[10] ^= 4
    data.write_bytes(changed)
    with pytest.raises(FolderError, match=rf"data-00000-of-00001: the checksum of {FIRST} .*wrong"):
        read_all(prefix)


def test_files_that_were_cut_short_are_named(tmp_path):
    prefix = written(tmp_path)
    data, index = tmp_path / "m.ckpt.data-00000-of-00001", tmp_path / "m.ckpt.index"
    data.write_bytes(data.read_bytes()[:-5])
    with pytest.raises(FolderError, match=r"00001 has [\d,]+ bytes, but .* ends at byte [\d,]+"):
        read_all(prefix)
    for size in (0, 20, len(index.read_bytes()) - 1):
        index.write_bytes(index.read_bytes()[:size])
        with pytest.raises(FolderError, match=r"index does not end like the index"):
            Bundle(prefix)


SLICE = files.field(7, files.field(1, b"\x08\x00"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"more": SLICE}, "is a partitioned variable"),
        ({"dtype": 3}, "type 3, expected floating-point"),
        ({"dtype": 101}, "type 101, expected floating-point"),
        ({"size": 1000}, r"shape \(33, 8\) and 1,000 bytes, expected 1,056"),
        ({"shape": files.field(2, files.field(1, 1 << 40))}, "expected 4,398,046,511,104"),
        ({"shape": files.field(2, files.field(1, (1 << 64) - 1))}, "1,056 bytes, expected"),
        ({"offset": 1 << 50}, "ends at byte 1,125,899,906,843,680"),
        ({"offset": 1}, "the checksum of"),
        ({"shard": 4}, "is in data file 4, and there are 1"),
    ],
)
def test_an_index_that_is_wrong_about_a_tensor_is_refused(tmp_path, change, reason):
    prefix = written(tmp_path, changes={FIRST: change})
    bundle = Bundle(prefix)
    with pytest.raises(FolderError, match=reason) as error:
        bundle.read(bundle.entries[FIRST])
    assert FIRST in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (files.field(1, 1) + files.field(2, 1), "big-endian"),
        (files.field(1, 1 << 40), "1,099,511,627,776 data files"),
        (files.field(3, b""), "is missing|data files"),
        (b"\x0b", "a field of kind 3"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path, header, reason):
    if header == files.field(3, b""):
        read_all(written(tmp_path, header=header))  # one shard is what protocol buffers leave out
        return
    with pytest.raises(FolderError, match=reason):
        Bundle(written(tmp_path, header=header))


def test_another_file_is_not_an_index(tmp_path):
    (tmp_path / "m.index").write_bytes(b"not a table" * 100)
    with pytest.raises(FolderError, match="another kind of file"):
        Bundle(tmp_path / "m")


def test_blocks_that_overlap_are_refused(tmp_path):
    """Or a small file could name one block a million times."""
    block = files.block([(b"a", b"1")], compressed=False)
    place = files.varint(0) + files.varint(len(block) - 5)
    index = files.block([(b"a", place), (b"b", place)], compressed=False)
    handles = place + files.varint(len(block)) + files.varint(len(index) - 5)
    footer = handles.ljust(40, b"\0") + files.MAGIC.to_bytes(8, "little")
    (tmp_path / "m").write_bytes(block + index + footer)
    with pytest.raises(FolderError, match="its blocks overlap"):
        sstable.read_table(tmp_path / "m")


@pytest.mark.parametrize("mended", [False, True])
def test_no_mutation_does_more_than_to_be_refused(tmp_path, mended):
    """With `mended` the checksums of the index are made right again after the change."""
    prefix = written(tmp_path, compressed=not mended, shards=2)
    index = tmp_path / "m.ckpt.index"
    data = tmp_path / "m.ckpt.data-00000-of-00002"
    originals = {path: path.read_bytes() for path in (index, data)}
    generator, refused = random.Random(0), 0
    tracemalloc.start()
    for number in range(90):
        path = data if number % 3 == 2 and not mended else index
        changed = mutated(bytearray(originals[path]), generator)
        path.write_bytes(with_right_checksums(changed) if mended else changed)
        began = time.process_time()
        refused += is_refused(prefix)
        assert time.process_time() - began < 2
        path.write_bytes(originals[path])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 << 20
    assert refused > 45


def is_refused(prefix):
    try:
        read_all(prefix)
    except FolderError as error:
        return str(prefix.parent) in str(error) and "\n" not in str(error)
    return False


def mutated(data, generator):
    match generator.randrange(4):
        case 0:
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        case 1:
            at = generator.randrange(len(data))
            data[at : at + 8] = generator.randbytes(8)
        case 2:
            del data[generator.randrange(len(data)) :]
        case 3:
            at = generator.randrange(len(data))
            data[at:at] = generator.randbytes(generator.randrange(1, 12))
    return bytes(data)


def with_right_checksums(data):
    """Uncompressed blocks as the original has them, each with the checksum of its bytes."""
    out, place, index = bytearray(data), 0, len(data) - 48
    try:
        (start, size), _ = sstable._handle(data[index:], sstable._handle(data[index:], 0)[1])
        blocks = [(start, size)]
        for _, value in sstable._block_entries(data[start : start + size]):
            blocks.append(sstable._handle(value, 0)[0])
        for place, size in blocks:
            if place + size + 5 <= len(out):
                out[place + size + 1 : place + size + 5] = files.masked(
                    bytes(out[place : place + size + 1])
                )
    except (ValueError, IndexError):
        pass
    return bytes(out)


# Names.


def test_the_table_of_names_can_be_read_both_ways():
    assert len(names.TABLE) == len(dict(names.TABLE)) == len({ours for _, ours in names.TABLE})
    theirs = "bert/encoder/layer_11/attention/self/query/kernel"
    ours = "bert.encoder.layer.11.attention.self.query.weight"
    assert names.to_ours(theirs) == ours
    assert names.to_theirs(ours) == theirs
    for row in names.TABLE:
        assert names.to_ours(row[0].replace("{i}", "7")) == row[1].replace("{i}", "7")
        assert names.to_theirs(row[1].replace("{i}", "7")) == row[0].replace("{i}", "7")
    for unknown in (
        "bert/encoder/layer_07/attention/self/query/kernel",
        "bert/encoder/layer_{i}/attention/self/query/kernel",
        "bert/encoder/layer_1/attention/self/query",
        "bert/pooler/dense/kernel/adam_m",
        "",
    ):
        assert names.to_ours(unknown) is None, unknown


def test_what_training_keeps_is_known_by_name():
    for name in (
        "global_step",
        "bert/pooler/dense/kernel/adam_m",
        "bert/pooler/dense/kernel/adam_v",
        "bert/pooler/dense/kernel/Adam_1",
        "bert/pooler/dense/kernel/lamb_v",
        "beta1_power",
        "loss_scale",
    ):
        assert names.is_of_training(name), name
    for name in ("bert/pooler/dense/kernel", "output_weights", "my_step", "adam_m"):
        assert not names.is_of_training(name), name


def test_a_scope_before_all_names_is_left_out():
    theirs = ["module/bert/embeddings/word_embeddings", "module/cls/predictions/output_bias", "x"]
    assert names.without_scope(theirs) == {
        "bert/embeddings/word_embeddings": theirs[0],
        "cls/predictions/output_bias": theirs[1],
        "x": "x",
    }
