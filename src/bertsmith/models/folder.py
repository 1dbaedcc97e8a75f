"""A model folder: what `transformers` loads unchanged, and what it writes, loaded here.

config.json  model.safetensors  vocab.txt  tokenizer.json  tokenizer_config.json  README.md
"""

import errno
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bertsmith.errors import FolderError, explain_os_error
from bertsmith.files import atomic_path, read_json, write_bytes, write_json
from bertsmith.models import architectures
from bertsmith.models.architectures import (
    Encoder,
    Pretrained,
    TaskModel,
    build,
    build_encoder,
    build_for_task,
    frame_of,
    is_for_task,
    task_shape,
)
from bertsmith.shape_files import architecture_of, shape_from_keys, shape_keys
from bertsmith.shapes import ElmoConfig, GptConfig, Shape
from bertsmith.text.tokenizer import Tokenizer

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
# Parts of a pre-trained model that may start anew, and parts of others that it has no use for.
_HEADS = ("mlm.", "pooler.", "next_sentence.", "word_VP", "bias_V")
_OF_TASKS = (
    "classifier.",
    "span.",
    "features.",
    "bilstm.",
    "mix.",
    "reader.",
    "pair.",
    "question.",
    "spans.",
    "hidden.",
    "output.",
)


def save_model(
    folder: Path, model: Pretrained | TaskModel, tokenizer: Tokenizer, *, card: str
) -> None:
    """Writes the model, its tokenizer and `card` (a README.md in Markdown) into `folder`.

    Each file is whole or absent, and `config.json` comes last.

    Raises:
        SystemFault: the disk is full or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = model.config
    state = architectures.to_theirs(shape, model.state_dict())
    save_tensors(folder / WEIGHTS, state, {"format": "pt"})
    frame = frame_of(model)
    tokenizer.save(folder, model_max_length=shape.max_position_embeddings, frame=frame)
    write_bytes(folder / "README.md", card.encode())
    keys = model.config_keys | {"dtype": "float32"} | shape_keys(shape)
    if frame != "text" and tokenizer.has_special:
        # By these `transformers` ends what a model writes, and tells padding from text.
        keys |= {"bos_token_id": tokenizer.cls_id, "eos_token_id": tokenizer.sep_id}
        keys |= {"pad_token_id": tokenizer.pad_id} if isinstance(shape, GptConfig) else {}
    write_json(folder / CONFIG, keys)


def load_config(folder: Path) -> Shape:
    """The shape of the model in `folder`.

    Raises:
        FolderError: not a model folder, or its config.json is damaged.
        UsageError: the config describes something that is not computed here.
    """
    return shape_from_keys(_read_keys(folder), str(folder / CONFIG))


def _read_keys(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder; give the folder of a model.")
    if not (folder / CONFIG).is_file():
        hint = "give the folder of a model, with config.json and model.safetensors in it"
        newest = max(folder.glob("checkpoints/step-*"), default=None)
        if newest is not None:
            hint = f"the run has not finished: its newest checkpoint is {newest}"
        elif (folder / "job.json").is_file():
            hint = "the fine-tuning in it has not finished: run its command again with --resume"
        raise FolderError(f"{folder} holds no {CONFIG}; {hint}.")
    return read_json(folder / CONFIG, dict[str, Any])


def load_pretraining(
    folder: Path, *, pair_task: bool | None = None, fresh_heads: bool = False
) -> tuple[Pretrained, list[str]]:
    """The pre-training model in `folder`, in fp32 on the CPU, in evaluation mode.

    Args:
        folder: written by bertsmith or by `transformers`.
        pair_task: whether to build a BERT's next-sentence head; None: if the folder has one.
        fresh_heads: draw heads that the folder lacks anew instead of refusing.

    Returns:
        The model, and the names of the heads that were drawn anew.

    Raises:
        FolderError: weights are missing, damaged or of another shape than config.json says.
    """
    shape, state = load_config(folder), _read_state(folder)
    if pair_task is None:
        pair_task = "next_sentence.weight" in state
    left_out = _OF_TASKS if pair_task else (*_OF_TASKS, "pooler.", "next_sentence.")
    state = {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}
    model = build(shape, pieces=_pieces(folder, shape), pair_task=pair_task)
    missing = _fill(model, state, folder / WEIGHTS)
    lost = [name for name in missing if not (fresh_heads and name.startswith(_HEADS))]
    if lost:
        raise FolderError(
            f"{folder / WEIGHTS} lacks {len(lost)} tensors that a pre-trained "
            f"{architectures.NAMES[architecture_of(shape)]} has, the first is {lost[0]}; the "
            "folder holds another kind of model."
        )
    return model.eval(), sorted({name.split(".")[0] for name in missing})


def load_encoder(folder: Path, model: TaskModel) -> list[str]:
    """Puts the encoder (and a BERT's pooler) of any model folder under a task's new output layer.

    Returns:
        The names of the parts that the folder lacks and that keep their fresh weights.

    Raises:
        FolderError: the encoder is missing, damaged or of another shape.
    """
    pieces = load_config(folder).vocab_size
    encoder = f"{architecture_of(model.config)}."
    parts = (encoder, "pooler.") if "pooler.dense.weight" in model.state_dict() else (encoder,)
    state = {name: value for name, value in _read_state(folder).items() if name.startswith(parts)}
    words = f"{encoder}embeddings.word.weight"
    new_VD = model.state_dict().get(words)
    if words in state and len(state[words]) != pieces:
        raise FolderError(
            f"{folder / WEIGHTS} has embeddings of {len(state[words])} words, {folder / CONFIG} "
            f"says {pieces}; one of the two files is from another model."
        )
    if words in state and new_VD is not None and state[words].shape[1:] == new_VD.shape[1:]:
        # Special tokens that were put behind the vocabulary keep their fresh weights.
        state[words] = torch.cat([state[words], new_VD[len(state[words]) :]])
    missing = _fill(model, state, folder / WEIGHTS)
    lost = [name for name in missing if name.startswith(encoder)]
    if lost:
        raise FolderError(
            f"{folder / WEIGHTS} lacks {len(lost)} tensors of the encoder, the first is {lost[0]}; "
            "the folder holds another kind of model."
        )
    return ["pooler"] if any(name.startswith("pooler.") for name in missing) else []


def load_any(folder: Path) -> Pretrained | TaskModel | Encoder:
    """The model in `folder`, whatever it is: fine-tuned, pre-trained, or an encoder alone.

    In fp32 on the CPU, in evaluation mode.

    Raises:
        FolderError: weights are missing, damaged or do not fit.
    """
    if is_for_task(_read_keys(folder)):
        return load_task(folder)
    shape, state = load_config(folder), _read_state(folder)
    encoder_name = f"{architecture_of(shape)}."
    # A GPT's output weights are its word embeddings, so an encoder alone is all of it.
    if encoder_name == "gpt." or any(name.startswith(("mlm.", "word_VP")) for name in state):
        return load_pretraining(folder)[0]
    encoder = build_encoder(shape, pieces=_pieces(folder, shape))
    missing = _fill(
        encoder,
        {
            name.removeprefix(encoder_name): value
            for name, value in state.items()
            if name.startswith(encoder_name)
        },
        folder / WEIGHTS,
    )
    if missing:
        raise FolderError(
            f"{folder / WEIGHTS} lacks {len(missing)} tensors of the encoder, the first is "
            f"{missing[0]}; the folder holds another kind of model."
        )
    return encoder.eval()


def load_task(folder: Path) -> TaskModel:
    """The fine-tuned model in `folder`, in fp32 on the CPU, in evaluation mode.

    Args:
        folder: written by bertsmith, or by `transformers` for one of the architectures it has.

    Raises:
        FolderError: weights are missing, damaged or do not fit, or it is not a fine-tuned model.
    """
    keys = _read_keys(folder)
    source = str(folder / CONFIG)
    labels = _labels(keys, source)
    shape = shape_from_keys(keys, source)
    task = task_shape(keys, shape, tuple(labels), pieces=_pieces(folder, shape), source=source)
    model = build_for_task(shape, task)
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
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise FolderError(
            f"{source}: id2label calls {labels.count(twice[0])} classes '{twice[0]}'; give each "
            "its own name."
        )
    return labels


def _pieces(folder: Path, shape: Shape) -> tuple[str, ...]:
    """The vocabulary, where the model reads its characters."""
    if not isinstance(shape, ElmoConfig):
        return ()
    pieces = Tokenizer.load(folder).vocab
    if len(pieces) != shape.vocab_size:
        raise FolderError(
            f"{folder / CONFIG}: vocab_size is {shape.vocab_size:,}, but the tokenizer beside it "
            f"has {len(pieces):,} pieces; one of the two is from another model."
        )
    return pieces


def _read_state(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    return architectures.to_ours(load_config(folder), load_tensors(path), source=str(path))


def _fill(model: nn.Module, state: dict[str, Tensor], path: Path) -> list[str]:
    """Loads what is there; returns what is not."""
    expected = model.state_dict()
    for name, tensor in state.items():
        if name not in expected:
            raise FolderError(
                f"{path}: {name} has no place in the model that config.json describes; one of the "
                "two files is from another model."
            )
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
