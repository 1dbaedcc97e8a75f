"""What is done with a model's folder: `bertsmith fill`, `generate`, `score` and `info`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
from tyro.conf import Positional, arg

from bertsmith.cli.command import Command, Model, Result
from bertsmith.core.errors import UsageError

if TYPE_CHECKING:
    from bertsmith.text.tokenizer.tokenizer import Tokenizer

_ALL_UNKNOWN = (
    "Every word of the text is [UNK] in this model's vocabulary, so the guesses know nothing of "
    "it; give a text in the language that the model was trained on."
)


@dataclass(kw_only=True)
class Fill(Command):
    """Fills in the blanks of a text."""

    model: Model
    """Folder of a pre-trained model, `tiny-en`, `tiny-zh`, or a name of the Hugging Face hub."""
    text: Positional[Annotated[str, arg(metavar="TEXT")]]
    """Text with one or more [MASK]."""
    top: Annotated[int, arg(metavar="N")] = 5
    """Tokens to print for each blank."""
    joint: bool = False
    """Fill several blanks one after the other, each seeing the choices before it."""

    def run(self) -> Result:
        """Predicts."""
        from bertsmith.core.terminal import percent
        from bertsmith.inference.fill_mask import INDEPENDENT
        from bertsmith.inference.predictor import Predictor

        predictor = Predictor(self.model)
        found = predictor.fill(self.text, top=self.top, joint=self.joint)
        warning = _ALL_UNKNOWN if _all_unknown(self.text, predictor.tokenizer) else None
        text = []
        for number, blank in enumerate(found.blanks, 1):
            if len(found.blanks) > 1:
                text.append(f"[MASK] {number}, on its own")
            text += [f"  {percent(guess.probability)}  {guess.token}" for guess in blank.candidates]
        if found.joint:
            text.append("Together, one after the other, each seeing the choices before it")
            text += [f"  {percent(filling.probability)}  {filling.text}" for filling in found.joint]
        elif len(found.blanks) > 1:
            text.append(INDEPENDENT)
        text += [said for said in (found.note, warning) if said]
        return Result(msgspec.to_builtins(found) | {"warning": warning}, "\n".join(text))


@dataclass(kw_only=True)
class Generate(Command):
    """Writes a text on, with a GPT."""

    model: Model
    """Folder of a pre-trained GPT, or a name of the Hugging Face hub."""
    text: Positional[Annotated[str, arg(metavar="TEXT")]]
    """How it begins."""
    tokens: Annotated[int, arg(metavar="N")] = 50
    """Most tokens to write."""
    temperature: Annotated[float, arg(metavar="X")] = 1.0
    """Above 1 bolder, below 1 safer; 0 always takes the most probable token."""
    top_k: Annotated[int, arg(metavar="N")] = 0
    """Draw among so many most probable tokens; 0 for all."""
    top_p: Annotated[float, arg(metavar="X")] = 1.0
    """Draw among the fewest most probable tokens that have this probability together."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Decides the draws."""

    def run(self) -> Result:
        """Writes."""
        from bertsmith.inference.predictor import Predictor

        found = Predictor(self.model).generate(
            self.text,
            tokens=self.tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=self.seed,
        )
        text = [found.text]
        if found.ended == "at the last position":
            text += ["", "The model has no more positions: it ends here, not the text."]
        return Result(found, "\n".join(text))


@dataclass(kw_only=True)
class Score(Command):
    """Tells how likely texts are to a pre-trained model, token by token."""

    model: Model
    """Folder of a pre-trained BERT, GPT or ELMo, `tiny-en`, `tiny-zh`, or a name of the hub."""
    texts: Positional[
        Annotated[
            tuple[str, ...], arg(name="text", metavar="TEXT...", help_behavior_hint="(one or more)")
        ]
    ]
    """Texts to compare, each in quotes."""

    def run(self) -> Result:
        """Scores."""
        from bertsmith.inference.likelihood import table
        from bertsmith.inference.predictor import Predictor

        if not self.texts:
            raise UsageError("There is nothing to score; give one or more texts, each in quotes.")
        found = Predictor(self.model).score(self.texts)
        return Result(found, table(found))


@dataclass(kw_only=True)
class Info(Command):
    """Tells what a folder or file is, with its numbers."""

    path: Positional[Annotated[str, arg(metavar="PATH")]]
    """A tokenizer, corpus, model (folder or name) or run, or text files."""
    text_field: Annotated[str, arg(metavar="KEY")] = "text"
    """Of text files: JSON key or column that holds the text."""

    def run(self) -> Result:
        """Describes."""
        from bertsmith.info import path as info
        from bertsmith.info import words

        found = info.describe(self.path, text_field=self.text_field)
        return Result(found, "\n".join(words.lines(found)))


def _all_unknown(text: str, tokenizer: "Tokenizer") -> bool:
    """Whether the text has words, signs not counted, and the vocabulary has no piece for any."""
    ids = set(tokenizer.encode(text, allow_special=True).ids)
    known = tokenizer.tokens(ids - tokenizer.special_ids)
    return tokenizer.unk_id in ids and not any(sign.isalnum() for sign in "".join(known))
