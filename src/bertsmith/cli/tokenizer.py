"""`bertsmith tokenizer`: train one, extend a model's, or show what one does to a text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bertsmith.cli.command import MODEL, TEXT_FILES, Command, Result, with_next
from bertsmith.cli.flags import in_flags
from bertsmith.cli.options import flag, word
from bertsmith.core.errors import UsageError
from bertsmith.core.runtime import core_count

_SHOWN = 8
"""Added words that the report names."""
_UNLIMITED = 2**31
"""Tokens: a text that is only shown needs no model's positions."""


@dataclass(kw_only=True)
class TokenizerTrain(Command):
    """Train a WordPiece or byte-pair vocabulary on your text."""

    examples = ("tokenizer train my-text/ --out my-tokenizer --vocab-size 30000",)

    inputs: tuple[str, ...] = word(TEXT_FILES, metavar="INPUT...")
    text_field: str = flag(
        "Field or column that holds the text.", group="Data", default="text", metavar="NAME"
    )
    vocab_size: int = flag("Vocabulary size, special tokens included.", group="Model")
    kind: Literal["wordpiece", "bpe"] = flag(
        "wordpiece: BERT's; bpe: GPT's byte pairs.", group="Model", default="wordpiece"
    )
    cased: bool = flag("Keep capitals and accents.", group="Model", default=False)
    keep_accents: bool = flag(
        "Lower-case, but keep accents; the default for scripts that need their marks.",
        group="Model",
        default=False,
    )
    strip_accents: bool = flag("Strip accents in any script.", group="Model", default=False)
    min_frequency: int = flag(
        "Minimum number of occurrences of a pair to be merged.", group="Model", default=2
    )
    out: Path = flag("Folder to write.", group="Output", metavar="DIR")
    workers: int = flag(
        "Number of processes.", group="Output", default_factory=core_count, shown="all cores"
    )

    def run(self) -> Result:
        """Trains and saves."""
        from bertsmith.core.terminal import Bar
        from bertsmith.text.tokenizer.train import train_tokenizer
        from bertsmith.text.tokenizer.vocabulary import shortfall

        if self.strip_accents and (self.keep_accents or self.cased):
            other = "--keep-accents" if self.keep_accents else "--cased"
            raise UsageError(f"--strip-accents and {other} contradict each other; give only one.")
        chosen = self.strip_accents or self.keep_accents
        notes: list[str] = []
        with Bar(count="characters", merge="pieces") as bar:
            tokenizer = train_tokenizer(
                self.inputs,
                out=self.out,
                size=self.vocab_size,
                kind=self.kind,
                lower_case=not self.cased,
                strip_accents=self.strip_accents if chosen else None,
                min_frequency=self.min_frequency,
                text_field=self.text_field,
                workers=self.workers,
                progress=bar,
                note=lambda line: notes.append(in_flags(line)),
            )
        data = {
            "out": str(self.out),
            "strip_accents": tokenizer.cleaning.strips_accents,
            "notes": notes,
            "vocab_size": len(tokenizer.vocab),
            "fingerprint": tokenizer.fingerprint,
        }
        text = [f"A vocabulary of {len(tokenizer.vocab):,} pieces is in {self.out}.", *notes]
        few = shortfall(list(tokenizer.vocab), size=self.vocab_size)
        if few is not None:
            text.append(few)
        following = ["prepare", *self.inputs, "--tokenizer", str(self.out), "--out", "corpus"]
        return Result(data, with_next(text, following))


@dataclass(kw_only=True)
class TokenizerShow(Command):
    """Show the pieces of a text, or the model input of a pair of texts."""

    examples = ('tokenizer show tiny-en "Paris is in France."',)

    model: str = word("Folder of a tokenizer or model, or a model's name.", metavar="MODEL")
    text: str = word("Text.", metavar="TEXT")
    text_pair: str | None = word(
        "Second text: show `[CLS] a [SEP] b [SEP]` with segments and positions.",
        metavar="TEXT_B",
        default=None,
    )

    def run(self) -> Result:
        """Encodes and shows."""
        from bertsmith.checkpoints.sources import resolve
        from bertsmith.core.terminal import columns
        from bertsmith.text.tokenizer import encode
        from bertsmith.text.tokenizer.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(resolve(self.model))
        found: dict[str, Any] = {"text": self.text}
        if self.text_pair is None:
            encoding = tokenizer.encode(self.text, allow_special=True)
            ids = encoding.ids
            spans = [{"start": start, "end": end} for start, end in encoding.offsets]
            cells = [self.text[start:end] for start, end in encoding.offsets]
        else:
            found["text_pair"] = self.text_pair
            built = encode.pair(tokenizer, self.text, self.text_pair, max_length=_UNLIMITED)
            ids = built.ids
            spans = [
                {"segment": segment, "position": position}
                for position, segment in enumerate(built.segments)
            ]
            cells = [f"{one['segment']:>7}  {one['position']:>8}" for one in spans]
        pieces = tokenizer.tokens(ids)
        found["pieces"] = [
            {"piece": piece, "id": number} | span
            for piece, number, span in zip(pieces, ids, spans, strict=True)
        ]
        width = max(map(columns, [*pieces, "piece"]))
        heads = "text" if self.text_pair is None else "segment  position"
        lines = [f"{'piece':<{width}}  {'id':>6}  {heads}"]
        for piece, number, cell in zip(pieces, ids, cells, strict=True):
            padded = piece + " " * (width - columns(piece))
            lines.append(f"{padded}  {number:>6}  {cell}")
        lines.append("1 piece" if len(pieces) == 1 else f"{len(pieces)} pieces")
        return Result(found, "\n".join(lines))


@dataclass(kw_only=True)
class TokenizerExtend(Command):
    """Add the words of your domain to a model's vocabulary."""

    examples = ("tokenizer extend minilm tickets/ --size 1000 --out minilm-tickets",)

    model: str = word(MODEL, metavar="MODEL")
    inputs: tuple[str, ...] = word(TEXT_FILES, metavar="INPUT...")
    text_field: str = flag(
        "Field or column that holds the text.", group="Data", default="text", metavar="NAME"
    )
    size: int = flag("Maximum number of words to add.", group="Model", default=1000)
    min_frequency: int = flag(
        "Minimum number of occurrences of a word to be added.", group="Model", default=5
    )
    out: Path = flag("New model folder.", group="Output", metavar="DIR")
    workers: int = flag(
        "Number of processes.", group="Output", default_factory=core_count, shown="all cores"
    )

    def run(self) -> Result:
        """Extends and reports what it saves."""
        from bertsmith.checkpoints.extend import extend_tokenizer
        from bertsmith.core.terminal import Bar

        with Bar(count="characters") as bar:
            done = extend_tokenizer(
                self.model,
                self.inputs,
                out=self.out,
                size=self.size,
                min_frequency=self.min_frequency,
                text_field=self.text_field,
                workers=self.workers,
                progress=bar,
            )
        before, after = done.tokens_before / done.words, done.tokens_after / done.words
        data = {
            "out": str(done.out),
            "added": [one.word for one in done.added],
            "vocab_size": done.vocab_size,
            "words": done.words,
            "tokens_per_word": {"before": before, "after": after},
            "unknown": {"before": done.unknown_before, "after": done.unknown_after},
        }
        shown = ", ".join(one.word for one in done.added[:_SHOWN])
        more = f" and {len(done.added) - _SHOWN:,} more" if len(done.added) > _SHOWN else ""
        text = [
            f"{done.out}: {len(done.added):,} words added ({shown}{more}).",
            f"The text now has {after:.3f} tokens a word instead of {before:.3f} "
            f"({100 * (1 - after / before):.1f}% fewer).",
        ]
        if done.unknown_before:
            text.append(
                f"[UNK] tokens: {done.unknown_before:,} before, {done.unknown_after:,} after."
            )
        if len(done.added) < self.size:
            text.append(
                f"No other word is cut into pieces and occurs {self.min_frequency} times or more."
            )
        text.append("The new words begin as the mean of their old pieces: continue pre-training.")
        corpus = f"{self.out}-corpus"
        return Result(
            data,
            with_next(
                text,
                ["prepare", *self.inputs, "--tokenizer", str(self.out), "--out", corpus],
                [
                    "pretrain",
                    "--data",
                    corpus,
                    "--from",
                    str(self.out),
                    "--out",
                    f"{self.out}-trained",
                ],
            ),
        )
