"""A checkpoint that real TensorFlow writes, read without it: bit for bit, and how fast.

    python -m venv tf && tf/bin/pip install tensorflow-cpu
    python benchmarks/tensorflow_checkpoint.py --tensorflow tf/bin/python --size base

TensorFlow, in a separate environment, makes the variables of Google's BERT with random values and
saves them with the Saver of TensorFlow 1: in one file with Adam's two slots for each, in several
files, and with a partitioned variable. Here each is compared with the same values as `.npz`.
"""

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {"tiny": (2, 128), "base": (12, 768), "large": (24, 1024)}
VOCABULARY = 30522
WORDS = "bert/embeddings/word_embeddings"
PARTITIONED = "partitioned"
FORMS = ("whole", "sharded", PARTITIONED)


def shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Name and shape of each variable of google-research/bert."""
    layers, width = SIZES[size]
    found: dict[str, tuple[int, ...]] = {
        WORDS: (VOCABULARY, width),
        "bert/embeddings/position_embeddings": (512, width),
        "bert/embeddings/token_type_embeddings": (2, width),
        "cls/predictions/output_bias": (VOCABULARY,),
        "cls/seq_relationship/output_weights": (2, width),
        "cls/seq_relationship/output_bias": (2,),
    }

    def dense(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}/kernel"], found[f"{name}/bias"] = (inputs, outputs), (outputs,)

    def norm(name: str) -> None:
        found[f"{name}/LayerNorm/gamma"] = found[f"{name}/LayerNorm/beta"] = (width,)

    norm("bert/embeddings")
    for layer in range(layers):
        here = f"bert/encoder/layer_{layer}"
        for part in ("query", "key", "value"):
            dense(f"{here}/attention/self/{part}", width, width)
        dense(f"{here}/attention/output/dense", width, width)
        norm(f"{here}/attention/output")
        dense(f"{here}/intermediate/dense", width, 4 * width)
        dense(f"{here}/output/dense", 4 * width, width)
        norm(f"{here}/output")
    dense("bert/pooler/dense", width, width)
    dense("cls/predictions/transform/dense", width, width)
    norm("cls/predictions/transform")
    return found


def write(folder: Path, size: str) -> None:
    """With TensorFlow: three checkpoints and the values as `.npz`."""
    import numpy as np

    tf = importlib.import_module("tensorflow.compat.v1")

    tf.disable_eager_execution()
    for form in FORMS:
        tf.reset_default_graph()
        for name, shape in shapes(size).items():
            parts = form == PARTITIONED and name == WORDS
            split = tf.fixed_size_partitioner(3) if parts else None
            drawn = tf.random_normal_initializer(seed=0)
            tf.get_variable(name, shape, initializer=drawn, partitioner=split, use_resource=False)
            for slot in ("adam_m", "adam_v") if form == "whole" else ():
                tf.get_variable(f"{name}/{slot}", shape, initializer=tf.zeros_initializer())
        tf.get_variable("global_step", [], tf.int64, initializer=tf.ones_initializer())
        place = folder / form
        place.mkdir(parents=True)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            found = {one.op.name: one for one in tf.global_variables()}
            values = {name: session.run(found[name]) for name in shapes(size) if name in found}
            saver = tf.train.Saver(sharded=form == "sharded")
            saver.save(session, str(place / "bert_model.ckpt"))
        np.savez(place / "values.npz", allow_pickle=False, **values)
    print(json.dumps({"tensorflow": tf.__version__}))


def compare(folder: Path) -> dict[str, object]:
    """Without TensorFlow: every value again, to the bit."""
    import numpy as np

    from bertsmith.checkpoints.tensorflow.bundle import Bundle
    from bertsmith.core.errors import FolderError

    result: dict[str, object] = {}
    for form in FORMS:
        began, wrong, read = time.process_time(), [], 0
        bundle = Bundle(folder / form / "bert_model.ckpt")
        with np.load(folder / form / "values.npz") as values:
            for name in values:
                array = bundle.read(bundle.entries[name]).numpy()
                read += array.nbytes
                if array.tobytes() != values[name].tobytes():
                    wrong.append(name)
        seconds = time.process_time() - began
        result[form] = {
            "tensors": len(bundle.entries),
            "bytes": read,
            "different": wrong,
            "cpu_seconds": round(seconds, 2),
        }
        if form == PARTITIONED:
            try:
                bundle.read(bundle.entries[WORDS])
            except FolderError as error:
                result["refused"] = str(error).replace(str(folder), "FOLDER")
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tensorflow", help="Python interpreter that has TensorFlow.")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, arguments.size)
        return
    if not arguments.tensorflow:
        parser.error("--tensorflow is needed: the interpreter of an environment that has it")
    with tempfile.TemporaryDirectory() as folder:
        command = [arguments.tensorflow, __file__, "--write", folder, "--size", arguments.size]
        subprocess.run(command, check=True)
        result = compare(Path(folder))
    print(json.dumps(result, indent=2))
    different = [one for one in result.values() if isinstance(one, dict) and one["different"]]
    sys.exit(bool(different) or "refused" not in result)


if __name__ == "__main__":
    main()
