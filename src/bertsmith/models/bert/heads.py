"""The pre-training heads: masked language model and next sentence (paper, section 3.1)."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.model import Bert, initialize
from bertsmith.models.modules.layers import activate
from bertsmith.models.modules.linear import Linear, is_half_on_cpu, linear, whole_tiles
from bertsmith.models.modules.packed import LanguageBatch, Packed, PretrainBatch, TextBatch

# Rows whose logits are passed over at once: on a CPU while they are in the cache, and enough of
# them for the table of words to be read seldom.
_STRIP = 128
# Bytes of the logits' gradients that are held. On a CPU they stay below the size from which glibc
# gets new memory from the system for each (`runtime.keep_freed_memory`).
_HELD = {"cpu": 24 * 2**20, "cuda": 512 * 2**20}


class Pooler(nn.Module):
    """The first token's hidden state through a linear layer and tanh."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, first_BD: Tensor) -> Tensor:
        """[B, D] -> [B, D]."""
        return torch.tanh(self.dense(first_BD))


class MlmHead(nn.Module):
    """Transform, LayerNorm, and the word embeddings as output weights, with a bias per piece."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias_V = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = config.hidden_act

    def transform(self, hidden_PD: Tensor) -> Tensor:
        """[P, D] -> [P, D], ready for the product with the word embeddings."""
        transformed_PD: Tensor = self.norm(activate(self.dense(hidden_PD), self.activation))
        return transformed_PD


class BertForPretraining(nn.Module):
    """BERT with the MLM head and, when there is a pair task, pooler and two-way classifier.

    The last layer is computed for the first tokens and the masked ones only, and the vocabulary
    projection for the masked ones.
    """

    def __init__(self, config: BertConfig, *, pair_task: bool = True) -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config)
        self.mlm = MlmHead(config)
        self.pooler = Pooler(config) if pair_task else None
        self.next_sentence = Linear(config.hidden_size, 2) if pair_task else None
        initialize(self, config.initializer_range)

    @property
    def config_keys(self) -> dict[str, Any]:
        """What `config.json` says of the model beside its shape."""
        if self.config.is_decoder:
            return {"architectures": ["BertLMHeadModel"]}
        name = "BertForMaskedLM" if self.next_sentence is None else "BertForPreTraining"
        return {"architectures": [name]}

    def losses(self, batch: TextBatch) -> dict[str, Tensor]:
        """Sums of negative log-likelihoods in nats, by the keys of `batch.counts`."""
        name, predicted_P, labels_P = _predicted(batch)
        first_BD, hidden_PD = self.hidden(batch.packed, predicted_P)
        transformed_PD = self.mlm.transform(hidden_PD)
        word_VD = self.bert.embeddings.word.weight
        losses = {name: projected_cross_entropy(transformed_PD, word_VD, self.mlm.bias_V, labels_P)}
        if isinstance(batch, PretrainBatch) and batch.next_B is not None:
            scores_BC = self.pair_logits(first_BD)
            losses["nsp"] = functional.cross_entropy(
                scores_BC.float(), batch.next_B, reduction="sum"
            )
        return losses

    @torch.no_grad()
    def evaluate(self, batch: TextBatch) -> dict[str, tuple[float, int]]:
        """For each objective: sum of the losses in nats and how many predictions were right."""
        name, predicted_P, labels_P = _predicted(batch)
        first_BD, hidden_PD = self.hidden(batch.packed, predicted_P)
        scores = {
            name: vocabulary_scores(
                hidden_PD, labels_P, self.logits, vocabulary=self.config.vocab_size
            )
        }
        if isinstance(batch, PretrainBatch) and batch.next_B is not None:
            scores_BC = self.pair_logits(first_BD).float()
            pair_loss = float(functional.cross_entropy(scores_BC, batch.next_B, reduction="sum"))
            scores["nsp"] = (pair_loss, int((scores_BC.argmax(-1) == batch.next_B).sum()))
        return scores

    def predictions(self, batch: TextBatch) -> dict[str, tuple[Tensor, Tensor]]:
        """For the word objective the states that predict, [P, D], and the ids to predict, [P]."""
        name, predicted_P, labels_P = _predicted(batch)
        return {name: (self.bert(batch.packed, predicted_P), labels_P)}

    def hidden(self, packed: Packed, rows_P: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states of the last layer at the first tokens, [B, D], and at `rows_P`, [P, D].

        Without a pair task nothing looks at the first tokens, and there are none: [0, D].
        """
        firsts_B = packed.firsts_B if self.pooler is not None else rows_P[:0]
        hidden_RD: Tensor = self.bert(packed, torch.cat([firsts_B, rows_P]))
        return hidden_RD[: len(firsts_B)], hidden_RD[len(firsts_B) :]

    def logits(self, hidden_PD: Tensor) -> Tensor:
        """Scores over the vocabulary, [P, V]."""
        transformed_PD = self.mlm.transform(hidden_PD)
        word_VD = self.bert.embeddings.word.weight
        return linear(transformed_PD, word_VD, self.mlm.bias_V)

    def pair_logits(self, first_BD: Tensor) -> Tensor:
        """Scores [B, 2] from the first tokens' hidden states.

        Column 0 says that B follows A, column 1 that it does not.

        Raises:
            ValueError: the model was built without a pair task.
        """
        if self.pooler is None or self.next_sentence is None:
            raise ValueError("this model has no next-sentence head: it was trained without one")
        scores_BC: Tensor = self.next_sentence(self.pooler(first_BD))
        return scores_BC


class BertForNextSentence(nn.Module):
    """BERT with pooler and two-way classifier alone (`BertForNextSentencePrediction`)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = Bert(config)
        self.pooler = Pooler(config)
        self.next_sentence = Linear(config.hidden_size, 2)
        initialize(self, config.initializer_range)

    def pair_logits(self, first_BD: Tensor) -> Tensor:
        """Scores [B, 2], as `BertForPretraining.pair_logits`."""
        scores_BC: Tensor = self.next_sentence(self.pooler(first_BD))
        return scores_BC


def _predicted(batch: TextBatch) -> tuple[str, Tensor, Tensor]:
    """Name of the word objective, which rows of T predict, and what is right there."""
    if isinstance(batch, LanguageBatch):
        followed_R = batch.followed_R
        return "forward", followed_R, batch.packed.ids_T[followed_R + 1]
    return "mlm", batch.masked_P, batch.labels_P


def vocabulary_scores(
    hidden_PD: Tensor, labels_P: Tensor, logits: Callable[[Tensor], Tensor], *, vocabulary: int
) -> tuple[float, int]:
    """Sum of -log softmax(logits)[label] in nats, and how often the label scored highest.

    `logits` maps [S, D] to [S, V]; it is called with slices, so that [P, V] is never held whole.
    `vocabulary` is V.
    """
    loss, right = 0.0, 0
    for logits_SV, labels_S in _slices(hidden_PD, labels_P, logits, vocabulary=vocabulary):
        loss += float(functional.cross_entropy(logits_SV, labels_S, reduction="sum"))
        right += int((logits_SV.argmax(-1) == labels_S).sum())
    return loss, right


def label_log_probabilities(
    hidden_PD: Tensor, labels_P: Tensor, logits: Callable[[Tensor], Tensor], *, vocabulary: int
) -> Tensor:
    """log softmax(logits)[label] of each row in nats, fp32 [P]; as `vocabulary_scores` computes."""
    found = [
        -functional.cross_entropy(logits_SV, labels_S, reduction="none")
        for logits_SV, labels_S in _slices(hidden_PD, labels_P, logits, vocabulary=vocabulary)
    ]
    return torch.cat(found)


def _slices(
    hidden_PD: Tensor, labels_P: Tensor, logits: Callable[[Tensor], Tensor], *, vocabulary: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits in fp32 [S, V] and labels [S], few enough at a time to stay in the cache."""
    step, _ = _strip_and_block(hidden_PD, vocabulary)
    for hidden_SD, labels_S in zip(
        torch.split(hidden_PD, step), torch.split(labels_P, step), strict=True
    ):
        yield logits(hidden_SD).float(), labels_S


def projected_cross_entropy(
    hidden_PD: Tensor,
    word_VD: Tensor,
    bias_V: Tensor | None,
    labels_P: Tensor,
    shares_P: Tensor | None = None,
) -> Tensor:
    """Sum over P of share * -log softmax(hidden @ word^T + bias)[label], in nats.

    None stands for no bias, and for shares of 1. The gradients are formed strip by strip while the
    logits are still in the cache, so that nothing passes over them again in the backward pass, and
    a large [P, V] matrix is never held whole. The loss of one prediction ends at 87 nats, where
    fp32 has no smaller probability.
    """
    if shares_P is None:
        shares_P = hidden_PD.new_ones(len(labels_P), dtype=torch.float32)
    loss: Tensor = _ProjectedCrossEntropy.apply(hidden_PD, word_VD, bias_V, labels_P, shares_P)  # type: ignore[no-untyped-call]
    return loss


def _strip_and_block(hidden_PD: Tensor, vocabulary: int) -> tuple[int, int]:
    """Rows whose logits are passed over at once, and rows of which gradients are held."""
    device = hidden_PD.device.type
    block = _HELD.get(device, _HELD["cuda"]) // (vocabulary * hidden_PD.dtype.itemsize)
    block = max(block // _STRIP, 1) * _STRIP
    return (_STRIP, block) if device == "cpu" else (block, block)


class _ProjectedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_PD: Tensor,
        word_VD: Tensor,
        bias_V: Tensor | None,
        labels_P: Tensor,
        shares_P: Tensor,
    ) -> Tensor:
        device = hidden_PD.device.type
        dtype = (
            torch.get_autocast_dtype(device)
            if torch.is_autocast_enabled(device)
            else hidden_PD.dtype
        )
        word = word_VD.to(dtype)
        if is_half_on_cpu(hidden_PD):  # The rows that are filled in have no share in the loss.
            hidden = whole_tiles(hidden_PD, dtype)
            spare = len(hidden) - len(hidden_PD)
            labels_P, shares_P = (functional.pad(row, (0, spare)) for row in (labels_P, shares_P))
        else:
            hidden = hidden_PD.to(dtype)
        bias = None if bias_V is None else bias_V.to(dtype)
        needs_grad = any(ctx.needs_input_grad[:3])
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        grad_word = torch.zeros_like(word_VD) if needs_grad else None
        grad_bias = torch.zeros_like(bias_V) if needs_grad and bias_V is not None else None
        total = hidden_PD.new_zeros((), dtype=torch.float32)
        strip, block = _strip_and_block(hidden, len(word))
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden), block):
                end = min(start + block, len(hidden))
                grads = hidden.new_empty(end - start, len(word))
                for first in range(start, end, strip):
                    rows = slice(first, min(first + strip, end))
                    grad = grads[first - start : rows.stop - start]
                    labels, shares = labels_P[rows, None], shares_P[rows, None]
                    logits = functional.linear(hidden[rows], word, bias)
                    torch.softmax(logits, 1, out=grad)  # In half precision too it adds up in fp32.
                    right = grad.gather(1, labels)
                    # The smallest number ends a loss at 87 nats; beyond, its gradient is right.
                    likely = right.float().clamp(min=torch.finfo(torch.float32).tiny)
                    total -= (likely.log() * shares).sum()
                    grad.scatter_(1, labels, right - 1).mul_(shares.to(dtype))
                    if grad_hidden is not None:
                        torch.mm(grad, word, out=grad_hidden[rows])
                if grad_word is not None:
                    grad_word += grads.mT @ hidden[start:end]
                if grad_bias is not None:
                    grad_bias += grads.sum(0)
        if grad_hidden is not None:
            ctx.save_for_backward(grad_hidden, grad_word, grad_bias)
            ctx.dtype, ctx.rows = hidden_PD.dtype, len(hidden_PD)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        grad_hidden, grad_word, grad_bias = ctx.saved_tensors
        scaled_bias = None if grad_bias is None else grad_bias * grad
        scaled_hidden = (grad_hidden[: ctx.rows] * grad).to(ctx.dtype)
        return scaled_hidden, grad_word * grad, scaled_bias, None, None
