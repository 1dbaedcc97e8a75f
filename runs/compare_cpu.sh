#!/usr/bin/env bash
# BERT, GPT and ELMo and BERT's ablations, each pre-trained on the same English Wikipedia text,
# fine-tuned on the same tasks and scored on minimal pairs, in two hours of whatever machine this is
# (made for two cores); see docs/results/compare.md.
#
#   runs/compare_cpu.sh TEXT GLUE OUT [PAIRS]
#
# TEXT holds enwiki-train-*.jsonl.gz (an article a line, field "text"), GLUE a folder a task, PAIRS
# BLiMP's .jsonl files. Kill it and run it again: it goes on with the plan that it made, also with
# more ABLATIONS (masking: five more pre-trainings, which come on top of the two hours).
# PLAN=1 stops at the plan. ENGINE=ray (extra `cluster`) does as many runs at a time as there are
# cores.
set -euo pipefail
text=$1 glue=$2 out=$3 pairs=${4:-}
ablations=${ABLATIONS:-untrained,paper-weights,no-nsp,left-to-right,left-to-right+bilstm}

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

# 3. The comparison. All read the same number of tokens: as many as fit into what the two steps
#    above leave of two hours. ELMo's tokens cost several times BERT's, as the plan says.
arguments=(--corpus "$out/corpus" --data "$out/glue" --out "$out/compare" --hours 1.9 --size tiny
  --tasks sst-2,sts-b --ablations "$ablations" --seeds 3
  --engine "${ENGINE:-local}")
[[ -z "$pairs" ]] || arguments+=(--minimal-pairs "$pairs" --limit 100)
[[ ! -f "$out/compare/plan.json" ]] || arguments+=(--resume)
if [[ -n "${PLAN:-}" ]]; then
  exec bertsmith compare "${arguments[@]}" --dry-run
fi
bertsmith compare "${arguments[@]}"

# 4. The same two sentences to each: which is likelier?
for model in bert gpt elmo; do
  bertsmith score "$out/compare/pretraining/$model" \
    "he was born in london and studied at the university ." \
    "he was born in university and studied at the london ."
done
bertsmith generate "$out/compare/pretraining/gpt" "the city of" --max-new-tokens 30 --top-k 20
bertsmith fill "$out/compare/pretraining/bert" "He was born in [MASK] and died in London."
