"""This file knows where the program starts."""

import sys

from aggregator import command


def main() -> int:
    """Run the aggregator's command line; return the exit code."""
    return command.main()


if __name__ == "__main__":
    sys.exit(main())
