"""`prepare`: files of text to a corpus folder, in bounded memory, safe to kill and to rerun.

The input is cut into blocks of whole documents, as a pure function of the files and the settings.
Each block becomes one part file under `.parts/`, whole or absent, in whichever process; a rerun
makes the parts that are missing. When all are there they are put together in order. So one worker
or many, one run or twenty killed ones, give the same bytes.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Literal

from bertsmith.checkpoints.sources import resolve
from bertsmith.core import cluster, storage
from bertsmith.core import workers as processes
from bertsmith.core.errors import UsageError, option
from bertsmith.core.runtime import Engine, core_count
from bertsmith.core.stop import stoppable
from bertsmith.core.workers import check_workers
from bertsmith.corpus import blocks, chinese
from bertsmith.corpus.assemble import assemble
from bertsmith.corpus.manifest import MANIFEST, TOKENIZER, VERSION, Manifest, Source, read_manifest
from bertsmith.corpus.near_duplicates import check_threshold, load_minhash
from bertsmith.corpus.parts import Block, PartMaker
from bertsmith.corpus.work_folder import PARTS, check_out, work_folder
from bertsmith.text import documents, sentences
from bertsmith.text.tokenizer.tokenizer import Backend, Tokenizer

Segmenter = Literal["none", "jieba"]
Progress = Callable[[str, int, int | None], None]
"""Told the stage ("tokenize": bytes of source; "assemble": parts), what is done, and of how much
(None: not known)."""


def prepare(
    inputs: Sequence[str],
    *,
    tokenizer: str | Path,
    out: Path,
    workers: int | None = None,
    engine: Engine = "local",
    ray_address: str | None = None,
    language: str = "auto",
    text_field: str = "text",
    held_out: float = 0.005,
    near_duplicates: float | None = None,
    segmenter: Segmenter = "none",
    backend: Backend = "auto",
    progress: Progress | None = None,
) -> Manifest:
    """Turns text into a corpus for pre-training; see `manifest` for what is written.

    Run again after an interruption, it continues; run again when finished, it returns at once.

    Args:
        inputs: files, folders, globs or URLs, as `documents.list_files` takes them.
        tokenizer: a tokenizer's folder, or a model as `checkpoints.sources.resolve` takes it.
        out: the folder to write; new, empty, or what an earlier run left.
        workers: processes; None takes one per core. The result does not depend on it.
        engine: "ray" makes the parts on a Ray cluster instead, which need not see `inputs` or
            `out`; the result is the same.
        ray_address: of the cluster; None takes RAY_ADDRESS, and without it this machine's cores.
        language: for sentence splitting; "auto" tells each document's language by its script.
        text_field: key or column that holds the text.
        held_out: share of the documents kept out of training, in [0, 0.5].
        near_duplicates: drop documents at least as similar as this to an earlier one, in [0.5, 1]:
            Jaccard similarity of their runs of five tokens; None keeps them.
        segmenter: "jieba" marks the words of Chinese text, for whole-word masking.
        backend: what encodes; all give the same ids.
        progress: called now and then.

    Returns:
        The manifest: counts, and what was dropped for which reason.

    Raises:
        UsageError: a setting is wrong, there is no such tokenizer, or `out` holds something else.
        DataError: a file is not what it should be, no document is left, or only one; nothing stays
            behind.
        FolderError: the tokenizer's folder is damaged.
        SystemFault: the disk is full, ...; finished parts stay for the next run.
        Stopped: SIGINT, SIGTERM or SIGHUP came; finished parts stay for the next run.
    """
    workers = core_count() if workers is None else workers
    check_workers(workers)
    if not 0 <= held_out <= 0.5:
        raise UsageError(
            f"{option('held_out')} is {held_out}; it must be at least 0 and at most 0.5."
        )
    if language != "auto":
        sentences.check_language(language)
    pieces = Tokenizer.load(resolve(tokenizer), backend=backend)
    if segmenter == "jieba":
        _check_segmenter(pieces)
    if near_duplicates is not None:
        check_threshold(near_duplicates)
        load_minhash()
    if engine == "ray":
        cluster.load_ray()  # missing, it is to be told before anything is written
    plan = blocks.Plan(
        version=VERSION,
        tokenizer=pieces.fingerprint,
        language=language,
        segmenter=segmenter,
        text_field=text_field,
        held_out=held_out,
        near_duplicates=near_duplicates,
        block_characters=blocks.BLOCK_CHARACTERS,
        inputs=[blocks.look_at(path) for path in documents.list_files(inputs)],
    )
    check_out(out, inputs)
    maker = PartMaker(pieces, language, segmenter)
    with stoppable(f"while preparing {out}"), work_folder(out, plan) as lock:
        if (out / MANIFEST).exists():
            return read_manifest(out)
        missing = blocks.missing_blocks(plan, out / PARTS)
        parts = (
            processes.run(maker, missing, workers=workers, keep_open=lock)
            if engine == "local"
            else _made_on_ray(maker, missing, ray_address)
        )
        return _build(out, plan, parts, pieces, progress=progress)


def _build(
    out: Path,
    plan: blocks.Plan,
    parts: Generator[int, None, None],
    pieces: Tokenizer,
    *,
    progress: Progress | None,
) -> Manifest:
    """Makes the parts (positions in the source, as they are done) and puts them together."""
    work = out / PARTS
    total = blocks.total_bytes(plan.inputs)
    report = progress or (lambda stage, done, of: None)
    furthest = 0
    report("tokenize", 0, total)
    with contextlib.closing(parts):
        for position in parts:
            furthest = max(furthest, position)
            report("tokenize", furthest, total)
    found = assemble(
        sorted(work.glob("*.part")),
        out,
        work / "assemble",
        vocab_size=len(pieces.vocab),
        held_out=plan.held_out,
        near_duplicates=plan.near_duplicates,
        sources=[source.path for source in plan.inputs],
        advance=lambda done, of: report("assemble", done, of),
    )
    with storage.atomic_folder(out / TOKENIZER) as place:
        pieces.save(place)
    manifest = Manifest(
        version=VERSION,
        tokenizer_fingerprint=plan.tokenizer,
        vocab_size=len(pieces.vocab),
        language=plan.language,
        segmenter=plan.segmenter,
        text_field=plan.text_field,
        held_out=plan.held_out,
        near_duplicates=plan.near_duplicates,
        sources=[Source(source.path, source.bytes) for source in plan.inputs],
        documents_read=found.read,
        documents_cut=found.cut,
        documents_kept=found.kept,
        dropped=found.dropped,
        train=found.train,
        heldout=found.heldout,
        unigrams_checksum=found.unigrams_checksum,
    )
    storage.write_sealed(out / MANIFEST, manifest)
    return manifest


def _made_on_ray(
    maker: PartMaker, missing: Iterator[Block], address: str | None
) -> Generator[int, None, None]:
    """Parts that other machines make and this one writes; yields positions in the source."""
    made = cluster.run(maker.made, missing, title="Preparing a block", address=address)
    with contextlib.closing(made):
        for block, part in made:
            part.write(block.part)
            yield block.position


def _check_segmenter(tokenizer: Tokenizer) -> None:
    if not tokenizer.cleaning.split_chinese:
        raise UsageError(
            f"{option('segmenter', 'jieba')} needs a tokenizer that splits Chinese characters, "
            "and this one keeps them together; remove the option."
        )
    chinese.segmenter()
