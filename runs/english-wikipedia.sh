#!/usr/bin/env bash
# English Wikipedia to a small BERT, the whole main job on one page. About 30 minutes on two cores.
#
#   runs/english-wikipedia.sh TEXT OUT
#
# TEXT holds enwiki-train-*.jsonl.gz (an article a line, field "text") and enwiki-heldout.jsonl.gz.
set -euo pipefail
text=$1 out=$2
hours=${HOURS:-0.36}

# 1. Two vocabularies: 30,000 pieces as the paper, and 8,000, which a short run learns faster.
for size in 8000 30000; do
  bertsmith tokenizer train "$text"/enwiki-train-*.jsonl.gz --out "$out/tokenizer-$size" --vocab-size $size
done
bertsmith tokenizer show "$out/tokenizer-8000" "Unquestionably, Wikipedia's article is encyclopaedic."

# 2. A corpus by each, and the held-out articles on their own.
for size in 8000 30000; do
  bertsmith prepare "$text"/enwiki-train-*.jsonl.gz --tokenizer "$out/tokenizer-$size" --out "$out/corpus-$size"
done
bertsmith prepare "$text/enwiki-heldout.jsonl.gz" --tokenizer "$out/tokenizer-8000" --out "$out/heldout"
bertsmith info "$out/corpus-8000"

# 3. Pre-training, masked words and next sentence. Kill it and run this page again: it goes on.
bertsmith pretrain --data "$out/corpus-8000" --held-out "$out/heldout" --out "$out/model" --resume \
  --size mini --hours "$hours" --batch-size 32 --phases 32:0.4,64:0.3,128:0.3

# 4. Blanks.
bertsmith fill "$out/model" "Paris is the [MASK] of France."
bertsmith fill "$out/model" "He was born in [MASK] 1950 and died in London."
bertsmith fill "$out/model" "The river flows [MASK] the north to the sea."
bertsmith fill "$out/model" "The United [MASK] of [MASK] declared war." --joint
