"""A finished model folder to one that comes with bertsmith: weights in fp16, checked.

    python runs/make_starter.py MODEL src/bertsmith/checkpoints/starter/tiny-en

Its README.md is copied: write there what the text is, the command, and the numbers.
"""

import sys
from pathlib import Path

from bertsmith.checkpoints.half import write_half
from bertsmith.core.errors import BertsmithError

try:
    model, out = map(Path, sys.argv[1:])
    done = write_half(model, out)
except ValueError:
    sys.exit(__doc__)
except BertsmithError as error:
    sys.exit(f"error: {error}")
print(
    f"{out}: {done.bytes:,} bytes of weights. Largest difference of a logit {done.difference:.2g}; "
    f"the most probable piece is the same at {done.same:.2%} of the positions."
)
