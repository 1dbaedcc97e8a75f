#!/usr/bin/env bash
# The measurements of docs/results/recipe.md. TEXT holds enwiki-train-*.jsonl.gz and
# enwiki-heldout.jsonl.gz. Kill it and run it again: it goes on. Hours on two cores.
#
#   runs/recipe.sh TEXT OUT [PART...]     parts: initial-weights plateau
set -euo pipefail
text=$1 out=$2
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ -f "$out/tokenizer/vocab.txt" ]] ||
  bertsmith tokenizer train "$text"/enwiki-train-*.jsonl.gz --out "$out/tokenizer" --vocab-size 8000
bertsmith prepare "$text"/enwiki-train-*.jsonl.gz --tokenizer "$out/tokenizer" --out "$out/corpus"
bertsmith prepare "$text/enwiki-heldout.jsonl.gz" --tokenizer "$out/tokenizer" --out "$out/heldout"

run() {  # PART FLAGS...
  local part=$1
  shift
  [[ -z ${only:-} || " $only " == *" $part "* ]] || return 0
  python benchmarks/recipe.py run --data "$out/corpus" --held-out "$out/heldout" \
    --out "$out/$part" "$@"
}

only=$*
# Which part of the initial weights does what: 1.2 M tokens of `tiny`.
run initial-weights --size tiny --tokens 1.2e6 --seeds 0,1 \
  --variants new,paper-weights,no-vectors,no-neighbours,no-copying,no-duplicate-token,no-bias,no-pairs
# The end of the plateau, against the recipe before: two sizes, two seeds.
run plateau --size tiny --tokens 1.2e6 --seeds 0,1 --variants new
run plateau --size mini --tokens 1.2e6 --seeds 0,1 --variants new
run plateau --size tiny --tokens 20e6 --seeds 0,1 --variants old
run plateau --size mini --tokens 20e6 --seeds 0,1 --variants old
