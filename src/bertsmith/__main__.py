"""The `bertsmith` command, also as `python -m bertsmith`."""

import sys

try:
    from bertsmith.cli.main import main
except KeyboardInterrupt:  # Loading takes a moment.
    print("Interrupted; run the same command again.", file=sys.stderr)
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
