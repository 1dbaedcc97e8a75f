#!/usr/bin/env bash
# Chinese text to a small BERT, the whole main job on one page. About 30 minutes on two cores.
#
#   runs/modern-chinese.sh TEXT OUT
#
# TEXT holds zh-modern.txt.gz: a sentence or paragraph a line, a blank line between documents.
set -euo pipefail
text=$1 out=$2
hours=${HOURS:-0.36}

# 1. Vocabulary: every Chinese character is a word of its own, so the alphabet is most of it.
bertsmith tokenizer train "$text/zh-modern.txt.gz" --out "$out/tokenizer" --vocab-size 8000
bertsmith tokenizer show "$out/tokenizer" "我喜欢苹果。"

# 2. Corpus; one document in two hundred is held out by itself.
bertsmith prepare "$text/zh-modern.txt.gz" --tokenizer "$out/tokenizer" --out "$out/corpus"
bertsmith info "$out/corpus"

# 3. Pre-training, masked words and next sentence. Kill it and run this page again: it goes on.
bertsmith pretrain --data "$out/corpus" --out "$out/model" --resume \
  --size mini --hours "$hours" --batch-size 32 --phases 32:0.4,64:0.3,128:0.3

# 4. Blanks.
bertsmith fill "$out/model" "我喜欢[MASK]果"
bertsmith fill "$out/model" "皇帝下[MASK]书，任命他为将军。"
bertsmith fill "$out/model" "他率领军[MASK]进攻城池。"
bertsmith fill "$out/model" "我喜欢[MASK][MASK]" --joint
