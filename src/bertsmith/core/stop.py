"""How a signal ends a job: SIGINT, SIGTERM and SIGHUP do the same everywhere.

A training run notes the signal and ends at its next safe point (`stop_signal`). Everything else
ends at once and cleans up on the way (`interruptible`, `stoppable`). The exit code is 128 + signal.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from bertsmith.core.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_SLIP_SECONDS = 1.0
"""A second signal this soon after the first is an accident, not a request to stop without
saving."""


@dataclass
class StopSignal:
    """The signal that stops the job."""

    number: int = 0
    """0 until one arrives."""
    _received_at: float = 0.0

    def note(self, number: int) -> bool:
        """Records a signal; False for a deliberate second one: the job must end at once."""
        if not self.number:
            self.number, self._received_at = number, time.monotonic()
            return True
        return time.monotonic() - self._received_at <= _SLIP_SECONDS


@contextlib.contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Records signals while the block runs; a second one gets the previous handler."""
    stop = StopSignal()
    with contextlib.ExitStack() as handlers:

        def handle(number: int, frame: FrameType | None) -> None:
            if not stop.note(number):
                handlers.close()
                signal.raise_signal(number)

        handlers.enter_context(_handled_by(handle))
        yield stop


class Interrupted(KeyboardInterrupt):
    """A signal ends the running code at once.

    No library mistakes a KeyboardInterrupt for one of its errors, and every `with` on the way out
    removes half-written files.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def signal_of(interrupt: KeyboardInterrupt) -> int:
    """The signal that an interrupt came from."""
    return interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Makes each of the signals raise `Interrupted` in the block."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled_by(handle):
        yield


@contextlib.contextmanager
def stoppable(where: str) -> Iterator[None]:
    """A signal ends the block at once; the same command then continues what it did.

    Args:
        where: where the job was, for the message; e.g. `while preparing corpus`.

    Raises:
        Stopped: SIGINT, SIGTERM or SIGHUP came.
    """
    try:
        with interruptible():
            yield
    except KeyboardInterrupt as interrupt:
        raise Stopped(signal_of(interrupt), where, again="again ") from interrupt


@contextlib.contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Sends the signals to `handle` while the block runs (Python lets only the main thread)."""
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            # `nohup` ignores SIGHUP so that the job outlives its terminal.
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
