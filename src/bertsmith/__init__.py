"""bertsmith: train a BERT of your own, from raw text to a model that answers.

From your text to a fine-tuned model::

    import bertsmith

    bertsmith.train_tokenizer("my-text/", "my-tokenizer")
    bertsmith.prepare("my-text/", "my-corpus", tokenizer="my-tokenizer")
    bertsmith.pretrain("my-corpus", "my-model", size="mini", hours=1.0)
    bertsmith.load("my-model").fill_mask("Paris is the [MASK] of France.")

    bertsmith.finetune("classification", train="reviews.csv", model="my-model", out="reviews")
    bertsmith.load("reviews").predict("A text that it has never seen.")

`train`, `dev` and `data` may also be a table in memory: a list of dicts, a dict of columns, or a
table of pandas, polars, pyarrow or datasets. Whatever the user can get wrong is a `BertsmithError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bertsmith.api.checkpoints import convert as convert
from bertsmith.api.checkpoints import export as export
from bertsmith.api.checkpoints import extend_tokenizer as extend_tokenizer
from bertsmith.api.models import compare as compare
from bertsmith.api.models import evaluate as evaluate
from bertsmith.api.models import finetune as finetune
from bertsmith.api.models import load as load
from bertsmith.api.pretraining import prepare as prepare
from bertsmith.api.pretraining import pretrain as pretrain
from bertsmith.api.pretraining import train_tokenizer as train_tokenizer
from bertsmith.core.errors import BertsmithError as BertsmithError
from bertsmith.core.errors import DataError as DataError
from bertsmith.core.errors import DivergedError as DivergedError
from bertsmith.core.errors import FolderError as FolderError
from bertsmith.core.errors import MissingExtra as MissingExtra
from bertsmith.core.errors import Stopped as Stopped
from bertsmith.core.errors import SystemFault as SystemFault
from bertsmith.core.errors import UsageError as UsageError

if TYPE_CHECKING:
    from bertsmith.checkpoints.convert import Conversion as Conversion
    from bertsmith.checkpoints.extend import Extended as Extended
    from bertsmith.comparison.result import Compared as Compared
    from bertsmith.finetuning.config import FinetuneConfig as FinetuneConfig
    from bertsmith.finetuning.result import FinetuneResult as FinetuneResult
    from bertsmith.inference.evaluation import CorpusScores as CorpusScores
    from bertsmith.inference.evaluation import Evaluation as Evaluation
    from bertsmith.inference.export.job import Exported as Exported
    from bertsmith.inference.fill_mask import Filled as Filled
    from bertsmith.inference.generation import Written as Written
    from bertsmith.inference.likelihood import SentenceScore as SentenceScore
    from bertsmith.inference.predictor import Model as Model
    from bertsmith.pretraining.config import PretrainConfig as PretrainConfig
    from bertsmith.pretraining.run import PretrainResult as PretrainResult
    from bertsmith.tasks.kinds.answer_spans import SpanAnswer as SpanAnswer
    from bertsmith.tasks.kinds.classification import ClassAnswer as ClassAnswer
    from bertsmith.tasks.kinds.entity_scores import TagAnswer as TagAnswer
    from bertsmith.tasks.kinds.multi_label import LabelsAnswer as LabelsAnswer
    from bertsmith.tasks.kinds.multiple_choice import ChoiceAnswer as ChoiceAnswer
    from bertsmith.tasks.kinds.regression import NumberAnswer as NumberAnswer
    from bertsmith.text.tokenizer.tokenizer import Tokenizer as Tokenizer

__version__ = "0.1.0"

# Types of results and settings, imported when first used: most of them need torch.
_TYPES = {
    "checkpoints.convert": ("Conversion",),
    "checkpoints.extend": ("Extended",),
    "comparison.result": ("Compared",),
    "finetuning.config": ("FinetuneConfig",),
    "finetuning.result": ("FinetuneResult",),
    "inference.evaluation": ("CorpusScores", "Evaluation"),
    "inference.export.job": ("Exported",),
    "inference.fill_mask": ("Filled",),
    "inference.generation": ("Written",),
    "inference.likelihood": ("SentenceScore",),
    "inference.predictor": ("Model",),
    "pretraining.config": ("PretrainConfig",),
    "pretraining.run": ("PretrainResult",),
    "tasks.kinds.answer_spans": ("SpanAnswer",),
    "tasks.kinds.classification": ("ClassAnswer",),
    "tasks.kinds.entity_scores": ("TagAnswer",),
    "tasks.kinds.multi_label": ("LabelsAnswer",),
    "tasks.kinds.multiple_choice": ("ChoiceAnswer",),
    "tasks.kinds.regression": ("NumberAnswer",),
    "text.tokenizer.tokenizer": ("Tokenizer",),
}
_HOMES = {name: home for home, names in _TYPES.items() for name in names}
_HERE = ("TYPE_CHECKING", "Any", "import_module", "api", "core")

__all__ = sorted(  # pyright: ignore[reportUnsupportedDunderAll]
    {name for name in globals() if not name.startswith("_")}.difference(_HERE).union(_HOMES)
)


def __getattr__(name: str) -> Any:
    """Imports a public type at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bertsmith' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"bertsmith.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
