import importlib.metadata
import subprocess
import sys

import pytest

import bertsmith

PUBLIC = [
    "BertsmithError",
    "ChoiceAnswer",
    "ClassAnswer",
    "Compared",
    "Conversion",
    "CorpusScores",
    "DataError",
    "DivergedError",
    "Evaluation",
    "Exported",
    "Extended",
    "Filled",
    "FinetuneConfig",
    "FinetuneResult",
    "FolderError",
    "LabelsAnswer",
    "MissingExtra",
    "Model",
    "NumberAnswer",
    "PretrainConfig",
    "PretrainResult",
    "SentenceScore",
    "SpanAnswer",
    "Stopped",
    "SystemFault",
    "TagAnswer",
    "Tokenizer",
    "UsageError",
    "Written",
    "compare",
    "convert",
    "evaluate",
    "export",
    "extend_tokenizer",
    "finetune",
    "load",
    "prepare",
    "pretrain",
    "train_tokenizer",
]


def test_the_public_names_are_these():
    assert bertsmith.__all__ == PUBLIC
    assert dir(bertsmith) == sorted([*PUBLIC, "__version__"])


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(bertsmith, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        bertsmith.pretrian  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, bertsmith\n"
        "print(sorted({'torch', 'numpy', 'tokenizers', 'msgspec'} & set(sys.modules)))\n"
        "bertsmith.Tokenizer\nbertsmith.prepare\nbertsmith.train_tokenizer\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\nFalse\n", done.stderr


def test_the_version_is_the_installed_one():
    assert importlib.metadata.version("bertsmith") == bertsmith.__version__
