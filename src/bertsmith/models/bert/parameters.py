"""The one table between a BERT's parameter names here and in `transformers`, used both ways.

A row names one kind of parameter. `{i}` is the layer. Where theirs are several, ours is their
concatenation along the first axis (queries, keys and values come from one product here).
The functions serve other models' tables too (`gpt_keys`).
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from bertsmith.core.errors import FolderError, nearest

Row = tuple[str, tuple[str, ...]]


def with_bias(ours: str, *theirs: str) -> list[Row]:
    """The rows of a layer's weight and bias."""
    return [
        (f"{ours}.{part}", tuple(f"{name}.{part}" for name in theirs))
        for part in ("weight", "bias")
    ]


LSTM_LAYERS = 2
LSTM_NAMES = [
    f"lstm.{kind}_l{layer}{way}"
    for layer in range(LSTM_LAYERS)
    for way in ("", "_reverse")
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
]

_LAYER = "bert.encoder.layer.{i}"

ENCODER: list[Row] = [
    ("bert.embeddings.word.weight", ("bert.embeddings.word_embeddings.weight",)),
    ("bert.embeddings.position.weight", ("bert.embeddings.position_embeddings.weight",)),
    ("bert.embeddings.segment.weight", ("bert.embeddings.token_type_embeddings.weight",)),
    *with_bias("bert.embeddings.norm", "bert.embeddings.LayerNorm"),
    *with_bias(
        "bert.blocks.{i}.attention.qkv",
        *(f"{_LAYER}.attention.self.{name}" for name in ("query", "key", "value")),
    ),
    *with_bias("bert.blocks.{i}.attention.output", f"{_LAYER}.attention.output.dense"),
    *with_bias("bert.blocks.{i}.attention_norm", f"{_LAYER}.attention.output.LayerNorm"),
    *with_bias("bert.blocks.{i}.feed_forward.inner", f"{_LAYER}.intermediate.dense"),
    *with_bias("bert.blocks.{i}.feed_forward.output", f"{_LAYER}.output.dense"),
    *with_bias("bert.blocks.{i}.feed_forward_norm", f"{_LAYER}.output.LayerNorm"),
]
POOLER: list[Row] = with_bias("pooler.dense", "bert.pooler.dense")
MLM: list[Row] = [
    *with_bias("mlm.dense", "cls.predictions.transform.dense"),
    *with_bias("mlm.norm", "cls.predictions.transform.LayerNorm"),
    ("mlm.bias_V", ("cls.predictions.bias",)),
]
NEXT_SENTENCE: list[Row] = with_bias("next_sentence", "cls.seq_relationship")

TASK: list[Row] = [
    *with_bias("classifier", "classifier"),
    *with_bias("span", "qa_outputs"),
    # The heads with an LSTM are ours alone, and so are their names.
    *((f"features.{name}", (f"features.{name}",)) for name in LSTM_NAMES),
    ("features.mix", ("features.mix",)),
    *((f"bilstm.{name}", (f"bilstm.{name}",)) for name in LSTM_NAMES if "_l0" in name),
]

ALL: list[Row] = [*ENCODER, *POOLER, *MLM, *NEXT_SENTENCE, *TASK]
NAMES = frozenset(name for _, names in ALL for name in names)
"""Theirs; of layers with `{i}`."""

# Written by some versions beside the parameters they repeat, or instead of them.
REPEATED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_BUFFERS = {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}
_BARE = ("embeddings.", "encoder.", "pooler.")
# Before it stands what a wrapper adds to every name: `module.`, `model.`, `_orig_mod.`, ...
_ANCHOR = re.compile(r"(.*?)(?:bert\.)?embeddings\.word_embeddings\.weight")


def to_theirs(ours: dict[str, Tensor], *, layers: int, table: list[Row] = ALL) -> dict[str, Tensor]:
    """Our state under the names of `transformers`; every tensor is contiguous and on the CPU.

    Raises:
        KeyError: a parameter of ours stands in no row.
    """
    theirs: dict[str, Tensor] = {}
    left = dict(ours)
    for our_name, their_names in _expand(table, layers):
        if our_name in left:
            pieces = on_cpu(left.pop(our_name)).chunk(len(their_names))
            for name, piece in zip(their_names, pieces, strict=True):
                theirs[name] = piece.contiguous()
    if left:
        raise KeyError(f"no row in the key table for {sorted(left)}")
    return theirs


def on_cpu(tensor: Tensor) -> Tensor:
    """The tensor on the CPU; one without data (on `meta`) stays as it is."""
    return tensor.detach() if tensor.is_meta else tensor.detach().cpu()


def to_ours(theirs: dict[str, Tensor], *, layers: int, source: str) -> dict[str, Tensor]:
    """The state of a folder under our names; parts that the folder lacks are absent.

    Accepts the names that `names_in_file` does.

    Raises:
        FolderError: a parameter is half there or left over, or a repeated one differs.
    """
    names = names_in_file(theirs, source)
    left = {name: theirs[called] for name, called in names.items()}
    left = without_repeated(left, REPEATED, names, source=source, model="BERT")
    return renamed(left, ALL, layers=layers, source=source, model="BERT")


def without_repeated(
    theirs: dict[str, Tensor],
    repeated: Mapping[str, str],
    names: Mapping[str, str],
    *,
    source: str,
    model: str,
) -> dict[str, Tensor]:
    """The tensors without those that repeat another one; `names` are those of the file.

    Raises:
        FolderError: one that should repeat another differs from it.
    """
    for copy, original in repeated.items():
        if copy not in theirs or original not in theirs:
            continue
        if not torch.equal(theirs[copy], theirs[original]):
            raise FolderError(
                f"{source}: {names[copy]} differs from {names[original]}; bertsmith's {model} "
                "shares the two, as the paper's does, so this model cannot be loaded unchanged."
            )
    return {
        name: value
        for name, value in theirs.items()
        if name not in repeated or repeated[name] not in theirs
    }


def renamed(
    theirs: dict[str, Tensor], table: list[Row], *, layers: int, source: str, model: str
) -> dict[str, Tensor]:
    """The tensors under our names; parts that are not there are absent.

    Raises:
        FolderError: a parameter is half there, or one has no row; `source` and `model` are named.
    """
    left = dict(theirs)
    ours: dict[str, Tensor] = {}
    for our_name, their_names in _expand(table, layers):
        present = [name for name in their_names if name in left]
        if not present:
            continue
        if len(present) != len(their_names):
            lost = sorted(set(their_names) - set(present))
            raise FolderError(f"{source}: {', '.join(lost)} is missing; the file is incomplete.")
        ours[our_name] = torch.cat([left.pop(name) for name in their_names])
    if left:
        first = min(left)
        known = [name for _, names in _expand(table, layers) for name in names]
        raise FolderError(
            f"{source}: {len(left)} tensors have no place in a {model} of {layers} layers, the "
            f"first is {first}{nearest(first, known)}; check that config.json belongs to these "
            "weights."
        )
    return ours


def _expand(rows: list[Row], layers: int) -> list[Row]:
    expanded: list[Row] = []
    for ours, theirs in rows:
        numbers = range(layers) if "{i}" in ours else range(1)
        expanded += [
            (ours.replace("{i}", str(i)), tuple(name.replace("{i}", str(i)) for name in theirs))
            for i in numbers
        ]
    return expanded


def names_in_file(names: Iterable[str], source: str) -> dict[str, str]:
    """Today's name of each parameter in a BERT's file -> its name there.

    Known are a bare encoder (names without `bert.`), the `gamma` and `beta` of old releases, what a
    wrapper puts before every name, and a copy that stands there instead of its original. Position
    ids are left out.

    Raises:
        FolderError: there are several encoders, or two names for one parameter.
    """
    found: dict[str, str] = {}
    for name, called in unwrapped(names, _ANCHOR, source).items():
        name = f"bert.{name}" if name.startswith(_BARE) else name
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if name in found:
            raise twice(source, found[name], called)
        if name not in _BUFFERS:
            found[name] = called
    return with_originals(found, REPEATED)


def with_originals(names: dict[str, str], repeated: Mapping[str, str]) -> dict[str, str]:
    """`names`, where a copy whose original is missing stands in its place."""
    instead = {copy: name for copy, name in repeated.items() if name not in names}
    return {instead.get(name, name): called for name, called in names.items()}


def unwrapped(names: Iterable[str], anchor: re.Pattern[str], source: str) -> dict[str, str]:
    """Each name without what a wrapper put before it -> the name itself.

    The part of the name before that of the word embeddings, `anchor`, is the wrapper's. (Under
    DataParallel it is `module.`, under Lightning `model.`, after `torch.compile` `_orig_mod.`.)

    Raises:
        FolderError: there are several encoders, or two names for one parameter.
    """
    names = list(names)
    prefixes = {match[1] for name in names if (match := anchor.fullmatch(name))}
    if len(prefixes) > 1 and "" not in prefixes:
        raise FolderError(
            f"{source} holds {len(prefixes)} encoders, with names that begin with "
            f"{', '.join(sorted(prefixes))}; expected one. Save the encoder that you need alone."
        )
    prefix = "" if "" in prefixes else next(iter(prefixes), "")
    found: dict[str, str] = {}
    for called in names:
        name = called.removeprefix(prefix)
        if name in found:
            raise twice(source, found[name], called)
        found[name] = called
    return found


def twice(source: str, first: str, second: str) -> FolderError:
    """The error for two tensors that are the same parameter."""
    return FolderError(
        f"{source}: {first} and {second} are the same parameter; save the model again with one."
    )
