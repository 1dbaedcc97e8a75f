"""Curves of trainings, finished and running, out of the `metrics.jsonl` of their folders."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bertsmith.training.progress import read_metrics

_METRICS = "metrics.jsonl"
_POINTS = 400
"""Of a curve that is drawn; more are thinned out."""
_DEPTH = 4
"""Folders below the given ones that are looked into."""


class RunCurves(msgspec.Struct, frozen=True, kw_only=True):
    """A training to draw."""

    name: str
    """Its folder, below the folder that was given."""
    finished: bool
    """Whether a model folder is there."""
    train: dict[str, list[tuple[int, float]]]
    """Of each step: step and value, for the loss and the learning rate."""
    evaluation: dict[str, list[tuple[int, float]]]
    """Step and value of each held-out number."""
    baseline: dict[str, float]
    """The same numbers for guessing by frequency."""


def list_runs(roots: Sequence[Path]) -> list[str]:
    """Names of the runs below `roots`, the latest first."""
    found = {
        _name(root, path.parent): path.stat().st_mtime
        for root in roots
        for depth in range(_DEPTH)
        for path in root.glob("*/" * depth + _METRICS)
        if path.is_file()
    }
    return sorted(found, key=lambda name: -found[name])


def read_run(roots: Sequence[Path], name: str) -> RunCurves | None:
    """The curves of one run; None if there is none of that name."""
    for root in roots:
        for depth in range(_DEPTH):
            for path in root.glob("*/" * depth + _METRICS):
                if _name(root, path.parent) == name:
                    return _read(path, name)
    return None


def _name(root: Path, folder: Path) -> str:
    below = folder.relative_to(root).as_posix()
    return root.resolve().name if below == "." else f"{root.resolve().name}/{below}"


def _read(path: Path, name: str) -> RunCurves:
    train: dict[str, list[tuple[int, float]]] = {"loss": [], "learning_rate": []}
    evaluation: dict[str, list[tuple[int, float]]] = {}
    baseline: dict[str, float] = {}
    for row in read_metrics(path):
        step: int = row["step"]
        numbers = {key: value for key, value in row.items() if isinstance(value, float)}
        match row["kind"]:
            case "train":
                for key, points in train.items():
                    if key in numbers:
                        points.append((step, numbers[key]))
            case "evaluation":
                for key, value in numbers.items():
                    evaluation.setdefault(key, []).append((step, value))
            case "baseline":
                baseline = numbers
    return RunCurves(
        name=name,
        finished=(path.parent / "config.json").is_file(),
        train={key: _thinned(points) for key, points in train.items()},
        evaluation={key: _thinned(points) for key, points in evaluation.items()},
        baseline=baseline,
    )


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Every n-th of many points, and the last."""
    every = -(-len(points) // _POINTS) or 1
    kept = points[::every]
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]
