"""From a pre-trained model to answers: `load`, `finetune`, `evaluate`, `compare`.

Thin functions with typed keywords; jobs are imported when they are called.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.api.arguments import Precision, StrPath, as_file, check_names, columns_of
from bertsmith.core.runtime import PageLanguage

if TYPE_CHECKING:
    from bertsmith.comparison.result import Compared
    from bertsmith.finetuning.result import FinetuneResult
    from bertsmith.inference.evaluation import CorpusScores, Evaluation
    from bertsmith.inference.predictor import Model
    from bertsmith.text.tables import Table

Backend = Literal["auto", "torch", "onnx", "openvino"]


def load(
    model: StrPath,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    backend: Backend | None = None,
) -> "Model":
    """Loads a pre-trained or fine-tuned model, ready to answer.

    Args:
        model: a folder, `tiny-en`, `tiny-zh`, `minilm`, or a name of the Hugging Face hub.
        device: `cpu`, `cuda`, `cuda:1`; `auto` takes a GPU where there is one.
        precision: `fp32` (also `auto`), or `bf16`: faster where the hardware has it, and answers
            change slightly.
        backend: what computes predictions, vectors and masks: `torch`, `onnx` or `openvino`; `auto`
            measures which is the fastest here, in bf16 too unless `precision` is `fp32`; None:
            torch, and of an exported model the runtime that it was exported to.

    Raises:
        UsageError: there is no such model or device, or the backend cannot compute it.
        FolderError: the folder is damaged.
        MissingExtra: the backend is not installed.

    Example::

        model = bertsmith.load("tiny-en")
        found = model.fill_mask("The capital of France is [MASK].", top_k=3)
        print(found.blanks[0].candidates[0].token)
    """
    from bertsmith.inference.predictor import Model

    return Model(model, device=device, precision=precision, backend=backend)


def finetune(
    task: str,
    *,
    out: StrPath,
    model: StrPath | None = None,
    size: str | None = None,
    tokenizer: StrPath | None = None,
    vocab_size: int | None = None,
    initial_weights: Literal["structured", "paper"] | None = None,
    train: "StrPath | Table | None" = None,
    dev: "StrPath | Table | None" = None,
    data: StrPath | None = None,
    text: str = "text",
    text_pair: str | None = None,
    label: str = "label",
    label_separator: str | None = None,
    choices: str | Sequence[str] = (),
    words: str = "words",
    tags: str = "tags",
    question: str = "question",
    context: str = "context",
    answer: str = "answer",
    skip_bad: bool = False,
    merge_labels: bool = False,
    strict_tags: bool = False,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    seeds: int = 1,
    sweep: bool = False,
    precision: Precision | None = None,
    resume: bool = False,
    show: Callable[[str], object] | None = None,
    language: PageLanguage | None = None,
    **settings: Any,
) -> "FinetuneResult":
    """Fine-tunes a model on labelled data and writes the best one, with a report, to `out`.

    Args:
        task: with `train` the kind of task: `classification`, `multi-label`, `regression`,
            `multiple-choice`, `token-classification` or `question-answering`; or a task of the
            paper (`mrpc`, `squad`, `conll2003`, ...) with `data`.
        out: folder to write.
        model: a pre-trained model: a folder, `tiny-en`, `minilm`, or a name of the hub.
        size: instead of `model`, a BERT without pre-training: `tiny`, `mini`, ..., or a
            `config.json`.
        tokenizer: of `size`: a folder or a name; None: one is trained on the training texts.
        vocab_size: of `size`: most pieces of the tokenizer that is trained.
        initial_weights: of `size`: `structured` (also None) or the `paper`'s.
        train: a file (.csv .tsv .jsonl .parquet, CoNLL columns, SQuAD's .json), a list of dicts, a
            dict of columns, or a table of pandas, polars, pyarrow or datasets.
        dev: the same, to evaluate on; None: a tenth of `train` is put aside.
        data: folder of a paper task's official files.
        text: column of the text.
        text_pair: column of the second text, for pairs.
        label: column of the class, the number, the right choice, or several labels.
        label_separator: what is between several labels in one text; None: they are lists.
        choices: columns of the choices, or one column of lists.
        words: column of the words, for `token-classification`.
        tags: column of their tags, for `token-classification`.
        question: column of the question, for `question-answering`.
        context: column of the context, for `question-answering`.
        answer: column of the answer's text, for `question-answering`.
        skip_bad: leave out rows that cannot be used, instead of refusing the file.
        merge_labels: make one label of those that differ in their spelling only.
        strict_tags: refuse tags that their scheme does not allow where they are.
        epochs: passes over the training data.
        batch_size: examples per step.
        learning_rate: highest learning rate.
        seed: of the first run.
        seeds: runs that differ in their seed only.
        sweep: try a grid of rates, batch sizes and epochs first.
        precision: `auto` trains in bf16 where that is faster.
        resume: continue an interrupted fine-tuning in `out`.
        show: gets each note on the data; None prints them on standard error.
        language: language of the report, `en` or `zh`; None: that of the locale.
        settings: any other field of `FinetuneConfig`, e.g. `dropout`, `patience`, `max_length`.

    Raises:
        UsageError: a setting does not fit the task or the model.
        DataError: the data cannot be read, or nothing can be learned from it.
        FolderError: the model is damaged.

    Example::

        texts = [f"Film {n} is {word}." for n in range(20) for word in ("good", "bad")]
        reviews = pandas.DataFrame({"review": texts, "stars": [5, 1] * 20})
        bertsmith.finetune(
            "classification", train=reviews, text="review", label="stars",
            model="my-model", out="reviews", epochs=1,
        )
        print(bertsmith.load("reviews").predict("A good film.").label)
    """
    from bertsmith.core.mirror import written
    from bertsmith.finetuning.config import FinetuneConfig
    from bertsmith.finetuning.data import Source
    from bertsmith.finetuning.job import Job
    from bertsmith.finetuning.job import finetune as run
    from bertsmith.finetuning.origin import model_or_size

    check_names(settings, FinetuneConfig.__struct_fields__)
    steps = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    given = settings | steps | {"seed": seed, "precision": precision}
    texts = {"text": text, "text_pair": text_pair, "choices": choices, "words": words}
    labels = {"label": label, "label_separator": label_separator, "tags": tags}
    asked = {"question": question, "context": context, "answer": answer}
    columns = columns_of(**texts, **labels, **asked)
    with (
        as_file(train, "train") as train_file,
        as_file(dev, "dev") as dev_file,
        written(out) as folder,
    ):
        source = Source(
            task=task,
            data=None if data is None else os.fspath(data),
            train=train_file,
            dev=dev_file,
            columns=columns,
            skip_bad=skip_bad,
            merge_labels=merge_labels,
            strict_tags=strict_tags,
        )
        job = Job(
            source=source,
            model=model_or_size(
                model,
                size,
                tokenizer=tokenizer,
                vocab_size=vocab_size,
                initial_weights=initial_weights,
            ),
            seeds=seeds,
            sweep=sweep,
            settings={name: value for name, value in given.items() if value is not None},
        )
        return run(job, folder, resume=resume, show=show, language=language)


def evaluate(
    model: "StrPath | Model",
    data: "StrPath | Table",
    *,
    skip_bad: bool = False,
    **columns: Any,
) -> "Evaluation | CorpusScores":
    """Scores a fine-tuned model on labelled data, or a pre-trained one on a corpus.

    Args:
        model: the model, or what `load` takes.
        data: a labelled file or table, a folder of official files, or a corpus of `prepare`.
        skip_bad: leave out rows that cannot be used, instead of refusing the file.
        columns: names of columns as in `finetune` (`text=`, `label=`, ...); by default those of the
            fine-tuning.

    Raises:
        UsageError: the model and the data do not go together.
        DataError: the data has no labels, or one that the model does not know.

    Example::

        found = bertsmith.evaluate("reviews", [{"review": "A good film.", "stars": 5}])
        print(found.parts["data.jsonl"].scores["accuracy"])
    """
    from bertsmith.inference.evaluation import evaluate as score
    from bertsmith.inference.predictor import Model

    loaded = model if isinstance(model, Model) else Model(model)
    chosen = columns_of(**columns) if columns else None
    with as_file(data, "data") as path:
        return score(loaded, path or "", columns=chosen, skip_bad=skip_bad)


def compare(
    corpus: StrPath,
    out: StrPath,
    *,
    tasks: Sequence[str],
    data: StrPath,
    models: Sequence[str] = ("bert", "gpt", "elmo"),
    ablations: Sequence[str] = (),
    hours: float | None = None,
    budget: str = "",
    seeds: int = 3,
    size: str = "mini",
    resume: bool = False,
    engine: Literal["local", "ray"] = "local",
    language: PageLanguage | None = None,
    **settings: Any,
) -> "Compared":
    """Pre-trains and fine-tunes BERT, GPT and ELMo under one budget, and compares them in a report.

    Args:
        corpus: folder written by `prepare`, from which all of them learn.
        out: folder of the comparison.
        tasks: tasks of the paper, e.g. `("mrpc", "rte")`.
        data: folder of their official files.
        models: families to compare.
        ablations: variants of the BERT to add.
        hours: for everything; this or `budget` (2 hours if neither).
        budget: of each pre-training, e.g. `tokens=5e6`.
        seeds: fine-tunings of each model on each task.
        size: the BERT's preset, which the others match.
        resume: continue the comparison in `out`.
        engine: `ray` runs on the machines of a Ray cluster.
        language: language of the report, `en` or `zh`; None: that of the locale.
        settings: any other field of the plan, e.g. `epochs`, `minimal_pairs`.

    Raises:
        UsageError: a setting does not fit.
        DataError: the corpus or a task's files cannot be read.

    Example::

        compared = bertsmith.compare(
            "my-corpus", "comparison", tasks=("mrpc",), data="glue", budget="tokens=5e6"
        )
    """
    from bertsmith.comparison.job import compare as run
    from bertsmith.comparison.plan import HOURS, Plan
    from bertsmith.core.mirror import fetched, written

    check_names(settings, Plan.__struct_fields__)
    plan = Plan(
        corpus=str(fetched(os.fspath(corpus))),
        tasks=tuple(tasks),
        data=str(fetched(os.fspath(data))),
        models=tuple(models),
        ablations=tuple(ablations),
        hours=HOURS if hours is None and not budget else hours,
        budget=budget,
        seeds=seeds,
        size=size,
        **settings,
    )
    with written(out) as folder:
        return run(plan, folder, resume=resume, engine=engine, language=language)
