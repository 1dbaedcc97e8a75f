"""A folder, of a model or an export, opened in the backend that is asked for or the fastest one."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from bertsmith.checkpoints.folder import load_any, load_config
from bertsmith.core.errors import MissingExtra, UsageError, option
from bertsmith.core.runtime import Precision, World
from bertsmith.inference.backends.backend import Backend, BackendName
from bertsmith.inference.backends.opening import RUNS, TITLES, Variant, installed, open_model
from bertsmith.inference.backends.selection import Choice, choose
from bertsmith.inference.backends.torch_backend import Network
from bertsmith.inference.export.folder import Export, is_export, open_export, read_export
from bertsmith.models.family import has_graph
from bertsmith.training.parallel.place import Place
from bertsmith.training.parallel.precision import choose_precision


@dataclass(frozen=True)
class Opened:
    """A model, ready to compute."""

    backend: Backend
    place: Place
    """Where, and in which precision."""
    network: Network | None
    """The model in torch; None: the folder is an export."""
    export: Export | None = None
    """What the export computes, if it is one."""
    choice: Choice | None = None
    """What was measured to find the fastest backend."""


def open_folder(
    folder: Path,
    device: str,
    precision: Precision,
    name: BackendName | Literal["auto"] | None,
) -> Opened:
    """Opens a folder.

    Args:
        folder: of a model or an export.
        device: `cpu`, `cuda`, `cuda:1`; `auto`: a GPU where there is one, if torch computes.
        precision: `auto` is fp32, but the backend `auto` then chooses it too.
        name: None: torch, or what the export was made for; `auto`: the fastest on this CPU, and
            torch on a GPU.

    Raises:
        FolderError: the folder is damaged.
        UsageError: there is no such device or backend, the device has no bf16, or the backend
            cannot compute the model.
        MissingExtra: the backend is not installed.
    """
    if name not in (*TITLES, "auto", None):
        raise UsageError(
            f"{option('backend', name)}: unknown value; expected auto, {', '.join(TITLES)}."
        )
    if name in ("onnx", "openvino") and device == "auto":
        device = "cpu"
    place = _place(device, precision)
    if is_export(folder):
        export, network = read_export(folder), None
    else:
        export, network = None, load_any(folder).to(place.device)
    if name == "auto" and place.device.type == "cpu":
        return _fastest(folder, network, export, place, any_precision=precision == "auto")
    name = None if name == "auto" else name
    return Opened(_open(folder, network, place, name), place, network, export)


def _open(folder: Path, network: Network | None, place: Place, name: BackendName | None) -> Backend:
    if network is None:
        return open_export(folder, name, precision=place.precision)
    return open_model(name or "torch", network, place)


def _fastest(
    folder: Path,
    network: Network | None,
    export: Export | None,
    place: Place,
    *,
    any_precision: bool,
) -> Opened:
    candidates = {
        variant: partial(_open, folder, network, replace(place, precision=variant[1]), variant[0])
        for variant in variants(folder, network, export)
        if any_precision or variant[1] == place.precision
    }
    if network is None:
        config, what = load_config(folder), str(export)
    else:
        config, what = network.config, type(network).__name__
    choice = choose(candidates, config, what=what)
    best = choice.best
    return Opened(
        candidates[best.backend, best.precision](),
        replace(place, precision=best.precision),
        network,
        export,
        choice,
    )


def variants(folder: Path, network: Network | None, export: Export | None) -> list[Variant]:
    """The installed backends that compute a folder, with their precisions.

    Raises:
        MissingExtra: none that can run the export is installed.
    """
    if network is not None:
        names = tuple(TITLES) if has_graph(network.config) else ("torch",)
        return installed(names, writes_graph=True)
    assert export is not None
    found = installed(RUNS[export.format], writes_graph=False)
    if not found:
        raise MissingExtra(export.format, f"The exported model {folder}")
    return found


def _place(device: str, precision: Precision) -> Place:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    counts = {"cpu": 1, "cuda": torch.cuda.device_count()}
    if found is None or (found.index or 0) >= counts.get(found.type, 0):
        raise UsageError(
            f"{option('device', device)}: this machine has no such device; give cpu, cuda or auto."
        )
    chosen = choose_precision("fp32" if precision == "auto" else precision, found)
    return Place(World(), found, chosen)
