"""The plan that is printed before a pre-training starts."""

from pathlib import Path

from bertsmith.core.terminal import amount, duration
from bertsmith.pretraining.config import PretrainConfig

PAPER_SHARE = 0.15
"""Of the tokens, those that a BERT of the paper predicts (section 3.1)."""


def recipe_line(config: PretrainConfig) -> str:
    """Which recipe the examples are made by, and what it asks for beside the paper's."""
    if config.objective != "masked":
        return f"Recipe {config.recipe}: every token is predicted from those before it."
    share = f"{config.mlm_probability:.0%} of the tokens are predicted"
    if config.mlm_probability != PAPER_SHARE:
        share += f" (the paper: {PAPER_SHARE:.0%})"
    unit = "whole words" if config.whole_word_masking else "single pieces"
    return f"Recipe {config.recipe}: {share}, {unit}."


def plan_lines(config: PretrainConfig, *, corpus_tokens: int, out: Path) -> list[str]:
    """The length of the run, its passes over the corpus, and its output folder.

    Args:
        config: settings of the run.
        corpus_tokens: tokens of the training split.
        out: folder of the run.
    """
    lengths = " then ".join(str(phase.length) for phase in config.phases)
    step = f"{config.batch_size:,} sequences of up to {lengths} tokens"
    if config.steps is None:
        assert config.hours is not None
        run = f"{duration(config.hours * 3600)} of steps of {step}"
        seen = f"on {amount(corpus_tokens)} tokens of text"
    else:
        mean = sum(phase.share * phase.length for phase in config.phases)
        tokens = config.steps * config.batch_size * mean
        run = f"{config.steps:,} steps of {step}"
        seen = (
            f"at most {amount(tokens)} tokens, or {tokens / max(corpus_tokens, 1):.2g} passes over "
            f"the corpus of {amount(corpus_tokens)} tokens"
        )
    every = f"every {config.save_every:,} steps" if config.save_every else "every ten minutes"
    return [f"Plan: {run}, {seen}.", f"Output: {out}, with a checkpoint {every}."]
