"""Damaged files of every kind: no traceback, no crash, no hang, no flood; checksums notice.

A few hundred in the suite, thousands in the proofs. `BERTSMITH_FUZZ` sets the number of a target's
cases, to look for more.
"""

import gzip
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import official_files
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard
from conftest import write_toy_corpus
from fuzz.targets import TARGETS, is_checked

from bertsmith.comparison.job import compare
from bertsmith.comparison.plan import Plan
from bertsmith.core.errors import Stopped
from bertsmith.core.storage import write_json
from bertsmith.finetuning.data import Source
from bertsmith.finetuning.job import Job, finetune
from bertsmith.pretraining import run
from bertsmith.pretraining.config import pretrain_config
from bertsmith.text.tokenizer.train import train_tokenizer
from bertsmith.training import loop
from bertsmith.training.schedule import Phase

# The child finds the modules of tests as this process does.
_PATHS = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])

SECONDS = 20.0
MEBIBYTES = 1024

CASES = {"reader": 240, "corpus": 60, "tokenizer": 40, "bpe": 40, "model": 30, "run": 30}
CASES |= {"finetuning": 30, "comparison": 20}
PROOFS = {"reader": 2400, "corpus": 400, "tokenizer": 300, "bpe": 300, "model": 300, "run": 300}
PROOFS |= {"finetuning": 400, "comparison": 300}
"""Numbers of damaged files by target."""


def test_every_target_has_cases() -> None:
    assert set(CASES) == set(PROOFS) == set(TARGETS)
    assert sum(PROOFS.values()) >= 3000


@pytest.mark.parametrize("target", CASES)
def test_damage_is_refused_or_read(
    target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole = request.getfixturevalue(f"whole_{target}")
    check(target, whole, tmp_path, int(os.environ.get("BERTSMITH_FUZZ", CASES[target])))


@pytest.mark.slow
@pytest.mark.parametrize("target", PROOFS)
def test_much_damage_is_refused_or_read(
    target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole = request.getfixturevalue(f"whole_{target}")
    check(target, whole, tmp_path, PROOFS[target])


def check(target: str, whole: Path, scratch: Path, cases: int) -> None:
    """Runs the cases in children, and a new child after each that died."""
    faults, next_case = [], 0
    while next_case < cases:
        found, next_case = _child(target, whole, scratch / str(next_case), next_case, cases)
        faults += found
    assert not faults, f"{len(faults)} of {cases}:\n" + "\n".join(faults[:20])


def _child(target: str, whole: Path, scratch: Path, start: int, stop: int) -> tuple[list[str], int]:
    """What went wrong, and the case to go on with."""
    program = Path(__file__).with_name("child.py")
    command = [sys.executable, str(program), target, str(whole), str(scratch)]
    child = subprocess.Popen(
        [*command, str(start), str(stop), "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": _PATHS},
    )
    assert child.stdout is not None
    faults: list[str] = []
    case, name = start, "before the first"
    try:
        while True:
            # Starting takes its time on a busy machine; what counts is reported by the child.
            ready, _, _ = select.select([child.stdout], [], [], 6 * SECONDS)
            if not ready:
                faults.append(f"case {case} ({name}): hangs")
                return faults, case + 1
            line = child.stdout.readline()
            if not line:
                break
            told = json.loads(line)
            if "begin" in told:
                case, name = told["begin"], told["file"]
                continue
            if told["what"] not in ("read", "refused"):
                faults.append(f"case {case} ({name}): {told['what']}")
            if told["what"] == "read" and is_checked(target, name):
                faults.append(f"case {case} ({name}): unnoticed")
            if told["seconds"] > SECONDS:
                faults.append(f"case {case} ({name}): took {told['seconds']:.0f} s")
            if told["memory"] > MEBIBYTES:
                faults.append(f"case {case} ({name}): took {told['memory']} MiB")
                return faults, case + 1
    finally:
        child.kill()
        code = child.wait()
        child.stdout.close()
        shutil.rmtree(scratch, ignore_errors=True)
    if code not in (0, -9):
        faults.append(f"case {case} ({name}): ended the process with {code}")
        return faults, case + 1
    return faults, stop


@pytest.fixture(scope="session")
def whole_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of every format, plain and packed."""
    folder = tmp_path_factory.mktemp("readers")
    values: list[dict[str, Any]] = [
        {"text": f'A "quoted" text, number {n}.', "label": "ab"[n % 2], "n": n, "words": ["a"] * n}
        for n in range(12)
    ]
    table = pa.Table.from_pylist(values)
    table = table.append_column("class", table["label"].dictionary_encode())
    texts = [row["text"].replace('"', '""') for row in values]
    quoted = "".join(f'"{text}",{number}\n' for number, text in enumerate(texts))
    files = {
        "a.csv": ("text,n\n" + quoted).encode(),
        "a.tsv": "".join(["text\tn\n", *(f"text {n}\t{n}\n" for n in range(12))]).encode(),
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in values).encode(),
        "a.txt": "\n\n".join(row["text"] + "\nMore of it. 北京。" for row in values).encode(),
        "pairs.jsonl": b'{"sentence_good": "It is.", "sentence_bad": "It are."}\n' * 5,
        "tags.conll": ("Anna B-PER\nlives O\nin O\nLima B-LOC\n\n" * 5).encode(),
    }
    official_files.squad(folder / "squad")
    for path in (folder / "squad").iterdir():
        files[f"squad-{path.name}"] = path.read_bytes()
    shutil.rmtree(folder / "squad")
    for name, opener in (("a.arrow", pa.ipc.new_stream), ("b.arrow", pa.ipc.new_file)):
        buffer = io.BytesIO()
        with opener(buffer, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
        files[name] = buffer.getvalue()
    for name, packing in (("a.parquet", "snappy"), ("b.parquet", "none")):
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer, compression=packing, row_group_size=5)
        files[name] = buffer.getvalue()
    files |= {
        "b.csv.gz": gzip.compress(files["a.csv"]),
        "b.jsonl.zst": zstandard.compress(files["a.jsonl"]),
        "b.txt.gz": gzip.compress(files["a.txt"]),
        "c.arrow.gz": gzip.compress(files["a.arrow"]),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def whole_corpus(toy_corpus: Path) -> Path:
    return toy_corpus


@pytest.fixture(scope="session")
def whole_tokenizer(toy_corpus: Path) -> Path:
    return toy_corpus / "tokenizer"


@pytest.fixture(scope="session")
def whole_bpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bpe")
    (folder / "text.txt").write_text("one two three one two one\n" * 9)
    train_tokenizer([str(folder / "text.txt")], out=folder / "bpe", size=30, kind="bpe")
    return folder / "bpe"


@pytest.fixture(scope="session")
def whole_model(small_model: Path) -> Path:
    return small_model


@pytest.fixture(scope="session")
def whole_run(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-training of two steps that is finished, with its checkpoint and its metrics."""
    root = tmp_path_factory.mktemp("fuzzed")
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"intermediate_size": 64, "max_position_embeddings": 64}
    write_json(root / "shape.json", shape)
    config = pretrain_config(
        "modern",
        data=str(toy_corpus),
        size=str(root / "shape.json"),
        steps=2,
        batch_size=8,
        phases=(Phase(1.0, 32),),
        evaluate_sequences=8,
        save_every=1,
        precision="fp32",
    )
    run.run(config, root / "out")
    return root / "out"


@pytest.fixture(scope="session")
def whole_finetuning(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job with a finished run and one that a signal stopped in its second epoch."""
    root = tmp_path_factory.mktemp("fuzzed")
    rows = "".join(f"{'red' if n % 2 else 'blue'} kind {n},{n % 2}\n" for n in range(40))
    (root / "own.csv").write_text("text,label\n" + rows)
    source = Source(task="classification", train=str(root / "own.csv"))
    fast = {"epochs": 2, "batch_size": 12, "learning_rate": 1e-3}
    job = Job(source=source, model=str(small_model), seeds=2, settings=fast)
    take_step, steps = loop.take_step, 0

    def stop_in_the_second_run(*values: Any, **more: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return take_step(*values, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "take_step", stop_in_the_second_run)
        with pytest.raises(Stopped):
            finetune(job, root / "out", show=list)
    [stopped] = (root / "out").glob("runs/*/checkpoints")
    assert len(list((root / "out" / "runs").iterdir())) == 2
    assert (stopped.parent / "best" / "best.json").is_file()
    return root / "out"


@pytest.fixture(scope="session")
def whole_comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT and one that reads from left to right, of a few steps, fine-tuned on one task."""
    root = tmp_path_factory.mktemp("fuzzed")
    official_files.WRITERS["rte"](root / "data" / "rte")
    write_toy_corpus(root / "corpus", unused=[f"x{number}" for number in range(3000)])
    plan = Plan(
        corpus=str(root / "corpus"),
        tasks=("rte",),
        data=str(root / "data"),
        models=("bert",),
        ablations=("left-to-right",),
        budget="tokens=8000",
        seeds=1,
        size="tiny",
        batch_size=8,
        phases=(Phase(1.0, 32),),
        epochs=1,
    )
    compare(plan, root / "out")
    return root / "out"
