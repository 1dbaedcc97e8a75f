"""What a run says before it starts."""

from pathlib import Path

from bertsmith.pretraining.config import pretrain_config
from bertsmith.pretraining.plan import plan_lines
from bertsmith.training.schedule import Phase


def test_a_run_by_steps() -> None:
    phases = (Phase(0.5, 128), Phase(0.5, 512))
    config = pretrain_config("modern", data="c", steps=100, batch_size=10, phases=phases)
    run, output = plan_lines(config, corpus_tokens=160_000, out=Path("my-model"))
    # 100 steps of 10 sequences of 320 tokens on average.
    for fact in ("100 steps", "10 sequences", "128 then 512", "320k tokens", " 2 passes", "160k"):
        assert fact in run
    assert "my-model" in output
    assert "ten minutes" in output


def test_a_run_by_the_clock() -> None:
    config = pretrain_config("modern", data="c", hours=1.5, save_every=50)
    run, output = plan_lines(config, corpus_tokens=160_000, out=Path("my-model"))
    assert "1 h 30 min" in run
    assert "every 50 steps" in output
