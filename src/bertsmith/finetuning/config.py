"""Settings of a fine-tuning."""

from typing import Literal

import msgspec

from bertsmith.core.runtime import Precision
from bertsmith.models.head_config import Combine
from bertsmith.pretraining.config import InitialWeights
from bertsmith.tasks.examples import MAX_QUESTION_LENGTH, Limits, LongTexts
from bertsmith.training.config import OptimizerConfig

ClassWeights = Literal["none", "balanced"]


class FinetuneConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what one fine-tuning run computes, fully resolved.

    Written as `finetune.json` beside the run; a resume compares it field by field.
    """

    task: str
    """A row of the table of tasks, or the kind of the user's own files."""
    kind: str
    model: str
    """Folder or name of the model that is fine-tuned, or the size of one without pre-training."""
    initial_weights: InitialWeights | None = None
    """Of a model without pre-training; None: it is pre-trained."""
    batch_size: int
    """Examples per optimizer step, over all processes."""
    learning_rate: float
    epochs: int
    """Passes over the training part, if `steps` and `hours` allow them."""
    max_length: int
    """Most tokens of an input."""
    stride: int
    """Tokens by which neighbouring windows overlap; see `Limits`."""
    long_texts: LongTexts = "truncate"
    """What kinds of task that look at a text do with longer ones."""
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    max_grad_norm: float = 1.0
    dropout: float = 0.1
    class_weights: ClassWeights = "none"
    """`balanced`: every class counts as much as every other in the loss, however rare."""
    steps: int = 0
    """Most optimizer steps; 0: no limit but `epochs`."""
    hours: float = 0.0
    """Longest time on the run's clock, evaluations counted; the learning rate falls in time. 0: no
    limit."""
    patience: int = 0
    """Epochs without a better dev score after which a run stops; 0: it never stops early."""
    features: tuple[int, ...] = ()
    """Layers of the frozen encoder that are the features of words; empty: all is fine-tuned."""
    combine: Combine = "concat"
    """How the layers become one."""
    frozen: bool = False
    """Whether an ELMo stays as it is under its task's network (Peters et al. 2018)."""
    bilstm: bool = False
    """Whether a BERT gets a BiLSTM before the output layer (paper, section 5.1)."""
    seed: int = 0
    precision: Precision = "auto"
    micro_tokens: int = 0
    """Tokens computed at once (a memory and cache setting); 0 chooses by device."""
    shard: bool = False
    """Whether each of several processes keeps a part of the weights and their moments only."""

    @property
    def optimizer(self) -> OptimizerConfig:
        """AdamW's part of the settings."""
        return OptimizerConfig(
            weight_decay=self.weight_decay,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
        )


def limits_of(config: FinetuneConfig) -> Limits:
    """How long inputs may be; a question leaves half of an input to its context."""
    return Limits(
        max_length=config.max_length,
        stride=config.stride,
        long_texts=config.long_texts,
        max_question_length=min(MAX_QUESTION_LENGTH, config.max_length // 2),
    )
