"""`bertsmith export`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bertsmith.cli.columns import AS_TRAINED, ColumnOptions, model_columns
from bertsmith.cli.command import MODEL, Result, with_next
from bertsmith.cli.flags import in_flags
from bertsmith.cli.options import flag, word
from bertsmith.core.terminal import amount

if TYPE_CHECKING:
    from bertsmith.inference.export.job import Exported


@dataclass(kw_only=True)
class Export(ColumnOptions):
    """Export a BERT to ONNX Runtime or OpenVINO, in fp32 or int8, checked against the model."""

    examples = (
        "export my-classifier --out my-classifier-onnx",
        "export my-classifier --out fast --to openvino --int8 --calibration-data reviews.csv "
        "--dev dev.csv",
        "export minilm --out minilm-onnx --head embedding",
    )
    column_defaults = AS_TRAINED

    model: str = word(MODEL, metavar="MODEL")
    out: Path = flag("New folder.", group="Output", metavar="DIR")
    to: Literal["onnx", "openvino"] = flag(
        "Format: ONNX, which both runtimes read, or OpenVINO's own.", group="Output", default="onnx"
    )
    head: Literal["own", "embedding"] = flag(
        "Outputs: those of the model's own heads, or vectors of texts.",
        group="Model",
        default="own",
    )
    pooling: Literal["mean", "cls"] = flag(
        "Of vectors: over all tokens, or the first token.", group="Model", default="mean"
    )
    layers: tuple[int, ...] = flag(
        "Of vectors: layers to average; 0 the embeddings, -1 the last.",
        group="Model",
        default=(-1,),
        metavar="L,...",
    )
    int8: bool = flag("Compute the large products in int8.", group="Output", default=False)
    calibration_data: str | None = flag(
        "For --int8: file of texts like those that the model will read.",
        group="Data",
        default=None,
        metavar="FILE",
    )
    dev: str | None = flag(
        "Labelled file, or folder of official files: score the model before and after.",
        group="Data",
        default=None,
        metavar="PATH",
    )
    max_loss: float = flag(
        "Points that the score on --dev may fall, in percent of the metric.",
        group="Data",
        default=0.5,
        metavar="POINTS",
    )

    def run(self) -> Result:
        """Exports."""
        from bertsmith.core.terminal import say
        from bertsmith.inference.export.job import Request, check, export
        from bertsmith.inference.predictor import Model

        request = Request(
            to=self.to,
            head=self.head,
            pooling=self.pooling,
            layers=self.layers,
            int8=self.int8,
            calibration_data=self.calibration_data,
            dev=self.dev,
            max_loss=self.max_loss,
        )
        check(request, self.out)
        model = Model(self.model, device="cpu")
        columns = model_columns(model, self.given_columns(), labelled=self.dev is not None)
        done = export(
            model,
            self.out,
            replace(request, columns=columns),
            show=lambda line: say(in_flags(line)),
        )
        following = {
            "predict": ["predict", done.out, "new-rows.csv", "--out", "answers.csv"],
            "fill": ["fill", done.out, "This is a [MASK]."],
            "next-sentence": ["next-sentence", done.out, "A text.", "Another text."],
            "embed": ["embed", done.out, "texts.txt", "--out", "vectors.npy"],
        }
        return Result(done, with_next(_lines(done), following[done.answers]))


def _lines(done: "Exported") -> list[str]:
    lines = [
        f"{done.out}: {done.format}, {done.precision}, {amount(done.graph_bytes)} bytes "
        f"(the model's weights: {amount(done.weight_bytes)})."
    ]
    if done.fp32_layers:
        lines.append(f"Layers left in fp32: {', '.join(map(str, done.fp32_layers))}.")
    if done.precision == "fp32":
        lines.append(
            f"Outputs differ from the model's by at most {done.largest_difference:.1g} of the "
            "largest output."
        )
    else:
        lines.append(
            f"Outputs differ from the model's by {done.typical_difference:.1%} of how much they "
            "vary (on the calibration data)."
        )
    if done.score is not None:
        lines.append(
            f"Score on the labelled data: {done.score_before:.2f} before, {done.score:.2f} after."
        )
    return lines
