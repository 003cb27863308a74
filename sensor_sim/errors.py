"""This file knows what can go wrong inside the simulator.

SimulatorError
├── ScenarioError         a scenario that cannot be used; the message names the place
├── PlaylistError         a playlist, or an order to replay, that cannot be carried out
└── SourceRejected        a recording that cannot be replayed; the message names the file and the next step
"""


class SimulatorError(Exception):
    """Something went wrong inside the simulator."""


class ScenarioError(SimulatorError, ValueError):
    """A scenario that cannot be used; the message names the place and what is allowed."""


class PlaylistError(SimulatorError, ValueError):
    """A playlist, or an order to replay, that cannot be carried out."""


class SourceRejected(SimulatorError, ValueError):
    """A recording that cannot be replayed; the message names the file, the reason and the next step."""
