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
mkdir -p "$out"

# 1. A corpus by the tokenizer of the model; a tenth of the documents is held out.
bertsmith prepare "$text" --tokenizer "$model" --out "$out/corpus" --held-out 0.1 "${@:4}"

# 2. Before. A model without a masked-word head (minilm) cannot be scored yet.
measure() {  # NAME MODEL
  bertsmith evaluate "$2" --data "$out/corpus" > "$out/$1.txt" || return 0
  [[ -z ${OLD:-} ]] || bertsmith evaluate "$2" --data "$OLD" > "$out/$1-old.txt"
}
measure before "$model"

# 3. Training, by the settings for a model that is continued.
bertsmith pretrain --data "$out/corpus" --from "$model" --out "$out/model" --resume \
  --batch-size "${BATCH:-32}" "${length[@]}"

# 4. After.
measure after "$out/model"
for part in before after before-old after-old; do
  [[ ! -s "$out/$part.txt" ]] || sed "s/^/$part: /" "$out/$part.txt"
done
