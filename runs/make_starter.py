"""A finished model folder to one that comes with bertsmith: weights in fp16, checked.

    python runs/make_starter.py MODEL src/bertsmith/checkpoints/starter/tiny-en

Its README.md is copied: write there what the text is, the command, and the numbers.
"""

import sys
from pathlib import Path

from bertsmith.checkpoints.convert import convert
from bertsmith.core.errors import BertsmithError

try:
    model, out = map(Path, sys.argv[1:])
    done = convert(model, out, dtype="fp16")
except ValueError:
    sys.exit(__doc__)
except BertsmithError as error:
    sys.exit(f"error: {error}")
print(
    f"{out}: {done.bytes:,} bytes. An output changes by at most {done.difference:.2g} of the "
    "outputs' standard deviation."
)
