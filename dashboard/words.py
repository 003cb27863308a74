"""This file knows how the dashboard says things: ages, times, numbers with units, causes and sensor troubles."""

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from schemas.messages import RemainingLife

NOT_KNOWN = "–"

_CAUSES = {
    "outer": "outer race damage", "inner": "inner race damage", "ball": "rolling element damage",
    "cage": "cage damage", "imbalance": "imbalance", "misalignment": "misalignment", "looseness": "looseness",
    "bent_shaft": "bent shaft", "gear": "gear damage", "electrical": "electrical cause", "unknown": "unknown cause",
    "healthy": "healthy",
}  # fmt: skip

_QUALITY = {
    "ok": "ok",
    "machine_stopped": "machine stopped",
    "non_finite": "sensor sends values that are no numbers",
    "stuck": "sensor stuck: it sends the same value",
    "saturated": "sensor overdriven: its signal is clipped",
    "ski_slope": "sensor drifts (ski slope)",
    "mains_hum": "only mains hum: check cable and shield",
    "loose": "sensor loose: its mounting let go",
    "remounted": "sensor re-mounted: what is healthy has moved with it",
    "wrong_gain": "sensor reads too much or too little on every axis: check its sensitivity and unit",
    "axes_swapped": "axes of the sensor have changed places: check how it is fixed and wired",
    "changed_layout": "sensor sends another rate, length or number of axes than when it was learnt",
}

_CONTRIBUTIONS = {"level": "level of a broad band"}

_ALARM = {
    "unacknowledged": "active, nobody has acknowledged",
    "acknowledged": "active, acknowledged",
    "returned": "calm again, not acknowledged",
    "latched": "held: damage does not heal, waits for maintenance",
    "shelved": "shelved",
    "suppressed": "suppressed",
    "normal": "normal",
}

_REJECTED = {
    "not_finite": "it held values that are no numbers",
    "wrong_base": "it was learnt from another release",
    "wrong_shape": "it has another number of parameters",
    "wrong_dtype": "its numbers are of another kind",
    "bad_weight": "it claims a weight that is not allowed",
    "norm_outlier": "it is far larger than the others",
}

_UNITS = ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h"), (math.inf, 86_400, "d"))
_PRIVATE = str.maketrans({c: "\\" + c for c in "\\`*_{}[]()#+-.!|$~<>:&@="})


def age(seconds: float) -> str:
    """Say how long ago something was, in the one unit that matters."""
    if seconds < -5.0:
        return f"{span(-seconds)} ahead of this clock"
    return f"{span(max(0.0, seconds))} ago"


def span(seconds: float) -> str:
    """Say how long something lasts, in the one unit that matters."""
    for limit, size, unit in _UNITS:
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return NOT_KNOWN


def remaining_life(life: RemainingLife) -> str:
    """Say how long a machine may last, with no more digits than such a guess has."""
    (low, low_unit), (median, median_unit), (high, high_unit) = (
        _rough(left_s) for left_s in (life.low_s, life.median_s, life.high_s)
    )
    if high == "0":
        return "may fail at any moment"
    if low == "0":
        return f"may last up to {high} {high_unit}" + (f", about {median} {median_unit}" if median != "0" else "")
    if (low, low_unit) == (high, high_unit):
        return f"may last about {high} {high_unit}"
    if low_unit == high_unit:
        return f"may last {low} to {high} {high_unit}, about {median}"
    return f"may last {low} {low_unit} to {high} {high_unit}, about {median} {median_unit}"


def _rough(seconds: float) -> tuple[str, str]:
    size, unit = next((size, unit) for limit, size, unit in _UNITS if seconds < limit)
    return f"{float(f'{seconds / size:.2g}'):.0f}", "days" if unit == "d" else unit


def moment(at_us: int | None, zone: str | None) -> str:
    """Say a time in the viewer's zone, with the zone where it is not known."""
    if at_us is None:
        return NOT_KNOWN
    at = datetime.fromtimestamp(at_us / 1e6, tz=UTC)
    try:
        return (
            at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S") if zone else at.strftime("%Y-%m-%d %H:%M UTC")
        )
    except (KeyError, ValueError, OSError):
        return at.strftime("%Y-%m-%d %H:%M UTC")


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Say a number with its unit, never a missing one as 0."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    if value == 0:
        text = "0"
    else:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(places, 6)}f}"
    return f"{text} {unit}".rstrip()


def size(count: float) -> str:
    """Say a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return NOT_KNOWN


def cause(label: str) -> str:
    """Say a diagnosis label."""
    return _CAUSES.get(label, label.replace("_", " "))


def quality(word: str) -> str:
    """Say what a capture's quality means for the sensor."""
    return _QUALITY.get(word, word.replace("_", " "))


def contribution(name: str) -> str:
    """Say what adds to the score: a name such as `level up`, of a kind and a direction."""
    kind, space, direction = name.partition(" ")
    return f"{_CONTRIBUTIONS.get(kind, kind)}{space}{direction}"


def alarm_state(state: str) -> str:
    """Say a point's alarm state."""
    return _ALARM.get(state, state)


def rejection(reason: str) -> str:
    """Say why an update was not taken into a merge."""
    return _REJECTED.get(reason, reason.replace("_", " "))


def plain(text: str) -> str:
    """Make text from outside safe inside Markdown: it is shown as it is, whatever it contains."""
    return " ".join(text.split()).translate(_PRIVATE)
