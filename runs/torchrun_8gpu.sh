#!/usr/bin/env bash
# `base` on one machine with eight GPUs: text to a BERT.
#
#   runs/torchrun_8gpu.sh TEXT OUT [FLAGS OF PRETRAIN...]
#
# TEXT is a file, folder or glob. GPUS=8 processes, STEPS=1000000 steps of BATCH=1024 sequences. With
# --shard among the flags the weights are sharded, for models that outgrow a GPU. Kill it and run it
# again: it goes on. A process that dies is started again by torchrun, up to ten times.
# Not run on GPUs yet (docs/scale.md); on a CPU with GPUS=2 SIZE=tiny.
set -euo pipefail
text=$1 out=$2
gpus=${GPUS:-8} steps=${STEPS:-1000000} batch=${BATCH:-1024} size=${SIZE:-base}

# 1. Vocabulary and corpus, on the processors.
[[ -f "$out/tokenizer/vocab.txt" ]] ||
  bertsmith tokenizer train "$text" --out "$out/tokenizer" --vocab-size "${VOCABULARY:-30000}"
bertsmith prepare "$text" --tokenizer "$out/tokenizer" --out "$out/corpus"

# 2. Pre-training: 1,024 sequences of 128 tokens are the 131,072 tokens a step of the paper.
torchrun --standalone --nproc-per-node "$gpus" --max-restarts 10 \
  -m bertsmith pretrain --data "$out/corpus" --out "$out/model" --size "$size" --recipe paper \
  --batch-size "$batch" --steps "$steps" --resume "${@:3}"
