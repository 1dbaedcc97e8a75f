#!/usr/bin/env bash
# BERT, GPT and ELMo and BERT's ablations, each pre-trained on the same English Wikipedia text and
# fine-tuned on the same tasks. Made for two cores and two hours; see docs/results/compare.md.
#
#   runs/compare_cpu.sh TEXT GLUE OUT
#
# TEXT holds enwiki-train-*.jsonl.gz (an article a line, field "text"), GLUE a folder a task. Kill it
# and run it again: it goes on, also with other ABLATIONS.
set -euo pipefail
text=$1 glue=$2 out=$3
ablations=${ABLATIONS:-untrained,no-nsp,left-to-right,left-to-right+bilstm,masking}

# 1. One vocabulary and one corpus for all.
if [[ ! -f "$out/tokenizer/vocab.txt" ]]; then
  bertsmith tokenizer train "$text"/enwiki-train-*.jsonl.gz --out "$out/tokenizer" --vocab-size 8000
fi
if [[ ! -f "$out/corpus/manifest.json" ]]; then
  bertsmith prepare "$text"/enwiki-train-*.jsonl.gz --tokenizer "$out/tokenizer" --out "$out/corpus"
fi

# 2. The comparison.
resume=()
[[ ! -f "$out/compare/plan.json" ]] || resume=(--resume)
bertsmith compare --corpus "$out/corpus" --data "$glue" --out "$out/compare" "${resume[@]}" \
  --tasks mrpc,sts-b --ablations "$ablations" \
  --size tiny --budget tokens=2e6 --batch-size 32 --learning-rate 2e-3 --seeds 3

# 3. The same two sentences to each: which is likelier?
for model in bert gpt elmo; do
  bertsmith score "$out/compare/pretraining/$model" \
    "he was born in london and studied at the university ." \
    "he was born in university and studied at the london ."
done
bertsmith generate "$out/compare/pretraining/gpt" "the city of" --tokens 30 --top-k 20
bertsmith fill "$out/compare/pretraining/bert" "He was born in [MASK] and died in London."
