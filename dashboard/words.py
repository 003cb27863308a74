"""This file knows how the dashboard says things: ages, times, numbers with units, causes and sensor troubles."""

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from dashboard.languages import tr
from dashboard.units import shown
from schemas.messages import RemainingLife

NOT_KNOWN = "–"
MOST_SURE = 0.99  # of a cause, in words; as gateways say it in their sentences

_UNITS = ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h"), (math.inf, 86_400, "d"))  # symbols of the SI
_PRIVATE = str.maketrans({c: "\\" + c for c in "\\`*_{}[]()#+-.!|$~<>:&@="})


def age(seconds: float) -> str:
    """Say how long ago something was, in the one unit that matters."""
    if seconds < -5.0:
        return tr("{span} ahead of this clock", span=span(-seconds))
    return tr("{span} ago", span=span(max(0.0, seconds)))


def span(seconds: float) -> str:
    """Say how long something lasts, in the one unit that matters."""
    for limit, size, unit in _UNITS:
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return NOT_KNOWN


def confidence(share: float) -> str:
    """Say how sure a cause is; never 100 %, which nothing heard from outside can be."""
    return f"{min(MOST_SURE, share):.0%}"


def remaining_life(life: RemainingLife) -> str:
    """Say how long a machine may last, with no more digits than such a guess has."""
    (low, low_unit), (median, median_unit), (high, high_unit) = (
        _rough(left_s) for left_s in (life.low_s, life.median_s, life.high_s)
    )
    if high == "0":
        return tr("may fail at any moment")
    if low == "0":
        if median == "0":
            return tr("may last up to {high}", high=f"{high} {high_unit}")
        return tr("may last up to {high}, about {median}", high=f"{high} {high_unit}", median=f"{median} {median_unit}")
    if (low, low_unit) == (high, high_unit):
        return tr("may last about {high}", high=f"{high} {high_unit}")
    if low_unit == high_unit:
        return tr("may last {low} to {high}, about {median}", low=low, high=f"{high} {high_unit}", median=median)
    return tr(
        "may last {low} to {high}, about {median}",
        low=f"{low} {low_unit}", high=f"{high} {high_unit}", median=f"{median} {median_unit}",
    )  # fmt: skip


def _rough(seconds: float) -> tuple[str, str]:
    size, unit = next((size, unit) for limit, size, unit in _UNITS if seconds < limit)
    return f"{float(f'{seconds / size:.2g}'):.0f}", tr("days") if unit == "d" else unit


def moment(at_us: int | None, zone: str | None) -> str:
    """Say a time in the viewer's zone, and the zone."""
    if at_us is None:
        return NOT_KNOWN
    return f"{_local(at_us, zone):%Y-%m-%d %H:%M:%S %Z}"


def day(at_us: int, zone: str | None) -> str:
    """Say a time within the month, where there is room for no more."""
    return f"{_local(at_us, zone):%d. %H:%M}"


def clock(at_us: int, zone: str | None) -> str:
    """Say a time of the last day: hours and minutes in the viewer's zone."""
    return f"{_local(at_us, zone):%H:%M}"


def file_moment(at_us: int) -> str:
    """Say a time in the name of a file: UTC, nothing a file system minds."""
    return f"{datetime.fromtimestamp(at_us / 1e6, tz=UTC):%Y%m%dT%H%M%SZ}"


def _local(at_us: int, zone: str | None) -> datetime:
    at = datetime.fromtimestamp(at_us / 1e6, tz=UTC)
    try:
        return at.astimezone(ZoneInfo(zone)) if zone else at
    except (KeyError, ValueError, OSError):
        return at


def number(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Say a number with its unit, in the one the viewer reads; never a missing one as 0."""
    if value is None or not math.isfinite(value):
        return NOT_KNOWN
    unit, factor = shown(unit)
    value *= factor
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
    return {
        "outer": tr("outer race damage"), "inner": tr("inner race damage"), "ball": tr("rolling element damage"),
        "cage": tr("cage damage"), "imbalance": tr("imbalance"), "misalignment": tr("misalignment"),
        "looseness": tr("looseness"), "bent_shaft": tr("bent shaft"), "gear": tr("gear damage"),
        "electrical": tr("electrical cause"), "unknown": tr("unknown cause"), "healthy": tr("healthy"),
    }.get(label, label.replace("_", " "))  # fmt: skip


def quality(word: str) -> str:
    """Say what a capture's quality means for the sensor."""
    return {
        "ok": tr("ok"),
        "machine_stopped": tr("machine stopped"),
        "non_finite": tr("sensor sends values that are no numbers"),
        "silent": tr("sensor silent"),
        "stuck": tr("sensor stuck: it sends the same value"),
        "saturated": tr("sensor overdriven: its signal is clipped"),
        "ski_slope": tr("sensor drifts (ski slope)"),
        "mains_hum": tr("only mains hum: check cable and shield"),
        "loose": tr("sensor loose: its mounting let go"),
        "remounted": tr("sensor re-mounted: what is healthy has moved with it"),
        "wrong_gain": tr("sensor reads too much or too little on every axis: check its sensitivity and unit"),
        "axes_swapped": tr("axes of the sensor have changed places: check how it is fixed and wired"),
        "changed_layout": tr("sensor sends another rate, length or number of axes than when it was learnt"),
    }.get(word, word.replace("_", " "))


def contribution(name: str) -> str:
    """Say what adds to the score: a name such as `level up`, of a kind and a direction."""
    kind, space, direction = name.partition(" ")
    kinds = {"level": tr("level of a broad band"), "envelope": tr("envelope"), "spectrum": tr("spectrum")}
    directions = {"up": tr("up"), "down": tr("down")}
    return f"{kinds.get(kind, kind)}{space}{directions.get(direction, direction)}"


def alarm_state(state: str) -> str:
    """Say a point's alarm state."""
    return {
        "unacknowledged": tr("active, nobody has acknowledged"),
        "acknowledged": tr("active, acknowledged"),
        "returned": tr("calm again, not acknowledged"),
        "latched": tr("held: damage does not heal, waits for maintenance"),
        "shelved": tr("shelved"),
        "suppressed": tr("suppressed"),
        "normal": tr("normal"),
    }.get(state, state)


def rejection(reason: str) -> str:
    """Say why an update was not taken into a merge."""
    return {
        "not_finite": tr("it held values that are no numbers"),
        "wrong_base": tr("it was learnt from another release"),
        "wrong_shape": tr("it has another number of parameters"),
        "wrong_dtype": tr("its numbers are of another kind"),
        "bad_weight": tr("it claims a weight that is not allowed"),
        "norm_outlier": tr("it is far larger than the others"),
    }.get(reason, reason.replace("_", " "))


def speed_source(source: str) -> str:
    """Say where a speed comes from."""
    return {
        "sensor": tr("the sensor"), "signal": tr("the signal itself"), "nameplate": tr("the nameplate"),
        "unknown": tr("nowhere: it is not known"),
    }.get(source, source.replace("_", " "))  # fmt: skip


def plain(text: str) -> str:
    """Make text from outside safe inside Markdown: it is shown as it is, whatever it contains."""
    return " ".join(text.split()).translate(_PRIVATE)
