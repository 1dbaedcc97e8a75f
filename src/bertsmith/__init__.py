"""bertsmith: a BERT of your own, from raw text to a model that fills in blanks.

The few names below are the public ones. Each is imported when it is first used, so that
`import bertsmith` costs nothing and reading text never loads torch::

    import bertsmith

    bertsmith.train_tokenizer(["my-text/"], out=Path("tokenizer"), size=30_000, workers=2)
    bertsmith.prepare(["my-text/"], tokenizer=Path("tokenizer"), out=Path("corpus"))
    config = bertsmith.pretrain_config("modern", data="corpus", size="mini", hours=1.0)
    bertsmith.pretrain.run(config, Path("model"))
    bertsmith.load("model").fill("Paris is the [MASK] of France.")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertsmith import pretrain as pretrain
    from bertsmith.config import PretrainConfig as PretrainConfig
    from bertsmith.config import pretrain_config as pretrain_config
    from bertsmith.corpus.build import prepare as prepare
    from bertsmith.errors import BertsmithError as BertsmithError
    from bertsmith.predictor import Predictor as Predictor
    from bertsmith.predictor import Predictor as load
    from bertsmith.text.learn import train_tokenizer as train_tokenizer
    from bertsmith.text.tokenizer import Tokenizer as Tokenizer

__version__ = "0.1.0"

# Public name: module and the name in it (empty: the module itself).
_HOMES = {
    "BertsmithError": ("bertsmith.errors", "BertsmithError"),
    "Predictor": ("bertsmith.predictor", "Predictor"),
    "PretrainConfig": ("bertsmith.config", "PretrainConfig"),
    "Tokenizer": ("bertsmith.text.tokenizer", "Tokenizer"),
    "load": ("bertsmith.predictor", "Predictor"),
    "prepare": ("bertsmith.corpus.build", "prepare"),
    "pretrain": ("bertsmith.pretrain", ""),
    "pretrain_config": ("bertsmith.config", "pretrain_config"),
    "train_tokenizer": ("bertsmith.text.learn", "train_tokenizer"),
}

__all__ = [
    "BertsmithError",
    "Predictor",
    "PretrainConfig",
    "Tokenizer",
    "load",
    "prepare",
    "pretrain",
    "pretrain_config",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bertsmith' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    home = import_module(module)
    value = getattr(home, attribute) if attribute else home
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
