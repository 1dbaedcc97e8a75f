import errno
import os
import pickle

import pytest

from bertsmith.core import errors
from bertsmith.core.errors import (
    BertsmithError,
    MissingExtra,
    Stopped,
    SystemFault,
    UsageError,
    explain_os_error,
    nearest,
)


def test_the_tree_is_small_and_flat():
    kinds = {kind.__name__ for kind in BertsmithError.__subclasses__()}
    assert kinds == {
        "UsageError",
        "DataError",
        "FolderError",
        "MissingExtra",
        "DivergedError",
        "Stopped",
        "SystemFault",
    }
    assert not issubclass(BertsmithError, OSError | ValueError)
    assert errors.EXIT_CODE == 2


@pytest.mark.parametrize(
    "error",
    [UsageError("wrong"), MissingExtra("data", "Reading"), Stopped(15, "at step 3", again="")],
)
def test_errors_cross_processes(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))
    assert back.exit_code == error.exit_code


LARGE = "the file is larger than this shell or file system allows"
AGAIN = "free some space and run the command again (pretrain and finetune: with resume=True)"


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, f"the disk is full; {AGAIN}"),
        (errno.EDQUOT, f"the disk quota is used up; {AGAIN}"),
        (errno.EACCES, "permission denied; check the owner and mode of the path"),
        (errno.EPERM, "permission denied; check the owner and mode of the path"),
        (errno.EROFS, "the file system is read-only; choose another folder with out"),
        (errno.ENOENT, "no file can be made there; choose another out"),
        (errno.EFBIG, f"{LARGE}; raise the limit (`ulimit -f`) or choose another place"),
        (errno.ENOTDIR, "part of this path is a file, not a folder; check the spelling"),
        (errno.EISDIR, "this is a folder where a file was expected"),
        (errno.EMFILE, "too many open files; raise the limit with `ulimit -n`"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_what_the_system_refuses_is_explained(number, why):
    fault = explain_os_error(OSError(number, os.strerror(number)), "write", "some/file")
    assert isinstance(fault, SystemFault)
    assert str(fault) == f"Could not write some/file: {why}."


def test_the_place_comes_from_the_error_when_it_is_not_given():
    error = OSError(errno.ENOSPC, "full", "its/own")
    assert str(explain_os_error(error, "sync")).startswith("Could not sync its/own: the disk is")
    assert str(explain_os_error(OSError("odd"), "sync")) == "Could not sync: odd."


def test_errors_without_a_number_are_told_by_their_class():
    missing = explain_os_error(FileNotFoundError("memory/a.txt"), "read", "memory://a.txt")
    assert str(missing) == (
        "Could not read memory://a.txt: no such file or folder; check the spelling."
    )
    refused = explain_os_error(PermissionError("403"), "read", "s3://a/b")
    assert "permission denied" in str(refused)


def test_the_nearest_word_is_offered_only_when_it_is_near():
    assert nearest("hiden_size", ["hidden_size", "vocab_size"]) == (
        " (perhaps you meant 'hidden_size')"
    )
    assert nearest("Gut", ["schlecht", "gut"]) == " (perhaps you meant 'gut')"
    assert nearest("zebra", ["hidden_size"]) == ""
    assert nearest("x", []) == ""


def test_a_missing_extra_gives_the_command_that_installs_it():
    assert str(MissingExtra("data", "Reading a.parquet")) == (
        "Reading a.parquet needs an optional package: run `pip install 'bertsmith[data]'`."
    )


def test_a_stop_by_a_signal_says_how_to_go_on_and_exits_as_a_shell_reports_it():
    stop = errors.Stopped(15, "at step 120")
    assert str(stop) == (
        "Stopped by SIGTERM at step 120; progress is saved. "
        "Run the same command with resume=True to continue."
    )
    assert stop.exit_code == 143
    assert "SIGINT in part 3; " in str(errors.Stopped(2, "in part 3", again=""))
    assert "the same command to continue" in str(errors.Stopped(2, "in part 3", again=""))
