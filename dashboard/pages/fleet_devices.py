"""This file knows how devices are shown that send without being known, and how each is made known or kept out."""

import streamlit as st

from dashboard import words
from dashboard.languages import tr
from dashboard.pages.fleet_enrolment import show_enrolment
from dashboard.queries.fleet import FleetGateway, UnknownDevice, read_fleet, read_unknown_devices
from dashboard.runtime import Dashboard

SHOWN = 100
UNKNOWN_MACHINE = "unknown_machine"


def show_devices(board: Dashboard) -> None:
    """Show who was refused at the site, and where gateways refuse machines they do not know."""
    with board.reader.read() as connection:
        devices, ever = read_unknown_devices(connection)
        fleet = read_fleet(connection)
    refused = [(one, count) for one in fleet if (count := _unknown_machines(one))]
    if not devices and not refused:
        st.markdown(tr("**No unknown device.** Nobody has sent anything here without being known."))
    if devices:
        st.subheader(tr("Refused by the site"))
        st.dataframe(
            [device_row(one, board.now_us()) for one in devices[:SHOWN]], hide_index=True, width="stretch"
        )  # fmt: skip
        st.caption(
            tr(
                "What they sent was put aside, never believed. Ever: {counts}. Of each reason the newest are kept.",
                counts=", ".join(f"{reason_words(name)} {count}" for name, count in sorted(ever.items())),
            )
        )
    if refused:
        st.subheader(tr("Sensors of unknown machines"))
        for one, count in refused:
            st.markdown(
                tr(
                    "{gateway} has put {count} captures aside whose machine is not in its settings. "
                    "`gateway-agent dead-letters` names them; add a `[[machines]]` table and take them in again.",
                    gateway=f"**{words.plain(one.gateway)}**", count=count,
                )
            )  # fmt: skip
    show_enrolment(board)


def reason_words(reason: str) -> str:
    """Say why the site refused it."""
    return {
        "unknown_key": tr("its key is not on the list"), "unsigned": tr("it is not signed"),
        "bad_signature": tr("its signature does not fit"), "wrong_speaker": tr("it used another one's topic"),
        "wrong_gateway": tr("it speaks for another gateway"),
    }.get(reason, reason.replace("_", " "))  # fmt: skip


def next_step(reason: str) -> str:
    """Say what to do."""
    return {
        "unknown_key": tr("if it is yours: enrol it, or enrol it anew after it has lost its key; else find it"),
        "unsigned": tr("older or foreign software: find it; gateways of ours always sign"),
        "bad_signature": tr("a damaged message, or somebody who tries: look at its address in the broker's log"),
        "wrong_speaker": tr("two devices with one bundle? Enrol each by itself"),
        "wrong_gateway": tr("two devices with one bundle? Enrol each by itself"),
    }.get(reason, tr("see the site's words beside"))


def device_row(one: UnknownDevice, now_us: int) -> dict[str, str]:
    """One line."""
    return {
        tr("Calls itself"): one.sender,
        tr("Why refused"): reason_words(one.reason),
        tr("What to do"): next_step(one.reason),
        tr("Last"): words.age((now_us - one.last_us) / 1e6),
        tr("Kept"): str(one.letters),
        tr("In the site's words"): one.text,
    }


def _unknown_machines(one: FleetGateway) -> int:
    return 0 if one.status is None else one.status.dead_letters.get(UNKNOWN_MACHINE, 0)
