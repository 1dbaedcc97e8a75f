"""The job: a model folder to a folder that ONNX Runtime or OpenVINO runs, proved equal first.

The new folder is written beside its place and moved there when everything was checked: in fp32 its
outputs are the model's; in int8 its score on labelled data, where some is given, has not fallen by
more than `max_loss`. Where it has, the layers that int8 harms most are left in fp32.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec

from bertsmith.checkpoints.conversion.folders import open_folder
from bertsmith.checkpoints.folder import CONFIG
from bertsmith.checkpoints.headers import EXPORT, weight_files
from bertsmith.checkpoints.sources import root
from bertsmith.core.errors import FolderError, UsageError, option
from bertsmith.core.storage import atomic_folder, write_bytes, write_json
from bertsmith.inference.backends.graph_backend import padded_inputs
from bertsmith.inference.backends.opening import Runtime
from bertsmith.inference.backends.session import Arrays
from bertsmith.inference.evaluation import CorpusScores, evaluate
from bertsmith.inference.export.differences import Difference, difference
from bertsmith.inference.export.folder import Export, graph_files, open_export
from bertsmith.inference.export.inputs import random_inputs, real_inputs
from bertsmith.inference.export.model_card import export_card
from bertsmith.inference.export.quantization import write_graph, write_int8
from bertsmith.inference.predictor import Model
from bertsmith.models.family import onnx_graph
from bertsmith.models.head_config import chosen_layers
from bertsmith.models.modules.graph import VectorPooling, Vectors
from bertsmith.models.modules.packed import Packed
from bertsmith.tasks import metrics
from bertsmith.tasks.datasets import registry
from bertsmith.tasks.kinds.registry import kind_named
from bertsmith.tasks.task_config import Columns
from bertsmith.text.tokenizer.tokenizer import Tokenizer

HeadName = Literal["own", "embedding"]
_TOLERANCE = 1e-4
"""Largest difference of an output in fp32, relative to the largest output."""
_RANKED_BY = 16
"""Inputs that the layers are ranked by."""
_CARD = "README.md"

Show = Callable[[str], object]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote."""

    out: str
    answers: Literal["predict", "fill", "next-sentence", "embed"]
    """What the export is for."""
    format: Runtime
    precision: Literal["fp32", "int8"]
    fp32_layers: tuple[int, ...]
    """Layers of an int8 model that were left in fp32."""
    largest_difference: float
    """Of an output from the model's, relative to the largest output."""
    typical_difference: float
    """The root of the mean square, relative to how much the outputs vary."""
    score: float | None
    """Of the export on the labelled data, in percent."""
    score_before: float | None
    """Of the model."""
    graph_bytes: int
    weight_bytes: int
    """Of the model's weights."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to export and how."""

    to: Runtime = "onnx"
    head: HeadName = "own"
    """`own`: the outputs of the model's heads; `embedding`: states and vectors."""
    pooling: VectorPooling = "mean"
    layers: tuple[int, ...] = (-1,)
    int8: bool = False
    calibration_data: str | None = None
    """File of texts of the kind that the model is for."""
    dev: str | None = None
    """Labelled file, or folder of official files."""
    max_loss: float = 0.5
    """Points that the score may fall."""
    columns: Columns | None = None
    """Of the two files; None: as in fine-tuning."""


def export(
    model: Model, out: Path, request: Request, *, show: Show = lambda line: None
) -> Exported:
    """Exports a model; `out` is whole or absent.

    Args:
        model: a BERT, in torch on the CPU.
        out: a new folder.
        request: what to export and how.
        show: gets a line about each step that takes long.

    Raises:
        UsageError: `out` exists, the model cannot be exported, settings do not fit each other, or
            int8 costs more than `max_loss`.
        FolderError: the model is damaged, or the graph computes something else.
        DataError: a file cannot be read.
        MissingExtra: a package is not installed.
        SystemFault: the disk is full, the folder cannot be written.
    """
    check(request, out)
    with atomic_folder(out) as folder:
        job = _Job(request, model, folder, show)
        job.write_companions()
        result = job.write()
    return msgspec.structs.replace(result, out=str(out))


def check(request: Request, out: Path) -> None:
    """Refuses settings that do not fit each other, before anything is loaded.

    Raises:
        UsageError: they do not, or `out` exists.
    """
    choices = (
        ("to", request.to, Runtime),
        ("head", request.head, HeadName),
        ("pooling", request.pooling, VectorPooling),
    )
    for name, value, known in choices:
        if value not in get_args(known):
            raise UsageError(
                f"{option(name, value)}: unknown value; expected one of "
                f"{', '.join(get_args(known))}."
            )
    if request.int8 and request.calibration_data is None:
        raise UsageError(
            f"{option('int8', True)} needs {option('calibration_data')}: texts like those that "
            "the model will read."
        )
    if request.calibration_data is not None and not request.int8:
        raise UsageError(
            f"{option('calibration_data')} is for {option('int8', True)}; give both, or leave it "
            "out."
        )
    if not request.max_loss >= 0:
        raise UsageError(f"{option('max_loss', request.max_loss)} is below 0; expected points.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} already exists; give a new folder, or remove this one first.")


class _Job:
    """An export while it is made."""

    def __init__(self, request: Request, model: Model, folder: Path, show: Show) -> None:
        self.request, self.model, self.folder, self.show = request, model, folder, show
        self.network = model.model
        pools = request.head == "embedding" or not (
            model.is_tuned or model.backend.objective or model.backend.judges_pairs
        )
        self.vectors = Vectors(request.pooling, request.layers) if pools else None
        self.layers: tuple[int, ...] | None = None
        if pools:
            count = model.config.num_hidden_layers + 1
            self.layers = tuple(chosen_layers(request.layers, count=count, parameter="layers"))
        if request.dev is not None and (pools or not model.is_tuned):
            raise UsageError(
                f"{option('dev')} scores the answers of a fine-tuned model; leave it out, or "
                "export one with its own head."
            )

    def write_companions(self) -> None:
        """Config, tokenizer, task, and what a folder of sentence-transformers says of vectors."""
        source = open_folder(root(self.model.name), None, allow_pickle=False)
        for name, path in source.carried.items():
            if name != _CARD:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, self.folder / name)
        for name, data in source.written.items():
            write_bytes(self.folder / name, data)
        if not (self.folder / "tokenizer.json").is_file():
            longest = self.model.config.max_position_embeddings
            Tokenizer.load(source.tokenizer).save(self.folder, model_max_length=longest)
        write_json(self.folder / CONFIG, source.keys)

    def write(self) -> Exported:
        """The graph, checked, and what says what it is."""
        request = self.request
        graph = onnx_graph(self.network, self.vectors)
        write_graph(graph, self.folder, request.to)
        self._describe("fp32", ())
        found = self._difference(random_inputs(self.model.config))
        if not found.largest <= _TOLERANCE:
            raise FolderError(
                f"{self.model.name}: the graph's outputs differ from the model's by "
                f"{found.largest:.2g} of the largest output, expected {_TOLERANCE:g} at most; "
                "the weights may be damaged or extreme."
            )
        before = None if request.dev is None else self._score(self.model)
        fp32_layers: tuple[int, ...] = ()
        score = None
        if request.int8:
            fp32_layers, found, score = self._quantize(graph, before)
        elif before is not None:
            score = self._score(Model(self.folder))
        return Exported(
            out="",
            answers=self._answers(),
            format=request.to,
            precision="int8" if request.int8 else "fp32",
            fp32_layers=fp32_layers,
            largest_difference=found.largest,
            typical_difference=found.typical,
            score=score,
            score_before=before,
            graph_bytes=sum(path.stat().st_size for path in graph_files(self.folder, request.to)),
            weight_bytes=sum(path.stat().st_size for path in weight_files(self.model.folder)),
        )

    def _answers(self) -> Literal["predict", "fill", "next-sentence", "embed"]:
        if self.vectors is not None:
            return "embed"
        if self.model.is_tuned:
            return "predict"
        return "next-sentence" if self.model.backend.objective is None else "fill"

    def _quantize(
        self, graph: bytes, before: float | None
    ) -> tuple[tuple[int, ...], Difference, float | None]:
        """Writes the graph in int8: layers left in fp32, difference on the texts, and score.

        Raises:
            UsageError: the score falls too far, whichever layers stay in fp32.
        """
        request = self.request
        assert request.calibration_data is not None
        inputs = real_inputs(self.model, request.calibration_data, request.columns)
        samples = [padded_inputs(one, one.longest) for one in inputs]
        layers = self.model.config.num_hidden_layers
        kept: tuple[int, ...] = ()
        ranked: list[int] = []
        while True:
            write_int8(graph, self.folder, request.to, samples, kept)
            self._describe("int8", kept)
            found = self._difference(inputs)
            if before is None:
                return kept, found, None
            score = self._score(Model(self.folder))
            if before - score <= request.max_loss:
                return kept, found, score
            self.show(
                f"int8{_in_fp32(kept)}: {score:.2f}, {before - score:.2f} points below fp32 "
                f"({before:.2f})."
            )
            count = 2 * len(kept) or 1
            if count >= layers:
                raise UsageError(
                    f"int8 costs {before - score:.2f} points on {request.dev} ({before:.2f} to "
                    f"{score:.2f}){_in_fp32(kept)}, more than {option('max_loss')} allows "
                    f"({request.max_loss:g}). The layers it harms most are "
                    f"{', '.join(map(str, ranked[:count]))}; give more or fitting "
                    f"{option('calibration_data')}, a larger {option('max_loss')}, or leave out "
                    f"{option('int8')}."
                )
            ranked = ranked or self._ranked(graph, samples, inputs)
            kept = tuple(sorted(ranked[:count]))
            self.show(f"Trying again{_in_fp32(kept)}, which int8 harms most.")

    def _ranked(
        self, graph: bytes, samples: Sequence[Arrays], inputs: Sequence[Packed]
    ) -> list[int]:
        """Layers by how much the outputs change where each alone is in int8, the most first."""
        every = range(self.model.config.num_hidden_layers)
        changes = []
        for layer in every:
            others = [other for other in every if other != layer]
            write_int8(graph, self.folder, self.request.to, samples[:_RANKED_BY], others)
            changes.append(self._difference(inputs[:_RANKED_BY]).typical)
        return sorted(every, key=lambda layer: -changes[layer])

    def _difference(self, inputs: Sequence[Packed]) -> Difference:
        return difference(self.model.backend, open_export(self.folder), inputs, self.layers)

    def _describe(self, precision: Literal["fp32", "int8"], fp32_layers: tuple[int, ...]) -> None:
        """Writes `export.json` and the card."""
        backend, heads = self.model.backend, self.vectors is None
        made = Export(
            format=self.request.to,
            precision=precision,
            fp32_layers=fp32_layers,
            is_tuned=heads and self.model.is_tuned,
            objective=backend.objective if heads else None,
            judges_pairs=heads and backend.judges_pairs,
            layers=self.layers,
            pooling=None if self.vectors is None else self.vectors.pooling,
        )
        card = export_card(
            made,
            backend.head if heads else None,
            name=Path(self.model.name).name,
            longest=self.model.config.max_position_embeddings,
        )
        write_bytes(self.folder / _CARD, card.encode())
        write_json(self.folder / EXPORT, made)

    def _score(self, model: Model) -> float:
        """The mean of the deciding metrics on the labelled data, in percent."""
        request = self.request
        assert request.dev is not None
        found = evaluate(model, request.dev, columns=request.columns)
        if isinstance(found, CorpusScores):
            raise UsageError(
                f"{option('dev', request.dev)} is a corpus; give labelled data of the model's task."
            )
        task, kind = registry.TASKS.get(found.task), kind_named(model.task_config.kind)
        deciding = task.deciding if task else kind.deciding
        means = []
        for part in found.parts.values():
            chosen = {name: score for name, score in part.scores.items() if name in deciding}
            means.append(metrics.main(chosen or part.scores))
        return 100 * sum(means) / len(means)


def _in_fp32(layers: Sequence[int]) -> str:
    """` with layers 3, 4 left in fp32`, or nothing."""
    if not layers:
        return ""
    return f" with layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))} left in fp32"
