"""`bertsmith generate`."""

from dataclasses import dataclass

from bertsmith.cli.command import Result
from bertsmith.cli.model_options import ModelOptions
from bertsmith.cli.options import flag, word


@dataclass(kw_only=True)
class Generate(ModelOptions):
    """Continue a text with a GPT."""

    model: str = word("Folder of a pre-trained GPT, or a Hugging Face hub name.", metavar="MODEL")
    text: str = word("Prompt.", metavar="TEXT")
    max_new_tokens: int = flag("Maximum number of new tokens.", group="Sampling", default=50)
    temperature: float = flag(
        "Sampling temperature; 0 always takes the most probable token.",
        group="Sampling",
        default=1.0,
    )
    top_k: int = flag(
        "Sample from the K most probable tokens; 0: from all.",
        group="Sampling",
        default=0,
        metavar="K",
    )
    top_p: float = flag(
        "Sample from the fewest most probable tokens whose probabilities add up to P.",
        group="Sampling",
        default=1.0,
        metavar="P",
    )
    seed: int = flag("Random seed.", group="Sampling", default=0)

    def run(self) -> Result:
        """Generates."""
        found = self.open_model(self.model).generate(
            self.text,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=self.seed,
        )
        text = [found.text]
        if found.ended == "at the last position":
            text += ["", "Stopped at the model's last position."]
        return Result(found, "\n".join(text))
