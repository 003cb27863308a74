"""This file knows what can be wrong with what the physics is given.

VibrationError (a ValueError)
├── BandError       a frequency band is empty, reversed or outside 0 to half the sample rate
├── GeometryError   a bearing's geometry or multipliers cannot belong to a rolling bearing
├── SpeedError      a speed or a range of speeds that no shaft has
├── UnknownBearingError  no bearing of that name in the library
├── WindowError     a window of samples has the wrong shape, length, rate or content
└── ZoneError       a table of evaluation zones or a nameplate cannot be read
"""


class VibrationError(ValueError):
    """Something given to this package cannot be calculated with; the message says what and why."""


class BandError(VibrationError):
    """A frequency band is empty, reversed or outside 0 to half the sample rate."""


class GeometryError(VibrationError):
    """A bearing's geometry or multipliers cannot belong to a rolling bearing."""


class SpeedError(VibrationError):
    """A speed or a range of speeds that no shaft has."""


class UnknownBearingError(VibrationError):
    """No bearing of that name is in the library; the message lists names that are near."""


class WindowError(VibrationError):
    """A window of samples has the wrong shape, length, rate or content."""


class ZoneError(VibrationError):
    """A table of evaluation zones or a machine's nameplate cannot be read."""
