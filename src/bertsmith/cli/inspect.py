"""`bertsmith inspect`."""

from dataclasses import dataclass
from pathlib import Path

from bertsmith.cli.command import MODEL, Result
from bertsmith.cli.model_options import ModelOptions
from bertsmith.cli.options import flag, page_language_flag, word
from bertsmith.core.runtime import PageLanguage


@dataclass(kw_only=True)
class Inspect(ModelOptions):
    """Look inside a model: a page of its embeddings, attention and expectations on a text."""

    examples = (
        'inspect tiny-en "He sat on the bank of the river."',
        'inspect tiny-zh "我喜欢苹果。" --out apple.html --language zh',
    )

    model: str = word(MODEL, metavar="MODEL")
    text: str = word("Text, at most 128 tokens with TEXT_B.", metavar="TEXT")
    text_b: str | None = word("Second text, segment B.", metavar="TEXT_B", default=None)
    out: Path = flag("Page to write.", group="Output", default=Path("inspection.html"))
    language: PageLanguage | None = page_language_flag()
    top_k: int = flag("Number of predictions for each token.", group="Output", default=5)

    def run(self) -> Result:
        """Inspects; with --json nothing is written."""
        import msgspec

        from bertsmith.core.storage import write_bytes
        from bertsmith.inference.inspection import inspect
        from bertsmith.reports.inspector import inspector_page
        from bertsmith.reports.language import written_in

        found = self.open_model(self.model)
        with found.place.autocast():
            answer = inspect(
                found.model,
                found.tokenizer,
                self.text,
                self.text_b,
                name=self.model,
                family=found.model.config.family,
                top_k=self.top_k,
            )
        if not self.json:
            with written_in(self.language):
                page = inspector_page(msgspec.json.encode(answer), model=self.model)
            write_bytes(self.out, page.encode())
        return Result(answer, f"The page is in {self.out}; open it in a browser.")
