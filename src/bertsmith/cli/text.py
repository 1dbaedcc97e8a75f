"""From text to a corpus: `bertsmith tokenizer train`, `tokenizer show` and `prepare`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from bertsmith.cli.command import Command, Inputs, Result, with_next
from bertsmith.core.errors import UsageError
from bertsmith.core.runtime import core_count


@dataclass(kw_only=True)
class TokenizerTrain(Command):
    """Trains a WordPiece or byte-pair vocabulary on your text."""

    inputs: Inputs
    """Files, folders, globs or URLs: .txt .jsonl .csv .tsv .parquet .arrow, also .gz and .zst."""
    out: Path
    """Folder to write."""
    vocab_size: Annotated[int, arg(metavar="N")]
    """Pieces in the vocabulary, the five special ones counted."""
    kind: Literal["wordpiece", "bpe"] = "wordpiece"
    """WordPiece as BERT's, or byte pairs as GPT's."""
    cased: bool = False
    """Keep capitals and accents."""
    keep_accents: bool = False
    """Lower-case, but keep accents; the default where a script cannot be read without its marks."""
    strip_accents: bool = False
    """Strip accents, whatever the script."""
    min_frequency: Annotated[int, arg(metavar="N")] = 2
    """How often a pair must occur to be merged."""
    text_field: str = "text"
    """Field or column that holds the text."""
    workers: Annotated[int, arg(metavar="N")] = field(default_factory=core_count)
    """Processes."""

    def run(self) -> Result:
        """Trains and saves."""
        from bertsmith.core.terminal import Bar
        from bertsmith.text.tokenizer.train import train_tokenizer
        from bertsmith.text.tokenizer.vocabulary import shortfall

        if self.strip_accents and (self.keep_accents or self.cased):
            other = "--keep-accents" if self.keep_accents else "--cased"
            raise UsageError(f"--strip-accents and {other} contradict each other; give one.")
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
                note=notes.append,
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
    """Shows how a text is cut into pieces."""

    folder: Positional[Annotated[str, arg(name="dir", metavar="DIR")]]
    """Folder of a tokenizer or model, or a model's name."""
    text: Positional[Annotated[str, arg(metavar="TEXT")]]
    """The text."""

    def run(self) -> Result:
        """Encodes and shows."""
        from bertsmith.checkpoints.sources import resolve
        from bertsmith.text.tokenizer.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(resolve(self.folder))
        found = tokenizer.encode(self.text, allow_special=True)
        pieces = tokenizer.tokens(found.ids)
        rows = list(zip(pieces, found.ids, found.offsets, strict=True))
        data = [
            {"piece": piece, "id": number, "start": start, "end": end}
            for piece, number, (start, end) in rows
        ]
        width = max(map(len, pieces), default=0)
        text = [
            f"{piece:<{width}}  {number:>6}  {self.text[start:end]}"
            for piece, number, (start, end) in rows
        ]
        text.append("1 piece" if len(pieces) == 1 else f"{len(pieces)} pieces")
        return Result({"text": self.text, "pieces": data}, "\n".join(text))


@dataclass(kw_only=True)
class Prepare(Command):
    """Turns your text into a corpus for pre-training."""

    inputs: Inputs
    """Files, folders, globs or URLs: .txt .jsonl .csv .tsv .parquet .arrow, also .gz and .zst."""
    tokenizer: Annotated[str, arg(metavar="DIR|MODEL")]
    """Folder of a tokenizer; or a model (folder or name) that `pretrain --from` will continue."""
    out: Path
    """Folder to write; after an interruption the same command continues there."""
    workers: Annotated[int, arg(metavar="N")] = field(default_factory=core_count)
    """Processes; the result does not depend on it."""
    language: str = "auto"
    """Language for sentence splitting, e.g. en or zh."""
    text_field: str = "text"
    """Field or column that holds the text."""
    held_out: Annotated[float, arg(metavar="X")] = 0.005
    """Part of the documents kept out of training, to evaluate on."""
    segmenter: Literal["none", "jieba"] = "none"
    """Finds Chinese words, for `pretrain --masking word` (extra `chinese`)."""

    def run(self) -> Result:
        """Prepares, and describes what came out."""
        from bertsmith.checkpoints.sources import resolve
        from bertsmith.core.storage import read_json
        from bertsmith.core.terminal import Bar
        from bertsmith.corpus.prepare import prepare
        from bertsmith.info import path as info
        from bertsmith.info import words
        from bertsmith.models.config_files import MODEL_TYPES

        folder = resolve(self.tokenizer)
        with Bar(tokenize="bytes", assemble="parts") as bar:
            prepare(
                self.inputs,
                tokenizer=folder,
                out=self.out,
                workers=self.workers,
                language=self.language,
                text_field=self.text_field,
                held_out=self.held_out,
                segmenter=self.segmenter,
                progress=bar,
            )
        found = info.describe(str(self.out))
        begin = ["--size", "mini"]
        if (folder / "config.json").is_file():
            keys = read_json(folder / "config.json", dict[str, Any])
            model = MODEL_TYPES.get(keys.get("model_type", "bert"), "bert")
            begin = ["--from", self.tokenizer, *(["--model", model] if model != "bert" else [])]
        run = ["pretrain", "--data", str(self.out), "--out", "model", *begin, "--hours", "1"]
        return Result(found, with_next(words.lines(found), run))
