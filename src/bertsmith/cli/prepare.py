"""`bertsmith prepare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bertsmith.cli.command import TEXT_FILES, Command, Result, with_next
from bertsmith.cli.options import flag, word
from bertsmith.core.runtime import Engine, core_count


@dataclass(kw_only=True)
class Prepare(Command):
    """Turn your text into a corpus for pre-training."""

    examples = ("prepare my-text/ --tokenizer my-tokenizer --out my-corpus",)

    inputs: tuple[str, ...] = word(TEXT_FILES, metavar="INPUT...")
    text_field: str = flag(
        "Field or column that holds the text.", group="Data", default="text", metavar="NAME"
    )
    language: str = flag(
        "Language for sentence splitting, e.g. en or zh.",
        group="Data",
        default="auto",
        metavar="CODE",
    )
    held_out: float = flag(
        "Fraction of the documents held out of training, for evaluation.",
        group="Data",
        default=0.005,
    )
    near_duplicates: float | None = flag(
        "Drop documents this similar to an earlier one, e.g. 0.8 (extra `near-duplicates`): "
        "estimated Jaccard similarity of their runs of five tokens.",
        group="Data",
        default=None,
        shown="keep them",
    )
    segmenter: Literal["none", "jieba"] = flag(
        "Chinese word segmenter, for whole-word masking (extra `chinese`).",
        group="Data",
        default="none",
    )
    tokenizer: str = flag(
        "Folder of a tokenizer; or a model (folder or name) to continue with `pretrain --from`.",
        group="Model",
        metavar="MODEL",
    )
    out: Path = flag(
        "Folder to write; after an interruption the same command continues there.",
        group="Output",
        metavar="DIR",
    )
    engine: Engine = flag(
        "local: processes of this machine; ray: the cores of a Ray cluster (extra `cluster`), "
        "which need not see the files. The result is the same.",
        group="Output",
        default="local",
    )
    ray_address: str | None = flag(
        "Ray cluster to join.",
        group="Output",
        default=None,
        metavar="ADDRESS",
        shown="RAY_ADDRESS, or this machine's cores",
    )
    workers: int = flag(
        "Number of processes; does not change the result.",
        group="Output",
        default_factory=core_count,
        shown="all cores",
    )

    def run(self) -> Result:
        """Prepares, and describes what came out."""
        from bertsmith.checkpoints.sources import resolve
        from bertsmith.core.storage import read_json
        from bertsmith.core.terminal import Bar
        from bertsmith.corpus.prepare import prepare
        from bertsmith.info import path as info
        from bertsmith.info import words
        from bertsmith.models.config import DEFAULT_FAMILY
        from bertsmith.models.config_files import MODEL_TYPES

        folder = resolve(self.tokenizer)
        with Bar(tokenize="bytes", assemble="parts") as bar:
            prepare(
                self.inputs,
                tokenizer=folder,
                out=self.out,
                workers=self.workers,
                engine=self.engine,
                ray_address=self.ray_address,
                language=self.language,
                text_field=self.text_field,
                held_out=self.held_out,
                near_duplicates=self.near_duplicates,
                segmenter=self.segmenter,
                progress=bar,
            )
        found = info.describe(str(self.out))
        begin = ["--size", "mini"]
        if (folder / "config.json").is_file():
            keys = read_json(folder / "config.json", dict[str, Any])
            family = MODEL_TYPES.get(keys.get("model_type", ""), DEFAULT_FAMILY)
            begin = ["--from", self.tokenizer]
            begin += [] if family == DEFAULT_FAMILY else ["--model", family]
        if self.segmenter != "none" and "--model" not in begin:
            # Word boundaries are there for whole words to be masked.
            begin.append("--whole-word-masking")
        run = ["pretrain", "--data", str(self.out), "--out", "model", *begin, "--hours", "1"]
        return Result(found, with_next(words.lines(found), run))
