"""From text to a pre-trained model: `train_tokenizer`, `prepare`, `pretrain`.

Each is a thin function with typed keywords over the job that the command of the same name runs.
Jobs are imported when they are called, so importing the package stays instant.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.api.arguments import Precision, StrPath, check_names, paths_of

if TYPE_CHECKING:
    from bertsmith.corpus.manifest import Manifest
    from bertsmith.pretraining.run import PretrainResult
    from bertsmith.text.tokenizer.tokenizer import Tokenizer


def train_tokenizer(
    inputs: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    vocab_size: int = 30_000,
    kind: Literal["wordpiece", "bpe"] = "wordpiece",
    lower_case: bool = True,
    strip_accents: bool | None = None,
    min_frequency: int = 2,
    text_field: str = "text",
    workers: int = 1,
) -> "Tokenizer":
    """Trains a vocabulary on text and writes it to the folder `out`.

    Args:
        inputs: files, folders, globs or URLs of text.
        out: folder to write.
        vocab_size: pieces wanted; fewer if the text gives no more.
        kind: WordPiece (BERT's), or byte pairs (GPT's).
        lower_case: lower-case the text, now and in every later use.
        strip_accents: None: with `lower_case`, unless the script needs its marks.
        min_frequency: how often a pair must occur to be merged.
        text_field: field or column that holds the text, in formats that have some.
        workers: processes; the result does not depend on them.

    Raises:
        DataError: text that cannot be read.
        UsageError: a setting is out of range, or `out` holds something else.

    Example::

        tokenizer = bertsmith.train_tokenizer("my-text/", "my-tokenizer", vocab_size=200)
        print(tokenizer.encode("Hello.").ids)
    """
    from bertsmith.core.mirror import written
    from bertsmith.text.tokenizer.train import train_tokenizer as train

    with written(out) as folder:
        return train(
            paths_of(inputs),
            out=folder,
            size=vocab_size,
            kind=kind,
            lower_case=lower_case,
            strip_accents=strip_accents,
            min_frequency=min_frequency,
            text_field=text_field,
            workers=workers,
        )


def prepare(
    inputs: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    tokenizer: StrPath,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    language: str = "auto",
    text_field: str = "text",
    held_out: float = 0.005,
    near_duplicates: float | None = None,
    segmenter: Literal["none", "jieba"] = "none",
) -> "Manifest":
    """Turns text into a corpus for pre-training, in the folder `out`; continues if interrupted.

    Args:
        inputs: files, folders, globs or URLs of text; documents are parted by blank lines.
        out: folder to write.
        tokenizer: folder of a tokenizer, or a model.
        workers: processes; None: one a core. The result does not depend on them.
        engine: `ray` uses the cores of a Ray cluster instead; the result is the same.
        ray_address: of the cluster; None: `RAY_ADDRESS`, or this machine's cores.
        language: for sentence splitting, e.g. `en`; `auto` tells by the script.
        text_field: field or column that holds the text, in formats that have some.
        held_out: share of the documents kept for evaluation, at most 0.5.
        near_duplicates: drop documents this similar to an earlier one, e.g. 0.8; None: keep them.
        segmenter: `jieba` marks the words of Chinese text, for whole-word masking.

    Raises:
        DataError: text that cannot be read, or fewer than two documents.
        UsageError: a setting is wrong, or `out` holds something else.

    Example::

        bertsmith.prepare("my-text/", "my-corpus", tokenizer="my-tokenizer", held_out=0.2)
    """
    from bertsmith.core.mirror import written
    from bertsmith.corpus.prepare import prepare as run

    with written(out) as folder:
        return run(
            paths_of(inputs),
            tokenizer=os.fspath(tokenizer),
            out=folder,
            workers=workers,
            engine=engine,
            ray_address=ray_address,
            language=language,
            text_field=text_field,
            held_out=held_out,
            near_duplicates=near_duplicates,
            segmenter=segmenter,
        )


def pretrain(
    corpus: StrPath,
    out: StrPath,
    *,
    model: Literal["bert", "gpt", "elmo"] = "bert",
    size: StrPath | None = None,
    recipe: Literal["paper", "modern"] = "modern",
    steps: int | None = None,
    hours: float | None = None,
    start: StrPath | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    precision: Precision | None = None,
    resume: bool = False,
    replay: StrPath | None = None,
    held_out: StrPath | None = None,
    **settings: Any,
) -> "PretrainResult":
    """Pre-trains a BERT (masked words and next sentences), a GPT or an ELMo into the folder `out`.

    Args:
        corpus: folder written by `prepare`, or several by one tokenizer with weights:
            `wiki=0.7,books=0.3`.
        out: folder of the run and its model.
        model: family.
        size: tiny, mini (default), small, medium, base, large, or a config.json.
        recipe: the paper's settings, or settings for short budgets.
        steps: length of the run in steps; give this or `hours`.
        hours: length of the run on the clock.
        start: model to continue from; its size is taken.
        batch_size: sequences per step.
        learning_rate: highest learning rate.
        seed: decides data order, pairs, masks and initial weights.
        precision: `auto` trains in bf16 where that is faster.
        resume: continue from the newest checkpoint in `out`.
        replay: a run with `hours` whose schedule is repeated exactly.
        held_out: another corpus to evaluate on.
        settings: any other field of `PretrainConfig`, e.g. `phases`, `save_every`.

    Raises:
        UsageError: a setting does not fit the corpus, the folder or the run that is continued.
        DataError: the corpus is too small.
        DivergedError: the loss stopped being finite.
        Stopped: a signal ended the run; a checkpoint was written.

    Example::

        result = bertsmith.pretrain("my-corpus", "my-model", size="tiny", steps=4, batch_size=4)
        print(result.metrics["mlm_loss"])
    """
    from bertsmith.core.mirror import fetched, written
    from bertsmith.pretraining import run as job
    from bertsmith.pretraining.config import PretrainConfig, pretrain_config
    from bertsmith.pretraining.continuing import start_from

    check_names(settings, PretrainConfig.__struct_fields__)
    config = pretrain_config(
        recipe,
        start=None if start is None else start_from(os.fspath(start)),
        data=os.fspath(corpus),
        model=model,
        size=None if size is None else os.fspath(size),
        steps=steps,
        hours=hours,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        precision=precision,
        **settings,
    )
    with written(out) as folder:
        return job.run(
            config,
            folder,
            resume=resume,
            replay=None if replay is None else fetched(os.fspath(replay)),
            held_out=None if held_out is None else fetched(os.fspath(held_out)),
        )
