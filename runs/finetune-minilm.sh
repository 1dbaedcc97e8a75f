#!/usr/bin/env bash
# MiniLM (6 layers of 384) on the tasks of the paper, and on two corpora of entities.
#
#   runs/finetune-minilm.sh DATA OUT [TASK...]
#
# DATA holds glue/ (a folder a task), squad/ and ner/. Three epochs and five seeds, but one seed of
# the two long ones (SST-2, SQuAD). Hours on two cores; kill it and run it again: it goes on. Then
# `python benchmarks/finetune_table.py OUT` makes the table of docs/results.
set -euo pipefail
data=$1 out=$2
shift 2
seeds=${SEEDS:-5} epochs=${EPOCHS:-3}

tune() {  # NAME TASK FLAGS...
  local name=$1 task=$2
  shift 2
  [[ -z ${only:-} || " $only " == *" $name "* ]] || return 0
  bertsmith finetune "$task" --model minilm --epochs "$epochs" --out "$out/$name" --resume "$@"
}

only=$*
for task in wnli cola rte mrpc sts-b; do
  tune $task $task --data "$data/glue" --seeds "$seeds"
done
# QNLI: of the official files only dev is at hand; the sentences of every tenth question of it are
# the dev part here. (Not every tenth line: of two sentences of a question one is an answer and the
# other none, so a question that is in both parts gives its label away.)
mkdir -p "$out/qnli-data"
awk -F '\t' -v out="$out/qnli-data" '
  NR == 1 { print > (out "/train.tsv"); print > (out "/dev.tsv"); next }
  !($2 in number) { number[$2] = ++questions }
  { print > (out (number[$2] % 10 ? "/train.tsv" : "/dev.tsv")) }' "$data/glue/QNLI/dev.tsv"
tune qnli-dev qnli --data "$out/qnli-data" --seeds "$seeds"
tune wnut17 token-classification --train "$data/ner/wnut17/train/wnut17train.conll" \
  --dev "$data/ner/wnut17/dev/emerging.dev.conll" --seeds "$seeds"
tune wikigold token-classification --train "$data/ner/wikigold/wikigold.conll.txt" --seeds "$seeds"
tune sst-2 sst-2 --data "$data/glue"
tune squad question-answering --train "$data/squad/train-v1.1.part-44articles.json" \
  --dev "$data/squad/dev-v1.1.json"
