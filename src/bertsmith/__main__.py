"""The `bertsmith` command, also as `python -m bertsmith`."""

import sys


def main() -> int:
    """Runs one command; see `bertsmith.cli`, whose imports may be interrupted too."""
    try:
        from bertsmith import cli

        return cli.main()
    except KeyboardInterrupt:
        print("Interrupted; run the same command again.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
