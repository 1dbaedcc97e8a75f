#!/usr/bin/env bash
# A grid of learning rates and seeds of one fine-tuning, spread over a Ray cluster.
#
#   runs/ray_sweep.sh OUT TASK [FLAGS OF FINETUNE...]
#
# For example: runs/ray_sweep.sh /shared/sweep sst-2 --model /shared/base --data /shared/glue
#
# OUT, and the folders in the flags, are on a file system that all machines share. RAY_ADDRESS names the
# cluster; without it this machine's cores are used. RATES="1e-5 2e-5 3e-5", SEEDS="0 1 2", CPUS=2 and
# GPUS=0 for each run. Ray starts the runs of a lost machine again elsewhere, where they go on from
# their last checkpoint; so does the same command after a kill.
set -euo pipefail
python - "$@" <<'PYTHON'
import itertools
import json
import os
import pathlib
import subprocess
import sys

import ray

out, *flags = sys.argv[1:]
rates = os.environ.get("RATES", "1e-5 2e-5 3e-5").split()
seeds = os.environ.get("SEEDS", "0 1 2").split()
cpus, gpus = float(os.environ.get("CPUS", "2")), float(os.environ.get("GPUS", "0"))


@ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=-1)
def tune(folder, rate, seed):
    """One run, in a process of its own; -1: as often as machines are lost."""
    command = [
        *(sys.executable, "-m", "bertsmith", "finetune", *flags, "--out", folder),
        *("--learning-rate", rate, "--seed", seed, "--resume"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr[-2000:]


address = os.environ.get("RAY_ADDRESS", "local")
ray.init(address=address, include_dashboard=False, log_to_driver=False)
folders = {
    (rate, seed): str(pathlib.Path(out, f"rate-{rate}-seed-{seed}").absolute())
    for rate, seed in itertools.product(rates, seeds)
}
tasks = {tune.remote(folder, *point): point for point, folder in folders.items()}
failed = 0
while tasks:
    [done], _ = ray.wait(list(tasks))
    point = tasks.pop(done)
    code, said = ray.get(done)
    failed += code != 0
    name = "learning rate {}, seed {}".format(*point)
    if code:
        print(f"{name}: failed\n{said}", file=sys.stderr, flush=True)
        continue
    [result] = pathlib.Path(folders[point]).glob("runs/*/result.json")
    print(f"{name}: {json.loads(result.read_text())['main']:.4f}", flush=True)
sys.exit(1 if failed else 0)
PYTHON
