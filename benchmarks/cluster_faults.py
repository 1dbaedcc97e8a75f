"""Breaks a run of three hosts again and again, and compares it with one that nothing disturbed.

    python benchmarks/cluster_faults.py [--faults 5] [--seed 0] [--elastic] [--shard] [--out FILE]

Each host is a network namespace with its own address, joined by a bridge (Linux, as root). On each,
a supervisor starts `torchrun` and starts it again when it ends, as a cluster's scheduler would; the
hosts share a small file system that holds the run. Faults come at random steps, in random order:

    worker       kill -9 of a training process
    host         kill -9 of everything on a host, which is back after two seconds (elastic: 25)
    rendezvous   the same, of the host that keeps the rendezvous
    cut          a host's network is silent for some seconds, or for longer than processes wait
    disk         the shared file system is full for some seconds

With three hosts always (`--nnodes 3`) the losses and the weights must be those of the undisturbed
run, to the bit. With `--elastic` (`--nnodes 1:3`) the run goes on with the hosts that are left:
examples are the same, losses differ by rounding, and the largest difference is reported.

A step takes a few hundredths of a second here, so almost all the time lost goes to starting Python
and to noticing that a host is silent.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bertsmith.training.checkpoint import steps as checkpoint_steps
from bertsmith.training.progress import read_metrics

HOSTS = 3
KINDS = ("worker", "host", "rendezvous", "cut", "disk")
STEPS_PER_FAULT = 60
SAVE_EVERY = 20
TIMEOUT = 15
"""Seconds after which a silent process is given up."""
DISK = 64 << 20
SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
}
BERTSMITH = (sys.executable, "-m", "bertsmith")


def command(*words: object) -> None:
    """Runs a command to its end; its output is shown if it fails."""
    done = subprocess.run(
        [str(word) for word in words], check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")


class Network:
    """A bridge and a namespace for each host."""

    def __init__(self) -> None:
        self.name = f"bf{os.getpid()}"

    def host(self, number: int) -> str:
        """The namespace of a host."""
        return f"{self.name}-{number}"

    @staticmethod
    def address(number: int) -> str:
        """The address of a host."""
        return f"10.77.0.{number + 1}"

    def __enter__(self) -> "Network":
        command("ip", "link", "add", self.name, "type", "bridge")
        command("ip", "link", "set", self.name, "up")
        for number in range(HOSTS):
            host, cable = self.host(number), f"{self.name}v{number}"
            command("ip", "netns", "add", host)
            command("ip", "link", "add", cable, "type", "veth", "peer", "eth0", "netns", host)
            command("ip", "link", "set", cable, "master", self.name, "up")
            inside = ("ip", "-n", host)
            command(*inside, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
            command(*inside, "link", "set", "eth0", "up")
            command(*inside, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(HOSTS):
            for pid in self.processes(number):
                kill(pid)
            command("ip", "netns", "del", self.host(number))
        command("ip", "link", "del", self.name)

    def processes(self, number: int) -> list[int]:
        """Ids of what runs on a host."""
        done = subprocess.run(
            ["ip", "netns", "pids", self.host(number)], check=True, capture_output=True, text=True
        )
        return [int(pid) for pid in done.stdout.split()]

    def connect(self, number: int, connected: bool) -> None:
        """Plugs the cable of a host in, or pulls it out."""
        state = "up" if connected else "down"
        command("ip", "link", "set", f"{self.name}v{number}", state)


def kill(pid: int) -> None:
    """kill -9."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Host(threading.Thread):
    """Starts a host's launcher until the run has ended well."""

    def __init__(
        self, network: Network, number: int, run: list[str], nodes: str, log: Path
    ) -> None:
        super().__init__(daemon=True)
        self.network, self.number, self.log = network, number, log
        self.starts = 0
        self.down_until = 0.0
        self.given_up = threading.Event()
        settings = f"is_host={number == 0},join_timeout=120,last_call_timeout=3"
        self.line = [
            *("ip", "netns", "exec", network.host(number), "nice", "-n", "19"),
            *(sys.executable, "-m", "torch.distributed.run"),
            *(f"--nnodes={nodes}", "--nproc-per-node=1", "--max-restarts=100"),
            *("--rdzv-backend=c10d", f"--rdzv-endpoint={network.address(0)}:29400"),
            *("--rdzv-id=faults", f"--rdzv-conf={settings}"),
            *(f"--local-addr={network.address(number)}", "--monitor-interval=0.5"),
            *run,
        ]

    def run(self) -> None:
        """The supervisor."""
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "eth0",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            "BERTSMITH_TIMEOUT_SECONDS": str(TIMEOUT),
        }
        while not self.given_up.is_set():
            time.sleep(max(0.0, self.down_until - time.monotonic()))
            self.starts += 1
            with self.log.open("ab") as log:
                done = subprocess.run(
                    self.line, check=False, env=environment, stdout=log, stderr=log
                )
            if not done.returncode:
                return


def worker_of(network: Network, number: int) -> int | None:
    """The training process of a host, if there is one."""
    for pid in network.processes(number):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"bertsmith" in words and b"torch.distributed.run" not in words:
                return pid
    return None


class Run:
    """A run on three hosts, and what was done to it."""

    def __init__(self, network: Network, corpus: Path, out: Path, work: Path, **how: Any) -> None:
        self.network, self.out, self.work = network, out, work
        self.steps, self.elastic = how["steps"], how["elastic"]
        arguments = [
            *("-m", "bertsmith", "pretrain", f"--data={corpus}", f"--out={out}"),
            *(f"--size={work / 'shape.json'}", f"--steps={self.steps}", "--batch-size=12"),
            *("--phases=48:1", "--precision=fp32", f"--evaluate-every={self.steps}"),
            *("--evaluate-sequences=16", f"--save-every={SAVE_EVERY}", "--resume"),
            *(("--shard",) if how["shard"] else ()),
        ]
        nodes = f"1:{HOSTS}" if how["elastic"] else str(HOSTS)
        self.hosts = [
            Host(network, number, arguments, nodes, work / f"{out.name}-host{number}.log")
            for number in range(HOSTS)
        ]
        self.redone = 0

    def start(self) -> None:
        """Starts all hosts."""
        self.began = time.monotonic()
        for host in self.hosts:
            host.start()

    def step(self) -> int:
        """The last step that was reported."""
        path = self.out / "metrics.jsonl"
        if not path.exists():
            return 0
        return max((record["step"] for record in read_metrics(path)), default=0)

    def wait_for(self, step: int, limit: float = 900) -> None:
        """Waits until the run has come to `step`."""
        deadline = time.monotonic() + limit
        while self.step() < step:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no step {step:,} within {limit:g} seconds; see {self.work}")
            time.sleep(0.05)

    def worlds(self) -> dict[str, int]:
        """How often the run was started, by the number of its processes."""
        text = "".join(host.log.read_text() for host in self.hosts)
        sizes = re.findall(r"parameters\) on cpu in fp32(?:, (\d+) processes)?\.", text)
        return dict(sorted(Counter(size or "1" for size in sizes).items()))

    def finish(self) -> float:
        """Waits for the end; returns the seconds since the start.

        A host that is not there at the end finds nobody to meet any more, and is told to stop.
        """
        deadline = time.monotonic() + 900
        while all(host.is_alive() for host in self.hosts):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the run does not end; see {self.work}")
            time.sleep(0.1)
        seconds = time.monotonic() - self.began
        for host in self.hosts:
            host.join(20)
            host.given_up.set()
            for pid in self.network.processes(host.number):
                kill(pid)
            host.join()
        return seconds

    def break_by(self, kind: str, chance: random.Random) -> str:
        """Does one fault; returns what it was."""
        before = self.step()
        saved = max(checkpoint_steps(self.out / "checkpoints"), default=0)
        victim = 0 if kind == "rendezvous" else chance.randrange(1 if kind == "host" else 0, HOSTS)
        told = f"{kind} {victim}"
        if kind == "worker":
            pid = worker_of(self.network, victim)
            if pid is not None:
                kill(pid)
        elif kind in ("host", "rendezvous"):
            # Longer than the others wait for it, where they may go on without it.
            self.hosts[victim].down_until = time.monotonic() + (25 if self.elastic else 2)
            for pid in self.network.processes(victim):
                kill(pid)
        elif kind == "cut":
            seconds = chance.choice((2, TIMEOUT + 5))
            told += f" for {seconds} s"
            self.network.connect(victim, False)
            time.sleep(seconds)
            self.network.connect(victim, True)
        else:
            told = "disk for 5 s"
            filler = self.out.parent / "filler"
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            time.sleep(5)
            filler.unlink()
        self.redone += max(0, before - saved)
        return told


def losses(out: Path) -> list[float]:
    """Of every step."""
    return [
        record["loss"]
        for record in read_metrics(out / "metrics.jsonl")
        if record["kind"] == "train"
    ]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system in memory that is soon full."""
    folder.mkdir()
    command("mount", "-t", "tmpfs", "-o", f"size={DISK}", "bertsmith-faults", folder)
    try:
        yield folder
    finally:
        command("umount", folder)


def prepare(work: Path) -> Path:
    """A corpus of sentences made of a few hundred words."""
    chance = random.Random(5)
    words = [
        "".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 7))) for _ in range(400)
    ]
    sentences = (
        " ".join(chance.choices(words, k=chance.randint(4, 12))) + "." for _ in range(9000)
    )
    lines = [
        sentence + ("\n" if number % 9 == 8 else "") for number, sentence in enumerate(sentences)
    ]
    (work / "text.txt").write_text("\n".join(lines))
    (work / "shape.json").write_text(json.dumps(SHAPE))
    tokenizer, corpus = work / "tokenizer", work / "corpus"
    command(
        *BERTSMITH,
        "tokenizer",
        "train",
        work / "text.txt",
        "--out",
        tokenizer,
        "--vocab-size",
        500,
        "--workers",
        1,
    )
    command(
        *BERTSMITH,
        "prepare",
        work / "text.txt",
        "--tokenizer",
        tokenizer,
        "--out",
        corpus,
        "--held-out",
        0.1,
        "--workers",
        1,
    )
    return corpus


def main() -> None:
    """Runs undisturbed, runs with faults, compares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--elastic", action="store_true")
    parser.add_argument("--shard", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    given = parser.parse_args()
    # What is left behind on a host would run on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    chance = random.Random(given.seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(given.faults)]
    chance.shuffle(kinds)
    how = {
        "steps": STEPS_PER_FAULT * (given.faults + 1),
        "elastic": given.elastic,
        "shard": given.shard,
    }
    with (
        tempfile.TemporaryDirectory(prefix="bertsmith-faults-") as folder,
        Network() as network,
        small_disk(Path(folder) / "shared") as shared,
    ):
        work = Path(folder)
        corpus = prepare(work)
        undisturbed = Run(network, corpus, shared / "undisturbed", work, **how)
        undisturbed.start()
        usual_seconds = undisturbed.finish()
        print(f"undisturbed: {how['steps']:,} steps in {usual_seconds:.0f} s", flush=True)
        disturbed = Run(network, corpus, shared / "disturbed", work, **how)
        disturbed.start()
        done = []
        for number, kind in enumerate(kinds, 1):
            disturbed.wait_for(number * STEPS_PER_FAULT - chance.randrange(STEPS_PER_FAULT // 2))
            at, step = time.monotonic() - disturbed.began, disturbed.step()
            told = disturbed.break_by(kind, chance)
            done.append({"fault": told, "second": round(at, 1), "step": step})
            print(f"{at:6.0f} s, step {step:5,}: {told}", flush=True)
        seconds = disturbed.finish()
        ours, theirs = losses(disturbed.out), losses(undisturbed.out)
        weights = [(run.out / "model.safetensors").read_bytes() for run in (disturbed, undisturbed)]
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "torch": torch.__version__,
            "nodes": "1:3" if given.elastic else "3",
            "sharded": given.shard,
            "steps": how["steps"],
            "faults": dict(sorted(Counter(kinds).items())),
            "log": done,
            "seconds": round(seconds, 1),
            "seconds_undisturbed": round(usual_seconds, 1),
            "seconds_lost_per_fault": round((seconds - usual_seconds) / max(1, len(kinds)), 1),
            "steps_since_checkpoint": disturbed.redone,
            "starts_by_processes": disturbed.worlds(),
            "launcher_starts": [host.starts for host in disturbed.hosts],
            "same_losses": ours == theirs,
            "same_weights": weights[0] == weights[1],
            "largest_loss_difference": max(abs(a - b) for a, b in zip(ours, theirs, strict=True)),
        }
    print(json.dumps({name: value for name, value in result.items() if name != "log"}, indent=2))
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    if not given.elastic and not (result["same_losses"] and result["same_weights"]):
        sys.exit("the disturbed run came to other numbers")


if __name__ == "__main__":
    main()
