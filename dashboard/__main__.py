"""This file knows how `python -m dashboard` starts."""

import sys

from dashboard.command import main

if __name__ == "__main__":
    sys.exit(main())
