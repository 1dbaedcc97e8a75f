"""`bertsmith score`."""

from dataclasses import dataclass

from bertsmith.cli.command import PRETRAINED, Command, Result
from bertsmith.cli.options import word


@dataclass(kw_only=True)
class Score(Command):
    """Log-likelihood of texts by a pre-trained model, token by token."""

    examples = ('score tiny-en "Paris is in France." "France is in Paris."',)

    model: str = word(PRETRAINED, metavar="MODEL")
    texts: tuple[str, ...] = word("Texts to compare, each in quotes.", metavar="TEXT...")

    def run(self) -> Result:
        """Scores."""
        from bertsmith.inference.likelihood import table
        from bertsmith.inference.predictor import Predictor

        found = Predictor(self.model).score(self.texts)
        return Result(found, table(found))
