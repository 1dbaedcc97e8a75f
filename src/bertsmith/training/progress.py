"""What a run tells while it runs: a bar or plain lines, `metrics.jsonl`, TensorBoard events."""

import contextlib
import importlib.util
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from bertsmith.core.errors import FolderError, explain_os_error
from bertsmith.core.extras import require
from bertsmith.core.storage import FolderGone, read_json_lines, write_bytes
from bertsmith.core.terminal import Bar, say


class Metrics:
    """`metrics.jsonl`: one JSON object a line, flushed at once, each step once.

    A line has `kind` ("baseline", "train" or "evaluation"), `step` (optimizer steps done) and
    numbers: losses in nats, seconds, tokens.
    """

    def __init__(self, path: Path, *, resume_step: int) -> None:
        """Keeps lines up to `resume_step` (and none that is cut short), drops those after it.

        Args:
            path: the file; made if it is missing.
            resume_step: step of the checkpoint the run continues from; -1 for a fresh start.

        Raises:
            FolderError: the file is damaged before its last line.
            SystemFault: it cannot be read or written.
        """
        kept = read_metrics(path) if path.exists() else []
        kept = [record for record in kept if record["step"] <= resume_step]
        write_bytes(path, b"".join(msgspec.json.encode(record) + b"\n" for record in kept))
        try:
            self._file: IO[bytes] = path.open("ab")
        except OSError as error:
            raise explain_os_error(error, "write", path) from error
        self._path = path

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Appends one line.

        Raises:
            FolderGone: the file was removed while the run went on.
            SystemFault: the disk is full, ...
        """
        if not os.fstat(self._file.fileno()).st_nlink:
            raise FolderGone.at(self._path.parent)
        record = {"kind": kind, "step": step} | values
        try:
            self._file.write(msgspec.json.encode(record) + b"\n")
            self._file.flush()
        except OSError as error:
            raise explain_os_error(error, "write", self._path) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`; a last line that a kill cut short is left out.

    Raises:
        FolderError: a line before the last is not a record of a run.
    """
    remedy = "delete that line to continue without it"
    what = f"an object of a run's numbers; {remedy}"
    records = read_json_lines(path, dict[str, Any], what)
    for number, record in enumerate(records, 1):
        if not isinstance(record.get("kind"), str) or not isinstance(record.get("step"), int):
            raise FolderError(f"{path} line {number} has no kind or no step; {remedy}.")
    return records


class Rate:
    """Tokens per second over the last steps, evaluations and saves not counted."""

    def __init__(
        self,
        *,
        window: int = 20,
        operations: Callable[[Sequence[Any]], float] | None = None,
        peak: float = math.inf,
    ) -> None:
        """Over a `window` of steps.

        Args:
            window: how many steps.
            operations: floating-point operations, forward and backward, of micro-batches; None: the
                use of the hardware is not reported.
            peak: those of all processes' hardware in a second, in plain matrix products.
        """
        self._recent: deque[tuple[int, float]] = deque(maxlen=window)
        self._operations, self._peak = operations, peak
        self._per_token: dict[int, float] = {}

    def add(self, tokens: int, seconds: float) -> None:
        """Notes a step."""
        self._recent.append((tokens, seconds))

    @property
    def tokens_per_second(self) -> float:
        """0 before the first step."""
        seconds = sum(seconds for _, seconds in self._recent)
        return sum(tokens for tokens, _ in self._recent) / seconds if seconds else 0.0

    def numbers(self, phase: int, batches: Sequence[Any]) -> dict[str, float]:
        """`tokens_per_second` and `mfu`, the model FLOPs utilization: the part of `peak` reached.

        The micro-batches of the first step of each phase stand for all of it.
        """
        rate = self.tokens_per_second
        if self._operations is None:
            return {"tokens_per_second": rate}
        if phase not in self._per_token:
            tokens = sum(batch.tokens for batch in batches)
            self._per_token[phase] = self._operations(batches) / tokens
        return {"tokens_per_second": rate, "mfu": rate * self._per_token[phase] / self._peak}


class _Events:
    """TensorBoard's events; its thread would print a traceback of what the system refuses."""

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        module = require(
            "torch.utils.tensorboard", extra="tensorboard", purpose="Writing TensorBoard"
        )
        self._folder = folder
        self._usual = threading.excepthook
        threading.excepthook = self._drop_refusals
        self._writer = module.SummaryWriter(str(folder), purge_step=purge_step)

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Adds the numbers of a step.

        Raises:
            SystemFault: the thread could not write those before.
        """
        try:
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, step)
        except OSError as error:
            raise explain_os_error(error, "write", self._folder) from error

    def close(self) -> None:
        """Writes what waits, as far as the system lets it: the numbers are in the metrics too."""
        with contextlib.suppress(OSError):
            self._writer.close()
        threading.excepthook = self._usual

    def _drop_refusals(self, failed: threading.ExceptHookArgs) -> None:
        # They are raised again in this thread, by `write`.
        ours = type(failed.thread).__module__.startswith("tensorboard")
        if not (ours and isinstance(failed.exc_value, OSError)):
            self._usual(failed)


class Reporter:
    """Everything a run tells, in one place; the processes other than the first tell nothing.

    Use as a context manager. A terminal gets a bar on standard error; anything else gets a plain
    line at the first step and every 15 seconds, so that logs stay short.
    """

    def __init__(
        self,
        out: Path | None,
        *,
        resume_step: int = -1,
        title: str = "",
        evaluated: str = "held-out",
    ) -> None:
        """Tells into the folder `out`, under a `title`; with None it is silent.

        `evaluated` is what evaluations are made on.
        """
        self._silent = out is None
        self._evaluated = evaluated
        self._title = title
        self._metrics: Metrics | None = None
        self._events: _Events | None = None
        if out is not None:
            self._metrics = Metrics(out / "metrics.jsonl", resume_step=resume_step)
            if importlib.util.find_spec("tensorboard") is not None:
                self._events = _Events(out / "tensorboard", purge_step=resume_step + 1)
        self._bar = Bar(at_once=True)

    def __enter__(self) -> "Reporter":
        if not self._silent:
            self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._silent:
            self._bar.__exit__(kind)
        if self._metrics is not None:
            self._metrics.close()
        if self._events is not None:
            self._events.close()

    def note(self, text: str) -> None:
        """Says a sentence."""
        if not self._silent:
            say(text)

    def train(self, step: int, progress: float, values: dict[str, float]) -> None:
        """A training step was done.

        Args:
            step: optimizer steps done.
            progress: part of the run done, in [0, 1].
            values: `loss`, `tokens_per_second`, `elapsed` (seconds) and whatever else to keep.
        """
        self._record("train", step, values)
        if not self._silent:
            numbers = (
                f"step {step:,}  loss {values['loss']:.3f}  "
                f"{values['tokens_per_second']:,.0f} tokens/s"
            )
            if "mfu" in values:
                numbers += f"  {values['mfu']:.0%} MFU"
            self._bar.show(self._title, progress, numbers)

    def evaluation(self, step: int, values: dict[str, float]) -> None:
        """An evaluation was done."""
        self._record("evaluation", step, values)
        shown = "  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in values.items())
        self.note(f"{self._evaluated} at step {step:,}: {shown or 'undefined'}")

    def baseline(self, values: dict[str, float]) -> None:
        """What a model that has learned nothing would reach in the evaluations."""
        self._record("baseline", 0, values)

    def _record(self, kind: str, step: int, values: dict[str, float]) -> None:
        if self._metrics is not None:
            self._metrics.write(kind, step, values)
        if self._events is not None:
            self._events.write(kind, step, values)
