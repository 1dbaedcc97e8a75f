"""What more words are worth: a model adapted to a domain with its own vocabulary and a larger one.

    python benchmarks/extend_vocabulary.py --out FOLDER [--model tiny-en] [--words 2000]
        [--steps 300] [--seeds 2] [--json RESULT]

The domain is the documentation inside installed Python packages: their docstrings, a module a
document, of which every tenth is held out. The same model continues on it for the same number of
steps, sequences and tokens a sequence, as it is and extended. Losses a token cannot be compared
between vocabularies, so a held-out sentence is scored whole: each piece with itself and the rest of
its word hidden (PLL-word-l2r, Kauf and Ivanova 2023), in nats a word.
"""

import argparse
import ast
import json
import platform
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import bertsmith
from bertsmith.checkpoints.folder import load_pretraining
from bertsmith.inference.minimal_pairs import totals
from bertsmith.inference.token_scores import Sentences
from bertsmith.text.tokenizer import encode
from bertsmith.text.tokenizer.tokenizer import Tokenizer
from bertsmith.text.tokenizer.words import count_words
from bertsmith.training.parallel.place import join

PACKAGES = ("torch", "numpy", "sklearn", "scipy", "pandas", "transformers")
SENTENCES = 400
SHORTEST, LONGEST = 8, 40  # words


def docstrings(package: str) -> Iterator[str]:
    """All docstrings of each module of a package, as one text."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).rglob("*.py")):
            if "test" in str(path):
                continue
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):
                continue
            kinds = ast.Module | ast.ClassDef | ast.FunctionDef
            found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
            text = "\n".join(" ".join(part.split()) for part in found if part)
            if len(text) > 500:
                yield text


def write_text(out: Path) -> tuple[Path, list[str]]:
    """The text to train on, and sentences that are held out."""
    texts = [text for package in PACKAGES for text in docstrings(package)]
    path = out / "docstrings.txt"
    path.write_text("\n\n".join(text for n, text in enumerate(texts) if n % 10))
    sentences = {
        sentence.strip()
        for n, text in enumerate(texts)
        if n % 10 == 0
        for sentence in text.replace("\n", " ").split(". ")
        if SHORTEST <= len(sentence.split()) <= LONGEST and sentence.isascii()
    }
    chosen = sorted(sentences)
    return path, chosen[:: max(1, len(chosen) // SENTENCES)][:SENTENCES]


def nats_a_word(folder: Path | str, sentences: list[str]) -> float:
    """Minus the pseudo-log-likelihood of the sentences, by word (punctuation marks are words)."""
    place_of = bertsmith.load(folder).folder
    model, tokenizer = load_pretraining(place_of)[0], Tokenizer.load(place_of)
    rows = [encode.single(tokenizer, sentence).ids for sentence in sentences]
    laid = Sentences(
        np.array([token for row in rows for token in row]), np.array([len(row) for row in rows])
    )
    words = count_words(sentences, tokenizer.cleaning).total()
    with join("fp32") as place:
        return -float(totals(model, tokenizer, laid, place).sum()) / words


def main() -> None:
    """Runs and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="tiny-en")
    parser.add_argument("--words", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    text, sentences = write_text(out)
    larger = out / "extended"
    done = bertsmith.extend_tokenizer(options.model, text, larger, size=options.words)
    result: dict[str, Any] = {
        "processor": platform.processor() or platform.machine(),
        "words_added": len(done.added),
        "characters": text.stat().st_size,
        "tokens_per_word": [done.tokens_before / done.words, done.tokens_after / done.words],
        "nats_a_word": {},
    }
    print("| vocabulary | tokens a word | before | after, by seed | mean | seconds |")
    print("|---|---|---|---|---|---|")
    for name, start, share in (
        ("the model's own", options.model, result["tokens_per_word"][0]),
        (f"with {len(done.added):,} more words", larger, result["tokens_per_word"][1]),
    ):
        corpus = out / f"corpus-{Path(start).name}"
        bertsmith.prepare(text, corpus, tokenizer=start)
        before, after, began = nats_a_word(start, sentences), [], time.monotonic()
        for seed in range(options.seeds):
            run = out / f"run-{Path(start).name}-{seed}"
            bertsmith.pretrain(corpus, run, start=start, steps=options.steps, seed=seed + 1)
            after.append(nats_a_word(run, sentences))
        seconds = (time.monotonic() - began) / options.seeds
        result["nats_a_word"][name] = {"before": before, "after": after}
        shown = ", ".join(f"{value:.3f}" for value in after)
        print(
            f"| {name} | {share:.3f} | {before:.3f} | {shown} | {mean(after):.3f} | {seconds:.0f} |"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
