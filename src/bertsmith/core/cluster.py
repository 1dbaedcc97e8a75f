"""Ray: a cluster that is joined or started on this machine, tasks on it, and what they raise."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from bertsmith.core.errors import BertsmithError, SystemFault, explain_os_error, option
from bertsmith.core.extras import require
from bertsmith.core.runtime import SPIN_COUNT, core_count

Job = TypeVar("Job")
Answer = TypeVar("Answer")

TRIES = 3
"""More, of a task whose process or machine died."""

_ADDRESS = "RAY_ADDRESS"
_AHEAD = 2
"""Jobs for each core of the cluster that are out at once: one computes, one waits there."""
_LOOK_SECONDS = 1.0


def load_ray() -> Any:
    """The package.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    return require("ray", extra="cluster", purpose="Running side by side")


@contextlib.contextmanager
def joined(address: str | None = None) -> Iterator[Any]:
    """Yields Ray, joined to the cluster at an address or started on this machine's cores.

    Args:
        address: of the cluster; None takes `RAY_ADDRESS`, and without it this machine alone.

    Raises:
        MissingExtra: Ray is not installed.
        SystemFault: the cluster does not answer or does not start.
    """
    ray = load_ray()
    address = address or os.environ.get(_ADDRESS)
    # Ray would count all cores of the machine, not those that this process may use.
    own: dict[str, Any] = {} if address else {"num_cpus": core_count()}
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
            # See `runtime.share_cores`; workers of a cluster do not inherit our environment.
            runtime_env={"env_vars": {"GOMP_SPINCOUNT": SPIN_COUNT} if address else {}},
            **own,
        )
    except Exception as error:  # Ray has no error class for this.
        why = str(error).strip().partition("\n")[0]
        if address:
            raise SystemFault(
                f"The Ray cluster at {address} does not answer ({why}); correct the address "
                f"({option('ray_address')} or {_ADDRESS}), or give none to use this machine alone."
            ) from error
        raise SystemFault(
            f"Ray did not start on this machine ({why}); run the same command without "
            f"{option('engine', 'ray')}."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def answer_of(ray: Any, reference: Any, title: str) -> Any:
    """What a task returned, or its error as it was raised.

    Raises:
        BertsmithError: what the task raised.
        SystemFault: it failed otherwise, or its process died too often.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, BertsmithError):
            raise cause from None
        if isinstance(cause, OSError):
            raise explain_os_error(cause, f"do a run ({title})") from error
        raise SystemFault(
            f"{title} failed ({type(cause).__name__}: {cause}); check that every machine "
            "of the cluster has this version of bertsmith, or run without "
            f"{option('engine', 'ray')}."
        ) from error
    except ray.exceptions.RayError as error:
        raise SystemFault(
            f"The process of a run died {TRIES + 1} times ({title}), perhaps because it "
            "ran out of memory; repeat the command (pretrain, finetune and compare: with "
            f"{option('resume', True)}). If it dies again, leave out {option('engine', 'ray')}."
        ) from error


def run(
    function: Callable[[Job], Answer], jobs: Iterable[Job], *, title: str, address: str | None
) -> Generator[Answer, None, None]:
    """Applies `function` to every job on a Ray cluster; answers come in any order.

    As `workers.run` does on one machine. No file is shared: jobs and answers travel. At most
    `_AHEAD` jobs for each core are out, so memory is bounded here and there. A job whose process
    or machine dies is done again.

    Args:
        function: a pure function; it, the jobs and the answers can be pickled.
        jobs: read lazily, in this process.
        title: what a job is, for errors.
        address: as in `joined`.

    Raises:
        MissingExtra, SystemFault: as `joined` and `answer_of`.
        BertsmithError: what `function` or `jobs` raised.
    """
    with joined(address) as ray:
        remote = ray.remote(num_cpus=1, max_retries=TRIES)(_apply)
        shared = ray.put(function)
        out: list[Any] = []
        try:
            for job in jobs:
                while len(out) >= _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 0))):
                    ended, out = ray.wait(out, timeout=_LOOK_SECONDS)
                    yield from (answer_of(ray, one, title) for one in ended)
                out.append(remote.remote(shared, job))
            while out:
                ended, out = ray.wait(out)
                yield from (answer_of(ray, one, title) for one in ended)
        finally:
            for one in out:
                ray.cancel(one, force=True)


def _apply(function: Callable[[Job], Answer], job: Job) -> Answer:
    return function(job)
