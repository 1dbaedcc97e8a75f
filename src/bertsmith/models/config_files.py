"""The config of any family: from the keys of a `config.json` or by a preset's name, and back."""

from typing import Any

import msgspec

from bertsmith.core.errors import UsageError
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.config import FamilyName, ModelConfig
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.gpt.config import GptConfig

CONFIGS: dict[FamilyName, type[ModelConfig]] = {
    config.family: config for config in (BertConfig, GptConfig, ElmoConfig)
}
MODEL_TYPES: dict[str, FamilyName] = {
    config.model_type: config.family for config in CONFIGS.values()
}
"""`model_type` of a `config.json`."""


def config_from_keys(config_keys: dict[str, Any], source: str) -> ModelConfig:
    """The config that a `config.json` describes; one without `model_type` is a BERT's.

    Raises:
        UsageError: another family, a setting that is not computed here, numbers that do not fit.
        FolderError: an unknown key or a wrong type.
    """
    name = str(config_keys.get("model_type", BertConfig.model_type))
    if name not in MODEL_TYPES:
        raise UsageError(
            f"{source}: model_type is '{name}', expected one of {', '.join(MODEL_TYPES)}; this "
            "folder holds another architecture."
        )
    return CONFIGS[MODEL_TYPES[name]].from_keys(config_keys, source)


def config_keys(config: ModelConfig) -> dict[str, Any]:
    """What a `config.json` holds of a config, for `config_from_keys`."""
    return {"model_type": config.model_type} | msgspec.structs.asdict(config)
