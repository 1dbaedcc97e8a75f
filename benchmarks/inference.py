"""Inference on a CPU: bertsmith's backends beside `transformers` and plain runtimes, interleaved.

    python benchmarks/inference.py speed --data DIR [--models minilm base] [--out FILE]
    python benchmarks/inference.py latency --data DIR [--models minilm base] [--out FILE]
    python benchmarks/inference.py scores --tuned FOLDER=DEV [...] --calibration FOLDER=FILE [...]

DIR has GLUE's folders (SST-2, MRPC) in `glue/` and SQuAD's dev-v1.1.json in `squad/`.

`speed`: every contender makes the vectors (mean of the last layer) of the same texts, tokenizing
included; in each round all of them take their turn, and ratios are taken inside a round. Medians
are printed with the smallest and largest round, and how far each contender's vectors are from those
of `transformers` in fp32. `latency`: the same for one text at a time.

Contenders beside bertsmith's backends:
- `transformers`, fp32 and bf16 (autocast, where the processor has bf16), SDPA attention;
- ONNX Runtime and OpenVINO on the same graphs, fp32 and int8, as one writes it with their Python
  APIs: batches in the order of the texts, padded to the longest ("plain");
- the same on texts sorted by length ("sorted"), which is what sentence-transformers does with its
  ONNX and OpenVINO backends (they need optimum, which does not work with transformers 5);
- sentence-transformers in torch.

Peers get batches of 32 texts, the default of sentence-transformers.

`scores`: int8 exports of fine-tuned folders in both formats: the score on labelled data before and
after.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer as TheirTokenizer

import bertsmith
from bertsmith.checkpoints.folder import save_model
from bertsmith.checkpoints.sources import resolve
from bertsmith.inference.backends.selection import processor_name
from bertsmith.models.bert.config import BertConfig
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.config import SIZES
from bertsmith.tasks.datasets import registry
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.training.parallel.matrix_rate import timed
from bertsmith.training.parallel.precision import has_native_bf16

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
BATCH = 32
LONGEST = 256
"""Tokens at which every contender truncates a text, as MiniLM's folder says."""
CPU = torch.device("cpu")
MOST_TEXTS = {"minilm": 2000, "base": 300}
"""Of each data set: what a round can compute in reasonable time."""


# --- contenders ---------------------------------------------------------------------------------


def their_tokenizer(folder: Path) -> TheirTokenizer:
    tokenizer = TheirTokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding()
    return tokenizer


def encoded(tokenizer: TheirTokenizer, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    found = tokenizer.encode_batch(list(texts))
    return {
        "input_ids": np.array([one.ids for one in found]),
        "attention_mask": np.array([one.attention_mask for one in found]),
        "token_type_ids": np.array([one.type_ids for one in found]),
    }


def in_batches(answer: Embed, *, by_length: bool) -> Embed:
    def embed(texts: Sequence[str]) -> Vectors:
        order = np.arange(len(texts))
        if by_length:
            order = np.argsort([-len(text) for text in texts], kind="stable")
        parts = [
            answer([texts[place] for place in order[start : start + BATCH]])
            for start in range(0, len(texts), BATCH)
        ]
        vectors = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
        vectors[order] = np.concatenate(parts)
        return vectors

    return embed


def with_transformers(folder: Path, *, bf16: bool) -> Embed:
    from transformers import AutoModel

    tokenizer, model = their_tokenizer(folder), AutoModel.from_pretrained(folder).eval()

    def embed(texts: Sequence[str]) -> Vectors:
        inputs = {name: torch.from_numpy(ids) for name, ids in encoded(tokenizer, texts).items()}
        autocast = torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext()
        with torch.inference_mode(), autocast:
            hidden = model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"][..., None]
        vectors: Vectors = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
        return vectors

    return embed


def with_onnx_runtime(exported: Path) -> Embed:
    import onnxruntime

    tokenizer = their_tokenizer(exported)
    session = onnxruntime.InferenceSession(
        str(exported / "model.onnx"), providers=["CPUExecutionProvider"]
    )

    def embed(texts: Sequence[str]) -> Vectors:
        [vectors] = session.run(["sentence_embedding"], encoded(tokenizer, texts))
        return vectors

    return embed


def with_openvino(exported: Path, precision: str) -> Embed:
    import openvino

    tokenizer = their_tokenizer(exported)
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.compile_model(str(exported / "openvino_model.xml"), "CPU", settings)

    def embed(texts: Sequence[str]) -> Vectors:
        return np.array(model(encoded(tokenizer, texts))["sentence_embedding"])

    return embed


def with_sentence_transformers(folder: Path) -> Embed:
    from sentence_transformers import SentenceTransformer, models

    words = models.Transformer(str(folder), max_seq_length=LONGEST)
    pooling = models.Pooling(words.get_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[words, pooling], device="cpu")

    def embed(texts: Sequence[str]) -> Vectors:
        found: Vectors = model.encode(list(texts), batch_size=BATCH, show_progress_bar=False)
        return found

    return embed


def with_bertsmith(folder: Path, backend: Any, precision: Any) -> Embed:
    model = bertsmith.load(folder, device="cpu", backend=backend, precision=precision)
    return partial(model.embed, pooling="mean", layers=(-1,))


def contenders(folder: Path, exports: dict[str, Path], *, alone: bool) -> dict[str, Embed]:
    """Every contender by name; `alone`: for one text at a time, so without batches."""
    found: dict[str, Embed] = {"transformers fp32": with_transformers(folder, bf16=False)}
    bf16 = has_native_bf16(CPU)
    if bf16:
        found["transformers bf16"] = with_transformers(folder, bf16=True)
    found["onnxruntime fp32"] = with_onnx_runtime(exports["onnx"])
    found["onnxruntime int8"] = with_onnx_runtime(exports["onnx int8"])
    found["openvino fp32"] = with_openvino(exports["openvino"], "f32")
    if bf16:
        found["openvino bf16"] = with_openvino(exports["openvino"], "bf16")
    found["openvino int8"] = with_openvino(exports["openvino int8"], "f32")
    if not alone:
        for name in list(found):
            plain = found.pop(name)
            found[f"{name}, plain"] = in_batches(plain, by_length=False)
            if not name.startswith("transformers"):
                found[f"{name}, sorted"] = in_batches(plain, by_length=True)
    found["sentence-transformers"] = with_sentence_transformers(folder)
    precisions = ("fp32", "bf16") if bf16 else ("fp32",)
    for precision in precisions:
        found[f"bertsmith torch {precision}"] = with_bertsmith(folder, "torch", precision)
    found["bertsmith onnx fp32"] = with_bertsmith(folder, "onnx", "fp32")
    found["bertsmith onnx int8"] = with_bertsmith(exports["onnx int8"], None, "fp32")
    for precision in precisions:
        found[f"bertsmith openvino {precision}"] = with_bertsmith(folder, "openvino", precision)
        found[f"bertsmith openvino int8 {precision}"] = with_bertsmith(
            exports["openvino int8"], None, precision
        )
    return found


# --- what they are measured on ------------------------------------------------------------------


def texts_of(data: Path, most: int) -> dict[str, list[str]]:
    """Real texts of mixed lengths, in the order of their files."""
    sentences = [
        example.a
        for example in registry.read(
            data / "glue" / "SST-2" / "dev.tsv", registry.TASKS["sst-2"], "dev"
        )
    ]
    pairs = registry.read(data / "glue" / "MRPC" / "dev.tsv", registry.TASKS["mrpc"], "dev")
    articles = json.loads((data / "squad" / "dev-v1.1.json").read_text())["data"]
    paragraphs = [row["context"] for article in articles for row in article["paragraphs"]]
    found = {
        "SST-2": sentences,
        "MRPC": [text for pair in pairs for text in (pair.a, pair.b)],
        "SQuAD": paragraphs,
    }
    draw = np.random.default_rng(0)
    return {
        name: [texts[place] for place in draw.permutation(len(texts))[:most]]
        for name, texts in found.items()
    }


def model_folder(name: str, work: Path) -> Path:
    """`minilm`, or a preset with random weights and MiniLM's vocabulary, alone in a folder."""
    folder = work / name
    tokenizer = Tokenizer.load(resolve("minilm"))
    if name in SIZES:
        torch.manual_seed(0)
        config = BertConfig.preset(name, vocab_size=len(tokenizer.vocab))
        save_model(folder, BertForPretraining(config), tokenizer, card="")
        return folder
    source = resolve(name)
    folder.mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt"):
        (folder / file).symlink_to(source / file)
    return folder


def exports_of(folder: Path, texts: Sequence[str], work: Path) -> dict[str, Path]:
    rows = [{"text": text} for text in texts]
    found = {}
    for to in ("onnx", "openvino"):
        for int8 in (False, True):
            name = f"{to} int8" if int8 else to
            found[name] = work / f"{folder.name}-{name.replace(' ', '-')}"
            bertsmith.export(
                folder,
                found[name],
                to=to,  # type: ignore[arg-type]
                head="embedding",
                int8=int8,
                calibration_data=rows if int8 else None,
            )
    return found


# --- measuring ----------------------------------------------------------------------------------


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def rounds_of(
    entries: dict[str, Embed], texts: Sequence[str], rounds: int, *, alone: bool
) -> dict[str, Any]:
    """Texts per second of each contender (or seconds for one text), and its distance."""
    reference = entries["transformers fp32" if alone else "transformers fp32, plain"](texts)
    spent: dict[str, list[float]] = {name: [] for name in entries}
    distance = {}
    for name, embed in entries.items():  # warm-up: shapes are compiled
        vectors = embed(texts)
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
        cosines = np.sum(vectors * reference, 1) / lengths
        distance[name] = float(1 - cosines.mean())
    for _ in range(rounds):
        for name, embed in entries.items():
            spent[name].append(timed(partial(embed, texts), CPU))
    peers = [name for name in entries if not name.startswith("bertsmith")]
    best = min(peers, key=lambda name: statistics.median(spent[name]))
    plain = next(name for name in peers if name.startswith("transformers fp32"))
    found = {}
    for name, seconds in spent.items():
        ratios = [theirs / ours for theirs, ours in zip(spent[best], seconds, strict=True)]
        over_plain = [theirs / ours for theirs, ours in zip(spent[plain], seconds, strict=True)]
        found[name] = {
            "texts_per_second": summary([len(texts) / one for one in seconds]),
            "faster_than_best_peer": summary(ratios),
            "faster_than_transformers_fp32": summary(over_plain),
            "cosine_distance": distance[name],
        }
    return {"best_peer": best, "contenders": found}


def show(title: str, result: dict[str, Any], *, alone: bool) -> None:
    print(f"\n{title}; the best peer is {result['best_peer']}")
    unit = "ms a text" if alone else "texts/s"
    print(f"  {'':28}{unit:>10}  {'of best peer':>24}  {'of transformers':>16}  distance")
    for name, row in result["contenders"].items():
        rate = row["texts_per_second"]["median"]
        ratio, plain = row["faster_than_best_peer"], row["faster_than_transformers_fp32"]["median"]
        told = f"{ratio['median']:.2f}x ({ratio['lowest']:.2f}..{ratio['highest']:.2f})"
        number = 1000 / rate if alone else rate
        print(
            f"  {name:28}{number:>10,.2f}  {told:>24}  {plain:>15.2f}x  "
            f"{row['cosine_distance']:.1e}"
        )


def measure(arguments: argparse.Namespace, *, alone: bool) -> list[dict[str, Any]]:
    results = []
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            folder = model_folder(name, work)
            most = arguments.texts or MOST_TEXTS.get(name, 500)
            sets = texts_of(arguments.data, most)
            calibration = [text for texts in sets.values() for text in texts[:100]]
            entries = contenders(folder, exports_of(folder, calibration, work), alone=alone)
            for part, texts in sets.items():
                if arguments.parts and part not in arguments.parts:
                    continue
                given = sorted(texts, key=len)[len(texts) // 2 :][:1] if alone else texts
                result = rounds_of(entries, given, arguments.rounds, alone=alone)
                show(f"{name}, {part}, {len(given)} texts", result, alone=alone)
                results.append({"model": name, "texts": part, "count": len(given)} | result)
    return results


def scores(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    calibration = dict(one.split("=", 1) for one in arguments.calibration)
    results = []
    for folder, dev in (one.split("=", 1) for one in arguments.tuned):
        for to in ("onnx", "openvino"):
            with tempfile.TemporaryDirectory() as work:
                done = bertsmith.export(
                    folder,
                    Path(work) / "out",
                    to=to,  # type: ignore[arg-type]
                    int8=True,
                    calibration_data=calibration[folder],
                    dev=dev,
                    max_loss=arguments.max_loss,
                )
            print(f"{folder}, {to}: {done.score_before:.2f} before, {done.score:.2f} after")
            results.append(
                {"model": folder, "format": to, "before": done.score_before, "after": done.score}
                | {"fp32_layers": done.fp32_layers}
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    for name, rounds in (("speed", 5), ("latency", 50)):
        part = parts.add_parser(name)
        part.add_argument("--data", type=Path, required=True)
        part.add_argument("--models", nargs="+", default=["minilm", "base"])
        part.add_argument("--parts", nargs="+", help="SST-2, MRPC, SQuAD; all if left out")
        part.add_argument("--texts", type=int, default=0, help="of each part; 0: by model")
        part.add_argument("--rounds", type=int, default=rounds)
        part.add_argument("--out", type=Path, help="write the numbers as JSON")
    part = parts.add_parser("scores")
    part.add_argument("--tuned", nargs="+", required=True, metavar="FOLDER=DEV")
    part.add_argument("--calibration", nargs="+", required=True, metavar="FOLDER=FILE")
    part.add_argument("--max-loss", type=float, default=0.5)
    part.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    if arguments.part == "scores":
        results = scores(arguments)
    else:
        results = measure(arguments, alone=arguments.part == "latency")
    if arguments.out:
        packages = ("torch", "transformers", "onnxruntime", "openvino", "sentence-transformers")
        about = {
            "device": processor_name(),
            "threads": torch.get_num_threads(),
            "load": os.getloadavg()[0],
        } | {package: version(package) for package in packages}
        arguments.out.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
