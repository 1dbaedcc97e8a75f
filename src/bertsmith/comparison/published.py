"""The paper's numbers for the ablations (Devlin et al. 2018, on dev).

They are of BERT base, pre-trained on 3.3 billion words: a reference, not what small runs reach.
"""

TABLE_5: dict[str, dict[str, float]] = {
    "bert": {"mnli": 84.4, "qnli": 88.4, "mrpc": 86.7, "sst-2": 92.7, "squad-v1.1": 88.5},
    "no-nsp": {"mnli": 83.9, "qnli": 84.9, "mrpc": 86.5, "sst-2": 92.6, "squad-v1.1": 87.9},
    "left-to-right": {"mnli": 82.1, "qnli": 84.3, "mrpc": 77.5, "sst-2": 92.1, "squad-v1.1": 77.8},
    "left-to-right+bilstm": {
        "mnli": 82.1,
        "qnli": 84.1,
        "mrpc": 75.7,
        "sst-2": 91.6,
        "squad-v1.1": 84.9,
    },
}
"""Section 5.1: system -> task -> accuracy in percent (SQuAD: F1)."""

TABLE_8: dict[str, tuple[float, float, float]] = {
    "bert": (84.2, 95.4, 94.9),
    "masking-100-0-0": (84.3, 94.9, 94.0),
    "masking-80-0-20": (84.1, 95.2, 94.6),
    "masking-80-20-0": (84.4, 95.2, 94.7),
    "masking-0-20-80": (83.7, 94.8, 94.6),
    "masking-0-0-100": (83.6, 94.9, 94.6),
}
"""Appendix C.2: system -> MNLI accuracy, NER F1 fine-tuned, NER F1 from features."""
