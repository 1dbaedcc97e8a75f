"""Opens damaged copies, one after the other, in a process that may die of them.

`python child.py TARGET WHOLE SCRATCH START STOP STEP`: the cases START, START + STEP, ... below
STOP; says `begin` before and what happened after each, as a line of JSON.
"""

import json
import re
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

from fuzz.damage import damaged
from fuzz.targets import TARGETS

from bertsmith.core.errors import BertsmithError


def main() -> None:
    target, whole, scratch = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    start, stop, step = map(int, sys.argv[4:])
    warnings.simplefilter("ignore")
    files = sorted(path for path in whole.rglob("*") if path.is_file())
    shutil.copytree(whole, scratch, dirs_exist_ok=True)
    for number in range(start, stop, step):
        file = files[number % len(files)]
        name = str(file.relative_to(whole))
        print(json.dumps({"begin": number, "file": name}), flush=True)
        (scratch / name).write_bytes(damaged(file.read_bytes(), number))
        began = time.process_time()
        try:
            TARGETS[target][0](scratch, scratch / name)
            what = "read"
        except BertsmithError as error:
            what = "refused" if "\n" not in str(error) and str(error) else f"message {error!r}"
        except Exception:
            what = traceback.format_exc()
        (scratch / name).write_bytes(file.read_bytes())
        memory = peak_memory()
        seconds = time.process_time() - began
        print(json.dumps({"what": what, "seconds": seconds, "memory": memory}), flush=True)


def peak_memory() -> int:
    """Peak of this process in MiB.

    `getrusage` counts what the parent had when it started this one, several GiB in a long test run.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) >> 10


if __name__ == "__main__":
    main()
