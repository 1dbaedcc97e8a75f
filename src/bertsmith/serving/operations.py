"""What a served model can do, in the worker process that holds it.

A worker answers one batch after another. A batch is many inputs of one operation with equal
settings; an input that the model refuses does not disturb the others.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch

from bertsmith.core.errors import BertsmithError
from bertsmith.core.runtime import Precision
from bertsmith.inference.inspection import inspect
from bertsmith.inference.predictor import Model
from bertsmith.models.family import Pretrained, generating_model, next_sentence_model
from bertsmith.models.head_config import Level
from bertsmith.pretraining.masking import Vocabulary, mask
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.text.ideographs import is_ideograph
from bertsmith.text.tokenizer import encode
from bertsmith.text.tokenizer.files import MASK


@dataclass(frozen=True)
class Load:
    """The first job of a worker: which model it holds."""

    name: str
    folder: str
    precision: Precision
    cores: int
    """To compute with while the model's other workers are idle."""
    share: int
    """To compute with while they are busy."""


@dataclass(frozen=True)
class Batch:
    """Inputs of one operation."""

    operation: str
    items: list[Any]
    settings: dict[str, Any]
    tokens: int
    """About how many the items have."""
    alone: bool
    """Whether the model's other workers are idle."""


@dataclass(frozen=True)
class Refused:
    """An input that the model cannot answer, and why."""

    message: str


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What a served model is, for `/v1/models` and the playground."""

    id: str
    family: str
    kind: str | None
    """Of a fine-tuned model, its kind of task."""
    labels: list[str]
    objective: str | None
    """Of a pre-trained model, what it predicts."""
    operations: list[str]
    """The paths under `/v1` that answer for it."""
    max_length: int
    """Tokens of the longest input."""
    chinese_share: float
    """Of the vocabulary, the part that is Chinese; the playground shows fitting models first."""


_MANY = 1 << 15
"""Tokens times width from which two cores are faster than one: below, they wait for each other."""


class Loaded:
    """A worker's model."""

    def __init__(self, load: Load) -> None:
        """Raises `BertsmithError` if the model cannot be loaded."""
        self._load = load
        self._model = Model(load.folder, precision=load.precision)
        self.served = _describe(load.name, self._model)

    def answer(self, batch: Batch) -> list[bytes | Refused]:
        """JSON for each input, in order."""
        many = batch.tokens * self._model.config.hidden_size >= _MANY
        cores = self._load.cores if batch.alone and many else self._load.share
        if cores != torch.get_num_threads():
            torch.set_num_threads(cores)
        return self._each(batch.operation, batch.items, batch.settings)

    def _each(
        self, operation: str, items: Sequence[Any], settings: dict[str, Any]
    ) -> list[bytes | Refused]:
        try:
            return list(
                map(msgspec.json.encode, OPERATIONS[operation](self._model, items, settings))
            )
        except BertsmithError as error:
            if len(items) == 1:
                return [Refused(str(error))]
        # One of them is at fault: each for itself.
        return [found for item in items for found in self._each(operation, [item], settings)]


_LOADED: list[Loaded] = []
"""The one model of this process."""


def answer(job: Load | Batch) -> Served | list[bytes | Refused]:
    """A worker's function: loads its model, then answers each batch.

    Raises:
        BertsmithError: the model cannot be loaded.
    """
    if isinstance(job, Load):
        _LOADED[:] = [Loaded(job)]
        return _LOADED[0].served
    return _LOADED[0].answer(job)


def _describe(name: str, model: Model) -> Served:
    network = model.model
    objective = network.objective if isinstance(network, Pretrained) else None
    operations = ["embeddings", "inspect", "tokenize"]
    if model.is_tuned:
        operations.append(TASK_OPERATIONS[kind_named(model.task_config.kind).level])
    if objective is not None:
        operations += ["fill-mask", "log-likelihood"]
    if objective == "masked":
        operations.append("masks")
    if generating_model(network) is not None:
        operations.append("generate")
    if next_sentence_model(network) is not None:
        operations.append("next-sentence")
    return Served(
        id=name,
        family=network.config.family,
        kind=model.task_config.kind if model.is_tuned else None,
        labels=list(model.task_config.labels) if model.is_tuned else [],
        objective=objective,
        operations=sorted(operations),
        max_length=network.config.max_position_embeddings,
        chinese_share=sum(any(map(is_ideograph, piece)) for piece in model.tokenizer.vocab)
        / len(model.tokenizer.vocab),
    )


def _fill_mask(model: Model, texts: Sequence[str], settings: dict[str, Any]) -> list[Any]:
    return [
        model.fill_mask(text, top_k=settings["top_k"], joint=settings["joint"]) for text in texts
    ]


def _next_sentence(
    model: Model, pairs: Sequence[tuple[str, str]], settings: dict[str, Any]
) -> list[Any]:
    return [{"probability": model.next_sentence(*pair)} for pair in pairs]


def _predict(model: Model, inputs: Sequence[Any], settings: dict[str, Any]) -> list[Any]:
    """The answers, each with `truncated` where the end of its text was left out."""
    task_config = model.task_config
    answers = [msgspec.to_builtins(answer) for answer in model.predict(inputs)]
    if (
        task_config.limits.long_texts == "truncate"
        and kind_named(task_config.kind).long_texts != "windows"
    ):
        for answer, item in zip(answers, inputs, strict=True):
            answer["truncated"] = _length(model, item) > task_config.limits.max_length
    else:
        for answer in answers:
            answer["truncated"] = False
    return answers


def _length(model: Model, item: Any) -> int:
    match item:
        case str():
            return len(encode.single(model.tokenizer, item).ids)
        case (a, *others):
            longest = max(len(model.tokenizer.encode(text).ids) for text in others)
            return 3 + len(model.tokenizer.encode(a).ids) + longest
    raise TypeError(type(item))


def _embeddings(model: Model, texts: Sequence[str], settings: dict[str, Any]) -> list[Any]:
    vectors = model.embed(texts, prompt=settings["prompt"], normalize=settings["normalize"])
    if settings["encoding_format"] == "base64":
        return [b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
    rows: list[Any] = vectors.tolist()
    return rows


def _log_likelihood(model: Model, texts: Sequence[str], settings: dict[str, Any]) -> list[Any]:
    return list(model.log_likelihood(texts))


def _generate(model: Model, texts: Sequence[str], settings: dict[str, Any]) -> list[Any]:
    return [model.generate(text, **settings) for text in texts]


def _tokenize(model: Model, texts: Sequence[str], settings: dict[str, Any]) -> list[Any]:
    found = []
    for text in texts:
        built = encode.single(model.tokenizer, text, allow_special=True)
        found.append(
            {
                "tokens": model.tokenizer.tokens(built.ids),
                "ids": built.ids,
                "offsets": built.offsets,
            }
        )
    return found


def _inspect(
    model: Model, pairs: Sequence[tuple[str, str | None]], settings: dict[str, Any]
) -> list[Any]:
    return [
        inspect(
            model.model,
            model.tokenizer,
            text,
            text_b,
            name=model.name,
            family=model.model.config.family,
            top_k=settings["top_k"],
        )
        for text, text_b in pairs
    ]


def _masks(
    model: Model, pairs: Sequence[tuple[str, str | None]], settings: dict[str, Any]
) -> list[Any]:
    """Each token, what the model would see in its place, and how it is hidden."""
    tokenizer, found = model.tokenizer, []
    for text, text_b in pairs:
        a, b = tokenizer.encode(text).ids, None if text_b is None else tokenizer.encode(text_b).ids
        ids, _ = encode.join(tokenizer.cls_id, tokenizer.sep_id, a, b)
        seen_T, masked_P, _ = mask(
            np.array(ids),
            np.array([len(ids)]),
            np.array([settings["seed"]], dtype=np.uint64),
            share=settings["share"],
            vocabulary=Vocabulary.of(tokenizer),
        )
        chosen = set(masked_P.tolist())
        names, seen = tokenizer.tokens(ids), tokenizer.tokens(seen_T.tolist())
        found.append(
            {
                "tokens": [
                    {
                        "token": name,
                        "seen": shown,
                        "how": _how(name, shown) if place in chosen else None,
                    }
                    for place, (name, shown) in enumerate(zip(names, seen, strict=True))
                ]
            }
        )
    return found


def _how(token: str, seen: str) -> str:
    if seen == MASK:
        return "masked"
    return "kept" if seen == token else "random"


Operation = Callable[[Model, Sequence[Any], dict[str, Any]], list[Any]]

OPERATIONS: dict[str, Operation] = {
    "fill-mask": _fill_mask,
    "next-sentence": _next_sentence,
    "classify": _predict,
    "multiple-choice": _predict,
    "tokens": _predict,
    "answer": _predict,
    "embeddings": _embeddings,
    "log-likelihood": _log_likelihood,
    "generate": _generate,
    "tokenize": _tokenize,
    "inspect": _inspect,
    "masks": _masks,
}
"""By their paths under `/v1`."""

TASK_OPERATIONS: dict[Level, str] = {
    "text": "classify",
    "choice": "multiple-choice",
    "token": "tokens",
    "span": "answer",
}
"""Which of them a fine-tuned model answers, by what its output layer gives scores to."""
