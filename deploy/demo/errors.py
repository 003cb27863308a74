"""This file knows what can go wrong with the demonstration plant.

DemoError
├── StageFailed     a stage did not come to what it should; the message says where to look
├── RecordingsUnfit a folder holds no recordings that can be shown
└── Interrupted     somebody asked us to stop
"""


class DemoError(Exception):
    """Base of all errors of this package."""


class StageFailed(DemoError):
    """A stage did not come to what it should."""


class RecordingsUnfit(DemoError):
    """A folder holds no recordings that can be shown."""


class Interrupted(DemoError):
    """Somebody asked us to stop."""
