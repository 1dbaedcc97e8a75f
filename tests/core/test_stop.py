"""Signals end a job, each in the same way."""

import signal
import subprocess
import sys
import threading

import pytest

from bertsmith.core.errors import Stopped
from bertsmith.core.stop import SIGNALS, interruptible, signal_of, stop_signal, stoppable


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_or_ends_the_block(number):
    before = signal.getsignal(number)
    with stop_signal() as stop:
        signal.raise_signal(number)
        assert stop.number == number
    with pytest.raises(KeyboardInterrupt) as caught, interruptible():
        signal.raise_signal(number)
    assert signal_of(caught.value) == number
    said = rf"by {number.name} while brewing; .*command again"
    with pytest.raises(Stopped, match=said) as end, stoppable("while brewing"):
        signal.raise_signal(number)
    assert end.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_an_interrupt_that_no_handler_here_raised_is_sigint():
    with pytest.raises(Stopped) as caught, stoppable("while brewing"):
        raise KeyboardInterrupt
    assert caught.value.number == signal.SIGINT


def test_nohup_keeps_a_job_from_its_terminal_s_end():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signal() as stop, interruptible():
            signal.raise_signal(signal.SIGHUP)
        assert stop.number == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_leaves_the_handlers_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with stop_signal():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_a_signal_ends_leaves_nothing_half_written(tmp_path, number):
    code = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from bertsmith.cli import main as cli\n"
        "from bertsmith.core.storage import atomic_file\n"
        "def run(arguments):\n"
        "    with atomic_file(Path(sys.argv[1]) / 'out') as file:\n"
        "        file.write(b'half')\n"
        "        signal.raise_signal(int(sys.argv[2]))\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "cli._run = run\n"
        "sys.exit(cli.main([]))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, list(tmp_path.iterdir())) == (128 + number, [])
    assert done.stderr == f"Interrupted by {number.name}; run the same command again.\n"
