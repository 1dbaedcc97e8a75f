"""The `bertsmith` command: flags to jobs, results to text or JSON, errors to one sentence."""

import io
import json
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import msgspec

from bertsmith import __version__
from bertsmith.cli.bench import Bench
from bertsmith.cli.command import Command, Result
from bertsmith.cli.compare import Compare
from bertsmith.cli.convert import Convert
from bertsmith.cli.embed import Embed
from bertsmith.cli.evaluate import Evaluate
from bertsmith.cli.export import Export
from bertsmith.cli.fill import Fill
from bertsmith.cli.finetune import Finetune
from bertsmith.cli.flags import in_flags
from bertsmith.cli.generate import Generate
from bertsmith.cli.glue_submit import GlueSubmit
from bertsmith.cli.help import command_help, group_help
from bertsmith.cli.info import Info
from bertsmith.cli.inspect import Inspect
from bertsmith.cli.next_sentence import NextSentence
from bertsmith.cli.parser import Call, parse, recognise
from bertsmith.cli.predict import Predict
from bertsmith.cli.prepare import Prepare
from bertsmith.cli.pretrain import Pretrain
from bertsmith.cli.quickstart import Quickstart
from bertsmith.cli.score import Score
from bertsmith.cli.serve import Serve
from bertsmith.cli.tokenizer import TokenizerExtend, TokenizerShow, TokenizerTrain
from bertsmith.core.errors import (
    EXIT_CODE,
    BertsmithError,
    ModelWarning,
    Stopped,
    SystemFault,
    explain_os_error,
)
from bertsmith.core.remote import in_urls
from bertsmith.core.runtime import share_cores, world_from_environment
from bertsmith.core.stop import interruptible, signal_of

SECTIONS: dict[str, dict[str, type[Command]]] = {
    "Start here": {"quickstart": Quickstart, "info": Info, "bench": Bench},
    "Pre-train": {
        "tokenizer train": TokenizerTrain,
        "tokenizer extend": TokenizerExtend,
        "tokenizer show": TokenizerShow,
        "prepare": Prepare,
        "pretrain": Pretrain,
    },
    "Use a pre-trained model": {
        "fill": Fill,
        "next-sentence": NextSentence,
        "generate": Generate,
        "score": Score,
        "embed": Embed,
        "inspect": Inspect,
    },
    "Fine-tune": {
        "finetune": Finetune,
        "evaluate": Evaluate,
        "predict": Predict,
        "glue-submit": GlueSubmit,
    },
    "Compare": {"compare": Compare},
    "Serve": {"serve": Serve},
    "Convert": {"convert": Convert, "export": Export},
}
"""Every command under its heading in the help."""
COMMANDS = {name: command for section in SECTIONS.values() for name, command in section.items()}

GROUPS = {"tokenizer": "Train or extend a tokenizer, or show what it does to a text."}
"""What commands of two words have in common, by the first."""

_ABOUT = "Train, fine-tune and use your own BERT, on ordinary hardware."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code.

    0 done; 2 something in the user's hands is wrong (one sentence on stderr); 128 + n ended by
    signal n (130 after Ctrl-C, 141 when nobody reads the output any more).
    """
    for stream in (sys.stdout, sys.stderr):
        # A locale that has no word for a character (LC_ALL=C, Latin-1) gets it as an escape.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A stream that the shell closed (`>&-`) is None here: what is said there goes nowhere.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    share_cores()
    first = True
    try:
        # All processes of a machine fail alike: one tells. What the system refuses may be met by
        # one alone, which then says so itself.
        first = world_from_environment().local_rank == 0
        try:
            with warnings.catch_warnings(), interruptible():
                _warn_in_sentences(quiet=not first)
                return _run(arguments)
        finally:
            sys.stdout.flush()
    except Stopped as stop:
        if first:
            _complain(stop.message)
        return stop.exit_code
    except BertsmithError as error:
        if first or isinstance(error, SystemFault):
            _complain(f"error: {error.message}")
        return EXIT_CODE
    except KeyboardInterrupt as interrupt:
        number = signal_of(interrupt)
        if first:
            by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
            print(f"Interrupted{by}; run the same command again.", file=sys.stderr)
        return 128 + number
    except BrokenPipeError:
        # The interpreter flushes once more at its end; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        _complain(f"error: {explain_os_error(error, 'read or write').message}")
        return EXIT_CODE


def _complain(message: str) -> None:
    """One line on stderr, whatever a library or a file's name put into the message."""
    print(" ".join(in_urls(in_flags(message)).splitlines()), file=sys.stderr)


def _warn_in_sentences(*, quiet: bool) -> None:
    """Shows what concerns the user's model as one sentence, once; other warnings as usual."""
    usual, shown = warnings.showwarning, set[str]()
    warnings.simplefilter("always", ModelWarning)

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, ModelWarning):
            usual(message, category, *place, **more)
        elif not quiet and str(message) not in shown:
            shown.add(str(message))
            _complain(f"warning: {message}")

    warnings.showwarning = show


def _run(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--version"]:
        print(f"bertsmith {__version__}")
        return 0
    call = recognise(COMMANDS, given)
    if call.command is None or call.wants_help:
        print(_help(call))
        return 0
    command = parse(call)
    with command.with_remote_folders():
        found = command.run()
        for result in [found] if isinstance(found, Result) else found:
            if world_from_environment().first:
                # Paths are the only values of a result that JSON has no word for.
                data = msgspec.json.encode(result.data, enc_hook=str)
                shown = _for_stdout(data) if command.json else in_flags(result.text)
                print(in_urls(shown))
    return 0


def _help(call: Call) -> str:
    if call.command is not None:
        shown = call.command.help_for(call.rest)
        return command_help(f"{call.program} {shown.words}".rstrip(), shown)
    if call.name:
        inside = {
            name.removeprefix(f"{call.name} "): command
            for name, command in COMMANDS.items()
            if name.startswith(f"{call.name} ")
        }
        return group_help(call.program, GROUPS[call.name], {"Commands": _rows(inside)})
    version = ("--version", "Show the version.")
    sections = {heading: _rows(commands) for heading, commands in SECTIONS.items()}
    return group_help(call.program, _ABOUT, sections, flags=[version])


def _rows(commands: dict[str, type[Command]]) -> list[tuple[str, str]]:
    return [(name, command.about()) for name, command in commands.items()]


def _for_stdout(data: bytes) -> str:
    """JSON that stays JSON: with its own escapes where the locale is not UTF-8."""
    text = data.decode()
    if (sys.stdout.encoding or "").lower().replace("-", "") == "utf8":
        return text
    return json.dumps(json.loads(text))
