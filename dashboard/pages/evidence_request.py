"""This file knows how a person asks a gateway for spectra and waveform, with a reason, and sees what became of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal
from zoneinfo import ZoneInfo

import streamlit as st

from dashboard import sentences, words
from dashboard.errors import DatabaseUnavailable, RequestNotWritten
from dashboard.languages import tr
from dashboard.pages.login import recognised_visitor
from dashboard.pages.notice import show_notice
from dashboard.queries.machine import EvidenceEntry
from dashboard.queries.point import NamedCapture, read_nearest_capture
from dashboard.queries.records import GatewayRecord
from dashboard.request_writer import Asked
from dashboard.runtime import Dashboard
from schemas.messages import Evidence
from schemas.names import machine_of
from schemas.requests import ALLOWED, Values, evidence_reason

MAX_REASON = 300
SITE_PATIENCE_S = 15.0  # the site service looks twice a second
GATEWAY_PATIENCE_S = 60.0  # a gateway answers within seconds; its broker may need longer to find it again
TOLD = 3
NEWEST: Final = "newest"


def show_request(board: Dashboard, point: str, shown: Evidence | None = None) -> None:
    """Show the form that asks for a capture's spectra and waveforms: the newest, the one shown, one of another date."""
    visitor = recognised_visitor(board)
    allowed = visitor is not None and visitor.role in ALLOWED["request_evidence"]
    with st.container(border=True):
        st.markdown(
            f"**{tr('Ask the gateway for spectra and waveform')}**  \n"
            + tr(
                "One capture with all its axes leaves its gateway for this site, with your name and reason, no further."
            )
        )
        capture = _wanted_capture(board, point, shown, disabled=not allowed)
        with st.form(f"request_evidence:{point}", border=False, clear_on_submit=True):
            reason = st.text_input(
                tr("Reason"), max_chars=MAX_REASON, placeholder=tr("What you want to check"), disabled=not allowed
            )
            newest = capture is NEWEST
            label = tr("Request new capture") if newest else tr("Request this capture")
            pressed = st.form_submit_button(label, disabled=not allowed or capture is None)
    if not allowed:
        st.caption(tr("Your role may look, but not request; ask a technician."))
    if not pressed or capture is None:
        return
    if not reason.strip():
        show_notice(tr("Say why: nothing was asked."))
        return
    if visitor is None:
        show_notice(tr("Your session is over; sign in again. Nothing was asked."))
        return
    named: Values = {}
    if isinstance(capture, NamedCapture):
        named = {"capture_boot": capture.boot, "capture_sequence": capture.sequence}
    try:
        board.writer.ask(
            "request_evidence", visitor, machine_of(point), point=point, note=reason.strip(), values=named
        )  # fmt: skip
    except RequestNotWritten as problem:
        show_notice(tr("Nothing was asked: {problem}", problem=words.plain(str(problem))))
        return
    st.rerun()


def _wanted_capture(
    board: Dashboard, point: str, shown: Evidence | None, *, disabled: bool
) -> NamedCapture | Literal["newest"] | None:
    """Let a person say which capture; None where there is none of that date."""
    titles = {"newest": tr("The newest"), "shown": tr("The one shown"), "date": tr("One of another date")}
    options = [name for name in titles if name != "shown" or shown is not None]
    chosen = st.segmented_control(
        tr("Which capture"), options, default="newest", format_func=lambda name: titles[name], required=True,
        key=f"request_which:{point}", disabled=disabled,
    )  # fmt: skip
    if chosen == "shown" and shown is not None:
        st.caption(_kept_words())
        return NamedCapture(shown.capture_boot, shown.capture_sequence, shown.measured_at_us)
    if chosen != "date":
        return NEWEST
    zone = st.context.timezone
    today = datetime.fromtimestamp(board.now_us() / 1e6, tz=UTC).astimezone(_zone(zone))
    at = st.datetime_input(
        tr("Nearest to, in your time"), value=today.replace(tzinfo=None, second=0, microsecond=0),
        key=f"request_date:{point}", disabled=disabled,
    )  # fmt: skip
    if at is None:
        return None
    at_us = round(at.replace(tzinfo=_zone(zone)).timestamp() * 1e6)
    try:
        with board.reader.read() as connection:
            found = read_nearest_capture(connection, point, at_us)
    except DatabaseUnavailable as problem:
        st.caption(tr("The captures cannot be read now: {problem}", problem=words.plain(problem.detail)))
        return None
    if found is None:
        st.caption(tr("No capture of this point is known."))
        return None
    moment = words.moment(found.measured_at_us, zone)
    st.caption(f"{tr('Nearest is the capture of {moment}.', moment=moment)} {_kept_words()}")
    return found


def _kept_words() -> str:
    return tr("A gateway keeps raw captures by size and age; it says so where this one is gone.")


def _zone(name: str | None) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):
        return UTC


def wanted_reason(asked: Asked) -> str:
    """What the gateway writes on the evidence that answers a request."""
    return evidence_reason(asked.request.actor, asked.request.note)


def arrived_for(asked: Asked, entries: Sequence[EvidenceEntry]) -> EvidenceEntry | None:
    """The evidence that answers a request, among what has arrived; the latest first."""
    return next((entry for entry in entries if entry.why == wanted_reason(asked)), None)


def request_words(
    asked: Asked, entries: Sequence[EvidenceEntry], gateway: GatewayRecord | None, *, now_us: int, zone: str | None
) -> str:
    """Say what became of one request: by whom, since when, and what to do if nothing comes.

    Args:
        asked: The request, and how far it got.
        entries: Evidence that has arrived, the latest to come first.
        gateway: The one that measures the point; None if the site does not know it.
        now_us: The time to judge by.
        zone: The viewer's.
    """
    request = asked.request
    who = tr("Asked by {who}: {why}", who=words.plain(request.actor), why=words.plain(request.note))
    who = who if who[-1] in ".?!" else f"{who}."
    since = words.moment(request.asked_at_us, zone)
    waited_s = (now_us - request.asked_at_us) / 1e6
    if asked.state == "refused":
        return f"✕ {who} " + tr("**Refused**: {answer}", answer=words.plain(sentences.said(asked.answer)))
    if asked.state == "done":
        arrived = arrived_for(asked, entries)
        if arrived is not None:
            return f"✓ {who} " + tr(
                "Arrived: the capture of {moment}.", moment=words.moment(arrived.measured_at_us, zone)
            )
        return f"… {who} " + tr("The gateway has answered; the spectra are on their way since {since}.", since=since)
    if asked.state == "new":
        if waited_s > SITE_PATIENCE_S:
            return f"… {who} " + tr(
                "Since {since} the site service has not taken it up. Next: does `aggregator run` run, and is this "
                "dashboard's key on its list?",
                since=since,
            )
        return f"… {who} " + tr("Sent to the site service.")
    if waited_s < GATEWAY_PATIENCE_S:
        return f"… {who} " + tr("Sent to the gateway, which has not answered yet.")
    return f"… {who} " + _unanswered(gateway, since, now_us)


def _unanswered(gateway: GatewayRecord | None, since: str, now_us: int) -> str:
    if gateway is None:
        return tr("No answer since {since}: the site does not know the gateway of this point.", since=since)
    seen = tr("never") if gateway.last_seen_us is None else words.age((now_us - gateway.last_seen_us) / 1e6)
    name = words.plain(gateway.gateway)
    if gateway.online:
        return tr(
            "No answer since {since}, although gateway {name} is online (heard {seen}). Next: look at its log; the "
            "site goes on asking.",
            since=since, name=name, seen=seen,
        )  # fmt: skip
    return tr(
        "No answer since {since}: gateway {name} is away (heard {seen}). It is asked again when it comes back. Next: "
        "check its power and its way to the broker.",
        since=since, name=name, seen=seen,
    )  # fmt: skip
