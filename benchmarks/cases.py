"""Runs every input of a folder of cases and prints what happened, as a table.

    python benchmarks/cases.py CASES [--model DIR] [--only 5,15]

CASES holds folders named after kinds of inputs: 2, 17 (running text), 3 (scripts with marks), 5
(column files), 10, 11 (question answering), 12 (regression), 13 (labels), 14 (CSV and JSONL), 15
(corpora). Each file is given to the command that a user would give it. A case is as expected when
the command ends with 0 or with 2, says a sentence (`RIGHT` has those of which there is one right
answer), and shows no traceback; the last line of what it said is in the table for a reader.
Each runs in a fork, so that torch is loaded once.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

import bertsmith.finetuning.job  # noqa: F401 - loaded once, before the forks
from bertsmith.cli.main import main as cli

KINDS = {
    "2": "token-classification",
    "5": "token-classification",
    "10": "question-answering",
    "11": "question-answering",
    "12": "regression",
    "13": "classification",
    "14": "classification",
    "17": "token-classification",
}
SECONDS = 300
RIGHT = {
    "10/dupid.json": "question a occurs twice",
    "10/simple.json": "has not the structure of SQuAD",
    "12/NA.csv": "NA.csv:7: the label 'NA'",
    "12/const.csv": "every other example of the train part has the label '3.0'",
    "12/thousand.csv": "24 rows cannot be used",
    "13/null.jsonl": "4 rows (1, 6, 11, 16): the label in column 'label' is missing",
    "13/one.csv": "expected at least two different ones",
    "14/UPPER.csv": "no columns 'text' (perhaps you meant 'Text'), 'label'",
    "14/blankrows.csv": "2 rows (22, 23): the label in column 'label' is missing",
    "14/duphdr.csv": "the column 'text' occurs twice",
    "14/spacehdr.csv": "perhaps you meant ' label'",
    "15/blank.txt": "blank.txt is empty",
    "15/noblank.txt": "only one document (900 sentences, 5,766 tokens)",
    "15/onedoc.txt": "only one document (400 sentences, 4,682 tokens)",
}
"""What has to be said of a case, where there is one right answer."""


def command(case: Path, kind: str, model: str, out: Path) -> list[str]:
    """What a user would type."""
    if kind in ("3", "15"):
        if kind == "3":
            return ["tokenizer", "train", str(case), "--out", str(out), "--vocab-size", "300"]
        return ["prepare", str(case), "--tokenizer", model, "--out", str(out), "--workers", "1"]
    flags = ["--train", str(case), "--model", model, "--out", str(out), "--epochs", "1"]
    return ["finetune", KINDS[kind], *flags]


def run(line: list[str], said: Path) -> tuple[int, str]:
    """Exit code (of a signal its negative number) and all that the command said."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        target = os.open(said, os.O_CREAT | os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(target, descriptor)
        signal.alarm(SECONDS)
        code = 1
        try:
            code = cli(line)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), said.read_text(errors="replace")


def main() -> None:
    """Runs the cases and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("--model", default="tiny-en")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    only = set(filter(None, given.only.split(",")))
    print("| case | exit | seconds | as expected | said last |\n|---|---|---|---|---|")
    torch.set_num_threads(1)
    wrong = 0
    for case in sorted(path for path in given.cases.rglob("*") if path.is_file()):
        kind = case.relative_to(given.cases).parts[0]
        if kind not in {"3", "15", *KINDS} or (only and kind not in only) or case.suffix == "":
            continue
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            line = command(case, kind, given.model, Path(folder) / "out")
            code, said = run(line, Path(folder) / "said")
            lines = [text for text in said.strip().splitlines() if text.strip()]
            fine = code in (0, 2) and bool(lines) and "Traceback" not in said
            name = f"{kind}/{case.name}"
            fine = fine and RIGHT.get(name, "") in said
            wrong += not fine
            last = (lines[-1] if lines else "").strip().replace("|", "\\|")
            seconds = time.perf_counter() - began
            print(
                f"| {name} | {code} | {seconds:.0f} | {'yes' if fine else 'NO'} | {last[:160]} |",
                flush=True,
            )
    print(f"\n{wrong} not as expected")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
