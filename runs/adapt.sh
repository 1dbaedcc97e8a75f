#!/usr/bin/env bash
# A trained BERT continues on text of a domain: its held-out masked words before and after.
#
#   runs/adapt.sh MODEL TEXT OUT [FLAGS OF PREPARE...]
#
# MODEL is a folder or a name (minilm, a model of the hub), TEXT a file, folder or glob. HOURS=0.1 is
# how long it trains, or STEPS=300; BATCH=32 how many sequences a step has. OLD may name a corpus of
# the text that MODEL was trained on, by the same tokenizer: what is forgotten. Kill it and run it
# again: it goes on.
set -euo pipefail
model=$1 text=$2 out=$3
length=(--hours "${HOURS:-0.1}")
[[ -z ${STEPS:-} ]] || length=(--steps "$STEPS")

# 1. A corpus by the tokenizer of the model; a tenth of the documents is held out.
bertsmith prepare "$text" --tokenizer "$model" --out "$out/corpus" --held-out 0.1 "${@:4}"

# 2. Training, by the settings for a model that is continued.
bertsmith pretrain --data "$out/corpus" --from "$model" --out "$out/model" --resume \
  --batch-size "${BATCH:-32}" "${length[@]}"

# 3. What it gained: the evaluations before the first step and after the last, on the same examples.
# (The masked-word head of minilm is random before the first step.)
echo
grep '"kind":"evaluation"' "$out/model/metrics.jsonl" | sed -n '1s/^/before: /p; $s/^/after:  /p'

# 4. What it lost, on sequences as long as each of the two models was trained on.
if [[ -n ${OLD:-} ]]; then
  bertsmith evaluate "$model" --data "$OLD" | sed 's/^/old text, before: /'
  bertsmith evaluate "$out/model" --data "$OLD" | sed 's/^/old text, after: /'
fi
