"""Training speed of the other models: bertsmith beside what people use, interleaved, on a CPU.

    python benchmarks/compare_speed.py [--models gpt elmo] [--rounds 20] [--out FILE.json]

Contenders train the same shape (GPT's from the same weights): forward, backward, clip, AdamW. In
each round every one of them takes a step, in turn; a ratio is taken inside a round, and medians are
printed with the smallest and largest round. Tokens are real tokens, padding not counted. Batches
are made before the clock starts.

GPT: against `transformers`' `OpenAIGPTLMHeadModel` on texts of 8 to 128 tokens, padded to the
longest with a mask and the padding left out of the loss; and, its best case, on rows of 128 tokens
with no padding at all, as texts run together and cut give them.

ELMo: against the same model with `torch.nn.LSTM(proj_size=...)` on packed sequences in the place of
each of its LSTMs, whose cells are not clipped.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import transformers
from pretrain import IGNORED, summary, timed
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bertsmith.core.runtime import World
from bertsmith.inference.backends.selection import processor_name
from bertsmith.models.elmo.config import ElmoConfig
from bertsmith.models.elmo.model import ElmoForPretraining
from bertsmith.models.gpt.config import GptConfig
from bertsmith.models.gpt.model import GptForPretraining
from bertsmith.models.modules.lstm import Steps
from bertsmith.models.modules.packed import LanguageBatch, pack
from bertsmith.models.parameters import to_theirs
from bertsmith.training.config import OptimizerConfig
from bertsmith.training.optimizer import adamw, clip, set_learning_rate
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.parallel.place import Place

OURS = "bertsmith"
VOCABULARY, LENGTH, SEQUENCES = 8000, 128, 32
TARGETS = {"gpt": 2.0, "elmo": 1.0}


@dataclass(frozen=True)
class Contest:
    """Contenders by name, ours among them, and what each is given in a round."""

    shape: str
    target: float
    steps: dict[str, Callable[[Any], object]]
    batches: Callable[[int], dict[str, tuple[Any, int]]]
    """Of a round, for each contender: its batch and the real tokens in it."""


def our_step(model: nn.Module, place: Place) -> Callable[[Any], float]:
    """As `take_step` of bertsmith.training.loop, for any model with `losses`."""
    parallel = Parallel(model.train(), place)
    optimizer = adamw(
        model, OptimizerConfig(weight_decay=0.01, beta1=0.9, beta2=0.999, epsilon=1e-6)
    )
    set_learning_rate(optimizer, 1e-4)

    def step(batch: Any) -> float:
        optimizer.zero_grad(set_to_none=True)
        losses, counts = parallel.losses(batch), batch.counts
        loss = torch.stack([losses[name].float() / counts[name] for name in counts]).sum()
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        clip(gradients, float(torch.nn.utils.get_total_norm(gradients)), longest=1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def their_step(model: nn.Module) -> Callable[[dict[str, Tensor]], float]:
    """The usual loop around a model of `transformers`."""
    model.train()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.01},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, eps=1e-6, fused=True)

    def step(inputs: dict[str, Tensor]) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def gpt(place: Place, size: str) -> Contest:
    config = GptConfig.named(size, vocab_size=VOCABULARY)
    torch.manual_seed(0)
    ours = GptForPretraining(config)
    state = to_theirs(ours.config, ours.state_dict())

    def theirs() -> nn.Module:
        model = transformers.OpenAIGPTLMHeadModel(
            transformers.OpenAIGPTConfig(**msgspec.structs.asdict(config))
        )
        model.load_state_dict(state, strict=False)
        model.tie_weights()
        return model

    def batches(turn: int) -> dict[str, tuple[Any, int]]:
        draw = np.random.default_rng(turn)
        # The longest first, as bertsmith's batches come.
        lengths = np.sort(draw.integers(8, LENGTH + 1, SEQUENCES))[::-1].tolist()
        ids = [draw.integers(5, VOCABULARY, length) for length in lengths]
        rows_BL = torch.from_numpy(draw.integers(5, VOCABULARY, (sum(lengths) // LENGTH, LENGTH)))
        return {
            OURS: (LanguageBatch(pack(ids), backward=False), sum(lengths)),
            "transformers, padded": (padded(ids), sum(lengths)),
            "transformers, full rows": ({"input_ids": rows_BL, "labels": rows_BL}, rows_BL.numel()),
        }

    peers = {name: theirs() for name in batches(0) if name != OURS}
    same_loss(ours, peers["transformers, padded"], batches(0))
    steps: dict[str, Callable[[Any], object]] = {OURS: our_step(ours, place)}
    steps |= {name: their_step(model) for name, model in peers.items()}
    return Contest(f"GPT {size}, vocabulary {VOCABULARY:,}", TARGETS["gpt"], steps, batches)


def padded(ids: list[np.ndarray]) -> dict[str, Tensor]:
    """Texts as `OpenAIGPTLMHeadModel` takes them."""
    lengths = torch.tensor([len(row) for row in ids])
    real_BL = torch.arange(int(lengths.max())) < lengths[:, None]
    ids_BL = torch.zeros(real_BL.shape, dtype=torch.int64)
    ids_BL[real_BL] = torch.from_numpy(np.concatenate(ids))
    labels_BL = ids_BL.masked_fill(~real_BL, IGNORED)
    return {"input_ids": ids_BL, "labels": labels_BL, "attention_mask": real_BL.long()}


@torch.no_grad()
def same_loss(ours: GptForPretraining, theirs: nn.Module, given: dict[str, Any]) -> None:
    """What is timed must be the same computation."""
    batch, inputs = given[OURS][0], given["transformers, padded"][0]
    loss = float(ours.eval().losses(batch)["forward"]) / batch.counts["forward"]
    expected = float(theirs.eval()(**inputs).loss)
    assert abs(loss - expected) < 1e-4, (loss, expected)


class PlainLstm(nn.Module):
    """PyTorch's LSTM with a projection, called as `ProjectedLstm` is."""

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__()
        width, projection = config.lstm_width, config.projection
        self.lstm = nn.LSTM(projection, width, proj_size=projection)

    def forward(self, inputs_TI: Tensor, steps: Steps) -> Tensor:
        """[T, I] -> [T, P]."""
        packed = PackedSequence(inputs_TI[steps.order_S], torch.tensor(steps.running))
        hidden: Tensor = self.lstm(packed)[0].data[steps.places_T]
        return hidden


def elmo(place: Place, size: str) -> Contest:
    width = GptConfig.named(size, vocab_size=VOCABULARY).n_embd
    config = ElmoConfig(
        vocab_size=VOCABULARY,
        filters=((1, 32), (2, 32), (3, 64), (4, 128)),
        projection=width // 2,
        lstm_width=3 * width,
    )
    pieces = [f"w{number}" for number in range(VOCABULARY)]
    torch.manual_seed(0)
    ours, plain = (ElmoForPretraining(config, pieces) for _ in range(2))
    for lstms in (plain.elmo.forward_lstms, plain.elmo.backward_lstms):
        for number in range(config.lstm_layers):
            lstms[number] = PlainLstm(config)

    def batches(turn: int) -> dict[str, tuple[Any, int]]:
        draw = np.random.default_rng(turn)
        lengths = np.sort(draw.integers(8, LENGTH + 1, SEQUENCES))[::-1].tolist()
        # Words as frequent as in text, so that some repeat.
        ranks = draw.zipf(1.2, sum(lengths)) % (VOCABULARY - 5) + 5
        ids = np.split(ranks, np.cumsum(lengths)[:-1])
        batch = LanguageBatch(pack(ids), backward=True)
        return dict.fromkeys((OURS, "torch.nn.LSTM"), (batch, sum(lengths)))

    steps: dict[str, Callable[[Any], object]] = {
        OURS: our_step(ours, place),
        "torch.nn.LSTM": our_step(plain, place),
    }
    name = f"ELMo of {config.lstm_width}, projected to {config.projection}, {VOCABULARY:,} tokens"
    return Contest(name, TARGETS["elmo"], steps, batches)


MODELS: dict[str, Callable[[Place, str], Contest]] = {"gpt": gpt, "elmo": elmo}


def measure(contest: Contest, place: Place, rounds: int) -> dict[str, Any]:
    speeds: dict[str, list[float]] = {name: [] for name in contest.steps}
    for turn in range(rounds + 1):
        given = contest.batches(turn)
        for name, step in contest.steps.items():
            batch, tokens = given[name]
            seconds = timed(partial(step, batch), place.device)
            if turn:  # the first one warms up
                speeds[name].append(tokens / seconds)
    print(f"\n{contest.shape}, {SEQUENCES} texts of up to {LENGTH} tokens a step")
    print(f"  {'':28}{'tokens/s':>10}  ours is faster by (lowest..highest)")
    contenders = {}
    for name, rates in speeds.items():
        ratios = [ours / rate for ours, rate in zip(speeds[OURS], rates, strict=True)]
        ratio, rate = summary(ratios), summary(rates)
        mark = (
            ""
            if name == OURS or ratio["median"] >= contest.target
            else f" <- below {contest.target}x"
        )
        print(
            f"  {name:28}{rate['median']:>10,.0f}  {ratio['median']:.2f}x "
            f"({ratio['lowest']:.2f}..{ratio['highest']:.2f}){mark}"
        )
        contenders[name] = {"tokens_per_second": rate, "bertsmith_is_faster_by": ratio}
    return {"shape": contest.shape, "rounds": rounds, "contenders": contenders}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--size", default="mini")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    place = Place(World(), torch.device("cpu"), "fp32")
    results = [
        measure(MODELS[name](place, arguments.size), place, arguments.rounds)
        for name in arguments.models
    ]
    if arguments.out:
        about = {
            "device": processor_name(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        arguments.out.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
