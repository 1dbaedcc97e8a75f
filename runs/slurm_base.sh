#!/usr/bin/env bash
#SBATCH --job-name=bertsmith-base
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
# `base` on eight machines of eight GPUs under Slurm.
#
#   sbatch runs/slurm_base.sh CORPUS OUT [FLAGS OF PRETRAIN...]
#
# CORPUS (from `bertsmith prepare`) and OUT are on a file system that all machines share. Two minutes
# before the time is up Slurm sends SIGTERM: the run saves and ends; submit it again, and it goes on.
# When a machine fails Slurm requeues the job, on other machines. `sbatch --no-kill` with MIN_NODES=4
# goes on with those that are left, if they are as many. Not run on GPUs yet (docs/scale.md).
set -euo pipefail
corpus=$1 out=$2
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# A machine that joins later has counted fewer restarts than the others; with this they need not agree.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# A machine that says nothing for so long is given up.
export BERTSMITH_TIMEOUT_SECONDS=${BERTSMITH_TIMEOUT_SECONDS:-600}

srun --kill-on-bad-exit=0 torchrun \
  --nnodes "${MIN_NODES:-$SLURM_NNODES}:$SLURM_NNODES" --nproc-per-node 8 --max-restarts 100 \
  --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$first:29400" \
  -m bertsmith pretrain --data "$corpus" --out "$out" --size base --recipe paper \
  --batch-size 4096 --steps "${STEPS:-250000}" --resume "${@:3}"
