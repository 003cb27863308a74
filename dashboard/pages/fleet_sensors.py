"""This file knows how sensors are shown: silent, overdriven, losing captures, or with a battery that runs down."""

import streamlit as st

from dashboard import words
from dashboard.battery import FEWEST_DAYS, LOW_V, Forecast, forecast
from dashboard.condition import Staleness
from dashboard.languages import tr
from dashboard.pages.addresses import point_address
from dashboard.pages.links import link, plain, show_list
from dashboard.pages.live import staleness
from dashboard.queries.fleet import CAPTURES, SENSORS, SensorRecord, count_sensors, read_sensors
from dashboard.runtime import Dashboard

LOSS_SHARE = 0.02  # more is no single lost packet any more
WEAK_DBM = -85.0  # common radios hear down to -95 or -100; with 10 dB to spare a passing crane costs captures
SOON_DAYS = 60.0  # a battery is ordered and changed in that time
DAY_US = 86_400_000_000


def show_sensors(board: Dashboard) -> None:
    """Show one page of sensors, by name."""
    now_us = board.now_us()
    with board.reader.read() as connection:
        count = count_sensors(connection)
        pages = max(1, -(-count // SENSORS))
        number = 1
        if pages > 1:
            number = st.number_input(tr("Page of {pages}", pages=pages), 1, pages, key="sensor_page", width=140)
        sensors = read_sensors(connection, now_us=now_us, first=(int(number) - 1) * SENSORS)
    if not sensors:
        st.markdown(tr("**No sensor has sent anything yet.** A point appears by itself with its first capture."))
        return
    limits = staleness(board)
    st.markdown(sensor_words(sensors, limits, now_us, count))
    troubled = [(one, said) for one in sensors if (said := trouble_words(one, limits, now_us))]
    if troubled:
        show_list(
            [f"{link(one.point, point_address(one.point))}: {plain('; '.join(said))}" for one, said in troubled],
            title=tr("What needs somebody"),
        )
    st.dataframe(
        [sensor_row(one, limits, now_us) for one in sensors], hide_index=True, width="stretch",
        column_config={
            tr("Point"): st.column_config.LinkColumn(tr("Point"), display_text=tr("open"), width="small"),
            tr("Battery, 30 days"): st.column_config.LineChartColumn(tr("Battery, 30 days"), width="small"),
        },
    )  # fmt: skip
    st.caption(
        tr(
            "Of the newest {captures} captures of each: lost are numbers that never came, or still wait at the "
            "gateway; overdriven ones are clipped. Radio signal: the median, weak below {weak} dBm. Battery: a "
            "straight line through one voltage a day, from {days} days on, to {volts} V; lithium cells drop fast at "
            "the end, so take the date as the latest.",
            captures=CAPTURES, days=FEWEST_DAYS, volts=f"{LOW_V:g}", weak=f"{WEAK_DBM:.0f}",
        )
    )  # fmt: skip


def silent_s(one: SensorRecord, limits: Staleness, now_us: int) -> float | None:
    """For how long a sensor has been silent, where that is longer than it may be."""
    if one.last_received_us is None:
        return None
    age_s = (now_us - one.last_received_us) / 1e6
    return age_s if age_s > limits.limit_s(one.interval_s) else None


def sensor_words(sensors: tuple[SensorRecord, ...], limits: Staleness, now_us: int, count: int) -> str:
    """What needs somebody among those that are shown."""
    ahead = [forecast(one.battery) for one in sensors]
    soon = sum(_is_soon(found, now_us) for found in ahead)
    silent = sum(silent_s(one, limits, now_us) is not None for one in sensors)
    overdriven = sum(one.saturated > 0 for one in sensors)
    losing = sum((one.loss_share or 0.0) > LOSS_SHARE for one in sensors)
    return tr(
        "**{count} sensors**, {shown} of them here: {silent} silent, {overdriven} overdriven, {losing} losing more "
        "than {share} of their captures, {soon} with a battery that is low or will be within {days} days.",
        count=count, shown=len(sensors), silent=silent, overdriven=overdriven, losing=losing, share=f"{LOSS_SHARE:.0%}",
        soon=soon, days=f"{SOON_DAYS:.0f}",
    )  # fmt: skip


def trouble_words(one: SensorRecord, limits: Staleness, now_us: int) -> list[str]:
    """What is wrong with one sensor, each in words."""
    said = []
    silence_s = silent_s(one, limits, now_us)
    if silence_s is not None:
        said.append(tr("silent for {span}", span=words.span(silence_s)))
    if one.quality not in {"ok", "machine_stopped"} and not (silence_s is not None and one.quality == "silent"):
        said.append(words.quality(one.quality))
    if (one.loss_share or 0.0) > LOSS_SHARE:
        said.append(tr("{share} of its captures lost: look at its radio link", share=f"{one.loss_share:.1%}"))
    if one.rssi_dbm is not None and one.rssi_dbm < WEAK_DBM:
        said.append(
            tr("weak radio signal, {dbm} dBm: bring the receiver nearer or into sight", dbm=f"{one.rssi_dbm:.0f}")
        )
    if one.saturated:
        said.append(tr("{share} overdriven: choose a larger range", share=f"{one.saturated / one.captures:.1%}"))
    found = forecast(one.battery)
    if _is_soon(found, now_us):
        said.append(tr("battery {words}", words=battery_words(found, now_us).lstrip("✕△ ")))
    return said


def sensor_row(one: SensorRecord, limits: Staleness, now_us: int) -> dict[str, object]:
    """One sensor."""
    silence_s = silent_s(one, limits, now_us)
    seen = words.NOT_KNOWN if one.last_received_us is None else words.age((now_us - one.last_received_us) / 1e6)
    if silence_s is not None:
        seen = "✕ " + tr("silent for {span}", span=words.span(silence_s))
    found = forecast(one.battery)
    return {
        tr("Sensor"): one.point,
        tr("Machine"): one.title or one.machine,
        tr("Last capture"): seen,
        tr("Sensor says"): words.quality(one.quality) if one.quality == "ok" else "✕ " + words.quality(one.quality),
        tr("Lost"): _marked(one.loss_share, LOSS_SHARE),
        tr("Radio signal"): signal_words(one.rssi_dbm),
        tr("Overdriven"): _marked(one.saturated / one.captures if one.captures else None, 0.0),
        tr("Not believed"): _marked(one.unusable / one.captures if one.captures else None, 0.0),
        tr("Battery"): battery_words(found, now_us),
        tr("Battery, 30 days"): [volts for _, volts in one.battery],
        tr("Gateway"): one.gateway,
        tr("Point"): point_address(one.point),
    }


def signal_words(rssi_dbm: float | None) -> str:
    """Say how strong a sensor's radio signal is."""
    if rssi_dbm is None:
        return words.NOT_KNOWN
    return f"△ {rssi_dbm:.0f} dBm" if rssi_dbm < WEAK_DBM else f"{rssi_dbm:.0f} dBm"


def battery_words(found: Forecast, now_us: int) -> str:
    """Say how a battery is, and when it will be low."""
    volts = words.number(found.volts, "V", 3)
    if found.kind == "none":
        return tr("none told (mains, or an older sensor)")
    if found.kind == "low":
        return "✕ " + tr("{volts}, low: change it now", volts=volts)
    if found.kind == "short":
        return tr("{volts}, not enough data yet ({days} of {needed} days)", volts=volts, days=found.days,
                  needed=FEWEST_DAYS)  # fmt: skip
    if found.kind == "steady" or found.low_at_us is None:
        return tr("{volts}, no fall to be seen in {days} days", volts=volts, days=found.days)
    date = words.moment(found.low_at_us, None)[:10]
    said = tr("{volts}, low about {date}", volts=volts, date=date)
    return f"△ {said}" if _is_soon(found, now_us) else said


def _is_soon(found: Forecast, now_us: int) -> bool:
    if found.kind == "low":
        return True
    return found.low_at_us is not None and found.low_at_us - now_us < SOON_DAYS * DAY_US


def _marked(share: float | None, most: float) -> str:
    if share is None:
        return words.NOT_KNOWN
    return f"△ {share:.1%}" if share > most else f"{share:.1%}"
