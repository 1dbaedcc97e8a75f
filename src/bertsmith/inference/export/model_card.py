"""The README.md of an exported folder: what it is, and how to run it without bertsmith."""

from bertsmith.inference.export.folder import GRAPHS, Export
from bertsmith.models.head_config import HeadConfig, Level

_INPUTS = """\
import numpy as np
{imports}
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation({longest})
tokenizer.enable_padding()
texts = tokenizer.encode_batch({texts})
inputs = {{
    "input_ids": np.array([text.ids for text in texts]),
    "attention_mask": np.array([text.attention_mask for text in texts]),
    "token_type_ids": np.array([text.type_ids for text in texts]),
}}
"""
_ONNX = """\
session = onnxruntime.InferenceSession("model.onnx")
outputs = dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs)))
"""
_OPENVINO = """\
precision = {"INFERENCE_PRECISION_HINT": "f32"}  # bf16 is faster where the processor has it
model = openvino.compile_model("openvino_model.xml", "CPU", precision)
outputs = model(inputs)
"""
_LEVELS: dict[Level, tuple[str, str]] = {
    "text": ("logits", "`logits` [texts, {count}]: {what}"),
    "choice": ("logits", "`logits` [texts, 1]: of each choice, the largest is the answer"),
    "token": (
        "logits",
        "`logits` [texts, tokens, {count}]: {what}, at the first piece of each word",
    ),
    "span": (
        "start_logits",
        "`start_logits` and `end_logits` [texts, tokens]: of each token, as the first and the "
        "last of the answer",
    ),
}


def export_card(export: Export, head: HeadConfig | None, *, name: str, longest: int) -> str:
    """The README.md of an exported folder, in Markdown.

    Args:
        export: what the graph computes.
        head: the output layer of a fine-tuned model.
        name: of the model that was exported.
        longest: tokens that it reads.
    """
    shown, outputs = _described(export, head)
    pairs = (head is not None and head.level in ("choice", "span")) or shown == "relationship"
    texts = '[("A text.", "Another text.")]' if pairs else '["A text.", "Another text."]'
    module = "onnxruntime" if export.format == "onnx" else "openvino"
    title = "ONNX Runtime" if export.format == "onnx" else "OpenVINO"
    code = _INPUTS.format(imports=f"import {module}", longest=longest, texts=texts)
    code += _ONNX if export.format == "onnx" else _OPENVINO
    code += f'print(outputs["{shown}"])\n'
    kept = ", ".join(map(str, export.fp32_layers))
    precision = f"{export.precision}, layers {kept} in fp32" if kept else export.precision
    packages = f"numpy tokenizers {module}"
    return (
        f"# {name}, for {title}\n\n"
        f"Exported by [bertsmith](https://pypi.org/project/bertsmith/) in {precision}: "
        f"`{GRAPHS[export.format]}` takes batches of any size and length. `bertsmith` loads this "
        "folder like the model itself. Without bertsmith, in this folder "
        f"(`pip install {packages}`):\n\n"
        f"```python\n{code}```\n\nOutputs:\n\n" + "".join(f"- {line}.\n" for line in outputs)
    )


def _described(export: Export, head: HeadConfig | None) -> tuple[str, list[str]]:
    """The output that the example prints, and a line about each."""
    if head is not None:
        what = "the number" if head.is_number else f"of {', '.join(head.labels)} in this order"
        shown, line = _LEVELS[head.level]
        return shown, [line.format(count=head.outputs, what=what)]
    if export.layers is not None:
        return "sentence_embedding", [
            f"`sentence_embedding` [texts, width]: the vector of each text, pooled by "
            f"{export.pooling}",
            "`last_hidden_state` [texts, tokens, width]: the states it is pooled from",
        ]
    both = export.objective is not None and export.judges_pairs
    words = "prediction_logits" if both else "logits"
    pairs = "seq_relationship_logits" if both else "logits"
    lines = []
    if export.objective is not None:
        lines.append(f"`{words}` [texts, tokens, vocabulary]: of each word at each place")
    if export.judges_pairs:
        lines.append(f"`{pairs}` [texts, 2]: that the second text follows the first, and not")
    return (words if export.objective is not None else pairs), lines
