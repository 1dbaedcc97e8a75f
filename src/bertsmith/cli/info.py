"""`bertsmith info`."""

from dataclasses import dataclass

from bertsmith.cli.command import Command, Result
from bertsmith.cli.options import flag, word


@dataclass(kw_only=True)
class Info(Command):
    """Describe a folder or file: text, tokenizer, corpus, model or run."""

    path: str = word(
        "Tokenizer, corpus, model (folder or name), run, or text files.", metavar="PATH"
    )
    text_field: str = flag(
        "Of text files: field or column that holds the text.",
        group="Data",
        default="text",
        metavar="NAME",
    )

    def run(self) -> Result:
        """Describes."""
        from bertsmith.info import path as info
        from bertsmith.info import words

        found = info.describe(self.path, text_field=self.text_field)
        return Result(found, "\n".join(words.lines(found)))
