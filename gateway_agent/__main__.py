"""This file knows how `python -m gateway_agent` and the console script start."""

import sys

from gateway_agent.command import main as _main


def main() -> None:
    """Entry point of the console script."""
    sys.exit(_main())


if __name__ == "__main__":
    main()
