"""Inside a model, on one's own text: input, embeddings, attention, expectations, similarities.

Everything is of one input, `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, as the model computes it in
evaluation mode: the numbers of `transformers` with eager attention.
"""

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from bertsmith.core.errors import UsageError
from bertsmith.inference.fill_mask import Candidate
from bertsmith.models.bert.heads import BertForNextSentence
from bertsmith.models.elmo.model import ElmoForPretraining
from bertsmith.models.family import (
    Encoder,
    Pretrained,
    TaskModel,
    check_segments,
    encoder_of,
    next_sentence_model,
    recurrent_model,
)
from bertsmith.models.modules.layers import Stack
from bertsmith.models.modules.packed import LanguageBatch, Packed, pack
from bertsmith.text.tokenizer import encode
from bertsmith.text.tokenizer.tokenizer import Tokenizer

MAX_TOKENS = 128
"""Attention grows with the square of the tokens, and nobody reads a larger map."""

Matrix = list[list[float]]


class InputToken(msgspec.Struct, frozen=True):
    """A token of the input."""

    token: str
    id: int
    segment: int
    position: int
    start: int
    """Character of the text (of segment 0: a, of segment 1: b) where it begins; 0 at `[CLS]` and
    `[SEP]`, as `end`."""
    end: int


class Expectation(msgspec.Struct, frozen=True):
    """What a model expects at a token that it does not see."""

    candidates: list[Candidate]
    """The most probable pieces, best first."""
    probability: float
    """Of the piece that stands there."""
    rank: int
    """Of that piece, from 1."""


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the inspector shows of one input of L tokens."""

    model: str
    """As the user calls it."""
    family: str
    objective: str | None
    """What the model predicts; None where it predicts no words."""
    text: str
    text_b: str | None
    tokens: list[InputToken]
    embeddings: dict[str, Matrix]
    """The parts that are added, `token`, `segment` and `position` as the model has them, [L, D];
    `sum`, and `output`, what the first layer reads (of a BERT the sum after LayerNorm)."""
    position_similarity: Matrix
    """Cosines of the position embeddings, [L, L]; empty for an ELMo, which has none."""
    attention: list[list[Matrix]]
    """Layer -> head -> row: the token that looks, column: where it looks, [L, L]; rows add up to 1.
    Empty for an ELMo."""
    rollout: Matrix
    """Attention through all layers, half of each layer's output being its input (Abnar and Zuidema
    2020, "Quantifying attention flow in Transformers"), [L, L]. Empty for an ELMo."""
    saliency: Matrix
    """ELMo only: the size of the gradient of each token's log-probability by each token's vector,
    rows add up to 1, [L, L]."""
    similarity: list[Matrix]
    """Cosines of the tokens' states, of the embeddings and of each layer, [L, L]."""
    expected: list[Expectation | None]
    """By token; None for `[CLS]`, `[SEP]` and what a one-way model cannot predict."""
    next_sentence: float | None
    """Probability that b follows a; None without b or without that head."""


@torch.inference_mode()
def _states(encoder: Encoder, packed: Packed) -> list[Tensor]:
    """The embeddings and the states of each layer, [L, D] in fp32."""
    return [hidden_LD.float() for hidden_LD in encoder.layers(packed)]


def inspect(
    model: Pretrained | BertForNextSentence | TaskModel | Encoder,
    tokenizer: Tokenizer,
    text: str,
    text_b: str | None = None,
    *,
    name: str = "",
    family: str = "",
    top_k: int = 5,
) -> Inspection:
    """Runs a model over one input and keeps what happens inside.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        text: segment A; `[MASK]` is one.
        text_b: segment B, if there is one.
        name: what the user calls the model.
        family: `bert`, `gpt` or `elmo`.
        top_k: pieces to name of what a model expects.

    Raises:
        UsageError: the text is empty or has more than `MAX_TOKENS` tokens or the model positions,
            there are two texts and the model has one segment, or `top_k` is out of range.
    """
    if not 1 <= top_k <= len(tokenizer):
        raise UsageError(f"top_k is {top_k}; it must be from 1 to {len(tokenizer)}.")
    encoder = encoder_of(model)
    if text_b is not None:
        check_segments(name, encoder.config)
    limit = min(MAX_TOKENS, encoder.config.max_position_embeddings)
    built = _built(tokenizer, text, text_b, limit)
    device = next(encoder.parameters()).device
    packed = pack([built.ids], [built.segments]).to(device)
    states = _states(encoder, packed)
    attention = _attention(encoder, packed)
    pretrained = model if isinstance(model, Pretrained) else None
    recurrent = recurrent_model(model)
    return Inspection(
        model=name,
        family=family,
        objective=None if pretrained is None else pretrained.objective,
        text=text,
        text_b=text_b,
        tokens=[
            InputToken(token, piece, segment, position, start, end)
            for position, (token, piece, segment, (start, end)) in enumerate(
                zip(
                    tokenizer.tokens(built.ids),
                    built.ids,
                    built.segments,
                    built.offsets,
                    strict=True,
                )
            )
        ],
        embeddings=_embeddings(encoder, packed, states[0]),
        position_similarity=_position_similarity(encoder, len(built.ids)),
        attention=[[_rounded(head_LL) for head_LL in layer_NLL] for layer_NLL in attention],
        rollout=_rounded(_rollout(attention)) if attention else [],
        saliency=[] if recurrent is None else _rounded(saliency(recurrent, built.ids)),
        similarity=[_rounded(_cosines(states_LD)) for states_LD in states],
        expected=(
            [None] * len(built.ids)
            if pretrained is None
            else _expected(pretrained, tokenizer, built, packed, top_k)
        ),
        next_sentence=None if text_b is None else _next_sentence(model, packed),
    )


def _built(tokenizer: Tokenizer, text: str, text_b: str | None, limit: int) -> encode.Input:
    if text_b is None:
        built = encode.single(tokenizer, text, allow_special=True)
    else:
        # Long enough for whatever comes, so that what is too long is refused and not cut.
        built = encode.pair(tokenizer, text, text_b, max_length=len(text) + len(text_b) + 8)
    if all(word == encode.NO_WORD for word in built.words):
        raise UsageError("The text is empty; there is nothing to inspect.")
    if len(built.ids) > limit:
        raise UsageError(
            f"The text has {len(built.ids)} tokens, [CLS] and [SEP] counted; {limit} can be "
            "inspected at once. Give a shorter text."
        )
    return built


@torch.inference_mode()
def _embeddings(encoder: Encoder, packed: Packed, output_LD: Tensor) -> dict[str, Matrix]:
    parts: dict[str, Tensor] = {}
    if isinstance(encoder, Stack):
        parts = encoder.embeddings.parts(packed)
        parts["sum"] = torch.stack(list(parts.values())).sum(0)
    else:
        parts["token"] = output_LD
    parts["output"] = output_LD
    return {part: _rounded(values_LD) for part, values_LD in parts.items()}


@torch.inference_mode()
def _position_similarity(encoder: Encoder, length: int) -> Matrix:
    if not isinstance(encoder, Stack):
        return []
    return _rounded(_cosines(encoder.embeddings.position.weight[:length]))


@torch.inference_mode()
def _attention(encoder: Encoder, packed: Packed) -> list[Tensor]:
    """[N, L, L] of each layer."""
    if not isinstance(encoder, Stack):
        return []
    return [weights_NLL.float() for weights_NLL in encoder.attention_weights(packed)]


def _rollout(attention: Sequence[Tensor]) -> Tensor:
    """[L, L]."""
    identity_LL = torch.eye(attention[0].shape[-1], device=attention[0].device)
    rolled_LL = identity_LL
    for weights_NLL in attention:
        rolled_LL = (weights_NLL.mean(0) + identity_LL) / 2 @ rolled_LL
    return rolled_LL


def _cosines(values_LD: Tensor) -> Tensor:
    """[L, L]."""
    normed_LD = torch.nn.functional.normalize(values_LD.float(), dim=-1)
    return normed_LD @ normed_LD.T


def saliency(model: ElmoForPretraining, ids: list[int]) -> Tensor:
    """Norm of the gradient of each token's log-probability by each token's vector, [L, L].

    Both directions' log-probabilities are added; rows are scaled to add up to 1.
    """
    vectors: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        vectors.append(inputs[0])

    elmo = model.elmo
    hooks = [
        lstms[0].register_forward_pre_hook(keep)
        for lstms in (elmo.forward_lstms, elmo.backward_lstms)
    ]
    device = model.word_VP.device
    try:
        predictions = model.predictions(LanguageBatch(pack([ids]).to(device), backward=True))
    finally:
        for hook in hooks:
            hook.remove()
    values_L = torch.zeros(len(ids), device=device)
    for side, first in (("forward", 1), ("backward", 0)):
        hidden_RP, labels_R = predictions[side]
        found_R = model.logits(hidden_RP).log_softmax(-1).gather(1, labels_R[:, None])[:, 0]
        places_R = torch.arange(len(found_R), device=device) + first
        values_L = values_L.index_add(0, places_R, found_R)
    rows = []
    for value in values_L:
        gradients = torch.autograd.grad(value, vectors, retain_graph=True)
        rows.append(sum(gradient.square().sum(-1) for gradient in gradients).sqrt())  # type: ignore[union-attr]
    weights_LL = torch.stack(rows)
    return weights_LL / weights_LL.sum(-1, keepdim=True).clamp_min(1e-12)


@torch.inference_mode()
def _expected(
    model: Pretrained, tokenizer: Tokenizer, built: encode.Input, packed: Packed, top_k: int
) -> list[Expectation | None]:
    objective = model.objective
    encoder = encoder_of(model)
    places = [place for place, word in enumerate(built.words) if word != encode.NO_WORD]
    if objective == "masked":
        rows = [[*built.ids] for _ in places]
        for row, place in zip(rows, places, strict=True):
            row[place] = tokenizer.mask_id
        hidden = pack(rows, [built.segments] * len(rows)).to(packed.ids_T.device)
        at_P = hidden.firsts_B + torch.tensor(places, device=packed.ids_T.device)
        scores_PV = model.logits(encoder(hidden, at_P))
    else:
        places = [place for place in places if place > 0]
        at_P = torch.tensor(places, device=packed.ids_T.device)
        states_TD = encoder(packed)
        if objective == "both":
            before_TP, after_TP = states_TD.chunk(2, -1)
            places = [place for place in places if place + 1 < len(built.ids)]
            at_P = torch.tensor(places, device=packed.ids_T.device)
            scores_PV = model.logits(before_TP[at_P - 1]).log_softmax(-1) + model.logits(
                after_TP[at_P + 1]
            ).log_softmax(-1)
        else:
            scores_PV = model.logits(states_TD[at_P - 1])
    # Behind the vocabulary a model may have rows of padding, which have no name.
    probabilities_PV = scores_PV.float().softmax(-1)[:, : len(tokenizer)]
    best = probabilities_PV.topk(top_k)
    expected: list[Expectation | None] = [None] * len(built.ids)
    for place, row_V, values, ids in zip(
        places, probabilities_PV, best.values, best.indices, strict=True
    ):
        actual = row_V[built.ids[place]]
        expected[place] = Expectation(
            [
                Candidate(token, probability)
                for token, probability in zip(
                    tokenizer.tokens(ids.tolist()), values.tolist(), strict=True
                )
            ],
            float(actual),
            1 + int((row_V > actual).sum()),
        )
    return expected


@torch.inference_mode()
def _next_sentence(
    model: Pretrained | BertForNextSentence | TaskModel | Encoder, packed: Packed
) -> float | None:
    pairs = next_sentence_model(model)
    if pairs is None:
        return None
    scores_BC = pairs.pair_logits(pairs.bert(packed, packed.firsts_B))
    return float(scores_BC.float().softmax(-1)[0, 0])


def _rounded(values: Tensor) -> Matrix:
    """Six digits are more than anybody sees, and half the bytes of a page."""
    rows: Matrix = [
        [float(f"{value:.6g}") for value in row] for row in values.double().cpu().tolist()
    ]
    return rows
