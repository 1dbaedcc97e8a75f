"""The one table between Google's parameter names (TensorFlow 1) and those of a model folder.

Used both ways. A row names one parameter; `{i}` is the layer. A `kernel` is stored the other way
round: [in, out] there, [out, in] here.
"""

import re
from collections.abc import Iterable

from torch import Tensor

_THEIRS, _OURS = "bert/encoder/layer_{i}", "bert.encoder.layer.{i}"


def _dense(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [(f"{theirs}/kernel", f"{ours}.weight"), (f"{theirs}/bias", f"{ours}.bias")]


def _norm(theirs: str, ours: str) -> list[tuple[str, str]]:
    theirs, ours = f"{theirs}/LayerNorm", f"{ours}.LayerNorm"
    return [(f"{theirs}/gamma", f"{ours}.weight"), (f"{theirs}/beta", f"{ours}.bias")]


def _output(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Google's scripts multiply by the transpose, so these have the shape they have here."""
    return [(f"{theirs}output_weights", f"{ours}.weight"), (f"{theirs}output_bias", f"{ours}.bias")]


WORDS = "bert/embeddings/word_embeddings"
CLASSIFIER, SPAN = "output_weights", "cls/squad/output_weights"
"""Of Google's run_classifier.py and run_squad.py."""

TABLE: list[tuple[str, str]] = [
    (WORDS, "bert.embeddings.word_embeddings.weight"),
    ("bert/embeddings/position_embeddings", "bert.embeddings.position_embeddings.weight"),
    ("bert/embeddings/token_type_embeddings", "bert.embeddings.token_type_embeddings.weight"),
    *_norm("bert/embeddings", "bert.embeddings"),
    *(
        row
        for part in ("query", "key", "value")
        for row in _dense(f"{_THEIRS}/attention/self/{part}", f"{_OURS}.attention.self.{part}")
    ),
    *_dense(f"{_THEIRS}/attention/output/dense", f"{_OURS}.attention.output.dense"),
    *_norm(f"{_THEIRS}/attention/output", f"{_OURS}.attention.output"),
    *_dense(f"{_THEIRS}/intermediate/dense", f"{_OURS}.intermediate.dense"),
    *_dense(f"{_THEIRS}/output/dense", f"{_OURS}.output.dense"),
    *_norm(f"{_THEIRS}/output", f"{_OURS}.output"),
    *_dense("bert/pooler/dense", "bert.pooler.dense"),
    *_dense("cls/predictions/transform/dense", "cls.predictions.transform.dense"),
    *_norm("cls/predictions/transform", "cls.predictions.transform"),
    ("cls/predictions/output_bias", "cls.predictions.bias"),
    *_output("cls/seq_relationship/", "cls.seq_relationship"),
    *_output("", "classifier"),
    *_output("cls/squad/", "qa_outputs"),
]
_TO_OURS = dict(TABLE)
_TO_THEIRS = {ours: theirs for theirs, ours in TABLE}
_THEIR_LAYER = re.compile(r"(?<=^bert/encoder/layer_)(\d+)(?=/)")
_OUR_LAYER = re.compile(r"(?<=^bert\.encoder\.layer\.)(\d+)(?=\.)")
# What TensorFlow's and Google's optimizers keep beside a parameter, and numbers of the run.
_SLOT = re.compile(
    r".*/(?:adam_[mv]|Adam(?:_1)?|lamb_[mv]|Momentum|ExponentialMovingAverage)(?:_\d+)?|"
    r"(?:.*/)?(?:global_step|beta[12]_power(?:_\d+)?|(?:current_)?loss_scale|good_steps)"
)
_ANCHOR = re.compile(rf"(.*?){WORDS}")


def is_of_training(name: str) -> bool:
    """Whether a name is an optimizer's slot or a number of the run, which no model needs."""
    return bool(_SLOT.fullmatch(name))


def without_scope(names: Iterable[str]) -> dict[str, str]:
    """Each name without the scope before `bert/` -> the name itself.

    A program may wrap the model in one (`module/bert/...`), which then stands before the heads too.
    """
    names = list(names)
    scopes = {match[1] for name in names if (match := _ANCHOR.fullmatch(name))}
    scope = "" if "" in scopes else min(scopes, default="")
    return {name.removeprefix(scope): name for name in names}


def to_ours(name: str) -> str | None:
    """The name in a model folder of Google's parameter; None where there is none."""
    return _renamed(name, _TO_OURS, _THEIR_LAYER)


def to_theirs(name: str) -> str | None:
    """Google's name of a model folder's parameter; None where there is none."""
    return _renamed(name, _TO_THEIRS, _OUR_LAYER)


def _renamed(name: str, table: dict[str, str], layer: re.Pattern[str]) -> str | None:
    number = layer.search(name)
    if number is None:
        return table.get(name) if "{i}" not in name else None
    # `layer_07` would be a second name of layer 7.
    if number[0] != str(int(number[0][:9])):
        return None
    found = table.get(layer.sub("{i}", name, count=1))
    return None if found is None else found.replace("{i}", number[0])


def turned(their_name: str, tensor: Tensor) -> Tensor:
    """The tensor as the other side stores it; its own inverse."""
    return tensor.mT.contiguous() if their_name.endswith("/kernel") else tensor
