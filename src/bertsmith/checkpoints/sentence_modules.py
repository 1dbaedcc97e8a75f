"""A folder of sentence-transformers: the modules that make a vector of a text, from its JSON files.

modules.json  sentence_bert_config.json  config_sentence_transformers.json  1_Pooling/config.json

The first module is the transformer, in the folder itself or, as older versions wrote it, in
`0_Transformer` or `0_BERT`.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar, get_args

import msgspec

from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.storage import read_json

MODULES = "modules.json"
TRANSFORMER = "sentence_bert_config.json"
PROMPTS = "config_sentence_transformers.json"

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
"""How the states of a text's tokens become one vector, by the names of sentence-transformers.

`cls`, `lasttoken`: the first and the last token. `max`, `mean`: over the tokens.
`mean_sqrt_len_tokens`: their sum by the root of their number. `weightedmean`: weighted by position,
from 1.
"""

# Older versions wrote a switch for each; several are put side by side, in this order.
_SWITCHES: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
StructT = TypeVar("StructT", bound=msgspec.Struct)
_AFTER_POOLING = ("Dense", "LayerNorm", "Normalize", "Dropout")


class Module(msgspec.Struct):
    """A row of `modules.json`."""

    idx: int
    name: str
    path: str
    type: str

    @property
    def kind(self) -> str:
        """Name of its class; the packages that hold the classes have moved over the years."""
        return self.type.rpartition(".")[2]


class _Transformer(msgspec.Struct):
    max_seq_length: int | None = None
    do_lower_case: bool = False


class _Tokenizer(msgspec.Struct):
    model_max_length: float | None = None


class _Prompts(msgspec.Struct):
    prompts: dict[str, str | None] = {}
    default_prompt_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class SentenceModel:
    """What a folder says of the vector of a text."""

    folder: Path
    max_length: int | None
    """Most tokens of a text, `[CLS]` and `[SEP]` counted; the end is cut off. None: the model's."""
    lower_case: bool
    """Whether texts are lower-cased before the tokenizer sees them."""
    pooling: tuple[Pooling, ...]
    """Several are put side by side."""
    include_prompt: bool
    """Whether the tokens of a prompt count when pooling."""
    following: tuple[Module, ...]
    """What is done to the pooled vector: Dense, LayerNorm, Normalize."""
    prompts: dict[str, str]
    """Name -> what is put before a text."""
    default_prompt: str | None
    """Name of the prompt of texts that none is chosen for."""


def transformer_folder(folder: Path) -> Path:
    """The folder with config.json: `folder`, or the one in it that its modules.json names.

    Raises:
        FolderError, UsageError: as `read_modules`.
    """
    if (folder / "config.json").is_file() or not (folder / MODULES).is_file():
        return folder
    return module_folder(folder, read_modules(folder)[0])


def read_modules(folder: Path) -> list[Module]:
    """The modules of a folder; the first is a transformer.

    Raises:
        FolderError: `modules.json` is damaged.
        UsageError: the model begins with something else than a transformer.
    """
    modules = read_json(folder / MODULES, list[Module])
    if not modules or modules[0].kind not in ("Transformer", "BERT"):
        raise UsageError(
            f"{folder / MODULES}: the first module is "
            f"{modules[0].type if modules else 'missing'}, expected a Transformer; other kinds of "
            "model are not supported."
        )
    return modules


def module_folder(folder: Path, module: Module) -> Path:
    """Where a module's files are; one without files may have no folder.

    Raises:
        FolderError: outside of `folder`.
    """
    parts = PurePosixPath(module.path)
    if parts.is_absolute() or ".." in parts.parts:
        raise FolderError(
            f"{folder / MODULES} names the module folder {module.path!r}, which is outside of "
            f"{folder}; restore the folder from a good copy."
        )
    return folder / module.path


def read_sentence_model(folder: Path) -> SentenceModel | None:
    """What the folder says of its vectors; None if it is not of sentence-transformers.

    Raises:
        FolderError: one of its JSON files is missing or damaged.
        UsageError: a module is not supported.
    """
    if not (folder / MODULES).is_file():
        return None
    first, *others = read_modules(folder)
    inside = module_folder(folder, first)
    if not others or others[0].kind != "Pooling":
        raise UsageError(
            f"{folder / MODULES}: the module after the transformer is "
            f"{others[0].type if others else 'missing'}, expected Pooling; "
            f"{option('pooling', 'mean')} pools the model's own states instead."
        )
    for module in others[1:]:
        if module.kind not in _AFTER_POOLING:
            raise UsageError(
                f"{folder / MODULES}: the module {module.type} is not supported, expected one of "
                f"{', '.join(_AFTER_POOLING)}; {option('pooling', 'mean')} pools the model's own "
                "states instead."
            )
    pooling, include_prompt = _pooling(module_folder(folder, others[0]) / "config.json")
    transformer = _optional(inside / TRANSFORMER, _Transformer)
    limit = (
        transformer.max_seq_length
        or _optional(inside / "tokenizer_config.json", _Tokenizer).model_max_length
    )
    if limit is not None and limit < 3:
        raise FolderError(
            f"{inside / TRANSFORMER}: max_seq_length is {limit}, which leaves no room for text; "
            "correct it."
        )
    prompts = _optional(folder / PROMPTS, _Prompts)
    named = {name: text or "" for name, text in prompts.prompts.items()}
    if prompts.default_prompt_name is not None and prompts.default_prompt_name not in named:
        raise FolderError(
            f"{folder / PROMPTS}: default_prompt_name is {prompts.default_prompt_name!r}, which "
            f"is none of its prompts ({', '.join(named) or 'there are none'}); correct it."
        )
    return SentenceModel(
        folder=folder,
        # A tokenizer without a limit is written with one of 1e30.
        max_length=None if limit is None or limit > 1e9 else int(limit),
        lower_case=transformer.do_lower_case,
        pooling=pooling,
        include_prompt=include_prompt,
        following=tuple(module for module in others[1:] if module.kind != "Dropout"),
        prompts=named,
        default_prompt=prompts.default_prompt_name,
    )


def _pooling(path: Path) -> tuple[tuple[Pooling, ...], bool]:
    """The modes of a Pooling module, and whether prompts count."""
    keys = read_json(path, dict[str, Any])
    modes = keys.get("pooling_mode")
    if modes is None:
        modes = [mode for switch, mode in _SWITCHES.items() if keys.get(switch)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    known = get_args(Pooling)
    if not isinstance(modes, list) or not modes or any(mode not in known for mode in modes):
        raise UsageError(
            f"{path}: pooling_mode is {modes!r:.60}, expected some of {', '.join(known)}; other "
            "poolings are not supported."
        )
    return tuple(modes), bool(keys.get("include_prompt", True))


def _optional(path: Path, kind: type[StructT]) -> StructT:
    """A file that a folder need not have, with the defaults of its keys."""
    return read_json(path, kind) if path.is_file() else kind()
