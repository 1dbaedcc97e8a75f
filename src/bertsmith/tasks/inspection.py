"""What labelled data holds and what is wrong with it, as it is stored with results."""

import msgspec


class Numbers(msgspec.Struct, frozen=True):
    """The labels of a regression."""

    least: float
    mean: float
    greatest: float


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in the parts `train` and `dev`."""

    examples: dict[str, int]
    """Part -> how many."""
    classes: dict[str, dict[str, int]]
    """Part -> class -> how many examples, the most frequent first; what is counted is what
    `Example.counted` says. Empty where labels are numbers."""
    numbers: dict[str, Numbers]
    """Part -> its labels, where they are numbers; else empty."""
    duplicates: int
    """Examples of train whose input was there before."""
    contradictions: int
    """Those of them whose label is another than the first one's."""
    contradicting_places: list[str] = []
    """The first few of them, as `train.csv:9 = train.csv:4` (none in results of older versions)."""
    leaked: int
    """Examples of dev whose input is in train too."""
    leaked_places: list[str]
    """The first few of them, as `dev.csv:3 = train.csv:8`."""
    seen_once: list[str]
    """Classes with a single example in train."""
