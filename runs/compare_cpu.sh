#!/usr/bin/env bash
# BERT, GPT and ELMo and BERT's ablations, each pre-trained on the same English Wikipedia text and
# fine-tuned on the same tasks. Made for two cores and two hours; see docs/results/compare.md.
#
#   runs/compare_cpu.sh TEXT GLUE OUT
#
# TEXT holds enwiki-train-*.jsonl.gz (an article a line, field "text"), GLUE a folder a task. Kill it
# and run it again: it goes on, also with more ABLATIONS (masking: five more pre-trainings).
# ENGINE=ray (extra `cluster`) does as many runs at a time as there are cores.
set -euo pipefail
text=$1 glue=$2 out=$3
ablations=${ABLATIONS:-untrained,no-nsp,left-to-right,left-to-right+bilstm}

# 1. One vocabulary and one corpus for all.
if [[ ! -f "$out/tokenizer/vocab.txt" ]]; then
  bertsmith tokenizer train "$text"/enwiki-train-*.jsonl.gz --out "$out/tokenizer" --vocab-size 8000
fi
if [[ ! -f "$out/corpus/manifest.json" ]]; then
  bertsmith prepare "$text"/enwiki-train-*.jsonl.gz --tokenizer "$out/tokenizer" --out "$out/corpus"
fi

# 2. An eighth of SST-2's training part, so that all seeds of all systems fit in; the whole of STS-B.
if [[ ! -d "$out/glue" ]]; then
  mkdir -p "$out/glue-parts/SST-2" "$out/glue-parts/STS-B"
  awk 'NR == 1 || NR % 8 == 0' "$glue/SST-2/train.tsv" > "$out/glue-parts/SST-2/train.tsv"
  cp "$glue/SST-2/dev.tsv" "$out/glue-parts/SST-2"
  cp "$glue/STS-B/train.tsv" "$glue/STS-B/dev.tsv" "$out/glue-parts/STS-B"
  mv "$out/glue-parts" "$out/glue"
fi

# 3. The comparison.
resume=()
[[ ! -f "$out/compare/plan.json" ]] || resume=(--resume)
bertsmith compare --corpus "$out/corpus" --data "$out/glue" --out "$out/compare" "${resume[@]}" \
  --tasks sst-2,sts-b --ablations "$ablations" --engine "${ENGINE:-local}" \
  --size tiny --budget tokens=2e6 --batch-size 32 --learning-rate 2e-3 --seeds 3

# 4. The same two sentences to each: which is likelier?
for model in bert gpt elmo; do
  bertsmith score "$out/compare/pretraining/$model" \
    "he was born in london and studied at the university ." \
    "he was born in university and studied at the london ."
done
bertsmith generate "$out/compare/pretraining/gpt" "the city of" --tokens 30 --top-k 20
bertsmith fill "$out/compare/pretraining/bert" "He was born in [MASK] and died in London."
