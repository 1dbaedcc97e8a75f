from pathlib import Path

import pytest

from bertsmith.cli.flags import in_flags
from bertsmith.core.command_line import command
from bertsmith.core.errors import UsageError, option


@pytest.mark.parametrize(
    ("marked", "python", "flags"),
    [
        (option("batch_size"), "batch_size", "--batch-size"),
        (option("resume", True), "resume=True", "--resume"),
        (option("workers", 1), "workers=1", "--workers 1"),
        (option("pooling", "cls"), "pooling='cls'", "--pooling cls"),
        (option("out", Path("it's")), 'out="it\'s"', "--out it's"),
        (option("out", "a\nb=\\"), "out='a\\nb=\\\\'", "--out a\nb=\\"),
        (option("layers", (-2, -1)), "layers=(-2, -1)", "--layers -2,-1"),
        (option("start", "model"), "start='model'", "--from model"),
        (option("strip_accents", False), "strip_accents=False", "--keep-accents"),
    ],
)
def test_a_parameter_reads_well_in_python_and_on_the_command_line(marked, python, flags):
    error = UsageError(f"{marked} or {{other}}.")
    assert str(error) == f"{python} or {{other}}."
    assert in_flags(error.message) == f"{flags} or {{other}}."


def test_commands_are_quoted_for_a_shell():
    shown = command("predict", "my model", "INPUT", out="answers.csv", batch_size=8)
    assert shown == "bertsmith predict 'my model' INPUT --out answers.csv --batch-size 8"
