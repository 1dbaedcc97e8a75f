"""`prepare` end to end: the same bytes whatever happens, everything counted, errors for people."""

import errno
import gzip
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from corpus_files import (
    VOCAB,
    contents,
    sentence,
    texts,
    tokenizer_folder,
    write_inputs,
)

from bertsmith.cli.main import main
from bertsmith.core import storage
from bertsmith.core.errors import DataError, Stopped, SystemFault, UsageError
from bertsmith.core.job_folder import JobFolder
from bertsmith.corpus import assemble, blocks, parts, work_folder
from bertsmith.corpus.manifest import MANIFEST
from bertsmith.corpus.prepare import prepare
from bertsmith.corpus.shards import Corpus
from bertsmith.text import sentences
from bertsmith.text.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_folder(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few documents and shards of a few blocks."""
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", 6000)
    monkeypatch.setattr(assemble, "SHARD_TOKENS", 9000)


def test_a_corpus_is_what_the_text_says(tmp_path: Path, tokenizer: Path) -> None:
    paths = write_inputs(tmp_path / "in")
    told: list[tuple[str, int, int | None]] = []
    manifest = prepare(
        paths,
        tokenizer=tokenizer,
        out=tmp_path / "out",
        workers=1,
        held_out=0.1,
        progress=lambda *state: told.append(state),
    )
    assert manifest.dropped == {
        "empty after cleaning": 1,
        "shorter than 5 tokens": 1,
        "exact duplicate": 2,
    }
    assert (manifest.documents_read, manifest.documents_kept) == (160, 156)
    assert manifest.documents("train") + manifest.documents("heldout") == 156
    assert 4 <= manifest.documents("heldout") <= 32
    size = sum(Path(path).stat().st_size for path in paths)
    assert told[0] == ("tokenize", 0, size)
    assert told[-1] == ("assemble", 1, 1)

    corpus = Corpus.open(tmp_path / "out")
    pieces = Tokenizer.load(tokenizer)
    decoded: dict[str, list[str]] = {}
    for name in ("train", "heldout"):
        split = corpus.split("train" if name == "train" else "heldout")
        assert split.document_count == manifest.documents(name)  # type: ignore[arg-type]
        for document in range(split.document_count):
            [first], [stop] = split.sentence_ranges(np.array([document]))
            bounds = split.sentence_starts(np.arange(first, stop + 1))
            ids = split.gather(bounds[:-1], np.diff(bounds))
            starts = split.gather_word_starts(bounds[:-1], np.diff(bounds))
            assert starts.tolist() == pieces.word_starts(ids).tolist()
            rows = [
                pieces.decode(ids[a - bounds[0] : b - bounds[0]])
                for a, b in itertools.pairwise(bounds)
            ]
            decoded.setdefault(name, []).append(" ".join(rows))
    one, two, three = texts(60, seed=1), texts(40, seed=2), texts(60, seed=3)
    del two[5]
    for index in (30, 20, 7):
        del three[index]
    expected = [" ".join(sentences.split(text)).lower() for text in (*one, *two, *three)]
    assert sorted(decoded["train"] + decoded["heldout"]) == sorted(expected)
    held = set(decoded["heldout"])
    assert decoded["train"] == [text for text in expected if text not in held]
    whole = corpus.split("train")
    every = whole.gather(np.array([0]), np.array([whole.token_count]))
    assert np.bincount(every, minlength=len(VOCAB)).tolist() == corpus.unigrams_V.tolist()


@pytest.mark.usefixtures("small")
def test_workers_do_not_change_a_byte(tmp_path: Path, tokenizer: Path) -> None:
    paths = write_inputs(tmp_path / "in")
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "one", workers=1)
    manifest = prepare(paths, tokenizer=tokenizer, out=tmp_path / "three", workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    assert len(manifest.train) >= 3
    assert psutil.Process().children() == []
    assert set(contents(tmp_path / "one")) >= {
        "manifest.json",
        "unigrams.npy",
        "train-00002/words.npy",
    }


@pytest.mark.usefixtures("small")
def test_engines_do_not_change_a_byte(tmp_path: Path, tokenizer: Path) -> None:
    pytest.importorskip("nanotoken")
    paths = write_inputs(tmp_path / "in")
    for backend in ("tokenizers", "nanotoken"):
        prepare(paths, tokenizer=tokenizer, out=tmp_path / backend, workers=1, backend=backend)  # type: ignore[arg-type]
    assert contents(tmp_path / "tokenizers") == contents(tmp_path / "nanotoken")


def test_a_finished_corpus_is_returned_at_once(tmp_path: Path, tokenizer: Path) -> None:
    paths = write_inputs(tmp_path / "in")
    first = prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", workers=1)
    before = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    assert prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", workers=2) == first
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"holds a corpus with other settings \(lang"):
        prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", language="en")
    with pytest.raises(UsageError, match=r"missing input: .*3.jsonl.gz"):
        prepare(paths[:2], tokenizer=tokenizer, out=tmp_path / "out")


# Interruptions.

CHILD = """
import sys
from pathlib import Path
from bertsmith.cli.main import main
from bertsmith.corpus import assemble, blocks
blocks.BLOCK_CHARACTERS = 6000
assemble.SHARD_TOKENS = 9000
tokenizer, out, workers, *paths = sys.argv[1:]
print("ready", flush=True)
flags = ["--tokenizer", tokenizer, "--out", out, "--workers", workers]
sys.exit(main(["prepare", *paths, *flags]))
"""


def start(tokenizer: Path, out: Path, workers: int, paths: list[str]) -> "subprocess.Popen[bytes]":
    """`prepare` in an interpreter of its own, which has just imported what it needs."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tokenizer), str(out), str(workers), *paths],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def fork(tokenizer: Path, out: Path, workers: int, paths: list[str]) -> int:
    """`prepare` in a copy of this process, at once and as the leader of a process group."""
    child = os.fork()
    # From both sides, because either may be the first to run.
    os.setpgid(child, child)
    if child == 0:
        code = 1
        try:
            prepare(paths, tokenizer=tokenizer, out=out, workers=workers)
            code = 0
        finally:
            os._exit(code)
    return child


@pytest.mark.usefixtures("small")
def test_killed_at_twenty_random_moments(tmp_path: Path, tokenizer: Path) -> None:
    paths = write_inputs(tmp_path / "in")
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "whole", workers=1)
    expected = contents(tmp_path / "whole")
    durations = {}
    for workers in (1, 2):
        began = time.monotonic()
        os.waitpid(fork(tokenizer, tmp_path / f"timed-{workers}", workers, paths), 0)
        durations[workers] = time.monotonic() - began
        assert contents(tmp_path / f"timed-{workers}") == expected
    draw = random.Random(5)
    states = set()
    for trial in itertools.count():
        # More than twenty, if none of them was in the middle.
        if trial >= 20 and "some" in states:
            break
        workers = 1 + trial % 2
        out = tmp_path / f"killed-{trial}"
        group = fork(tokenizer, out, workers, paths)
        time.sleep(draw.random() * durations[workers])
        os.killpg(group, signal.SIGKILL)
        os.waitpid(group, 0)
        left = contents(out) if out.exists() else {}
        done = sum(name.endswith(".part") for name in left)
        states.add("finished" if "manifest.json" in left else "some" if done else "none")
        prepare(paths, tokenizer=tokenizer, out=out, workers=1)
        assert contents(out) == expected, f"trial {trial}, {done} parts were there"


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_killed_at_every_change_of_the_disk(tmp_path: Path, tokenizer: Path) -> None:
    """Dies before the n-th sync, rename, removal or new folder, for every n."""
    paths = write_inputs(tmp_path / "in")
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "whole", workers=1)
    expected = contents(tmp_path / "whole")
    out = tmp_path / "out"
    for moment in itertools.count():
        child = os.fork()
        if child == 0:
            steps = itertools.count()
            for name in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir"):
                setattr(os, name, dies_at(moment, steps, getattr(os, name)))
            try:
                prepare(paths, tokenizer=tokenizer, out=out, workers=1)
            finally:
                os._exit(0)
        finished = os.waitpid(child, 0)[1] == 0
        prepare(paths, tokenizer=tokenizer, out=out, workers=1)
        assert contents(out) == expected, f"killed at change {moment}"
        shutil.rmtree(out)
        if finished:
            break
    assert moment > 100


def dies_at(moment: int, steps: Iterator[int], call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*given: Any, **named: Any) -> Any:
        if next(steps) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)

    return counted


@pytest.mark.usefixtures("small")
def test_a_rerun_makes_only_what_is_missing(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_inputs(tmp_path / "in")
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "whole", workers=1)
    make, made, reads = parts.PartMaker.make, [], []

    def counted(self: parts.PartMaker, block: parts.Block) -> parts.Part:
        if len(made) == 5 and not stopped:
            stopped.append(1)
            raise KeyboardInterrupt
        made.append(block.part.name)
        return make(self, block)

    stopped: list[int] = []
    read = blocks.documents.read
    monkeypatch.setattr(parts.PartMaker, "make", counted)
    monkeypatch.setattr(
        blocks.documents, "read", lambda path, **rest: reads.append(path) or read(path, **rest)
    )
    with pytest.raises(Stopped, match="Stopped by SIGINT while preparing"):
        prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", workers=1)
    left = contents(tmp_path / "out")
    assert sum(name.endswith(".part") for name in left) == 5
    assert not any("partial" in name for name in left)
    with pytest.raises(UsageError, match=r"unfinished corpus with other settings \(held_out"):
        prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", held_out=0.2, workers=1)
    Path(paths[1]).touch()
    with pytest.raises(UsageError, match=r"input changed on disk: .*2.txt"):
        prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", workers=1)
    plan = json.loads(left[".parts/plan.json"])
    os.utime(paths[1], ns=(0, plan["inputs"][1]["modified"]))
    reads.clear()
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", workers=1)
    assert len(made) == len(set(made))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.usefixtures("small")
def test_a_file_whose_parts_are_there_is_not_read_again(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_inputs(tmp_path / "in")

    def stop(*rest: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bertsmith.corpus.prepare.assemble", stop)
        with pytest.raises(Stopped, match="Stopped by SIGINT while preparing"):
            prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", workers=1)
    monkeypatch.setattr(blocks.documents, "read", stop)
    manifest = prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", workers=1)
    assert manifest.documents_kept == 156


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_leaves_parts_and_no_process(
    tmp_path: Path, tokenizer: Path, number: signal.Signals
) -> None:
    paths = write_inputs(tmp_path / "in")
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "whole", workers=1)
    out = tmp_path / "out"
    process = start(tokenizer, out, 2, paths)
    wait_for(lambda: len(list((out / ".parts").glob("*.part"))) >= 2)
    workers = psutil.Process(process.pid).children()
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert not any(worker.is_running() for worker in workers)
    left = contents(out)
    if "manifest.json" not in left:
        assert process.returncode == 128 + number
        assert said.decode() == (
            f"Stopped by {number.name} while preparing {out}; progress is saved. "
            "Run the same command again to continue.\n"
        )
        assert sum(name.endswith(".part") for name in left) >= 2
        assert not any("partial" in name for name in left)
    prepare(paths, tokenizer=tokenizer, out=out, workers=1)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.usefixtures("small")
def test_workers_end_when_the_parent_is_killed(tmp_path: Path, tokenizer: Path) -> None:
    paths = write_inputs(tmp_path / "in")
    out = tmp_path / "out"
    process = start(tokenizer, out, 2, paths)
    wait_for(lambda: len(list((out / ".parts").glob("*.part"))) >= 1)
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=120)
    assert alive == []


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Input that is not as it should be: message, exit code, nothing left.


def fails(capsys: pytest.CaptureFixture[str], tokenizer: Path, out: Path, *rest: str) -> str:
    """Runs the command, checks that it fails as it should, and returns the sentence."""
    code = main(["prepare", *rest, "--tokenizer", str(tokenizer), "--out", str(out)])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


BAD: dict[str, tuple[str, bytes, str]] = {
    "not UTF-8": ("b.txt", b"good line\n\nbad \xff line", r"b.txt.*2|3.*byte"),
    "empty file": ("b.txt", b"", "b.txt is empty"),
    "gz cut short": ("b.txt.gz", gzip.compress(b"text " * 5000)[:-20], "b.txt.gz"),
    "no text field": ("b.jsonl", b'{"text": "a b c d e f"}\n{"txt": "a"}\n', "b.jsonl:2: no key"),
    "not JSON": ("b.jsonl", b'{"text": "a b c d e f"}\nhello\n', "b.jsonl:2: not JSON"),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_named_and_nothing_is_left(
    tmp_path: Path,
    tokenizer: Path,
    capsys: pytest.CaptureFixture[str],
    case: str,
    workers: str,
) -> None:
    paths = write_inputs(tmp_path / "in")
    name, data, message = BAD[case]
    bad = tmp_path / name
    bad.write_bytes(data)
    out = tmp_path / "out"
    said = fails(capsys, tokenizer, out, *paths, str(bad), "--workers", workers)
    assert re.search(message, said), said
    assert not out.exists()
    assert psutil.Process().children() == []


def test_no_document_left(
    tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("a b\n\nc d\n\n\u200b\u0007")
    said = fails(capsys, tokenizer, tmp_path / "out", str(tmp_path / "a.txt"))
    assert "All 3 documents were dropped (1 empty after cleaning, 2 shorter" in said
    assert not (tmp_path / "out").exists()


def test_wrong_paths_and_settings(
    tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_inputs(tmp_path / "in")
    out = tmp_path / "out"
    assert "nothere.txt" in fails(capsys, tokenizer, out, str(tmp_path / "nothere.txt"))
    assert "nowhere: no such folder" in fails(capsys, tmp_path / "nowhere", out, *paths)
    assert "--workers is 0" in fails(capsys, tokenizer, out, *paths, "--workers", "0")
    assert "--held-out is 0.7" in fails(capsys, tokenizer, out, *paths, "--held-out", "0.7")
    assert "--language E" in fails(capsys, tokenizer, out, *paths, "--language", "E")
    inside = tmp_path / "in" / "out"
    assert "is inside the input folder" in fails(capsys, tokenizer, inside, str(tmp_path / "in"))
    assert "a folder where a file" not in fails(capsys, tokenizer, Path(paths[0]), paths[1])
    assert not out.exists()
    assert not inside.exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("precious")
    assert "holds other files than a corpus (mine.txt" in fails(
        capsys, tokenizer, tmp_path / "other", *paths
    )
    assert contents(tmp_path / "other") == {"mine.txt": b"precious"}


def test_disk_full_while_tokenizing(tmp_path: Path, tokenizer: Path) -> None:
    """The limit on a file's size makes the system refuse a write, as a full disk does."""
    source = tmp_path / "a.txt"
    source.write_text("\n\n".join(texts(2000)), encoding="utf-8")
    run = subprocess.run(
        f"{sys.executable} -m bertsmith prepare a.txt --tokenizer {tokenizer} --out out".split(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert run.returncode == 2
    assert run.stderr.startswith("error: Could not write ")
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("small")
def test_disk_full_later_keeps_finished_parts(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_inputs(tmp_path / "in")
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "whole", workers=1)

    def full(*rest: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("bertsmith.core.arrays.GrowingArray.append", full)
        with pytest.raises(SystemFault, match=r"train-00000: the disk is full; free some space"):
            prepare(paths, tokenizer=tokenizer, out=out, workers=1)
    left = contents(out)
    assert not any(name.startswith(("train", "heldout", "manifest")) for name in left)
    assert {Path(name).suffix for name in left} == {".part", ".count", ".json"}
    assert prepare(paths, tokenizer=tokenizer, out=out, workers=1).documents_kept == 156
    assert contents(out) == contents(tmp_path / "whole")


def test_another_process_at_work_is_named(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_inputs(tmp_path / "in")
    monkeypatch.setattr(work_folder, "_WAIT_SECONDS", 0.1)
    with (
        JobFolder(tmp_path / "out", "a corpus").alone(),
        pytest.raises(UsageError, match=r"out.*: another process is writing to this folder. Wait"),
    ):
        prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", workers=1)


@pytest.mark.usefixtures("small")
def test_two_at_once_in_one_folder_both_end_well(tmp_path: Path, tokenizer: Path) -> None:
    paths = write_inputs(tmp_path / "in")
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "whole", workers=1)
    expected = contents(tmp_path / "whole")
    for trial in range(6):
        out = tmp_path / f"out-{trial}"
        both = [fork(tokenizer, out, 1, paths) for _ in range(2)]
        assert [os.waitpid(child, 0)[1] for child in both] == [0, 0]
        assert contents(out) == expected
        assert not (out / ".parts").exists()


def test_a_finished_folder_is_put_away_under_the_lock_only(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is there while its writer still removes the parts."""
    paths, out = write_inputs(tmp_path / "in"), tmp_path / "out"
    manifest = prepare(paths, tokenizer=tokenizer, out=out, workers=1)
    work = out / ".parts"
    with JobFolder(out, "a corpus").alone():
        work.mkdir()
        (work / "000000-00000000.part").touch()
        with monkeypatch.context() as patch:
            patch.setattr(work_folder, "_WAIT_SECONDS", 0.1)
            with pytest.raises(UsageError, match="another process is writing to"):
                prepare(paths, tokenizer=tokenizer, out=out, workers=1)
        assert len(list(work.iterdir())) == 1
    assert prepare(paths, tokenizer=tokenizer, out=out, workers=1) == manifest
    assert not work.exists()


# Rules.


def test_a_huge_document_is_cut_and_said(
    tmp_path: Path, tokenizer: Path, document_bounds: Any
) -> None:
    source = tmp_path / "a.txt"
    line = sentence(random.Random(1)) + "\n"
    with source.open("w") as file:
        for number in range(9_000_000 // len(line)):
            file.write(f"{number} {line}")
        file.write("\n\na b")
    manifest = prepare(
        [str(source)], tokenizer=tokenizer, out=tmp_path / "out", workers=1, language="en"
    )
    assert (manifest.documents_read, manifest.documents_cut) == (2, 1)
    assert (manifest.pieces_added, manifest.documents_kept) == (2, 3)
    assert manifest.dropped["shorter than 5 tokens"] == 1
    largest = np.diff(document_bounds(Corpus.open(tmp_path / "out").split("train"))).max()
    assert largest <= 4 << 20


def test_small_files_share_a_part(tmp_path: Path, tokenizer: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number, text in enumerate(texts(50)):
        (folder / f"{number:02d}.txt").write_text(text)
    told: list[tuple[str, int, int | None]] = []
    manifest = prepare(
        [str(folder)],
        tokenizer=tokenizer,
        out=tmp_path / "out",
        workers=1,
        progress=lambda *state: told.append(state),
    )
    assert manifest.documents_kept == 50
    assert told[-1] == ("assemble", 1, 1)


@pytest.mark.parametrize(
    ("documents", "held_out", "heldout"),
    [(1, 0.0, 0), (2, 0.005, 1), (3, 0.5, 1), (4, 0.005, 2), (40, 0.005, 2), (40, 0.0, 0)],
)
def test_held_out_documents_are_there_when_there_is_text_enough(
    tmp_path: Path, tokenizer: Path, documents: int, held_out: float, heldout: int
) -> None:
    source = tmp_path / "a.txt"
    source.write_text("\n\n".join(texts(documents)))
    manifest = prepare(
        [str(source)], tokenizer=tokenizer, out=tmp_path / "out", workers=1, held_out=held_out
    )
    if held_out < 0.5:
        assert manifest.documents("heldout") == heldout
    else:
        assert 1 <= manifest.documents("heldout") < documents
    assert manifest.documents("train") + manifest.documents("heldout") == documents


def test_held_out_is_a_function_of_the_text(
    tmp_path: Path, tokenizer: Path, document_bounds: Any
) -> None:
    """A document stays on its side of the split when others come and when the order changes."""
    first, more = texts(300, seed=4), texts(300, seed=5)

    def heldout(name: str, rows: list[str]) -> set[str]:
        (tmp_path / f"{name}.txt").write_text("\n\n".join(rows))
        out = tmp_path / name
        source = str(tmp_path / f"{name}.txt")
        prepare([source], tokenizer=tokenizer, out=out, workers=1, held_out=0.1)
        corpus = Corpus.open(out)
        split = corpus.split("heldout")
        ends = document_bounds(split)
        return {
            corpus.tokenizer.decode(split.gather(ends[i : i + 1], np.diff(ends[i : i + 2])))
            for i in range(split.document_count)
        }

    alone = heldout("alone", first)
    assert 15 <= len(alone) <= 50
    assert alone <= heldout("more", more + first[::-1])


def test_duplicates_in_bounded_memory(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, document_bounds: Any
) -> None:
    """Hashes in many small files give what a set gives."""
    monkeypatch.setattr(blocks, "BLOCK_CHARACTERS", 6000)
    monkeypatch.setattr("bertsmith.corpus.selection.RECORDS", 16)
    distinct = texts(150)
    draw = random.Random(3)
    rows = [distinct[draw.randrange(150)] for _ in range(400)]
    (tmp_path / "a.txt").write_text("\n\n".join(rows))
    manifest = prepare(
        [str(tmp_path / "a.txt")],
        tokenizer=tokenizer,
        out=tmp_path / "out",
        workers=1,
        held_out=0.0,
    )
    assert manifest.dropped["exact duplicate"] == 400 - len(set(rows))
    corpus = Corpus.open(tmp_path / "out")
    split = corpus.split("train")
    ends = document_bounds(split)
    found = [
        corpus.tokenizer.decode(split.gather(ends[i : i + 1], np.diff(ends[i : i + 2])))
        for i in range(split.document_count)
    ]
    assert found == [text.lower() for text in dict.fromkeys(rows)]


def test_prepare_does_not_import_torch() -> None:
    code = "import sys, bertsmith.corpus.prepare; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_another_tokenizer_for_a_finished_corpus(
    tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_inputs(tmp_path / "in")
    prepare(paths, tokenizer=tokenizer, out=tmp_path / "out", workers=1)
    other = tmp_path / "other"
    Tokenizer((*VOCAB, "##x" * 2)).save(other)
    said = fails(capsys, other, tmp_path / "out", *paths)
    assert "holds a corpus with other settings (tokenizer: " in said
    assert storage.checksum(tmp_path / "out" / MANIFEST)


def test_nothing_but_a_data_error_reaches_the_caller(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 5}\n')
    with pytest.raises(DataError, match=r"a.jsonl:1: the key 'text' holds a number"):
        prepare([str(tmp_path / "a.jsonl")], tokenizer=tokenizer, out=tmp_path / "out")


STORY = [f"Sentence number {n} of the long story is here." for n in range(40)]


@pytest.mark.parametrize(
    ("name", "text", "facts"),
    [
        ("a.txt", "\n".join(STORY), ["only one document (40 sentences, ", "sed G FILE"]),
        ("b.txt", " ".join(STORY), ["only one document (40 sentences, ", "sed G FILE"]),
        (
            "c.txt",
            "The same text of some words.\n\n" * 50,
            ["of 50, after dropping 49 exact duplicate (one sentence, ", "not repeat"],
        ),
        (
            "d.txt",
            "\n".join(STORY) + "\n\na\n",
            ["of 2, after dropping 1 shorter than 5 tokens (40 sentences, "],
        ),
        ("a.jsonl", json.dumps({"text": " ".join(STORY)}), ["(40 sentences, ", "more rows"]),
        ("a.csv", "text\n" + " ".join(STORY), ["(40 sentences, ", "more rows"]),
    ],
)
def test_a_corpus_of_one_document_is_refused_at_once(
    tmp_path: Path, tokenizer: Path, name: str, text: str, facts: list[str]
):
    source, out = tmp_path / name, tmp_path / "out"
    source.write_text(text)
    with pytest.raises(DataError) as caught:
        prepare([str(source)], tokenizer=tokenizer, out=out, workers=1)
    message = str(caught.value)
    assert message.startswith(f"{source}: found only one document")
    assert "expected at least four" in message
    assert all(fact in message for fact in facts), message
    assert "sed G" not in message or name.endswith(".txt")
    assert not out.exists()
    # What the message says to do works.
    if name in ("a.txt", "d.txt"):
        source.write_text(source.read_text().replace("\n", "\n\n"))
        found = prepare([str(source)], tokenizer=tokenizer, out=out, workers=1)
        assert (found.documents("train"), found.documents("heldout")) == (38, 2)
