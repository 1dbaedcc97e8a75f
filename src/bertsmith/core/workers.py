"""Where the parts of a job run: in this process, or in worker processes of this machine.

A worker is a fresh interpreter joined to the parent by a socket. Nothing is forked, so threads of
the caller (a progress bar, a library's pool) cannot be caught holding a lock; the caller's script
is not run again, so it needs no `if __name__ == "__main__"`; nothing is left in the system after a
kill; and when the parent dies, however it dies, its end of the socket closes and the workers end.
"""

import contextlib
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

from bertsmith.core.errors import BertsmithError, SystemFault, UsageError, option

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def run(
    function: Callable[[Job], Answer],
    jobs: Iterable[Job],
    *,
    workers: int,
    keep_open: int | None = None,
) -> Generator[Answer, None, None]:
    """Applies `function` to every job; answers come in any order.

    At most one job per worker and one more are in memory at once. Closing the generator (use
    `contextlib.closing`), an error or an interrupt ends the workers before the exception goes on.

    Args:
        function: what to do; it and the jobs and answers can be pickled.
        jobs: read lazily, in this process.
        workers: processes; with 1, or with a single job, everything runs in this process.
        keep_open: a file descriptor that workers hold open as long as they live (a lock).

    Raises:
        UsageError: `workers` is less than 1 or too large.
        BertsmithError: what `function` or `jobs` raised, in whichever process.
        SystemFault: a worker died.
    """
    check_workers(workers)
    jobs = iter(jobs)
    first = list(itertools.islice(jobs, workers))
    if len(first) < 2:
        yield from map(function, itertools.chain(first, jobs))
        return
    pool: list[Worker] = []
    try:
        # All are started before the first is spoken to, so that they start at the same time.
        for _ in first:
            pool.append(Worker.start(keep_open=keep_open))
        for worker in pool:
            worker.send(function)
        yield from _share_out(pool, itertools.chain(first, jobs))
    finally:
        for worker in pool:
            worker.stop()


def _share_out(pool: "list[Worker]", jobs: Iterator[Any]) -> Iterator[Any]:
    idle = list(pool)
    busy: dict[Any, Worker] = {}
    for job in jobs:
        while not idle:
            for connection in wait(list(busy)):
                idle.append(busy.pop(connection))
                yield idle[-1].receive()
        worker = idle.pop()
        worker.send(job)
        busy[worker.connection] = worker
    while busy:
        for connection in wait(list(busy)):
            yield busy.pop(connection).receive()


@dataclass(frozen=True)
class Worker:
    """A fresh interpreter that is sent a function, then jobs for it."""

    process: "subprocess.Popen[bytes]"
    connection: Connection

    @classmethod
    def start(cls, *, keep_open: int | None = None, threads: int = 1) -> "Worker":
        """Starts one that computes with `threads` cores and holds the descriptor `keep_open`."""
        ours, theirs = socket.socketpair()
        package = str(Path(__file__).parents[2])
        path = os.environ.get("PYTHONPATH")
        environment = os.environ | {
            "PYTHONPATH": f"{package}{os.pathsep}{path}" if path else package,
            # Of many workers each gets one core: they are the parallelism.
            "TOKENIZERS_PARALLELISM": "false",
            "RAYON_NUM_THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
        }
        code = f"from bertsmith.core.workers import serve; serve({theirs.fileno()}, {os.getpid()})"
        kept = () if keep_open is None else (keep_open,)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=(theirs.fileno(), *kept),
                env=environment,
                stdin=subprocess.DEVNULL,
                # Ctrl-C at the terminal and a signal to the whole group reach the parent alone,
                # which ends the workers: they would only add their tracebacks.
                process_group=0,
            )
        return cls(process, Connection(ours.detach()))

    def send(self, job: Any) -> None:
        """Sends the function, or a job.

        Raises:
            SystemFault: the worker died.
        """
        try:
            self.connection.send(job)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._died() from error

    def receive(self) -> Any:
        """Waits for the answer to a job.

        Raises:
            BertsmithError: what the function raised.
            SystemFault: the worker died.
        """
        try:
            failed, answer = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._died() from error
        if failed:
            raise answer
        return answer

    def _died(self) -> SystemFault:
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            return SystemFault(
                f"A worker process was killed by {name}"
                + (" (the machine may be out of memory)" if name == "SIGKILL" else "")
                + f"; run the same command again, with fewer {option('workers')}."
            )
        return SystemFault(
            f"A worker process ended with exit code {code}; run the same command again, with "
            f"{option('workers', 1)} to see the cause."
        )

    def stop(self) -> None:
        """Ends the worker at once."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


MOST_WORKERS = 1024
"""Processes; more are a slip of the keyboard."""


def check_workers(workers: int) -> None:
    """Checks a number of workers.

    Raises:
        UsageError: it is less than 1 or more than `MOST_WORKERS`.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise UsageError(
            f"{option('workers')} is {workers}; it must be at least 1 and at most {MOST_WORKERS}."
        )


def serve(descriptor: int, parent: int) -> None:
    """A worker's life: receives the function, then jobs, until the `parent` closes its end."""
    connection = Connection(descriptor)
    received = _received(connection)
    function: Callable[[Any], Any] = next(received, lambda job: None)
    for job in received:
        try:
            answer = (False, function(job))
        except BertsmithError as error:
            answer = (True, error)
        except Exception:
            if os.getppid() != parent:
                return  # The parent was killed: nobody is left to tell.
            raise
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send_bytes(pickle.dumps(answer))


def _received(connection: Connection) -> Iterator[Any]:
    """What the other end sends, until it closes or is killed, perhaps in the middle."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            yield connection.recv()
