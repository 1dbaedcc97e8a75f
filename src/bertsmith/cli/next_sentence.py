"""`bertsmith next-sentence`."""

from dataclasses import dataclass

from bertsmith.cli.command import PRETRAINED, Result
from bertsmith.cli.model_options import ModelOptions
from bertsmith.cli.options import word


@dataclass(kw_only=True)
class NextSentence(ModelOptions):
    """Probability that one text follows another, by a BERT's next-sentence head."""

    examples = ('next-sentence tiny-en "It was raining." "She took an umbrella."',)

    model: str = word(PRETRAINED, metavar="MODEL")
    a: str = word("First text.", metavar="A")
    b: str = word("Second text.", metavar="B")

    def run(self) -> Result:
        """Predicts."""
        from bertsmith.core.terminal import percent

        probability = self.open_model(self.model).next_sentence(self.a, self.b)
        text = f"P(B follows A) = {percent(probability).strip()}"
        return Result({"a": self.a, "b": self.b, "probability": probability}, text)
