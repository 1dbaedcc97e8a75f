"""The line before a model: what joins a batch, who is refused, who is forgotten."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bertsmith.serving.batching import Batcher, Busy, Expired
from bertsmith.serving.engine import Unavailable
from bertsmith.serving.operations import Batch, Refused


class SlowEngine:
    """Answers with the inputs in capitals, when the test says so."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.go = asyncio.Event()
        self.fault = ""

    async def answer(self, batch: Batch) -> list[bytes | Refused]:
        self.batches.append(batch)
        await self.go.wait()
        if self.fault:
            raise Unavailable(self.fault)
        return [str(item).upper().encode() for item in batch.items]


def run(scenario: Callable[[SlowEngine, Batcher], Any], **settings: Any) -> None:
    async def begin() -> None:
        engine = SlowEngine()
        limits = {"max_batch_tokens": 10, "max_waiting": 8} | settings
        batcher = Batcher([engine], **limits)  # type: ignore[list-item]
        batcher.start()
        try:
            await scenario(engine, batcher)
        finally:
            await batcher.stop()

    asyncio.run(begin())


def submit(batcher: Batcher, text: str, *, seconds: float = 60, **settings: Any) -> Any:
    work = batcher.submit("echo", [text], settings, tokens=[len(text)], seconds=seconds)
    return asyncio.create_task(work)


def test_a_lone_request_does_not_wait_and_those_behind_it_share_a_batch() -> None:
    async def scenario(engine: SlowEngine, batcher: Batcher) -> None:
        tasks = [submit(batcher, "a")]
        await asyncio.sleep(0.01)
        assert [batch.items for batch in engine.batches] == [["a"]]
        tasks += [submit(batcher, text) for text in ("bbbb", "cccc", "dddd")]
        tasks.append(submit(batcher, "e", top_k=2))
        await asyncio.sleep(0.01)
        engine.go.set()
        assert [(await task)[0] for task in tasks] == [b"A", b"BBBB", b"CCCC", b"DDDD", b"E"]
        # Ten tokens hold two of four; other settings make another batch.
        assert [batch.items for batch in engine.batches] == [
            ["a"],
            ["bbbb", "cccc"],
            ["dddd"],
            ["e"],
        ]

    run(scenario)


def test_too_long_a_line_is_refused_with_the_time_it_takes() -> None:
    async def scenario(engine: SlowEngine, batcher: Batcher) -> None:
        tasks = [submit(batcher, "a")]
        await asyncio.sleep(0.01)
        tasks += [submit(batcher, "b") for _ in range(8)]
        await asyncio.sleep(0.01)
        with pytest.raises(Busy) as caught:
            await submit(batcher, "c")
        assert caught.value.seconds > 0
        with pytest.raises(Busy):
            await submit(batcher, "c" * 5000, seconds=1)
        engine.go.set()
        assert [(await task)[0] for task in tasks] == [b"A", *[b"B"] * 8]
        assert await submit(batcher, "d") == [b"D"]

    run(scenario)


def test_who_waits_past_the_deadline_is_told_and_not_computed() -> None:
    async def scenario(engine: SlowEngine, batcher: Batcher) -> None:
        first = submit(batcher, "a")
        await asyncio.sleep(0.01)
        late = submit(batcher, "b", seconds=0.05)
        await asyncio.sleep(0.2)
        engine.go.set()
        assert await first == [b"A"]
        with pytest.raises(Expired):
            await late
        assert [batch.items for batch in engine.batches] == [["a"]]

    run(scenario)


def test_a_client_that_has_gone_costs_nothing() -> None:
    async def scenario(engine: SlowEngine, batcher: Batcher) -> None:
        first = submit(batcher, "a")
        await asyncio.sleep(0.01)
        gone, kept = submit(batcher, "b"), submit(batcher, "c")
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.01)
        engine.go.set()
        assert await first == [b"A"]
        assert await kept == [b"C"]
        assert [batch.items for batch in engine.batches] == [["a"], ["c"]]

    run(scenario)


def test_a_model_that_is_down_fails_what_it_had_and_answers_again_later() -> None:
    async def scenario(engine: SlowEngine, batcher: Batcher) -> None:
        engine.fault = "worker died"
        engine.go.set()
        with pytest.raises(Unavailable, match="worker died"):
            await submit(batcher, "a")
        engine.fault = ""
        assert await submit(batcher, "b") == [b"B"]

    run(scenario)


def run_two(scenario: Callable[[list[SlowEngine], Batcher], Any], **settings: Any) -> None:
    async def begin() -> None:
        engines = [SlowEngine(), SlowEngine()]
        limits = {"max_batch_tokens": 10, "max_waiting": 8} | settings
        batcher = Batcher(engines, **limits)  # type: ignore[arg-type]
        batcher.start()
        try:
            await scenario(engines, batcher)
        finally:
            await batcher.stop()

    asyncio.run(begin())


def test_two_workers_compute_beside_each_other() -> None:
    async def scenario(engines: list[SlowEngine], batcher: Batcher) -> None:
        tasks = []
        for text in "abcd":
            tasks.append(submit(batcher, text))
            await asyncio.sleep(0.01)
        assert [[batch.items for batch in engine.batches] for engine in engines] == [
            [["a"]],
            [["b"]],
        ]
        # Only the first had the cores to itself.
        assert [engine.batches[0].alone for engine in engines] == [True, False]
        engines[1].go.set()
        assert [(await task)[0] for task in tasks[1:]] == [b"B", b"C", b"D"]
        engines[0].go.set()
        assert await tasks[0] == [b"A"]

    run_two(scenario)


def test_a_worker_that_is_down_leaves_its_batch_to_the_other() -> None:
    async def scenario(engines: list[SlowEngine], batcher: Batcher) -> None:
        first, second = engines
        first.fault = "worker died"
        first.go.set()
        second.go.set()
        assert await submit(batcher, "a") == [b"A"]
        assert [len(engine.batches) for engine in engines] == [1, 1]
        assert batcher.fault == ""
        second.fault = "worker died"
        with pytest.raises(Unavailable, match="worker died"):
            await submit(batcher, "b")
        assert batcher.fault == "worker died"

    run_two(scenario)


def test_who_could_not_be_answered_in_time_is_refused_at_once() -> None:
    async def scenario(engine: SlowEngine, batcher: Batcher) -> None:
        first = submit(batcher, "a" * 10)
        await asyncio.sleep(0.1)
        engine.go.set()
        assert await first == [b"A" * 10]  # So the rate is at most 100 tokens a second.
        engine.go.clear()
        second = submit(batcher, "b" * 10)
        await asyncio.sleep(0.01)
        with pytest.raises(Busy):
            await submit(batcher, "c" * 10, seconds=0.2)
        patient = submit(batcher, "d" * 10, seconds=60)
        await asyncio.sleep(0.01)
        engine.go.set()
        assert await second == [b"B" * 10]
        assert await patient == [b"D" * 10]

    run(scenario)


def test_a_batch_ends_before_the_first_deadline() -> None:
    async def scenario(engines: list[SlowEngine], batcher: Batcher) -> None:
        begun = submit(batcher, "a")
        await asyncio.sleep(0.01)
        batcher._timed = (100.0, 1.0)
        # At 100 tokens a second, with half of the time for slack, 10 s are worth 500 tokens.
        tasks = [submit(batcher, text * 200, seconds=10) for text in "cde"]
        await asyncio.sleep(0.01)
        for engine in engines:
            engine.go.set()
        await asyncio.gather(begun, *tasks)
        sizes = [[len(batch.items) for batch in engine.batches] for engine in engines]
        assert sizes == [[1, 1], [2]]

    run_two(scenario, max_batch_tokens=1000)
