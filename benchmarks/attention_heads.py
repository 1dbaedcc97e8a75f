"""Where the first layer's heads look, before training and after: the picture of initial-weights.md.

    python benchmarks/attention_heads.py BEFORE AFTER --out docs/initial-weights.svg \
        --first "a man is playing the guitar" --second "the guitar player is a man"

BEFORE and AFTER are BERT folders of one vocabulary; `bertsmith.pretraining.setup.save_untrained`
writes what a run begins with.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from bertsmith.checkpoints.folder import load_pretraining
from bertsmith.models.bert.heads import BertForPretraining
from bertsmith.models.bert.model import Bert
from bertsmith.models.modules.packed import pack
from bertsmith.text.tokenizer.tokenizer import Tokenizer

ROLES = ("previous token", "next token", "same word, other text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", required=True)
    parser.add_argument("--second", required=True)
    arguments = parser.parse_args()
    tokenizer = Tokenizer.load(arguments.before)
    ids_T, lengths = tokenizer.encode_flat([arguments.first, arguments.second])
    first, second = ids_T[: lengths[0]].tolist(), ids_T[lengths[0] :].tolist()
    ids = [tokenizer.cls_id, *first, tokenizer.sep_id, *second, tokenizer.sep_id]
    segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
    pieces = [tokenizer.vocab[number] for number in ids]
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "bertsmith", "font.size": 7}
    figure, rows = pyplot.subplots(2, len(ROLES), figsize=(9, 6), layout="constrained")
    for axes_of_row, name, folder in zip(
        rows, ("before training", "after"), (arguments.before, arguments.after), strict=True
    ):
        model = load_pretraining(folder)[0]
        assert isinstance(model, BertForPretraining)
        assert isinstance(model.bert, Bert)
        weights_NLL = model.bert.attention_weights(pack([ids], [segments]))[0].detach().numpy()
        for head, (axes, role) in enumerate(zip(axes_of_row, ROLES, strict=True)):
            axes.imshow(weights_NLL[head], cmap="Blues", vmin=0, vmax=1)
            axes.set_title(f"{role}, {name}")
            axes.set_xticks(range(len(pieces)), pieces, rotation=90)
            axes.set_yticks(range(len(pieces)), pieces)
    figure.supylabel("looks from")
    figure.supxlabel("at")
    figure.savefig(arguments.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
