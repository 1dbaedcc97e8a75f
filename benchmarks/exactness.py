"""Whether every line of real text gets the ids that `transformers.BertTokenizerFast` gives it.

    python benchmarks/exactness.py FILE... --tokenizer DIR [--out FILE.json]

Reads the files as documents and compares line by line, with both of our engines, uncased and cased
(the folder's vocabulary under either rule). Any difference is printed and ends with exit code 1.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import transformers

from bertsmith.text import documents
from bertsmith.text.tokenizer.tokenizer import SPECIAL, Cleaning, Tokenizer

BLOCK = 4096


def lines(paths: list[str]) -> Iterator[str]:
    """Every line that is not empty; special tokens written in text mean something else to them."""
    for path in documents.list_files(paths):
        for document in documents.read(path):
            for line in document.text.split("\n"):
                if line and not any(piece in line for piece in SPECIAL):
                    yield line


def compare(paths: list[str], vocab: tuple[str, ...], *, lower_case: bool) -> dict[str, object]:
    """Counts lines and those that differ, for each engine."""
    cleaning = Cleaning(lower_case=lower_case)
    ours = {name: Tokenizer(vocab, cleaning, backend=name) for name in ("tokenizers", "nanotoken")}
    with tempfile.TemporaryDirectory() as folder:
        ours["tokenizers"].save(folder)
        theirs = transformers.BertTokenizerFast.from_pretrained(folder)
    counted, ids_compared, differing = 0, 0, dict.fromkeys(ours, 0)
    rows = lines(paths)
    while block := list(islice(rows, BLOCK)):
        expected = theirs(block, add_special_tokens=False, verbose=False)["input_ids"]
        counted += len(block)
        ids_compared += sum(map(len, expected))
        flat = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in expected])
        for name, tokenizer in ours.items():
            ids_T, lengths = tokenizer.encode_flat(block)
            if np.array_equal(ids_T, flat) and lengths.tolist() == list(map(len, expected)):
                continue
            found = np.split(ids_T.astype(np.int64), np.cumsum(lengths)[:-1])
            for line, right, got in zip(block, expected, found, strict=True):
                if right != got.tolist():
                    differing[name] += 1
                    print(f"{name} differs on {line[:200]!r}", file=sys.stderr)
    return {"lower_case": lower_case, "lines": counted, "ids": ids_compared, "differing": differing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    vocab = Tokenizer.load(arguments.tokenizer).vocab
    results = [compare(arguments.files, vocab, lower_case=lower) for lower in (True, False)]
    for row in results:
        print(row)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(any(count for row in results for count in row["differing"].values()))


if __name__ == "__main__":
    main()
