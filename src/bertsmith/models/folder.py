"""A model folder: what `transformers` loads unchanged, and what it writes for BERT, loaded here.

config.json  model.safetensors  vocab.txt  tokenizer.json  tokenizer_config.json  README.md
"""

import errno
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bertsmith.config import Kind
from bertsmith.errors import FolderError, explain_os_error
from bertsmith.files import atomic_path, read_json, write_bytes, write_json
from bertsmith.models.bert import Bert
from bertsmith.models.heads import BertForPretraining
from bertsmith.models.keys import to_ours, to_theirs
from bertsmith.models.tuned import ARCHITECTURES, FEATURE_BASED, BertForTask, FeatureBased
from bertsmith.shapes import BertConfig, bert_config_from_keys
from bertsmith.text.tokenizer import Tokenizer

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_HEADS = ("mlm.", "pooler.", "next_sentence.")

Model = BertForPretraining | BertForTask


def save_model(folder: Path, model: Model, tokenizer: Tokenizer, *, card: str) -> None:
    """Writes the model, its tokenizer and `card` (a README.md in Markdown) into `folder`.

    Each file is whole or absent, and `config.json` comes last.

    Raises:
        SystemFault: the disk is full or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = to_theirs(model.state_dict(), layers=model.config.num_hidden_layers)
    save_tensors(folder / WEIGHTS, state, {"format": "pt"})
    tokenizer.save(folder, model_max_length=model.config.max_position_embeddings)
    write_bytes(folder / "README.md", card.encode())
    keys: dict[str, Any] = {"model_type": "bert", "dtype": "float32"}
    write_json(folder / CONFIG, model.config_keys | keys | msgspec.structs.asdict(model.config))


def load_config(folder: Path) -> BertConfig:
    """The shape of the model in `folder`.

    Raises:
        FolderError: not a model folder, or its config.json is damaged.
        UsageError: the config describes something that is not computed here.
    """
    return bert_config_from_keys(_read_keys(folder), str(folder / CONFIG))


def _read_keys(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder; give the folder of a model.")
    if not (folder / CONFIG).is_file():
        hint = "give the folder of a model, with config.json and model.safetensors in it"
        newest = max(folder.glob("checkpoints/step-*"), default=None)
        if newest is not None:
            hint = f"the run has not finished: its newest checkpoint is {newest}"
        raise FolderError(f"{folder} holds no {CONFIG}; {hint}.")
    return read_json(folder / CONFIG, dict[str, Any])


def load_pretraining(
    folder: Path, *, pair_task: bool | None = None, fresh_heads: bool = False
) -> tuple[BertForPretraining, list[str]]:
    """The pre-training model in `folder`, in fp32 on the CPU, in evaluation mode.

    Args:
        folder: written by bertsmith or by `transformers`.
        pair_task: whether to build the next-sentence head; None: if the folder has one.
        fresh_heads: draw heads that the folder lacks anew instead of refusing.

    Returns:
        The model, and the names of the heads that were drawn anew.

    Raises:
        FolderError: weights are missing, damaged or of another shape than config.json says.
    """
    config, state = load_config(folder), _read_state(folder)
    if pair_task is None:
        pair_task = "next_sentence.weight" in state
    left_out: tuple[str, ...] = ("classifier.", "span.", "features.")
    if not pair_task:
        left_out += ("pooler.", "next_sentence.")
    state = {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}
    model = BertForPretraining(config, pair_task=pair_task)
    missing = _fill(model, state, folder / WEIGHTS)
    lost = [name for name in missing if not (fresh_heads and name.startswith(_HEADS))]
    if lost:
        raise FolderError(
            f"{folder / WEIGHTS} lacks {len(lost)} tensors that a pre-trained BERT has, the first "
            f"is {lost[0]}; the folder holds another kind of model."
        )
    return model.eval(), sorted({name.split(".")[0] for name in missing})


def load_encoder(folder: Path, model: BertForTask) -> list[str]:
    """Puts the encoder (and pooler) of any model folder under a task's new output layer.

    Returns:
        The names of the parts that the folder lacks and that keep their fresh weights.

    Raises:
        FolderError: the encoder is missing, damaged or of another shape.
    """
    parts = ("bert.", "pooler.") if model.pooler is not None else ("bert.",)
    state = {name: value for name, value in _read_state(folder).items() if name.startswith(parts)}
    missing = _fill(model, state, folder / WEIGHTS)
    lost = [name for name in missing if name.startswith("bert.")]
    if lost:
        raise FolderError(
            f"{folder / WEIGHTS} lacks {len(lost)} tensors of the encoder, the first is {lost[0]}; "
            "the folder holds another kind of model."
        )
    return ["pooler"] if any(name.startswith("pooler.") for name in missing) else []


def load_any(folder: Path) -> BertForPretraining | BertForTask | Bert:
    """The model in `folder`, whatever it is: fine-tuned, pre-trained, or an encoder alone.

    In fp32 on the CPU, in evaluation mode.

    Raises:
        FolderError: weights are missing, damaged or do not fit.
    """
    keys = _read_keys(folder)
    tuned = FEATURE_BASED in keys or set(ARCHITECTURES.values()) & set(
        keys.get("architectures") or []
    )
    if tuned:
        return load_task(folder)
    state = _read_state(folder)
    if any(name.startswith("mlm.") for name in state):
        return load_pretraining(folder)[0]
    encoder = Bert(load_config(folder))
    missing = _fill(
        encoder,
        {
            name.removeprefix("bert."): value
            for name, value in state.items()
            if name.startswith("bert.")
        },
        folder / WEIGHTS,
    )
    if missing:
        raise FolderError(
            f"{folder / WEIGHTS} lacks {len(missing)} tensors of the encoder, the first is "
            f"{missing[0]}; the folder holds another kind of model."
        )
    return encoder.eval()


def load_task(folder: Path) -> BertForTask:
    """The fine-tuned model in `folder`, in fp32 on the CPU, in evaluation mode.

    Args:
        folder: written by bertsmith, or by `transformers` for one of `ARCHITECTURES`.

    Raises:
        FolderError: weights are missing, damaged or do not fit, or it is not a fine-tuned model.
    """
    keys = _read_keys(folder)
    source = str(folder / CONFIG)
    labels = _labels(keys, source)
    kind, features = _kind(keys, labels, source)
    model = BertForTask(
        bert_config_from_keys(keys, source),
        kind,
        labels=labels if kind in ("classify", "tag") else (),
        features=features,
    )
    state = _read_state(folder)
    expected = model.state_dict()
    missing = _fill(
        model, {name: state[name] for name in state if name in expected}, folder / WEIGHTS
    )
    if missing:
        raise FolderError(
            f"{folder / WEIGHTS} lacks {len(missing)} tensors that {source} asks for, the first is "
            f"{missing[0]}; fine-tune the model again, or restore the folder from a good copy."
        )
    return model.eval()


def _labels(keys: dict[str, Any], source: str) -> list[str]:
    # `transformers` leaves out what is its default.
    names = keys.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    try:
        labels = [str(names[str(number)]) for number in range(len(names))]
    except (TypeError, KeyError) as error:
        raise FolderError(
            f"{source}: id2label is {names!r}, expected a name for each class from 0 on; "
            "correct it."
        ) from error
    return labels


def _kind(keys: dict[str, Any], labels: list[str], source: str) -> tuple[Kind, FeatureBased | None]:
    if FEATURE_BASED in keys:
        try:
            return "tag", msgspec.convert(keys[FEATURE_BASED], FeatureBased)
        except msgspec.ValidationError as error:
            raise FolderError(f"{source}: {FEATURE_BASED}: {error}; correct it.") from error
    named = [str(name) for name in keys.get("architectures") or []]
    kinds: list[Kind] = [kind for kind, name in ARCHITECTURES.items() if name in named]
    if not kinds:
        raise FolderError(
            f"{source}: the model is {', '.join(named) or 'of no named architecture'}, which has "
            "not been fine-tuned on a task; run `bertsmith finetune` with it first."
        )
    if kinds[0] != "classify":
        return kinds[0], None
    problem = keys.get("problem_type")
    number = problem == "regression" or len(labels) == 1
    if problem == "multi_label_classification" or (number and len(labels) > 1):
        raise FolderError(
            f"{source}: the model gives a text {len(labels)} numbers or several classes at once "
            f"(problem_type {problem}); bertsmith's give it one: take another model."
        )
    return "regress" if number else "classify", None


def _read_state(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    tensors = load_tensors(path)
    return to_ours(tensors, layers=load_config(folder).num_hidden_layers, source=str(path))


def _fill(model: nn.Module, state: dict[str, Tensor], path: Path) -> list[str]:
    """Loads what is there; returns what is not."""
    expected = model.state_dict()
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise FolderError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, config.json says "
                f"{tuple(expected[name].shape)}; one of the two files is from another model."
            )
    model.load_state_dict(expected | state)
    return sorted(expected.keys() - state.keys())


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file, whole or not at all.

    Raises:
        SystemFault: the disk is full or the path cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            # safetensors keeps the system's error number in its text only.
            full = f"os error {errno.ENOSPC}" in str(error)
            fault = OSError(errno.ENOSPC if full else errno.EIO, str(error))
            raise explain_os_error(fault, "write", path) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file into memory, floating point as fp32.

    Raises:
        FolderError: the file is missing, cut short or not a safetensors file.
    """
    if not path.is_file():
        pickled = path.with_name("pytorch_model.bin")
        hint = (
            f"{pickled.name} beside it is a pickle, which can run code and is not read: convert it "
            "to safetensors first"
            if pickled.exists()
            else "check that the folder is the right one"
        )
        raise FolderError(f"{path} is missing; {hint}.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise FolderError(
            f"{path} is damaged ({error}); restore it from a good copy or write it again."
        ) from error
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def parameter_count(model: nn.Module) -> int:
    """Numbers that training changes; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())
