"""This file knows how the simulator is started: `sensor-sim` or `python -m sensor_sim`."""

import sys

from sensor_sim.command import main

if __name__ == "__main__":
    sys.exit(main())
