"""This file knows how `python -m gateway_agent` and the console script start."""

import os
import sys

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before numpy: its helper threads cost memory and win nothing here

from gateway_agent.command import main as _main  # noqa: E402
from gateway_agent.memory import tune_allocator  # noqa: E402


def main() -> None:
    """Entry point of the console script."""
    tune_allocator()
    sys.exit(_main())


if __name__ == "__main__":
    main()
