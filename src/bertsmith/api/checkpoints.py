"""Models between programs and domains: `convert`, `export`, `extend_tokenizer`.

Thin functions with typed keywords; jobs are imported when they are called.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.api.arguments import StrPath, as_file, columns_of, paths_of

if TYPE_CHECKING:
    from bertsmith.checkpoints.convert import Conversion
    from bertsmith.checkpoints.extend import Extended
    from bertsmith.inference.export.job import Exported
    from bertsmith.text.tables import Table


def convert(
    source: StrPath,
    dest: StrPath,
    *,
    to: Literal["transformers", "tensorflow-npz", "elmo"] = "transformers",
    dtype: Literal["fp32", "fp16", "bf16"] = "fp32",
    tokenizer: StrPath | None = None,
    allow_pickle: bool = False,
    dry_run: bool = False,
) -> "Conversion":
    """Converts a checkpoint of another program to a model folder, or a model folder to theirs.

    Args:
        source: a folder of Google's BERT (TensorFlow 1 or `.npz`), `transformers`,
            sentence-transformers, a published ELMo or OpenAI's GPT; or a model's name.
        dest: a new folder.
        to: the layout to write.
        dtype: of the stored weights.
        tokenizer: a tokenizer's folder, for a source that has none.
        allow_pickle: read `pytorch_model.bin`, through torch's weights-only loader.
        dry_run: only report what maps to what.

    Raises:
        UsageError: `dest` exists, or the source is of no known layout.
        FolderError: the source is damaged, or `dtype` is too small for the weights.

    Example::

        done = bertsmith.convert("tiny-en", "my-npz", to="tensorflow-npz")
        print(done.files)
    """
    from bertsmith.checkpoints.convert import convert as convert_checkpoint

    return convert_checkpoint(
        os.fspath(source),
        os.fspath(dest),
        to=to,
        dtype=dtype,
        tokenizer=None if tokenizer is None else os.fspath(tokenizer),
        allow_pickle=allow_pickle,
        dry_run=dry_run,
    )


def export(
    model: StrPath,
    out: StrPath,
    *,
    to: Literal["onnx", "openvino"] = "onnx",
    head: Literal["own", "embedding"] = "own",
    pooling: Literal["mean", "cls"] = "mean",
    layers: Sequence[int] = (-1,),
    int8: bool = False,
    calibration_data: "StrPath | Table | None" = None,
    dev: "StrPath | Table | None" = None,
    max_loss: float = 0.5,
    show: Callable[[str], object] = print,
    **columns: Any,
) -> "Exported":
    """Exports a BERT for ONNX Runtime or OpenVINO, checked against the model; `load` takes it.

    Args:
        model: a folder or a name, as `load` takes it.
        out: a new folder.
        to: `onnx`, which both runtimes read, or `openvino`, that one's own format.
        head: `own`: the outputs of the model's heads; `embedding`: vectors of texts.
        pooling: of vectors.
        layers: of vectors: layers to average; 0 the embeddings, -1 the last.
        int8: compute the large products in int8.
        calibration_data: with `int8`: a file or table of texts like those that the model will read.
        dev: labelled file or table, or a folder of official files, to score before and after.
        max_loss: points that the score may fall, in percent of the metric.
        show: gets a line about each step that takes long.
        columns: names of columns as in `finetune`; by default those of the fine-tuning.

    Raises:
        UsageError: `out` exists, the model cannot be exported, or int8 costs more than `max_loss`.
        FolderError: the model is damaged.
        MissingExtra: a package is not installed.

    Example::

        done = bertsmith.export("tiny-en", "tiny-onnx")
        print(bertsmith.load("tiny-onnx").fill_mask("A [MASK].").blanks[0].candidates[0].token)
    """
    from bertsmith.core.mirror import written
    from bertsmith.inference.export.job import Request
    from bertsmith.inference.export.job import export as run
    from bertsmith.inference.predictor import Model

    with (
        as_file(calibration_data, "calibration_data") as texts,
        as_file(dev, "dev") as dev_file,
        written(out) as folder,
    ):
        request = Request(
            to=to,
            head=head,
            pooling=pooling,
            layers=tuple(layers),
            int8=int8,
            calibration_data=texts,
            dev=dev_file,
            max_loss=max_loss,
            columns=columns_of(**columns) if columns else None,
        )
        return run(Model(model, device="cpu"), folder, request, show=show)


def extend_tokenizer(
    model: StrPath,
    inputs: StrPath | Sequence[StrPath],
    out: StrPath,
    *,
    size: int = 1000,
    min_frequency: int = 5,
    text_field: str = "text",
    workers: int = 1,
) -> "Extended":
    """Adds the words of a domain to a BERT's vocabulary; writes the larger model to `out`.

    Each new word starts as the mean of the pieces that stood for it; continue pre-training on the
    same text.

    Args:
        model: a BERT's folder or name.
        inputs: files, folders, globs or URLs of text.
        out: a new folder.
        size: words to add at most: those that save the most tokens.
        min_frequency: how often a word must occur.
        text_field: field or column that holds the text, in formats that have some.
        workers: processes; the result does not depend on them.

    Raises:
        DataError: text that cannot be read.
        UsageError: not a BERT, a setting out of range, or nothing to add.

    Example::

        done = bertsmith.extend_tokenizer("tiny-en", "my-text/", "my-larger-model", size=20)
        print(done.tokens_before, done.tokens_after)
    """
    from bertsmith.checkpoints.extend import extend_tokenizer as extend
    from bertsmith.core.mirror import written

    with written(out) as folder:
        return extend(
            os.fspath(model),
            paths_of(inputs),
            out=folder,
            size=size,
            min_frequency=min_frequency,
            text_field=text_field,
            workers=workers,
        )
