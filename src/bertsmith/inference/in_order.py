"""Work in threads whose results come in order: several at once, or one ahead of its reader."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")
Item = TypeVar("Item")


def in_order(
    work: Callable[[Given], Found], items: Iterable[Given], *, workers: int
) -> Iterator[Found]:
    """`work` of each item, in order; several are computed at once, and few wait to be taken."""
    if workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Found]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the next one is made while the last one is used."""
    end = object()

    def step() -> Item | object:
        return next(items, end)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(step)
        while (item := coming.result()) is not end:
            coming = pool.submit(step)
            yield item  # type: ignore[misc]
