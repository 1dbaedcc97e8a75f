"""bertsmith: a BERT of your own, from raw text to a model that fills in blanks.

The few names below are the public ones. Each is imported when it is first used, so that
`import bertsmith` costs nothing and reading text never loads torch::

    import bertsmith

    bertsmith.train_tokenizer(["my-text/"], out=Path("tokenizer"), size=30_000, workers=2)
    bertsmith.prepare(["my-text/"], tokenizer=Path("tokenizer"), out=Path("corpus"))
    config = bertsmith.pretrain_config("modern", data="corpus", size="mini", hours=1.0)
    bertsmith.pretrain.run(config, Path("model"))
    bertsmith.load("model").fill("Paris is the [MASK] of France.")
    source = bertsmith.FinetuneSource(task="classify", train="reviews.csv")
    bertsmith.finetune(bertsmith.FinetuneJob(source=source, model="model"), Path("reviews"))
    bertsmith.load("reviews").predict(["A text that it has never seen."])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertsmith.core.errors import BertsmithError as BertsmithError
    from bertsmith.corpus.prepare import prepare as prepare
    from bertsmith.finetuning.data import Source as FinetuneSource
    from bertsmith.finetuning.job import Job as FinetuneJob
    from bertsmith.finetuning.job import finetune as finetune
    from bertsmith.inference.evaluation import evaluate as evaluate
    from bertsmith.inference.predictor import Predictor as Predictor
    from bertsmith.inference.predictor import Predictor as load
    from bertsmith.pretraining import run as pretrain
    from bertsmith.pretraining.config import PretrainConfig as PretrainConfig
    from bertsmith.pretraining.config import pretrain_config as pretrain_config
    from bertsmith.pretraining.continuing import start_from as start_from
    from bertsmith.text.tokenizer.tokenizer import Tokenizer as Tokenizer
    from bertsmith.text.tokenizer.train import train_tokenizer as train_tokenizer

__version__ = "0.1.0"

# Public name: module and the name in it (empty: the module itself).
_HOMES = {
    "BertsmithError": ("bertsmith.core.errors", "BertsmithError"),
    "Predictor": ("bertsmith.inference.predictor", "Predictor"),
    "PretrainConfig": ("bertsmith.pretraining.config", "PretrainConfig"),
    "Tokenizer": ("bertsmith.text.tokenizer.tokenizer", "Tokenizer"),
    "FinetuneJob": ("bertsmith.finetuning.job", "Job"),
    "FinetuneSource": ("bertsmith.finetuning.data", "Source"),
    "evaluate": ("bertsmith.inference.evaluation", "evaluate"),
    "finetune": ("bertsmith.finetuning.job", "finetune"),
    "load": ("bertsmith.inference.predictor", "Predictor"),
    "prepare": ("bertsmith.corpus.prepare", "prepare"),
    "pretrain": ("bertsmith.pretraining.run", ""),
    "pretrain_config": ("bertsmith.pretraining.config", "pretrain_config"),
    "start_from": ("bertsmith.pretraining.continuing", "start_from"),
    "train_tokenizer": ("bertsmith.text.tokenizer.train", "train_tokenizer"),
}

__all__ = [
    "BertsmithError",
    "FinetuneJob",
    "FinetuneSource",
    "Predictor",
    "PretrainConfig",
    "Tokenizer",
    "evaluate",
    "finetune",
    "load",
    "prepare",
    "pretrain",
    "pretrain_config",
    "start_from",
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
