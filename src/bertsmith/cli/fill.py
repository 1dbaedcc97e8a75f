"""`bertsmith fill`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from bertsmith.cli.command import PRETRAINED, Result
from bertsmith.cli.model_options import ModelOptions
from bertsmith.cli.options import flag, word

if TYPE_CHECKING:
    from bertsmith.text.tokenizer.tokenizer import Tokenizer

_ALL_UNKNOWN = (
    "Every word of the text is [UNK] in this model's vocabulary, so the predictions do not depend "
    "on it; give a text in the language that the model was trained on."
)


@dataclass(kw_only=True)
class Fill(ModelOptions):
    """Predict the words at the [MASK]s of a text."""

    examples = ('fill tiny-en "He was born in [MASK] and died in London."',)

    model: str = word(PRETRAINED, metavar="MODEL")
    text: str = word("Text with one or more [MASK].", metavar="TEXT")
    top_k: int = flag(
        "Number of predictions for each [MASK].", group="Output", default=5, metavar="K"
    )
    joint: bool = flag(
        "Also fill several [MASK]s one after the other, each given the choices before it.",
        group="Output",
        default=False,
    )

    word: tuple[str, ...] | None = flag(
        "Only print the probabilities of these words at the [MASK]; a word may have several "
        "pieces.",
        group="Output",
        default=None,
        metavar="W,...",
    )

    def run(self) -> Result:
        """Predicts."""
        from bertsmith.core.terminal import percent
        from bertsmith.inference.fill_mask import INDEPENDENT

        predictor = self.open_model(self.model)
        if self.word is not None:
            words = [predictor.word_probability(self.text, word) for word in self.word]
            lines = [
                f"  {percent(one.probability)}  {one.word}"
                + (f"  ({' '.join(one.pieces)})" if len(one.pieces) > 1 else "")
                for one in words
            ]
            return Result(words, "\n".join(lines))
        found = predictor.fill_mask(self.text, top_k=self.top_k, joint=self.joint)
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
        text += [line for line in (found.note, warning) if line]
        return Result(msgspec.to_builtins(found) | {"warning": warning}, "\n".join(text))


def _all_unknown(text: str, tokenizer: "Tokenizer") -> bool:
    """Whether the text has words, signs not counted, and the vocabulary has no piece for any."""
    ids = set(tokenizer.encode(text, allow_special=True).ids)
    known = tokenizer.tokens(ids - tokenizer.special_ids)
    return tokenizer.unk_id in ids and not any(sign.isalnum() for sign in "".join(known))
