"""Pre-training speed: bertsmith beside `transformers`, interleaved, on the same sequences.

    python benchmarks/pretrain.py --data CORPUS [--sizes tiny mini base] [--rounds 5] [--out FILE]

Every contender trains a BERT of the same shape on the same examples of the corpus (masked words
and next sentence, AdamW, clipping at 1; dropout and masks of recipe `paper`, unless the flags say
otherwise): forward, backward, clip, step.
In each round every contender takes one step, in turn, and so does a plain matrix product of the
model's own feed-forward shape; a ratio is taken inside a round, and medians with the smallest and
largest round are printed. Tokens are real tokens, padding not counted.

The peer gets what its documentation advises: SDPA attention, fused AdamW, dynamic padding to the
longest of sequences sorted by length, bf16 autocast and `torch.compile` (default mode; padded to
the full length then, so that there is one shape to compile). bf16 is left out where the CPU would
only imitate it, except for one informative row at the smallest size, and with `--precision fp32`,
which holds contenders and the plain product to fp32.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
import transformers

from bertsmith.core.runtime import World, keep_freed_memory
from bertsmith.corpus.shards import Corpus
from bertsmith.inference.backends.selection import processor_name
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.modules.packed import PretrainBatch
from bertsmith.models.parameters import to_theirs
from bertsmith.pretraining.batches import Batches
from bertsmith.training.config import OptimizerConfig
from bertsmith.training.optimizer import adamw, clip, set_learning_rate
from bertsmith.training.parallel.matrix_rate import matrix_rate, timed
from bertsmith.training.parallel.model import Parallel
from bertsmith.training.parallel.place import Place
from bertsmith.training.parallel.precision import choose_precision, has_native_bf16

Step = Callable[[list[PretrainBatch]], float]
LENGTH = 128
SEQUENCES = {"cpu": 32, "cuda": 512}
IGNORED = -100


def ours(config: BertConfig, state: dict[str, torch.Tensor], place: Place) -> Step:
    model = BertForPretraining(config).train()
    model.load_state_dict(state)
    parallel = Parallel(model, place)
    optimizer = adamw(
        model, OptimizerConfig(weight_decay=0.01, beta1=0.9, beta2=0.999, epsilon=1e-6)
    )
    set_learning_rate(optimizer, 1e-4)

    def step(batches: list[PretrainBatch]) -> float:
        """As `take_step` of bertsmith.training.loop."""
        optimizer.zero_grad(set_to_none=True)
        counts = {name: sum(b.counts[name] for b in batches) for name in batches[0].counts}
        total = torch.zeros((), device=place.device)
        for batch in batches:
            losses = parallel.losses(batch.to(place.device))
            loss = torch.stack([losses[name].float() / counts[name] for name in counts]).sum()
            loss.backward()
            total += loss.detach()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        clip(gradients, float(torch.nn.utils.get_total_norm(gradients)), longest=1.0)
        optimizer.step()
        return float(total)

    return step


def theirs(
    config: BertConfig,
    state: dict[str, torch.Tensor],
    place: Place,
    *,
    bf16: bool,
    compiled: bool,
) -> Step:
    their_config = transformers.BertConfig(**msgspec.structs.asdict(config))
    their_config._attn_implementation = "sdpa"
    model = transformers.BertForPreTraining(their_config).train()
    model.load_state_dict(to_theirs(config, state), strict=False)
    model.to(place.device)
    decay = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=1e-4,
        eps=1e-6,
        fused=True,
    )
    forward: Any = torch.compile(model) if compiled else model
    kind = place.device.type

    def step(batches: list[PretrainBatch]) -> float:
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for batch in batches:
            inputs = padded(batch, LENGTH if compiled else batch.packed.longest)
            inputs = {name: value.to(place.device) for name, value in inputs.items()}
            with torch.autocast(kind, dtype=torch.bfloat16) if bf16 else nullcontext():
                loss = forward(**inputs).loss / len(batches)
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(total)

    return step


def padded(batch: PretrainBatch, length: int) -> dict[str, torch.Tensor]:
    """The same examples as `BertForPreTraining` takes them."""
    lengths = torch.tensor(batch.packed.lengths)
    real_BL = torch.arange(length) < lengths[:, None]
    labels_T = torch.full((batch.tokens,), IGNORED)
    labels_T[batch.masked_P] = batch.labels_P
    rows = {
        "input_ids": (batch.packed.ids_T, 0),
        "token_type_ids": (batch.packed.segments_T, 0),
        "labels": (labels_T, IGNORED),
    }
    inputs = {}
    for name, (values_T, blank) in rows.items():
        inputs[name] = torch.full(real_BL.shape, blank)
        inputs[name][real_BL] = values_T
    assert batch.next_B is not None
    return inputs | {"attention_mask": real_BL.long(), "next_sentence_label": batch.next_B}


def operations(config: BertConfig, batches: list[PretrainBatch]) -> float:
    """Floating-point operations that a step needs: 2 a multiply-add, backward twice forward."""
    width, inner = config.hidden_size, config.intermediate_size
    per_token = config.num_hidden_layers * (4 * width**2 + 2 * width * inner)
    total = 0.0
    for batch in batches:
        pairs = sum(length**2 for length in batch.packed.lengths)
        total += batch.tokens * per_token + config.num_hidden_layers * 2 * width * pairs
        total += batch.masked_P.numel() * (width**2 + width * config.vocab_size)
    return 6 * total


def contenders(
    config: BertConfig, place: Place, *, compiled: bool, imitated_bf16: bool
) -> dict[str, Step]:
    torch.manual_seed(0)
    state = BertForPretraining(config).state_dict()
    steps = {"bertsmith": ours(config, state, place)}
    native = has_native_bf16(place.device)
    with_bf16 = place.precision == "bf16" or (imitated_bf16 and not native)
    for bf16 in (False, True) if with_bf16 else (False,):
        for with_compile in (False, True) if compiled and (native or not bf16) else (False,):
            name = f"transformers {'bf16' if bf16 else 'fp32'}{' compile' * with_compile}"
            steps[name] = theirs(config, state, place, bf16=bf16, compiled=with_compile)
    return steps


def summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def measure(
    size: str, corpus: Corpus, place: Place, arguments: argparse.Namespace
) -> dict[str, Any]:
    config = BertConfig.named(size, vocab_size=corpus.manifest.vocab_size)
    config = msgspec.structs.replace(
        config,
        hidden_dropout_prob=arguments.dropout,
        attention_probs_dropout_prob=arguments.dropout,
    )
    sequences = arguments.sequences or SEQUENCES[place.device.type]
    smallest = size == arguments.sizes[0]
    steps = contenders(config, place, compiled=not arguments.no_compile, imitated_bf16=smallest)
    dtype = torch.bfloat16 if place.precision == "bf16" else torch.float32
    tokens_per_second: dict[str, list[float]] = {name: [] for name in steps}
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    shares: dict[str, list[float]] = {name: [] for name in steps}
    rates = []
    with Batches(
        corpus.split("train"),
        corpus.tokenizer,
        length=LENGTH,
        batch_size=sequences,
        mlm_probability=arguments.masks,
    ) as data:
        losses = {name: step(data.at(0)) for name, step in steps.items()}  # warm-up and compile
        for turn in range(1, arguments.rounds + 1):
            batches = data.at(turn)
            tokens = sum(batch.tokens for batch in batches)
            rate = matrix_rate(
                place.device, dtype, width=config.hidden_size, inner=config.intermediate_size
            )
            rates.append(rate / 1e9)
            for name, step in steps.items():
                imitated = "bf16" in name and not has_native_bf16(place.device)
                if imitated and turn > 1:
                    continue
                seconds = timed(partial(step, batches), place.device)
                tokens_per_second[name].append(tokens / seconds)
                shares[name].append(operations(config, batches) / seconds / rate)
            for name, speeds in tokens_per_second.items():
                if len(speeds) == turn:
                    ratios[name].append(tokens_per_second["bertsmith"][-1] / speeds[-1])
    peers = [name for name in steps if name != "bertsmith"]
    best = max(peers, key=lambda name: statistics.median(tokens_per_second[name]))
    print(
        f"\n{size}, {LENGTH} tokens, {sequences} sequences a step, dropout {arguments.dropout}, "
        f"{arguments.masks:.0%} masked"
    )
    print(f"  matrix products alone ({place.precision}): {statistics.median(rates):,.0f} GFLOP/s")
    print(
        f"  {'':28}{'tokens/s':>10}  {'ours is faster by (lowest..highest)':38}share of matrix rate"
    )
    for name, speeds in tokens_per_second.items():
        ratio = summary(ratios[name]) if ratios[name] else None
        told = (
            f"{ratio['median']:.2f}x ({ratio['lowest']:.2f}..{ratio['highest']:.2f})"
            if ratio
            else f"{statistics.median(tokens_per_second['bertsmith']) / speeds[0]:.1f}x (one step)"
        )
        share = statistics.median(shares[name])
        mark = " <- best peer" if name == best else ""
        print(f"  {name:28}{statistics.median(speeds):>10,.0f}  {told:38}{share:.0%}{mark}")
    return {
        "size": size,
        "sequences": sequences,
        "dropout": arguments.dropout,
        "masks": arguments.masks,
        "precision": place.precision,
        "vocab_size": config.vocab_size,
        "matrix_gflops": summary(rates),
        "best_peer": best,
        "first_losses": losses,
        "contenders": {
            name: {
                "tokens_per_second": summary(tokens_per_second[name]),
                "bertsmith_is_faster_by": summary(ratios[name]) if ratios[name] else None,
                "share_of_matrix_rate": summary(shares[name]),
            }
            for name in steps
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of a prepared corpus")
    parser.add_argument("--sizes", nargs="+", default=["tiny", "mini", "base"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=0, help="per step; 0 chooses by device")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--masks", type=float, default=0.15, help="part of the tokens predicted")
    parser.add_argument("--precision", choices=["auto", "fp32"], default="auto")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = Place(World(), device, choose_precision(arguments.precision, device))
    keep_freed_memory()  # As the loop does; it serves every contender.
    corpus = Corpus.open(arguments.data, verify=False)
    results = [measure(size, corpus, place, arguments) for size in arguments.sizes]
    if arguments.out:
        about = {
            "device": torch.cuda.get_device_name() if device.type == "cuda" else processor_name(),
            "threads": torch.get_num_threads(),
            "native_bf16": has_native_bf16(device),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        arguments.out.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
