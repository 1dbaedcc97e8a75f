"""The on-disk corpus: what is written is what is read, and damage is named."""

import errno
import resource
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bertsmith.core import storage
from bertsmith.core.arrays import GrowingArray
from bertsmith.core.errors import FolderError, SystemFault
from bertsmith.corpus import shards
from bertsmith.corpus.manifest import VERSION, Manifest, ShardInfo
from bertsmith.corpus.shard_writer import write_shard
from bertsmith.corpus.shards import Corpus, Split
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Tokenizer

DOCUMENTS = [[[5, 6, 7], [8]], [[9, 9, 6, 5, 5]], [[7], [8], [9, 6]], [[6] * 9, [5, 7]]]
VOCAB = (*SPECIAL, "a", "b", "c", "##d", "##e")


def write(folder: Path, documents: list[list[list[int]]], *, at_once: bool) -> ShardInfo:
    with write_shard(folder, vocab_size=len(VOCAB)) as writer:
        groups = [documents] if at_once else [[document] for document in documents]
        for group in groups:
            ids = np.concatenate([sentence for document in group for sentence in document])
            writer.append(
                ids,
                ids < 8,
                sentence_lengths=np.array([len(s) for document in group for s in document]),
                document_sentences=np.array([len(document) for document in group]),
            )
    return writer.info


def corpus(folder: Path) -> Manifest:
    tokenizer = Tokenizer(VOCAB)
    tokenizer.save(folder / "tokenizer")
    train = [
        write(folder / "train-00000", DOCUMENTS[:2], at_once=True),
        write(folder / "train-00001", DOCUMENTS[2:], at_once=True),
    ]
    np.save(folder / "unigrams.npy", np.arange(len(VOCAB)))
    manifest = Manifest(
        version=VERSION,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=len(VOCAB),
        language="en",
        segmenter="none",
        text_field="text",
        held_out=0.0,
        sources=[],
        documents_read=4,
        documents_cut=0,
        documents_kept=4,
        dropped={},
        train=train,
        heldout=[],
        unigrams_checksum=storage.checksum(folder / "unigrams.npy"),
    )
    storage.write_json(folder / "manifest.json", manifest)
    return manifest


def test_shard_bytes_do_not_depend_on_the_appends(tmp_path: Path) -> None:
    one = write(tmp_path / "x" / "train-00000", DOCUMENTS, at_once=True)
    four = write(tmp_path / "y" / "train-00000", DOCUMENTS, at_once=False)
    assert one == four
    assert (one.documents, one.sentences, one.tokens) == (4, 8, 24)
    ids = np.load(tmp_path / "x" / "train-00000" / "tokens.npy", mmap_mode="r")
    assert ids.dtype == np.uint16
    assert ids[:4].tolist() == [5, 6, 7, 8]
    assert np.load(tmp_path / "x/train-00000/sentences.npy").tolist()[:4] == [0, 3, 4, 9]
    assert np.load(tmp_path / "x/train-00000/documents.npy").tolist() == [0, 2, 3, 6, 8]
    words = np.unpackbits(np.load(tmp_path / "x/train-00000/words.npy"))[:24]
    assert words.tolist() == (np.asarray(ids) < 8).astype(int).tolist()


def test_split_reads_across_shards(tmp_path: Path, document_bounds: Any) -> None:
    corpus(tmp_path)
    split = Corpus.open(tmp_path).split("train")
    assert (split.document_count, split.sentence_count, split.token_count) == (4, 8, 24)
    assert document_bounds(split).tolist() == [0, 4, 9, 13, 24]
    flat = np.concatenate([s for document in DOCUMENTS for s in document])
    starts, lengths = np.array([14, 0, 5, 9]), np.array([5, 4, 3, 0])
    expected = np.concatenate([flat[s : s + n] for s, n in zip(starts, lengths, strict=True)])
    assert split.gather(starts, lengths).tolist() == expected.tolist()
    assert split.gather(starts, lengths).dtype == np.int64
    assert split.gather_word_starts(starts, lengths).tolist() == (expected < 8).tolist()
    assert split.gather(starts[:0], lengths[:0]).shape == (0,)
    assert Corpus.open(tmp_path).split("heldout").document_count == 0


def test_stretches_are_spread_over_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path)
    split = Corpus.open(tmp_path).split("train")
    flat = np.concatenate([s for document in DOCUMENTS for s in document]).tolist()
    assert [ids.tolist() for ids in split.spread(10**9)] == [flat]
    monkeypatch.setattr(shards, "_STRETCH", 5)
    assert [ids.tolist() for ids in split.spread(10)] == [flat[:5], flat[12:17]]
    whole = list(split.spread(24))
    assert [len(ids) for ids in whole] == [4, 5, 5, 5, 5]
    assert np.concatenate(whole).tolist() == flat
    assert list(Corpus.open(tmp_path).split("heldout").spread(10)) == []


def test_sentences_are_numbered_through_the_shards(tmp_path: Path) -> None:
    corpus(tmp_path)
    split = Corpus.open(tmp_path).split("train")
    first, stop = split.sentence_ranges(np.array([3, 0, 1, 2]))
    assert (first.tolist(), stop.tolist()) == ([6, 0, 2, 3], [8, 2, 3, 6])
    starts = split.sentence_starts(np.array([8, 0, 1, 2, 3, 4, 5, 6, 7]))
    assert starts.tolist() == [24, 0, 3, 4, 9, 10, 11, 13, 22]


def test_gather_equals_slices_on_one_shard(tmp_path: Path) -> None:
    info = write(tmp_path / "train-00000", DOCUMENTS, at_once=True)
    split = Split(tmp_path, [info], len(VOCAB))
    flat = np.concatenate([s for document in DOCUMENTS for s in document])
    for start in range(24):
        for length in (0, 1, 24 - start):
            ids = split.gather(np.array([start]), np.array([length]))
            assert ids.tolist() == flat[start : start + length].tolist()


@pytest.mark.parametrize("name", ["tokens.npy", "sentences.npy", "documents.npy", "words.npy"])
def test_wrong_checksum_names_the_file(tmp_path: Path, name: str) -> None:
    corpus(tmp_path)
    path = tmp_path / "train-00001" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FolderError, match=rf"{name} \(\d+ bytes\) is damaged.*SHA-256 is \w+"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize("name", ["train-00001/tokens.npy", "unigrams.npy"])
def test_parts_verify_every_file_once(tmp_path: Path, name: str) -> None:
    corpus(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    opened = Corpus.open(tmp_path, verify=False)
    failed = []
    for part in range(3):
        try:
            opened.verify(part, 3)
        except FolderError as error:
            failed.append(str(error))
    assert len(failed) == 1
    assert str(path) in failed[0]


def test_a_shard_cut_short_is_named_without_checksums(tmp_path: Path) -> None:
    corpus(tmp_path)
    path = tmp_path / "train-00000" / "tokens.npy"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(FolderError, match=r"train-00000/tokens.npy cannot be read"):
        Corpus.open(tmp_path, verify=False).split("train")
    path.unlink()
    with pytest.raises(FolderError, match=r"train-00000/tokens.npy is missing"):
        Corpus.open(tmp_path, verify=False).split("train")


@pytest.mark.parametrize("name", ["../x", "train-00001/../train-00000", "/etc", "", "train-1"])
def test_a_manifest_names_no_folder_elsewhere(tmp_path: Path, name: str) -> None:
    manifest = corpus(tmp_path)
    shards = [msgspec.structs.replace(manifest.train[0], name=name), *manifest.train[1:]]
    changed = msgspec.structs.replace(manifest, train=shards)
    storage.write_sealed(tmp_path / "manifest.json", changed)
    with pytest.raises(FolderError, match=r"json: shard 0 of train is '.*expected train-0"):
        Corpus.open(tmp_path)
    sums = dict(manifest.train[0].checksums)
    sums["../tokens.npy"] = sums.pop("tokens.npy")
    shards = [msgspec.structs.replace(manifest.train[0], checksums=sums), *manifest.train[1:]]
    changed = msgspec.structs.replace(manifest, train=shards)
    storage.write_json(tmp_path / "manifest.json", changed)
    with pytest.raises(FolderError, match=r"\.\./tokens\.npy.*expected train-00000 with tokens"):
        Corpus.open(tmp_path)


def test_a_file_that_changes_after_it_was_opened_is_named(tmp_path: Path) -> None:
    corpus(tmp_path)
    opened = Corpus.open(tmp_path)
    path = tmp_path / "train-00001" / "tokens.npy"
    whole = path.read_bytes()
    opened.check_unchanged()
    path.write_bytes(whole)  # The same contents at another time.
    opened.check_unchanged()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FolderError, match=r"train-00001/tokens\.npy .* changed during training"):
        opened.check_unchanged()
    path.unlink()
    with pytest.raises(FolderError, match=r"train-00001/tokens\.npy is missing"):
        opened.check_unchanged()


def test_another_format_version(tmp_path: Path) -> None:
    corpus(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 7, "future": 1'))
    with pytest.raises(FolderError, match=r"format version 7, this bertsmith reads version 1"):
        Corpus.open(tmp_path)


def test_no_manifest_means_not_finished(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"not a finished corpus: manifest.json is missing"):
        Corpus.open(tmp_path)


def test_another_tokenizer(tmp_path: Path) -> None:
    corpus(tmp_path)
    Tokenizer((*VOCAB[:-1], "##z")).save(tmp_path / "tokenizer")
    with pytest.raises(FolderError, match=r"tokenizer does not match the corpus: its fingerprint"):
        Corpus.open(tmp_path)


def test_nothing_is_left_of_a_failed_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, values: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(GrowingArray, "append", full)
        with pytest.raises(SystemFault, match=r"train-00000: the disk is full"):
            write(tmp_path / "train-00000", DOCUMENTS, at_once=True)
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_of_more_files_than_a_process_may_open_at_first(make_split) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    documents = [[[1, 2, 3, 4, 5]]] * 40
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        split = make_split(documents, vocab_size=10, shards=40)
        assert split.gather(np.array([0, 195]), np.array([2, 5])).tolist() == [1, 2, 1, 2, 3, 4, 5]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
